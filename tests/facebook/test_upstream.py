"""A guard in front of a Graph that is down, slow, throttling, or refuses the guard itself."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from fbguard import Guard, Refused
from fbguard.facebook import transport
from tests.support import (
    APP_ID,
    PATIENCE,
    TOKEN,
    FakeClock,
    FakeGraph,
    Reply,
    envelope,
    make_guard,
    until,
    valid,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

OLD, NEW = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"
WELCOME = Reply(json.dumps({"id": APP_ID}).encode())
REFUSED = envelope(190, message="Invalid OAuth access token signature.")
COLOURS = ("sync", "async")


def _response(reply: Reply, request: httpx.Request) -> httpx.Response:
    return httpx.Response(reply.status, stream=httpx.ByteStream(reply.body), request=request)


def said(reply: Reply | BaseException) -> str:
    """Name a reply in a test's id."""
    return f"{reply.status} {reply.body.decode()}"[:40] if isinstance(reply, Reply) else repr(reply)


class Facebook(FakeGraph):
    """FakeGraph that answers for the app, too, and knows which credential a call came with."""

    def __init__(self) -> None:
        super().__init__()
        self.probe: Reply | BaseException = WELCOME
        self.probes: list[str] = []
        self.revoked: set[str] = set()  # secrets
        self.inside = self.most = 0
        self.turns = 0
        self._count = threading.Lock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        secret = request.headers["Authorization"].removeprefix(f"Bearer {APP_ID}|")
        if request.url.path.endswith(f"/{APP_ID}"):
            assert dict(request.url.params) == {"fields": "id"}
            self.probes.append(secret)
            await asyncio.sleep(0)
            reply = REFUSED if secret in self.revoked else self.probe
            if isinstance(reply, BaseException):
                raise reply
            return _response(reply, request)
        if secret in self.revoked:
            self.calls.append(request.url.params["input_token"])
            return _response(REFUSED, request)
        with self._count:
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
            return await super().handle_async_request(request)
        finally:
            with self._count:
                self.inside -= 1


@pytest.fixture
def graph() -> Facebook:
    return Facebook()


@pytest.fixture
def make(graph: Facebook, clock: FakeClock) -> Iterator[Callable[..., Guard]]:
    guards: list[Guard] = []

    def make(**options: Any) -> Guard:
        guards.append(make_guard(graph, clock, **options))
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


@pytest.fixture
def guard(make: Callable[..., Guard]) -> Guard:
    return make()


def check_answer(refused: Refused) -> None:
    """Check what every "don't know" has in common."""
    assert (refused.status == 503) == (refused.reason in {"throttled", "unavailable", "misconfigured"})
    if refused.status == 503:
        headers = dict(refused.answer().headers)
        assert headers["Retry-After"] == str(refused.retry_after)
        assert type(refused.retry_after) is int
        assert refused.retry_after >= 1
        assert "WWW-Authenticate" not in headers


@pytest.fixture(params=COLOURS)
def ask(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Give ``ask(guard, token)``, which returns the user id or the reason, and ``ask.refused``."""

    def ask(guard: Guard, token: str = TOKEN) -> str:
        try:
            check = guard.check if request.param == "sync" else lambda token: asyncio.run(guard.acheck(token))
            return check(token).user_id or ""
        except Refused as error:
            ask.refused = error
        check_answer(ask.refused)
        return ask.refused.reason

    return ask


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_PAUSE", (0.0, 0.0))


def cold(count: int, start: int = 0) -> list[str]:
    return [f"EAAcold{number}" for number in range(start, start + count)]


# -- throttling ----------------------------------------------------------------------------------------


def test_a_throttled_token_is_not_known(ask, guard, graph, clock):
    graph.default = envelope(4)
    assert ask(guard) == "throttled"
    assert guard.peek(TOKEN) is None
    graph.default = valid()
    clock.advance(2)
    assert ask(guard) == "1001"


# -- what opens the breaker, and what does not ---------------------------------------------------------


# -- tries and the deadline ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (httpx.ConnectError(""), 2),
        (httpx.ConnectTimeout(""), 2),
        (httpx.PoolTimeout(""), 2),
        (httpx.ReadError(""), 1),
        (httpx.ReadTimeout(""), 1),
        (httpx.RemoteProtocolError(""), 1),
        (ZeroDivisionError(), 1),
    ],
    ids=repr,
)
def test_only_what_was_not_sent_is_sent_again(ask, guard, graph, error, tries):
    graph.default = error
    assert ask(guard) == "unavailable"
    assert graph.calls == [TOKEN] * tries


def test_the_second_try_has_what_is_left_of_the_deadline(ask, make, graph, monkeypatch):
    class Hangs(Facebook):
        async def handle_async_request(self, request):
            self.calls.append("")
            if len(self.calls) == 1:
                raise httpx.ConnectError("")
            await asyncio.Event().wait()

    hangs, begun = Hangs(), time.monotonic()
    guard = make(transport=hangs, deadline=0.1)
    assert ask(guard) == "unavailable"
    assert time.monotonic() - begun < 1
    assert len(hangs.calls) == 2
    assert guard.health().in_flight == 0


# -- how many at once ----------------------------------------------------------------------------------


def test_a_cap_for_both_colours_together(make, graph):
    graph.turns = 5
    guard = make(max_in_flight=4, deadline=PATIENCE)

    async def main() -> list[object]:
        return await asyncio.gather(*(guard.acheck(f"EAAasync{number}") for number in range(50)))

    with ThreadPoolExecutor(12) as pool:
        sync = [pool.submit(guard.check, f"EAAsync{number}") for number in range(50)]
        loops = [pool.submit(asyncio.run, main()) for _ in range(1)]
        assert len(loops[0].result(PATIENCE)) == 50
        assert {future.result(PATIENCE).user_id for future in sync} == {"1001"}
    assert len(graph.calls) == 100
    assert len(set(graph.loops)) == 2
    assert 1 < graph.most <= 4
    assert guard.health().in_flight == 0


def test_a_full_queue(make, graph):
    async def main() -> None:
        graph.gate.shut()
        guard = make(max_in_flight=2, max_queued=3, deadline=PATIENCE)
        tasks = [asyncio.create_task(guard.acheck(token)) for token in cold(5)]
        await until(
            lambda: len(graph.calls) == 2 and guard._validator._upstream._governor._slots.waiting == 3
        )
        with pytest.raises(Refused) as refused:
            await guard.acheck("EAAlate")
        assert (refused.value.status, refused.value.reason) == (503, "unavailable")
        assert refused.value.retry_after == 1
        assert guard.health().in_flight == 2
        assert not any(task.done() for task in tasks)
        graph.gate.open()
        assert {info.user_id for info in await asyncio.gather(*tasks)} == {"1001"}
        assert (await guard.acheck("EAAlate")).user_id == "1001"
        assert guard.health().status == "ok"  # nobody has failed
        await guard.aclose()

    asyncio.run(main())


def test_many_askers_of_one_token_take_one_slot(make, graph):
    async def main() -> None:
        graph.gate.shut()
        guard = make(max_in_flight=1, max_queued=1, deadline=PATIENCE)
        tasks = [asyncio.create_task(guard.acheck(TOKEN)) for _ in range(100)]
        await until(lambda: graph.calls)
        graph.gate.open()
        await asyncio.gather(*tasks)
        assert len(graph.calls) == 1
        await guard.aclose()

    asyncio.run(main())


def test_a_crowd_that_gives_up_leaves_no_slot_taken(make, graph):
    graph.gate.shut()
    guard = make(max_in_flight=2, max_queued=50, deadline=0.1)

    async def main() -> None:
        outcomes = await asyncio.gather(*map(guard.acheck, cold(20)), return_exceptions=True)
        assert {outcome.reason for outcome in outcomes} == {"unavailable"}

    asyncio.run(main())
    assert len(graph.calls) >= 2  # who is next in line may still ask in its last moment
    assert guard.health().in_flight == 0
    graph.gate.open()
    assert guard.check(TOKEN).user_id == "1001"


def test_the_pace(make, graph, clock, monkeypatch):
    from fbguard.core import governor

    naps: list[float] = []
    turn = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            naps.append(seconds)
            clock.advance(seconds)
        await turn(0)

    monkeypatch.setattr(governor.asyncio, "sleep", sleep)
    guard = make(max_calls_per_second=10)
    for token in cold(11):
        guard.check(token)
    assert naps == pytest.approx([0.1] * 10)


# -- our own credential --------------------------------------------------------------------------------
