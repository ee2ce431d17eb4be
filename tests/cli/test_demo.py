"""Every outcome of the demo over real sockets, and the command around them."""

import http.client
import re
import shlex
import signal
import sys
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from fbguard.cli import callers, compare, demo, tour, walk
from fbguard.cli.compare import play
from tests.cli.processes import FBGUARD, fbguard, run, running

APPS = ["Starlette", "Flask"]
STEPS = [step for chapter in tour.TOUR for step in chapter.steps]
TOKEN = re.compile(r"EAA[A-Za-z0-9]{40,}")
ANSI = "\x1b"


def named(name):
    return next(step for step in STEPS if step.name == name)


@pytest.fixture(scope="module")
def playing():
    with demo.stage() as playing:
        yield playing


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.name)
def test_outcome(playing, app, step):
    outcome = play(step, dict(playing.apps)[app], playing.sandbox)
    assert outcome.visit is not None
    assert outcome.differences == ()
    assert outcome.visit.answer.status == step.expected.status


def test_the_tour_names_every_step_once():
    names = [step.name for step in STEPS]
    assert len(set(names)) == len(names)


def test_the_tour_shows_every_main_reason():
    shown = {(step.expected.reason, step.expected.subcode) for step in STEPS}
    assert {
        (None, None), ("missing_token", None), ("invalid_request", None), ("malformed_token", None),
        ("expired", 463), ("password_changed", 460), ("not_authorized", 458), ("checkpointed", 459),
        ("session_invalidated", 466), ("wrong_app", None), ("wrong_token_type", None),
        ("insufficient_scope", None), ("insufficient_target", None), ("data_access_expired", None),
        ("unavailable", None), ("session_invalidated", None), ("not_authorized", None),
    } <= shown  # fmt: skip


@pytest.mark.parametrize("app", APPS)
@pytest.mark.parametrize(
    "step", [step for step in STEPS if step.caller and not step.again], ids=lambda step: step.name
)
def test_it_is_the_caller_that_ends_the_session(playing, app, step):
    outcome = play(replace(step, caller=None), dict(playing.apps)[app], playing.sandbox)
    assert outcome.differences[:1] == (f"status is 200; the design says {step.expected.status}",)


@pytest.mark.parametrize("name", ["then: a new login", "app removed: new login"])
def test_only_a_new_login_gets_in_again(playing, name):
    outcome = play(replace(named(name), again=False), playing.apps[0][1], playing.sandbox)
    assert outcome.differences[:1] == ("status is 401; the design says 200",)


def test_a_legacy_client_that_is_refused_is_a_difference(playing, monkeypatch):
    monkeypatch.setattr(callers, "MOUNT", "/nowhere")
    step = named("ended by legacy client")
    assert play(step, playing.apps[0][1], playing.sandbox).differences


# -- the comparison finds what is wrong ------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": 401}, {"graph_calls": 2}, {"reason": "expired"}, {"action": "wait"},
        {"auth_type": None}, {"error": None}, {"scope": None}, {"code": 190}, {"subcode": 463},
    ],
    ids=lambda wrong: next(iter(wrong)),
)  # fmt: skip
def test_every_part_of_an_expectation_counts(playing, wrong):
    step = named("rule: scope missing")
    step = replace(step, expected=replace(step.expected, **wrong))
    assert play(step, playing.apps[0][1], playing.sandbox).differences


def changed(playing, monkeypatch, step, change):
    """Play a step whose answer is changed on its way."""
    ask = walk.ask
    monkeypatch.setattr(walk, "ask", lambda *arguments: change(ask(*arguments)))
    return play(step, playing.apps[0][1], playing.sandbox).differences


@pytest.mark.parametrize(
    "name",
    [
        "www-authenticate",
        "cache-control",
        "vary",
        "content-language",
        "x-content-type-options",
        "content-type",
    ],
)
def test_a_missing_header_is_a_difference(playing, monkeypatch, name):
    def drop(answer):
        return replace(answer, headers=tuple(pair for pair in answer.headers if pair[0] != name))

    assert changed(playing, monkeypatch, named("expired (463)"), drop)


@pytest.mark.parametrize("header", [("retry-after", "0.5"), ("www-authenticate", 'Bearer realm="fbguard"')])
def test_503_needs_whole_seconds_and_no_challenge(playing, monkeypatch, header):
    def put(answer):
        return replace(answer, headers=(*(pair for pair in answer.headers if pair[0] != header[0]), header))

    assert changed(playing, monkeypatch, named("Graph down, new token"), put)


def test_an_answer_that_repeats_the_token_is_a_difference(playing, monkeypatch):
    found = []

    def echo(step, sandbox):
        found.append(log_in(step, sandbox))
        return found[0]

    log_in = walk.log_in
    monkeypatch.setattr(walk, "log_in", echo)
    differences = changed(
        playing,
        monkeypatch,
        named("valid token"),
        lambda answer: replace(answer, headers=(*answer.headers, ("x", found[0].token))),
    )
    assert differences == ("the answer repeats the token",)


def test_a_view_without_the_facts_is_a_difference(playing, monkeypatch):
    assert changed(
        playing, monkeypatch, named("valid token"), lambda answer: replace(answer, body=b'{"user_id": null}')
    )


def test_nobody_there_is_a_difference(playing):
    outcome = play(named("no token"), "http://127.0.0.1:1", playing.sandbox)
    assert outcome.visit is None
    assert outcome.differences == ("nobody answered: ConnectionRefusedError",)


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b"\xff", b'{"relogin": 1}'])
def test_any_body_can_be_looked_at(body):
    answer = walk.Answer(401, (("www-authenticate", "Basic"),), body)
    assert compare.relogin_of(answer) == {}
    assert compare.challenge_of(answer) is None


# -- the command ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("columns", [None, "80", "100", "120", "160"])
def test_the_command_shows_every_row_and_exits_0(columns):
    done = fbguard("demo", **({"COLUMNS": columns} if columns else {}))
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for step in STEPS:
        rows = [line for line in lines if line.startswith(f" ✓ {step.name} ")]
        assert len(rows) == len(APPS), step.name
        assert all(
            f"{step.method} {step.path} " in row and f" {step.expected.status} " in row for row in rows
        )
    assert f"✓ {2 * len(STEPS)} requests: {2 * len(STEPS)} as designed, 0 different" in lines
    assert max(map(len, lines)) <= int(columns or 120)
    assert "✗" not in done.stdout
    assert ANSI not in done.stdout


@pytest.mark.slow
def test_the_command_shows_no_secret():
    done = fbguard("demo")
    assert not TOKEN.search(done.stdout)
    assert "0123456789abcdef" not in done.stdout


@pytest.mark.slow
def test_an_output_without_unicode_gets_none():
    done = fbguard("demo", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert " + valid token " in done.stdout


def test_a_difference_is_marked_and_exits_1():
    code = """
import sys
from dataclasses import replace
from fbguard.cli import main, tour
step = tour.LET_IN.steps[1]
wrong = replace(step, expected=replace(step.expected, status=418))
tour.TOUR = (tour.Chapter("Wrong", (wrong, tour.LET_IN.steps[0])),)
sys.argv = ["fbguard", "demo"]
main()
"""
    done = run([sys.executable, "-X", "dev", "-W", "error", "-c", code])
    assert (done.returncode, done.stderr) == (1, "")
    assert " ✗ valid token" in done.stdout
    assert "✗ status is 200; the design says 418" in done.stdout
    assert "✗ 4 requests: 2 as designed, 2 different" in done.stdout
    assert "Starlette 1 of 2, Flask 1 of 2" in done.stdout


def perform(command):
    """Do what a printed curl line does; return the status and the body."""
    words = shlex.split(command)
    assert words[0] == "curl"
    url = next(word for word in words if word.startswith("http"))
    parts = urlsplit(url)
    headers = dict(words[index + 1].split(": ", 1) for index, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1] if "-d" in words else None
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("POST" if "-X" in words else "GET", target, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stays_up_with_lines_that_work_until_it_is_stopped(number):
    with running([*FBGUARD, "demo", "--serve"]) as program:
        program.read_until("curl .*/sandbox/recover")
        examples = re.findall(r"^# (.*)\n(curl .*)$", program.seen, re.MULTILINE)
        promised = [(comment, command) for comment, command in examples if re.match(r"\d{3} from ", comment)]
        for app in APPS:
            assert {comment[:3] for comment, _ in promised if f"from {app}" in comment} == {
                "200",
                "401",
                "403",
            }
        for comment, command in promised:
            assert perform(command)[0] == int(comment[:3]), comment
        control = [command for _, command in examples if "/sandbox/" in command]
        for command in control[:2]:  # the log-out, and the time until guards ask again
            assert perform(command)[0] == 200, command
        leaving = [command for comment, command in promised if "about to end" in comment]
        assert len(leaving) == len(APPS)
        for command in leaving:
            status, body = perform(command)
            assert (status, '"subcode": 467' in body) == (401, True)
        for command in control[2:]:
            assert perform(command)[0] == 200, command
        code, rest = program.stop(number)
    assert code == 0
    assert rest.strip() == "Stopped."
    with pytest.raises(ConnectionRefusedError):
        perform(promised[0][1])


@pytest.mark.slow
def test_an_interrupted_tour_ends_without_a_traceback():
    with running([*FBGUARD, "demo"]) as program:
        program.read_until("Let in")
        code, rest = program.stop(signal.SIGINT)
    assert code != 0
    assert "Traceback" not in rest
