"""WebSockets under a door end with their token; the edges, without a framework or a server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fbguard import Policy, Requirement, Rule, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.claims import LIVE
from fbguard.connections import LiveResponse, LiveSocket
from fbguard.core.carrier import carrier_of_request
from fbguard.core.reasons import Finding
from fbguard.live import Cut, comes_of_cut, is_cut
from tests.support import (
    NOW,
    PATIENCE,
    SECRET,
    TOKEN,
    http_scope,
    make_guard,
    until,
    valid,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

BEARER = [("Authorization", f"Bearer {TOKEN}")]
LIVE_POLICY = Policy(Rule("/live", live=True), Rule("/plain"), Rule("/anybody", live=True, optional=True))
PROMISED = 1.0  # seconds until a connection is cut
MARGIN = 2.0  # seconds more, for a machine that does other things

Message = dict[str, Any]


class Wire:
    """A server's side of one connection."""

    def __init__(self, kind: str = "websocket", path: str = "/", **more: Any) -> None:
        self.scope = http_scope(path, headers=more.pop("headers", BEARER), type=kind, **more)
        first = "websocket.connect" if kind == "websocket" else "http.request"
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.incoming.put_nowait({"type": first})
        self.sent: list[Message] = []
        self.flows = asyncio.Event()
        self.flows.set()

    async def receive(self) -> Message:
        return await self.incoming.get()

    async def send(self, message: Any) -> None:
        await self.flows.wait()
        self.sent.append(dict(message))

    def serve(self, app: Any) -> asyncio.Task[None]:
        return asyncio.create_task(app(self.scope, self.receive, self.send))

    @property
    def types(self) -> list[str]:
        return [message["type"].rpartition(".")[2] for message in self.sent]


CLOSED = {"type": "websocket.close", "code": 1008, "reason": "session_invalidated"}


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await test()

    asyncio.run(bounded())


async def settled(*tasks: asyncio.Task[Any]) -> list[Any]:
    return await asyncio.gather(*tasks, return_exceptions=True)


class Recorder:
    """An ASGI app that accepts and keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Message] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.heard.append(await receive())
        await send({"type": "websocket.accept"})
        while self.heard[-1]["type"] != "websocket.disconnect":
            self.heard.append(await receive())


# -- WebSockets ------------------------------------------------------------------------------------------


def test_h14_a_websocket_is_closed_when_its_session_is_ended(guard):
    async def test() -> None:
        wire, app = Wire(), Recorder()
        serving = wire.serve(FBTokenMiddleware(app, guard))
        await until(lambda: wire.sent)
        assert len(guard.live) == 1
        guard.expire_session(TOKEN)
        await serving
        assert wire.sent[1:] == [CLOSED]
        assert app.heard[-1] == {"type": "websocket.disconnect", "code": 1008}
        assert len(guard.live) == 0

    run(test)


def test_h14_a_websocket_is_closed_when_its_token_expires_within_the_promised_time(guard, clock):
    async def test() -> None:
        wire = Wire()
        serving = wire.serve(FBTokenMiddleware(Recorder(), guard))
        await until(lambda: wire.sent)
        clock.advance(3600)
        began = time.monotonic()
        await serving
        assert time.monotonic() - began < PROMISED + MARGIN
        assert wire.sent[-1] == {**CLOSED, "reason": "expired"}

    run(test)


def test_a_websocket_of_a_token_that_never_expires_waits_for_no_time(graph, guard):
    graph.default = valid(expires_at=0)

    async def test() -> None:
        wire = Wire()
        serving = wire.serve(FBTokenMiddleware(Recorder(), guard))
        await until(lambda: wire.sent)
        assert (len(guard.live), guard.live.is_waiting) == (1, False)
        guard.expire_session(TOKEN)
        await serving
        assert wire.sent[-1] == CLOSED

    run(test)


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
def test_a_websocket_that_is_not_accepted_yet_is_denied(guard, extensions):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        guard.expire_session(TOKEN)
        await receive()
        assert (await receive())["type"] == "websocket.disconnect"

    async def test() -> None:
        wire = Wire(extensions=extensions)
        await wire.serve(FBTokenMiddleware(app, guard))
        if extensions:
            assert wire.types == ["start", "body"]
            assert wire.sent[0]["status"] == 401
        else:
            assert wire.sent == [CLOSED]

    run(test)


def test_after_the_end_send_raises_and_receive_says_disconnect_for_ever(guard):
    said: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Recorder()(scope, receive, send)
        said.extend([(await receive())["code"] for _ in range(3)])
        for message in ({"type": "websocket.send", "text": "late"}, {"type": "websocket.close"}):
            try:
                await send(message)
            except OSError as error:
                said.append(type(error))
        raise RuntimeError("of the app")

    async def test() -> None:
        wire = Wire()
        serving = wire.serve(FBTokenMiddleware(app, guard))
        await until(lambda: wire.sent)
        guard.expire_session(TOKEN)
        with pytest.raises(RuntimeError, match="of the app"):
            await serving
        assert said == [1008, 1008, 1008, Cut, Cut]
        assert wire.types == ["accept", "close"]

    run(test)


def test_a_group_of_tasks_that_were_cut_is_no_error_of_the_app(guard):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})

        async def write() -> None:
            while True:
                await send({"type": "websocket.send", "text": "x"})
                await asyncio.sleep(0.001)

        async with asyncio.TaskGroup() as group:
            group.create_task(write())
            group.create_task(write())

    async def test() -> None:
        wire = Wire()
        serving = wire.serve(FBTokenMiddleware(app, guard))
        await until(lambda: wire.sent)
        guard.expire_session(TOKEN)
        await serving
        assert wire.sent[-1] == CLOSED

    run(test)


def test_an_app_that_asks_again_and_again_does_not_stop_the_loop(guard):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            await receive()

    async def test() -> None:
        serving = Wire().serve(FBTokenMiddleware(app, guard))
        await until(lambda: len(guard.live))
        guard.expire_session(TOKEN)
        for _ in range(20):
            await asyncio.sleep(0)
        serving.cancel()
        assert isinstance((await settled(serving))[0], asyncio.CancelledError)

    run(test)


def test_reader_and_writer_are_interrupted_also_where_the_client_does_not_read(guard):
    ends: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})

        async def read() -> None:
            ends.append((await receive())["type"])

        async def write() -> None:
            try:
                await send({"type": "websocket.send", "text": "x"})
            except OSError:
                ends.append("OSError")

        wire.flows.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(write())
        wire.flows.set()

    async def test() -> None:
        nonlocal wire
        wire = Wire()
        serving = wire.serve(FBTokenMiddleware(app, guard))
        await until(lambda: wire.sent and not wire.flows.is_set())
        await asyncio.sleep(0)
        guard.expire_session(TOKEN)
        await serving
        assert sorted(ends) == ["OSError", "websocket.disconnect"]
        assert wire.types == ["accept", "close"]

    wire: Wire
    run(test)


@pytest.mark.parametrize("first", ["app", "guard"])
def test_who_else_cancels_the_task_wins(guard, first):
    async def test() -> None:
        wire = Wire()
        serving = wire.serve(FBTokenMiddleware(Recorder(), guard))
        await until(lambda: wire.sent)
        await asyncio.sleep(0)
        (live,) = [wire.scope[LIVE]]
        cut = lambda: live._break_off(guard, Finding("expired"))  # noqa: E731
        for act in (serving.cancel, cut) if first == "app" else (cut, serving.cancel):
            act()
        assert isinstance((await settled(serving))[0], asyncio.CancelledError)
        assert serving.cancelled()

    run(test)


def test_an_interrupted_task_can_be_timed_out_and_cancelled_as_ever(guard):
    counts: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Recorder()(scope, receive, send)
        counts.append(asyncio.current_task().cancelling())  # type: ignore[union-attr]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await asyncio.sleep(PATIENCE)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))
        counts.append(asyncio.current_task().cancelling())  # type: ignore[union-attr]

    async def test() -> None:
        wire = Wire()
        serving = wire.serve(FBTokenMiddleware(app, guard))
        await until(lambda: wire.sent)
        guard.expire_session(TOKEN)
        await serving
        assert counts == [0, 0]

    run(test)


@pytest.mark.parametrize("how", ["client", "app", "error"])
def test_a_websocket_that_is_over_is_told_nothing(guard, how):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if how == "client":
            wire.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
            assert (await receive())["code"] == 1001
        elif how == "app":
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise LookupError
        guard.expire_session(TOKEN)
        await asyncio.sleep(0.05)

    async def test() -> None:
        nonlocal wire
        wire = Wire()
        serving = wire.serve(FBTokenMiddleware(app, guard))
        await settled(serving)
        assert wire.types == (["accept", "close"] if how == "app" else ["accept"])
        assert all(message.get("code") != 1008 for message in wire.sent)
        assert len(guard.live) == 0

    wire: Wire
    run(test)


def test_a_refused_or_public_websocket_is_not_watched(guard):
    async def test() -> None:
        refused = Wire(headers=())
        await refused.serve(FBTokenMiddleware(Recorder(), guard))
        public = Wire()
        serving = public.serve(FBTokenMiddleware(Recorder(), guard, policy=Policy(Rule("/", public=True))))
        await until(lambda: public.sent)
        assert len(guard.live) == 0
        guard.expire_session(TOKEN)
        public.incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await serving
        assert public.types == ["accept"]

    run(test)


@pytest.mark.parametrize("policy", [None, Policy(Rule("/", public=True))])
def test_the_view_that_looks_first_arms_the_connection(guard, policy):
    async def test() -> None:
        wire = Wire()
        view = require_fb_token(Recorder())
        serving = wire.serve(FBTokenMiddleware(view, guard, policy=policy))
        await until(lambda: wire.sent)
        assert len(guard.live) == 1
        guard.expire_session(TOKEN)
        await serving
        assert wire.sent[-1] == CLOSED

    run(test)


def test_of_one_guard_the_newest_facts_count_and_of_several_the_first_end(graph, guard, clock):
    other = make_guard(graph, clock, app_secret=SECRET[::-1])
    newest = require_fb_token(max_fact_age=0)(require_fb_token(guard=other)(Recorder()))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        graph.default = valid(expires_at=NOW + 1000)
        await newest(scope, receive, send)

    async def test() -> None:
        graph.default = valid(expires_at=NOW + 100)
        wire = Wire()
        serving = wire.serve(FBTokenMiddleware(app, guard))
        await until(lambda: wire.sent)
        assert (len(guard.live), len(other.live)) == (1, 1)
        clock.advance(500)
        guard.live.tick()
        other.live.tick()
        await asyncio.sleep(0.01)
        assert wire.types == ["accept"]
        other.expire_session(TOKEN)
        await serving
        assert wire.sent[-1] == CLOSED
        assert (len(guard.live), len(other.live)) == (0, 0)

    run(test)


def test_a_session_that_ended_between_verdict_and_watch_is_noticed(guard):
    admitted = FBTokenMiddleware(Recorder(), guard)
    enter = admitted._enter_live

    async def enter_late(scope: Any, receive: Any, send: Any) -> None:
        guard.expire_session(TOKEN)
        await enter(scope, receive, send)

    admitted._enter_live = enter_late  # type: ignore[method-assign]

    async def test() -> None:
        wire = Wire()
        await wire.serve(admitted)
        assert wire.sent[-1] == CLOSED

    run(test)


def test_the_goodbye_runs_in_nobodys_context(guard):
    async def test() -> None:
        found: list[Any] = []
        wire = Wire()
        send = wire.send

        async def looking(message: Any) -> None:
            if message["type"] == "websocket.close":
                found.append(carrier_of_request.get())
            await send(message)

        wire.send = looking  # type: ignore[method-assign]
        serving = wire.serve(FBTokenMiddleware(Recorder(), guard))
        await until(lambda: wire.sent)
        carrier_of_request.set({"somebody": "else's"})
        guard.expire_session(TOKEN)
        await serving
        assert found == [None]

    run(test)


def test_a_goodbye_that_takes_its_time_is_waited_for(guard):
    async def test() -> None:
        wire = Wire()
        send = wire.send

        async def slow(message: Any) -> None:
            if message["type"] == "websocket.close":
                await asyncio.sleep(0.05)
            await send(message)

        wire.send = slow  # type: ignore[method-assign]
        serving = wire.serve(FBTokenMiddleware(Recorder(), guard))
        await until(lambda: wire.sent)
        guard.expire_session(TOKEN)
        await serving
        assert wire.sent[-1] == CLOSED

    run(test)


def test_a_client_that_is_quicker_than_the_goodbye_is_no_error(guard):
    async def test() -> None:
        wire = Wire()
        send = wire.send

        async def gone(message: Any) -> None:
            if message["type"] == "websocket.close":
                raise BrokenPipeError
            await send(message)

        wire.send = gone  # type: ignore[method-assign]
        serving = wire.serve(FBTokenMiddleware(Recorder(), guard))
        await until(lambda: wire.sent)
        guard.expire_session(TOKEN)
        await serving

    run(test)


# -- configuration ---------------------------------------------------------------------------------------


def test_live_is_a_bool_and_anothers_is_refused():
    for value in (1, None, "yes"):
        with pytest.raises(TypeError, match="live must be a bool"):
            Requirement(live=value)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"rules\[0\]: live must be a bool"):
        Policy.from_mapping({"rules": [{"path": "/", "live": "yes"}]})


def test_a_policy_knows_whether_anything_is_live():
    assert not Policy().has_live
    assert not Policy(Rule("/a")).has_live
    assert Policy(Rule("/a"), Rule("/b", live=True)).has_live
    assert Policy(default=Requirement(live=True)).has_live
    assert Policy.from_mapping({"rules": [{"path": "/", "live": True}]}).rules[0].requirement.live


def test_an_exception_that_comes_of_a_cut_is_told_from_others():
    cut = Cut(Finding("expired"))
    chained = LookupError()
    chained.__context__ = cut
    assert comes_of_cut(cut)
    assert comes_of_cut(chained)
    assert comes_of_cut(ExceptionGroup("", [cut, chained]))
    assert not comes_of_cut(ExceptionGroup("", [cut, LookupError()]))
    assert not comes_of_cut(LookupError())
    assert is_cut(ExceptionGroup("", [ExceptionGroup("", [cut]), cut]))
    assert not is_cut(chained)
    assert not is_cut(ExceptionGroup("", [cut, chained]))
    circle = ExceptionGroup("", [LookupError()])
    circle.exceptions[0].__context__ = circle
    assert not comes_of_cut(circle)


def test_slots_hold_what_many_connections_would_multiply():
    for kind in (LiveSocket, LiveResponse):
        assert not any("__dict__" in vars(base) for base in kind.__mro__[:-1])
