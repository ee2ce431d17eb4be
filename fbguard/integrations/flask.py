"""fbguard in Flask: ``FBGuard(app, guard, policy=...)``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import flask
from werkzeug.datastructures import Headers

from fbguard import wsgi
from fbguard.claims import Claims, make_live_by_rule
from fbguard.context import inject
from fbguard.copies import begin, put_back_in
from fbguard.core import preflight
from fbguard.core.carrier import Carrier, carrier_of_request
from fbguard.core.credentials import MISSING
from fbguard.core.errors import Refused
from fbguard.core.options import refuse_unknown
from fbguard.core.policy import Policy
from fbguard.core.secret import Secret
from fbguard.entrance import Way, approach, check_door
from fbguard.guard import OPTIONS, Guard
from fbguard.heads import EnvironHead
from fbguard.integrations.flask_views import (
    EXTENSION,
    FlaskSurroundings,
    let_stream_end,
    mark_response,
    response_of,
    show,
    showing,
)
from fbguard.reports import heed

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

_WAY: Final = "fbguard.way"
_BEFORE: Final = "fbguard.before"  # the request that this thread served when this one came
_PREFIX: Final = "FBGUARD_"
_POLICY: Final = "FBGUARD_POLICY"
_EVERYTHING: Final = Policy()


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
        if not isinstance(app, flask.Flask):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"FBGuard guards a Flask app, not {type(app).__name__}: FBGuard(app, guard)")
        if EXTENSION in app.extensions:
            raise RuntimeError("this app has an FBGuard already")
        guard = self.guard if self.guard is not None else _guard_of(app)
        policy = _policy_of(app, self.policy)
        check_door(guard, policy)
        _Gate(guard, policy).stand_in(app)
        showing.add(app)
        # The door carries the request's context, also for streamed bodies. What it guards is said by the
        # gate, inside Flask, so that a refusal passes after_request (CORS headers, sessions, logging).
        door = wsgi.FBTokenMiddleware(app.wsgi_app, guard, policy=None)
        app.wsgi_app = door  # type: ignore[method-assign]
        app.extensions[EXTENSION] = guard


def policy_of(app: flask.Flask) -> Policy | None:
    """Return the policy of an app's FBGuard; None if it has none, or guards no path."""
    for before in app.before_request_funcs.get(None, ()):
        gate = getattr(before, "__self__", None)
        if isinstance(gate, _Gate):
            return gate.policy
    return None


class _Gate:
    """The requests of one app, between Flask's routing and its views."""

    def __init__(self, guard: Guard, policy: Policy | None) -> None:
        self._guard = guard
        self.policy = policy
        self._live = f"fbguard.live.{id(self):x}"  # of an environ: what this door, no other, has let in

    def stand_in(self, app: flask.Flask) -> None:
        app.teardown_request(_leave)  # now: Flask refuses it once the app has served a request
        teardown = app.teardown_request_funcs[None]
        teardown.insert(0, teardown.pop())  # the first runs last: those of the app still find their request
        # In front of what the app has registered so far: nobody's before_request runs unguarded. And as
        # the last of after_request, whose functions run from the end of the list.
        before = app.before_request_funcs.setdefault(None, [])
        after = app.after_request_funcs.setdefault(None, [])
        after.insert(0, self._finish)
        if self.policy is not None and self.policy.has_live:
            before.insert(0, self._make_live)
            after.insert(0, self._end_with_tokens)
        before.insert(0, self._admit)

    def _admit(self) -> None:
        environ = flask.request.environ
        _enter(environ)
        begin(environ)
        environ.pop(self._live, None)  # a copy brings that of another request along
        inject(environ, self._guard, None)
        show(environ, None)
        try:
            way, demands, verdict, token = approach(self._guard, self.policy, EnvironHead(environ))
            if isinstance(verdict, Secret):
                verdict = self._guard.settle(demands, verdict)
        except Refused as refused:
            answer = refused
        else:
            environ[_WAY] = way
            inject(environ, self._guard, verdict, demands, token)
            show(environ, verdict)
            return
        FlaskSurroundings().say(answer)

    def _make_live(self) -> None:
        environ = flask.request.environ
        claims = make_live_by_rule(environ, self._guard)
        if claims is not None:
            environ[self._live] = claims

    def _end_with_tokens(self, response: flask.Response) -> flask.Response:
        environ = flask.request.environ
        claims: Claims | None = environ.get(self._live)
        return response if claims is None else let_stream_end(response, environ, claims)

    def _finish(self, response: flask.Response) -> flask.Response:
        environ = flask.request.environ
        way = environ.get(_WAY)
        if way is Way.MARKED:
            response = mark_response(response)
        if way is not Way.PREFLIGHT:
            return response
        if not preflight.is_answered(response.status_code):
            return response_of(self._guard.refusal(MISSING))
        return _OnlyThePermission(status=preflight.STATUS, headers=response.headers)


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
    put_back_in(flask.g, environ)


def _guard_of(app: flask.Flask) -> Guard:
    """Return a guard made of ``app.config["FBGUARD_..."]``; raises RuntimeError when there is none."""
    names = [
        key for key in cast("Mapping[str, Any]", app.config) if key.startswith(_PREFIX) and key != _POLICY
    ]
    if not names:
        raise RuntimeError("FBGuard needs a guard: FBGuard(app, guard), or FBGUARD_APP_ID ... in app.config")
    refuse_unknown("FBGuard", map(_option_of, names), (*OPTIONS, "policy"), _key_of)
    kind: type[TypeError | ValueError]
    try:
        # In one expression: no local variable holds the secret, or the config, when a traceback shows this.
        return Guard.from_mapping({_option_of(name): app.config[name] for name in names})
    except (TypeError, ValueError) as error:
        kind, reason = TypeError if isinstance(error, TypeError) else ValueError, str(error)
    # Outside the except block: that exception's frames show what was given. A reason begins with its option.
    raise kind(re.sub(r"\A\w+", lambda word: _key_of(word[0]) if word[0] in OPTIONS else word[0], reason))


def _option_of(key: str) -> str:
    return key.removeprefix(_PREFIX).lower()


def _key_of(option: str) -> str:
    return _PREFIX + option.upper()


def _policy_of(app: flask.Flask, given: Policy | None) -> Policy | None:
    configured: object = given
    if given is _EVERYTHING:
        configured = cast("Mapping[str, object]", app.config).get(_POLICY, given)
    if isinstance(configured, Mapping):
        return Policy.from_mapping(cast("Mapping[str, Any]", configured))
    return cast("Policy | None", configured)  # what else it may be is check_door's to refuse
