"""The WSGI door: says the core's answer in WSGI (PEP 3333). Imports no framework."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, cast

from fbguard.claims import make_live_by_rule
from fbguard.context import LEFT, TOKEN, inject
from fbguard.core import preflight
from fbguard.core.carrier import carrier_of_request, entered
from fbguard.core.credentials import MISSING
from fbguard.core.errors import Refused
from fbguard.core.policy import Policy
from fbguard.core.secret import Secret, recalled
from fbguard.core.settings import check_app
from fbguard.entrance import (
    Way,
    approach,
    check_door,
    known_to,
    log_failed_preflight,
    looks_at_nothing,
)
from fbguard.guard import Guard
from fbguard.heads import EnvironHead, bearer_in_environ
from fbguard.marks import MARKS, marks_of
from fbguard.sends import marking_start
from fbguard.streams import ending_body
from fbguard.wsgi_refusals import ExcInfo, RefusalResponse, answer_to, status_line, teach

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_EVERYTHING: Final = Policy()
# On the hit path what is called has a name of its own: to call an attribute that is no method is slow.
_set_carrier, _reset_carrier = carrier_of_request.set, carrier_of_request.reset


class FBTokenMiddleware:
    """Guards a WSGI app: ``FBTokenMiddleware(app, guard, *, policy=Policy())``.

    ``policy=None`` guards no path: the door carries the guard and answers refusals, the views decide.
    The facts go to ``environ["fbguard.token"]`` and :func:`fbguard.current_token`; None on public and
    anonymous requests.

    A Flask app (or its ``wsgi_app``), also in werkzeug's DispatcherMiddleware, learns at construction
    what a Refused and an OAuthException are, unless it has served a request already. Raises TypeError
    for a guard or policy that is none, and for an app of ASGI.
    """

    def __init__(self, app: WSGIApplication, guard: Guard, *, policy: Policy | None = _EVERYTHING) -> None:
        check_door(guard, policy)
        check_app(app, "WSGI")
        self.app = app
        self._guard = guard
        self._policy = policy
        # Chosen here, once: where no rule is live, no request pays for that.
        self._enter_in = self._enter_live if policy is not None and policy.has_live else self._enter
        self._known = known_to(guard, policy)
        self._looks_at_nothing = looks_at_nothing(guard, policy)
        teach(app)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if self._recall(environ):
            return self._enter(environ, start_response)
        try:
            way = self._admit(environ)
        except Refused as refused:
            return RefusalResponse(refused)(environ, start_response)
        if way is Way.PREFLIGHT:
            return self._answer_preflight(environ, start_response)
        if way is Way.MARKED:
            marks = marks_of(environ)
            marks.depend_on(self.guard.sources)
            return self._enter_in(environ, marking_start(marks, start_response))
        return self._enter_in(environ, start_response)

    @property
    def guard(self) -> Guard:
        """The guard; another one needs another door."""
        return self._guard

    @property
    def policy(self) -> Policy | None:
        """The policy; another one needs another door."""
        return self._policy

    def _recall(self, environ: WSGIEnvironment) -> bool:
        """Let a request in whose facts are plain (:meth:`FactCache.plain`); False tells nothing.

        The short way through :func:`approach`, for what is nearly every request; the rest goes the long way.
        """
        path = environ.get("PATH_INFO", "")
        verbs = self._known.get(path)
        if verbs is None or not path.isascii():  # else it is not the decoded path
            if self._looks_at_nothing:
                inject(environ, self._guard, None)
            return self._looks_at_nothing
        asked, given = verbs.get(environ["REQUEST_METHOD"]), bearer_in_environ(environ)
        if asked is None or given is None:
            return False
        (scopes, demands), guard, digest = asked, self._guard, sha256(given.encode()).digest()
        plain = guard.plain
        info = plain(digest, scopes)
        if info is None:
            return False
        # What inject() does, without a call. A token that is known was screened when it came first.
        environ[TOKEN] = info
        environ[LEFT] = (guard, guard, demands, (), recalled(given, digest))
        return True

    def _enter(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        app = self.app
        token = _set_carrier(environ)
        try:
            try:
                body = app(environ, start_response)
            finally:
                _reset_carrier(token)
        except Exception as error:
            said = answer_to(environ, error)
            if said is None:
                raise
            try:
                return said(environ, start_response, _exc_info())
            finally:
                del said  # it holds the error, which holds this frame: no circle may keep the request
        if isinstance(body, list) or _is_whole(body, environ):
            return body
        return _Body(body, environ, start_response)

    def _enter_live(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Enter, and let a streamed body that stands under a live rule end with its tokens."""
        claims = make_live_by_rule(environ, self.guard)
        body = self._enter(environ, start_response)
        if claims is not None and isinstance(body, _Body):
            body.wrap(partial(ending_body, environ, claims))
        return body

    def _admit(self, environ: WSGIEnvironment) -> Way:
        """Judge the request and inject the facts; raises Refused."""
        if carrier_of_request.get() is None:
            environ.pop(MARKS, None)  # of a request that was served before
        inject(environ, self.guard, None)
        way, demands, verdict, token = approach(self.guard, self.policy, EnvironHead(environ))
        if isinstance(verdict, Secret):
            verdict = self.guard.settle(demands, verdict)
        inject(environ, self.guard, verdict, demands, token)
        return way

    def _answer_preflight(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answered: list[tuple[int, list[tuple[str, str]]]] = []

        def only_the_permission(
            status: str, headers: list[tuple[str, str]], exc_info: Any = None
        ) -> Callable[[bytes], object]:
            answered[:] = [(int(status[:3]), headers)]
            return lambda _data: None

        try:
            _read(self._enter(environ, only_the_permission))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and the client gets the 401
            log_failed_preflight(error)
            answered.clear()  # nothing of it is out
        if not (answered and preflight.is_answered(answered[0][0])):
            return RefusalResponse(self.guard.refusal(MISSING))(environ, start_response)
        kept = [pair for pair in answered[0][1] if preflight.is_kept(pair[0])]
        start_response(status_line(preflight.STATUS), kept)
        return []


class _Body:
    """A streamed body whose code still sees its request, and whose refusals are still answered."""

    def __init__(
        self, body: Iterable[bytes], environ: WSGIEnvironment, start_response: StartResponse
    ) -> None:
        self._body = body
        self._chunks: Iterator[bytes] | None = None
        self._environ = environ
        self._start_response = start_response

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            token = _set_carrier(self._environ)  # each time: a server may read the body on another thread
            try:
                if self._chunks is None:
                    self._chunks = iter(self._body)
                return next(self._chunks)
            finally:
                _reset_carrier(token)
        except StopIteration:
            raise
        except Exception as error:
            answer = answer_to(self._environ, error)
            if answer is None:
                raise
            # Raises what it is given if headers are out: PEP 3333, "The start_response() Callable".
            said = answer(self._environ, self._start_response, _exc_info())
        self._chunks = iter(said)
        return next(self._chunks)

    def wrap(
        self, wrapper: Callable[[Iterable[bytes], Callable[[], object] | None], Iterable[bytes]]
    ) -> None:
        """Put something around the body; it gets what closes it, too."""
        self._body = wrapper(self._body, getattr(self._body, "close", None))

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        if close is not None:
            with entered(self._environ):
                close()


def _read(body: Iterable[bytes]) -> None:
    """Do what a server does with a body, and drop it: a view may call start_response meanwhile."""
    try:
        for _ in body:
            pass
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


def _is_whole(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Tell a body in which no code of the app runs any more; servers may have a fast way for it."""
    if isinstance(body, list | tuple):
        return True
    file_wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(file_wrapper, type) and isinstance(body, file_wrapper)


def _exc_info() -> ExcInfo:
    return cast("ExcInfo", sys.exc_info())
