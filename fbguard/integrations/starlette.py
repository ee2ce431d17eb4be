"""fbguard in Starlette: a backend for its ``AuthenticationMiddleware`` and ``@requires``."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, cast

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
from starlette.background import BackgroundTask
from starlette.endpoints import HTTPEndpoint, WebSocketEndpoint
from starlette.requests import HTTPConnection
from starlette.responses import Response, StreamingResponse

from fbguard import refusals
from fbguard.claims import Claims, watch_for
from fbguard.connections import OUTGOING, LiveResponse, Outgoing, Receive, Scope, Send
from fbguard.context import demands_of, door_of, inject, inject_facts
from fbguard.copies import disown, is_asked_by
from fbguard.core.carrier import Carrier, carrier_of_request, entered
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.requirement import PathParams, Requirement
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.guard import Guard
from fbguard.heads import ScopeHead, answered
from fbguard.marks import marks_of
from fbguard.refusals import encoded
from fbguard.reports import heed
from fbguard.sends import have_marked
from fbguard.streams import LiveStream, seeing_body
from fbguard.surroundings import (
    NEEDS_A_DOOR,
    NOTHING_TO_CUT,
    AnsweringSurroundings,
    is_cut_by_door,
    live_response,
)

#: For ``Starlette(exception_handlers=EXCEPTION_HANDLERS)``, and FastAPI, where no door stands around the
#: app: what to answer when a Refused or an OAuthException leaves a view.
EXCEPTION_HANDLERS: Final[Mapping[Any, Callable[[Any, Any], Any]]] = MappingProxyType({
    Refused: refusals.handle_refusal,
    OAuthException: refusals.handle_graph_error,
    ExceptionGroup: refusals.handle_graph_error,
})  # fmt: skip

_ANYBODY: Final = Requirement(optional=True)


class FBUser(BaseUser):
    """``request.user`` of a request with a valid token; ``token`` are its facts."""

    def __init__(self, token: TokenInfo) -> None:
        self.token = token

    @property
    def is_authenticated(self) -> bool:
        """Whether somebody is logged in: always, here."""
        return True

    @property
    def identity(self) -> str:
        """The person's app-scoped user id."""
        return self.token.user_id or ""

    @property
    def display_name(self) -> str:
        """The user id: a token tells no name."""
        return self.identity


class FBAuthenticationError(AuthenticationError):
    """A refusal in the words of Starlette's authentication; ``refused`` is the answer."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


class FBAuthBackend(AuthenticationBackend):
    """``AuthenticationMiddleware(app, backend=FBAuthBackend(guard), on_error=FBAuthBackend.on_error)``.

    ``request.user`` is an :class:`FBUser`, ``request.auth.scopes`` are "authenticated" and the granted
    scopes, for ``@requires``. A request without a credential is Starlette's UnauthenticatedUser unless
    ``requirement`` (default: ``Requirement(optional=True)``) says otherwise; a bad token is refused.
    """

    def __init__(self, guard: Guard, requirement: Requirement = _ANYBODY) -> None:
        if not isinstance(guard, Guard):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("guard must be a Guard")
        if not isinstance(requirement, Requirement):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("requirement must be a Requirement")
        if requirement.target is not None:
            raise RuntimeError(
                "a middleware stands before the routing: there are no path parameters for a target"
            )
        if requirement.live:
            raise RuntimeError(f"no response passes by here; {NOTHING_TO_CUT}")
        self.guard = guard
        self.requirement = requirement

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, FBUser] | None:
        """Return credentials and user, or None for anonymous; raises FBAuthenticationError."""
        scope = conn.scope
        if is_asked_by(carrier_of_request.get(), scope, self.guard):
            _disown(scope, conn)
        if not have_marked(scope, self.guard) and self.guard.sources.need_marks:
            raise RuntimeError(NEEDS_A_DOOR)
        demands = ((self.requirement, scope.get("path_params")),)
        try:
            head = ScopeHead(scope)
            found = self.guard.sources.find(head)
            info = self.guard.consider(demands, found, head)
            if isinstance(info, Secret):
                info = await self.guard.asettle(demands, info)
        except Refused as refused:
            error = FBAuthenticationError(refused)
        else:
            token = found if isinstance(found, Secret) else None
            # Besides what a door has judged them by: a decorator is compared with all of it.
            if (door_of(scope) or self.guard) is self.guard:
                inject(scope, self.guard, info, (*demands_of(scope), *demands), token)
            else:
                inject_facts(scope, self.guard, info, token)  # a door of another app stays the door
            watch_for(scope)
            return None if info is None else (AuthCredentials(["authenticated", *info.scopes]), FBUser(info))
        try:
            raise error
        finally:
            del error  # which holds this frame now

    @staticmethod
    def on_error(conn: HTTPConnection, exc: Exception) -> Response:
        """Answer what :meth:`authenticate` raised: a refusal with its challenge and hint."""
        if not isinstance(exc, FBAuthenticationError):
            raise exc
        return response_of(conn, exc.refused)


def response_of(conn: HTTPConnection, refused: Refused) -> Response:
    """Return a refusal as Starlette's own response."""
    answer = answered(refused, conn.scope)
    return Response(answer.body, status_code=answer.status, headers=dict(answer.headers))


class StarletteSurroundings(AnsweringSurroundings):
    """A view of Starlette or FastAPI; ``carrier`` is the scope of its own request.

    ``connection`` is the object that has the scope: a request, or an endpoint.
    """

    def __init__(self, carrier: Carrier, connection: object = None) -> None:
        super().__init__(carrier)
        self._connection = connection

    def disown(self) -> None:
        _disown(self.carrier, self._connection)

    def application_guard(self) -> Guard | None:
        state: Any = getattr(self.carrier.get("app"), "state", None)
        found = getattr(state, "fbguard", None)
        return found if isinstance(found, Guard) else None

    def path_params(self) -> PathParams:
        return cast("PathParams", self.carrier.get("path_params") or {})

    def marked(self, answer: object) -> object:
        if not isinstance(answer, Response):
            if self.carrier["type"] == "websocket":
                return answer  # nobody keeps one
            raise RuntimeError(NEEDS_A_DOOR)
        # In place: its headers are a view of these.
        answer.raw_headers[:] = encoded(marks_of(self.carrier).on(answer.headers.items()))
        return answer

    def outgoing(self, answer: object) -> object:
        if isinstance(answer, StreamingResponse):
            answer.body_iterator = seeing_body(answer.body_iterator, self.carrier)
        if isinstance(answer, Response) and answer.background is not None:
            answer.background = BackgroundTask(_run_seeing, answer.background, self.carrier)
        return answer

    def live_view(self, view: Callable[..., Any], claims: Claims) -> Callable[..., Any]:
        endpoint = self._connection
        if is_cut_by_door(self.carrier) or not isinstance(endpoint, HTTPEndpoint):
            return view
        # It sends by itself, so nobody sees what it sends.
        live = live_response(claims, self.carrier, endpoint.receive, endpoint.send)
        endpoint.receive, endpoint.send = live.receive, live.send
        return partial(_run_live, live, view, self.carrier)

    def live(self, answer: object, claims: Claims) -> object:
        if isinstance(answer, Iterator):  # of an app of WSGI that is mounted
            return super().live(answer, claims)  # pyright: ignore[reportUnknownArgumentType]
        body = getattr(answer, "body_iterator", None)  # StreamingResponse's
        if isinstance(body, AsyncIterable) and not is_cut_by_door(self.carrier):
            body = cast("AsyncIterable[object]", body)
            answer.body_iterator = LiveStream(body, claims, getattr(self.carrier.get(OUTGOING), "cut", None))  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
        return answer

    def report(self, error: Exception, refused: Refused) -> object:
        refusals.teach_routed(self.carrier)
        try:
            return super().report(error, refused)
        finally:
            del error, refused

    def say(self, refused: Refused) -> object:
        refusals.teach_routed(self.carrier)
        try:
            return super().say(refused)
        finally:
            del refused


async def _run_live(
    live: LiveResponse, view: Callable[..., Awaitable[None]], scope: Carrier, *args: Any
) -> None:
    async def run(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await view(*args)

    await live.run(run, scope)


def _disown(scope: Carrier, connection: object) -> None:
    disown(scope)
    if isinstance(connection, HTTPConnection):
        vars(connection).pop("_state", None)  # it keeps the state that it was asked for: the original's


async def _run_seeing(task: BackgroundTask, carrier: Carrier) -> None:
    with entered(carrier):
        try:
            await task()
        except Exception as error:
            heed(carrier, error)
            raise


def surroundings_of(door: Carrier | None, arguments: list[object]) -> StarletteSurroundings | None:
    """Return the surroundings of a view that got a request, an endpoint or a WebSocket of Starlette.

    Its scope may be a copy of the door's, if some middleware made one.
    """
    for argument in arguments:
        scope = getattr(argument, "scope", None)
        if isinstance(scope, dict) and "starlette.exception_handlers" in scope:
            if isinstance(argument, WebSocketEndpoint) and OUTGOING not in scope:
                scope[OUTGOING] = outgoing = Outgoing()
                outgoing.server = argument.send
                argument.send = outgoing.send
            # The last: an endpoint's method is given its request, too, and returns a response for it.
            *_, connection = (one for one in arguments if getattr(one, "scope", None) is scope)
            return StarletteSurroundings(cast("Carrier", scope), connection)
    if door is not None and "starlette.exception_handlers" in door:
        return StarletteSurroundings(door)
    return None
