"""Bodies that end with their token: async and sync iterators, and what WSGI sends."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.wsgi import WsgiToAsgi
from starlette.applications import Starlette
from starlette.routing import Mount

from fbguard import Guard, current_token, require_fb_token
from fbguard.asgi import FBTokenMiddleware as ASGIDoor
from fbguard.claims import Claim, Claims
from fbguard.core.secret import Secret
from fbguard.live import Cut
from fbguard.streams import LiveBody, LiveStream
from fbguard.wsgi import FBTokenMiddleware as WSGIDoor
from tests.support import (
    PATIENCE,
    TOKEN,
    Server,
    call_asgi,
    http_scope,
    wsgi_environ,
)
from tests.test_live import BEARER, LIVE_POLICY, run

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


# -- bodies ----------------------------------------------------------------------------------------------


@pytest.fixture
def claims(guard: Guard) -> Claims:
    found = Claims(guard)
    found.note(Claim(guard, Secret(TOKEN), guard.check(TOKEN)))
    return found


async def ticks(closed: list[str] | None = None) -> AsyncIterator[str]:
    try:
        yield "one"
        yield "two"
        await asyncio.sleep(PATIENCE)
    finally:
        if closed is not None:
            closed.append("closed")


def test_a_stream_is_interrupted_while_it_waits(guard, claims):
    closed: list[str] = []

    async def test() -> None:
        stream = LiveStream(ticks(closed), claims)
        assert [await anext(stream), await anext(stream)] == ["one", "two"]
        asyncio.get_running_loop().call_later(0.01, guard.expire_session, TOKEN)
        with pytest.raises(Cut, match="session_invalidated"):
            await anext(stream)
        assert closed == ["closed"]
        assert len(guard.live) == 0
        with pytest.raises(Cut):
            await anext(stream)

    run(test)


def test_a_stream_that_was_ended_between_chunks_gives_no_more(guard, claims):
    async def test() -> None:
        stream = LiveStream(ticks(), claims)
        assert await anext(stream) == "one"
        guard.expire_session(TOKEN)
        await asyncio.sleep(0.01)
        with pytest.raises(Cut):
            await anext(stream)

    run(test)


def test_a_stream_that_swallows_the_interruption_gives_no_more(guard, claims):
    async def stubborn() -> AsyncIterator[str]:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            yield "late"

    async def test() -> None:
        asyncio.get_running_loop().call_later(0.01, guard.expire_session, TOKEN)
        with pytest.raises(Cut):
            await anext(LiveStream(stubborn(), claims))
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    run(test)


@pytest.mark.parametrize("end", ["read", "failed", "closed", "dropped", "never read"])
def test_a_stream_that_is_over_is_forgotten(guard, claims, end):
    async def body() -> AsyncIterator[str]:
        yield "one"
        yield "two"
        if end == "failed":
            raise LookupError

    async def test() -> None:
        stream = LiveStream(body(), claims)
        if end != "never read":
            await anext(stream)
            assert len(guard.live) == 1
        if end == "read":
            assert [item async for item in stream] == ["two"]
        elif end == "failed":
            with pytest.raises(LookupError):
                [item async for item in stream]
        elif end == "closed":
            await stream.aclose()
        elif end == "dropped":
            del stream
            gc.collect()
        assert len(guard.live) == 0

    run(test)


@pytest.mark.parametrize("when", ["before", "between", "meanwhile"])
def test_a_body_is_looked_at_before_each_chunk_and_after_it(guard, claims, when):
    def body() -> Iterator[bytes]:
        yield b"one"
        if when == "meanwhile":
            guard.expire_session(TOKEN)
        yield b"two"

    live = LiveBody(body(), claims)
    if when == "before":
        guard.expire_session(TOKEN)
    else:
        assert next(live) == b"one"
    if when == "between":
        guard.expire_session(TOKEN)
    for _ in range(2):
        with pytest.raises(Cut, match="session_invalidated"):
            next(live)
    live.close()
    assert len(guard.live) == 0


@pytest.mark.parametrize("end", ["read", "failed", "closed", "dropped", "never read"])
def test_a_body_that_is_over_is_forgotten(guard, claims, end):
    closed: list[str] = []

    def body() -> Iterator[bytes]:
        yield b"one"
        yield b"two"
        if end == "failed":
            raise LookupError

    live = LiveBody(body(), claims, lambda: closed.append("closed"))
    if end != "never read":
        next(live)
        assert len(guard.live) == 1
    if end == "read":
        assert list(live) == [b"two"]
    elif end == "failed":
        with pytest.raises(LookupError):
            list(live)
    elif end == "closed":
        live.close()
        assert closed == ["closed"]
    elif end == "dropped":
        del live
        gc.collect()
    assert len(guard.live) == 0


# -- WSGI ------------------------------------------------------------------------------------------------


class WSGIStream:
    """A WSGI app whose body can be told what to do between its chunks."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        self.acts = acts
        self.closed = 0
        self.users: list[str | None] = []

    def __call__(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return self

    def __iter__(self) -> Iterator[bytes]:
        for act in self.acts:
            self.users.append(current_token(required=True).user_id)
            yield b"x"
            act()

    def close(self) -> None:
        self.closed += 1


def nothing() -> None:
    pass


@pytest.mark.parametrize("how", ["rule", "view"])
def test_a_live_wsgi_body_is_broken_off(guard, how):
    app = WSGIStream(nothing, lambda: guard.expire_session(TOKEN), nothing)
    if how == "rule":
        door = WSGIDoor(app, guard, policy=LIVE_POLICY)
    else:
        door = WSGIDoor(require_fb_token(live=True)(app.__call__), guard, policy=None)
    server = Server()
    with pytest.raises(ConnectionAbortedError, match="session_invalidated"):
        server.serve(door, wsgi_environ("/live", headers=BEARER))
    assert (server.sent, app.closed, app.users) == (b"xx", 1, ["1001"] * 3)
    assert len(guard.live) == 0


@pytest.mark.parametrize("how", ["rule", "view"])
def test_a_live_wsgi_body_that_has_not_begun_is_refused(guard, how):
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])

        def body() -> Iterator[bytes]:
            yield b""
            guard.expire_session(TOKEN)
            yield b"late"

        return body()

    view = app if how == "rule" else require_fb_token(live=True)(app)
    door = WSGIDoor(view, guard, policy=LIVE_POLICY if how == "rule" else None)
    answer = Server().serve(door, wsgi_environ("/live", headers=BEARER))
    assert (answer.status, answer.json["reason"]) == (401, "session_invalidated")


def test_a_live_wsgi_body_ends_with_its_tokens_time(guard, clock):
    def expire() -> None:
        clock.advance(3600)
        guard.live.tick()

    server = Server()
    with pytest.raises(ConnectionAbortedError, match="expired"):
        server.serve(
            WSGIDoor(WSGIStream(nothing, expire, nothing), guard, policy=LIVE_POLICY),
            wsgi_environ("/live", headers=BEARER),
        )
    assert server.sent == b"xx"


@pytest.mark.parametrize("path", ["/plain", "/live"])
def test_a_whole_wsgi_body_and_a_plain_one_are_what_they_were(guard, path):
    whole = [b"all of it"]

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return whole

    environ = wsgi_environ(path, headers=BEARER)
    assert WSGIDoor(app, guard, policy=LIVE_POLICY)(environ, Server().start_response) is whole
    stream = WSGIStream(lambda: guard.expire_session(TOKEN), nothing)
    if path == "/plain":
        answer = Server().serve(WSGIDoor(stream, guard, policy=LIVE_POLICY), environ)
        assert answer.body == b"xx"


# -- frameworks that fbguard does not know -------------------------------------------------------------------


class Answer:
    """What some framework's views return."""


@pytest.mark.parametrize("answer", ["text", b"bytes", {"a": 1}, ["list"], ("a", 1), None])
def test_a_complete_answer_of_an_unknown_framework_is_handed_on(guard, answer):
    view = require_fb_token(live=True)(lambda: answer)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert view() is answer
        start_response("200 OK", [])
        return []

    environ = wsgi_environ("/live", headers=BEARER)
    assert Server().serve(WSGIDoor(app, guard, policy=None), environ).status == 200


def test_what_nobody_can_cut_says_so(guard):
    @require_fb_token(live=True)
    def view() -> Answer:
        return Answer()

    @require_fb_token(live=True)
    async def aview(*, user: str = "") -> Answer:
        return Answer()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        view()
        raise AssertionError("not reached")

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        await aview(user="x")

    with pytest.raises(RuntimeError, match="does not know what this view returns"):
        WSGIDoor(app, guard, policy=None)(wsgi_environ("/live", headers=BEARER), Server().start_response)
    with pytest.raises(RuntimeError, match="does not know what this view returns"):
        asyncio.run(call_asgi(ASGIDoor(asgi_app, guard, policy=None), http_scope("/live", headers=BEARER)))


def test_a_door_that_cuts_takes_any_view_of_asgi(guard):
    @require_fb_token(live=True)
    async def view(*, user: str) -> str:
        return user

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": (await view(user="x")).encode()})

    door = ASGIDoor(app, guard, policy=LIVE_POLICY)
    assert asyncio.run(call_asgi(door, http_scope("/live", headers=BEARER))).body == b"x"


def test_an_app_of_wsgi_below_a_door_of_asgi_is_served_and_cut(guard):
    """It runs in a thread, and finds the request of that door."""

    @require_fb_token(live=True)
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"a", b"b"])

    @require_fb_token(live=True)
    def ended(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"a"
        guard.expire_session(TOKEN)
        yield b"b"

    asked = http_scope("/live", headers=BEARER)
    for view, body in ((app, b"ab"), (ended, b"a")):
        door = ASGIDoor(Starlette(routes=[Mount("/", WsgiToAsgi(view))]), guard, policy=None)
        if body == b"ab":
            assert asyncio.run(call_asgi(door, dict(asked))).body == body
        else:
            with pytest.raises(Cut):
                asyncio.run(call_asgi(door, dict(asked)))


def test_what_a_live_rule_cuts_may_return_anything(guard):
    @require_fb_token(live=True)
    def view() -> Answer:
        return Answer()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        assert isinstance(view(), Answer)
        start_response("200 OK", [])
        return []

    environ = wsgi_environ("/live", headers=BEARER)
    assert Server().serve(WSGIDoor(app, guard, policy=LIVE_POLICY), environ).status == 200


@pytest.mark.parametrize("answer", ["text", 1, None, {1}])
def test_a_sync_view_below_a_door_of_asgi_gives_its_answer_or_says_so(guard, answer):
    view = require_fb_token(live=True)(lambda: answer)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": repr(view()).encode()})

    door = ASGIDoor(app, guard, policy=None)
    if answer == {1}:
        with pytest.raises(RuntimeError, match="does not know what this view returns"):
            asyncio.run(call_asgi(door, http_scope("/live", headers=BEARER)))
    else:
        found = asyncio.run(call_asgi(door, http_scope("/live", headers=BEARER)))
        assert found.body == repr(answer).encode()
