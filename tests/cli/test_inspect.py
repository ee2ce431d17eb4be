"""``fbguard inspect`` against the local Facebook on a port: every state of a token, every way in."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from fbguard.cli.commands import app
from fbguard.debugger import moments
from fbguard.sandbox import Sandbox
from tests.cli.conftest import SECRET
from tests.cli.processes import FBGUARD, PATIENCE, Typist, environment, fbguard, run

DAY = 86_400
OTHER_SECRET = "0f" * 16
MEMBERS = {
    "valid", "application", "app_id", "is_this_app", "user_id", "profile_id", "type", "is_valid",
    "issued_at", "expires_at", "data_access_expires_at", "scopes", "granular_scopes", "fingerprint",
    "code", "subcode", "reason", "status", "action", "auth_type", "retry_after", "message", "notes",
}  # fmt: skip


@pytest.fixture
def variables(sandbox, url):
    """The environment of a program that knows the app."""
    return {
        "FBGUARD_APP_ID": sandbox.app_id,
        "FBGUARD_APP_SECRET": SECRET,
        "FBGUARD_GRAPH_URL": url,
        "FBGUARD_DEADLINE": str(PATIENCE),
    }


@pytest.fixture
def inspect(monkeypatch, capsys, variables):
    """Give ``inspect(token, *words)``: exit code and output, which holds no token."""
    for name, value in {**variables, "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)

    def inspect(token, *words):
        monkeypatch.setenv("FBGUARD_TOKEN", token)
        with pytest.raises(SystemExit) as ended:
            app(["inspect", *words], prog_name="fbguard")
        shown = capsys.readouterr()
        assert no_secret_in(shown.out + shown.err, token)
        assert not shown.err
        return ended.value.code or 0, shown.out

    return inspect


def no_secret_in(text, token):
    """Look for parts, too: the first half, the second half."""
    parts = (
        [token[:16], token[-16:], SECRET[:16], SECRET[16:]] if len(token) > 32 else [SECRET[:16], SECRET[16:]]
    )
    return not any(part in text for part in parts)


def rows(out):
    """Read the rows of a sheet: name -> value, folded lines joined."""
    found = {}
    name = ""
    for line in out.splitlines()[1:]:
        name = line[2:15].strip() or name
        found[name] = f"{found.get(name, '')} {line[15:].strip()}".strip()
    found.pop("", None)
    return found


# -- states of a token ---------------------------------------------------------------------------------


def test_a_valid_token(sandbox, inspect):
    token = sandbox.issue_token(user_id="42", scopes=["public_profile", "email"])
    code, out = inspect(token)
    shown = rows(out)
    assert code == 0
    assert out.startswith(f"✓ Valid for app {sandbox.app_id}\n")
    assert shown["App"] == f"fbguard sandbox (id {sandbox.app_id}, this app)"
    assert (shown["User"], shown["Type"], shown["Valid"]) == ("42", "USER", "yes")
    assert shown["Issued"] == "not said"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, in (59|60) minutes", shown["Expires"])
    assert re.search(r"UTC, in (89|90) days", shown["Data access"])
    assert shown["Scopes"] == "email, public_profile"
    assert re.fullmatch(r"[0-9a-f]{12}", shown["Fingerprint"])
    assert not {"Error", "Reason", "Status", "What to do", "Note", "Targets", "Profile"} & shown.keys()


def test_a_long_lived_token_with_targets(sandbox, inspect):
    token = sandbox.issue_token(
        scopes=["email", "pages_show_list", "pages_manage_posts", "public_profile"],
        granular_scopes={"email": None, "pages_show_list": ["111", "222"], "pages_manage_posts": []},
        expires_in=60 * DAY,
    )
    code, out = inspect(token)
    assert code == 0
    assert "UTC, now" in rows(out)["Issued"] or "ago" in rows(out)["Issued"]
    for line in (
        "email: all",
        "pages_manage_posts: none",
        "pages_show_list: 111, 222",
        "public_profile: none (not listed)",
    ):
        assert f"  {line}\n" in out
    assert json.loads(inspect(token, "--json")[1])["granular_scopes"] == {
        "email": "all",
        "pages_manage_posts": [],
        "pages_show_list": ["111", "222"],
        "public_profile": None,
    }


def test_a_token_that_never_expires(sandbox, inspect):
    shown = rows(inspect(sandbox.issue_token(expires_in=None, data_access_expires_in=None))[1])
    assert (shown["Expires"], shown["Data access"]) == ("never", "never, or not said")


@pytest.mark.parametrize("kind", ["PAGE", "SYSTEM_USER"])
def test_another_kind_of_token_is_valid_for_the_app(sandbox, inspect, kind):
    options = {"profile_id": "777"} if kind == "PAGE" else {}
    code, out = inspect(sandbox.issue_token(type=kind, expires_in=None, **options))
    shown = rows(out)
    assert code == 0
    assert shown.get("Profile") == options.get("profile_id")
    assert (shown["Type"], shown["Reason"], shown["Status"]) == (kind, "wrong_token_type", "401")
    assert f"token_types=['{kind}']" in shown["Note"]
    assert "What to do" not in shown


def test_lapsed_data_access(sandbox, inspect):
    code, out = inspect(sandbox.issue_token(data_access_expires_in=-3 * DAY, scopes=["email"]))
    assert code == 0
    assert "3 days ago" in rows(out)["Data access"]
    assert "401 data_access_expired" in rows(out)["Note"]


ENDS = {
    "expire": ("expired", 463),
    "invalidate": ("session_invalidated", 466),
    "log_out": ("logged_out", 467),
    "change_password": ("password_changed", 460),
    "remove_app": ("not_authorized", 458),
    "checkpoint": ("checkpointed", 459),
    "unconfirm": ("unconfirmed_user", 464),
}


@pytest.mark.parametrize("event", ENDS)
def test_a_dead_token_still_shows_its_facts(sandbox, inspect, event):
    reason, subcode = ENDS[event]
    token = sandbox.issue_token(user_id="42", scopes=["email"])
    getattr(sandbox, event)(token if event in {"expire", "invalidate"} else "42")
    code, out = inspect(token)
    shown = rows(out)
    assert code == 1
    assert out.startswith(f"✗ Not valid: {reason} (401)\n")
    assert shown["App"] == f"fbguard sandbox (id {sandbox.app_id}, this app)"
    assert (shown["User"], shown["Valid"], shown["Error"]) == ("42", "no", f"190/{subcode}")
    assert (shown["Reason"], shown["Status"]) == (reason, "401")
    assert shown["What to do"].endswith(".")
    assert shown["More"] == f"fbguard explain 190 {subcode}"


def test_an_expired_token_says_since_when(sandbox, inspect):
    assert "2 hours ago" in rows(inspect(sandbox.issue_token(expires_in=-7300))[1])["Expires"]


def test_a_token_of_another_app(sandbox, inspect):
    code, out = inspect(sandbox.issue_token(app_id="999"))
    shown = rows(out)
    assert code == 1
    assert (shown["App"], shown["Reason"], shown["Error"]) == ("another app", "wrong_app", "100")
    assert not {"User", "Expires", "Scopes"} & shown.keys()


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("xxxx", "malformed_token"),
        ("1234567890|" + "a" * 27, "malformed_token"),
        ("E" * 5000, "malformed_token"),
        ("tö ken", "malformed_token"),
        ("eyJhbGciOi.eyJzdWIi.c2ln", "malformed_token"),
    ],
)
def test_what_is_no_access_token(inspect, token, reason):
    code, out = inspect(token)
    assert code == 1
    assert rows(out)["Reason"] == reason
    assert "Note" in rows(out)
    assert json.loads(inspect(token, "--json")[1])["scopes"] is None


def test_a_token_of_limited_login(sandbox, inspect, monkeypatch, url):
    monkeypatch.setenv("FBGUARD_JWKS_URL", f"{url}/.well-known/oauth/openid/jwks/")
    code, out = inspect(sandbox.issue_id_token(user_id="1001"))
    shown = rows(out)
    assert code == 0
    assert out.startswith(f"✓ Valid for app {sandbox.app_id}\n")
    assert (shown["User"], shown["Type"], shown["Scopes"]) == (
        "1001",
        "LIMITED_LOGIN",
        "email, public_profile",
    )
    assert "Reason" not in shown
    assert "token_types=['LIMITED_LOGIN']" in " ".join(out.split())
    code, out = inspect(sandbox.issue_id_token(app_id="999"))
    assert (code, rows(out)["Reason"]) == (1, "wrong_app")
    code, out = inspect(sandbox.issue_id_token(claims={"iss": "https://example.com"}), "--json")
    assert (code, json.loads(out)["reason"], json.loads(out)["user_id"]) == (1, "invalid_token", None)
    monkeypatch.setenv("FBGUARD_JWKS_URL", "http://127.0.0.1:9/keys")
    code, out = inspect(sandbox.issue_id_token())
    assert code == 3
    assert "http://127.0.0.1:9/keys gave no answer" in " ".join(out.split())


def test_a_token_of_limited_login_where_nothing_verifies_it(sandbox, inspect, monkeypatch):
    monkeypatch.setattr("fbguard.cli.guards.find_spec", lambda name: None)
    token = sandbox.issue_id_token(user_id="1001")
    code, out = inspect(token)
    assert code == 3
    assert rows(out)["Note"] == "It is an ID token of Limited Login, which needs fbguard[jwt] to be verified."
    found = json.loads(inspect(token, "--json")[1])
    assert (found["valid"], found["reason"], found["user_id"]) == (None, "limited_login", None)


# -- nobody can tell -----------------------------------------------------------------------------------


def test_a_limit_of_facebooks(sandbox, inspect):
    sandbox.throttle(4)
    code, out = inspect(sandbox.issue_token())
    assert code == 3
    assert out.startswith("? Nobody can tell: throttled (503)\n")
    assert rows(out)["Error"] == "4"


@pytest.mark.parametrize("broken", [{"status": 500}, {"status": 200, "body": "<html>"}, {"drop": True}])
def test_an_outage(sandbox, url, inspect, broken):
    sandbox.fail(**broken)
    code, out = inspect(sandbox.issue_token())
    assert code == 3
    assert rows(out)["Reason"] == "unavailable"
    assert rows(out)["Note"].startswith(f"{url} gave no answer")


def test_a_wrong_secret_is_told_from_an_outage(sandbox, inspect, monkeypatch):
    monkeypatch.setenv("FBGUARD_APP_SECRET", OTHER_SECRET)
    code, out = inspect(sandbox.issue_token())
    assert code == 3
    assert "the app id and the secret do not belong together" in rows(out)["Note"]
    assert rows(out)["What to do"].startswith("Compare the app's id and secret with its dashboard")
    assert "cannot reach Facebook" not in " ".join(out.split())  # which is for people who use the app
    assert OTHER_SECRET not in out


def test_a_facebook_that_asks_for_patience_is_an_outage(sandbox, inspect):
    sandbox.throttle(2)
    code, out = inspect(sandbox.issue_token())
    assert code == 3
    assert "do not belong together" not in out
    assert "dashboard" not in out


# -- json ----------------------------------------------------------------------------------------------


def test_json_of_a_valid_token(sandbox, inspect):
    before = datetime.now(UTC).timestamp()
    code, out = inspect(sandbox.issue_token(user_id="42", scopes=["email"], expires_in=60 * DAY), "--json")
    body = json.loads(out)
    assert code == 0
    assert body.keys() == MEMBERS
    assert body["valid"] is body["is_valid"] is body["is_this_app"] is True
    assert (body["app_id"], body["application"]) == (sandbox.app_id, "fbguard sandbox")
    assert (body["user_id"], body["type"], body["scopes"]) == ("42", "USER", ["email"])
    assert body["expires_at"].endswith("Z")
    assert datetime.fromisoformat(body["expires_at"]).timestamp() - before == pytest.approx(
        60 * DAY, abs=PATIENCE
    )
    assert datetime.fromisoformat(body["issued_at"]).timestamp() == pytest.approx(before, abs=PATIENCE)
    nothing = {"profile_id", "granular_scopes", "code", "subcode", "reason", "status", "action", "message"}
    assert {body[name] for name in nothing} == {None}


def test_json_of_a_dead_token(sandbox, inspect):
    token = sandbox.issue_token(user_id="42")
    sandbox.remove_app("42")
    code, out = inspect(token, "--json")
    body = json.loads(out)
    assert code == 1
    assert (body["valid"], body["user_id"], body["issued_at"]) == (False, "42", None)
    assert (body["code"], body["subcode"]) == (190, 458)
    assert (body["reason"], body["status"], body["action"]) == ("not_authorized", 401, "login")


def test_json_when_nobody_can_tell(sandbox, inspect):
    sandbox.throttle(17)
    code, out = inspect(sandbox.issue_token(), "--json")
    body = json.loads(out)
    assert code == 3
    assert (body["valid"], body["is_valid"], body["retry_after"]) == (None, None, 2)
    assert (body["reason"], body["fingerprint"]) == ("throttled", None)


def test_json_of_another_apps_token(sandbox, inspect):
    body = json.loads(inspect(sandbox.issue_token(app_id="999"), "--json")[1])
    assert (body["is_this_app"], body["app_id"], body["is_valid"]) == (False, None, None)


# -- ways in -------------------------------------------------------------------------------------------


def piped(words, text, variables):
    return subprocess.run(
        [*FBGUARD, "inspect", *words],
        input=text,
        capture_output=True,
        env=environment(**variables),
        timeout=PATIENCE,
        check=False,
    )


def test_argument_wins_over_environment_over_input(sandbox, variables):
    first, second, third = (sandbox.issue_token(user_id=user) for user in ("1", "2", "3"))
    for words, token_variable, user in (((first,), second, "1"), ((), second, "2"), ((), None, "3")):
        more = {"FBGUARD_TOKEN": token_variable} if token_variable else {}
        done = piped([*words, "--json"], f"  {third}\r\n".encode(), variables | more)
        assert (done.returncode, json.loads(done.stdout)["user_id"]) == (0, user), done.stderr


def test_a_dash_is_standard_input(sandbox, variables):
    token, other = sandbox.issue_token(user_id="1"), sandbox.issue_token(user_id="2")
    done = piped(["-", "--json"], token.encode(), variables | {"FBGUARD_TOKEN": other})
    assert (done.returncode, json.loads(done.stdout)["user_id"]) == (0, "1")


def test_input_that_is_no_token_is_an_answer(variables):
    done = piped(["--json"], b"\xff\xfe\x00 two words\nand lines", variables)
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (1, "malformed_token")


def test_options_instead_of_the_environment(sandbox, url):
    token = sandbox.issue_token()
    options = ["--app-id", sandbox.app_id, "--graph-url", url, "--graph-version", "v25.0"]
    done = fbguard(
        "inspect", *options, FBGUARD_TOKEN=token, FBGUARD_APP_SECRET=SECRET, FBGUARD_DEADLINE=str(PATIENCE)
    )
    assert done.returncode == 0
    assert sandbox.calls[-1].path == "/v25.0/debug_token"


def test_several_secrets_while_they_are_rotated(sandbox, variables):
    rotating = variables | {"FBGUARD_APP_SECRET": f"{SECRET},{OTHER_SECRET}"}
    assert fbguard("inspect", **rotating, FBGUARD_TOKEN=sandbox.issue_token()).returncode == 0


def test_what_serves_a_guard_of_many_requests_does_not_matter(sandbox, variables):
    odd = {"FBGUARD_REDIS_URL": "redis://x", "FBGUARD_STALE_IF_ERROR": "60", "FBGUARD_NEGATIVE_TTL": "1e-9"}
    token = sandbox.issue_token()
    sandbox.expire(token)
    done = fbguard("inspect", **variables, **odd, FBGUARD_TOKEN=token)
    assert "190/463" in done.stdout
    assert "USER" in done.stdout


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        ((), {"FBGUARD_TOKEN": ""}, "no token"),
        ((), {"FBGUARD_APP_ID": ""}, "--app-id"),
        ((), {"FBGUARD_APP_SECRET": ""}, "FBGUARD_APP_SECRET is not set"),
        ((), {"FBGUARD_APP_SECRET": "se cret"}, "app_secret must"),
        ((), {"FBGUARD_DEADLINE": "soon"}, "FBGUARD_DEADLINE must be a number"),
        (("--graph-url", "http://graph.example"), {}, "graph_url must be https"),
        (("--graph-version", "26"), {}, "graph_version must look like"),
        (("EAAfirsthalf", "andthesecond"), {}, "one token only"),
        (("--token=EAAfirsthalf",), {}, "No such option"),
        (("--app-secret=se cret",), {}, "No such option"),
    ],
)
def test_wrong_use(variables, words, changes, said):
    done = fbguard("inspect", *words, **({"FBGUARD_TOKEN": "EAA"} | variables | changes))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(re.sub(r"[│╭╮╰╯─]", "", done.stderr).split())
    for value in ("se cret", "soon", "firsthalf", "thesecond", "Traceback"):
        assert value not in done.stderr


def test_help_warns_of_the_shells_history():
    done = fbguard("inspect", "--help", COLUMNS="100")
    assert done.returncode == 0
    for word in (
        "history",
        "FBGUARD_TOKEN",
        "FBGUARD_APP_SECRET",
        "--app-id",
        "--graph-url",
        "--json",
        "Exit codes",
    ):
        assert word in done.stdout
    assert "--app-secret" not in done.stdout


# -- at a terminal ---------------------------------------------------------------------------------------


def test_prompts_hide_what_is_typed(sandbox, variables):
    token = sandbox.issue_token(user_id="42")
    typist = Typist(
        ["inspect"], {name: text for name, text in variables.items() if name != "FBGUARD_APP_SECRET"}
    )
    typist.answer("Access token: ", f"{token}\n")
    typist.answer("App secret: ", f"{SECRET}\n")
    assert typist.end() == 0
    assert "42" in typist.seen
    assert no_secret_in(typist.seen, token)


@pytest.mark.parametrize("typed", ["\x03", "\x04"])
def test_nothing_typed_is_no_verdict(variables, typed):
    typist = Typist(["inspect"], variables)
    typist.answer("Access token: ", typed)
    if typed == "\x03":
        typist.process.send_signal(2)  # the terminal is not the session's own, so it sends none
    assert typist.end() == 2
    assert "Traceback" not in typist.seen


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_narrow_terminals(sandbox, variables, columns):
    token = sandbox.issue_token(
        scopes=["email", "pages_show_list"],
        granular_scopes={"pages_show_list": [f"10203040506070{number}" for number in range(10, 30)]},
    )
    typist = Typist(["inspect"], variables | {"FBGUARD_TOKEN": token}, columns)
    assert typist.end() == 0
    lines = re.sub(r"\x1b\[[0-9;]*m", "", typist.seen).splitlines()
    assert "\x1b[" in typist.seen
    assert max(map(len, lines)) <= columns


def test_no_colours_in_a_pipe(sandbox, inspect):
    assert "\x1b" not in inspect(sandbox.issue_token())[1]


def test_names_from_outside_cannot_command_the_terminal():
    named = Sandbox(app_secret=SECRET, app_name="a\x1b[2J\x9bb\u202ec\nd é 日")
    with named.serve() as url:
        done = fbguard(
            "inspect",
            FBGUARD_APP_ID=named.app_id, FBGUARD_APP_SECRET=SECRET, FBGUARD_GRAPH_URL=url,
            FBGUARD_TOKEN=named.issue_token(), PYTHONIOENCODING="ascii:strict",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "a?[2J?b?c?d ? ? (id" in done.stdout


# -- secrets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["valid", "expired", "other", "broken", "throttled"])
def test_no_token_and_no_secret_at_debug(sandbox, variables, state):
    token = sandbox.issue_token(app_id="999" if state == "other" else None)
    if state == "expired":
        sandbox.expire(token)
    if state == "broken":
        sandbox.fail(drop=True)
    if state == "throttled":
        sandbox.throttle(4)
    code = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG, stream=sys.stderr);"
        "sys.argv = ['fbguard', 'inspect']; from fbguard.cli import main; main()"
    )
    command = [sys.executable, "-X", "dev", "-c", code]
    done = run(command, **variables, FBGUARD_TOKEN=token, PYTHONASYNCIODEBUG="1")
    assert "DEBUG" in done.stderr
    assert no_secret_in(done.stdout + done.stderr, token)


def test_a_crash_shows_no_locals(sandbox, variables):
    token = sandbox.issue_token()
    code = (
        "import sys, fbguard.guard as guard;"
        "guard.Guard.peek = lambda *given: 1 / 0; sys.argv = ['fbguard', 'inspect'];"
        "from fbguard.cli import main; main()"
    )
    done = run([sys.executable, "-c", code], **variables, FBGUARD_TOKEN=token)
    assert "ZeroDivisionError" in done.stderr
    assert no_secret_in(done.stdout + done.stderr, token)


# -- words for moments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"), (0.9, "now"), (1, "in 1 second"), (-1, "1 second ago"), (119, "in 119 seconds"),
        (120, "in 2 minutes"), (7199, "in 119 minutes"), (-7200, "2 hours ago"), (2 * DAY - 1, "in 47 hours"),
        (2 * DAY, "in 2 days"), (-12.5 * DAY, "12 days ago"), (729 * DAY, "in 729 days"),
        (731 * DAY, "in 2 years"), (-3653 * DAY, "10 years ago"),
    ],
)  # fmt: skip
def test_distances(seconds, words):
    now = 1_800_000_000
    assert moments.distance(datetime.fromtimestamp(now + seconds, UTC), now) == words


def test_dates():
    assert moments.date(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02 03:04:05 UTC"
