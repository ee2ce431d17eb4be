"""The story of a guard that was used before the fork: whose sockets are whose, and whose answers."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from benchmarks.loads_outcome import Outcome, outcome_of
from fbguard.sandbox import Sandbox
from tests.fleet.callers import Load, Token, Worker, workers_of
from tests.fleet.history import ACCEPTED, mix_ups, statuses
from tests.fleet.servers import LINES, PRELOADED, Fleet, sailing

_MASTERS: Final = "900"  # the user whose token the master looks up
_ESTABLISHED: Final = "01"


def preloaded(*, requests: int) -> Outcome:
    """Look tokens up at once in workers whose guard was used before they were forked."""
    with sailing(PRELOADED, prepare=_token_of_the_master) as fleet:
        return asyncio.run(_preloaded(fleet, requests))


def _token_of_the_master(sandbox: Sandbox) -> dict[str, str]:
    return {"TESTS_TOKEN": sandbox.issue_token(user_id=_MASTERS)}


async def _preloaded(fleet: Fleet, requests: int) -> Outcome:
    master = fleet.servers[0].process.pid
    async with workers_of(fleet) as workers:
        load = Load(fleet, workers, 0)
        tokens = [load.issue() for _ in range(requests // len(workers))]
        inherited = ports_of(master, fleet.redis.port)
        # The master keeps still: so whatever is said on its connections says somebody else.
        os.kill(master, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            answers = await asyncio.gather(*(_strangers(worker, tokens) for worker in workers))
            took = time.monotonic() - begun
            quiet = idle_seconds(fleet, inherited)
            own = [ports_of(worker.pid, fleet.redis.port) - inherited for worker in workers]
        finally:
            os.kill(master, signal.SIGCONT)
    users = {token.number: token.user for token in load.tokens}
    strangers = len(mix_ups(fleet.history, users)) + sum(map(len, answers))
    counted = statuses(fleet.history.verdicts)
    return outcome_of(
        {
            "requests": requests, "per_second": requests / took, "seconds": took,
            "graph_calls": len(fleet.sandbox.calls), "accepted": counted.get(ACCEPTED, 0),
            "mix_ups": strangers, "sockets_of_the_master": len(inherited),
            "sockets_of_the_workers": sum(map(len, own)), "least_idle_s": min(quiet, default=-1),
        },
        {
            "everybody is accepted": counted == {ACCEPTED: requests},
            "nobody is taken for somebody else": strangers == 0,
            "the guard was used before the fork": len(inherited) > 0,
            "every worker has its own sockets": all(own),
            "no two share one": len(set[int].union(*own)) == sum(map(len, own)),
            "nobody uses the master's": len(quiet) > 0 and min(quiet) >= int(took) - 1,
            "no exception": not fleet.complaints(),
        },
    )  # fmt: skip


async def _strangers(worker: Worker, tokens: list[Token]) -> list[Token]:
    """Ask a worker about all tokens, in an order of its own, over all its lines.

    Returns those in whose place it saw another user, or nobody.
    """
    left = random.sample(tokens, len(tokens))
    found: list[Token] = []

    async def ask() -> None:
        while left:
            token = left.pop()
            _, said = await worker.ask(token)
            if said.get("user") != token.user:
                found.append(token)

    await asyncio.gather(*(ask() for _ in range(LINES)))
    return found


# -- sockets (Linux) ---------------------------------------------------------------------------------------


def ports_of(pid: int, server: int) -> set[int]:
    """Return the local ports of a process's connections to a port of this machine."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ports = {
        row[9]: int(row[1].partition(":")[2], 16)
        for row in rows
        if row[2].endswith(f":{server:04X}") and row[3] == _ESTABLISHED
    }
    found: set[int] = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            inode = entry.readlink().name.removeprefix("socket:[").removesuffix("]")
            if inode in ports:
                found.add(ports[inode])
    return found


def idle_seconds(fleet: Fleet, ports: set[int]) -> list[int]:
    """Return for how long, as Redis sees it, nothing was said on the connections from these ports."""
    clients = [
        dict(word.split("=", 1) for word in line.split())
        for line in fleet.redis.ask("CLIENT", "LIST").decode().splitlines()
    ]
    return [int(one["idle"]) for one in clients if int(one["addr"].rpartition(":")[2]) in ports]
