"""``batch=True``: look-ups that would have to wait for a slot share a call of Graph."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest

from fbguard import Guard, Refused
from fbguard.sandbox import Sandbox
from tests.support import (
    APP_ID,
    PATIENCE,
    SECRET,
    TOKEN,
    FakeClock,
    FakeGraph,
    Reply,
    dead,
    envelope,
    make_guard,
    until,
    valid,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

OLD, NEW = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"
REFUSED = envelope(190, message="Invalid OAuth access token signature.")
REFUSES_BATCHES = envelope(3, message="(#3) Application does not have the capability to make this API call.")


class Batching(FakeGraph):
    """FakeGraph that takes batch calls; ``unfinished`` items at the end of each are null."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[list[str]] = []
        self.instead: Reply | BaseException | None = None  # of a batch
        self.headers: tuple[tuple[str, str], ...] = ()
        self.unfinished = 0
        self.revoked: set[str] = set()  # secrets
        self.probes = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return await self._batch(request)
        secret = request.headers["Authorization"].removeprefix(f"Bearer {APP_ID}|")
        is_probe = request.url.path.endswith(f"/{APP_ID}")
        self.probes += is_probe
        if secret in self.revoked:
            if not is_probe:
                self.calls.append(request.url.params["input_token"])
                await self.gate.passed()
            return response(REFUSED, request)
        if is_probe:
            return response(Reply(json.dumps({"id": APP_ID}).encode()), request)
        return await super().handle_async_request(request)

    async def _batch(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v26.0/"
        assert not request.url.query
        form = dict(parse_qsl((await request.aread()).decode(), strict_parsing=True))
        assert set(form) == {"access_token", "batch", "include_headers"}
        asked = [
            parse_qs(urlsplit(one["relative_url"]).query)["input_token"][0]
            for one in json.loads(form["batch"])
        ]
        self.batches.append(asked)
        await self.gate.passed()
        if form["access_token"].removeprefix(f"{APP_ID}|") in self.revoked:
            return response(REFUSED, request)
        if isinstance(self.instead, BaseException):
            raise self.instead
        if self.instead is not None:
            return response(self.instead, request)
        items = [self._item(token) for token in asked]
        items[len(items) - self.unfinished :] = [None] * min(self.unfinished, len(items))
        return response(Reply(json.dumps(items).encode(), headers=self.headers), request)

    def _item(self, token: str) -> dict[str, Any] | None:
        reply = self.replies.get(token, self.default)
        assert isinstance(reply, Reply)
        return {"code": reply.status, "body": reply.body.decode()}


def response(reply: Reply, request: httpx.Request) -> httpx.Response:
    stream = httpx.ByteStream(reply.body)
    return httpx.Response(reply.status, headers=list(reply.headers), stream=stream, request=request)


@pytest.fixture
def graph() -> Batching:
    return Batching()


@pytest.fixture
def make(graph: Batching, clock: FakeClock) -> Iterator[Callable[..., Guard]]:
    guards: list[Guard] = []

    def make(**options: Any) -> Guard:
        usual = {"batch": True, "max_in_flight": 1, "deadline": PATIENCE}
        guards.append(make_guard(graph, clock, **(usual | options)))
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


def cold(count: int, name: str = "cold") -> list[str]:
    return [f"EAA{name}{number}" for number in range(count)]


async def said(guard: Guard, token: str) -> str:
    try:
        return (await guard.acheck(token)).user_id or ""
    except Refused as refused:
        return refused.reason


async def crowd(guard: Guard, graph: Batching, tokens: list[str]) -> list[str]:
    """Ask about all of them at once; the first has the slot, the others stand in the line."""
    graph.gate.shut()
    before = len(graph.calls)
    first = asyncio.create_task(said(guard, tokens[0]))
    await until(lambda: len(graph.calls) > before)
    others = [asyncio.create_task(said(guard, token)) for token in tokens[1:]]
    for _ in range(20):  # turns of the loop, until each is where it has to wait
        await asyncio.sleep(0)
    graph.gate.open()
    return list(await asyncio.gather(first, *others))


def waiting(guard: Guard) -> int:
    lines = (local.connection.line for local in guard._look_ups._local._by_loop.values())
    return sum(len(line._waiting) for line in lines if line is not None)


def run(guard: Guard, graph: Batching, tokens: list[str]) -> list[str]:
    async def main() -> list[str]:
        try:
            return await crowd(guard, graph, tokens)
        finally:
            await guard.aclose()

    return asyncio.run(main())


# -- who goes together -----------------------------------------------------------------------------------


def test_who_must_wait_goes_together(make, graph):
    guard, tokens = make(), cold(121)
    assert run(guard, graph, tokens) == ["1001"] * 121
    assert graph.calls == tokens[:1]
    assert [token for batch in graph.batches for token in batch] == tokens[1:]
    assert [len(batch) for batch in graph.batches] == [50, 50, 20]
    assert guard.health().in_flight == 0


def test_nobody_who_need_not_wait_does(make, graph):
    guard = make(max_in_flight=20)
    assert run(guard, graph, cold(20)) == ["1001"] * 20
    assert (len(graph.calls), graph.batches) == (20, [])


@pytest.mark.parametrize(
    ("slots", "count", "sizes"),
    [(1, 2, [2]), (8, 9, [9]), (2, 99, [50, 49]), (4, 60, [30, 30]), (20, 20, [])],
)
def test_who_starts_together_shares_calls_if_there_are_too_few_slots(make, graph, slots, count, sizes):
    guard, tokens = make(max_in_flight=slots), cold(count)

    async def main() -> None:
        outcomes = await asyncio.gather(*(said(guard, token) for token in tokens))
        assert outcomes == ["1001"] * count
        await guard.aclose()

    asyncio.run(main())
    assert [len(batch) for batch in graph.batches] == sizes
    assert [token for batch in graph.batches for token in batch] == tokens[: sum(sizes)]
    assert len(graph.calls) == count - sum(sizes)


def test_one_in_the_line_is_asked_for_alone(make, graph):
    assert run(make(), graph, cold(2)) == ["1001"] * 2
    assert (graph.calls, graph.batches) == (cold(2), [])


def test_without_the_option_there_is_no_batch(make, graph):
    assert run(make(batch=False), graph, cold(5)) == ["1001"] * 5
    assert (graph.calls, graph.batches) == (cold(5), [])


def test_sync_callers_go_together_too(make, graph):
    from concurrent.futures import ThreadPoolExecutor

    guard = make()
    graph.gate.shut()
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(guard.check, "EAAfirst")
        graph.wait_for_calls(1)
        others = [pool.submit(guard.check, token) for token in cold(8)]
        wait_until(lambda: waiting(guard) == 8)
        graph.gate.open()
        assert {one.result(PATIENCE).user_id for one in [first, *others]} == {"1001"}
    assert [sorted(batch) for batch in graph.batches] == [sorted(cold(8))]


# -- whose answer is whose -------------------------------------------------------------------------------


def test_each_gets_the_answer_about_its_own_token(make, graph):
    tokens = cold(40)
    for number, token in enumerate(tokens):
        graph.replies[token] = valid(user_id=str(number + 1))
    graph.replies[tokens[7]] = dead(190, 463)
    graph.replies[tokens[8]] = dead(190, 460)
    graph.replies[tokens[9]] = valid(app_id="999")
    graph.replies[tokens[10]] = envelope(2)
    graph.replies[tokens[11]] = valid(is_valid="true")
    expected = [str(number + 1) for number in range(40)]
    expected[7:12] = ["expired", "password_changed", "wrong_app", "unavailable", "unavailable"]
    guard = make()

    async def main() -> None:
        assert await crowd(guard, graph, tokens) == expected
        calls = len(graph.calls), len(graph.batches)
        assert [await said(guard, token) for token in tokens[:10]] == expected[:10]  # and is remembered
        assert (len(graph.calls), len(graph.batches)) == calls
        assert await said(guard, tokens[10]) == "unavailable"  # but for don't-knows
        assert len(graph.calls) == calls[0] + 1
        assert guard.peek(tokens[3]).fingerprint != guard.peek(tokens[4]).fingerprint
        await guard.aclose()

    asyncio.run(main())


def test_what_a_batch_left_open_is_asked_for_alone(make, graph):
    graph.unfinished = 3
    tokens = cold(9)
    assert run(make(), graph, tokens) == ["1001"] * 9
    assert graph.batches == [tokens[1:]]
    assert graph.calls[0] == tokens[0]
    assert set(graph.calls[1:]) <= set(tokens[6:])
    assert sorted(graph.calls[1:]) == tokens[6:]


# -- when Graph takes no batches -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        REFUSES_BATCHES,
        envelope(200),
        envelope(2500),
        Reply(b"{}"),
        Reply(b"[]"),
        Reply(b"[null]"),
        valid(),
        Reply(b"<html>", 400),
        Reply(b"", 413),
        Reply(b"{"),
        Reply(b"[" + b" " * 2_000_000 + b"]"),
        Reply(
            json.dumps([{"code": 200, "body": "{}"}] * 4).encode(), headers=(("Content-Encoding", "gzip"),)
        ),
    ],
    ids=lambda reply: repr(reply.body[:50]),
)
def test_a_refused_batch_is_asked_for_one_by_one(make, graph, clock, caplog, reply):
    guard = make()
    graph.instead = reply

    async def main() -> None:
        assert await crowd(guard, graph, cold(5)) == ["1001"] * 5
        assert (len(graph.batches), len(graph.calls)) == (1, 5)
        clock.advance(59)
        assert await crowd(guard, graph, cold(5, "soon")) == ["1001"] * 5
        assert (len(graph.batches), len(graph.calls)) == (1, 10)
        graph.instead = None
        clock.advance(1)
        assert await crowd(guard, graph, cold(5, "later")) == ["1001"] * 5
        assert (len(graph.batches), len(graph.calls)) == (2, 11)
        await guard.aclose()

    asyncio.run(main())
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "one by one" in warnings[0]
    assert guard.health().status == "ok"


# -- don't-knows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instead", "reason"),
    [
        (envelope(4), "throttled"),
        (envelope(80001, status=500), "throttled"),
        (envelope(2), "unavailable"),
        (Reply(b"<html>", 502), "unavailable"),
        (Reply(b"", 503), "unavailable"),
        (httpx.ReadError(""), "unavailable"),
        (Reply(b"[" + b" " * 2_000_000 + b"]", 500), "unavailable"),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_a_dont_know_is_one_for_all(make, graph, clock, instead, reason, caplog):
    guard = make()
    graph.instead = instead

    async def main() -> None:
        assert await crowd(guard, graph, cold(6)) == ["1001", *[reason] * 5]
        assert (len(graph.batches), len(graph.calls)) == (1, 1)  # and nobody is asked for again
        assert guard.health().reason == reason
        graph.instead = None
        clock.advance(2)
        assert await said(guard, cold(6)[5]) == "1001"
        assert guard.health().status == "ok"
        await guard.aclose()

    asyncio.run(main())
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_throttled_item_throttles_everybody(make, graph, clock):
    guard = make()
    tokens = cold(4)
    graph.replies[tokens[2]] = envelope(17)

    async def main() -> None:
        assert await crowd(guard, graph, tokens) == ["1001", "1001", "throttled", "1001"]
        assert guard.health().reason == "throttled"
        assert await said(guard, "EAAnext") == "throttled"
        clock.advance(2)
        assert await said(guard, "EAAnext") == "1001"
        await guard.aclose()

    asyncio.run(main())


def test_a_throttle_code_about_one_token_throttles_nobody_else(make, graph):
    guard, tokens = make(), cold(4)
    graph.replies[tokens[2]] = dead(17)

    async def main() -> None:
        assert await crowd(guard, graph, tokens) == ["1001", "1001", "throttled", "1001"]
        assert await said(guard, "EAAnext") == "1001"
        assert guard.health().status == "ok"
        await guard.aclose()

    asyncio.run(main())


def test_the_usage_of_a_batch_counts(make, graph, clock):
    guard = make()
    graph.headers = (("X-Ad-Account-Usage", '{"acc_id_util_pct": 100, "reset_time_duration": 90}'),)

    async def main() -> None:
        assert await crowd(guard, graph, cold(4)) == ["1001"] * 4
        with pytest.raises(Refused) as refused:
            await guard.acheck("EAAnext")
        assert (refused.value.reason, refused.value.retry_after) == ("throttled", 90)
        await guard.aclose()

    asyncio.run(main())


def test_while_graph_is_probed_one_goes_first(make, graph, clock):
    guard = make()

    async def main() -> None:
        graph.replies["EAAprobe"] = envelope(4)
        assert await said(guard, "EAAprobe") == "throttled"
        clock.advance(2)
        assert await crowd(guard, graph, cold(5)) == ["1001", *["throttled"] * 4]
        assert (graph.calls, graph.batches) == (["EAAprobe", "EAAcold0"], [])
        assert await crowd(guard, graph, cold(5, "again")) == ["1001"] * 5
        assert graph.batches == [cold(5, "again")[1:]]
        await guard.aclose()

    asyncio.run(main())


def test_under_a_pace_batches_are_small(make, graph, clock, monkeypatch):
    from fbguard.core import governor

    turn = asyncio.sleep

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        await turn(0)

    monkeypatch.setattr(governor.asyncio, "sleep", sleep)
    begun = clock.mono
    assert run(make(max_calls_per_second=40), graph, cold(41)) == ["1001"] * 41
    assert [len(batch) for batch in graph.batches] == [4] * 10
    assert clock.mono - begun == pytest.approx((41 - 4) / 40)


# -- how many may wait, and who leaves -------------------------------------------------------------------


def test_a_full_line(make, graph):
    guard = make(max_queued=3)
    assert sorted(run(guard, graph, cold(6))) == sorted(["1001"] * 4 + ["unavailable"] * 2)
    assert [len(batch) for batch in graph.batches] == [3]
    assert guard.health().status == "ok"  # nobody has failed


def test_a_batch_that_hangs(make, graph):
    guard = make(deadline=0.1, max_queued=10)

    async def main() -> None:
        graph.gate.shut()
        outcomes = await asyncio.gather(*(said(guard, token) for token in cold(8)))
        assert outcomes == ["unavailable"] * 8
        await until(lambda: guard.health().in_flight == 0 and not waiting(guard))
        graph.gate.open()
        assert await said(guard, TOKEN) == "1001"
        await guard.aclose()

    asyncio.run(main())


def test_a_guard_that_is_closed_meanwhile(make, graph):
    async def main() -> None:
        guard = make()
        graph.gate.shut()
        tasks = [asyncio.create_task(said(guard, token)) for token in cold(1)]
        await until(lambda: len(graph.calls) == 1)
        tasks += [asyncio.create_task(said(guard, token)) for token in cold(7, "late")]
        await until(lambda: waiting(guard) == 7)
        await guard.aclose()
        await asyncio.wait(tasks, timeout=PATIENCE)
        assert all(task.done() for task in tasks)
        assert guard.health().in_flight == 0
        graph.gate.open()

    asyncio.run(main())


# -- our own credential ----------------------------------------------------------------------------------


def test_a_batch_with_a_refused_credential_finds_the_other_secret(make, graph, caplog):
    guard = make(app_secret=[OLD, NEW])
    graph.revoked = {OLD}
    assert run(guard, graph, cold(8)) == ["1001"] * 8
    assert graph.probes == 2
    assert OLD not in caplog.text
    assert NEW not in caplog.text


def test_a_batch_with_a_refused_credential(make, graph, caplog):
    guard = make()
    graph.revoked = {SECRET}
    assert set(run(guard, graph, cold(8))) == {"misconfigured"}
    assert graph.probes == 1
    assert guard.health().reason == "misconfigured"


def test_one_evil_token_in_a_batch_is_nobody_elses_trouble(make, graph):
    tokens = cold(8)
    graph.replies[tokens[3]] = REFUSED
    guard = make()
    assert run(guard, graph, tokens) == [*["1001"] * 3, "unavailable", *["1001"] * 4]
    assert graph.probes == 1
    assert guard.health().status == "ok"


def test_no_token_and_no_secret_is_logged(make, graph, caplog):
    caplog.set_level(logging.DEBUG)
    graph.instead = REFUSES_BATCHES
    run(make(), graph, [TOKEN, *cold(3)])
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text
    assert "EAAcold" not in caplog.text


def test_lost_batches_open_the_breaker(make, graph, clock):
    guard = make()
    graph.default = Reply(b"", 500)
    graph.instead = httpx.ReadError("")

    async def main() -> None:
        for number in range(5):
            assert set(await crowd(guard, graph, cold(4, f"{number}-"))) == {"unavailable"}
            clock.advance(0.3)
        calls = len(graph.calls) + len(graph.batches)
        assert calls == 10  # a lost batch is one, whatever it carried
        assert await said(guard, "EAAnext") == "unavailable"
        assert len(graph.calls) + len(graph.batches) == calls
        await guard.aclose()

    asyncio.run(main())


# -- over sockets, against the sandbox ---------------------------------------------------------------------


@pytest.mark.parametrize("allowed", [True, False])
def test_the_sandbox_takes_what_is_sent(allowed):
    sandbox = Sandbox()
    sandbox.batch(allowed=allowed, unfinished=2)
    tokens = [sandbox.issue_token(user_id=str(number + 1)) for number in range(30)]
    sandbox.expire(tokens[5])
    with (
        sandbox.serve() as url,
        Guard(
            app_id=sandbox.app_id,
            app_secret=sandbox.app_secret,
            graph_url=url,
            max_in_flight=1,
            batch=True,
            deadline=PATIENCE,
        ) as guard,
    ):

        async def main() -> list[str]:
            outcomes = await asyncio.gather(*(said(guard, token) for token in tokens))
            await guard.aclose()
            return outcomes

        expected = [str(number + 1) for number in range(30)]
        expected[5] = "expired"
        assert asyncio.run(main()) == expected
    calls = [call.method for call in sandbox.calls]
    assert calls.count("POST") == 1
    assert calls.count("GET") == (2 if allowed else 30)
