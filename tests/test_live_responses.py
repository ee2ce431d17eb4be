"""Responses under a live rule, and live views that are ASGI apps, are broken off with their token."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fbguard import Policy, Rule, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.claims import LIVE, Claim
from fbguard.connections import GRACE, LiveResponse, Outgoing
from fbguard.context import door_of
from fbguard.core.secret import Secret
from fbguard.live import Cut, Watched
from fbguard.wsgi import FBTokenMiddleware as WSGIDoor
from tests.support import (
    PATIENCE,
    TOKEN,
    make_guard,
    until,
)
from tests.test_live import BEARER, LIVE_POLICY, MARGIN, PROMISED, Message, Recorder, Wire, run, settled

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


# -- responses under a live rule -------------------------------------------------------------------------

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


def chunk(more: bool = True) -> Message:
    return {"type": "http.response.body", "body": b"x", "more_body": more}


def events(*, start: bool = True, wait: Callable[[Any], Awaitable[object]]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if start:
            await send(START)
            await send(chunk())
        scope["waiting"] = True
        await wait((receive, send))

    return app


async def listening(wires: Any) -> None:
    assert (await wires[0]())["type"] == "http.disconnect"


async def sending(wires: Any) -> None:
    while True:
        await wires[1](chunk())
        await asyncio.sleep(0.005)


async def elsewhere(_wires: Any) -> None:
    await asyncio.sleep(PATIENCE)


async def swallowing(wires: Any) -> None:
    try:
        await sending(wires)
    except OSError:
        with pytest.raises(OSError, match="cut by fbguard: session_invalidated"):
            await wires[1](chunk(more=False))


async def wrapping(wires: Any) -> None:
    try:
        await sending(wires)
    except OSError:
        raise LookupError("the framework's word for it") from None


async def grouping(wires: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(sending(wires))
        group.create_task(elsewhere(wires))


WAITS = [listening, sending, elsewhere, swallowing, wrapping, grouping]


@pytest.mark.parametrize("wait", WAITS)
def test_a_live_response_is_broken_off_never_ended(guard, wait):
    async def test() -> None:
        wire = Wire("http", "/live")
        serving = wire.serve(FBTokenMiddleware(events(wait=wait), guard, policy=LIVE_POLICY))
        await until(lambda: wire.scope.get("waiting"))
        guard.expire_session(TOKEN)
        began = time.monotonic()
        with pytest.raises(ConnectionAbortedError, match="session_invalidated"):
            await serving
        assert time.monotonic() - began < PROMISED + MARGIN
        assert all(message.get("more_body", True) for message in wire.sent)
        assert len(guard.live) == 0

    run(test)


@pytest.mark.parametrize("wait", [listening, elsewhere])
def test_a_live_response_that_has_not_begun_is_refused(guard, wait):
    async def test() -> None:
        wire = Wire("http", "/live")
        serving = wire.serve(FBTokenMiddleware(events(start=False, wait=wait), guard, policy=LIVE_POLICY))
        await until(lambda: wire.scope.get("waiting"))
        guard.expire_session(TOKEN)
        await serving
        assert wire.types == ["start", "body"]
        assert wire.sent[0]["status"] == 401
        assert b"session_invalidated" in wire.sent[1]["body"]

    run(test)


def test_a_live_response_is_cut_within_the_promised_time_of_its_tokens_end(guard, clock):
    async def test() -> None:
        wire = Wire("http", "/live")
        serving = wire.serve(FBTokenMiddleware(events(wait=elsewhere), guard, policy=LIVE_POLICY))
        await until(lambda: wire.scope.get("waiting"))
        clock.advance(3600)
        began = time.monotonic()
        with pytest.raises(ConnectionAbortedError, match="expired"):
            await serving
        assert time.monotonic() - began < PROMISED + MARGIN

    run(test)


def test_a_live_response_is_cut_where_the_client_does_not_read(guard):
    async def test() -> None:
        wire = Wire("http", "/live")
        serving = wire.serve(FBTokenMiddleware(events(wait=sending), guard, policy=LIVE_POLICY))
        await until(lambda: wire.scope.get("waiting"))
        wire.flows.clear()
        await asyncio.sleep(0.02)
        guard.expire_session(TOKEN)
        with pytest.raises(ConnectionAbortedError):
            await serving

    run(test)


@pytest.mark.parametrize("last", [
    chunk(more=False), {"type": "http.response.body", "body": b"x"},
    {"type": "http.response.pathsend", "path": "/a"}, {"type": "http.response.zerocopysend", "file": None},
])  # fmt: skip
def test_a_complete_response_is_not_cut_while_its_background_task_runs(guard, last):
    done: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(last)
        done.append("sent")
        await asyncio.sleep(0.6)  # longer than an app that was cut would have
        done.append("task")

    async def test() -> None:
        wire = Wire("http", "/live")
        serving = wire.serve(FBTokenMiddleware(app, guard, policy=LIVE_POLICY))
        await until(lambda: done)
        assert len(guard.live) == 0
        guard.expire_session(TOKEN)
        await serving
        assert done == ["sent", "task"]

    run(test)


def test_a_response_whose_last_message_waits_for_the_client_is_complete(guard):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        wire.flows.clear()
        await send(chunk(more=False))

    async def test() -> None:
        nonlocal wire
        wire = Wire("http", "/live")
        serving = wire.serve(FBTokenMiddleware(app, guard, policy=LIVE_POLICY))
        await until(lambda: not wire.flows.is_set())
        guard.expire_session(TOKEN)
        await asyncio.sleep(0.01)
        wire.flows.set()
        await serving
        assert wire.types == ["start", "body"]

    wire: Wire
    run(test)


def test_a_listener_for_the_client_is_left_alone_once_the_response_is_complete(guard):
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(receive())
            await send(START)
            await send(chunk(more=False))
            guard.expire_session(TOKEN)
            await asyncio.sleep(0.01)
            assert not listener.done()
            wire.incoming.put_nowait({"type": "http.disconnect"})
            heard.append((await listener)["type"])

    async def test() -> None:
        nonlocal wire
        wire = Wire("http", "/live")
        await wire.serve(FBTokenMiddleware(app, guard, policy=LIVE_POLICY))
        assert heard == ["http.disconnect"]

    wire: Wire
    run(test)


@pytest.mark.parametrize("after", [0.0, 0.05, 0.5])
def test_a_server_that_cancels_a_live_response_wins(guard, after):
    async def stubborn(_wires: Any) -> None:
        try:
            await asyncio.sleep(PATIENCE)
        finally:
            await asyncio.sleep(PATIENCE)

    async def test() -> None:
        wire = Wire("http", "/live")
        serving = wire.serve(FBTokenMiddleware(events(wait=stubborn), guard, policy=LIVE_POLICY))
        await until(lambda: wire.scope.get("waiting"))
        guard.expire_session(TOKEN)
        await asyncio.sleep(after)
        serving.cancel()
        assert isinstance((await settled(serving))[0], asyncio.CancelledError)

    run(test)


def test_what_the_server_does_after_a_cut_is_not_cancelled(guard):
    done: list[str] = []

    async def test() -> None:
        wire = Wire("http", "/live")
        door = FBTokenMiddleware(events(wait=listening), guard, policy=LIVE_POLICY)

        async def server() -> None:
            with pytest.raises(Cut):
                await door(wire.scope, wire.receive, wire.send)
            await asyncio.sleep(2 * GRACE)
            done.append("the next request")

        serving = asyncio.create_task(server())
        await until(lambda: wire.scope.get("waiting"))
        guard.expire_session(TOKEN)
        await serving
        assert done

    run(test)


def test_the_apps_own_error_after_the_cut_stays_its_own(guard):
    async def failing(wires: Any) -> None:
        await listening(wires)
        raise LookupError("a bug")

    async def test() -> None:
        wire = Wire("http", "/live")
        serving = wire.serve(FBTokenMiddleware(events(wait=failing), guard, policy=LIVE_POLICY))
        await until(lambda: wire.scope.get("waiting"))
        guard.expire_session(TOKEN)
        with pytest.raises(LookupError, match="a bug"):
            await serving

    run(test)


@pytest.mark.parametrize(("path", "headers"), [("/plain", BEARER), ("/anybody", ())])
def test_what_is_not_live_is_not_watched(guard, path, headers):
    given: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.extend([receive, send, LIVE in scope, len(guard.live)])
        await send(START)
        await send(chunk(more=False))

    async def test() -> None:
        wire = Wire("http", path, headers=headers)
        receive = wire.receive
        await FBTokenMiddleware(app, guard, policy=LIVE_POLICY)(wire.scope, receive, wire.send)
        if path == "/plain":
            assert given[0] is receive
            assert isinstance(given[1].__self__, Outgoing)
        assert given[2:] == [path == "/anybody", 0]

    run(test)


def test_where_no_rule_is_live_a_request_goes_the_way_it_always_went(guard):
    door = FBTokenMiddleware(Recorder(), guard)
    assert door._enter_http == door._enter
    assert FBTokenMiddleware(Recorder(), guard, policy=LIVE_POLICY)._enter_http != door._enter
    assert WSGIDoor(lambda *_: [], guard)._enter_in.__name__ == "_enter"


def test_a_strange_verb_is_live_if_any_of_its_rules_is(guard):
    policy = Policy(Rule("/live", methods=["GET"], live=True))
    wire: Wire

    async def test() -> None:
        nonlocal wire
        wire = Wire("http", "/live", method="FOO")
        serving = wire.serve(FBTokenMiddleware(events(wait=listening), guard, policy=policy))
        await until(lambda: wire.scope.get("waiting"))
        assert len(guard.live) == 1
        guard.expire_session(TOKEN)
        await settled(serving)

    run(test)


# -- live views ------------------------------------------------------------------------------------------


def test_a_live_view_that_is_an_asgi_app_is_cut(guard):
    async def test() -> None:
        for wait in WAITS:
            wire = Wire("http", "/live")
            view = require_fb_token(live=True)(events(wait=wait))
            serving = wire.serve(FBTokenMiddleware(view, make_guard(), policy=None))
            await until(lambda wire=wire: wire.scope.get("waiting"))
            door = door_of(wire.scope)
            assert door is not None
            door.expire_session(TOKEN)
            with pytest.raises(ConnectionAbortedError):
                await serving

    run(test)


def test_a_live_method_that_has_not_begun_is_refused(guard):
    class Views:
        @require_fb_token(live=True)
        async def app(self, scope: Any, receive: Any, send: Any) -> None:
            scope["waiting"] = True
            await listening((receive, send))

    async def test() -> None:
        wire = Wire("http")
        await wire.incoming.get()
        serving = wire.serve(FBTokenMiddleware(Views().app, guard, policy=None))
        await until(lambda: wire.scope.get("waiting"))
        guard.expire_session(TOKEN)
        await serving
        assert wire.sent[0]["status"] == 401

    run(test)


@pytest.mark.parametrize("whose", ["outer", "inner"])
def test_a_live_requirement_around_that_of_another_guard_ends_with_the_token_of_each(guard, whose):
    inner = make_guard()
    view = require_fb_token(live=True)(require_fb_token(guard=inner)(events(wait=listening)))

    async def test() -> None:
        wire = Wire("http", "/live")
        serving = wire.serve(FBTokenMiddleware(view, guard, policy=None))
        await until(lambda: wire.scope.get("waiting"))
        assert (len(guard.live), len(inner.live)) == (1, 1)
        (guard if whose == "outer" else inner).expire_session(TOKEN)
        with pytest.raises(Cut):
            await serving
        assert (len(guard.live), len(inner.live)) == (0, 0)

    run(test)


def test_a_live_view_under_a_live_rule_is_watched_once(guard):
    async def test() -> None:
        wire = Wire("http", "/live")
        view = require_fb_token(live=True, max_fact_age=0)(events(wait=listening))
        serving = wire.serve(FBTokenMiddleware(view, guard, policy=LIVE_POLICY))
        await until(lambda: wire.scope.get("waiting"))
        assert len(guard.live) == 1
        guard.expire_session(TOKEN)
        with pytest.raises(Cut):
            await serving

    run(test)


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("whose", ["own", "the door's"])
def test_a_live_view_below_another_guards_live_door_is_watched_by_its_own(guard, whose, is_known):
    own, policy = make_guard(), Policy(Rule("/live"))
    view = require_fb_token(live=True)(events(wait=elsewhere))
    app = FBTokenMiddleware(FBTokenMiddleware(view, own, policy=policy), guard, policy=LIVE_POLICY)
    if is_known:  # so that the inner door lets it in on its short way
        own.check(TOKEN)
        policy.match("/live", "GET")

    async def test() -> None:
        wire = Wire("http", "/live")
        serving = wire.serve(app)
        await until(lambda: wire.scope.get("waiting"))
        assert (len(own.live), len(guard.live)) == (1, 1)
        (own if whose == "own" else guard).expire_session(TOKEN)
        with pytest.raises(Cut):
            await serving
        assert (len(own.live), len(guard.live)) == (0, 0)

    run(test)


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("whose", ["own", "door"])
def test_what_has_not_begun_is_refused_by_the_guard_whose_token_has_ended(guard, whose, kind):
    """Its client must renew that app's token, not the other's."""
    own = make_guard(realm="own")

    @require_fb_token(guard=own)
    async def view(scope: Any, receive: Any, send: Any) -> None:
        await events(start=False, wait=listening)(scope, receive, send)

    async def test() -> None:
        wire = Wire(kind, "/live", extensions={"websocket.http.response": {}})
        serving = wire.serve(FBTokenMiddleware(view, guard, policy=LIVE_POLICY))
        await until(lambda: wire.scope.get("waiting"))
        (own if whose == "own" else guard).expire_session(TOKEN)
        await settled(serving)
        [challenge] = [value for name, value in wire.sent[0]["headers"] if name == b"www-authenticate"]
        assert challenge.startswith(b'Bearer realm="own"' if whose == "own" else b'Bearer realm="fbguard"')

    run(test)


def test_a_live_view_under_its_own_guards_live_rule_watches_no_second_time(guard, monkeypatch):
    watched: list[object] = []
    watch = guard.live.watch
    monkeypatch.setattr(guard.live, "watch", lambda *given: watched.append(given) or watch(*given))

    async def test() -> None:
        wire = Wire("http", "/live")
        view = require_fb_token(live=True)(events(wait=listening))
        serving = wire.serve(FBTokenMiddleware(view, guard, policy=LIVE_POLICY))
        await until(lambda: wire.scope.get("waiting"))
        assert len(watched) == 1
        guard.expire_session(TOKEN)
        await settled(serving)

    run(test)


def test_who_watches_when_the_connection_is_over_lets_go(guard, monkeypatch):
    """A view on a thread of its own may outlive its request."""

    async def test() -> None:
        wire = Wire("http", "/live")
        live = LiveResponse(wire.receive, wire.send, lambda finding, _: guard.refusal(finding))
        watch = guard.live.watch

        def late(*given: Any) -> Any:
            live.unwatch()
            return watch(*given)

        monkeypatch.setattr(guard.live, "watch", late)
        live.watch(Claim(guard, Secret(TOKEN), guard.check(TOKEN)))
        assert len(guard.live) == 0

    run(test)


# -- several guards, several threads, again and again ---


@pytest.mark.parametrize("begun", [True, False])
def test_tokens_that_expire_at_one_tick_cut_once(guard, clock, begun):
    """Those of a door and of a view with a guard of its own are mostly one: the same token."""

    async def test() -> None:
        wire = Wire("http", "/live")
        with make_guard(None, clock) as own:
            view = require_fb_token(guard=own)(events(start=begun, wait=elsewhere))
            serving = wire.serve(FBTokenMiddleware(view, guard, policy=LIVE_POLICY))
            await until(lambda: wire.scope.get("waiting"))
            clock.advance(3600)
            if begun:
                with pytest.raises(Cut, match="expired"):
                    await serving
            else:
                await serving
                assert wire.sent[0]["status"] == 401
            await asyncio.sleep(2 * GRACE)  # nobody around is cancelled later
            assert len(guard.live) == len(own.live) == 0

    run(test)


@pytest.mark.parametrize("policy", [LIVE_POLICY, None])
def test_a_view_may_be_judged_as_live_for_each_message(guard, policy):
    turns = 1500  # a chain of as many would be too deep

    @require_fb_token(live=True)
    async def on_message(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.send", "text": "x"})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(turns):
            await on_message(scope, receive, send)
        await send({"type": "websocket.close", "code": 1000})

    async def test() -> None:
        wire = Wire("websocket", "/live")
        await wire.serve(FBTokenMiddleware(app, guard, policy=policy))
        assert wire.types.count("send") == turns
        assert len(guard.live) == 0

    run(test)


def test_views_on_other_threads_lose_no_watch(guard, monkeypatch):
    """Forced: while one is about to store what it watches, another one does so, too."""
    with make_guard() as own:
        claims = [Claim(one, Secret(TOKEN), one.check(TOKEN)) for one in (guard, own)]
        body: Watched = Watched()
        watch, inside = guard.live.watch, threading.Event()
        other = threading.Thread(target=body.watch, args=(claims[1],))

        def slow(*given: Any) -> Any:
            other.start()
            inside.wait(0.05)
            return watch(*given)

        monkeypatch.setattr(guard.live, "watch", slow)
        body.watch(claims[0])
        other.join()
        assert (len(guard.live), len(own.live)) == (1, 1)
        body.unwatch()
        assert (len(guard.live), len(own.live)) == (0, 0)
