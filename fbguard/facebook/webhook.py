r"""Facebook's webhook on the wire: the handshake, the signature of an event, whose permissions changed.

An event is signed as it was sent: with ``\u00e4`` for a letter and ``\/`` for a slash, or without. Only
the raw bytes have a signature; nothing here serialises anything again (Webhooks, "Validate payloads").
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import parse_qs

from fbguard.core.secret import Secret

_CHALLENGE: Final = re.compile(r"[A-Za-z0-9._~-]{1,256}", re.ASCII)  # Facebook sends digits; no markup
_SIGNATURE: Final = re.compile(r"sha256=([0-9a-f]{64})", re.ASCII)
_USER_ID: Final = re.compile(r"[0-9]{1,32}", re.ASCII)
_NOBODY: Final = "0"  # whom the dashboard's test button names
_MAX_FIELDS: Final = 32
_OBJECTS: Final = frozenset({"permissions", "user"})


@dataclass(frozen=True, slots=True)
class Event:
    """Whose permissions changed; ``unread`` counts the entries that nobody could make sense of."""

    user_ids: tuple[str, ...]
    unread: int = 0


def challenge(query: str, verify_token: Secret | None) -> str | None:
    """Return what a handshake is answered with; None refuses it.

    ``query`` is the raw query string. Without a ``verify_token`` of ours nobody can prove to be Facebook.
    """
    try:
        fields = parse_qs(query, keep_blank_values=True, errors="surrogateescape", max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None
    said = [fields.get(f"hub.{name}", []) for name in ("mode", "verify_token", "challenge")]
    if verify_token is None or any(len(values) != 1 for values in said):
        return None
    (mode,), (token,), (text,) = said
    if not _is_same(token, verify_token) or mode != "subscribe" or not _CHALLENGE.fullmatch(text):
        return None
    return text


def _is_same(token: str, verify_token: Secret) -> bool:
    # As bytes: compare_digest raises for a str that is not ASCII, and a query may hold half a character.
    return hmac.compare_digest(
        token.encode(errors="surrogatepass"), verify_token.reveal().encode(errors="surrogatepass")
    )


def signature(values: Sequence[str]) -> bytes | None:
    """Return the signature of the values of all ``X-Hub-Signature-256`` headers; None if it is none.

    The older ``X-Hub-Signature`` (SHA-1) is sent beside it and proves nothing.
    """
    found = _SIGNATURE.fullmatch(values[0]) if len(values) == 1 else None
    return None if found is None else bytes.fromhex(found[1])


def read(body: bytes) -> Event | None:
    """Return whom an event is about; None if it is no event. Its signature must be proven before.

    All its shapes name the user in ``uid``, ``id`` or both: with ``changes``, nested or flat, and with
    ``changed_fields``. What exactly changed is Graph's to say, when it is asked anew. An entry that
    cannot be read takes no other with it: Facebook sends up to 1000 at once. Events about other
    objects than a user name nobody.
    """
    try:
        decoded: object = json.loads(
            body.decode(), object_pairs_hook=_pairs, parse_int=str, parse_constant=_nothing
        )
    except (ValueError, RecursionError):
        return None
    if not isinstance(decoded, dict):
        return None
    event = cast("dict[str, Any]", decoded)
    entries, about = event.get("entry"), event.get("object")
    if not isinstance(entries, list) or not isinstance(about, str):
        return None
    if about not in _OBJECTS:
        return Event(())
    named = [_users(entry) for entry in cast("list[object]", entries)]
    users = dict.fromkeys(user for found in named for user in found)
    return Event(tuple(user for user in users if user != _NOBODY), sum(not found for found in named))


def _users(entry: object) -> list[str]:
    """Return the ids of an entry; numbers came as str. If they differ, both are meant."""
    if not isinstance(entry, dict):
        return []
    ids = [cast("dict[str, Any]", entry).get(name) for name in ("uid", "id")]
    return [found for found in ids if isinstance(found, str) and _USER_ID.fullmatch(found)]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    result = dict(pairs)
    return result if len(result) == len(pairs) else None  # one key twice: this object says nothing


def _nothing(_constant: str) -> None:
    """Read NaN and Infinity, which are no JSON, as null: nobody is called that."""
