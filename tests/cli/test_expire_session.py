"""``fbguard expire-session`` against the local Facebook and a guard's endpoint, both on ports."""

import json
import logging
import os
import pty
import re
import subprocess
import sys

import pytest

from fbguard import Refused, Requirement
from fbguard.cli.commands import app
from fbguard.cli.servers import serve_asgi
from fbguard.stores.sqlite import SQLiteStore
from tests.cli.conftest import SECRET
from tests.cli.processes import FBGUARD, PATIENCE, Typist, environment, fbguard, run, told
from tests.support import hears, wait_until

OTHER_SECRET = "0f" * 16
MEMBERS = ["where", "ended", "code", "subcode", "reason", "message", "retry_after", "listeners"]


@pytest.fixture
def variables(sandbox, url):
    return {
        "FBGUARD_APP_ID": sandbox.app_id,
        "FBGUARD_APP_SECRET": SECRET,
        "FBGUARD_GRAPH_URL": url,
        "FBGUARD_DEADLINE": str(PATIENCE),
    }


@pytest.fixture
def guard(sandbox):
    with sandbox.guard() as guard:
        yield guard


@pytest.fixture
def endpoint(guard):
    """Serve the guard's callbacks."""
    with serve_asgi(guard.callbacks_asgi()) as address:
        yield address


@pytest.fixture
def expire(monkeypatch, capsys, variables):
    """Give ``expire(token, *words)``: exit code and output, which holds no token."""
    for name, value in {**variables, "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)

    def expire(token, *words):
        monkeypatch.setenv("FBGUARD_TOKEN", token)
        with pytest.raises(SystemExit) as ended:
            app(["expire-session", *words], prog_name="fbguard")
        shown = capsys.readouterr()
        assert no_secret_in(shown.out + shown.err, token)
        assert not shown.err
        return ended.value.code or 0, shown.out

    return expire


def no_secret_in(text, token):
    halves = [token[: len(token) // 2], token[len(token) // 2 :]] if len(token) > 20 else []
    return not any(part in text for part in [*halves, SECRET[:16], SECRET[16:]])


def as_json(outcome):
    code, out = outcome
    body = json.loads(out)
    assert list(body) == MEMBERS
    return code, body


def passes(guard, token):
    try:
        guard.check(token)
    except Refused as refused:
        return refused.reason
    return True


# -- at Graph ------------------------------------------------------------------------------------------


def test_at_graph_every_token_of_the_person_ends(sandbox, guard, expire):
    first, second = (sandbox.issue_token(user_id="42") for _ in range(2))
    other = sandbox.issue_token(user_id="43")
    code, out = expire(first)
    assert code == 0
    assert out.startswith("✓ Ended: Facebook took the app's permissions away")
    assert "ttl" in out
    assert [passes(guard, token) for token in (first, second, other)] == [
        "not_authorized",
        "not_authorized",
        True,
    ]
    assert next((call.method, call.path) for call in sandbox.calls) == ("DELETE", "/v26.0/me/permissions")


def test_json_of_an_end_at_graph(sandbox, expire):
    code, body = as_json(expire(sandbox.issue_token(), "--json"))
    assert (code, body["where"], body["ended"]) == (0, "graph", True)
    assert {body[name] for name in MEMBERS[2:]} == {None}


def test_a_dead_token_is_refused_with_the_reason(sandbox, expire):
    token = sandbox.issue_token(user_id="42")
    sandbox.change_password("42")
    code, out = expire(token)
    assert code == 1
    assert out.startswith("✗ Refused, nothing was ended\n")
    assert "190/460" in out
    assert "password_changed" in out
    code, body = as_json(expire(token, "--json"))
    assert (code, body["ended"], body["code"], body["subcode"]) == (1, False, 190, 460)


def test_a_malformed_token_is_not_sent(sandbox, expire):
    code, body = as_json(expire("two words", "--json"))
    assert (code, body["ended"], body["reason"]) == (1, False, "malformed_token")
    assert sandbox.calls == ()


def test_a_throttled_app_has_ended_nothing(sandbox, expire):
    sandbox.throttle(17)
    code, body = as_json(expire(sandbox.issue_token(), "--json"))
    assert (code, body["ended"], body["code"], body["reason"]) == (1, False, 17, "throttled")


@pytest.mark.parametrize("fault", ["drop", "garbage", "outage"])
def test_without_a_clear_answer_it_is_not_known(sandbox, expire, fault):
    if fault == "outage":
        sandbox.throttle(2)
    else:
        sandbox.fail(drop=fault == "drop", status=200, body=b"<html>")
    token = sandbox.issue_token()
    code, out = expire(token)
    assert (code, out.splitlines()[0]) == (1, "? Not known to be ended")
    code, body = as_json(expire(token, "--json"))
    assert (code, body["ended"], body["reason"]) == (1, None, "unavailable")


def test_the_guards_proof_goes_along(sandbox, expire):
    sandbox.require_proof()
    assert expire(sandbox.issue_token())[0] == 0


# -- at a terminal -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "exit_code", "verdict"),
    [("y\n", 0, "not_authorized"), ("n\n", 1, True), ("\n", 1, True), ("\x04", 1, True)],
)
def test_at_a_terminal_it_asks_before_all_tokens_end(sandbox, guard, variables, typed, exit_code, verdict):
    token = sandbox.issue_token()
    typist = Typist(["expire-session"], {**variables, "FBGUARD_TOKEN": token})
    typist.answer("Go on? [y/N]: ", typed)
    assert typist.end() == exit_code
    assert passes(guard, token) == verdict
    assert "every token of theirs" in " ".join(typist.seen.split())
    assert ("Nothing was ended." in typist.seen) == (exit_code == 1)
    assert no_secret_in(typist.seen, token)


def test_at_a_terminal_yes_was_said_before(sandbox, guard, variables):
    token = sandbox.issue_token()
    typist = Typist(["expire-session", "--yes"], {**variables, "FBGUARD_TOKEN": token})
    assert typist.end() == 0
    assert "Go on?" not in typist.seen
    assert passes(guard, token) == "not_authorized"


def test_at_a_terminal_one_token_ends_without_a_question(sandbox, guard, endpoint, variables):
    token = sandbox.issue_token()
    words = ["expire-session", "--endpoint", endpoint]
    typist = Typist(words, {**variables, "FBGUARD_TOKEN": token})
    assert typist.end() == 0
    assert "Go on?" not in typist.seen
    assert passes(guard, token) == "session_invalidated"


def test_who_pipes_a_token_is_asked_nothing(sandbox, guard, variables):
    """Standard input is the token's, whatever the rest is; there is nobody to answer."""
    token = sandbox.issue_token()
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "fbguard.cli", "expire-session"],
            input=token.encode(), stdout=theirs, stderr=theirs, env=environment(**variables),
            timeout=PATIENCE, check=False,
        )  # fmt: skip
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 0
    assert passes(guard, token) == "not_authorized"


# -- at a guard ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "/", "/restserver.php"])
@pytest.mark.parametrize("answers", [[], ["--format", "json"]])
def test_at_a_guard_this_token_ends_without_a_graph_call(sandbox, guard, endpoint, expire, suffix, answers):
    token, other = (sandbox.issue_token(user_id="42") for _ in range(2))
    assert (passes(guard, token), passes(guard, other)) == (True, True)
    before = len(sandbox.calls)
    code, out = expire(token, "--endpoint", endpoint + suffix, *answers)
    assert (code, out) == (0, "✓ Ended: the guard that answered refuses the token from now on\n")
    assert (passes(guard, token), passes(guard, other)) == ("session_invalidated", True)
    assert len(sandbox.calls) == before


def test_a_registered_session_by_its_key(sandbox, guard, endpoint, expire):
    token = sandbox.issue_token()
    guard.register_session(token, "key-of-2009")
    code, body = as_json(expire(token, "--endpoint", endpoint, "--session-key", "key-of-2009", "--json"))
    assert (code, body["where"], body["ended"]) == (0, "endpoint", True)
    assert passes(guard, token) == "session_invalidated"


def test_the_key_may_come_by_the_environment_or_standard_input(sandbox, guard, endpoint, variables):
    for words, text, more in (
        ([], b"", {"FBGUARD_SESSION_KEY": "key-of-2009"}),
        (["--session-key", "-"], b"key-of-2009\n", {}),
    ):
        token = sandbox.issue_token()
        guard.register_session(token, "key-of-2009")
        done = piped(["--endpoint", endpoint, *words], text, variables | more)
        assert done.returncode == 0, done.stderr
        assert passes(guard, token) == "session_invalidated"


def test_the_wrong_secret_is_refused(sandbox, guard, endpoint, expire, monkeypatch):
    token = sandbox.issue_token()
    monkeypatch.setenv("FBGUARD_APP_SECRET", OTHER_SECRET)
    code, out = expire(token, "--endpoint", endpoint)
    assert code == 1
    assert re.search(r"Error +104\n +Message +Incorrect signature", out)
    assert passes(guard, token) is True


def test_of_several_secrets_the_first_signs(sandbox, guard, endpoint, expire, monkeypatch):
    monkeypatch.setenv("FBGUARD_APP_SECRET", f"{SECRET},{OTHER_SECRET}")
    assert expire(sandbox.issue_token(), "--endpoint", endpoint)[0] == 0


# -- at a server of the old REST API -------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["XML", "JSON"])
def test_at_a_legacy_server(sandbox, guard, url, expire, answers):
    token = sandbox.issue_token()
    key = sandbox.session_key(token)
    words = ["--legacy", f"{url}/restserver.php", "--format", answers, "--session-key", key]
    assert expire(token, *words) == (0, "✓ Ended: the server says so\n")
    assert passes(guard, token) == "session_invalidated"
    code, body = as_json(expire(token, *words, "--json"))
    assert (code, body["where"], body["ended"], body["code"]) == (1, "legacy", False, 102)


def test_a_server_that_is_not_there_leaves_it_open(expire):
    code, body = as_json(expire("EAA", "--legacy", "http://127.0.0.1:1/restserver.php", "--json"))
    assert (code, body["ended"], body["code"]) == (1, None, 2)


# -- ways in -------------------------------------------------------------------------------------------


def piped(words, text, variables):
    return subprocess.run(
        [*FBGUARD, "expire-session", *words],
        input=text,
        capture_output=True,
        env=environment(**variables),
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("words", [[], ["-"]])
def test_the_token_from_standard_input(sandbox, guard, variables, words):
    token = sandbox.issue_token()
    done = piped(words, f"{token}\r\n".encode(), variables)
    assert (done.returncode, told(done.stderr)) == (0, b"")
    assert passes(guard, token) == "not_authorized"


def test_a_dash_wins_over_the_environment(sandbox, guard, variables):
    token, other = sandbox.issue_token(), sandbox.issue_token()
    assert piped(["-"], token.encode(), variables | {"FBGUARD_TOKEN": other}).returncode == 0
    assert (passes(guard, token), passes(guard, other)) == ("not_authorized", True)


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        ((), {"FBGUARD_TOKEN": ""}, "no token"),
        ((), {"FBGUARD_APP_ID": ""}, "--app-id"),
        ((), {"FBGUARD_APP_SECRET": ""}, "FBGUARD_APP_SECRET is not set"),
        (("--legacy", "https://x.example"), {"FBGUARD_APP_SECRET": ""}, "FBGUARD_APP_SECRET is not set"),
        (("--legacy", "https://x.example"), {"FBGUARD_APP_SECRET": "se cret"}, "secret must"),
        (("--legacy", "http://x.example"), {}, "url must be https"),
        (("--endpoint", "http://x.example"), {}, "url must be https"),
        (("--legacy", "https://x.example", "--format", "yaml"), {}, "format must be one of"),
        (("--legacy", "https://x.example", "--endpoint", "https://x.example"), {}, "two places"),
        (("--store", "--endpoint", "https://x.example"), {}, "--store and --endpoint are two places"),
        (("--store",), {}, "--store needs FBGUARD_REDIS_URL; a file that workers share is --store-file PATH"),
        (("--store",), {"FBGUARD_REDIS_URL": "/firsthalf.db"}, "a file is --store-file PATH"),
        (("--store-file", "/nowhere/firsthalf.db"), {}, "--store-file: No such file"),
        (("--store-file", os.devnull), {}, "--store-file: the file is empty"),
        (("--store-file", __file__), {}, "--store-file: path cannot be used as a store"),
        (("--store-file", "x", "--store"), {}, "--store and --store-file are two places"),
        (("--store",), {"FBGUARD_REDIS_URL": "redis://:firsthalf@x/y"}, "must be a number"),
        (("--format", "XML"), {}, "--format needs"),
        (("--session-key", "firsthalf"), {}, "--session-key needs"),
        (("--graph-url", "http://graph.example"), {}, "graph_url must be https"),
        (("EAAfirsthalf", "andthesecond"), {}, "one token only"),
        (("--app-secret=se cret",), {}, "No such option"),
    ],
)
def test_wrong_use(variables, words, changes, said):
    done = fbguard("expire-session", *words, **({"FBGUARD_TOKEN": "EAA"} | variables | changes))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(re.sub(r"[│╭╮╰╯─]", "", done.stderr).split())
    for value in ("se cret", "firsthalf", "thesecond", "Traceback"):
        assert value not in done.stderr


# -- in the store of several workers ------------------------------------------------------------------


def test_in_the_store_it_ends_for_every_worker(sandbox, expire, monkeypatch, redis_server):
    monkeypatch.setenv("FBGUARD_REDIS_URL", redis_server.url)
    token, other = sandbox.issue_token(), sandbox.issue_token()
    options = {"store": redis_server.url, "graph_url": os.environ["FBGUARD_GRAPH_URL"]}
    with sandbox.guard(**options) as one, sandbox.guard(**options) as two:
        assert [passes(guard, which) for guard in (one, two) for which in (token, other)] == [True] * 4
        hears(one, two)
        asked = len(sandbox.calls)
        code, out = expire(token, "--store")
        assert (code, out.strip()[:7]) == (0, "✓ Ended")
        assert "2 guards were listening" in out
        wait_until(lambda: one.peek(token) is None and two.peek(token) is None)
        assert [passes(guard, token) for guard in (one, two)] == ["session_invalidated"] * 2
        assert [passes(guard, other) for guard in (one, two)] == [True] * 2
    assert len(sandbox.calls) == asked


def test_in_the_store_it_ends_for_a_token_of_limited_login(sandbox, expire, monkeypatch, redis_server):
    monkeypatch.setenv("FBGUARD_REDIS_URL", redis_server.url)
    token = sandbox.issue_id_token()
    options = {
        "store": redis_server.url,
        "graph_url": os.environ["FBGUARD_GRAPH_URL"],
        "limited_login": True,
    }
    with sandbox.guard(**options) as guard:
        limited = Requirement(token_types=["LIMITED_LOGIN"])
        assert guard.check(token, limited).type == "LIMITED_LOGIN"
        hears(guard)
        assert expire(token, "--store")[0] == 0
        wait_until(lambda: guard.peek(token) is None)
        with pytest.raises(Refused) as refused:
            guard.check(token, limited)
    assert refused.value.reason == "session_invalidated"


def test_in_a_store_where_nobody_listens(sandbox, expire, monkeypatch, redis_server):
    """Whether that is well only who types it can tell: perhaps the workers are at another Graph."""
    monkeypatch.setenv("FBGUARD_REDIS_URL", redis_server.url)
    code, body = as_json(expire(sandbox.issue_token(), "--store", "--json"))
    assert (code, body["ended"], body["listeners"]) == (0, True, 0)
    code, out = expire(sandbox.issue_token(), "--store")
    assert code == 0
    assert "No guard was listening" in out


def test_in_a_file_it_ends_for_every_worker(sandbox, guard, expire, monkeypatch, tmp_path):
    path = tmp_path / "fbguard.db"
    token, other = sandbox.issue_token(), sandbox.issue_token()
    options = {"graph_url": os.environ["FBGUARD_GRAPH_URL"]}
    with (
        sandbox.guard(store=SQLiteStore(path), **options) as one,
        sandbox.guard(store=SQLiteStore(path), **options) as two,
    ):
        assert [passes(worker, which) for worker in (one, two) for which in (token, other)] == [True] * 4
        hears(one, two)
        asked = len(sandbox.calls)
        code, out = expire(token, "--store-file", str(path))
        assert (code, out.strip()[:7]) == (0, "✓ Ended")
        assert "Who reads the file nobody can tell" in out
        wait_until(lambda: one.peek(token) is None and two.peek(token) is None)
        assert [passes(worker, token) for worker in (one, two)] == ["session_invalidated"] * 2
        assert [passes(worker, other) for worker in (one, two)] == [True] * 2
        code, body = as_json(expire(other, "--store-file", str(path), "--json"))
        assert (code, body["where"], body["ended"], body["listeners"]) == (0, "store", True, None)
    assert len(sandbox.calls) == asked


def test_no_file_is_made(expire, sandbox, variables, tmp_path):
    path = tmp_path / "fbguard.db"
    done = fbguard("expire-session", "--store-file", str(path), FBGUARD_TOKEN="EAA", **variables)
    assert done.returncode == 2
    assert not path.exists()


def test_a_store_that_is_away(sandbox, expire, monkeypatch):
    monkeypatch.setenv("FBGUARD_REDIS_URL", "redis://127.0.0.1:1")
    code, body = as_json(expire(sandbox.issue_token(), "--store", "--json"))
    assert (code, body["where"], body["ended"]) == (1, "store", None)
    code, body = as_json(expire("not a token", "--store", "--json"))
    assert (code, body["ended"], body["reason"]) == (1, False, "malformed_token")


def test_help_says_what_ends_where():
    done = fbguard("expire-session", "--help", COLUMNS="100")
    assert done.returncode == 0
    for word in (
        "every",
        "history",
        "FBGUARD_TOKEN",
        "--endpoint",
        "--legacy",
        "--session-key",
        "Exit codes",
    ):
        assert word in done.stdout
    assert "--app-secret" not in done.stdout


# -- secrets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["graph", "endpoint", "legacy"])
def test_no_token_and_no_secret_at_debug(sandbox, variables, url, endpoint, where):
    token = sandbox.issue_token()
    words = {
        "graph": [],
        "endpoint": ["--endpoint", endpoint],
        "legacy": ["--legacy", f"{url}/restserver.php"],
    }
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG, stream=sys.stderr);"
        f"sys.argv = ['fbguard', 'expire-session', *{words[where]!r}];"
        "from fbguard.cli import main; main()"
    )
    done = run([sys.executable, "-X", "dev", "-c", code], **variables, FBGUARD_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert no_secret_in(done.stdout + done.stderr, token)


def test_the_guards_log_names_no_token(sandbox, endpoint, expire, caplog):
    caplog.set_level(logging.DEBUG)
    token = sandbox.issue_token()
    assert expire(token, "--endpoint", endpoint)[0] == 0
    assert "its session was ended" in caplog.text
    assert no_secret_in(caplog.text, token)


def test_where_no_callbacks_are_it_is_said_what_the_url_is(expire, endpoint, sandbox):
    code, out = expire(sandbox.issue_token(), "--endpoint", f"{endpoint}/elsewhere")
    assert code == 1
    assert "where the app mounts callbacks_asgi()" in " ".join(out.split())
