"""Sessions that end in one process: what is stored, what is under way, and what comes later."""

from __future__ import annotations

import asyncio
import logging
import os
import threading

import pytest

from fbguard import Guard, Refused
from fbguard.core.cache import key_of
from fbguard.core.secret import Secret
from fbguard.revocation.tombstones import LIFETIME, Tombstone
from tests.support import (
    NOW,
    PATIENCE,
    TOKEN,
    MovableLoop,
    dead,
    envelope,
    in_flight,
    make_guard,
    until,
    valid,
    wait_until,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

USER = "1001"
ANOTHER = "EAAanother"


def said(guard: Guard, token: str = TOKEN) -> str:
    """Return "ok" or the reason."""
    try:
        guard.check(token)
    except Refused as refused:
        return refused.reason
    return "ok"


async def asaid(guard: Guard, token: str = TOKEN) -> str:
    try:
        await guard.acheck(token)
    except Refused as refused:
        return refused.reason
    return "ok"


def test_expire(guard, graph):
    assert said(guard) == "ok"
    asyncio.run(guard._revoker.expire(Secret(TOKEN)))
    assert [said(guard), asyncio.run(asaid(guard))] == ["session_invalidated"] * 2
    assert guard.peek(TOKEN) is None
    assert said(guard, ANOTHER) == "ok"  # of the same user
    assert graph.calls == [TOKEN, ANOTHER]  # of what is over nobody is asked


def test_a_token_that_nobody_has_seen_can_be_ended(guard, graph):
    guard.expire_session(TOKEN)
    assert said(guard) == "session_invalidated"
    assert graph.calls == []


@pytest.mark.parametrize(("expires", "ends"), [(NOW + 3600, NOW + 3600), (..., NOW + LIFETIME)])
def test_a_tombstone_ends_with_its_token(guard, graph, clock, expires, ends):
    if expires is not ...:
        graph.default = valid(expires_at=expires)
        said(guard)
    guard.expire_session(TOKEN)
    stones = guard._revoker._tombstones
    clock.wall = ends - 0.5
    assert stones.of_token(key_of(Secret(TOKEN))) is not None
    clock.wall = ends
    assert stones.of_token(key_of(Secret(TOKEN))) is None
    graph.default = valid(expires_at=NOW + 3600)
    assert said(guard) == "expired"


def test_a_token_that_never_ends_is_not_let_in_again(guard, graph, clock):
    """Its own end is known: there is none (page and system user tokens)."""
    graph.default = valid(expires_at=0)
    assert said(guard) == "ok"
    guard.expire_session(TOKEN)
    clock.advance(LIFETIME + 1)
    assert said(guard) == "session_invalidated"


def test_a_token_whose_known_end_was_no_end_is_refused(guard, graph):
    """Graph called it dead with an end in the past, and calls it valid afterwards."""
    graph.default = dead(190, 463, expires_at=NOW - 5)
    assert said(guard) == "expired"
    guard.expire_session(TOKEN)
    graph.default = valid()
    assert said(guard) == "session_invalidated"


@pytest.mark.parametrize("issued", [{"issued_at": NOW - 100}, {}], ids=["issued", "unknown"])
def test_end_user(guard, graph, clock, issued):
    graph.default = valid(**issued)
    assert said(guard) == "ok"
    graph.replies["EAAother"] = valid(user_id="2002")
    assert said(guard, "EAAother") == "ok"
    clock.advance(10)
    asyncio.run(guard._revoker.end_user(USER, clock.wall))
    calls = len(graph.calls)
    assert [said(guard), asyncio.run(asaid(guard))] == ["not_authorized"] * 2
    assert said(guard, "EAAother") == "ok"
    assert len(graph.calls) <= calls + 1
    graph.default = valid(issued_at=NOW + 11)
    clock.advance(1)
    assert said(guard, "EAAlater") == "ok"


def test_end_user_of_a_token_that_was_looked_up_after_the_event(guard, clock):
    """Facebook calls seconds later: of unknown issue time, it may be the new login."""
    at = clock.wall
    clock.advance(5)
    assert said(guard) == "ok"
    guard._revoker.end_user_here(USER, at)
    assert said(guard) == "ok"
    guard._revoker.end_user_here(USER, at)  # a replay
    assert said(guard) == "ok"


def test_a_refresh_makes_a_token_no_younger(graph, clock):
    with make_guard(graph, clock, ttl=100) as guard:
        assert said(guard) == "ok"
        at = clock.wall + 1
        for _ in range(5):
            clock.advance(100)
            assert said(guard) == "ok"
        guard._revoker.end_user_here(USER, at)
        assert said(guard) == "not_authorized"


def test_a_dead_token_that_comes_alive_stays_ended(guard, graph, clock):
    graph.default = dead(190, 490)
    assert said(guard) == "checkpointed"
    guard._revoker.end_user_here(USER, clock.wall)
    graph.default = valid()
    assert said(guard) == "not_authorized"


def test_forget_user_has_it_all_looked_up_anew(guard, graph):
    assert [said(guard), said(guard, ANOTHER)] == ["ok", "ok"]
    guard.forget_user(USER)
    graph.default = dead(190, 458)
    assert [said(guard), said(guard, ANOTHER)] == ["not_authorized"] * 2
    guard.forget_user(USER)  # the noes, too
    graph.default = valid()
    assert [said(guard), said(guard, ANOTHER)] == ["ok", "ok"]
    assert len(graph.calls) == 6


def test_forget_user_undoes_no_log_out(guard, clock):
    said(guard)
    guard.expire_session(TOKEN)
    guard.forget_user(USER)
    assert said(guard) == "session_invalidated"


@pytest.mark.parametrize("between", ["nothing", "a request"])
def test_a_webhook_that_comes_before_the_deauthorize_callback_hides_nothing(guard, clock, between):
    """Facebook sends both when a person removes the app; a short-lived token has no known issue time."""
    assert said(guard) == "ok"
    clock.advance(10)
    removed = clock.wall
    clock.advance(1)
    guard.forget_user(USER)  # /webhook
    if between == "a request":
        assert said(guard) == "ok"  # Graph lags
    clock.advance(1)
    guard._revoker.end_user_here(USER, removed)  # /deauthorize
    assert said(guard) == "not_authorized"


def test_a_look_up_that_begins_while_a_user_is_ended(guard, graph, clock):
    """The user's many tokens get their tombstones one after the other; requests do not wait for that."""
    assert said(guard) == "ok"
    clock.advance(301)  # what is known must be found out anew
    stones = guard._revoker._tombstones
    bury, heard, threads = stones.bury, [], []

    def slowly(key: bytes, stone: Tombstone) -> None:
        if not threads:
            graph.gate.shut()
            threads.append(threading.Thread(target=lambda: heard.append(said(guard))))
            threads[0].start()
            graph.wait_for_calls(2)
        bury(key, stone)

    stones.bury = slowly
    guard._revoker.end_user_here(USER, clock.wall)
    graph.gate.open()
    threads[0].join(PATIENCE)
    assert heard == ["not_authorized"]
    assert guard.peek(TOKEN) is None
    assert said(guard) == "not_authorized"


def test_a_callback_that_is_sent_again_ends_no_later_login(guard, clock):
    """Facebook's clock is ahead of ours; a short-lived token has no known time of issue."""
    at = clock.wall + 40
    assert said(guard) == "ok"
    guard._revoker.end_user_here(USER, at)
    clock.advance(10)
    assert said(guard, ANOTHER) == "ok"
    clock.advance(20)
    guard._revoker.end_user_here(USER, at)
    assert said(guard, ANOTHER) == "ok"
    assert said(guard) == "not_authorized"


def test_a_buried_token_is_refused_whoever_it_belongs_to_now(guard, graph, clock):
    assert said(guard) == "ok"
    clock.advance(301)
    graph.default = valid(user_id="2002")

    async def main() -> None:
        graph.gate.shut()
        task = asyncio.create_task(asaid(guard))
        await until(lambda: len(graph.calls) == 2)
        guard._revoker.end_user_here(USER, clock.wall)
        graph.gate.open()
        assert await task == "not_authorized"
        assert await asaid(guard) == "not_authorized"
        await guard.aclose_here()

    asyncio.run(main())


def test_a_no_from_before_forget_user_is_not_kept(guard, graph, clock):
    """Graph's noes may name nobody; whose the token is, is known."""
    assert said(guard) == "ok"
    clock.advance(301)
    graph.default = dead(190, 460, user_id=...)

    async def main() -> None:
        graph.gate.shut()
        task = asyncio.create_task(asaid(guard))
        await until(lambda: len(graph.calls) == 2)
        guard.forget_user(USER)
        graph.gate.open()
        await task
        assert len(graph.calls) == 3
        await guard.aclose_here()

    asyncio.run(main())


def test_a_request_right_after_forget_user_joins_no_look_up_that_is_over(guard, graph):
    """Between the end of a look-up and the moment its loop puts it away."""
    put = guard._cache.put

    async def main() -> None:
        landed = asyncio.Event()

        def told(*args: object, **options: object) -> object:
            landed.set()
            return put(*args, **options)

        async def view() -> str:
            await landed.wait()
            guard.forget_user(USER)
            return await asaid(guard)

        guard._cache.put = told
        viewed = asyncio.create_task(view())
        await asyncio.sleep(0)
        assert [await asaid(guard), await viewed] == ["ok", "ok"]
        await guard.aclose_here()

    asyncio.run(main())


def test_a_verdict_that_begins_anew_has_the_rest_of_its_deadline(graph, clock):
    """A token is forgotten just when Graph has answered, late: no second deadline is added."""
    loop = MovableLoop()

    async def main() -> None:
        async with make_guard(graph, clock) as guard:
            put = guard._cache.put

            def told(*args: object, **options: object) -> object:
                graph.gate.shut()
                loop.call_soon(guard.forget_user, USER)
                return put(*args, **options)

            guard._cache.put = told
            graph.gate.shut()
            task = asyncio.create_task(asaid(guard))
            await until(lambda: graph.calls)
            loop.advance(2.9)
            await asyncio.sleep(0)
            graph.gate.open()
            await until(lambda: len(graph.calls) == 2)
            loop.advance(0.2)
            for _ in range(20):
                await asyncio.sleep(0)
            assert task.done()
            graph.gate.open()
            await task

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


# -- what else may be under way ------------------------------------------------------------------------


def test_two_loops_look_the_same_token_up(guard, graph):
    graph.gate.shut()
    heard: list[str] = []
    thread = threading.Thread(target=lambda: heard.append(said(guard)))

    async def main() -> None:
        tasks = [asyncio.create_task(asaid(guard)) for _ in range(5)]
        thread.start()
        await until(lambda: len(graph.calls) == 2)
        guard.expire_session(TOKEN)
        graph.gate.open()
        heard.extend(await asyncio.gather(*tasks))
        await until(lambda: not thread.is_alive())
        await guard.aclose_here()

    asyncio.run(main())
    assert heard == ["session_invalidated"] * 6
    assert (guard.peek(TOKEN), len(graph.calls)) == (None, 2)


@pytest.mark.parametrize("how", ["expire", "end_user"])
def test_a_refresh_under_way_brings_nothing_back(graph, clock, how):
    with make_guard(graph, clock, ttl=100, refresh_ahead=0.5) as guard:
        assert said(guard) == "ok"
        clock.advance(60)
        graph.gate.shut()
        assert said(guard) == "ok"
        graph.wait_for_calls(2)
        if how == "expire":
            guard.expire_session(TOKEN)
        else:
            guard._revoker.end_user_here(USER, clock.wall)
        expected = {"expire": "session_invalidated", "end_user": "not_authorized"}[how]
        assert said(guard) == expected
        graph.gate.open()
        wait_until(lambda: not guard._look_ups._refreshing)
        assert (guard.peek(TOKEN), said(guard)) == (None, expected)


@pytest.mark.parametrize("reply", [envelope(4), envelope(2)])
@pytest.mark.parametrize("how", ["expire", "end_user", "forget_user"])
def test_stale_if_error_never_outlives_a_log_out(graph, clock, reply, how):
    with make_guard(graph, clock, ttl=100, stale_if_error=1000) as guard:
        assert said(guard) == "ok"
        clock.advance(150)
        graph.default = reply
        assert said(guard) == "ok"
        {
            "expire": lambda: guard.expire_session(TOKEN),
            "end_user": lambda: guard._revoker.end_user_here(USER, clock.wall),
            "forget_user": lambda: guard.forget_user(USER),
        }[how]()
        assert said(guard) != "ok"


def test_a_cancelled_waiter_changes_nothing_for_the_others(guard, graph):
    graph.gate.shut()

    async def main() -> None:
        tasks = [asyncio.create_task(asaid(guard)) for _ in range(5)]
        await until(lambda: graph.calls)
        tasks[0].cancel()
        guard.expire_session(TOKEN)
        tasks[1].cancel()
        graph.gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert outcomes[2:] == ["session_invalidated"] * 3
        assert in_flight(guard) == 0
        await guard.aclose_here()

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_of_a_fork_knows_what_had_ended_and_ends_more(guard, graph):
    guard.expire_session(TOKEN)
    assert said(guard, ANOTHER) == "ok"
    child = os.fork()
    if child == 0:
        try:
            guard.expire_session(ANOTHER)
            ended = [said(guard), said(guard, ANOTHER)]
            os._exit(0 if ended == ["session_invalidated"] * 2 and said(guard, "EAAnew") == "ok" else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert said(guard, ANOTHER) == "ok"  # a store is what carries it further


def test_what_is_logged_names_nobody(guard, caplog):
    said(guard)
    with caplog.at_level(logging.INFO, "fbguard"):
        guard.expire_session(TOKEN)
        guard.forget_user("123456789012345")
        guard._revoker.end_user_here("123456789012345", NOW)
    lines = [record.getMessage() for record in caplog.records if record.name == "fbguard"]
    assert len(lines) == 3
    assert guard.signer.fingerprint(Secret(TOKEN)) in lines[0]
    assert not any(TOKEN in line or "123456789012345" in line for line in lines)
