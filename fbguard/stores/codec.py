"""What guards write into a shared store: JSON with a MAC, under names that hold no token. Pure.

A value is ``<hex MAC><JSON>``. The MAC is keyed by the app secret and covers kind and name, too; names cover
the app, Graph's URL and the schema, those of facts Graph's version as well. So a value that was moved,
forged, or written by another app or version is unreadable, and what is unreadable is not there. Nothing is
ever unpickled.

While secrets are rotated workers that know one of them only share with those that know both: an end stands
under a name of each secret, sealed by it. It is none of a version's: what ended in one has ended in the next.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from fbguard.core.secret import Secret
from fbguard.core.token import GranularScopes, TokenError, TokenInfo

SCHEMA: Final = "1"
_DERIVED: Final = b"fbguard store"
_MAC: Final = 64  # hex digits
_ID: Final = 16  # hex digits of what tells secrets apart


@dataclass(frozen=True, slots=True)
class Fact:
    """What Graph said about a token: when, whether it is kept as good, and since when the token is known."""

    info: TokenInfo
    said: float
    since: float
    good: bool


class Codec:
    """Names and values of one ``app`` (its id, Graph's URL) at a version of Graph's.

    Of rotated ``secrets`` the first writes facts, all read. Names and seals by each are in their order.
    """

    def __init__(self, app: Sequence[str], version: str, secrets: Sequence[Secret]) -> None:
        self._keys = [
            Secret(hmac.new(one.reveal().encode(), _DERIVED, hashlib.sha256).hexdigest()) for one in secrets
        ]
        self._app = (SCHEMA, *app)
        self._version = version
        #: What tells the secrets apart, in their order.
        self.ids = [self._mac(key, "secret", *self._app)[:_ID] for key in self._keys]

    def token_names(self, digest: bytes) -> list[str]:
        """Return the names of a token's fact, by its key in this process; the first is written to."""
        return [
            f"{self._version}:{self._mac(key, 'token', *self._app, self._version, digest.hex())}"
            for key in self._keys
        ]

    def end_names(self, digest: bytes) -> list[str]:
        """Return the names under which a token ends, at any version of Graph's."""
        return [self._mac(key, "end", *self._app, digest.hex()) for key in self._keys]

    def user_names(self, user_id: str) -> list[str]:
        """Return the names of a user, at any version of Graph's."""
        return [self._mac(key, "user", *self._app, user_id) for key in self._keys]

    def seal(self, kind: str, name: str, value: Mapping[str, object], by: int = 0) -> bytes:
        """Return a value as it is stored under a name, sealed by one of the secrets."""
        text = json.dumps(value, separators=(",", ":"))
        return (self._mac(self._keys[by], kind, *self._app, name, text) + text).encode()

    def open(self, kind: str, name: str, sealed: bytes) -> dict[str, Any] | None:
        """Return a value that was stored under a name; None for anything else."""
        try:
            stored = sealed.decode()
            mac, text = stored[:_MAC], stored[_MAC:]
            known = any(
                hmac.compare_digest(mac.encode(), self._mac(key, kind, *self._app, name, text).encode())
                for key in self._keys
            )
            value: object = json.loads(text) if known else None
        except (ValueError, RecursionError):
            return None
        return cast("dict[str, Any]", value) if isinstance(value, dict) else None

    @staticmethod
    def _mac(key: Secret, *parts: str) -> str:
        """Return the HMAC over parts, each behind its length: no two lists of parts give one text."""
        message = b"".join(b"%d:%s" % (len(part.encode()), part.encode()) for part in parts)
        return hmac.new(key.reveal().encode(), message, hashlib.sha256).hexdigest()


def written(fact: Fact) -> dict[str, object]:
    """Return a fact as JSON data."""
    info = fact.info
    return {
        "said": fact.said,
        "since": fact.since,
        "good": fact.good,
        "app_id": info.app_id,
        "type": info.type,
        "is_valid": info.is_valid,
        "user_id": info.user_id,
        "profile_id": info.profile_id,
        "application": info.application,
        "scopes": sorted(info.scopes),
        "granular_scopes": {
            name: None if ids is None else list(ids) for name, ids in info.granular_scopes.items()
        },
        "times": [info.issued, info.expires, info.data_access_expires],
        "error": None if info.error is None else [info.error.reason, info.error.code, info.error.subcode],
        "fingerprint": info.fingerprint,
    }


def read(value: Mapping[str, Any]) -> Fact | None:
    """Return the fact that :func:`written` data holds; None for what this version did not write."""
    try:
        issued, expires, data_access_expires = value["times"]
        error = value["error"]
        info = TokenInfo(
            app_id=value["app_id"],
            type=value["type"],
            is_valid=value["is_valid"],
            user_id=value["user_id"],
            profile_id=value["profile_id"],
            application=value["application"],
            scopes=frozenset(value["scopes"]),
            granular_scopes=GranularScopes(
                {name: None if ids is None else tuple(ids) for name, ids in value["granular_scopes"].items()}
            ),
            issued=issued,
            expires=expires,
            data_access_expires=data_access_expires,
            error=None if error is None else TokenError(*error),
            fingerprint=value["fingerprint"],
        )
        return Fact(info, value["said"], value["since"], value["good"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
