"""fbguard in Flask: ``FBGuard(app, guard, policy=...)``."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast
from uuid import UUID

import flask
import flask.views
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from fbguard import wsgi
from fbguard.context import LEFT, STATE_ATTRIBUTE, TOKEN, demands_of, door_of, inject, left_in
from fbguard.core import preflight
from fbguard.core.carrier import Carrier, carrier_of_request, is_asgi
from fbguard.core.credentials import MISSING
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.policy import Policy
from fbguard.core.requirement import PathParams, is_live
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.entrance import Way, approach, check_door, is_private, mark
from fbguard.guard import Guard
from fbguard.heads import EnvironHead
from fbguard.live import claim_of
from fbguard.reports import heed
from fbguard.streams import LiveBody, SeeingBody
from fbguard.surroundings import Surroundings

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

EXTENSION: Final = "fbguard"
_WAY: Final = "fbguard.way"
_SHOWN: Final = "fbguard.shown"  # what g held before: another request's facts, or None
_NOTHING: Final = object()
_BEFORE: Final = "fbguard.before"  # the request that this thread served when this one came
_PREFIX: Final = "FBGUARD_"
_POLICY: Final = "FBGUARD_POLICY"
_EVERYTHING: Final = Policy()
_ROUTED: Final = frozenset({str, int, float, UUID})  # what Flask's routing gives to views
# Without the proxies around them, which cost more than all the rest of a view's short way.
_current_request: Callable[[], flask.Request] = cast("Any", flask.request)._get_current_object  # noqa: SLF001
_current_g: Callable[[], Any] = cast("Any", flask.g)._get_current_object  # noqa: SLF001


class FBGuard:
    """Guards a Flask app; its refusals are ordinary answers, which pass ``after_request``.

    ``FBGuard(app, guard, policy=Policy())``, or ``FBGuard(guard=..., policy=...)`` and later
    ``init_app(app)`` in an app factory. Without a guard the app's config gives one:
    ``FBGUARD_APP_ID``, ``FBGUARD_APP_SECRET`` and every other option of :class:`fbguard.Guard` in
    upper case behind ``FBGUARD_``; ``FBGUARD_POLICY`` is a Policy or its mapping. ``policy=None``
    guards no path: the views decide.

    The facts are in ``g.fb_token`` and :func:`fbguard.current_token`. An ``errorhandler(Refused)`` of
    the app or of a blueprint may say a refusal in its own words; ``errorhandler(OAuthException)`` what
    Graph said to a view. Raises TypeError and ValueError for
    wrong configuration, RuntimeError for a second ``init_app`` on one app.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        guard: Guard | None = None,
        *,
        policy: Policy | None = _EVERYTHING,
    ) -> None:
        self.guard = guard
        self.policy = policy
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Guard ``app``; the guard is then in ``app.extensions["fbguard"]``."""
        if EXTENSION in app.extensions:
            raise RuntimeError("this app has an FBGuard already")
        guard = self.guard if self.guard is not None else _guard_of(app)
        policy = _policy_of(app, self.policy)
        check_door(guard, policy)
        _Gate(guard, policy).stand_in(app)
        # The door carries the request's context, also for streamed bodies. What it guards is said by the
        # gate, inside Flask, so that a refusal passes after_request (CORS headers, sessions, logging).
        door = wsgi.FBTokenMiddleware(app.wsgi_app, guard, policy=None)
        app.wsgi_app = door  # type: ignore[method-assign]
        app.extensions[EXTENSION] = guard


class _Gate:
    """The requests of one app, between Flask's routing and its views."""

    def __init__(self, guard: Guard, policy: Policy | None) -> None:
        self._guard = guard
        self._policy = policy

    def stand_in(self, app: flask.Flask) -> None:
        app.teardown_request(_leave)  # first: Flask refuses it once the app has served a request
        # In front of what the app has registered so far: nobody's before_request runs unguarded. And as
        # the last of after_request, whose functions run from the end of the list.
        app.before_request_funcs.setdefault(None, []).insert(0, self._admit)
        app.after_request_funcs.setdefault(None, []).insert(0, self._finish)
        if self._policy is not None and self._policy.has_live:
            app.after_request_funcs[None].insert(0, self._end_with_token)

    def _admit(self) -> None:
        environ = flask.request.environ
        _enter(environ)
        inject(environ, self._guard, None)
        _show(environ, None)
        try:
            way, demands, verdict, token = approach(self._guard, self._policy, EnvironHead(environ))
            if isinstance(verdict, Secret):
                verdict = self._guard.settle(demands, verdict)
        except Refused as refused:
            answer = refused
        else:
            environ[_WAY] = way
            inject(environ, self._guard, verdict, demands, token)
            _show(environ, verdict)
            return
        FlaskSurroundings().say(answer)

    @staticmethod
    def _end_with_token(response: flask.Response) -> flask.Response:
        if is_live(demands_of(flask.request.environ)):
            _let_stream_end(response, flask.request.environ)
        return response

    def _finish(self, response: flask.Response) -> flask.Response:
        environ = flask.request.environ
        way = environ.get(_WAY)
        if way is Way.MARKED:
            response = _marked(response, self._guard)
        if way is not Way.PREFLIGHT:
            return response
        if not preflight.is_answered(response.status_code):
            return response_of(self._guard.refusal(MISSING))
        return _OnlyThePermission(status=preflight.STATUS, headers=response.headers)


def _marked(response: flask.Response, guard: Guard) -> flask.Response:
    environ = flask.request.environ
    private = is_private(environ, EnvironHead(environ))
    response.headers = Headers(mark(list(response.headers), guard.sources, private=private))
    return response


def _let_stream_end(response: Response, environ: Carrier) -> Response:
    """Let a streamed body end with its token; a file has a fast way, which must stay."""
    claim = claim_of(environ)
    if claim is not None and response.is_streamed and not response.direct_passthrough:
        close = getattr(response.response, "close", None)
        response.response = LiveBody(response.iter_encoded(), claim, close)
    return response


class _OnlyThePermission(flask.Response):
    """What comes out of a preflight; Flask adds the cookie of its session after every after_request."""

    def get_wsgi_headers(self, environ: WSGIEnvironment) -> Headers:
        headers = super().get_wsgi_headers(environ)
        return Headers([pair for pair in headers if preflight.is_kept(pair[0])])


def _enter(environ: Carrier) -> None:
    """Let current_token() find a request that has not come by our door, as in ``test_request_context``.

    Or that some middleware behind the door has copied.
    """
    before = carrier_of_request.get()
    if before is not environ:
        environ[_BEFORE] = before
        carrier_of_request.set(environ)


def _leave(error: BaseException | None) -> None:
    environ = flask.request.environ
    if error is not None:
        heed(environ, error)  # Flask makes a 500 of it
    if _BEFORE in environ:
        carrier_of_request.set(environ.pop(_BEFORE))
    before = environ.pop(_SHOWN, _NOTHING)
    if before is not _NOTHING:
        flask.g.fb_token = before


def response_of(refused: Refused) -> flask.Response:
    """Return a refusal as a response of the current app, for the current request."""
    answer = refused.answer(
        accept=flask.request.headers.get("Accept"), language=flask.request.headers.get("Accept-Language")
    )
    return flask.current_app.response_class(answer.body, answer.status, answer.headers)


def surroundings_of() -> FlaskSurroundings | None:
    """Return the surroundings of a view of Flask, if one is running."""
    return FlaskSurroundings() if flask.has_request_context() else None


def tell(carrier: Carrier, arguments: tuple[object, ...], options: Mapping[str, object]) -> bool:
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
    _show(carrier, carrier.get(TOKEN))
    return True


def _show(environ: Carrier, info: TokenInfo | None) -> None:
    """Put facts where Flask's views look for them.

    What another request of the same app has there is noted, and put back when this one ends: a test client
    or ``test_request_context()`` inside a view shares its ``g``.
    """
    g = _current_g()
    if _SHOWN not in environ:
        environ[_SHOWN] = g.get(STATE_ATTRIBUTE, _NOTHING)
    g.fb_token = info


def _hand_down(door: Carrier, environ: Carrier) -> None:
    """Tell Flask of the door around what serves it (Starlette, a2wsgi), which knows another request."""
    guard, judge, _, _, token = left = left_in(door)
    # What a view asks of another app in this process comes by here, too: it is judged for its own token.
    if judge is not None and token is not None and judge.sources.find(EnvironHead(environ)) == token:
        environ[TOKEN], environ[LEFT] = door[TOKEN], left
    else:
        environ[TOKEN], environ[LEFT] = None, (guard, None, (), (), None)


class FlaskSurroundings(Surroundings):
    """A view of Flask."""

    def __init__(self) -> None:
        environ = flask.request.environ
        door = carrier_of_request.get()
        if door is not None and is_asgi(door) and door_of(door) is not None and door_of(environ) is None:
            _hand_down(door, environ)
        super().__init__(environ)
        _show(environ, self.carrier.get(TOKEN))  # also where a plain WSGI door has looked

    def application_guard(self) -> Guard | None:
        found = flask.current_app.extensions.get(EXTENSION)
        return found if isinstance(found, Guard) else None

    def path_params(self) -> PathParams:
        return flask.request.view_args or {}

    def inject(self, guard: Guard, info: TokenInfo | None, token: Secret | None) -> None:
        super().inject(guard, info, token)
        _show(flask.request.environ, info)

    def must_mark(self) -> bool:
        return True  # a door around what serves Flask does not see what a view has found

    def marked(self, answer: object, guard: Guard) -> object:
        def mark_response(response: flask.Response) -> flask.Response:
            return _marked(response, guard)

        flask.after_this_request(mark_response)
        return answer

    def live(self, answer: object, guard: Guard) -> object:
        del guard
        environ = self.carrier
        flask.after_this_request(lambda response: _let_stream_end(response, environ))
        return answer

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
    ours = (wsgi.RefusalResponse, wsgi.GraphErrorHandler)
    return any(not (handler in {None, ours[0]} or isinstance(handler, ours)) for handler in handlers)


def _guard_of(app: flask.Flask) -> Guard:
    """Return a guard made of ``app.config["FBGUARD_..."]``; raises RuntimeError when there is none."""
    names = [
        key for key in cast("Mapping[str, Any]", app.config) if key.startswith(_PREFIX) and key != _POLICY
    ]
    if not names:
        raise RuntimeError("FBGuard needs a guard: FBGuard(app, guard), or FBGUARD_APP_ID ... in app.config")
    # In one expression: no local variable holds the secret, or the config, when a traceback shows this frame.
    return Guard.from_mapping({name.removeprefix(_PREFIX).lower(): app.config[name] for name in names})


def _policy_of(app: flask.Flask, given: Policy | None) -> Policy | None:
    configured: object = given
    if given is _EVERYTHING:
        configured = cast("Mapping[str, object]", app.config).get(_POLICY, given)
    if isinstance(configured, Mapping):
        return Policy.from_mapping(cast("Mapping[str, Any]", configured))
    return cast("Policy | None", configured)  # what else it may be is check_door's to refuse
