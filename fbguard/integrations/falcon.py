"""fbguard in Falcon: responders with ``@require_fb_token``, behind the plain door of either protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from inspect import isawaitable, signature
from typing import Any, Final, cast

import falcon
import falcon.asgi

from fbguard.claims import Claims
from fbguard.copies import hand_down
from fbguard.core.carrier import Carrier, is_asgi
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.requirement import PathParams
from fbguard.heads import answered
from fbguard.reports import refusal_of
from fbguard.surroundings import UNKNOWN_ANSWER, Surroundings

_POLICY_VIOLATION: Final = 1008  # close code, RFC 6455 section 7.4.1


class FalconSurroundings(Surroundings):
    """A responder, or what else Falcon gives a request to; ``options`` are its routed parameters."""

    def __init__(self, request: falcon.Request, options: Mapping[str, object]) -> None:
        carrier = _carrier_of(request)
        if not is_asgi(carrier):
            hand_down(carrier)
        super().__init__(carrier)
        self._request = request
        self._options = options

    def path_params(self) -> PathParams:
        return self._options

    def live(self, answer: object, claims: Claims) -> object:
        del claims
        if not self._is_cut():  # what is streamed is in Falcon's response
            raise RuntimeError(UNKNOWN_ANSWER)
        return answer

    def report(self, error: Exception, refused: Refused) -> object:
        del error
        return self.say(refused)

    def say(self, refused: Refused) -> object:
        if self.carrier.get("type") == "websocket":
            return super().say(refused)  # to the error handler, which has the socket
        raise _status_of(self._request, refused) from None


def surroundings_of(arguments: Sequence[object], options: Mapping[str, object]) -> FalconSurroundings | None:
    """Return the surroundings of a view that got a request of Falcon."""
    for argument in arguments:
        if isinstance(argument, falcon.Request):
            return FalconSurroundings(argument, options)
    return None


def teach(app: object) -> bool:
    """Tell an app of Falcon what is to be answered when a Refused or an OAuthException leaves a responder.

    Unless it knows. False for what is no such app.
    """
    if not isinstance(app, falcon.App):
        return False
    one: Any = cast("Any", app)
    known, handler = _handlers_of(one), _ErrorHandler(one)
    answer: Any = handler.later if isinstance(one, falcon.asgi.App) else handler.now
    for kind in (Refused, OAuthException, ExceptionGroup):
        if kind not in known:
            cast("Any", one).add_error_handler(kind, answer)
    return True


class _ErrorHandler:
    """Falcon's error handler for ours; what is the application's own matter goes to the next one."""

    def __init__(self, app: object) -> None:
        self._app = app

    def now(self, request: falcon.Request, response: object, error: Exception, params: object) -> object:
        """Answer in WSGI."""
        refused = refusal_of(_carrier_of(request), error)
        if refused is None:
            return self._next(error)(request, response, error, params)
        raise _status_of(request, refused) from None

    async def later(
        self, request: falcon.Request, response: object, error: Exception, params: object, ws: Any = None
    ) -> None:
        """Answer in ASGI; a WebSocket is closed, or refused if it is not accepted yet."""
        refused = refusal_of(_carrier_of(request), error)
        if refused is None:
            following = self._next(error)
            with_socket = {"ws": ws} if "ws" in signature(following).parameters else {}
            result = following(request, response, error, params, **with_socket)
            if isawaitable(result):
                await result
        elif ws is None:
            raise _status_of(request, refused) from None
        else:
            with suppress(falcon.WebSocketDisconnected):
                await ws.close(_POLICY_VIOLATION)

    def _next(self, error: Exception) -> Callable[..., object]:
        known = _handlers_of(self._app)
        kinds = (kind for kind in type(error).__mro__[1:] if kind in known)
        return next(known[kind] for kind in kinds if not _is_ours(known[kind]))  # Exception has Falcon's own


def _is_ours(handler: Callable[..., object]) -> bool:
    return isinstance(getattr(handler, "__self__", None), _ErrorHandler)


def _handlers_of(app: object) -> Mapping[type, Callable[..., object]]:
    return cast("Mapping[type, Callable[..., object]]", getattr(app, "_error_handlers", {}))


def _carrier_of(request: falcon.Request) -> Carrier:
    return cast("Carrier", request.scope if isinstance(request, falcon.asgi.Request) else request.env)


def _status_of(request: falcon.Request, refused: Refused) -> Exception:
    """Return what Falcon takes for a response."""
    answer = answered(refused, _carrier_of(request))
    return falcon.HTTPStatus(answer.status, headers=answer.headers, text=answer.body.decode())
