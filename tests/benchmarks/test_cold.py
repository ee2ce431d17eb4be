"""The benchmark of a miss says what it promises; no test says how fast anything is."""

import http.client
import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

import fbguard
from benchmarks import cold, graph, lookups
from benchmarks.crowd import Busy, Slice, in_coroutines, in_threads, percentile
from benchmarks.graph import APP_ID, Counts, make_token, user_of
from benchmarks.lookups import AsyncWay, SyncWay
from fbguard import Guard
from tests.support import PATIENCE

ROOT = Path(__file__).parents[2]
TOKENS = [make_token(100_000_000_000 + number) for number in range(60)]
FEW = cold.Load(tokens=6, rounds=2, coroutines=4, threads=3, busy=Busy(threads=1))


@pytest.fixture(scope="module")
def process():
    with graph.running(delay=0.001, batch_delay=0.001) as process:
        yield process


@pytest.fixture
def counted(process):
    process.take_counts()
    return process


def call(process, method, target, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=PATIENCE)
    try:
        connection.request(method, target, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def batch_of(tokens, **more):
    items = [{"method": "GET", "relative_url": f"debug_token?input_token={token}"} for token in tokens]
    return urlencode({"batch": json.dumps(items), **more})


def slice_of(rate, p99=100.0):
    return Slice(rate, 50.0, p99, 400.0, 0, Counts(calls=6, tokens=6, peak_calls=2))


# -- the Graph that is asked -----------------------------------------------------------------------------


def test_the_graph_says_what_facebook_says(process):
    with Guard(app_id=APP_ID, app_secret="0a1b2c3d4e5f", graph_url=process.url) as guard:
        info = guard.check(TOKENS[7])
    assert (info.user_id, info.type, info.scopes) == (
        user_of(TOKENS[7]), "USER", {"email", "public_profile"}
    )  # fmt: skip
    assert info.expires_at is not None
    assert info.issued_at is not None


def test_a_batch_is_answered_in_its_order(process):
    status, said = call(process, "POST", "/v26.0/", batch_of(TOKENS[:50]))
    assert status == 200
    assert [item["code"] for item in said] == [200] * 50
    users = [json.loads(item["body"])["data"]["user_id"] for item in said]
    assert users == [user_of(token) for token in TOKENS[:50]]
    assert {"name": "Pragma", "value": "no-cache"} in said[0]["headers"]
    _, said = call(process, "POST", "/", batch_of(TOKENS[:1], include_headers="false"))
    assert said[0].keys() == {"code", "body"}


@pytest.mark.parametrize(("method", "target", "body"), [
    ("POST", "/", batch_of(TOKENS[:51])),
    ("POST", "/", batch_of([])),
    ("POST", "/", urlencode({"batch": '[{"method": "GET", "relative_url": "me"}]'})),
    ("GET", "/v26.0/debug_token", None),
])  # fmt: skip
def test_what_facebook_refuses_is_refused(process, method, target, body):
    status, said = call(process, method, target, body)
    assert (status, said["error"]["code"]) == (400, 100)


def test_the_graph_counts_calls_tokens_and_connections(counted):
    call(counted, "GET", f"/debug_token?input_token={TOKENS[0]}")
    call(counted, "POST", "/", batch_of(TOKENS[:3]))
    assert counted.take_counts() == Counts(2, 4, 2, 1, 1)
    assert counted.take_counts() == Counts()


def test_the_graph_counts_what_is_under_way_at_once():
    request = f"GET /debug_token?input_token={TOKENS[0]} HTTP/1.1\r\n\r\n".encode()
    with graph.running(delay=0.5) as slow, ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", slow.port), PATIENCE))
            for _ in range(3)
        ]
        for client in clients:
            client.sendall(request[:20])
        for client in clients:
            client.sendall(request[20:])
        for client in clients:
            assert client.recv(15) == b"HTTP/1.1 200 -\r"
        assert slow.take_counts() == Counts(3, 3, 3, 3, 3)


def test_the_graph_ends_with_its_block():
    with graph.running() as short_lived:
        short_lived.take_counts()
    with pytest.raises(ConnectionRefusedError):
        short_lived.take_counts()


# -- wrong numbers are impossible ------------------------------------------------------------------------


def async_way(ask):
    @asynccontextmanager
    async def open_way(_url):
        yield ask

    return AsyncWay("tried", 1, open_way)


def sync_way(ask):
    @contextmanager
    def open_way(_url):
        yield ask

    return SyncWay("tried", 1, open_way)


def run(ask, process, warm_up=(), tokens=tuple(TOKENS)):
    async def aask(token):
        return ask(token)

    for slice_, way in ((in_coroutines, async_way(aask)), (in_threads, sync_way(ask))):
        yield lambda slice_=slice_, way=way: slice_(way, process, warm_up, tokens, askers=2, busy=Busy())


def test_somebody_elses_facts_give_no_number(counted):
    for attempt in run(lambda _token: user_of(TOKENS[1]), counted, tokens=TOKENS[:1]):
        with pytest.raises(RuntimeError, match="is not the user"):
            attempt()


def test_verdicts_without_graph_give_no_number(counted):
    for attempt in run(user_of, counted):
        with pytest.raises(RuntimeError, match="tried: verdicts came without asking Graph"):
            attempt()


def test_no_verdicts_give_no_number(counted):
    def refuse(_token):
        raise fbguard.Refused

    for attempt in run(refuse, counted):
        with pytest.raises(RuntimeError, match="tried: no look-up got a verdict") as caught:
            attempt()
        assert isinstance(caught.value.__cause__, Exception)


@pytest.mark.parametrize("beside", [Busy(), Busy(threads=1), Busy(threads=1, in_python=True)])
def test_lost_look_ups_are_counted_and_the_warm_up_is_not(counted, beside):
    with lookups.SYNC_WAYS[-1].open(counted.url) as by_guard:

        def ask(token):
            if token in TOKENS[1:4]:
                raise TimeoutError
            return by_guard(token)

        found = in_threads(sync_way(ask), counted, TOKENS[50:], TOKENS[:10], askers=3, busy=beside)
    assert (found.failed, found.why) == (3, "TimeoutError")
    assert (found.counts.calls, found.counts.tokens) == (7, 7)
    assert 0 < found.p50 <= found.p99
    assert found.cpu > 0


def test_percentiles_are_values_that_were_measured():
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, part) for part in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0


# -- what is said ----------------------------------------------------------------------------------------


def test_every_row_has_its_turn_in_every_round():
    contenders, slices = cold.measure(FEW)
    names = [row.name for row in contenders]
    assert names[0] == "async idle: httpx"
    assert {"async busy: fbguard", "sync busy: fbguard", "sync idle: httpx2"} <= set(names)
    has_batches = lookups.why_no_batches() is None
    assert ("async idle: fbguard batch=True" in names) == has_batches
    assert list(slices) == names
    for name, found in slices.items():
        assert len(found) == FEW.rounds, name
        assert all(one.failed == 0 and one.rate > 0 for one in found), name
        if "batch" not in name:
            assert all(one.counts.calls == one.counts.tokens for one in found), name
    lines = list(cold.table(contenders, slices))
    for row in contenders:
        assert sum(line.startswith(f"{row.name}  ") for line in lines) == 1, row.name
    said = "\n".join((*lines, *cold.targets(slices)))
    assert ("not measured" in said) == (not has_batches)
    assert not any(word in said for word in (" nan", " inf"))


def test_the_command_prints_a_table():
    only = ["--only", "sync idle: fbguard", "--only", "sync idle: httpx"]
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.cold", "--tokens", "3", "--rounds", "1", *only],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, check=False, text=True, timeout=60,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert lines[0].startswith(f"fbguard {fbguard.__version__}, ")
    assert "1 rounds of 3 cold tokens" in lines[1]
    assert [line.split("  ")[0] for line in lines if line.startswith(("sync", "async"))] == [
        "sync idle: httpx", "sync idle: fbguard"
    ]  # fmt: skip


def test_a_version_without_batches_says_so(monkeypatch, capsys):
    monkeypatch.setattr(cold, "why_no_batches", lambda: "there are none")
    contenders, _ = cold.measure(FEW, cold.chosen(["sync idle: fbguard", "batch"]))
    assert [row.name for row in contenders] == ["sync idle: fbguard"]
    assert "skipped: fbguard batch=True: there are none" in capsys.readouterr().out


@pytest.mark.parametrize("options", [
    ["--rounds", "0"], ["--tokens", "-1"], ["--tokens", "x"], ["--only", "no such row"], ["--busy", "no"],
    ["more"],
])  # fmt: skip
def test_the_command_refuses_what_it_cannot_run(options, capsys):
    with pytest.raises(SystemExit) as caught:
        cold.main(options)
    assert caught.value.code == 2
    assert "usage: python -m benchmarks.cold" in capsys.readouterr().err


def test_only_takes_a_whole_name_or_a_part():
    wanted = cold.chosen(["async idle: httpx", "sync busy"])
    assert wanted("async idle: httpx")
    assert not wanted("async idle: httpx2")
    assert wanted("sync busy: httpx")
    assert wanted("sync busy: httpx2")


def test_ratios_are_taken_round_by_round():
    slices = {
        "async idle: httpx": [slice_of(100.0), slice_of(200.0)],
        "async idle: fbguard": [slice_of(1100.0), slice_of(2000.0)],
    }
    assert cold.ratios(slices, "async idle: fbguard") == [11.0, 10.0]
    assert cold.ratios(slices, "sync idle: fbguard") is None
    del slices["async idle: httpx"]
    assert cold.ratios(slices, "async idle: fbguard") is None


def test_lost_look_ups_are_told():
    rows = [row for row in cold.rows(None) if row.name == "sync idle: httpx"]
    lost = [slice_of(1.0), replace(slice_of(1.0), failed=2, why="ReadTimeout")]
    lines = list(cold.table(rows, {"sync idle: httpx": lost}))
    assert lines[1].endswith(" 2")
    assert lines[2] == "sync idle: httpx: look-ups failed by ReadTimeout"


def test_a_target_is_met_not_met_or_not_measured():
    slices = {
        "async idle: httpx": [slice_of(100.0)],
        "async idle: fbguard": [slice_of(1000.0)],
        "async idle: fbguard batch=True": [slice_of(1400.0, p99=180.5)],
        "sync busy: fbguard": [slice_of(200.0)],
    }
    assert [line[:14].strip() for line in cold.targets(slices)] == [
        "met", "not met", "not measured", "not met"
    ]  # fmt: skip
    slices["async idle: fbguard batch=True"] = [slice_of(1500.0, p99=180.0)]
    slices["sync busy: httpx"] = [slice_of(200.0)]
    assert [line[:14].strip() for line in cold.targets(slices)] == ["met", "met", "not met", "met"]


def test_the_way_as_shipped_has_the_shipped_options():
    assert lookups.SHIPPED == 200
    shipped = [way for way in (*lookups.ASYNC_WAYS, *lookups.SYNC_WAYS) if way.name == lookups.FBGUARD]
    assert [way.max_in_flight for way in shipped] == [lookups.SHIPPED] * 2
