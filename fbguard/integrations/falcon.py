"""fbguard in Falcon: responders with ``@require_fb_token``, behind the plain door of either protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable
from typing import Any, NoReturn, cast

import falcon
import falcon.asgi

from fbguard.core.carrier import Carrier, is_asgi
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.requirement import PathParams
from fbguard.reports import refusal_of
from fbguard.surroundings import Surroundings


class FalconSurroundings(Surroundings):
    """A responder, or what else Falcon gives a request to; ``options`` are its routed parameters."""

    def __init__(self, request: falcon.Request, options: Mapping[str, object]) -> None:
        super().__init__(_carrier_of(request))
        self._request = request
        self._options = options

    def path_params(self) -> PathParams:
        return self._options

    def report(self, error: Exception, refused: Refused) -> NoReturn:
        del error
        self.say(refused)

    def say(self, refused: Refused) -> NoReturn:
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
        self, request: falcon.Request, response: object, error: Exception, params: object
    ) -> None:
        """Answer in ASGI."""
        answered = self.now(request, response, error, params)
        if isawaitable(answered):
            await answered

    def _next(self, error: Exception) -> Callable[..., object]:
        known = _handlers_of(self._app)
        return next(known[kind] for kind in type(error).__mro__[1:] if kind in known)  # Exception has one


def _handlers_of(app: object) -> Mapping[type, Callable[..., object]]:
    return cast("Mapping[type, Callable[..., object]]", getattr(app, "_error_handlers", {}))


def _carrier_of(request: falcon.Request) -> Carrier:
    return cast("Carrier", request.scope if isinstance(request, falcon.asgi.Request) else request.env)


def _status_of(request: falcon.Request, refused: Refused) -> Exception:
    """Return what Falcon takes for a response, or for the end of a WebSocket."""
    carrier = _carrier_of(request)
    if is_asgi(carrier) and carrier["type"] == "websocket":
        return falcon.HTTPError(refused.status)  # it closes by a code of its own: 3000 and the status
    answer = refused.answer(request.get_header("Accept"), request.get_header("Accept-Language"))
    return falcon.HTTPStatus(answer.status, headers=answer.headers, text=answer.body.decode())
