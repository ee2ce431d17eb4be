"""The views of Flask: what they are given, and how what they say gets out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, NoReturn, cast
from uuid import UUID
from weakref import WeakSet

import flask
import flask.views
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from fbguard.claims import Claims
from fbguard.context import TOKEN, door_of
from fbguard.copies import begin, hand_down, is_around, put_back_in, show_in
from fbguard.core.carrier import Carrier
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.requirement import PathParams
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.guard import Guard
from fbguard.heads import answered
from fbguard.marks import marks_of
from fbguard.streams import LiveBody, SeeingBody, ending_body
from fbguard.surroundings import AnsweringSurroundings
from fbguard.wsgi_refusals import GraphErrorHandler, RefusalResponse

EXTENSION: Final = "fbguard"
_ROUTED: Final = frozenset({str, int, float, UUID})  # what Flask's routing gives to views
showing: Final[WeakSet[flask.Flask]] = WeakSet()  # apps that show facts in g by themselves
# Without the proxies around them, which cost more than all the rest of a view's short way.
_current_request: Callable[[], flask.Request] = cast("Any", flask.request)._get_current_object  # noqa: SLF001
_current_g: Callable[[], Any] = cast("Any", flask.g)._get_current_object  # noqa: SLF001


def response_of(refused: Refused) -> flask.Response:
    """Return a refusal as a response of the current app, for the current request."""
    answer = answered(refused, flask.request.environ)
    return flask.current_app.response_class(answer.body, answer.status, answer.headers)


def surroundings_of(door: Carrier | None) -> FlaskSurroundings | None:
    """Return the surroundings of a view of Flask, if one is running.

    None, too, if a view of Flask has called another app that has a door of its own.
    """
    if not flask.has_request_context():
        return None
    environ = _current_request().environ
    if door is not None and door is not environ and is_around(environ, door):
        return None
    return FlaskSurroundings()


def show(environ: Carrier, info: TokenInfo | None) -> None:
    """Put facts where Flask's views look for them."""
    show_in(_current_g(), environ, info)


def tell(
    info: TokenInfo, carrier: Carrier, arguments: tuple[object, ...], options: Mapping[str, object]
) -> bool:
    """Put a request's facts where Flask's views look for them, if it is the one that Flask serves.

    False where that is not so, or a view was given what may be another framework's request.
    """
    for argument in arguments:
        if type(argument) not in _ROUTED and not isinstance(argument, flask.views.View):
            return False
    for argument in options.values():
        if type(argument) not in _ROUTED:
            return False
    try:
        if _current_request().environ is not carrier:
            return False
    except RuntimeError:  # no request is served by Flask
        return False
    show_in(_current_g(), carrier, info)
    return True


def attach(app: flask.Flask) -> None:
    """Have an app below a plain WSGI door show what was found, also None, as ``FBGuard`` does. Once."""
    if app not in showing:
        showing.add(app)
        app.before_request_funcs.setdefault(None, []).insert(0, _show_found)
        app.teardown_request_funcs.setdefault(None, []).insert(0, _put_found_back)  # the first runs last


def _show_found() -> None:
    environ = _current_request().environ
    begin(environ)
    show(environ, environ.get(TOKEN))


def _put_found_back(_error: BaseException | None) -> None:
    put_back_in(_current_g(), _current_request().environ)


class FlaskSurroundings(AnsweringSurroundings):
    """A view of Flask."""

    def __init__(self) -> None:
        environ = flask.request.environ
        hand_down(environ)
        super().__init__(environ)
        show(environ, self.carrier.get(TOKEN))  # also where a plain WSGI door has looked

    def application_guard(self) -> Guard | None:
        found = flask.current_app.extensions.get(EXTENSION)
        return found if isinstance(found, Guard) else None

    def path_params(self) -> PathParams:
        return flask.request.view_args or {}

    def inject(self, guard: Guard, info: TokenInfo | None, token: Secret | None) -> None:
        super().inject(guard, info, token)
        show(flask.request.environ, info)

    def have_marked(self, guard: Guard) -> bool:
        del guard
        return False  # a door around what serves Flask does not see what a view has found

    def marking_view(self, view: Callable[..., Any]) -> Callable[..., Any]:
        self.marked(None)  # it may also raise, or abort() with a response
        return view

    def marked(self, answer: object) -> object:
        flask.after_this_request(mark_response)  # again: after what the view does to it
        return answer

    def live_view(self, view: Callable[..., Any], claims: Claims) -> Callable[..., Any]:
        self._end_with(claims)  # it may also abort() with a response
        return view

    def live(self, answer: object, claims: Claims) -> object:
        self._end_with(claims)  # again: after what the view itself does to its response
        return answer

    def _end_with(self, claims: Claims) -> None:
        environ = self.carrier
        flask.after_this_request(lambda response: let_stream_end(response, environ, claims))

    def outgoing(self, answer: object) -> object:
        # A file has no code to run, and servers may have a fast way for it, which must stay.
        if isinstance(answer, Response) and answer.is_streamed and not answer.direct_passthrough:
            close = getattr(answer.response, "close", None)
            answer.response = SeeingBody(answer.iter_encoded(), self.carrier, close)
        if isinstance(answer, Generator):  # a view may be one
            chunks = cast("Generator[object]", answer)
            return SeeingBody(chunks, self.carrier, chunks.close)
        return answer

    def report(self, error: Exception, refused: Refused) -> NoReturn:
        if _has_own_words(OAuthException):
            raise error
        self.say(refused)

    def say(self, refused: Refused) -> NoReturn:
        if _has_own_words(Refused):
            raise refused
        # An HTTPException that is a response passes every errorhandler of the app, and after_request.
        raise HTTPException(response=response_of(refused)) from None


def _has_own_words(kind: type[Exception]) -> bool:
    """Tell whether the app, or a blueprint of this request, has an ``errorhandler(kind)`` of its own."""
    spec = flask.current_app.error_handler_spec
    handlers: list[object] = [spec[name][None].get(kind) for name in (*flask.request.blueprints, None)]
    ours = (RefusalResponse, GraphErrorHandler)
    return any(not (handler in {None, ours[0]} or isinstance(handler, ours)) for handler in handlers)


def mark_response(response: flask.Response) -> flask.Response:
    """Tell shared caches what a response depends on, and on whom."""
    response.headers = Headers(marks_of(flask.request.environ).on(list(response.headers)))
    return response


def let_stream_end(response: flask.Response, environ: Carrier, claims: Claims) -> flask.Response:
    """Let a streamed body end with its tokens.

    A file has a fast way, which must stay: servers make of it what only they know.
    """
    given = cast("object", response.response)
    close = getattr(given, "close", None)
    if isinstance(given, LiveBody) and given.claims is claims:
        return response
    if isinstance(given, Generator) or not (response.direct_passthrough or isinstance(given, list | tuple)):
        body = response.iter_encoded()
        if door_of(environ) is None:  # nobody could answer for a body that is refused
            response.response = LiveBody(body, claims, close)
        else:
            response.response = ending_body(environ, claims, body, close)
    return response
