"""Calling Graph in a view with the token of this request, and hearing what Graph says of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, TypeVar, cast

import httpx

from fbguard.context import TOKEN, credential_of, judge_of
from fbguard.core.cache import key_of
from fbguard.core.carrier import Carrier, carrier_of_request
from fbguard.core.credentials import LIMITED_LOGIN, is_id_token
from fbguard.core.errors import OAuthException
from fbguard.core.secret import Secret
from fbguard.core.signing import Signer
from fbguard.core.token import TokenInfo
from fbguard.facebook.call import UNREADABLE
from fbguard.facebook.call import named_by as _named_by
from fbguard.facebook.graph_error import read_error
from fbguard.facebook.quiet import hide_tokens_in_logs, our_call
from fbguard.guard import Guard
from fbguard.reports import heed_dead

T = TypeVar("T")

_SIGNER: Final = "fbguard.signer"  # of an httpx request's extensions
_SCHEMES: Final = {"bearer", "oauth"}  # Graph takes both
_NO_TOKEN: Final = ""  # the fingerprint of no token, which is nobody's


class _Held:
    """A request whose headers no repr shows."""

    __slots__ = ("carrier",)

    def __init__(self, carrier: Carrier) -> None:
        self.carrier = carrier


class GraphAuth(httpx.Auth):
    """``client.get("https://graph.facebook.com/v26.0/me", auth=GraphAuth())``: as this request's user.

    Adds this request's token in the Authorization header and ``appsecret_proof``, to calls of the
    guard's own Graph host only: everywhere else, after a redirect too, the request goes out as it is.
    So does one that has a token of its own: a parameter ``access_token``, an Authorization header, or a
    form whose fields cannot be looked at. For httpx clients of both colours.

    ``request`` is the framework's request, scope or environ, for code that has left the request's
    context (a thread of its own). ``token`` is another token to call with, such as a page's, with
    ``guard`` where no request is. ``timed`` sends ``appsecret_time`` too: such a proof is good for
    five minutes (Graph API, "Securing Graph API Calls").

    Raises ValueError for a guard without a token, and for an ID token of Limited Login, which Graph does
    not take. When a call is made: RuntimeError if there is no request or no token, and Refused
    (``limited_login``) if the request's token is such a one.
    """

    def __init__(
        self,
        request: object = None,
        *,
        token: str | None = None,
        guard: Guard | None = None,
        timed: bool = False,
    ) -> None:
        boxed = None if token is None else Secret(token)
        del token
        if boxed is not None and not isinstance(boxed.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("token must be a str")
        if boxed is not None and not boxed.reveal():
            raise ValueError("token must not be empty")
        if boxed is not None and is_id_token(boxed):
            raise ValueError("token must be one of Graph's, not an ID token of Limited Login")
        if guard is not None and boxed is None:
            raise ValueError(
                "guard goes with token: without one the token of the request is meant, and its guard"
            )
        hide_tokens_in_logs()
        self._held = None if request is None else _Held(_carrier_of(request))
        self._token = boxed
        self._guard = guard
        self._timed = timed

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Be what httpx asks for each call."""
        under_way = our_call.set(True)
        try:
            yield self(request)
        finally:
            our_call.reset(under_way)

    def __call__(self, request: httpx.Request) -> httpx.Request:
        """Attach token and proof to a call of Graph; return the request."""
        carrier = self._held.carrier if self._held is not None else carrier_of_request.get() or {}
        guard = self._guard or judge_of(carrier)
        if not isinstance(guard, Guard):
            raise RuntimeError(  # noqa: TRY004 - nothing was given: there is none
                "GraphAuth found no request: call Graph in a view behind a door, give GraphAuth(request), or "
                "token= and guard="
            )
        if not _is_same_origin(request.url, httpx.URL(guard.graph_url)):
            return request
        token = self._token or credential_of(carrier)
        own = _named_by(request) or _of_its_own(request)
        if own is not None and own != token:
            return request  # another one's, or one that nobody can read
        if not isinstance(token, Secret):
            raise RuntimeError("GraphAuth found no token: a public route, or an anonymous request")  # noqa: TRY004
        if is_id_token(token):
            raise guard.refusal(LIMITED_LOGIN)
        proof = guard.signer.proof(token, int(guard.now()) if self._timed else None)
        request.url = request.url.copy_merge_params(proof)
        if own is None:  # else it is there, as in the address of Graph's next page
            request.headers["Authorization"] = f"Bearer {token.reveal()}"
        request.extensions[_SIGNER] = guard.signer
        return request


def raise_for_graph_error(answer: T, *, token: str | None = None) -> T:
    """Raise :class:`fbguard.OAuthException` if Graph answered with an error, else return the answer.

    ``answer`` is the response of httpx or requests, or a decoded JSON body (of aiohttp, of an SDK, an
    item of a batch). The exception knows by a fingerprint which token the call carried; with a body
    alone that is this request's token, unless ``token`` names another one. HTTP statuses of 400 and
    above without an error in the body raise, too. Raises TypeError for a text or a coroutine.
    """
    boxed = None if token is None else Secret(token)
    del token
    error = _error_of(answer, boxed)
    if error is not None:
        del answer  # a body may quote the token, and a traceback shows it
        heed_dead(carrier_of_request.get() or {}, error)
        try:
            raise error
        finally:
            del error  # which holds this frame now: no circle may keep the request
    return answer


def _error_of(answer: object, token: Secret | None) -> OAuthException | None:
    if hasattr(answer, "status_code") and callable(getattr(answer, "json", None)):
        return _error_of_response(answer, token)
    if answer is not None and not isinstance(answer, Mapping | list | bool | int | float):
        raise TypeError(
            f"give the response of httpx or requests, or a decoded body, not {type(answer).__name__}"
        )
    carrier = carrier_of_request.get() or {}
    info = carrier.get(TOKEN)
    # This request's goes by name, too: whoever else gets to see the exception.
    this = info.fingerprint if isinstance(info, TokenInfo) else None
    fingerprint = this if token is None else _fingerprint(token, None)
    hidden = token or credential_of(carrier)
    return read_error(cast("object", answer), token=hidden, fingerprint=fingerprint)


def _error_of_response(response: Any, token: Secret | None) -> OAuthException | None:
    request = _request_of(response)
    carried = token or _carried_by(request)
    headers: Any = response.headers
    error = read_error(
        _decoded(response),
        status=response.status_code,
        header=cast("Callable[[str], str | None]", headers.get),
        token=carried,
        fingerprint=_NO_TOKEN if carried is None else _fingerprint(carried, request),
    )
    if error is not None and carried is not None:
        error.token_key = key_of(carried)
    return error


def _request_of(response: Any) -> Any:
    try:
        return getattr(response, "request", None)
    except RuntimeError:  # httpx: a response that was made by hand
        return None


def _decoded(response: Any) -> object:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _fingerprint(token: Secret, request: Any) -> str:
    """Return the name of a token, as the guard of the call, or of this request, makes it."""
    extensions: Mapping[str, object] = getattr(request, "extensions", None) or {}
    guard = judge_of(carrier_of_request.get() or {})
    signer = extensions.get(_SIGNER) or (guard.signer if isinstance(guard, Guard) else None)
    return signer.fingerprint(token) if isinstance(signer, Signer) else _NO_TOKEN


def _carried_by(request: Any) -> Secret | None:
    """Return the token that a request carried: in a parameter, which Graph prefers, or in the header."""
    carried = None if request is None else _named_by(request) or _in_header(request)
    return None if carried is UNREADABLE else carried


def _of_its_own(request: httpx.Request) -> Secret | None:
    """Return the token of an Authorization header that is not from here."""
    if _SIGNER in request.extensions or not request.headers.get("Authorization"):
        return None
    return _in_header(request) or UNREADABLE  # of another scheme


def _in_header(request: Any) -> Secret | None:
    value = request.headers.get("Authorization") or ""
    scheme, _, rest = (value.decode("latin-1") if isinstance(value, bytes) else value).partition(" ")
    return Secret(rest.strip()) if scheme.lower() in _SCHEMES and rest.strip() else None


def _carrier_of(request: object) -> Carrier:
    """Return what a door has put the facts into, from a request of any framework."""
    for candidate in (request, getattr(request, "scope", None), getattr(request, "environ", None)):
        if isinstance(candidate, dict) and judge_of(cast("Carrier", candidate)) is not None:
            return cast("Carrier", candidate)
    raise RuntimeError("GraphAuth(request): no fbguard door or decorator has looked at this request")


def _is_same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)
