"""``fbguard audit`` against the local Facebook: each token of a file is looked up, none is printed."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys

import pytest

from fbguard.cli.commands import app
from fbguard.core.secret import Secret
from tests.cli.conftest import SECRET
from tests.cli.processes import FBGUARD, PATIENCE, environment


@pytest.fixture
def tokens(sandbox):
    """Some tokens of every kind, by what is to be found."""
    return {
        "valid": sandbox.issue_token(user_id="1", scopes=["email"], expires_in=60 * 86_400),
        "expired": sandbox.issue_token(expires_in=-10),
        "wrong_app": sandbox.issue_token(app_id="999"),
        "malformed_token": "EAABnonsense",
    }


@pytest.fixture
def audit(monkeypatch, capsys, sandbox, tmp_path):
    """Give ``audit(text, *words)``: exit code and output, which holds no token; None reads no file."""
    with sandbox.serve() as url:
        given = {"APP_ID": sandbox.app_id, "APP_SECRET": SECRET, "GRAPH_URL": url, "DEADLINE": str(PATIENCE)}
        for name, value in given.items():
            monkeypatch.setenv(f"FBGUARD_{name}", value)
        monkeypatch.setenv("COLUMNS", "100")

        def audit(text, *words, name="tokens.txt"):
            file = tmp_path / name
            if isinstance(text, bytes):
                file.write_bytes(text)
            elif text is not None:
                file.write_text(text)
            with pytest.raises(SystemExit) as ended:
                app(["audit", str(file), "--rate", "1000", *words], prog_name="fbguard")
            shown = capsys.readouterr()
            assert SECRET not in shown.out + shown.err
            for token in str(text).split():
                assert len(token) < 20 or token not in shown.out + shown.err
            return ended.value.code or 0, shown.out, shown.err

        yield audit


def fingerprint(sandbox, token):
    with sandbox.guard() as guard:
        return guard.signer.fingerprint(Secret(token))


def test_for_people(audit, tokens, sandbox):
    soon = sandbox.issue_token(expires_in=3600, data_access_expires_in=-5)
    lines = [*tokens.values(), soon, "", f"  {soon}  "]
    prints = {name: fingerprint(sandbox, token) for name, token in tokens.items()}
    code, out, err = audit("\n".join(lines))
    assert (code, err) == (1, "")
    assert out.splitlines() == [
        "6 tokens, 3 valid",
        "",
        "  3            valid",
        "  1            not valid: expired",
        "  1            not valid: malformed_token",
        "  1            not valid: wrong_app",
        "",
        "  Line         Fingerprint   Reason",
        f"  2            {prints['expired']}  expired",
        f"  3            {prints['wrong_app']}  wrong_app",
        f"  4            {prints['malformed_token']}  malformed_token",
        "",
        "  Note         2 of the valid ones expire within seven days.",
        "  Note         2 of the valid ones have no data access any more; routes with scopes refuse them.",
        "  Note         1 line repeats a token of another line.",
    ]


def test_one_is_told_as_one(audit, sandbox):
    soon = sandbox.issue_token(expires_in=3600, data_access_expires_in=-5)
    out = audit(soon)[1]
    assert out.splitlines() == [
        "1 token, 1 valid",
        "",
        "  1            valid",
        "",
        "  Note         1 of the valid ones expires within seven days.",
        "  Note         1 of the valid ones has no data access any more; routes with scopes refuse it.",
    ]


def test_a_token_that_never_ends_does_not_end_soon(audit, sandbox):
    token = sandbox.issue_token(expires_in=None, data_access_expires_in=None)
    assert "Note" not in audit(token)[1]
    found = json.loads(audit(token, "--json")[1])
    assert (found["expires_at"], found["data_access_expires_at"]) == (None, None)


def test_of_many_that_are_not_valid_the_first_are_listed(audit):
    code, out, _ = audit("\n".join(f"EAABnonsense{number}" for number in range(25)))
    listed = [line for line in out.splitlines() if line.endswith("  malformed_token")]
    assert code == 1
    assert [line.split()[0] for line in listed] == [str(number) for number in range(1, 21)]
    assert "               and 5 more; --json tells of each" in out.splitlines()


def test_csv_that_is_read_as_tokens_is_told(audit, sandbox):
    token = sandbox.issue_token()
    out = " ".join(audit(f"id,access_token\n1,{token}\n")[1].split())
    assert "2 lines hold commas, as no token does." in out
    assert "--column NAME" in out
    assert token not in out
    assert "comma" not in audit(token)[1]
    assert "comma" not in audit(f'id,access_token\n"1,5",{token}\n', "--column", "access_token")[1]


def test_which_graph_is_asked_may_be_said(audit, sandbox, monkeypatch):
    url = os.environ["FBGUARD_GRAPH_URL"]
    monkeypatch.setenv("FBGUARD_GRAPH_URL", "http://127.0.0.1:9")
    words = ["--graph-url", url, "--graph-version", "v25.0"]
    assert audit(sandbox.issue_token(), *words)[0] == 0
    assert sandbox.calls[-1].path == "/v25.0/debug_token"


def test_for_programs(audit, tokens):
    code, out, err = audit("\n".join(tokens.values()), "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (1, "")
    assert [(one["line"], one["valid"], one["reason"]) for one in found] == [
        (1, True, None),
        (2, False, "expired"),
        (3, False, "wrong_app"),
        (4, False, "malformed_token"),
    ]
    assert (found[0]["user_id"], found[0]["scopes"]) == ("1", ["email"])
    assert found[0]["expires_at"] > found[1]["expires_at"] > "2026-"
    assert all(one["expires_at"].endswith("Z") for one in found[:2])
    assert found[2]["expires_at"] is None
    assert len({one["fingerprint"] for one in found}) == 4
    assert found[3]["scopes"] is None


def test_a_pages_token_is_as_valid_as_inspect_says(audit, sandbox):
    code, out, _ = audit(sandbox.issue_token(type="PAGE"), "--json")
    assert code == 0
    assert json.loads(out)["valid"] is True


def test_tokens_of_limited_login(audit, sandbox, monkeypatch):
    jwks = f"{os.environ['FBGUARD_GRAPH_URL']}/.well-known/oauth/openid/jwks/"
    monkeypatch.setenv("FBGUARD_JWKS_URL", jwks)
    lines = [sandbox.issue_id_token(user_id="7"), sandbox.issue_id_token(app_id="999"), sandbox.issue_token()]
    code, out, _ = audit("\n".join(lines), "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [(one["valid"], one["reason"]) for one in found] == [
        (True, None),
        (False, "wrong_app"),
        (True, None),
    ]
    assert found[0]["user_id"] == "7"


def test_tokens_of_limited_login_where_nothing_verifies_them(audit, sandbox, monkeypatch):
    monkeypatch.setattr("fbguard.cli.guards.find_spec", lambda name: None)
    token = sandbox.issue_id_token()
    code, out, _ = audit("\n".join([token, sandbox.issue_token(expires_in=60 * 86_400)]))
    assert code == 3
    assert out.splitlines() == [
        "2 tokens, 1 valid",
        "",
        "  1            valid",
        "  1            nobody can tell: limited_login",
        "",
        "  Line         Fingerprint   Reason",
        f"  1            {fingerprint(sandbox, token)}  limited_login",
        "",
        "  Note         1 is an ID token of Limited Login, which needs fbguard[jwt] to be verified.",
    ]


def test_all_are_valid(audit, sandbox):
    code, out, _ = audit("\r\n".join(sandbox.issue_token() for _ in range(40)))
    assert code == 0
    assert out.startswith("40 tokens, 40 valid\n")


def test_a_column_of_csv(audit, tokens, sandbox):
    text = 'id,token,name\n1,{valid},"a\nb"\n2,,none\n3,{expired},c\n'.format(**tokens)
    code, out, _ = audit("\ufeff" + text, "--column", "token", "--json")
    assert code == 1
    assert [json.loads(line)["line"] for line in out.splitlines()] == [2, 5]  # where the rows begin


def test_in_the_order_of_the_file(audit, sandbox):
    many = [sandbox.issue_token(user_id=str(number)) for number in range(1, 61)]
    code, out, _ = audit("\n".join(many), "--json")
    assert code == 0
    assert [json.loads(line)["user_id"] for line in out.splitlines()] == [
        str(number) for number in range(1, 61)
    ]


def test_nobody_can_tell(audit, sandbox, monkeypatch):
    from fbguard.cli import audit as module

    monkeypatch.setattr(module, "_TRIES", 1)
    token = sandbox.issue_token()
    sandbox.fail(500)
    code, out, _ = audit(token)
    assert code == 3
    assert "  1            nobody can tell: unavailable" in out.splitlines()


def test_graph_is_asked_again_after_the_time_it_wants(audit, sandbox, monkeypatch):
    from fbguard.cli import audit as module

    waited = []

    async def sleep(seconds):
        waited.append(seconds)
        sandbox.recover()

    monkeypatch.setattr(module, "_pause", sleep)
    token = sandbox.issue_token()
    sandbox.fail(500, times=1)
    code, out, _ = audit(token)
    assert code == 0
    assert len(waited) == 1
    assert waited[0] >= 1
    assert out.startswith("1 token, 1 valid")


def test_a_wrong_secret_is_not_tried_for_each_token(audit, sandbox, monkeypatch):
    monkeypatch.setenv("FBGUARD_APP_SECRET", "0f" * 16)
    code, out, _ = audit("\n".join(sandbox.issue_token() for _ in range(5)))
    assert code == 3
    assert "nobody can tell: misconfigured" in out


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        (None, [], "the file cannot be read: No such file"),
        ("", [], "there is no token in the file"),
        ("\n \n", [], "there is no token in the file"),
        (b"\xff\xfe\x00", [], "the file is no text in UTF-8"),
        ("a,b\n1,2\n", ["--column", "token"], "the file has no column 'token'"),
        ("a,token\n1,\n", ["--column", "token"], "there is no token in the file"),
        ("x", ["--rate", "0"], "--rate"),
        ('a,token\n1,"x\n1,y\n1,z\n', ["--column", "token"], "the file is no CSV: unexpected end of data"),
        ("token\n" + "x" * 200_000, ["--column", "token"], "the file is no CSV: field larger than"),
    ],
)
def test_wrong_use(audit, text, words, told):
    code, out, err = audit(text, *words)
    assert (code, out) == (2, "")
    assert told in " ".join(err.replace("│", " ").split())


def test_without_an_app_id(audit, monkeypatch):
    monkeypatch.delenv("FBGUARD_APP_ID")
    code, _, err = audit("x")
    assert code == 2
    assert "FBGUARD_APP_ID" in err


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_standard_input(audit, sandbox, monkeypatch, capsys, mark):
    piped = io.TextIOWrapper(io.BytesIO(mark + sandbox.issue_token().encode() + b"\n"))
    monkeypatch.setattr(sys, "stdin", piped)
    with pytest.raises(SystemExit) as ended:
        app(["audit", "-"], prog_name="fbguard")
    assert not ended.value.code
    assert capsys.readouterr().out.startswith("1 token, 1 valid")


def test_standard_input_that_is_no_text(audit, monkeypatch, capsys):
    piped = io.TextIOWrapper(io.BytesIO(b"EAAB\xff\xfeabc\n"), "ascii", "surrogateescape")
    monkeypatch.setattr(sys, "stdin", piped)
    with pytest.raises(SystemExit) as ended:
        app(["audit", "-"], prog_name="fbguard")
    assert ended.value.code == 2
    assert "no text in UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(("rate", "at_once"), [(0.5, 1), (1, 2), (3, 6), (10, 10), (1000, 10)])
def test_nobody_waits_longer_than_a_look_up_may(rate, at_once):
    from fbguard.cli.audit import _at_once

    assert _at_once(rate) == at_once


def test_a_bar_on_a_terminal_and_nothing_of_it_in_the_output(audit, sandbox, tmp_path):
    """The bar is on standard error, which is a terminal here; what is piped on is whole."""
    file = tmp_path / "many.txt"
    file.write_text("\n".join(sandbox.issue_token() for _ in range(30)))
    ours, theirs = pty.openpty()
    try:
        finished = subprocess.run(
            [*FBGUARD, "audit", str(file), "--json", "--rate", "1000"],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=environment(TERM="xterm", COLUMNS="80"),
            timeout=PATIENCE,
            check=False,
        )
        os.close(theirs)
        shown = os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
    assert finished.returncode == 0
    assert "Looking up" in shown
    assert len([json.loads(line) for line in finished.stdout.splitlines()]) == 30
