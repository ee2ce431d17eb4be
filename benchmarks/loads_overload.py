"""The load that is too much: more cold tokens than the slots can look up. Who is answered, and for what?"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Final

from benchmarks.loads_callers import Ask, Crowd, good_token, guard_of, settled
from benchmarks.loads_graph import Graph
from benchmarks.loads_outcome import Outcome, outcome_of

_SLOTS: Final = 10
_DELAY: Final = 0.2  # seconds that Graph takes for a call
_CAPACITY: Final = _SLOTS / _DELAY  # calls a second
_TIMES: Final = 3  # as many tokens as that


def overload(*, seconds: int) -> Outcome:
    """Ask about three times as many cold tokens as can be looked up, for some seconds.

    A line that always serves the first would serve those who have no time left for the call, all of them.
    """
    with Graph(delay=_DELAY) as graph:
        return asyncio.run(_overload(graph, seconds))


async def _overload(graph: Graph, seconds: int) -> Outcome:
    async with guard_of(graph, max_in_flight=_SLOTS, max_queued=1000, deadline=1.0) as guard:
        tokens = (good_token("cold", number) for number in count())
        begun = time.monotonic()
        asks = await Crowd(guard).at_once(tokens, _TIMES * _CAPACITY, seconds)
        lost = await settled(guard)
        calls = len(graph.set().moments)
    return _judge(asks, begun, seconds, calls, lost)


def _judge(asks: Sequence[Ask], begun: float, seconds: int, calls: int, lost: int) -> Outcome:
    answered = Counter(int(ask.ended - begun) for ask in asks if ask.status == 200)
    worst = min(answered[second] for second in range(seconds)) / _CAPACITY
    in_vain = 1 - answered.total() / max(calls, 1)
    figures = {
        "asked": len(asks), "calls": calls, "answered": answered.total(), "capacity": _CAPACITY * seconds,
        "worst_second_percent": 100 * worst, "in_vain_percent": 100 * in_vain,
    }  # fmt: skip
    return outcome_of(
        figures,
        {
            "it is too much": answered.total() < len(asks) / 2,
            "70 % of the capacity in each second": worst >= 0.7,
            "at most 10 % of the calls for nobody": in_vain <= 0.1,
            "never another status": {ask.status for ask in asks} <= {200, 503},
            "no slot is lost": lost == 0,
        },
    )
