"""fbguard in Quart: views with ``@require_fb_token``, behind the plain ASGI door."""

from __future__ import annotations

from itertools import count
from typing import Any, Final, NoReturn, cast

import flask
import quart  # which needs Flask
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from fbguard.context import LEFT, TOKEN
from fbguard.copies import begin, has_begun, is_innermost, is_shown, put_back_in, show_in
from fbguard.core.carrier import Carrier
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.requirement import PathParams
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.guard import Guard
from fbguard.heads import answered
from fbguard.reports import refusal_of
from fbguard.surroundings import Surroundings

EXTENSION: Final = "fbguard"
_NUMBER: Final = "fbguard.number"  # of a scope: by which requests that run in each other are told apart
_FLASK: Final = "fbguard.flask"  # of a scope: the environ that Flask served when it began, or None
_NO_DOOR: Final = (
    "a request of Quart runs in another request, or around it, and has no door: put FBTokenMiddleware around "
    "each app that is asked in this process"
)
_numbers = count(1)


class QuartSurroundings(Surroundings):
    """A view of Quart: of a request, or of a WebSocket."""

    def __init__(self, request: Any) -> None:
        super().__init__(cast("Carrier", request.scope))
        self._request = request

    def application_guard(self) -> Guard | None:
        found = quart.current_app.extensions.get(EXTENSION)
        return found if isinstance(found, Guard) else None

    def path_params(self) -> PathParams:
        return cast("PathParams", self._request.view_args or {})

    def inject(self, guard: Guard, info: TokenInfo | None, token: Secret | None) -> None:
        super().inject(guard, info, token)
        if not is_shown(self.carrier) and quart.has_request_context():  # no door has taught the app
            quart.after_this_request(_put_back_after)
        show_in(quart.g, self.carrier, info)

    def report(self, error: Exception, refused: Refused) -> NoReturn:
        if self._has_own_words(OAuthException):
            raise error
        self.say(refused)

    def say(self, refused: Refused) -> NoReturn:
        if self._has_own_words(Refused):
            raise refused
        # An HTTPException that has a response passes every errorhandler of the app, and after_request.
        raise HTTPException(response=cast("Any", _response_of(self._request, refused))) from None

    def _has_own_words(self, kind: type[Exception]) -> bool:
        spec = quart.current_app.error_handler_spec
        handlers = [spec[name][None].get(kind) for name in (*self._request.blueprints, None)]
        return any(handler not in {None, _answer} for handler in handlers)


def surroundings_of(door: Carrier | None) -> QuartSurroundings | None:
    """Return the surroundings of a view of Quart, if one is running.

    None, too, if a view of Quart has called another app: of Flask, or one that has a door of its own. Raises
    RuntimeError for an app without a door beside another request: nobody can tell which runs in the other.
    """
    active = _active()
    if not active:
        return None
    is_known = all(has_begun(one.scope) for one in active)
    last = max(active, key=_number)
    if flask.has_request_context():
        if not is_known:
            raise RuntimeError(_NO_DOOR)
        if last.scope[_FLASK] is not flask.request.environ:
            return None  # Flask has begun later
    own = [one for one in active if one.scope is door or is_innermost(one.scope) or _is_copy(one.scope, door)]
    if own or (door is None and len(active) == 1):
        return QuartSurroundings(max(own or active, key=_number))
    if is_known:
        return None
    raise RuntimeError(_NO_DOOR)


def teach(app: object) -> bool:
    """Tell an app of Quart what is to be answered when a Refused or an OAuthException leaves a view.

    Unless it knows; and to show the facts in ``g``. False for what is no such app.
    """
    if not isinstance(app, quart.Quart):
        return False
    known = app.error_handler_spec[None][None]
    for kind in (Refused, OAuthException, ExceptionGroup):
        if kind not in known:
            app.register_error_handler(kind, _answer)
    tables: Any = (
        (app.before_request_funcs, _show_request),
        (app.before_websocket_funcs, _show_websocket),
        (app.teardown_request_funcs, _put_request_back),  # the first runs last
        (app.teardown_websocket_funcs, _put_websocket_back),
    )
    for table, function in tables:
        if function not in table[None]:
            table[None].insert(0, function)
    return True


async def _show_request() -> None:
    _begin(quart.request.scope)


async def _show_websocket() -> None:
    _begin(quart.websocket.scope)


def _begin(scope: Any) -> None:
    begin(scope)
    scope[_NUMBER] = next(_numbers)
    scope[_FLASK] = flask.request.environ if flask.has_request_context() else None
    show_in(quart.g, scope, scope.get(TOKEN))


def _end(scope: Any) -> None:
    put_back_in(quart.g, scope)


async def _put_request_back(_error: BaseException | None) -> None:
    _end(quart.request.scope)


async def _put_websocket_back(_error: BaseException | None) -> None:
    _end(quart.websocket.scope)


def _put_back_after(response: Any) -> Any:
    _end(quart.request.scope)
    return response


async def _answer(error: Exception) -> Any:
    """Be an error handler of Quart; what is the application's own matter goes to the next one."""
    request = max(_active(), key=_number)
    refused = refusal_of(request.scope, error)
    if refused is not None:
        return _response_of(request, refused)
    known = quart.current_app.error_handler_spec[None][None]
    for kind in type(error).__mro__[1:]:
        if kind in known and known[kind] is not _answer:
            return await quart.current_app.ensure_async(known[kind])(error)
    raise error


def _active() -> list[Any]:
    found: list[Any] = []
    if quart.has_request_context():
        found.append(cast("Any", quart.request)._get_current_object())  # noqa: SLF001 - the proxy's own way
    if quart.has_websocket_context():
        found.append(cast("Any", quart.websocket)._get_current_object())  # noqa: SLF001
    return found


def _is_copy(scope: Any, door: Carrier | None) -> bool:
    """Tell a copy of what a door has seen, of an app that the door has not."""
    return door is not None and not has_begun(scope) and LEFT in door and scope.get(LEFT) is door[LEFT]


def _number(request: Any) -> int:
    """Return which of the requests it was: the last runs in the others."""
    number: int = request.scope.get(_NUMBER, 0)
    return number


def _response_of(request: Any, refused: Refused) -> quart.Response:
    answer = answered(refused, request.scope)
    return quart.Response(answer.body, answer.status, Headers(answer.headers))
