"""``fbguard doctor``: each thing that can be wrong is found, and what is right is said to be."""

from __future__ import annotations

import json
import logging
import time
from email.utils import formatdate

import pytest

from fbguard.cli import checks, doctor
from fbguard.cli.asking import WrongUse
from fbguard.cli.checks import Check
from fbguard.core.options import VARIABLES
from fbguard.facebook.graph import Reply
from fbguard.stores.sqlite import SQLiteStore
from tests.cli.conftest import SECRET
from tests.cli.processes import fbguard

OTHER = "0f" * 16


@pytest.fixture
def variables(sandbox, url, monkeypatch):
    """Set the environment of an app; give what sets more of it."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def set_(**more):
        for name, value in more.items():
            monkeypatch.setenv(f"FBGUARD_{name}", value)

    set_(APP_ID=sandbox.app_id, APP_SECRET=SECRET, GRAPH_URL=url, REDIRECT_URI="https://app.example/back")
    return set_


@pytest.fixture
def examined(variables, capsys):
    """Give ``examined()``: the checks by name, as data; their text holds no secret."""

    def examined():
        code = doctor.run(as_json=True)
        out = capsys.readouterr().out
        assert SECRET not in out
        assert OTHER not in out
        read = json.loads(out)
        assert read["ok"] is (code == 0)
        return code, {one["name"]: one for one in read["checks"]}

    return examined


def test_all_is_well(examined, sandbox, url):
    code, found = examined()
    assert code == 0
    assert [(name, one["result"]) for name, one in found.items()] == [
        (name, "good") for name in ("Versions", "Settings", "Graph", "App secret", "Clock", "Look-ups")
    ]
    assert found["Settings"]["found"] == f"app {sandbox.app_id}, {url}, v26.0"
    assert "fbguard 0.1.0" in found["Versions"]["found"]
    assert found["Look-ups"]["found"] == "a token of nobody is refused: malformed_token (401)"
    assert len(sandbox.calls) == 2


def test_for_people(variables, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert doctor.run(as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert [line.split()[1] for line in lines if line.startswith("✓ ")] == [
        "Versions", "Settings", "Graph", "App", "Clock", "Look-ups",
    ]  # fmt: skip
    assert lines[-1] == "All is well."


def test_by_the_command(variables, sandbox, url):
    given = {"FBGUARD_APP_ID": sandbox.app_id, "FBGUARD_APP_SECRET": OTHER, "FBGUARD_GRAPH_URL": url}
    finished = fbguard("doctor", **given)
    assert finished.returncode == 1
    assert "is refused" in finished.stdout
    assert "2 to mend." in finished.stdout
    assert OTHER not in finished.stdout + finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("APPSECRET", "Is it FBGUARD_APP_SECRET?"),
        ("GRAPHURL", "Is it FBGUARD_GRAPH_URL?"),
        ("SOMETHING_ELSE_ENTIRELY", "arguments of Guard"),
        ("POLICY", "arguments of Guard"),
    ],
)
def test_a_variable_that_nothing_reads(examined, variables, name, hint):
    variables(**{name: SECRET})
    code, found = examined()
    assert code == 0
    assert found["Environment"]["result"] == "warning"
    assert found["Environment"]["found"] == f"FBGUARD_{name} is set, and nothing reads it."
    assert hint in found["Environment"]["help"]


def test_a_command_reads_a_token(examined, variables):
    variables(TOKEN="EAABx")
    assert "Environment" not in examined()[1]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("APP_ID", "", "app_id"),
        ("APP_ID", None, "FBGUARD_APP_ID is not set"),
        ("APP_SECRET", None, "FBGUARD_APP_SECRET is not set"),
        ("APP_SECRET", "your app secret", "app_secret"),
        ("GRAPH_URL", "http://graph.example", "graph_url"),
        ("TTL", "soon", "FBGUARD_TTL"),
        ("REDIS_URL", "http://x", "FBGUARD_REDIS_URL"),
    ],
)
def test_settings_that_cannot_be(examined, variables, monkeypatch, name, value, told):
    if value is None:
        monkeypatch.delenv(f"FBGUARD_{name}")
    else:
        variables(**{name: value})
    code, found = examined()
    assert code == 1
    assert list(found) == ["Versions", "Settings"]
    assert found["Settings"]["result"] == "bad"
    assert told in found["Settings"]["found"]
    assert "FBGUARD_STALE_IF_ERROR" in found["Settings"]["help"]


def test_no_redirect_uri(examined, monkeypatch):
    monkeypatch.delenv("FBGUARD_REDIRECT_URI")
    code, found = examined()
    assert (code, found["Re-login"]["result"]) == (0, "warning")


def test_a_secret_of_another_app(examined, variables):
    variables(APP_SECRET=OTHER)
    code, found = examined()
    assert code == 1
    assert (found["App secret"]["result"], found["App secret"]["found"]) == ("bad", "is refused")
    assert found["Look-ups"]["result"] == "bad"
    assert "misconfigured" in found["Look-ups"]["found"]
    assert found["Look-ups"]["help"].startswith("Compare the app's id and secret with its dashboard")


def test_each_of_several_secrets(examined, variables):
    variables(APP_SECRET=f"{OTHER},{SECRET}")
    code, found = examined()
    assert code == 0  # the guard finds the one that works
    assert (found["App secret 1"]["result"], found["App secret 1"]["found"]) == ("warning", "is refused")
    assert found["App secret 2"]["result"] == "good"
    assert found["Look-ups"]["result"] == "good"


def test_one_answer_of_several(examined, variables, sandbox):
    """What the second call meets does not count against what the first has shown."""
    variables(APP_SECRET=f"{SECRET},{OTHER}")
    handle, asked = sandbox.handle, []

    def answer_once(request):
        asked.append(request.path)
        if len(asked) == 2:
            sandbox.fail(drop=True, times=2)  # of the call, and of its second try
        return handle(request)

    sandbox.handle = answer_once
    code, found = examined()
    assert code == 0
    assert found["Graph"]["result"] == found["App secret 1"]["result"] == "good"
    assert found["App secret 2"]["result"] == "warning"
    assert found["Clock"]["result"] == "good"


def test_nobody_is_there(examined, variables, nobody):
    variables(GRAPH_URL=f"http://{nobody}")
    code, found = examined()
    assert code == 1
    assert list(found)[-1] == "Graph"
    assert "does not answer" in found["Graph"]["found"]
    assert "Guard(transport=...)" in found["Graph"]["help"]


def test_an_outage(examined, sandbox):
    sandbox.fail(500)
    code, found = examined()
    assert code == 1
    assert found["App secret"]["result"] == "warning"
    assert found["Look-ups"]["found"] == "nobody can tell: unavailable (503)"
    assert found["Look-ups"]["help"] == "Ask again in a minute."


def test_who_says_yes_to_all_is_no_graph(examined, sandbox):
    now = int(time.time())
    yes = {"app_id": sandbox.app_id, "type": "USER", "is_valid": True, "user_id": "1", "scopes": [],
           "application": "x", "expires_at": now + 3600, "data_access_expires_at": now + 3600}  # fmt: skip
    sandbox.fail(200, json.dumps({"data": yes, "id": sandbox.app_id}))
    code, found = examined()
    assert code == 1
    assert found["Look-ups"]["found"] == "a token of nobody was let in"


def test_a_store_that_is_away(examined, variables, nobody):
    variables(REDIS_URL=f"redis://:{OTHER}@{nobody}")
    code, found = examined()
    assert code == 1
    assert logging.getLogger("fbguard").handlers == []  # as it was
    assert found["Store"]["result"] == "bad"
    assert "FBGUARD_REDIS_URL" in found["Store"]["help"]


def test_a_store_that_is_there(examined, variables, redis_server):
    variables(REDIS_URL=redis_server.url)
    code, found = examined()
    assert code == 0
    assert found["Store"]["result"] == "good"


def test_a_store_in_a_file(variables, capsys, tmp_path, sandbox, url):
    path = tmp_path / "fbguard.db"
    with pytest.raises(WrongUse, match="--store-file: No such file"):
        doctor.run(as_json=True, store_file=str(path))
    assert not path.exists()
    SQLiteStore(path)
    assert doctor.run(as_json=True, store_file=str(path)) == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)["checks"]}
    assert found["Store"]["found"] == "is asked, and its news are heard"
    given = {"FBGUARD_APP_ID": sandbox.app_id, "FBGUARD_APP_SECRET": SECRET, "FBGUARD_GRAPH_URL": url}
    assert "its news are heard" in fbguard("doctor", "--store-file", str(path), **given).stdout
    assert fbguard("doctor", "--store-file", str(tmp_path), **given).returncode == 2


def test_a_store_that_is_there_where_graph_is_not(examined, variables, redis_server, nobody):
    variables(REDIS_URL=redis_server.url, GRAPH_URL=f"http://{nobody}")
    code, found = examined()
    assert code == 1
    assert (found["Graph"]["result"], found["Store"]["result"]) == ("bad", "good")


def answer(took: float = 0.0, at: float | None = None, **headers: str) -> checks._Answer:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return checks._Answer(True, Reply(200, b"{}", names.get), took, time.time() if at is None else at)


@pytest.mark.parametrize(
    ("ahead", "result"),
    [(0, "good"), (4, "good"), (-4, "good"), (20, "warning"), (-20, "warning"), (90, "bad"), (-90, "bad")],
)
def test_the_clock(ahead, result):
    check = checks._of_clock(answer(date=formatdate(time.time() - ahead, usegmt=True)))
    assert check is not None
    assert check.result == result
    if result != "good":
        assert ("ahead of" if ahead > 0 else "behind") in check.found


def test_the_clock_when_the_reply_came_and_not_when_it_is_looked_at():
    then = time.time() - 600
    check = checks._of_clock(answer(at=then, date=formatdate(then, usegmt=True)))
    assert check is not None
    assert check.result == "good"


@pytest.mark.parametrize(
    "date",
    [
        "",
        "now",
        "Sun, 99 Foo 2026 00:00:00 GMT",
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999",
        "Mon, 01 Jan 0001 00:00:00 -0000",
    ],
)
def test_a_reply_without_the_time(date):
    assert checks._of_clock(answer(date=date)) is None
    assert checks._of_clock(answer()) is None


def test_another_version_of_graph():
    assert checks._of_version(answer(), "v26.0") is None
    assert checks._of_version(answer(facebook_api_version="v26.0"), "v26.0") is None
    check = checks._of_version(answer(facebook_api_version="v27.0"), "v26.0")
    assert check is not None
    assert check.found == "v26.0 was asked for, and v27.0 has answered."


@pytest.mark.parametrize(
    ("results", "told"),
    [
        (["good"], "All is well."),
        (["good", "warning"], "1 to look at."),
        (["bad", "bad", "warning"], "2 to mend, 1 to look at."),
        (["bad"], "1 to mend."),
    ],
)
def test_the_last_line(results, told):
    assert doctor._summary([Check("x", result, "y") for result in results]) == told
