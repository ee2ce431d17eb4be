"""A guard in front of a Graph that is down, slow, throttling, or refuses the guard itself."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from fbguard import Guard, Refused
from fbguard.core.breaker import BURST, FAILURES
from fbguard.facebook import transport
from tests.support import (
    APP_ID,
    OTHER_APP,
    PATIENCE,
    SECRET,
    TOKEN,
    FakeClock,
    FakeGraph,
    MovableLoop,
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
            await asyncio.sleep(0)
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


def test_throttled(ask, guard, graph, clock):
    assert ask(guard) == "1001"
    graph.default = envelope(4, message="(#4) Application request limit reached", status=403)
    assert ask(guard, "EAAfirst") == "throttled"
    assert (ask.refused.code, ask.refused.retry_after) == (4, 2)
    assert len(graph.calls) == 2
    clock.advance(0.5)
    for token in cold(20):
        assert ask(guard, token) == "throttled"
        assert (ask.refused.code, ask.refused.retry_after) == (4, 2)
    assert ask(guard) == "1001"  # is known
    assert len(graph.calls) == 2

    clock.advance(1.5)
    assert [ask(guard, token) for token in cold(20)] == ["throttled"] * 20
    assert len(graph.calls) == 3  # the probe
    clock.advance(3.9)  # and the back-off has doubled
    assert ask(guard, "EAAfirst") == "throttled"
    assert len(graph.calls) == 3

    graph.default = valid()
    clock.advance(0.1)
    assert [ask(guard, token) for token in cold(20)] == ["1001"] * 20
    assert len(graph.calls) == 23


@pytest.mark.parametrize("code", [4, 17, 32, 341, 368, 613, 80001])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("status", [200, 400, 429])
def test_whatever_a_throttle_is_dressed_as(guard, graph, code, inside, status):
    body = dead(code).body if inside else envelope(code).body
    graph.default = Reply(body, status)
    for token in cold(3):
        with pytest.raises(Refused) as refused:
            guard.check(token)
        if inside:  # about this token only, whatever it means
            assert refused.value.reason == ("throttled" if status == 200 else "unavailable")
        else:
            assert (refused.value.reason, refused.value.code) == ("throttled", code)
    assert len(graph.calls) == (3 if inside else 1)
    assert guard.health().status == ("ok" if inside else "degraded")


def test_a_throttled_token_is_not_known(ask, guard, graph, clock):
    graph.default = envelope(4)
    assert ask(guard) == "throttled"
    assert guard.peek(TOKEN) is None
    graph.default = valid()
    clock.advance(2)
    assert ask(guard) == "1001"


def test_graph_says_for_how_long(ask, guard, graph, clock):
    usage = {"1001": [{"type": "x", "call_count": 100, "estimated_time_to_regain_access": 7}]}
    headers = (("X-Business-Use-Case-Usage", json.dumps(usage)),)
    graph.default = Reply(envelope(4).body, 400, headers)
    assert ask(guard) == "throttled"
    assert ask.refused.retry_after == 420
    graph.default = valid()
    clock.advance(419)
    assert ask(guard) == "throttled"
    assert ask.refused.retry_after == 1
    assert len(graph.calls) == 1
    clock.advance(1)
    assert ask(guard) == "1001"


def test_usage_at_the_limit(ask, guard, graph, clock):
    usage = json.dumps({"call_count": 100, "total_time": 3, "total_cputime": 1})
    graph.default = Reply(valid().body, headers=(("X-App-Usage", usage),))
    assert ask(guard) == "1001"  # the answer counts
    assert ask(guard, "EAAother") == "throttled"
    assert len(graph.calls) == 1
    clock.advance(2)
    assert [ask(guard, token) for token in cold(3)] == ["1001", "throttled", "throttled"]
    graph.default = valid()
    clock.advance(4)
    assert [ask(guard, token) for token in cold(3)] == ["1001"] * 3
    assert guard.health().status == "ok"


@pytest.mark.parametrize("is_good", [True, False])
def test_usage_at_the_limit_with_the_time_until_it_ends(ask, guard, graph, clock, is_good):
    usage = {"1001": [{"call_count": 100, "estimated_time_to_regain_access": 7}]}
    reply = valid() if is_good else dead(190, 463)
    graph.default = Reply(reply.body, headers=(("X-Business-Use-Case-Usage", json.dumps(usage)),))
    assert ask(guard) == ("1001" if is_good else "expired")
    assert ask(guard, "EAAother") == "throttled"
    assert (ask.refused.retry_after, ask.refused.code) == (420, None)
    assert guard.health().reason == "throttled"
    graph.default = valid()
    clock.advance(420)
    assert ask(guard, "EAAother") == "1001"
    assert len(graph.calls) == 2


@pytest.mark.parametrize("share", [50, 100])
@pytest.mark.parametrize(
    "reply", [envelope(2), envelope(9999), REFUSED, valid(is_valid="true"), Reply(b"", 500)], ids=said
)
def test_only_who_is_throttled_is_told_when_access_is_regained(ask, guard, graph, reply, share):
    """An account of the business that has used up its share is no reason to wait for anything else."""
    usage = {"1001": [{"call_count": share, "estimated_time_to_regain_access": 7}]}
    headers = (("X-Business-Use-Case-Usage", json.dumps(usage)),)
    graph.default = Reply(reply.body, reply.status, headers)
    assert ask(guard) == "unavailable"
    assert ask.refused.retry_after == 2
    graph.default = valid()
    assert ask(guard, "EAAnext") == ("throttled" if share == 100 else "1001")


def test_near_the_limit_calls_slow_down(make, graph, clock, monkeypatch):
    from fbguard.core import governor

    naps: list[float] = []
    turn = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            naps.append(seconds)
            clock.advance(seconds)
        await turn(0)

    monkeypatch.setattr(governor.asyncio, "sleep", sleep)
    usage = (("X-App-Usage", '{"call_count": 95, "total_time": 3}'),)
    graph.default = Reply(valid().body, headers=usage)
    guard = make()
    for token in cold(6):
        guard.check(token)
    assert naps == pytest.approx([0.2] * 4)  # the second call was free: the first one told of it
    graph.default = valid()
    guard.check("EAAlast")  # and Graph says nothing more about it
    assert len(naps) == 5
    assert guard.health().status == "ok"


def test_calls_that_were_under_way_together_count_once(make, graph, clock):
    async def main() -> None:
        graph.gate.shut()
        graph.default = envelope(4)
        guard = make()
        tasks = [asyncio.create_task(guard.acheck(token)) for token in cold(20)]
        await until(lambda: len(graph.calls) == 20)
        graph.gate.open()
        refusals = await asyncio.gather(*tasks, return_exceptions=True)
        assert [refused.retry_after for refused in refusals] == [2] * 20
        graph.default = valid()
        clock.advance(2)
        assert (await guard.acheck("EAAnext")).user_id == "1001"
        await guard.aclose()

    asyncio.run(main())


# -- what opens the breaker, and what does not ---------------------------------------------------------


@pytest.mark.parametrize("reply", [dead(190, 463), dead(190), OTHER_APP, valid(app_id="42")], ids=said)
def test_noes_never_open_the_breaker(ask, guard, graph, reply):
    graph.default = reply
    for token in cold(50):
        assert ask(guard, token) not in {"unavailable", "throttled"}
    assert len(graph.calls) == 50
    assert guard.health().status == "ok"


def test_calls_that_may_blame_us_do_not_either(ask, guard, graph):
    graph.default = envelope(100, message="(#100) Something about this token")
    assert [ask(guard, token) for token in cold(50)] == ["unavailable"] * 50
    assert len(graph.calls) == 50
    assert len(graph.probes) == 1
    assert guard.health().status == "ok"  # Graph has answered each of them


@pytest.mark.parametrize(
    "reply",
    [Reply(b"", 500), Reply(b"{", 200), envelope(2), envelope(1, status=500), httpx.ReadError("")],
    ids=said,
)
def test_dont_knows_in_a_row_open_it(ask, guard, graph, clock, reply):
    assert ask(guard) == "1001"
    graph.default = reply
    for token in cold(50):
        assert ask(guard, token) == "unavailable"
        if len(graph.calls) <= FAILURES:
            clock.advance(0.2)
    assert len(graph.calls) == 1 + FAILURES
    assert ask(guard) == "1001"
    for count in (1, 2, 3):
        clock.advance(1)
        assert [ask(guard, token) for token in cold(5)] == ["unavailable"] * 5
        assert len(graph.calls) == 1 + FAILURES + count
    graph.default = dead(190, 463)  # an answer, whatever it says
    clock.advance(1)
    assert [ask(guard, token) for token in cold(5)] == ["expired"] * 5
    assert guard.health().status == "ok"


def test_a_moment_of_failures_does_not_open_it(ask, guard, graph):
    graph.default = httpx.ReadError("")  # a lost connection takes many calls along at once
    assert [ask(guard, token) for token in cold(2 * FAILURES)] == ["unavailable"] * 2 * FAILURES
    graph.default = valid()
    assert ask(guard) == "1001"


def test_a_no_between_failures(ask, guard, graph, clock):
    for number in range(5):
        graph.default = Reply(b"", 500)
        for token in cold(FAILURES - 1):
            assert ask(guard, token) == "unavailable"
            clock.advance(1)
        graph.default = dead(190)
        assert ask(guard, f"EAAno{number}") == "invalid_token"
    assert len(graph.calls) == 5 * FAILURES


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


def test_no_storm_of_tries(ask, guard, graph):
    graph.default = httpx.ConnectError("")
    assert [ask(guard, token) for token in cold(3 * BURST)] == ["unavailable"] * 3 * BURST
    assert len(graph.calls) == 2 * BURST


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


def test_a_deadline_that_runs_out_is_a_failure(make, graph):
    async def main() -> None:
        graph.gate.shut()
        guard = make(deadline=0.05, max_in_flight=BURST)
        for count in (1, BURST - 1):
            tasks = [asyncio.create_task(guard.acheck(token)) for token in cold(count)]
            await until(lambda count=count: guard.health().in_flight == count)
            refusals = await asyncio.gather(*tasks, return_exceptions=True)
            assert [refused.reason for refused in refusals] == ["unavailable"] * count
            await until(lambda: guard.health().in_flight == 0)
        calls = len(graph.calls)
        with pytest.raises(Refused) as refused:
            await guard.acheck("EAAnext")
        assert refused.value.reason == "unavailable"
        assert len(graph.calls) == calls
        assert guard.health().reason == "unavailable"
        graph.gate.open()
        await guard.aclose()

    asyncio.run(main())


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


@pytest.mark.parametrize("code", [190, 100, 101, 102, 104])
def test_a_token_about_which_graph_blames_us(ask, guard, graph, clock, code):
    graph.replies["EAAevil"] = envelope(code)
    assert ask(guard, "EAAevil") == "unavailable"
    assert graph.probes == [SECRET]
    for _ in range(5):
        assert ask(guard, "EAAevil") == "unavailable"  # never cached
    assert len(graph.calls) == 6
    assert graph.probes == [SECRET]  # once a minute
    assert ask(guard) == "1001"
    assert guard.health().status == "ok"
    clock.advance(60)
    assert ask(guard, "EAAevil") == "unavailable"
    assert graph.probes == [SECRET] * 2


def test_misconfigured(ask, guard, graph, clock, caplog):
    caplog.set_level(logging.DEBUG)
    assert ask(guard) == "1001"
    graph.revoked = {SECRET}
    assert ask(guard, "EAAfirst") == "misconfigured"
    assert ask.refused.relogin.action == "none"
    assert ask.refused.relogin.url is None
    assert ask.refused.retry_after == 60
    assert (len(graph.calls), len(graph.probes)) == (2, 1)
    clock.advance(20)
    for token in cold(20):
        assert ask(guard, token) == "misconfigured"
        assert ask.refused.retry_after == 40
    assert ask(guard) == "1001"  # is known
    assert (len(graph.calls), len(graph.probes)) == (3, 1)  # one a second is tried
    assert guard.health().reason == "misconfigured"

    clock.advance(40)
    assert [ask(guard, token) for token in cold(5)] == ["misconfigured"] * 5
    assert (len(graph.calls), len(graph.probes)) == (4, 2)

    graph.revoked = set()
    clock.advance(1)
    assert ask(guard, "EAAfirst") == "1001"  # whatever the probe has said
    assert guard.health().status == "ok"
    assert len(graph.probes) == 2

    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert {record.name for record in warnings} == {"fbguard"}
    assert len(warnings) == 2  # one for each refused probe
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text


def test_an_evil_token_after_a_recovery_is_not_our_fault(ask, guard, graph, clock):
    graph.revoked = {SECRET}
    assert ask(guard) == "misconfigured"
    graph.revoked, graph.replies["EAAevil"] = set(), REFUSED
    assert ask(guard) == "1001"
    assert ask(guard, "EAAevil") == "unavailable"
    assert len(graph.probes) == 1


def test_other_troubles_keep_their_name_while_misconfigured(ask, guard, graph, clock):
    graph.revoked = {SECRET}
    assert ask(guard) == "misconfigured"
    graph.revoked, graph.default = set(), Reply(b"", 500)
    assert ask(guard) == "unavailable"
    assert guard.health().reason == "unavailable"
    graph.default = REFUSED
    clock.advance(1)
    assert ask(guard) == "misconfigured"
    assert guard.health().reason == "misconfigured"
    graph.default = valid()
    clock.advance(1)
    assert ask(guard) == "1001"
    assert guard.health().status == "ok"


@pytest.mark.parametrize(
    "probe",
    [Reply(b"", 500), Reply(b"{}"), envelope(4), envelope(2), Reply(b'{"id": "42"}'), httpx.ReadError("")],
    ids=said,
)
def test_a_probe_that_says_nothing_changes_nothing(ask, make, graph, clock, probe, caplog):
    guard = make(app_secret=[OLD, NEW])
    graph.replies["EAAevil"], graph.probe = REFUSED, probe
    assert ask(guard, "EAAevil") == "unavailable"
    assert graph.probes == [OLD]
    assert ask(guard) == "1001"
    assert guard.health().status == "ok"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []

    graph.revoked, graph.probe = {OLD, NEW}, WELCOME
    clock.advance(60)
    assert ask(guard, "EAAevil") == "misconfigured"
    graph.revoked, graph.probe = set(), probe
    clock.advance(60)
    assert ask(guard, "EAAevil") == "misconfigured"
    clock.advance(1)
    assert ask(guard, "EAAfirst") == "1001"
    assert ask(guard, "EAAevil") == "unavailable"


def test_the_other_secret_is_tried_and_kept(ask, make, graph, clock, caplog):
    caplog.set_level(logging.DEBUG)
    guard = make(app_secret=[OLD, NEW])
    fingerprint = guard.check(TOKEN).fingerprint
    graph.revoked = {OLD}
    assert ask(guard, "EAAfirst") == "1001"  # looked up once more
    assert graph.calls == [TOKEN, "EAAfirst", "EAAfirst"]
    assert graph.probes == [OLD, NEW]
    for token in cold(5):
        assert ask(guard, token) == "1001"
    assert len(graph.calls) == 8
    assert graph.probes == [OLD, NEW]
    assert guard.health().status == "ok"
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert OLD not in caplog.text
    assert NEW not in caplog.text
    clock.advance(3000)
    assert guard.check(TOKEN).fingerprint == fingerprint  # the first goes on signing


def test_the_old_secret_comes_back(ask, make, graph, clock):
    guard = make(app_secret=[OLD, NEW])
    graph.revoked = {OLD}
    assert ask(guard) == "1001"
    graph.revoked = {NEW}
    assert ask(guard, "EAAfirst") == "unavailable"  # the next probe is a minute away
    clock.advance(60)
    assert ask(guard, "EAAfirst") == "1001"
    assert graph.probes == [OLD, NEW, NEW, OLD]


def test_recovery_by_the_other_secret(ask, make, graph, clock):
    guard = make(app_secret=[OLD, NEW])
    graph.revoked = {OLD, NEW}
    assert ask(guard) == "misconfigured"
    assert graph.probes == [OLD, NEW]
    graph.revoked = {OLD}
    clock.advance(60)
    assert ask(guard) == "1001"
    assert guard.health().status == "ok"


def test_a_crowd_probes_once(make, graph):
    async def main() -> None:
        guard = make()
        graph.revoked = {SECRET}
        outcomes = await asyncio.gather(*map(guard.acheck, cold(50)), return_exceptions=True)
        assert {outcome.status for outcome in outcomes} == {503}
        reasons = [outcome.reason for outcome in outcomes]
        assert set(reasons) <= {"unavailable", "misconfigured"}
        assert "misconfigured" in reasons
        assert len(graph.probes) == 1
        await guard.aclose()

    asyncio.run(main())


def test_a_probe_that_hangs_ends_with_the_deadline(make, graph):
    class Hangs(Facebook):
        async def handle_async_request(self, request):
            if request.url.path.endswith(APP_ID):
                await asyncio.Event().wait()
            return await super().handle_async_request(request)

    hangs = Hangs()
    hangs.revoked = {SECRET}
    guard = make(transport=hangs, deadline=0.1)
    with pytest.raises(Refused) as refused:
        guard.check(TOKEN)
    assert refused.value.reason == "unavailable"
    wait_until(lambda: guard.health().in_flight == 0)
    assert graph.probes == []


def test_while_misconfigured_one_look_up_a_second_is_tried(make, graph, clock):
    async def main() -> None:
        guard = make()
        graph.revoked = {SECRET}
        await asyncio.gather(guard.acheck(TOKEN), return_exceptions=True)
        for second in range(3):
            before = len(graph.calls)
            crowd = [f"EAA{second}crowd{number}" for number in range(20)]
            outcomes = await asyncio.gather(*map(guard.acheck, crowd), return_exceptions=True)
            assert {outcome.reason for outcome in outcomes} == {"misconfigured"}
            assert {outcome.retry_after for outcome in outcomes} == {60 - second}
            assert len(graph.calls) == before + 1
            clock.advance(1)
        assert len(graph.probes) == 1
        graph.revoked = set()
        assert (await guard.acheck(TOKEN)).user_id == "1001"
        assert len(await asyncio.gather(*map(guard.acheck, cold(20)))) == 20  # and all are asked for again
        await guard.aclose()

    asyncio.run(main())


class SlowProbe(Facebook):
    """Answers the guard's probe when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.answers = asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith(f"/{APP_ID}"):
            self.asked.append(request.url.path)
            await self.answers.wait()
        return await super().handle_async_request(request)


def run_with_time(main: Callable[[MovableLoop], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=MovableLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, MovableLoop)
        runner.run(main(loop))


def test_a_slow_probe_outlives_who_asked_for_it(make, clock):
    """Call, probe of one secret, probe of the other: no deadline of one look-up is enough for all three."""

    async def main(loop: MovableLoop) -> None:
        graph = SlowProbe()
        guard = make(transport=graph, app_secret=[OLD, NEW], deadline=3.0)
        graph.revoked = {OLD}
        task = asyncio.create_task(guard.acheck("EAAfirst"))
        await until(lambda: graph.asked)
        loop.advance(3.1)
        with pytest.raises(Refused) as refused:
            await task
        assert refused.value.reason == "unavailable"
        graph.answers.set()
        await until(lambda: graph.probes == [OLD, NEW] and guard.health().in_flight == 0)
        assert (await guard.acheck("EAAnext")).user_id == "1001"
        assert graph.calls == ["EAAfirst", "EAAnext"]
        assert graph.probes == [OLD, NEW]
        await guard.aclose()

    run_with_time(main)


def test_a_probe_ends_with_twice_the_deadline(make, clock):
    async def main(loop: MovableLoop) -> None:
        graph = SlowProbe()
        guard = make(transport=graph, deadline=3.0)
        graph.revoked = {SECRET}
        task = asyncio.create_task(guard.acheck("EAAfirst"))
        await until(lambda: graph.asked)
        loop.advance(3.1)
        await asyncio.gather(task, return_exceptions=True)
        assert guard.health().in_flight == 1
        loop.advance(3)
        await until(lambda: guard.health().in_flight == 0)
        with pytest.raises(Refused) as refused:
            await guard.acheck("EAAnext")
        assert refused.value.reason == "unavailable"  # nobody knows
        assert len(graph.asked) == 1  # it was made: the next is a minute away
        await guard.aclose()

    run_with_time(main)


def test_a_crowd_at_deploy_gets_the_other_secret(make):
    """All of them wait for the one probe, not only who has claimed it."""

    async def main(loop: MovableLoop) -> None:
        graph = SlowProbe()
        guard = make(transport=graph, app_secret=[OLD, NEW], deadline=PATIENCE)
        graph.revoked = {OLD}
        tasks = [asyncio.create_task(guard.acheck(token)) for token in cold(30)]
        await until(lambda: graph.asked and len(graph.calls) == 30)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(task.done() for task in tasks)
        graph.answers.set()
        assert {info.user_id for info in await asyncio.gather(*tasks)} == {"1001"}
        assert graph.probes == [OLD, NEW]
        assert guard.health().status == "ok"
        await guard.aclose()

    run_with_time(main)


def test_who_hangs_up_takes_no_probe_along(make):
    async def main(loop: MovableLoop) -> None:
        graph = SlowProbe()
        guard = make(transport=graph, app_secret=[OLD, NEW], deadline=PATIENCE)
        graph.revoked = {OLD}
        first, second = (asyncio.create_task(guard.acheck(token)) for token in cold(2))
        await until(lambda: graph.asked and len(graph.calls) == 2)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        graph.answers.set()
        assert (await second).user_id == "1001"
        assert graph.probes == [OLD, NEW]
        await guard.aclose()

    run_with_time(main)


def test_a_guard_that_is_closed_while_it_probes(make):
    async def main(loop: MovableLoop) -> None:
        graph = SlowProbe()
        guard = make(transport=graph, deadline=PATIENCE)
        graph.revoked = {SECRET}
        tasks = [asyncio.create_task(guard.acheck(token)) for token in cold(5)]
        await until(lambda: graph.asked)
        await guard.aclose()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {outcome.reason for outcome in outcomes} == {"unavailable"}
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert guard.health().in_flight == 0

    run_with_time(main)


@pytest.mark.parametrize("by", ["back-off", "pace"])
def test_a_probe_that_is_not_made_gives_its_claim_back(make, graph, clock, monkeypatch, by):
    from fbguard.core import governor

    turn = asyncio.sleep

    async def sleep(seconds: float) -> None:
        clock.advance(seconds)
        await turn(0)

    monkeypatch.setattr(governor.asyncio, "sleep", sleep)
    options = {"max_calls_per_second": 0.5, "deadline": 3.0} if by == "pace" else {}
    usage = (("X-App-Usage", '{"call_count": 100}'),) if by == "back-off" else ()
    guard = make(**options)
    graph.replies["EAAevil"] = Reply(REFUSED.body, REFUSED.status, usage)
    with pytest.raises(Refused) as refused:
        guard.check("EAAevil")
    assert (refused.value.reason, graph.probes) == ("unavailable", [])
    graph.replies["EAAevil"], graph.revoked = REFUSED, {SECRET}
    clock.advance(2)  # far from the minute that a probe is worth
    guard._validator._upstream._governor._pace._most = float("inf")
    with pytest.raises(Refused) as refused:
        guard.check("EAAevil")
    assert graph.probes == [SECRET]
    assert refused.value.reason == "misconfigured"


# -- more than can be done -----------------------------------------------------------------------------


class LoopTime:
    """The guard's clock, and that of all its lines, run by the loop."""

    def __init__(self, loop: MovableLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        return self._loop.time()

    def monotonic(self) -> float:
        return self._loop.time()


class Hanging(Facebook):
    """Takes calls and says nothing, until it is well again."""

    hangs = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self.hangs:
            self.calls.append(request.url.params.get("input_token", ""))
            await asyncio.Event().wait()
        return await super().handle_async_request(request)


async def arrivals(guard: Guard, loop: MovableLoop, seconds: float, rate: int) -> list[str]:
    """Let so many ask a second; returns what was said to them, but for those who wait still."""
    tasks: list[asyncio.Task[str]] = []
    for number in range(int(seconds * rate)):
        tasks.append(asyncio.create_task(_said(guard, f"EAAarrival{loop.time()}{number}")))
        for _ in range(10):
            await asyncio.sleep(0)
        loop.advance(1 / rate)
    return [task.result() for task in tasks if task.done()]


async def _said(guard: Guard, token: str) -> str:
    try:
        return (await guard.acheck(token)).user_id or ""
    except Refused as refused:
        return refused.reason


@pytest.mark.parametrize("batch", [False, True])
def test_a_graph_that_hangs_opens_the_breaker_under_overload_too(monkeypatch, batch):
    """Each call must have had enough of the deadline to count: who waited long in line leaves it none."""
    from fbguard.core import slots
    from fbguard.facebook import line

    async def main(loop: MovableLoop) -> None:
        now = LoopTime(loop)
        for module in (slots, line):
            monkeypatch.setattr(module, "time", now)
        graph = Hanging()
        guard = make_guard(graph, now, deadline=1.0, max_in_flight=5, max_queued=1000, batch=batch)
        await arrivals(guard, loop, 5, 50)
        assert not guard._validator._upstream._governor._breaker.is_calm
        before = len(graph.calls)
        assert set(await arrivals(guard, loop, 2, 50)) == {"unavailable"}
        assert len(graph.calls) - before <= 4
        assert guard.health().reason == "unavailable"
        graph.hangs = False
        await arrivals(guard, loop, 2, 20)
        assert set(await arrivals(guard, loop, 1, 20)) == {"1001"}
        await guard.aclose()

    run_with_time(main)
