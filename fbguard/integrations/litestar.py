"""fbguard in Litestar: handlers with ``@require_fb_token``, behind the plain ASGI door."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NoReturn, cast

import litestar
from litestar.connection import ASGIConnection
from litestar.exceptions import WebSocketException, responses

from fbguard.core.carrier import Carrier
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.requirement import PathParams
from fbguard.guard import Guard
from fbguard.refusals import RefusalResponse
from fbguard.reports import refusal_of
from fbguard.surroundings import Surroundings

_SERVER_ERROR: Final = 500  # Litestar's tables name statuses, too
_POLICY_VIOLATION: Final = 1008  # close code, RFC 6455 section 7.4.1


class LitestarSurroundings(Surroundings):
    """A handler of Litestar; it has no words of its own for a refusal but the app's exception handlers.

    Raises RuntimeError for one whose answers Litestar keeps: it would give them to others.
    """

    def __init__(self, carrier: Carrier) -> None:
        super().__init__(carrier)
        if getattr(carrier.get("route_handler"), "cache", False):
            raise RuntimeError(
                "cache= of Litestar answers before @require_fb_token is asked: guard this path by a rule of "
                "a door, or do not cache it"
            )

    def application_guard(self) -> Guard | None:
        found = getattr(_app_of(self.carrier).state, "fbguard", None)
        return found if isinstance(found, Guard) else None

    def path_params(self) -> PathParams:
        return cast("PathParams", self.carrier.get("path_params") or {})

    def say(self, refused: Refused) -> NoReturn:
        if self.carrier["type"] == "websocket":
            raise WebSocketException(detail=refused.reason, code=_POLICY_VIOLATION) from None
        raise refused


def surroundings_of(door: Carrier | None, arguments: Sequence[object]) -> LitestarSurroundings | None:
    """Return the surroundings of a handler that got a request of Litestar, or that a door stands before."""
    for argument in arguments:
        if isinstance(argument, ASGIConnection):
            return LitestarSurroundings(cast("Carrier", cast("Any", argument).scope))
    is_served = door is not None and isinstance(_app_of(door), litestar.Litestar)
    return LitestarSurroundings(door) if door is not None and is_served else None


def teach(app: object) -> bool:
    """Tell an app of Litestar what is to be answered when a Refused or an OAuthException leaves a handler.

    Unless it knows. False for what is no such app.
    """
    if not isinstance(app, litestar.Litestar):
        return False
    table: Any = cast("Any", app).exception_handlers
    for kind, handler in EXCEPTION_HANDLERS.items():
        table.setdefault(kind, handler)
    return True


class _Refusal:
    """A refusal as what Litestar's exception handlers return."""

    def __init__(self, refused: Refused) -> None:
        self._refused = refused

    def to_asgi_response(self, *_args: object, **_options: object) -> RefusalResponse:
        """Return an ASGI app, as Litestar's own responses do."""
        return RefusalResponse(self._refused)


def _handle(request: Any, error: Exception) -> object:
    """Be an exception handler of Litestar; what is the application's own matter goes to the next one."""
    refused = refusal_of(cast("Carrier", request.scope), error)
    if refused is not None:
        return _Refusal(refused)
    handler = request.scope.get("route_handler")  # which knows its controller's and router's, too
    table = request.app.exception_handlers if handler is None else handler.resolve_exception_handlers()
    kinds = (*type(error).__mro__[1:], _SERVER_ERROR)
    named = (table[kind] for kind in kinds if kind in table and table[kind] is not _handle)
    return next(named, cast("Any", responses).create_exception_response)(request, error)


#: For ``Litestar(exception_handlers=dict(EXCEPTION_HANDLERS))`` where no door stands around the app: what
#: to answer when a Refused or an OAuthException leaves a handler.
EXCEPTION_HANDLERS: Final[Mapping[Any, Callable[[Any, Any], Any]]] = MappingProxyType({
    Refused: _handle,
    OAuthException: _handle,
    ExceptionGroup: _handle,
})  # fmt: skip


def _app_of(carrier: Carrier) -> Any:
    return carrier.get("app")  # whoever serves it last has put itself there
