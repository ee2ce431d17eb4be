"""fbguard in Quart: views with ``@require_fb_token``, behind the plain ASGI door."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import quart
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from fbguard.context import LEFT, TOKEN
from fbguard.core.carrier import Carrier
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.requirement import PathParams
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.guard import Guard
from fbguard.reports import refusal_of
from fbguard.surroundings import Surroundings

EXTENSION = "fbguard"


class QuartSurroundings(Surroundings):
    """A view of Quart: of a request, or of a WebSocket."""

    def __init__(self) -> None:
        self._request = _current()
        super().__init__(cast("Carrier", self._request.scope))

    def application_guard(self) -> Guard | None:
        found = quart.current_app.extensions.get(EXTENSION)
        return found if isinstance(found, Guard) else None

    def path_params(self) -> PathParams:
        return cast("PathParams", self._request.view_args or {})

    def inject(self, guard: Guard, info: TokenInfo | None, token: Secret | None) -> None:
        super().inject(guard, info, token)
        quart.g.fb_token = info

    def report(self, error: Exception, refused: Refused) -> NoReturn:
        del error
        self.say(refused)

    def say(self, refused: Refused) -> NoReturn:
        # An HTTPException that has a response passes every errorhandler of the app, and after_request.
        raise HTTPException(response=cast("Any", _response_of(self._request, refused))) from None


def surroundings_of(door: Carrier | None) -> QuartSurroundings | None:
    """Return the surroundings of a view of Quart, if one is running for the request of this door."""
    if not (quart.has_request_context() or quart.has_websocket_context()):
        return None
    found = QuartSurroundings()
    scope = found.carrier
    # Else a view of Quart has called another app, which has a door of its own.
    is_its_own = door is None or scope is door or scope.get(LEFT, door) is door.get(LEFT)
    return found if is_its_own else None


def teach(app: object) -> bool:
    """Tell an app of Quart what is to be answered when a Refused or an OAuthException leaves a view.

    Unless it knows. False for what is no such app.
    """
    if not isinstance(app, quart.Quart):
        return False
    known = app.error_handler_spec[None][None]
    for kind in (Refused, OAuthException, ExceptionGroup):
        if kind not in known:
            app.register_error_handler(kind, _answer)
    for before in (app.before_request_funcs[None], app.before_websocket_funcs[None]):
        if _show not in before:
            before.insert(0, _show)
    return True


async def _show() -> None:
    """Put what the door has found, also None, where views of Quart look for it."""
    quart.g.fb_token = _current().scope.get(TOKEN)


async def _answer(error: Exception) -> Any:
    """Be an error handler of Quart; what is the application's own matter goes to the next one."""
    refused = refusal_of(_current().scope, error)
    if refused is not None:
        return _response_of(_current(), refused)
    known = quart.current_app.error_handler_spec[None][None]
    for kind in type(error).__mro__[1:]:
        if kind in known:
            return await quart.current_app.ensure_async(known[kind])(error)
    raise error


def _current() -> Any:
    return quart.request if quart.has_request_context() else quart.websocket


def _response_of(request: Any, refused: Refused) -> quart.Response:
    answer = refused.answer(request.headers.get("Accept"), request.headers.get("Accept-Language"))
    return quart.Response(answer.body, answer.status, Headers(answer.headers))
