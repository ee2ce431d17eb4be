"""fbguard in FastAPI: ``Depends(FBToken(scopes=[...]))``, with or without a door.

::

    @app.get("/pages")
    async def page(token: Annotated[TokenInfo, Depends(FBToken(scopes=["pages_show_list"]))]): ...

The OpenAPI schema shows a security scheme and the scopes of each route; ``FastAPI(responses=REFUSALS)``
documents the refusals. Without a door the guard is ``guard=`` or ``app.state.fbguard``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Annotated, Any, Final, Unpack, cast

from fastapi import Request, Response, Security
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import HTTPBearer
from fastapi.routing import APIRoute
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection

from fbguard import refusals
from fbguard.connections import Scope
from fbguard.context import TOKEN
from fbguard.core.errors import Refused
from fbguard.core.requirement import Requirement, RequirementOptions, refuse_options, with_scopes
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.integrations.starlette import StarletteSurroundings
from fbguard.reports import heed
from fbguard.short_way import ShortWay
from fbguard.surroundings import NEEDS_A_DOOR, NOTHING_TO_CUT, is_cut_by_door
from fbguard.view_request import GuardSource, ViewRequest, check_source

_PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "reason", "code", "subcode", "relogin"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string"},
        "code": {"type": ["integer", "null"]},
        "subcode": {"type": ["integer", "null"]},
        "relogin": {
            "type": "object",
            "required": ["action", "url", "auth_type", "scopes", "retry_after", "message"],
            "properties": {
                "action": {"type": "string", "enum": ["login", "visit_facebook", "wait", "none"]},
                "url": {"type": ["string", "null"]},
                "auth_type": {"type": ["string", "null"]},
                "scopes": {"type": "array", "items": {"type": "string"}},
                "retry_after": {"type": ["integer", "null"]},
                "message": {"type": "string"},
            },
        },
    },
}

#: For ``FastAPI(responses=REFUSALS)`` or ``APIRouter(responses=REFUSALS)``: what guarded routes add.
REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": description, "content": {"application/problem+json": {"schema": _PROBLEM}}}
    for status, description in (
        (401, "No token, or one that Facebook does not honour; the body tells how to log in again."),
        (403, "A permission is missing; the body tells which to ask for."),
        (503, "Nobody can tell right now whether the token is good; Retry-After tells when to ask again."),
    )
}


_BEARER: Final = HTTPBearer(description="A Facebook access token of this app.")
#: Of a scope: what FastAPI closes when the answer is out, background tasks included (0.118 and later).
_STACK: Final = "fastapi_inner_astack"


class _Scheme(SecurityBase):
    """Names the security scheme in the schema; reads nothing."""

    def __init__(self) -> None:
        self.model = _BEARER
        self.scheme_name = "FacebookToken"

    async def __call__(self) -> None:
        """Be a dependency; a coroutine, for FastAPI runs what is none on another thread."""


_SCHEME: Final = _Scheme()


class _Signature:
    """What FastAPI reads of a dependency; of the class, which is none, an error that says so."""

    def __get__(self, one: FBToken | None, owner: type[FBToken]) -> inspect.Signature:
        if one is None:
            raise TypeError(f"write Depends({owner.__name__}()), with parentheses")
        return one.signature()


class FBToken:
    """A dependency that gives the :class:`fbguard.TokenInfo` of a request that meets a requirement.

    ``FBToken(scopes=[...], guard=None)``: the keywords of :class:`fbguard.Requirement`, and ``guard``,
    a Guard or a callable that returns one. Frozen, equal by value (``dependency_overrides`` finds
    it), on routes, routers, the app and WebSocket routes. It judges besides a door, never instead.
    """

    __slots__ = ("_hash", "_short", "guard", "requirement")

    guard: GuardSource | None
    requirement: Requirement
    _hash: int
    _short: ShortWay

    def __init__(
        self, *, guard: GuardSource | None = None, **requirement: Unpack[RequirementOptions]
    ) -> None:
        refuse_options(type(self).__name__, requirement, ("guard",))
        if requirement.get("optional") and not isinstance(self, OptionalFBToken):
            raise ValueError("FBToken gives a token; use OptionalFBToken for routes that take nobody too")
        put = object.__setattr__
        put(self, "guard", check_source(guard))
        put(self, "requirement", Requirement(**requirement))
        # Once: FastAPI looks each dependency up in a dict of the request, more than once.
        put(self, "_hash", hash((type(self), self.requirement, self.guard)))
        put(self, "_short", ShortWay(self.requirement, self.guard))

    __signature__ = _Signature()

    def signature(self) -> inspect.Signature:
        """Return what FastAPI sees of the dependency: a sub-dependency names the scopes for the schema."""
        asked = [*self.requirement.scopes, *self.requirement.any_scope]
        scheme = Annotated[None, Security(_SCHEME, scopes=asked)]
        kind = inspect.Parameter.KEYWORD_ONLY
        return inspect.Signature([
            inspect.Parameter("connection", kind, annotation=HTTPConnection),
            inspect.Parameter("security_scopes", kind, annotation=SecurityScopes),
            inspect.Parameter("scheme", kind, annotation=scheme),
        ])  # fmt: skip

    async def __call__(
        self,
        connection: HTTPConnection,
        security_scopes: SecurityScopes | None = None,
        scheme: None = None,
    ) -> TokenInfo | None:
        """Return the facts (None for nobody, if that may be), or raise what FastAPI answers as a refusal.

        ``security_scopes`` are those of ``Security(FBToken(...), scopes=[...])``: needed, too. FastAPI always
        gives them; who calls by hand, perhaps in another task, has no current_token() of it.
        """
        if security_scopes is None:
            return (await self.judge(connection))[1]
        scope = connection.scope
        if not security_scopes.scopes and self._short.lets_in((scope,), {}):
            refusals.teach_routed(scope)
            _see_to_the_end(scope)
            info: TokenInfo = scope[TOKEN]
            return info
        request, found = await self.judge(connection, security_scopes.scopes)
        _see_to_the_end(scope, request)
        return found

    async def judge(
        self, connection: HTTPConnection, scopes: Iterable[str] = ()
    ) -> tuple[ViewRequest, TokenInfo | None]:
        """Judge a request; raise what FastAPI answers as a refusal."""
        refusals.teach_routed(connection.scope)  # now: the endpoint, too, may let a Refused escape
        request = ViewRequest(StarletteSurroundings(connection.scope, connection), self.guard)
        if request.guard.sources.need_marks and not request.is_marked:
            raise RuntimeError(NEEDS_A_DOOR)  # FastAPI makes the answer later, out of our sight
        if self.requirement.live and not is_cut_by_door(connection.scope):
            raise RuntimeError(NOTHING_TO_CUT)
        try:
            demands, verdict = request.consider(with_scopes(self.requirement, scopes))
            if isinstance(verdict, Secret):
                verdict = await request.guard.asettle(demands, verdict)
                request.inject(verdict)
        except Refused as refused:
            answer = refused
        else:
            return request, verdict
        raise answer

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FBToken):
            return NotImplemented
        return type(other) is type(self) and (self.requirement, self.guard) == (
            other.requirement,
            other.guard,
        )

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.requirement!r})"


def _see_to_the_end(scope: Scope, request: ViewRequest | None = None) -> None:
    """Until the answer is out, heed what Graph says and let code find the request, if no door does.

    A dependency that yields could do so, too, and costs as much as all the rest of FastAPI. Where FastAPI has
    no such stack, nobody would put the last request back: then the facts are in the parameter alone.
    """
    found: object = scope.get(_STACK)
    if isinstance(found, AsyncExitStack):
        stack = cast("AsyncExitStack[bool | None]", found)
        if request is not None:
            stack.enter_context(_Entered(request))
        stack.push(partial(_heed, scope))


class _Entered:
    """Enters a request, and leaves it where that can be done: not in the context of another task."""

    def __init__(self, request: ViewRequest) -> None:
        self._inside = request.entered()

    def __enter__(self) -> None:
        self._inside.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        # A dependency may have called ours in a task of its own, which has taken its context along.
        with suppress(ValueError):
            self._inside.__exit__(None, None, None)


def _heed(scope: Scope, _kind: object, error: BaseException | None, _trace: object) -> bool:
    if isinstance(error, Exception):
        heed(scope, error)  # no door may be around: a body, a background task
    return False


class OptionalFBToken(FBToken):
    """Like :class:`FBToken`, but a request without a credential gives None; a bad token is still refused."""

    __slots__ = ()

    def __init__(
        self, *, guard: GuardSource | None = None, **requirement: Unpack[RequirementOptions]
    ) -> None:
        if not requirement.setdefault("optional", True):
            raise ValueError("OptionalFBToken is optional; use FBToken")
        super().__init__(guard=guard, **requirement)


class FBRoute(APIRoute):
    """A route that judges its token before it reads the body: ``APIRouter(route_class=FBRoute)``.

    FastAPI reads and parses a body before its dependencies; under a door the question does not arise.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, with the verdict in front."""
        handle = super().get_route_handler()
        # An included route is served with the dependencies of its routers too, and in newer versions of
        # FastAPI `self.dependant` has not those; the handler knows what it will solve.
        solved = inspect.getclosurevars(handle).nonlocals.get("dependant", self.dependant)

        async def judge_first(request: Request) -> Response:
            overridden = getattr(request.scope.get("app"), "dependency_overrides", {})
            for token in _tokens_of(solved, overridden):
                await token.judge(request)
            return await handle(request)

        return judge_first


def _tokens_of(dependant: Dependant, overridden: Container[object]) -> Iterator[FBToken]:
    for dependency in dependant.dependencies:
        if dependency.call in overridden:
            continue  # what it depends on does not run either
        if isinstance(dependency.call, FBToken):
            yield dependency.call
        yield from _tokens_of(dependency, overridden)
