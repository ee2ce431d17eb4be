"""Looking ID tokens up: when the keys are fetched, how often, and what is said while they cannot be had."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from fbguard import Guard, Refused, Requirement
from fbguard.core import forks
from fbguard.core.secret import Secret
from fbguard.events import Event, SigningKeysFetched, SigningKeysUnavailable
from fbguard.facebook import id_tokens
from fbguard.facebook.connection import Connection
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.id_tokens import IdTokens
from tests.facebook.id_token_kit import KID, a_key, claims, header, published, signed
from tests.support import (
    APP_ID,
    NOW,
    PATIENCE,
    SECRET,
    TOKEN,
    FakeClock,
    Gate,
    make_guard,
    until,
    valid,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

LIMITED = Requirement(token_types=["LIMITED_LOGIN"])
OTHER = "b" * 40


class Keys(httpx.AsyncBaseTransport):
    """Facebook's key set at its address, and a Graph that knows no token."""

    def __init__(self) -> None:
        self.body: bytes | BaseException = published()
        self.status = 200
        self.age: str | None = None
        self.urls: list[str] = []
        self.headers: list[httpx.Headers] = []
        self.graph_calls = 0
        self.gate = Gate()

    @property
    def fetches(self) -> int:
        return len(self.urls)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/debug_token"):
            self.graph_calls += 1
            return httpx.Response(200, stream=httpx.ByteStream(valid().body), request=request)
        self.urls.append(str(request.url))
        self.headers.append(request.headers)
        await self.gate.passed()
        if isinstance(self.body, BaseException):
            raise self.body
        headers = {} if self.age is None else {"Age": self.age.encode()}
        return httpx.Response(
            self.status, headers=headers, stream=httpx.ByteStream(self.body), request=request
        )


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> list[Event]:
    return []


@pytest.fixture
def guard(keys, clock, told):
    with guarded(keys, clock, on_event=told.append) as guard:
        yield guard


def guarded(keys: Keys, clock: FakeClock, **options: Any) -> Guard:
    given: dict[str, Any] = {"transport": keys, "clock": clock, "limited_login": True} | options
    return Guard(app_id=APP_ID, app_secret=SECRET, **given)


def said(guard: Guard, token: str, need: Requirement = LIMITED) -> tuple[int, str]:
    try:
        guard.check(token, need)
    except Refused as refused:
        return refused.status, refused.reason
    return 200, "ok"


def failures(told: list[Event]) -> list[Event]:
    return [one for one in told if isinstance(one, SigningKeysUnavailable)]


def another(number: int, **changes: Any) -> str:
    """Return one more token."""
    return signed(claims(jti=f"number {number}", **changes))


def under(kid: str, issued: float = NOW, **changes: Any) -> str:
    """Return a token under another key."""
    said = claims(iat=int(issued), exp=int(issued) + 3600, **changes)
    return signed(said, header(kid=kid), a_key(kid))


def test_keys_are_fetched_once_for_all_tokens(guard, keys):
    assert keys.fetches == 0  # not at construction
    for number in range(20):
        assert said(guard, another(number)) == (200, "ok")
    assert keys.urls == ["https://www.facebook.com/.well-known/oauth/openid/jwks/"]
    assert keys.graph_calls == 0


def test_the_fetch_carries_nothing_of_ours(guard, keys):
    said(guard, signed())
    assert "authorization" not in keys.headers[0]
    assert "cookie" not in keys.headers[0]
    shown = repr(keys.headers) + repr(keys.urls)
    assert SECRET not in shown
    assert "eyJ" not in shown


def test_the_keys_may_be_elsewhere(keys, clock):
    with guarded(
        keys, clock, jwks_url="https://limited.facebook.com/.well-known/oauth/openid/jwks/"
    ) as guard:
        assert said(guard, signed()) == (200, "ok")
    assert keys.urls == ["https://limited.facebook.com/.well-known/oauth/openid/jwks/"]


def test_a_hit_asks_and_verifies_nothing(guard, keys, monkeypatch):
    token = signed()
    assert said(guard, token) == (200, "ok")
    keys.body = published(a_key(OTHER))
    monkeypatch.setattr("fbguard.facebook.oidc.read", None)
    assert said(guard, token) == (200, "ok")


def test_graphs_tokens_go_to_graph(guard, keys):
    assert said(guard, TOKEN, Requirement()) == (200, "ok")
    assert (keys.fetches, keys.graph_calls) == (0, 1)


@pytest.mark.parametrize("token", ["eyJ.a.b", signed(head=header(alg="none")), signed(head=header(kid=...))])
def test_for_what_no_key_could_make_good_none_is_fetched(guard, keys, token):
    assert said(guard, token)[0] == 401
    assert keys.fetches == 0


def test_an_hour_later_keys_are_fetched_anew(guard, keys, clock):
    said(guard, another(0))
    clock.advance(3599)
    assert said(guard, another(1, iat=NOW + 3599, exp=NOW + 9999)) == (200, "ok")
    assert keys.fetches == 1
    clock.advance(1)
    assert said(guard, another(2, exp=NOW + 9999)) == (200, "ok")
    assert keys.fetches == 2


def test_a_key_that_facebook_has_removed_is_good_no_more(guard, keys, clock):
    assert said(guard, another(0)) == (200, "ok")
    keys.body = published(a_key(OTHER))
    clock.advance(3600)
    assert said(guard, another(1, exp=NOW + 9999)) == (401, "invalid_token")


def test_a_new_key_is_fetched_when_it_is_needed(guard, keys, clock, told):
    said(guard, signed())
    keys.body = published(a_key(), a_key(OTHER))
    clock.advance(61)
    assert said(guard, under(OTHER, NOW + 61)) == (200, "ok")
    assert keys.fetches == 2
    assert [one for one in told if isinstance(one, SigningKeysFetched)] == [
        SigningKeysFetched(count=1),
        SigningKeysFetched(count=2),
    ]


@pytest.mark.parametrize("after", [0, 30, 59])
def test_a_new_key_soon_after_a_fetch_is_a_dont_know(guard, keys, clock, after):
    """Its key may be newer than the list: nobody is logged out for that."""
    said(guard, signed())
    keys.body = published(a_key(), a_key(OTHER))
    clock.advance(after)
    token = under(OTHER, NOW + after)
    with pytest.raises(Refused) as caught:
        guard.check(token, LIMITED)
    assert (caught.value.status, caught.value.reason) == (503, "unavailable")
    assert caught.value.retry_after == 60 - after
    assert keys.fetches == 1
    clock.advance(60 - after)
    assert said(guard, token) == (200, "ok")
    assert keys.fetches == 2


def test_forged_key_ids_cost_one_fetch_a_minute(guard, keys, clock):
    said(guard, signed())
    for minute in range(3):
        for number in range(50):
            head = header(kid=f"forged {minute} {number}".replace(" ", "-"))
            answer = said(guard, signed(claims(iat=NOW - 3000), head))
            assert answer == (401, "invalid_token")
        assert keys.fetches == 1 + minute
        clock.advance(60)


@pytest.mark.parametrize("issued", [NOW - 86_400, NOW - 300, NOW + 61, NOW + 10**6])
def test_what_an_unlisted_key_cannot_have_signed_is_a_no(guard, issued):
    """As old as the list, its key was on it; and nothing is issued in the future."""
    said(guard, signed())
    assert said(guard, under(OTHER, issued)) == (401, "invalid_token")


@pytest.mark.parametrize("issued", [NOW - 299, NOW, NOW + 60])
def test_of_what_is_as_new_as_the_list_nobody_knows(guard, issued):
    said(guard, signed())
    assert said(guard, under(OTHER, issued)) == (503, "unavailable")


def test_a_list_is_as_old_as_the_cache_that_it_comes_from(keys, clock):
    """A token that is younger than the list, of a key that is younger too: nobody is logged out for that."""
    keys.age = "1800"
    with guarded(keys, clock) as guard:
        said(guard, signed())
        assert said(guard, under(OTHER, NOW - 2000)) == (503, "unavailable")
        assert said(guard, under(OTHER, NOW - 2100)) == (401, "invalid_token")


@pytest.mark.parametrize("age", ["", "-5", "1.5", "٣٠٠", "9" * 30, "soon"])
def test_an_age_that_is_none(keys, clock, age):
    keys.age = age
    with guarded(keys, clock) as guard:
        said(guard, signed())
        assert said(guard, under(OTHER, NOW - 300)) == (401, "invalid_token")


def test_a_route_for_which_none_will_do_needs_no_keys(guard, keys):
    """Whatever it is worth: it is refused for what it is, cold and cached."""
    keys.status = 500
    forged = signed(key=a_key(OTHER))
    for token in (signed(), forged, signed(claims(exp=NOW - 5)), "eyJ.a.b"):
        assert said(guard, token, Requirement()) == (401, "limited_login")
        assert said(guard, token, Requirement(optional=True)) == (401, "limited_login")
    assert keys.fetches == 0
    keys.status = 200
    assert said(guard, forged) == (401, "invalid_token")
    assert said(guard, forged, Requirement()) == (401, "limited_login")


# -- no keys ------------------------------------------------------------------------------------------------

BROKEN = [
    (200, b"<html>"), (200, b'{"keys": []}'), (500, published()), (302, b""), (404, b"{}"),
    (429, published()),
    (200, httpx.ConnectError("nobody")), (200, httpx.ReadTimeout("late")), (200, b"x" * 70_000),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), BROKEN)
def test_without_keys_it_is_a_dont_know(guard, keys, clock, told, status, body):
    keys.status, keys.body = status, body
    token = signed()
    for _ in range(3):
        assert said(guard, token) == (503, "unavailable")
    assert len(failures(told)) == 1
    fetches = keys.fetches
    clock.advance(2)
    keys.status, keys.body = 200, published()
    assert said(guard, token) == (200, "ok")
    assert keys.fetches == fetches + 1
    assert told[-2:][0] == SigningKeysFetched(count=1)


def test_two_seconds_pass_between_attempts(guard, keys, clock):
    keys.status = 500
    for _ in range(10):
        assert said(guard, signed()) == (503, "unavailable")
    assert keys.fetches == 1
    clock.advance(2)
    said(guard, signed())
    assert keys.fetches == 2


def test_graph_is_not_blamed(guard, keys):
    keys.status = 500
    for number in range(50):
        said(guard, another(number))
    assert guard.health().reason is None
    assert said(guard, TOKEN, Requirement()) == (200, "ok")


def test_keys_of_an_hour_serve_for_a_day_while_facebook_is_away(guard, keys, clock, told):
    said(guard, another(0))
    keys.status = 500
    clock.advance(3600)
    for number in range(1, 10):
        assert said(guard, another(number, exp=NOW + 200_000)) == (200, "ok")
    assert keys.fetches == 2  # and a minute's pause
    assert len(failures(told)) == 1
    clock.advance(60)
    said(guard, another(10, exp=NOW + 200_000))
    assert keys.fetches == 3
    clock.advance(86_400 - 3660)
    assert said(guard, another(11, exp=NOW + 200_000)) == (503, "unavailable")
    keys.status = 200
    clock.advance(2)
    assert said(guard, another(11, exp=NOW + 200_000)) == (200, "ok")


def test_a_clock_that_was_set_back_has_keys_fetched(guard, keys, clock):
    """A snapshot of a machine: monotonic time before the fetch."""
    said(guard, another(0))
    clock.mono -= 500
    assert said(guard, another(1)) == (200, "ok")
    assert keys.fetches == 2


def test_a_machine_that_was_asleep_has_keys_fetched(guard, keys, clock):
    """Its monotonic clock stood still, and Facebook has removed the key since."""
    said(guard, another(0))
    keys.body = published(a_key(OTHER))
    clock.wall += 3 * 86_400
    clock.mono += 3
    assert said(guard, another(1, exp=int(clock.wall) + 9)) == (401, "invalid_token")
    assert keys.fetches == 2


def test_a_wall_clock_that_was_wrong_at_the_fetch(guard, keys, clock):
    clock.wall += 7200
    said(guard, another(0, exp=NOW + 9999))
    clock.wall -= 7200
    keys.body = published(a_key(), a_key(OTHER))
    clock.advance(61)
    assert said(guard, under(OTHER, NOW + 30)) == (200, "ok")


def test_stale_facts_serve_while_there_are_no_keys(keys, clock):
    with guarded(keys, clock, ttl=60, stale_if_error=100_000) as guard:
        token = signed(claims(exp=NOW + 200_000))
        assert said(guard, token) == (200, "ok")
        keys.status = 500
        clock.advance(90_000)
        assert guard.check(token, LIMITED).stale


# -- many at once --------------------------------------------------------------------------------------------


def test_many_wait_for_one_fetch(keys, clock):
    async def main() -> None:
        keys.gate.shut()
        async with guarded(keys, clock) as guard:
            asked = [asyncio.create_task(guard.acheck(another(number), LIMITED)) for number in range(50)]
            await until(lambda: keys.fetches)
            keys.gate.open()
            infos = await asyncio.gather(*asked)
            assert {info.user_id for info in infos} == {"1001"}

    asyncio.run(main())
    assert keys.fetches == 1


def test_who_gives_up_does_not_end_it_for_the_others(keys, clock):
    async def main() -> None:
        keys.gate.shut()
        async with guarded(keys, clock) as guard:
            first = asyncio.create_task(guard.acheck(another(0), LIMITED))
            await until(lambda: keys.fetches)
            second = asyncio.create_task(guard.acheck(another(1), LIMITED))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            keys.gate.open()
            assert (await second).is_valid

    asyncio.run(main())
    assert keys.fetches == 1


def test_a_guard_that_is_closed_meanwhile(keys, clock):
    async def main() -> None:
        keys.gate.shut()
        guard = guarded(keys, clock)
        asked = asyncio.create_task(guard.acheck(signed(), LIMITED))
        await until(lambda: keys.fetches)
        await guard.aclose()
        with pytest.raises((Refused, asyncio.CancelledError)):
            await asked

    asyncio.run(main())
    gc.collect()


def test_a_fetch_that_takes_too_long_is_a_dont_know(keys, clock, told):
    keys.gate.shut()
    with guarded(keys, clock, deadline=0.2, on_event=told.append) as guard:
        assert said(guard, signed()) == (503, "unavailable")
        wait_until(lambda: failures(told))
        assert failures(told) == [SigningKeysUnavailable(status=None)]
        keys.gate.open()
        clock.advance(2)
        assert said(guard, signed()) == (200, "ok")


def test_a_fetch_outlives_those_who_wait_for_it(keys, clock):
    """Else keys that take longer than one look-up would never be there."""
    keys.gate.shut()
    with guarded(keys, clock, deadline=0.5) as guard:
        assert said(guard, another(0)) == (503, "unavailable")
        keys.gate.open()
        wait_until(lambda: said(guard, another(1)) == (200, "ok"))
    assert keys.fetches == 1


def test_loops_that_have_no_keys_fetch_a_few_at_once(keys, clock):
    keys.gate.shut()
    with guarded(keys, clock, deadline=5) as guard, ThreadPoolExecutor(40) as pool:

        def ask(number: int) -> int:
            try:
                asyncio.run(guard.acheck(another(number), LIMITED))
            except Refused as refused:
                return refused.status
            return 200

        asked = [pool.submit(ask, number) for number in range(40)]
        wait_until(lambda: sum(one.done() for one in asked) >= 32)
        assert keys.fetches <= 8
        keys.gate.open()
        assert sorted({one.result(PATIENCE) for one in asked}) == [200, 503]


def test_loops_that_look_before_any_has_begun_fetch_a_few_at_once(clock):
    """Of forty that see a free place only as many begin as there are places."""
    fetches = []

    class Unheard:
        async def fetch(self, url: str) -> None:
            fetches.append(url)
            await asyncio.sleep(0)

    async def look_up(verifier: id_tokens.IdTokens) -> list[Any]:
        connections = [Connection(Unheard(), None) for _ in range(40)]
        token = Secret(another(1))
        try:
            return await asyncio.gather(*(verifier.look_up(one, token, "f") for one in connections))
        finally:
            for one in connections:
                await one.keys.aclose()

    told: list[Event] = []
    verifier = id_tokens.IdTokens("https://facebook.example/keys", clock, patience=5, tell=told.append)
    assert asyncio.run(look_up(verifier)) == [UNAVAILABLE] * 40
    assert len(fetches) == 8


def test_what_loops_were_fetching_that_are_closed_takes_no_place(clock):
    fetches: list[str] = []

    class Silent:
        async def fetch(self, url: str) -> None:
            fetches.append(url)
            await asyncio.Event().wait()

    def begin() -> tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]:
        loop, before = asyncio.new_event_loop(), len(fetches)
        here = Connection(Silent(), None)
        task = loop.create_task(verifier.look_up(here, Secret(another(1)), "f"))
        loop.run_until_complete(until(lambda: len(fetches) > before or task.done()))
        for one in asyncio.all_tasks(loop):
            one._log_destroy_pending = False
        return loop, task

    told: list[Event] = []
    verifier = id_tokens.IdTokens("https://facebook.example/keys", clock, patience=5, tell=told.append)
    kept = [begin() for _ in range(9)]
    assert len(fetches) == 8
    for loop, _ in kept:
        loop.close()
    clock.advance(2)
    loop, task = begin()
    assert (len(fetches), verifier._under_way) == (9, 1)
    loop.run_until_complete(_ended(task))
    assert verifier._under_way == 0
    loop.close()


async def _ended(task: asyncio.Task[Any]) -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert task.cancelled()


def test_old_keys_serve_within_the_deadline_while_facebook_hangs(keys, clock):
    with guarded(keys, clock, deadline=0.4) as guard:
        assert said(guard, another(0)) == (200, "ok")
        keys.gate.shut()
        clock.advance(3600)
        assert said(guard, another(1, exp=NOW + 9999)) == (200, "ok")
        keys.gate.open()


def test_threads_share_it(guard, keys):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: said(guard, another(number)), range(64)))
    assert set(answers) == {(200, "ok")}
    assert keys.fetches == 1


def test_every_loop_may_fetch_for_itself(keys, clock):
    guard = guarded(keys, clock)
    for number in range(3):
        info = asyncio.run(guard.acheck(another(number), LIMITED))
        assert info.is_valid
    assert keys.fetches == 1  # the keys are the guard's
    keys.status = 500
    for _ in range(5):
        with pytest.raises(Refused):
            asyncio.run(guard.acheck(under(OTHER), LIMITED))
    assert keys.fetches == 1  # whoever has a loop for every request has the same limit
    guard.close()


def test_loops_one_after_another_without_keys_have_one_limit(keys, clock):
    keys.status = 500
    guard = guarded(keys, clock)
    for number in range(20):
        with pytest.raises(Refused):
            asyncio.run(guard.acheck(another(number), LIMITED))
    assert keys.fetches == 1
    guard.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_child_that_is_forked_in_the_middle_of_fetches_makes_its_own(keys, clock):
    async def main() -> int:
        keys.gate.shut()
        async with guarded(keys, clock) as guard:
            asked = asyncio.create_task(guard.acheck(another(0), LIMITED))
            await until(lambda: keys.fetches)
            child = os.fork()
            if child == 0:
                inherited = [reference() for reference in forks._each]
                counts = [one._under_way for one in inherited if isinstance(one, IdTokens)]
                os._exit(sum(counts) if counts else 1)
            _, status = os.waitpid(child, 0)
            keys.gate.open()
            assert (await asked).is_valid
            return os.waitstatus_to_exitcode(status)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of 3.12: the process has threads
        assert asyncio.run(main()) == 0


def test_no_token_in_logs_or_events(guard, keys, caplog, told):
    caplog.set_level(0)
    tokens = [signed(), under(OTHER), signed(head=header(alg="none")), "eyJ.a.b"]
    for token in tokens:
        said(guard, token)
    keys.status = 500
    said(guard, another(5))
    shown = caplog.text + repr(told) + json.dumps([str(one) for one in told]) + repr(guard)
    assert not any(part in shown for token in tokens for part in token.split(".") if len(part) > 3)
    assert "alex@example.com" not in shown


def test_the_lane_is_off_by_default(keys, clock):
    graph = make_guard(clock=clock, transport=keys)
    assert said(graph, signed()) == (401, "limited_login")
    assert (keys.fetches, keys.graph_calls) == (0, 0)
    graph.close()


def test_a_key_id_is_not_a_name_in_a_path(guard, keys):
    said(guard, signed(claims(iat=NOW - 3600), header(kid="../../etc/passwd")))
    assert keys.urls == ["https://www.facebook.com/.well-known/oauth/openid/jwks/"]
    assert KID in json.loads(published())["keys"][0]["kid"]
