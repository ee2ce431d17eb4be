"""Rows J06 to J08 and J12 to J14: threads, forks, loops, the end, a guard over a guard, pure ASGI."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import ast
import asyncio
import gc
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import fbguard
from fbguard import Guard, Refused, asgi, wsgi
from fbguard.core.cache import key_of
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from tests.facebook.raw_server import Server
from tests.support import (
    APP_ID,
    PATIENCE,
    TOKEN,
    FakeClock,
    Reply,
    call_asgi,
    call_wsgi,
    dead,
    http_scope,
    in_flight,
    make_guard,
    negatives,
    positives,
    until,
    valid,
    wsgi_environ,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

BEARER = [("Authorization", f"Bearer {TOKEN}")]
COLOURS = ("sync", "async")


# -- J06 -----------------------------------------------------------------------------------------------


def act(guard: Guard, clock: FakeClock, dice: random.Random, token: str, expected: int) -> None:
    """Do one of the things that may happen to a token."""
    match dice.randrange(20):
        case 0 | 1 | 2 | 3 | 4:
            guard.forget(Secret(token))
        case 5:
            clock.advance(0.5)
        case 6 | 7 | 8 | 9 | 10:
            good = expected == 200
            info = TokenInfo(app_id=APP_ID, type="USER", is_valid=good, user_id="1001")
            guard._validator._cache.put(key_of(Secret(token)), info, good=good)
        case 11 | 12 | 13 | 14 | 15:
            guard.peek(token)
        case _:
            try:
                status = 200 if guard.check(token).is_valid else 0
            except Refused as refused:
                status = refused.status
            assert status in {expected, 503}, token  # 503: forgotten while it was looked up, twice


def test_J06_threads_on_the_cache(graph, clock):
    tokens = [f"EAA{number}" for number in range(60)]
    graph.replies = {token: dead(190, 463) for token in tokens[::3]}
    guard = make_guard(graph, clock, ttl=5, negative_ttl=3, cache_size=20, negative_cache_size=10)
    barrier = threading.Barrier(64)

    def work(seed: int) -> None:
        dice = random.Random(seed)
        barrier.wait(PATIENCE)
        for _ in range(200):
            token = dice.choice(tokens)
            act(guard, clock, dice, token, 401 if token in graph.replies else 200)
            assert guard.health().cached <= 30

    with guard, often_switching(), ThreadPoolExecutor(64) as pool:
        for one in [pool.submit(work, seed) for seed in range(64)]:
            one.result(PATIENCE * 3)
        assert positives(guard) <= 20
        assert negatives(guard) <= 10
        assert guard.health().in_flight == 0


@contextmanager
def often_switching() -> Iterator[None]:
    """Let threads take turns in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


# -- J07 -----------------------------------------------------------------------------------------------

FORK = """
import asyncio, atexit, gc, os, sys
from tests.support import make_guard

url, colour = sys.argv[1:]
guard = make_guard(transport=None, graph_url=url, deadline=20)

def ask(token):
    info = guard.check(token) if colour == "sync" else runner.run(guard.acheck(token))
    assert info.user_id == "1001"

runner = asyncio.Runner()
ask("before")
children = []
for number in range(2):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            runner = asyncio.Runner()  # a worker has a loop of its own
            ask("before")  # known: no call
            ask(f"child{number}")
            gc.collect()  # what was the parent's is let go without touching its connections
            guard.close()
            atexit._run_exitfuncs()
            status = 0
        finally:
            os._exit(status)
    children.append(pid)
print([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children])
ask("after")
runner.run(guard.aclose_here())
guard.close()
runner.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("colour", COLOURS)
def test_J07_fork_after_use(colour):
    """Each child has a connection of its own; the parent goes on with the one that it had."""
    with Server() as server:
        done = subprocess.run(
            # Newer Pythons warn of every fork beside threads; that it goes well is what is tested here.
            [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", FORK, server.url, colour],
            capture_output=True,
            text=True,
            timeout=PATIENCE * 6,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        assert (done.stdout, done.stderr, done.returncode) == ("[0, 0]\n", "", 0)
        asked = sorted(target.partition("input_token=")[2] for target, _ in server.heads())
        assert asked == ["after", "before", "child0", "child1"]
        assert server.connections == 3


# -- J08 -----------------------------------------------------------------------------------------------


def test_J08_two_runs_of_asyncio():
    with Server() as server, make_guard(transport=None, graph_url=server.url, deadline=PATIENCE) as guard:
        for number in range(2):

            async def main(number: int = number) -> None:
                for kind in ("first", "second"):
                    assert (await guard.acheck(f"{kind}{number}")).user_id == "1001"

            asyncio.run(main())
        assert server.connections == 2  # one a loop, kept for both of its calls
        assert guard.check("sync").user_id == "1001"
        assert server.connections == 3


def test_J08_two_threads_with_loops():
    meet = threading.Barrier(2)

    async def main(name: str) -> str | None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(guard.acheck(f"{name}{number}")) for number in range(5)]
        await asyncio.to_thread(meet.wait, PATIENCE)  # both loops are alive, and their clients with them
        again = await guard.acheck(f"{name}-again")
        return {again.user_id, *(task.result().user_id for task in tasks)}.pop()

    with Server() as server, make_guard(transport=None, graph_url=server.url, deadline=PATIENCE) as guard:
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(asyncio.run, main(name)) for name in ("one", "two")]
            assert {run.result(PATIENCE * 2) for run in runs} == {"1001"}
        assert len(server.requests) == 12
        assert server.connections <= 10  # and no loop has used the other's


# -- J12 -----------------------------------------------------------------------------------------------


def reason_of(outcome: object) -> str:
    return outcome.reason if isinstance(outcome, Refused) else repr(outcome)


@pytest.mark.parametrize("how", ["aclose", "block", "lifespan", "loop"])
def test_J12_shutdown_with_look_ups_in_flight(how):
    """Who waits is answered, the socket is closed, and nobody complains of anything left over."""
    with Server(lambda _request: []) as silent:
        guard = make_guard(transport=None, graph_url=silent.url, deadline=PATIENCE * 3)

        async def main() -> list[object]:
            tasks = [asyncio.create_task(guard.acheck(TOKEN)) for _ in range(5)]
            await until(lambda: silent.requests)
            if how == "loop":
                return ["unavailable"]  # the runner cancels the tasks
            if how == "aclose":
                await guard.aclose()
            elif how == "block":
                async with guard:
                    pass
            else:
                await shut_down(asgi.FBTokenMiddleware(lifespan_app, guard))
            return [reason_of(one) for one in await asyncio.gather(*tasks, return_exceptions=True)]

        assert set(asyncio.run(main())) == {"unavailable"}
        assert silent.hung_up.wait(PATIENCE)
        guard.close()
        assert (in_flight(guard), guard.health().in_flight) == (0, 0)
    gc.collect()


async def lifespan_app(_scope: Any, receive: Any, send: Any) -> None:
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


async def shut_down(door: asgi.FBTokenMiddleware) -> None:
    """Do what a server does at its end."""
    sent: list[str] = []
    incoming = ["lifespan.shutdown", "lifespan.startup"]

    async def receive() -> dict[str, str]:
        return {"type": incoming.pop()}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await door({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_J12_shutdown_with_threads_that_wait():
    with Server(lambda _request: []) as silent, ThreadPoolExecutor(5) as pool:
        guard = make_guard(transport=None, graph_url=silent.url, deadline=PATIENCE * 3)
        waiting = [pool.submit(guard.check, TOKEN) for _ in range(5)]
        while not silent.requests:
            assert not silent.hung_up.wait(0.01)
        guard.close()
        assert {reason_of(one.exception(PATIENCE)) for one in waiting} == {"unavailable"}
        assert silent.hung_up.wait(PATIENCE)
        assert guard.health().in_flight == 0
    gc.collect()


# -- J13 -----------------------------------------------------------------------------------------------

OVER = {
    "a yes": (valid(), BEARER, 200, 1),
    "a no": (dead(190, 463), BEARER, 401, 1),
    "a don't know": (Reply(b"", 500), BEARER, 503, 1),
    "no token": (valid(), [], 401, 0),
}


@pytest.mark.parametrize("answer", OVER)
@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_J13_a_guard_over_a_guard(guard, graph, protocol, answer):
    graph.default, headers, status, calls = OVER[answer]
    door = double_asgi(guard) if protocol == "asgi" else double_wsgi(guard)
    given = door(headers)
    assert given.status == status
    assert len(graph.calls) == calls
    assert len(given.all("www-authenticate")) == (status == 401)
    assert len(given.all("retry-after")) == (status == 503)
    assert given.body == b"hello" if status == 200 else given.json["status"] == status


def double_asgi(guard: Any) -> Any:
    app = asgi.FBTokenMiddleware(asgi.FBTokenMiddleware(hello_asgi, guard), guard)
    return lambda headers: asyncio.run(call_asgi(app, http_scope(headers=headers)))


def double_wsgi(guard: Any) -> Any:
    app = wsgi.FBTokenMiddleware(wsgi.FBTokenMiddleware(hello_wsgi, guard), guard)
    return lambda headers: call_wsgi(app, wsgi_environ(headers=headers))


async def hello_asgi(scope: Any, _receive: Any, send: Any) -> None:
    assert scope["fbguard.token"].user_id == "1001"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def hello_wsgi(environ: Any, start_response: Any) -> list[bytes]:
    assert environ["fbguard.token"].user_id == "1001"
    start_response("200 OK", [])
    return [b"hello"]


# -- J14 -----------------------------------------------------------------------------------------------

said = ContextVar("said", default="nothing")


def test_J14_no_module_knows_BaseHTTPMiddleware():
    modules = list(Path(fbguard.__file__).parent.rglob("*.py"))
    assert len(modules) > 30
    for module in modules:
        tree = ast.walk(ast.parse(module.read_text("utf-8")))
        names = {getattr(node, "id", None) or getattr(node, "attr", None) for node in tree}
        imported = {
            name.name
            for node in ast.walk(ast.parse(module.read_text("utf-8")))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in node.names
        }
        assert "BaseHTTPMiddleware" not in names | imported, module


def apps(view: Any) -> dict[str, Any]:
    """Return apps that call ``view(receive)`` and say what it returns."""

    async def plain(_scope: Any, receive: Any, send: Any) -> None:
        text = await view(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    async def endpoint(request: Request) -> PlainTextResponse:
        return PlainTextResponse(await view(request.receive))

    return {"asgi": plain, "starlette": Starlette(routes=[Route("/", endpoint)])}


@pytest.mark.parametrize("kind", ["asgi", "starlette"])
def test_J14_context(guard, kind):
    """The app runs in the task and in the context of whoever calls the door, both ways."""
    seen: list[object] = []

    async def view(_receive: Any) -> str:
        seen.append(asyncio.current_task())
        before = said.get()
        said.set("by the view")
        return before

    async def main() -> None:
        said.set("by the middleware outside")
        door = asgi.FBTokenMiddleware(apps(view)[kind], guard)
        answer = await call_asgi(door, http_scope(headers=BEARER))
        assert answer.body == b"by the middleware outside"
        assert said.get() == "by the view"
        assert seen == [asyncio.current_task()]
        await guard.aclose_here()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["asgi", "starlette"])
def test_J14_cancellation(guard, kind):
    """Cancelling the request cancels the view, at once and in the same task; nothing is left over."""
    events: list[str] = []

    async def view(_receive: Any) -> str:
        events.append("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("cancelled")
            raise
        return "never"

    async def main() -> None:
        door = asgi.FBTokenMiddleware(apps(view)[kind], guard)
        request = asyncio.create_task(call_asgi(door, http_scope(headers=BEARER)))
        await until(lambda: events)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert events == ["begun", "cancelled"]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await guard.aclose_here()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["asgi", "starlette"])
def test_J14_what_the_server_says_reaches_the_view(guard, kind):
    async def view(receive: Any) -> str:
        return " ".join([(await receive())["type"] for _ in range(2)])

    incoming = ["http.disconnect", "http.request"]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": incoming.pop(), "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        door = asgi.FBTokenMiddleware(apps(view)[kind], guard)
        await door(http_scope(headers=BEARER), receive, send)
        assert sent[-1]["body"] == b"http.request http.disconnect"
        await guard.aclose_here()

    asyncio.run(main())
