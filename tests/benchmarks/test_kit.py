"""The kit around the hit path says what it promises; no test says how fast anything is."""

import asyncio
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as kit
from benchmarks import decorators, filling, gate, lines, peers, plots, report, scale, served, servers
from benchmarks.lines import Line
from benchmarks.sides import AsgiSide, WsgiSide, asgi_app, wsgi_app
from benchmarks.timing import Spread
from benchmarks.world import TOKENS, Row, world

ROOT = Path(__file__).parents[2]
FEW = ["--rounds", "2", "--requests", "2", "--json"]
HIT = {f"{side} {name}": value for side in ("ASGI", "WSGI") for name, value in
       (("bare", 1.0), ("no-op", 1.5), ("parts", 2.0), ("floor", 3.0), ("guarded", 5.0))}  # fmt: skip


def spread(value):
    return {"min": value / 2, "median": value, "max": value * 2}


def hit_data(**changes):
    found = {name: spread(value) for name, value in (HIT | changes).items()}
    return {"about": lines.about(), "rounds": 1, "requests": 1, "microseconds": found}


@pytest.fixture(scope="module")
def of_peers():
    """The whole table, in a process of its own: Django's settings are one for a process."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *FEW],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, check=False, text=True, timeout=120,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def of_scale():
    return {"about": lines.about(), **scale.measure(scale.Size(rounds=2, requests=2, tokens=20))}


# -- peers -----------------------------------------------------------------------------------------------


def test_every_row_is_measured_or_left_out(of_peers):
    measured = {one["name"]: one for one in of_peers["lines"]}
    assert {"ASGI floor", "ASGI fbguard", "WSGI floor", "WSGI fbguard"} <= set(measured)
    assert {"Starlette fbguard", "FastAPI fbguard", "Flask fbguard", "Django fbguard"} <= set(measured)
    assert {
        "ASGI AuthenticationMiddleware + requires",
        "FastAPI HTTPBearer + Security",
    } <= set(measured)  # what a test environment always has
    absent = {one["name"] for one in of_peers["left_out"]}
    assert {name for name, *_ in gate.PEERS} <= measured.keys() | absent
    assert all(one["why"].endswith(" is not installed") for one in of_peers["left_out"])
    for one in measured.values():
        assert 0 < one["spread"]["min"] <= one["spread"]["median"] <= one["spread"]["max"]
        assert (one["added"] is None) == (one["base"] is None)
        assert one["base"] in {None, *measured}


def test_the_command_prints_a_table(capsys):
    peers.main(["--rounds", "1", "--requests", "1", "--only", "SGI no-op"])
    said = capsys.readouterr().out
    assert said.startswith("fbguard ")
    for name in ("ASGI app", "ASGI no-op", "ASGI fbguard", "WSGI no-op"):
        assert any(line.startswith(f"{name} ") for line in said.splitlines()), name
    assert "Flask app" not in said


@pytest.mark.parametrize("command", [peers.main, decorators.main, scale.main, servers.main])
def test_commands_refuse_what_they_cannot_run(command, capsys):
    with pytest.raises(SystemExit) as caught:
        command(["--rounds", "0"])
    assert caught.value.code == 2
    assert "at least 1" in capsys.readouterr().err


def test_what_is_not_installed_is_left_out_and_said(monkeypatch):
    def build(_place):
        raise ModuleNotFoundError(name="some_peer")

    def builders(_left_out):
        yield from {
            "a peer": build,
            "bare": lambda _place: Row(protocol="WSGI", app=wsgi_app, base=None),
        }.items()

    monkeypatch.setattr(peers, "_builders", builders)
    with world() as place:
        rows, left_out = peers.build(place, lambda _name: True)
    assert list(rows) == ["bare"]
    assert left_out == [peers.LeftOut("a peer", "some_peer is not installed")]


def test_a_row_that_lets_everybody_in_is_not_timed():
    row = Row(protocol="WSGI", app=wsgi_app, base="bare")
    with pytest.raises(RuntimeError, match="open: 200 for a request that must be refused"):
        peers.check("open", row, WsgiSide())


def test_a_row_that_fails_is_not_timed():
    async def failing(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 500})

    with asyncio.Runner() as runner, pytest.raises(RuntimeError, match="failing: 500 for a good token"):
        peers.check("failing", Row(protocol="ASGI", app=failing, base=None), AsgiSide(runner))


def test_a_row_that_is_told_the_wrong_user_gives_no_number():
    row = Row(protocol="WSGI", app=wsgi_app, base=None, proof=lambda _environ: False)
    with pytest.raises(RuntimeError, match="other facts"):
        peers.slice_of(row, WsgiSide())(2)


# -- decorators and scale --------------------------------------------------------------------------------


def test_decorators(capsys):
    decorators.main(FEW)
    found = [Line.read(one) for one in json.loads(capsys.readouterr().out)["lines"]]
    assert [line.name for line in found] == [
        f"{protocol} {name}"
        for protocol in ("ASGI", "WSGI")
        for name in (decorators.VIEW, decorators.NOTHING, decorators.REQUIRE)
    ]
    assert all(line.spread.min > 0 for line in found)
    decorators.main(FEW[:-1])
    assert "ASGI: require_fb_token adds " in capsys.readouterr().out


def test_scale(of_scale):
    assert [one["name"] for one in of_scale["tokens"]] == ["bare app", "1 token"]
    counts = ("1 rule", "100 rules", "1,000 rules")
    rules = [f"{count}, {kind}" for kind in ("literal", "template") for count in counts]
    assert [one["name"] for one in of_scale["rules"]] == ["bare app", *rules]
    assert [one["name"] for one in of_scale["threads"][:2]] == ["bare app, threads: 1", "fbguard, threads: 1"]
    assert [one["kind"] for one in of_scale["memory"]] == list(filling.KINDS)
    assert all(one["each"] > 0 for one in of_scale["memory"])
    assert [one["tokens"] for one in of_scale["collector"]] == [0]
    said = "\n".join(scale.text(of_scale))
    assert "1,000 rules, template" in said
    assert "bytes per cached token" in said


def test_only_the_last_of_many_rules_matches():
    policy = scale.policy_of(100, "/v2/pages/{page_id}/posts")
    assert len(policy.rules) == 100
    for rule in policy.rules[:-1]:
        assert rule.params_of(("v2", "pages", "1", "posts")) is None


@pytest.mark.parametrize("kind", filling.KINDS)
def test_filled_tokens_are_hits(kind):
    with world() as place:
        filling.fill(place.guard, range(3), kind)
        for number in range(3):
            info = place.guard.peek(filling.token_of(number))
            assert info.is_valid
            targets = [target for target in info.granular_scopes.values() if target is not None]
            assert targets == ([(str(300_000_000_000 + number),)] if kind == filling.ONE_TARGET else [])
        assert place.guard.health().cached == 3


# -- servers ---------------------------------------------------------------------------------------------


def test_a_row_is_served_and_ended():
    server = next(one for one in servers.SERVERS if one.part == "bare")
    with servers.running(server, "ASGI fbguard") as one:
        assert (one.base, one.tokens) == ("ASGI app", TOKENS)
    with pytest.raises(ConnectionError):
        servers._check(one, guards=True)


def test_every_server_row_has_a_builder():
    with world() as place:
        for server in servers.SERVERS:
            assert served.build(place, f"{server.part}:{server.rows[0]}").guards is False
            builders = importlib.import_module(f"benchmarks.peers_{server.part}").PEERS
            assert set(server.rows) <= set(builders)


def test_without_wrk_it_is_said(monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda _name: None)
    servers.main([])
    assert "left out: all servers: wrk is not installed" in capsys.readouterr().out


# -- the gate and the page -------------------------------------------------------------------------------


def test_gate():
    found = {one.what: one for one in gate.targets({"hit": hit_data(**{"WSGI guarded": 4.0})})}
    asgi, wsgi = found["ASGI hit, times its floor"], found["WSGI hit, times its floor"]
    assert (asgi.found, asgi.is_met) == (2.0, False)
    assert (wsgi.found, wsgi.is_met) == (1.5, True)
    assert list(gate.verdicts([asgi])) == [
        "MISSED        ASGI hit, times its floor: 2.00, at most 1.6 (better: 1.25)"
    ]


def test_a_peer_that_was_not_measured_is_neither_met_nor_missed():
    data = {"lines": [], "left_out": []}
    assert {one.is_met for one in gate.targets({"peers": data})} == {None}


def test_every_target_finds_its_rows(of_peers, of_scale):
    results = {"hit": hit_data(), "peers": of_peers, "scale": of_scale}
    absent = {one["name"] for one in of_peers["left_out"]} | {"1,000,000 tokens"}
    known = {one["name"] for part in ("tokens", "rules") for one in of_scale[part]}
    known |= {one["name"] for one in of_peers["lines"]} | absent
    assert {name for name, *_ in gate.PEERS} <= known
    assert {much for _, much, _, _ in gate.SCALES} <= known
    assert len(list(gate.targets(results))) == 2 + len(gate.PEERS) + len(gate.SCALES) + len(gate.BYTES)


@pytest.mark.parametrize(("guarded", "code"), [(3.1, 0), (9.0, 1)])
def test_the_exit_code_is_the_gates(monkeypatch, capsys, guarded, code):
    data = hit_data(**{"ASGI guarded": guarded, "WSGI guarded": guarded})
    monkeypatch.setattr(kit, "run", lambda _part, **_options: data)
    assert kit.main(["--only", "hit", "--gate"]) == code
    assert kit.main(["--only", "hit"]) == 0
    assert ("MISSED" in capsys.readouterr().out) == bool(code)


def test_a_run_is_written_between_the_markers(monkeypatch, tmp_path, of_peers, of_scale):
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{report.BEGIN}\nyesterday\n{report.END}\nafter\n")
    monkeypatch.setattr(report, "DOCS", tmp_path)
    monkeypatch.setattr(kit, "SAVED", tmp_path / "figures" / "figures.json")
    monkeypatch.setattr(plots, "draw", lambda _results, _folder: [])
    kit.write({"hit": hit_data(), "peers": of_peers})
    kit.write({"scale": of_scale, "pythons": {"CPython 9.9": {"hit": hit_data()}}})
    said = page.read_text()
    assert said.startswith("before\n")
    assert said.endswith(f"{report.END}\nafter\n")
    assert "yesterday" not in said
    for title in ("The hit path", "Beside others", "Scale", "CPython 9.9", "What must hold"):
        assert said.count(f"### {title}\n") == 1


def test_a_page_without_markers_is_left_alone():
    with pytest.raises(ValueError, match="has no <!-- figures -->"):
        report.insert("a page", "figures")


def test_the_manual_has_its_place_for_figures():
    assert "new" in report.insert((ROOT / "docs" / "performance.md").read_text(), "new")


def test_plots(tmp_path, of_peers, of_scale):
    rates = [{"server": "s", "name": "app", "middle": 1.0, "best": 1.0}]
    results = {"hit": hit_data(), "peers": of_peers, "scale": of_scale, "servers": {"rates": rates}}
    if importlib.util.find_spec("matplotlib") is None:  # an extra of its own; the command says so
        with pytest.raises(ImportError):
            plots.draw(results, tmp_path)
        return
    assert plots.draw(results, tmp_path) == list(results)
    assert {file.name for file in tmp_path.iterdir()} == {
        f"{part}.{kind}" for part in results for kind in ("png", "svg")
    }


# -- lines -----------------------------------------------------------------------------------------------


def test_added_is_by_rounds():
    found = lines.lines_of({"a": [1.0, 2.0, 9.0], "b": [3.0, 5.0, 11.0]}, {"a": None, "b": "a"})
    assert found == [
        Line("a", Spread(1.0, 2.0, 9.0)),
        Line("b", Spread(3.0, 5.0, 11.0), "a", Spread(2.0, 2.0, 3.0)),
    ]
    assert lines.added_ratio(found, "b", "b") == 1.0
    assert lines.added_ratio(found, "b", "a") is None
    assert [Line.read(one) for one in lines.as_data(found)] == found


def test_the_bare_apps_answer():
    with asyncio.Runner() as runner:
        peers.check("bare", Row(protocol="ASGI", app=asgi_app, base=None, guards=False), AsgiSide(runner))
