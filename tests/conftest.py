"""Fixtures of the whole suite, and the apps that requests go to: one of each kind, behind its door."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Self

import django
import pytest
from django.conf import settings

from fbguard import Guard, Policy, TokenInfo, asgi, current_token, wsgi
from fbguard.sandbox import Sandbox
from tests.redis_servers import RedisCluster, RedisServer, WatchedRedis
from tests.support import (
    PATIENCE,
    TOKEN,
    Answer,
    FakeClock,
    FakeGraph,
    Headers,
    call_asgi,
    call_wsgi,
    http_scope,
    make_guard,
    until,
    wsgi_environ,
)

# Django's settings are the process's; tests override them.
settings.configure(
    ALLOWED_HOSTS=["*"],
    LOGGING_CONFIG=None,
    ROOT_URLCONF="tests.routers.django_sites",
    SECRET_KEY="not one",
    STATIC_URL="static/",
)
django.setup()

METHODS = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "FOO"]
EVERYTHING = Policy()
View = Callable[[Any], None]


def _plain_asgi(view: View) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        view(scope)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
        )
        await send({"type": "http.response.body", "body": b"hello"})

    return app


def _starlette(view: View) -> Any:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def endpoint(request: Request) -> PlainTextResponse:
        view(request.scope)
        return PlainTextResponse("hello")

    return Starlette(routes=[Route("/{rest:path}", endpoint, methods=METHODS)])


def _plain_wsgi(view: View) -> Any:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        view(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    return app


def _flask(view: View) -> Any:
    from flask import Flask, request

    app = Flask("guarded")

    def endpoint(rest: str = "") -> str:
        view(request.environ)
        return "hello"

    for path in ("/", "/<path:rest>"):
        app.add_url_rule(path, "endpoint", endpoint, methods=METHODS, provide_automatic_options=False)
    return app


_APPS = {"asgi": _plain_asgi, "starlette": _starlette, "wsgi": _plain_wsgi, "flask": _flask}
KINDS = tuple(_APPS)


class Door:
    """One app behind its door. ``act`` runs in the view, after it has looked at the facts."""

    def __init__(
        self, kind: str, guard: Guard, *, policy: Policy | None = EVERYTHING, act: Callable[[], object] = int
    ) -> None:
        self.kind = kind
        self.is_asgi = kind in {"asgi", "starlette"}
        self.seen: list[TokenInfo | None] = []
        self._act = act
        module = asgi if self.is_asgi else wsgi
        self.app = module.FBTokenMiddleware(_APPS[kind](self._view), guard, policy=policy)
        self._runner = asyncio.Runner() if self.is_asgi else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._runner is not None:
            self._runner.close()

    def _view(self, carrier: Any) -> None:
        info = carrier["fbguard.token"]
        assert current_token() is info
        if self.is_asgi:
            assert carrier["state"]["fb_token"] is info
        self.seen.append(info)
        self._act()

    def send(
        self, token: str | None = None, path: str = "/", method: str = "GET", headers: Headers = ()
    ) -> Answer:
        """Send one request; a token goes in as ``Authorization: Bearer``."""
        if self._runner is not None:
            return self._runner.run(self.asend(token, path, method, headers))
        before = len(self.seen)
        answer = call_wsgi(self.app, wsgi_environ(path, method, _with(token, headers)))
        return self._noted(answer, before)

    async def asend(
        self, token: str | None = None, path: str = "/", method: str = "GET", headers: Headers = ()
    ) -> Answer:
        before = len(self.seen)
        answer = await call_asgi(self.app, http_scope(path, method, _with(token, headers)))
        return self._noted(answer, before)

    def _noted(self, answer: Answer, before: int) -> Answer:
        answer.ran = len(self.seen) > before
        answer.info = self.seen[-1] if answer.ran else None
        return answer

    def together(self, count: int, graph: FakeGraph, token: str = TOKEN) -> list[Answer]:
        """Send many requests at once: as tasks of one loop, or one a thread.

        Graph's answer is held until the crowd has come in.
        """
        graph.gate.shut()
        if self._runner is not None:
            return self._runner.run(self._tasks(count, graph, token))
        barrier = threading.Barrier(count + 1)

        def one() -> Answer:
            barrier.wait(PATIENCE)
            return self.send(token)

        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(one) for _ in range(count)]
            barrier.wait(PATIENCE)
            graph.wait_for_calls(1)
            graph.gate.open()
            return [future.result(PATIENCE) for future in futures]

    async def _tasks(self, count: int, graph: FakeGraph, token: str) -> list[Answer]:
        tasks = [asyncio.create_task(self.asend(token)) for _ in range(count)]
        await until(lambda: graph.calls)
        for _ in range(10):
            await asyncio.sleep(0)
        graph.gate.open()
        return list(await asyncio.gather(*tasks))


def _with(token: str | None, headers: Headers) -> list[tuple[str, str]]:
    given = list(headers)
    return given if token is None else [("Authorization", f"Bearer {token}"), *given]


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what is imported by now stays: `quiet_asyncio` need not look through it every time


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def graph() -> FakeGraph:
    return FakeGraph()


@pytest.fixture
def guard(graph: FakeGraph, clock: FakeClock) -> Iterator[Guard]:
    with make_guard(graph, clock) as guard:
        yield guard


@pytest.fixture
def make_door() -> Iterator[Callable[..., Door]]:
    """Give ``make(kind, guard, policy=..., act=...)``."""
    with ExitStack() as stack:
        yield lambda kind, guard, **options: stack.enter_context(Door(kind, guard, **options))


@pytest.fixture(params=KINDS)
def door(request: pytest.FixtureRequest, make_door: Callable[..., Door]) -> Callable[..., Door]:
    """Give ``make(guard, policy=..., act=...)``, once for each kind of app."""
    return lambda guard, **options: make_door(request.param, guard, **options)


@pytest.fixture
def quiet_asyncio(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail if any loop complained: "never retrieved", "was destroyed but it is pending" and the like."""
    with caplog.at_level(logging.INFO, "asyncio"):  # below it asyncio tells about its loops
        yield
        gc.collect()
        gc.freeze()  # what is left is the session's, and grows: the next test need not look through it
    slow = "took"  # of its debug mode, on a machine that is busy
    records = caplog.get_records("call") + caplog.records  # pytest begins anew for each phase
    noise = [
        record.getMessage()
        for record in records
        if record.name == "asyncio" and record.levelno >= logging.INFO
    ]
    assert not [text for text in noise if slow not in text]


# -- servers -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def _shared_redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(_shared_redis: RedisServer) -> RedisServer:
    """Give a Redis that is empty; others had it before, and will have it."""
    _shared_redis.empty()
    return _shared_redis


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """Give a Redis to kill, to pause and to set up."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def _shared_cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(_shared_cluster: RedisCluster) -> RedisCluster:
    """Give three empty masters, which others have, too: none of them is to be killed."""
    _shared_cluster.empty()
    return _shared_cluster


@pytest.fixture
def watched_redis() -> Iterator[WatchedRedis]:
    """Give a master, its replica and their sentinel, to have a failover."""
    with WatchedRedis() as watched:
        yield watched


@pytest.fixture
def facebook_in_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Serve a Facebook to which the variables of ``Guard.from_env()`` point, as the docs expect."""
    sandbox = Sandbox()
    with sandbox.serve() as url:
        monkeypatch.setenv("FBGUARD_APP_ID", sandbox.app_id)
        monkeypatch.setenv("FBGUARD_APP_SECRET", sandbox.app_secret)
        monkeypatch.setenv("FBGUARD_GRAPH_URL", url)
        yield sandbox
