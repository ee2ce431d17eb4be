"""The benchmark of a hit says what it promises; no test says how fast anything is."""

import asyncio
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fbguard
from benchmarks import hit
from benchmarks.floor import facts_of_request
from benchmarks.requests import environ_of, requests_with, scope_of
from benchmarks.sides import AsgiSide, WsgiSide, asgi_app, has_facts, wsgi_app
from benchmarks.timing import Spread
from tests.support import TOKEN, make_guard

ROOT = Path(__file__).parents[2]
FEW = ["--rounds", "2", "--requests", "3"]
NAMES = [f"{protocol} {name}" for protocol in hit.PROTOCOLS for name in hit.VARIANTS]
PAIRS = [
    f"{side} guarded/{other}" for side in ("ASGI", "WSGI") for other in ("no-op", "parts", "floor", "bare")
]


@pytest.fixture
def info():
    with make_guard() as guard:
        return guard.check(TOKEN)


def test_the_command_prints_json():
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.hit", *FEW, "--json"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    said = json.loads(run.stdout)
    assert said["fbguard"] == fbguard.__version__
    assert said["processors"] == os.cpu_count()
    assert said["python"].endswith(".".join(map(str, sys.version_info[:3])))
    assert (said["rounds"], said["requests"]) == (2, 3)
    assert list(said["microseconds"]) == NAMES
    for spread in said["microseconds"].values():
        assert 0 < spread["min"] <= spread["median"] <= spread["max"] < math.inf
    assert list(said["ratios"]) == PAIRS
    for ratio in said["ratios"].values():
        assert 0 < ratio["whole"] < math.inf
        assert ratio["added"] is None or math.isfinite(ratio["added"])


def test_the_command_prints_a_table(capsys):
    hit.main(FEW)
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].startswith(f"fbguard {fbguard.__version__}, ")
    assert lines[0].endswith(f" {os.cpu_count()} processors")
    assert "2 rounds of 3 requests" in lines[1]
    assert "garbage collector off" in lines[1]
    for name in (*NAMES, *PAIRS):
        assert sum(line.startswith(f"{name} ") for line in lines) == 1, name
    assert not any(word in said for word in ("nan", "inf"))


@pytest.mark.parametrize("options", [["--rounds", "0"], ["--requests", "-1"], ["--requests", "x"], ["more"]])
def test_the_command_refuses_what_it_cannot_run(options, capsys):
    with pytest.raises(SystemExit) as caught:
        hit.main(options)
    assert caught.value.code == 2
    assert "usage: python -m benchmarks.hit" in capsys.readouterr().err


def test_ratios_are_those_of_the_best_rounds():
    best = {"bare": 1.0, "no-op": 1.5, "parts": 2.0, "floor": 3.0, "guarded": 6.0}
    spreads = {
        f"{protocol} {name}": Spread(value, 50.0, 90.0)
        for protocol in hit.PROTOCOLS
        for name, value in best.items()
    }
    found = hit.ratios(spreads)
    assert found["ASGI guarded/no-op"] == hit.Ratio(4.0, 10.0)
    assert found["WSGI guarded/floor"] == hit.Ratio(2.0, 2.5)
    assert found["WSGI guarded/bare"] == hit.Ratio(6.0, None)


def test_a_difference_lost_in_noise_is_no_ratio():
    spreads = {name: Spread(1.0, 1.0, 1.0) for name in NAMES}
    assert hit.ratios(spreads)["ASGI guarded/no-op"] == hit.Ratio(1.0, None)
    assert "ASGI guarded/no-op            1.00       -" in hit.table(spreads, rounds=1, requests=1)


# -- wrong numbers are impossible ------------------------------------------------------------------------


def test_a_guard_that_lets_everybody_in_is_not_timed(info):
    open_door = hit.Variant("open", WsgiSide(), wsgi_app, facts_of_request.get)
    with pytest.raises(RuntimeError, match="open: 200 or wrong facts"):
        hit.check(open_door, TOKEN, info)


def test_a_guard_that_injects_facts_unasked_is_not_timed(info):
    async def believing(scope, receive, send):
        scope["fbguard.token"] = scope["state"]["fb_token"] = info
        await asgi_app(scope, receive, send)

    with asyncio.Runner() as runner:
        variant = hit.Variant("believing", AsgiSide(runner), believing, lambda: info)
        with pytest.raises(RuntimeError, match="believing: 200 without a token"):
            hit.check(variant, TOKEN, info)


def test_a_guard_that_refuses_everybody_is_not_timed(info):
    def closed(_environ, start_response):
        start_response("401 Unauthorized", [])
        return []

    with pytest.raises(RuntimeError, match="closed: 401 or wrong facts"):
        hit.check(hit.Variant("closed", WsgiSide(), closed, lambda: info), TOKEN, info)


def test_a_slice_in_which_one_request_was_refused_gives_no_number(info):
    requests = requests_with(TOKEN)
    with pytest.raises(RuntimeError, match="other facts"):
        WsgiSide().serve(wsgi_app, requests, has_facts(info))
    with asyncio.Runner() as runner, pytest.raises(RuntimeError, match="other facts"):
        AsgiSide(runner).serve(asgi_app, requests, has_facts(info))


# -- the requests ----------------------------------------------------------------------------------------


def test_every_request_has_objects_of_its_own():
    request = requests_with(TOKEN)[0]
    for make in (scope_of, environ_of):
        one, other = make(request), make(request)
        assert one.keys() == other.keys()
        assert one is not other
    one, other = scope_of(request), scope_of(request)
    assert one["headers"] == other["headers"]
    assert all(a[1] is not b[1] for a, b in zip(one["headers"], other["headers"], strict=True))
    assert one["path"] is not other["path"]


def test_the_requests_look_like_those_of_real_clients():
    for request in requests_with(TOKEN):
        assert len(request.headers) == 15
        assert request.headers.index(("Authorization", f"Bearer {TOKEN}")) > 0
    for request in requests_with(None):
        assert "Authorization" not in dict(request.headers)
