"""One small world (Graph, a clock, a guard) and every way to put a request to it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from flask import Flask
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fbguard import Policy, Refused, Requirement, Rule, asgi, require_fb_token, wsgi
from tests import oracle
from tests.support import (
    APP_ID,
    NOW,
    Answer,
    FakeClock,
    FakeGraph,
    Reply,
    call_asgi,
    call_wsgi,
    http_scope,
    make_guard,
    wsgi_environ,
)

DOORS = ("asgi", "wsgi", "websocket", "starlette", "flask")
WAYS = (*DOORS, "check", "acheck")

_serial = itertools.count()


def new_token() -> str:
    """Return a token never seen; all share their first 64 characters and their last 16."""
    return f"EAA{'x' * 61}{next(_serial):012d}{'Z' * 16}"


class Need:
    """What a route asks for: as plain data for the oracle, as a Requirement for the guard."""

    def __init__(self, **data: Any) -> None:
        self.data: Mapping[str, Any] = data
        self.requirement = Requirement(**data)

    def __repr__(self) -> str:
        return f"Need(**{dict(self.data)!r})"


class World:
    """A guard between a Graph that can be told anything and apps that note when their view ran."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock(NOW)
        self.graph = FakeGraph()
        self.guard = make_guard(self.graph, self.clock, **options)
        self._runner = asyncio.Runner(debug=False)  # which Python's dev mode would make slow
        self._apps: dict[tuple[str, Need], Any] = {}
        self._runs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._runner.run(self.guard.aclose())
        self._runner.close()

    def tell(self, token: str, reply: Reply) -> None:
        """Let Graph answer about a token."""
        self.graph.replies[token] = reply

    def right(self, values: Sequence[str], need: Need, page: str = "111") -> oracle.Verdict:
        """Return what the oracle says about a request with these Authorization headers."""
        found = oracle.credential(values)
        if found is None:
            return oracle.OK if need.data.get("optional") else (401, "missing_token")
        if not isinstance(found, str):
            return found
        reply = self.graph.replies.get(found, self.graph.default)
        assert isinstance(reply, Reply)
        return oracle.oracle(
            reply.status, reply.body, need.data, {"page_id": page}, APP_ID, self.clock.time()
        )

    def ask(self, way: str, values: Sequence[str], need: Need, page: str = "111") -> oracle.Verdict:
        """Send one request; ``values`` are its Authorization headers."""
        self._calm()
        before = self._runs
        verdict = (
            self._check(way, values, need, page) if way not in DOORS else self._send(way, values, need, page)
        )
        if way in DOORS:
            assert (verdict == oracle.OK) == (self._runs > before), f"{way}: the view ran, and yet {verdict}"
        return verdict

    def _calm(self) -> None:
        """Let the guard take Graph for well again.

        It leaves a Graph alone that throttles or fails, whatever the next token is; the oracle judges
        each request by what Graph says about its token. What the guard remembers of tokens stays, and
        the time, too, which the facts are judged by.
        """
        governor = self.guard._validator._upstream._governor
        governor.answered(governor.era)

    def run(self, coroutine: Any) -> Any:
        """Run on the loop of this world's async apps."""
        return self._runner.run(coroutine)

    def _check(self, way: str, values: Sequence[str], need: Need, page: str) -> oracle.Verdict:
        (value,) = values
        token = value.removeprefix("Bearer ")
        try:
            if way == "check":
                info = self.guard.check(token, need.requirement, {"page_id": page})
            else:
                info = self.run(self.guard.acheck(token, need.requirement, {"page_id": page}))
        except Refused as refused:
            return refused.status, refused.reason
        assert info.is_valid
        assert info.app_id == APP_ID
        return oracle.OK

    def _send(self, way: str, values: Sequence[str], need: Need, page: str) -> oracle.Verdict:
        app = self._apps.get((way, need))
        if app is None:
            app = self._apps[way, need] = getattr(self, f"_{way}")(need)
        answer = self.send(way, app, f"/pages/{page}", [("Authorization", value) for value in values])
        return oracle.OK if answer.status == 200 else (answer.status, answer.reason)

    def send(self, way: str, app: Any, path: str, headers: Sequence[tuple[str, str]]) -> Answer:
        if way in {"wsgi", "flask"}:
            return call_wsgi(app, wsgi_environ(path, headers=headers))
        scope = http_scope(path, headers=headers)
        if way == "websocket":
            del scope["method"]
            scope |= {"type": "websocket", "subprotocols": [], "extensions": {"websocket.http.response": {}}}
            return self.run(_call_websocket(app, scope))
        return self.run(call_asgi(app, scope))

    def view(self) -> None:
        self._runs += 1

    # -- the apps; the plain ones stand under a rule, the views of the frameworks under a decorator

    def _asgi(self, need: Need) -> Any:
        policy = Policy(Rule("/pages/{page_id}", **need.data))
        return asgi.FBTokenMiddleware(asgi_app(self.view), self.guard, policy=policy)

    _websocket = _asgi

    def _wsgi(self, need: Need) -> Any:
        policy = Policy(Rule("/pages/{page_id}", **need.data))
        return wsgi.FBTokenMiddleware(wsgi_app(self.view), self.guard, policy=policy)

    def _starlette(self, need: Need) -> Any:
        @require_fb_token(**need.data)
        async def endpoint(request: Request) -> PlainTextResponse:
            self.view()
            return PlainTextResponse("hello")

        app = Starlette(routes=[Route("/pages/{page_id}", endpoint)])
        return asgi.FBTokenMiddleware(app, self.guard, policy=None)

    def _flask(self, need: Need) -> Any:
        app = Flask("guarded")

        @app.get("/pages/<page_id>")
        @require_fb_token(**need.data)
        def endpoint(page_id: str) -> str:
            self.view()
            return "hello"

        return wsgi.FBTokenMiddleware(app, self.guard, policy=None)


def asgi_app(view: Callable[[], None]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        view()
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    return app


def wsgi_app(view: Callable[[], None]) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        view()
        start_response("200 OK", [])
        return [b"hello"]

    return app


async def _call_websocket(app: Any, scope: dict[str, Any]) -> Answer:
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        messages.append(dict(message))

    await app(scope, receive, send)
    start, *rest = messages
    if start["type"] == "websocket.accept":
        return Answer(200, [], b"")
    assert start["type"] == "websocket.http.response.start"
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in start["headers"]]
    return Answer(start["status"], headers, b"".join(message["body"] for message in rest))
