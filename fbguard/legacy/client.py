"""The client's side of Auth.expireSession."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote

from fbguard.core import settings
from fbguard.core.secret import Secret
from fbguard.facebook import rest
from fbguard.facebook.rest_answers import MAX_ANSWER, NO_ANSWER, Failure, failure_in

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("fbguard")

URL: Final = "https://api.facebook.com/restserver.php"

_API_KEY: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]{1,4096}")
_MAX_MESSAGE: Final = 300  # characters


class LegacyError(Exception):
    """The session is not known to be ended. Holds no token, no session key and no secret.

    ``code`` is the server's (1 and 2: try again; 101: ``api_key``; 102: the session has ended before or
    never was; 104: the signature), and ours where there was no answer: 2 if none came, or only a broken
    server's; 1 if it could not be read. After those two the session may be ended or not. ``message`` is for
    developers.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


def expire_session(
    api_key: str,
    secret: str,
    session_key: str,
    *,
    url: str = URL,
    format: str = "XML",  # noqa: A002 - the parameter's name in the dialect
    ss: bool = False,
    timeout: float = 10.0,
    transport: httpx.BaseTransport | None = None,
) -> Literal[True]:
    """End a session by the legacy call ``auth.expireSession``; True when the server says that it is done.

    ``secret`` is the app's, or with ``ss=True`` the session's own. One POST, with everything in its body;
    it is not sent again and follows no redirect. ``url`` is https, or http on loopback. ``format`` is how
    the server is asked to answer, "XML" or "JSON". ``timeout`` is seconds, for each step of the call
    (the connection, every piece that goes out or comes in), and from the start to the last piece of the
    answer's body. ``transport`` is an httpx transport, for tests and proxies; it is not closed.

    Raises :class:`LegacyError` for everything that is not a success, ValueError or TypeError for arguments
    that cannot be sent.
    """
    own, key = Secret(secret), Secret(session_key)
    del secret, session_key
    _check(api_key, own, key)
    call = {
        "api_key": Secret(api_key),
        "call_id": Secret(_call_id()),
        "format": Secret(settings.one_of("format", format.upper(), ("XML", "JSON"))),
        "method": Secret(rest.METHOD),
        "session_key": key,
        "v": Secret(rest.VERSION),
    }
    if settings.flag("ss", ss):
        call["ss"] = Secret("1")
    call[rest.SIG] = Secret(rest.sign(call, own))
    failed = _shown(
        _ask(settings.base_url("url", url), call, settings.seconds("timeout", timeout), transport),
        [own, key, call[rest.SIG]],
    )
    if failed is not None:
        raise LegacyError(failed.code, failed.message)
    return True


def _check(api_key: object, secret: Secret, session_key: Secret) -> None:
    if not isinstance(api_key, str) or not _API_KEY.fullmatch(api_key):
        raise ValueError("api_key must be the app's id or key: letters and digits, no white space")
    for name, value in (("secret", secret), ("session_key", session_key)):
        if not isinstance(value.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{name} must be a str")
        if not _PRINTABLE.fullmatch(value.reveal()):
            raise ValueError(f"{name} must not be blank and holds printable ASCII without white space")


def _call_id() -> str:
    """Return a number that grows with every call: seconds and their parts, as PHP's microtime()."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"{seconds}.{nanoseconds:09d}"


def _ask(
    url: str, call: Mapping[str, Secret], timeout: float, transport: httpx.BaseTransport | None
) -> Failure | None:
    """Return what the server has against it, or None; in no frame that stays there is its text."""
    # Here, so that a program that only serves the call does without an HTTP client.
    import httpx  # noqa: PLC0415

    from fbguard.facebook.quiet import hide_tokens_in_logs, our_call  # noqa: PLC0415

    hide_tokens_in_logs()
    under_way = our_call.set(True)
    client = httpx.Client(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False)
    try:
        return _exchange(client, url, call, time.monotonic() + timeout)
    except Exception as exc:  # noqa: BLE001 - whatever a transport raises, nobody has answered
        logger.debug("the REST server did not answer: %s", type(exc).__name__)
    finally:
        our_call.reset(under_way)
        if transport is None:
            client.close()
    return NO_ANSWER


def _exchange(client: httpx.Client, url: str, call: Mapping[str, Secret], end: float) -> Failure | None:
    request = client.build_request(
        "POST",
        url,
        data={name: value.reveal() for name, value in call.items()},
        headers={"Accept-Encoding": "identity", "User-Agent": "fbguard"},
    )
    response = client.send(request, stream=True)
    try:
        return failure_in(response.status_code, _read(response, end))
    finally:
        response.close()


def _read(response: Any, end: float) -> bytes | None:
    """Return the body, or None if it is too long, or packed although we asked for it plain."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        return None
    body = bytearray()
    for piece in response.iter_bytes():  # not raw: a test's response has been read before
        body += piece
        if len(body) > MAX_ANSWER:
            return None
        if time.monotonic() > end:
            raise TimeoutError
    return bytes(body)


def _shown(failed: Failure | None, hidden: Sequence[Secret]) -> Failure | None:
    """Put the server's message on one line; our own words for it if it quotes what it was sent."""
    if failed is None:
        return None
    own_words = rest.MESSAGES.get(failed.code, rest.MESSAGES[rest.UNKNOWN])
    for secret in hidden:
        if _quotes(failed.message, secret):
            return Failure(failed.code, own_words)
    text = "".join(letter if letter.isprintable() else " " for letter in failed.message)
    return Failure(failed.code, text[:_MAX_MESSAGE] or own_words)


def _quotes(text: str, secret: Secret) -> bool:
    return any(text.count(form) for form in (secret.reveal(), quote(secret.reveal(), safe="")))
