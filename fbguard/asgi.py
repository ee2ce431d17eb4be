"""The ASGI door: says the core's answer in ASGI. Imports no framework.

``http`` and ``websocket`` are guarded, ``lifespan`` passes, anything else is an error.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Final

from fbguard.claims import LIVE, claim_of, refusal_at_end
from fbguard.connections import (
    OUTGOING,
    ASGIApp,
    LiveResponse,
    LiveSocket,
    Message,
    Outgoing,
    Receive,
    Scope,
    Send,
)
from fbguard.context import LEFT, STATE_ATTRIBUTE, TOKEN, demands_of, inject
from fbguard.copies import part
from fbguard.core.carrier import carrier_of_request
from fbguard.core.credentials import MAX_LENGTH, MISSING
from fbguard.core.errors import Refused
from fbguard.core.policy import Policy
from fbguard.core.requirement import is_live
from fbguard.core.secret import Secret, recalled
from fbguard.core.settings import check_app
from fbguard.entrance import (
    Way,
    approach,
    behind,
    check_door,
    known_to,
    log_failed_preflight,
    looks_at_nothing,
    mounted,
    refuse_root_path,
    root_path_of,
)
from fbguard.guard import Guard
from fbguard.heads import CutHead, ScopeHead, WholeHead
from fbguard.refusals import RefusalResponse, teach
from fbguard.reports import heed, refusal_of
from fbguard.sends import OnlyThePermission, closing_first, have_marked

__all__ = ["ASGIApp", "FBTokenMiddleware", "Message", "Receive", "Scope", "Send"]

_EVERYTHING: Final = Policy()
# Of frameworks that route on another path than the one below ``root_path``.
_HEADS: Final[dict[str, type[ScopeHead]]] = {"falcon": WholeHead, "litestar": CutHead, "quart": CutHead}
# On the hit path what is called has a name of its own: to call an attribute that is no method is slow.
_set_carrier, _reset_carrier = carrier_of_request.set, carrier_of_request.reset


class FBTokenMiddleware:
    """Guards an ASGI app: ``FBTokenMiddleware(app, guard, *, policy=Policy())``.

    ``policy=None`` guards no path: the door carries the guard and answers refusals, the views decide.
    The facts go to ``scope["fbguard.token"]``, ``scope["state"]["fb_token"]`` and
    :func:`fbguard.current_token`; None on public and anonymous requests.

    An app that keeps a table of exception handlers (Starlette, FastAPI, Falcon, Litestar), also one mounted
    in it, learns at construction what a Refused and an OAuthException are, unless it has handlers for them.
    Raises TypeError for a guard or policy that is none and for an app of WSGI, ValueError for a mounted
    app with a ``root_path``.
    """

    def __init__(self, app: ASGIApp, guard: Guard, *, policy: Policy | None = _EVERYTHING) -> None:
        check_door(guard, policy)
        check_app(app, "ASGI")
        self.app = app
        self._guard = guard
        self._policy = policy
        # Chosen here, once: where no rule is live, no request pays for that.
        self._enter_http = self._enter_live if policy is not None and policy.has_live else self._enter
        # FastAPI(root_path=...) puts its own into the scope, behind this door; rules must read that path.
        self._root_path: str | None = None
        self._head, self._knows_app = ScopeHead, False
        for one in behind(app):
            self._root_path = self._root_path or root_path_of(one)
            self._head = _HEADS.get(teach(one) or "", self._head)
            self._knows_app |= isinstance(getattr(one, "exception_handlers", None), dict)
        for one in mounted(app):
            if policy is not None:
                refuse_root_path(one)
            teach(one)
        self._known = known_to(guard, None if self._root_path else policy)
        self._looks_at_nothing = looks_at_nothing(guard, policy) and not self._root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        outer = scope.get(OUTGOING)
        if outer is not None:
            part(scope, self._guard)
        if scope["type"] != "http" or not self._recall(scope):
            await self._serve_any(scope, receive, send)
            return
        outgoing = scope[OUTGOING] = Outgoing()
        outgoing.server = send
        app = self.app
        token = _set_carrier(scope)
        try:
            try:
                await app(scope, receive, outgoing.send)
            finally:
                _reset_carrier(token)
        except Exception as error:  # noqa: BLE001 - raised again, unless it is for us
            await self._answer(error, scope, receive, outgoing)
        finally:
            if outer is None:  # what _leave() does, without a call
                scope.pop(OUTGOING, None)
            else:
                scope[OUTGOING] = outer

    @property
    def guard(self) -> Guard:
        """The guard; another one needs another door."""
        return self._guard

    @property
    def policy(self) -> Policy | None:
        """The policy; another one needs another door."""
        return self._policy

    def _recall(self, scope: Scope) -> bool:
        """Let a request in whose facts are plain (:meth:`FactCache.plain`); False tells nothing.

        The short way through :func:`approach`, for what is nearly every request: one header, a known token,
        a rule that asks for scopes. Whatever is not like that goes the long way.
        """
        verbs = self._known.get(scope["path"])
        if verbs is None or scope.get("root_path"):
            return self._looks_at_nothing and self._pass(scope)
        asked = verbs.get(scope.get("method", "GET"))
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if asked is None or type(headers) is not list:
            return False
        # What heads.bearer_in_scope() does, without a call: one part in thirty.
        sent: bytes | None = None
        for name, value in headers:
            if name == b"authorization":
                if sent is not None:
                    return False
                sent = value
        if sent is None:
            return False
        given = sent.removeprefix(b"Bearer ")
        if given == sent or len(given) > MAX_LENGTH:
            return False
        (scopes, demands), guard, digest = asked, self._guard, sha256(given).digest()
        plain = guard.plain
        info = plain(digest, scopes)
        if info is None:
            return False
        # What inject() does, without a call. A token that is known was screened when it came first.
        scope[TOKEN] = info
        scope[LEFT] = (guard, guard, demands, (), recalled(given, digest))
        if "state" in scope:
            scope["state"][STATE_ATTRIBUTE] = info
        else:
            scope["state"] = {STATE_ATTRIBUTE: info}
        return True

    def _pass(self, scope: Scope) -> bool:
        """Let a request in that only views judge; False tells nothing."""
        if type(scope["headers"]) is not list:
            return False
        inject(scope, self._guard, None)
        return True

    async def _serve_any(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._serve(scope, receive, send, self._enter_http)
        elif kind == "websocket":
            await self._serve(scope, receive, send, self._enter_live)
        elif kind == "lifespan":
            try:
                await self.app(scope, receive, closing_first(send, self.guard.aclose_here))
            finally:
                await self.guard.aclose_here()
        else:
            raise RuntimeError(f"fbguard does not know the scope type {kind!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send, enter: ASGIApp) -> None:
        outers = [(key, scope.get(key)) for key in (OUTGOING, LIVE)]
        outgoing = scope[OUTGOING] = Outgoing()
        outgoing.server = send
        try:
            if not isinstance(scope["headers"], list | tuple):
                # Any iterable may be, and it is read more than once.
                scope["headers"] = list(scope["headers"])
            way = await self._admit(scope)
            if way is Way.PREFLIGHT:
                await self._answer_preflight(scope, receive, outgoing.send)
            else:
                if way is Way.MARKED:
                    have_marked(scope, self.guard)
                await enter(scope, receive, outgoing.send)
        except Exception as error:  # noqa: BLE001 - raised again, unless it is for us
            await self._answer(error, scope, receive, outgoing)
        finally:
            for key, outer in outers:
                _leave(scope, key, outer)

    async def _answer(self, error: Exception, scope: Scope, receive: Receive, outgoing: Outgoing) -> None:
        """Answer an exception of the app, or raise it: it is not for us, or comes too late."""
        refused = refusal_of(scope, error)
        if refused is None or (outgoing.started and scope["type"] == "http"):
            heed(scope, error)
            try:
                raise error  # where half an answer is out, the server must cut it, not end it
            finally:
                del error  # which now holds this frame: a circle again
        if not outgoing.closed:
            await RefusalResponse(refused, accepted=outgoing.started)(scope, receive, outgoing.send)

    async def _admit(self, scope: Scope) -> Way:
        """Judge the request and inject the facts; raises Refused."""
        if self._root_path:
            scope["root_path"] = self._root_path
        inject(scope, self.guard, None)
        # Middleware of Litestar's is given the path that is cut already.
        head = WholeHead if "litestar_app" in scope and not self._knows_app else self._head
        way, demands, verdict, token = approach(self.guard, self.policy, head(scope))
        if isinstance(verdict, Secret):
            verdict = await self.guard.asettle(demands, verdict)
        inject(scope, self.guard, verdict, demands, token)
        return way

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = carrier_of_request.set(scope)
        try:
            await self.app(scope, receive, send)
        finally:
            carrier_of_request.reset(token)

    async def _enter_live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Enter with a connection that ends with its token: a WebSocket, or under a live rule."""
        live: LiveSocket | LiveResponse
        demands, is_socket = demands_of(scope), scope["type"] == "websocket"
        if not is_socket and not is_live(demands):
            await self._enter(scope, receive, send)
            return
        early = partial(refusal_at_end, scope, self.guard, demands)
        if is_socket:
            live = LiveSocket(receive, send, early, partial(_hang_up, scope, receive, scope[OUTGOING]))
        else:
            live = LiveResponse(receive, send, early)
        scope[LIVE] = live
        live.watch(claim_of(scope))
        await live.run(self._enter, scope)

    async def _answer_preflight(self, scope: Scope, receive: Receive, send: Send) -> None:
        permission = OnlyThePermission(send)
        try:
            await self._enter(scope, receive, permission.send)
        except Refused:
            raise
        except Exception as error:
            if permission.is_out:
                raise  # its answer is out
            log_failed_preflight(error)
        if not permission.is_out:
            raise self.guard.refusal(MISSING)


def _leave(scope: Scope, key: str, outer: object) -> None:
    """Let go of what holds the server's ``send``; put back what an outer door has put there.

    A server's ``send`` holds the scope (uvicorn's does), and a circle waits for the collector with all of the
    request: that cost a third of what a server could do. How a WebSocket stands is still asked for by what
    answers a Refused around the door.
    """
    if outer is not None:
        scope[key] = outer
    elif key == OUTGOING and scope["type"] == "websocket":
        scope[key].server = _gone
    else:
        scope.pop(key, None)


async def _hang_up(scope: Scope, receive: Receive, outgoing: Outgoing, refused: Refused) -> None:
    if not outgoing.closed:
        with suppress(OSError):  # the client is quicker
            await RefusalResponse(refused, accepted=outgoing.started)(scope, receive, outgoing.send)


async def _gone(_message: Message) -> None:
    raise OSError("the connection is over")
