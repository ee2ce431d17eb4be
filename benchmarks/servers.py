"""Requests per second under real servers: ``python -m benchmarks.servers``; needs wrk.

One process a row, one worker each, all at once on loopback; ``wrk`` asks them one after the other, a slice
each in every round, over 32 connections that stay open. A row must first let a good token in and refuse a
wrong one and none; a slice with another answer than 200 is an error.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.lines import about, heading
from benchmarks.requests import METHOD, PATH, requests_with
from benchmarks.served import VARIABLE, build
from benchmarks.timing import Spread
from benchmarks.world import Tokens, world

CONNECTIONS: Final = 32

_HOST: Final = "127.0.0.1"
_ROOT: Final = Path(__file__).parents[1]
_PATIENCE: Final = 30.0  # seconds until a server must answer or have ended
_POLL: Final = 0.05
_RATE: Final = re.compile(r"Requests/sec:\s+([0-9.]+)")
_BAD: Final = re.compile(r"(Non-2xx.*|Socket errors.*)")
_PACKAGES: Final = ("uvicorn", "uvloop", "httptools", "gunicorn", "granian", "starlette", "fastapi", "flask")


@dataclass(frozen=True, slots=True)
class Server:
    """A server and its rows, the base first; ``command`` follows ``python -m``."""

    name: str
    command: str
    part: str
    rows: tuple[str, ...]


_UVICORN: Final = "uvicorn benchmarks.served:app --host {host} --port {port} --no-access-log --lifespan off"
_GUNICORN: Final = (
    "gunicorn benchmarks.served:app --bind {host}:{port} --worker-class gthread --threads 8 --workers 1 "
    "--log-level error --no-control-socket"
)
_GRANIAN: Final = (
    "granian --host {host} --port {port} --interface asgi --workers 1 --log-level critical "
    "benchmarks.served:app"
)
SERVERS: Final = (
    Server("uvicorn", f"{_UVICORN} --log-level error", "bare", ("ASGI app", "ASGI floor", "ASGI fbguard")),
    Server(
        "uvicorn", f"{_UVICORN} --log-level error", "starlette",
        (
            "Starlette app", "Starlette no-op", "Starlette floor", "Starlette fbguard",
            "Starlette fbguard, require_fb_token alone", "Starlette AuthenticationMiddleware + requires",
        ),
    ),
    Server(
        "uvicorn", f"{_UVICORN} --log-level error", "fastapi",
        ("FastAPI app", "FastAPI fbguard", "FastAPI fbguard, FBToken alone", "FastAPI HTTPBearer + Security"),
    ),
    Server(
        "gunicorn gthread", _GUNICORN, "flask",
        (
            "Flask app", "Flask no-op", "Flask floor", "Flask fbguard", "Flask-HTTPAuth token",
            "Flask Authlib ResourceProtector", "flask-jwt-extended HS256",
        ),
    ),
    Server("granian", _GRANIAN, "starlette", ("Starlette app", "Starlette floor", "Starlette fbguard")),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second of a row; ``best`` and ``middle`` are its ratios to the unguarded ``base``."""

    server: str
    name: str
    base: str
    rate: Spread
    best: float
    middle: float


@dataclass(frozen=True, slots=True)
class Running:
    """A row that is served."""

    server: str
    name: str
    base: str
    port: int
    tokens: Tokens


@contextmanager
def running(server: Server, name: str) -> Generator[Running]:
    """Serve a row on a free port; ends the server's process with the block."""
    which = f"{server.part}:{name}"
    with world() as place:
        row = build(place, which)
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port: int = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", *server.command.format(host=_HOST, port=port).split()],
        cwd=_ROOT,
        env={**os.environ, VARIABLE: which, "PYTHONPATH": str(_ROOT)},
    )
    try:
        _wait(process, port)
        one = Running(server.name, name, server.rows[0], port, row.tokens)
        _check(one, guards=row.guards)
        yield one
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
            return
        time.sleep(_POLL)
    raise RuntimeError("a server did not start")


def _check(one: Running, *, guards: bool) -> None:
    for token, may_enter in ((one.tokens.good, True), (one.tokens.wrong, False), (None, False)):
        connection = http.client.HTTPConnection(_HOST, one.port, timeout=_PATIENCE)
        try:
            connection.request(METHOD, PATH, headers=dict(requests_with(token)[0].headers))
            status = connection.getresponse().status
        finally:
            connection.close()
        if status != 200 if may_enter or not guards else not 400 <= status < 500:
            raise RuntimeError(f"{one.server}, {one.name}: {status}")


def ask(one: Running, wrk: str, seconds: float) -> float:
    """Return the requests per second of one slice."""
    fields = [("-H", f"{name}: {value}") for name, value in requests_with(one.tokens.good)[0].headers]
    command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", *(word for pair in fields for word in pair)]
    run = subprocess.run(
        [*command, f"http://{_HOST}:{one.port}{PATH}"], capture_output=True, text=True, check=True
    )
    bad, rate = _BAD.search(run.stdout), _RATE.search(run.stdout)
    if bad is not None or rate is None:
        raise RuntimeError(f"{one.server}, {one.name}: {bad[1] if bad else run.stdout}")
    return float(rate[1])


def measure(
    *, rounds: int, seconds: float, only: Sequence[str] = ("",)
) -> tuple[list[Rate], list[tuple[str, str]]]:
    """Ask all rows whose server's or own name has a part of ``only``; returns also what was left out."""
    wrk = shutil.which("wrk")
    if wrk is None:
        return [], [("all servers", "wrk is not installed")]
    rates: dict[Running, list[float]] = {}
    left_out: list[tuple[str, str]] = []
    with ExitStack() as stack:
        for server, name in _wanted(only):
            try:
                if importlib.util.find_spec(server.command.split()[0]) is None:
                    raise ModuleNotFoundError(name=server.command.split()[0])
                rates[stack.enter_context(running(server, name))] = []
            except ImportError as exc:
                left_out.append((f"{server.name}: {name}", f"{exc.name} is not installed"))
        asked = list(rates)
        for number in range(-1, rounds):
            first = number % max(len(asked), 1)
            for one in asked[first:] + asked[:first]:
                rate = ask(one, wrk, seconds)
                if number >= 0:  # the round before warms up
                    rates[one].append(rate)
    return list(_rates(rates)), left_out


def _wanted(only: Sequence[str]) -> Iterator[tuple[Server, str]]:
    for server in SERVERS:
        for number, name in enumerate(server.rows):
            is_base = number == 0 and any(_has(server, other, only) for other in server.rows)
            if is_base or _has(server, name, only):
                yield server, name


def _has(server: Server, name: str, only: Sequence[str]) -> bool:
    return any(part in f"{server.name}: {name}" for part in only)


def _rates(rates: Mapping[Running, Sequence[float]]) -> Iterator[Rate]:
    bases = {(one.server, one.name): found for one, found in rates.items()}
    for one, found in rates.items():
        base = bases[one.server, one.base]
        spread = Spread.of(found)
        yield Rate(
            one.server, one.name, one.base, spread, spread.max / max(base), spread.median / median(base)
        )


def table(rates: Sequence[Rate]) -> Iterator[str]:
    """Give lines of text for people."""
    yield f"{'requests per second':<66}{'min':>8}{'median':>8}{'max':>8}{'best/best':>11}{'medians':>9}"
    for one in rates:
        shown = (
            f"{one.rate.min:8.0f}{one.rate.median:8.0f}{one.rate.max:8.0f}{one.best:11.3f}{one.middle:9.3f}"
        )
        yield f"{f'{one.server}: {one.name}':<66}{shown}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Be the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often each row has its turn")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one turn, whole ones for wrk")
    parser.add_argument("--only", action="append", metavar="PART", help="rows with this in server or name")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.seconds < 1:
        parser.error("--rounds and --seconds must be at least 1")
    rates, left_out = measure(rounds=given.rounds, seconds=given.seconds, only=given.only or ("",))
    where = about(*_PACKAGES)
    data: dict[str, Any] = {
        "about": where,
        "rounds": given.rounds,
        "rates": [asdict(one) for one in rates],
        "left_out": [{"name": name, "why": why} for name, why in left_out],
    }
    if given.json:
        print(json.dumps(data))
        return
    print(
        heading(where), f"{given.rounds} slices of {given.seconds:g} s per row, {CONNECTIONS} connections", ""
    )
    print(*table(rates), *(f"left out: {name}: {why}" for name, why in left_out), sep="\n")


if __name__ == "__main__":
    main()
