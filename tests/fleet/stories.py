"""What a fleet goes through while sessions end, and what must hold: each story gives its outcome."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

from benchmarks.loads_callers import percentile
from benchmarks.loads_outcome import Outcome, outcome_of
from tests.fleet.callers import GONE, Load, every, lines_to, workers_of
from tests.fleet.history import (
    ACCEPTED,
    REFUSED,
    UNAVAILABLE,
    End,
    History,
    Propagation,
    faults,
    mix_ups,
    propagation,
    relapses,
    wrong_accepts,
    wrong_rejects,
)
from tests.fleet.servers import GUNICORN, UVICORN, Fleet, sailing
from tests.redis_servers import RedisCluster, WatchedRedis

BOUND: Final = 1.0  # seconds after the acknowledgement until every worker must refuse
HEALED: Final = 5.0  # seconds until one must, after what was broken is whole
RATE: Final = 200.0  # requests a second

_MILLISECONDS: Final = 1000
_CUTS: Final = 0.3  # seconds between two cuts


def judged(load: Load, history: History, figures: dict[str, float], promises: dict[str, bool]) -> Outcome:
    """Return the outcome of a story, with what must hold in every one."""
    users = {token.number: token.user for token in load.tokens}
    rejects, strangers = wrong_rejects(history), mix_ups(history, users)
    returned, broken = relapses(history), faults(history)
    usual: dict[str, float] = {
        "requests": len(history.verdicts),
        "steady_per_second": load.reached,
        "acknowledged": sum(end.is_done for end in history.ends),
        "unavailable": sum(one.status == UNAVAILABLE for one in history.verdicts),
        "faults": len(broken),
        "broken_lines": load.answers[GONE],
        "wrong_rejects": len(rejects),
        "relapses": len(returned),
        "mix_ups": len(strangers),
    }
    return outcome_of(
        usual | figures,
        {
            "nobody is refused who may pass": not rejects,
            "what a worker refused it does not accept later": not returned,
            "nobody is taken for somebody else": not strangers,
            "no status 500, no broken connection": not broken and not load.answers[GONE],
            "no exception": not load.fleet.complaints(),
        }
        | promises,
    )


def propagated(history: History) -> dict[str, float]:
    """Return how long it took, in milliseconds: in all workers, and in each."""
    by_worker = propagation(history)
    everywhere = Propagation(
        [one for worker in by_worker.values() for one in worker.accepts],
        [one for worker in by_worker.values() for one in worker.refusals],
    )
    named = {"": everywhere} | {
        f"worker_{number}_": worker for number, worker in enumerate(by_worker.values(), 1)
    }
    return {
        f"{name}{key}": _MILLISECONDS * value
        for name, one in named.items()
        for key, value in (
            ("refused_p50_ms", percentile(one.refusals, 0.5)),
            ("refused_p99_ms", percentile(one.refusals, 0.99)),
            ("accepted_p99_ms", percentile(one.accepts, 0.99)),
            ("accepted_last_ms", max(one.accepts, default=0.0)),
        )
    }


# -- all is well --------------------------------------------------------------------------------------


def revokes(*, count: int, per_second: float = 10, cluster: bool = False) -> Outcome:
    """End sessions under load: nobody accepts one a second after that was acknowledged."""
    with ExitStack() as stack:
        url = stack.enter_context(RedisCluster()).url if cluster else None
        fleet = stack.enter_context(sailing(url=url))
        return asyncio.run(_revokes(fleet, count, per_second))


async def _revokes(fleet: Fleet, count: int, per_second: float) -> Outcome:
    async with workers_of(fleet) as workers:
        load = Load(fleet, workers, RATE)
        async with load.running():
            begun = time.monotonic()
            await load.end_many(count, per_second)
            took = time.monotonic() - begun
            await load.settled()
    history = fleet.history
    late = wrong_accepts(history, lambda end: end.answered + BOUND)
    return judged(
        load,
        history,
        {"ended_per_second": count / took, "late_accepts": len(late)} | propagated(history),
        {
            "none is accepted after a second": not late,
            "all are acknowledged": len(load.ended) == count,
            "every worker was asked": len(propagation(history)) == len(load.workers),
        },
    )


# -- links that are cut ---------------------------------------------------------------------------------


def cuts(*, count: int, per_second: float = 10) -> Outcome:
    """Cut the links over which workers hear the news, again and again, while sessions end; then no more."""
    with sailing() as fleet:
        return asyncio.run(_cuts(fleet, count, per_second))


async def _cuts(fleet: Fleet, count: int, per_second: float) -> Outcome:
    async with workers_of(fleet) as workers:
        load = Load(fleet, workers, RATE)
        async with load.running():
            over = asyncio.Event()
            cutting = asyncio.create_task(every(_CUTS, fleet.redis.cut_listeners, over))
            await load.end_many(count, per_second)
            over.set()
            times, healed = await cutting, time.monotonic()
            await asyncio.sleep(HEALED)
            await load.ask_about_the_ended()
            await load.settled()
    history = fleet.history
    late = wrong_accepts(history, lambda end: max(end.answered + BOUND, healed + HEALED))
    meanwhile = wrong_accepts(history, lambda end: end.answered + BOUND)
    return judged(
        load,
        history,
        {"cuts": times, "accepts_after_1_s": len(meanwhile), "late_accepts": len(late)} | propagated(history),
        {
            "none is accepted five seconds after": not late,
            "all are acknowledged": len(load.ended) == count,
            "the links were cut": times >= count / per_second,
        },
    )


# -- a Redis that dies, or hangs --------------------------------------------------------------------------


def outage(*, seconds: float, hangs: bool = False) -> Outcome:
    """Kill Redis in mid-load, or let it hang, and bring it back, empty if it was killed."""
    with sailing() as fleet:
        redis = fleet.redis
        if hangs:
            return asyncio.run(_outage(fleet, seconds, redis.pause, redis.resume))
        return asyncio.run(_outage(fleet, seconds, redis.kill, redis.start))


def failover() -> Outcome:
    """Kill a master in mid-load; its replica takes over."""
    with WatchedRedis() as watched, sailing(url=watched.url) as fleet:
        return asyncio.run(_outage(fleet, 0.0, watched.master.kill, watched.wait_for_the_replica))


async def _outage(
    fleet: Fleet, seconds: float, fail: Callable[[], None], recover: Callable[[], None]
) -> Outcome:
    per_second = 5
    async with workers_of(fleet) as workers:
        load = Load(fleet, workers, RATE)
        async with load.running():
            await load.end_many(2 * per_second, per_second)
            count = round((1 + seconds + HEALED + 1) * per_second)
            ending = asyncio.create_task(load.end_many(count, per_second))
            await asyncio.sleep(1)
            down = time.monotonic()
            await asyncio.to_thread(fail)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(recover)
            up = time.monotonic()
            await ending
            await load.settled()
            await load.ask_about_the_ended()
    return _judge_outage(load, fleet.history, down, up)


def _judge_outage(load: Load, history: History, down: float, up: float) -> Outcome:
    late = wrong_accepts(history, partial(_until, down=down, up=up))
    new = [end for end in history.ends if end.asked > up]
    failed = [end.asked for end in new if not end.is_done]
    unheard = wrong_accepts(
        History(history.verdicts, [end for end in history.ends if end.answered > up]),
        lambda end: end.answered + BOUND,
    )
    recovery = max([up, *failed, *(one.start for one in unheard)]) - up
    figures: dict[str, float] = {
        "down_s": up - down,
        "failed_meanwhile": sum(not end.is_done for end in history.ends if down <= end.asked <= up),
        "late_accepts": len(late),
        "recovery_s": recovery,
        "before_p99_ms": _slowest(history, 0, down),
        "meanwhile_p99_ms": _slowest(history, down, up),
    }
    return judged(
        load,
        history,
        figures,
        {
            "no wrong accept": not late,
            "it was away": any(not end.is_done for end in history.ends),
            "recovered within five seconds": recovery <= HEALED,
            "sessions end after it": any(end.is_done for end in new),
        },
    )


def _until(end: End, down: float, up: float) -> float:
    """Return when the last accept may begin. What the server took in its last second, not all had to hear."""
    if end.answered < down - BOUND:
        return end.answered + BOUND
    return max(end.answered + BOUND, up + HEALED)


def _slowest(history: History, since: float, until: float) -> float:
    took = [
        one.end - one.start
        for one in history.verdicts
        if since <= one.start < until and one.status == ACCEPTED
    ]
    return _MILLISECONDS * percentile(took, 0.99)


# -- workers that come later ------------------------------------------------------------------------------


def newcomers(*, count: int, times: int) -> Outcome:
    """Start workers after sessions have ended: the first thing that they are asked about is these."""
    with sailing((UVICORN,)) as fleet:
        return asyncio.run(_newcomers(fleet, count, times))


async def _newcomers(fleet: Fleet, count: int, times: int) -> Outcome:
    async with workers_of(fleet) as workers:
        load = Load(fleet, workers, RATE)
        async with load.running():
            await load.end_many(count, 20)
            await asyncio.sleep(BOUND)
            for _ in range(times):
                new = await lines_to(await asyncio.to_thread(fleet.launch, UVICORN, GUNICORN))
                await asyncio.gather(*(load.ask_at_once(worker, load.ended) for worker in new))
                await asyncio.gather(*(line.close() for worker in new for line in worker.lines))
    history = fleet.history
    late = wrong_accepts(history, lambda end: end.answered + BOUND)
    workers_asked = len({one.pid for one in history.verdicts})
    return judged(
        load,
        history,
        {"workers": workers_asked, "late_accepts": len(late)},
        {"newcomers know what has ended": not late, "there were some": workers_asked > 1},
    )


# -- everything dies right after an acknowledgement ----------------------------------------------------


def losses(*, times: int) -> Outcome:
    """Kill worker and Redis, which keeps what it has, as soon as an end is acknowledged; start new ones."""
    with sailing((UVICORN,), appendonly=True) as fleet:
        return asyncio.run(_losses(fleet, times))


async def _losses(fleet: Fleet, times: int) -> Outcome:
    load = Load(fleet, [], RATE)
    for _ in range(times):
        [worker] = await lines_to(fleet.servers[-1:])
        load.ended.append(load.issue())
        first, last = await load.ask(worker, load.ended[-1]), await worker.end(load.ended[-1])
        os.kill(worker.pid, signal.SIGKILL)
        await asyncio.to_thread(fleet.redis.kill)
        assert (first, last) == (ACCEPTED, True), "it was not to be ended"
        await asyncio.gather(*(line.close() for line in worker.lines))
        await asyncio.to_thread(fleet.redis.start)
        await asyncio.to_thread(fleet.launch, UVICORN)
    [worker] = await lines_to(fleet.servers[-1:])
    answers = [await load.ask(worker, token) for token in load.ended]
    await asyncio.gather(*(line.close() for line in worker.lines))
    return judged(
        load,
        fleet.history,
        {"deaths": times, "wrong_accepts": answers.count(ACCEPTED)},
        {"what was acknowledged is in the store": REFUSED.issuperset(answers)},
    )
