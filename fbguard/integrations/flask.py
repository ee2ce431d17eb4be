"""fbguard in Flask: ``FBGuard(app, guard, policy=...)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import flask
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from fbguard import wsgi
from fbguard.context import inject
from fbguard.core import preflight
from fbguard.core.carrier import Carrier
from fbguard.core.credentials import MISSING
from fbguard.core.errors import Refused
from fbguard.core.policy import Policy
from fbguard.core.requirement import PathParams
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.entrance import Way, approach, check_door, is_private, mark
from fbguard.guard import Guard
from fbguard.surroundings import Surroundings

EXTENSION: Final = "fbguard"
_WAY: Final = "fbguard.way"
_EVERYTHING: Final = Policy()


class FBGuard:
    """Guards a Flask app; its refusals are ordinary answers, which pass ``after_request``.

    ``FBGuard(app, guard, policy=Policy())``, or ``FBGuard(guard=..., policy=...)`` and later
    ``init_app(app)`` in an app factory. Without a guard the app's config gives one:
    ``FBGUARD_APP_ID``, ``FBGUARD_APP_SECRET`` and every other option of :class:`fbguard.Guard` in
    upper case behind ``FBGUARD_``; ``FBGUARD_POLICY`` is a Policy or its mapping. ``policy=None``
    guards no path: the views decide.

    The facts are in ``g.fb_token`` and :func:`fbguard.current_token`. Raises TypeError and ValueError
    for wrong configuration, RuntimeError for a second ``init_app`` on one app.
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
        app.extensions[EXTENSION] = guard
        # The door carries the request's context, also for streamed bodies; what it guards is said below,
        # inside Flask, so that a refusal passes after_request (CORS headers, sessions, logging).
        door = wsgi.FBTokenMiddleware(app.wsgi_app, guard, policy=None)
        app.wsgi_app = door  # type: ignore[method-assign]
        _Gate(guard, policy).stand_in(app)


class _Gate:
    """The requests of one app, between Flask's routing and its views."""

    def __init__(self, guard: Guard, policy: Policy | None) -> None:
        self._guard = guard
        self._policy = policy

    def stand_in(self, app: flask.Flask) -> None:
        # In front of what the app has registered so far: nobody's before_request runs unguarded.
        app.before_request_funcs.setdefault(None, []).insert(0, self._admit)
        app.after_request(self._answer_preflight)

    def _admit(self) -> None:
        environ = flask.request.environ
        flask.g.fb_token = None
        way, demands, verdict = approach(self._guard, self._policy, wsgi.EnvironHead(environ))
        if isinstance(verdict, Secret):
            verdict = self._guard.settle(demands, verdict)
        environ[_WAY] = way
        inject(environ, self._guard, verdict, demands)
        flask.g.fb_token = verdict

    def _answer_preflight(self, response: flask.Response) -> flask.Response:
        way = flask.request.environ.get(_WAY)
        if way is Way.MARKED:
            environ = flask.request.environ
            private = is_private(environ, wsgi.EnvironHead(environ))
            response.headers = Headers(mark(list(response.headers), self._guard.sources, private=private))
        if way is not Way.PREFLIGHT:
            return response
        if not preflight.is_answered(response.status_code):
            return response_of(self._guard.refusal(MISSING))
        response.status_code = preflight.STATUS
        response.set_data(b"")
        for name in [name for name, _ in response.headers if not preflight.is_kept(name)]:
            del response.headers[name]
        return response


def response_of(refused: Refused) -> flask.Response:
    """Return a refusal as a response of the current app, for the current request."""
    headers = flask.request.headers
    answer = refused.answer(accept=headers.get("Accept"), language=headers.get("Accept-Language"))
    return flask.current_app.response_class(answer.body, answer.status, answer.headers)


def surroundings_of(door: Carrier | None) -> FlaskSurroundings | None:
    """Return the surroundings of a view of Flask; ``door`` is the request of the door around it, if any."""
    if not flask.has_request_context() or (door is not None and door is not flask.request.environ):
        return None
    return FlaskSurroundings()


class FlaskSurroundings(Surroundings):
    """A view of Flask."""

    def __init__(self) -> None:
        super().__init__(flask.request.environ)

    def application_guard(self) -> Guard | None:
        found = flask.current_app.extensions.get(EXTENSION)
        return found if isinstance(found, Guard) else None

    def path_params(self) -> PathParams:
        return flask.request.view_args or {}

    def inject(self, guard: Guard, info: TokenInfo | None) -> None:
        super().inject(guard, info)
        flask.g.fb_token = info

    def say(self, refused: Refused) -> object:
        handlers: Any = flask.current_app.error_handler_spec
        if any(Refused in codes.get(None, {}) for codes in handlers.values()):
            raise refused  # the app, or a door around it, has said what it means
        raise HTTPException(response=response_of(refused)) from None


def _guard_of(app: flask.Flask) -> Guard:
    """Return a guard made of ``app.config["FBGUARD_..."]``; raises RuntimeError when there is none."""
    prefix = "FBGUARD_"
    config = cast("Mapping[str, Any]", app.config)
    options = {
        key.removeprefix(prefix).lower(): value
        for key, value in config.items()
        if key.startswith(prefix) and key != "FBGUARD_POLICY"
    }
    if not options:
        raise RuntimeError("FBGuard needs a guard: FBGuard(app, guard), or FBGUARD_APP_ID ... in app.config")
    return Guard.from_mapping(options)


def _policy_of(app: flask.Flask, given: Policy | None) -> Policy | None:
    config = cast("Mapping[str, object]", app.config)
    configured = config.get("FBGUARD_POLICY", given) if given is _EVERYTHING else given
    if isinstance(configured, Mapping):
        return Policy.from_mapping(cast("Mapping[str, Any]", configured))
    return cast("Policy | None", configured)  # what else it may be is check_door's to refuse
