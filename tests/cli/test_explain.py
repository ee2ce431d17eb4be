"""``fbguard explain``, and the tables of docs/errors.md that it prints."""

import json
import re
from pathlib import Path

import pytest

from fbguard import OAuthException
from fbguard.cli.commands import app
from fbguard.cli.error_table import reaction
from fbguard.core.messages import CATALOGUES
from fbguard.core.reasons import MESSAGE_REASONS, REASONS
from fbguard.facebook.codes import ROWS
from tests.cli.processes import fbguard

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")


@pytest.fixture
def explain(monkeypatch, capsys):
    """Give ``explain(*words)``: exit code and output."""
    monkeypatch.setenv("COLUMNS", "80")

    def explain(*words):
        with pytest.raises(SystemExit) as ended:
            app(["explain", *words], prog_name="fbguard")
        return ended.value.code or 0, capsys.readouterr().out

    return explain


def test_a_subcode():
    done = fbguard("explain", "190", "463", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "190/463: The token's time is over.\n"
        "\n"
        "  For you      Only a new login helps; an expired token cannot be exchanged.\n"
        "  Source       Graph API, Handling errors\n"
        "\n"
        "In the guard's look-up, and in a Graph call of a view\n"
        "  Reason       expired\n"
        '  Status       401, error="invalid_token"\n'
        "  Action       login\n"
        "  The person   Your Facebook session has expired. Please log in again.\n"
    )


def test_both_spellings_are_one(explain):
    assert explain("190/463") == explain("190", "463") == explain("190 463") == explain("102", "463")


def test_a_reason_is_one_in_capitals_too(explain):
    assert explain("EXPIRED") == explain(" Expired ") == explain("expired")


def test_a_code_that_means_different_things_in_both_places(explain):
    code, out = explain("10")
    look_up, _, call = out.partition("In a Graph call of a view")
    assert code == 0
    assert "invalid_token" in look_up
    assert "insufficient_scope" in call
    assert "auth_type rerequest" in call


def test_several_meanings_of_one_code(explain):
    out = explain("100")[1]
    assert out.count("For you") == 2
    assert "'did not match the Viewing App' in the message" in out
    assert "application's own" in out


def test_190_alone_shows_what_messages_mean(explain):
    out = explain("190")[1]
    assert "session key ... is malformed: malformed_token" in out


def test_unconfirmed_rows_say_so(explain):
    assert "third-party code; unconfirmed" in explain("190", "490")[1]
    assert "unconfirmed" not in explain("190", "463")[1]


def test_an_unknown_code_says_so_and_what_happens(explain):
    code, out = explain("12345")
    assert code == 1
    assert out.startswith("12345 is no code in fbguard's table.\n")
    assert "invalid_token" in out
    assert "the OAuthException is the application's own" in out


def test_an_unknown_subcode_shows_its_code(explain):
    code, out = explain("190", "999")
    assert code == 1
    assert out.startswith("999 is no subcode of 190 in fbguard's table. The code alone:\n\n190: ")


def test_a_subcode_alone_finds_its_code(explain):
    code, out = explain("463")
    assert code == 1
    assert "463 is a subcode of 190: fbguard explain 190 463" in out
    code, out = explain("452")
    assert code == 0
    assert "452 is also a subcode of 190" in out


@pytest.mark.parametrize("name", sorted(REASONS))
def test_every_reason(explain, name):
    code, out = explain(name)
    flat = " ".join(out.split())
    assert code == 0
    assert REASONS[name].title in out
    assert str(REASONS[name].status) in out
    assert " ".join(REASONS[name].detail.split()) in flat
    assert CATALOGUES["en"][name] in flat


def test_a_reason_tells_what_leads_there(explain):
    assert "190/463" in explain("expired")[1]
    assert "if the message says: cannot parse" in " ".join(explain("malformed_token")[1].split())
    assert "No code in the table leads here" in explain("expires_soon")[1]


def test_a_reason_of_two_statuses_tells_both(explain):
    flat = " ".join(explain("limited_login")[1].split())
    assert 'Status 401, error="invalid_token"' in flat
    assert 'Or 403, error="insufficient_scope": Limited Login cannot grant a permission' in flat
    assert " Or " not in explain("expired")[1]


@pytest.mark.parametrize("width", ["40", "60", "80"])
@pytest.mark.parametrize("words", [["190", "463"], ["190"], ["100"], ["10"], ["12345"], ["invalid_token"]])
def test_no_line_is_longer_than_the_terminal(monkeypatch, explain, width, words):
    monkeypatch.setenv("COLUMNS", width)
    assert max(map(len, explain(*words)[1].splitlines())) <= int(width)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["foo"],
        ["-1"],
        ["expired", "3"],
        ["190/463", "463"],
        ["190 463", "463"],
        ["190/463/1"],
        ["190", "x"],
        ["--all", "190"],
        ["190", "1", "2"],
    ],
)
def test_wrong_use(words):
    done = fbguard("explain", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_a_mistyped_reason_is_told_the_reasons():
    said = " ".join(re.sub(r"[│╭╮╰╯─]", "", fbguard("explain", "expird").stderr).split())
    assert "the reasons are app_inactive, checkpointed" in said


def test_json_of_a_code(explain):
    code, out = explain("190", "463", "--json")
    body = json.loads(out)
    (meaning,) = body.pop("meanings")
    assert code == 0
    assert body.pop("look_up") == body.pop("call") == meaning["look_up"] == meaning["call"]
    assert body == {"code": 190, "subcode": 463, "known": True}
    assert meaning["look_up"]["reason"] == "expired"
    assert meaning["look_up"]["message"] == CATALOGUES["en"]["expired"]
    assert (meaning["source"], meaning["confirmed"]) == ("Graph API, Handling errors", True)


def test_json_of_an_unknown_code(explain):
    code, out = explain("12345", "--json")
    body = json.loads(out)
    assert code == 1
    assert (body["known"], body["meanings"], body["call"]) == (False, [], None)
    assert body["look_up"]["reason"] == "invalid_token"


def test_json_of_a_reason_and_of_all(explain):
    body = json.loads(explain("checkpointed", "--json")[1])
    assert (body["action"], {row["subcode"] for row in body["codes"]}) == ("visit_facebook", {459, 490, None})
    body = json.loads(explain("--all", "--json")[1])
    assert len(body["codes"]) == len(ROWS)
    assert len(body["messages"]) == len(MESSAGE_REASONS)
    assert [row["reason"] for row in body["reasons"]] == list(REASONS)


def test_the_page_has_the_tables_that_are_printed(explain):
    block = re.search(r"<!-- fbguard explain --all -->\n(.*)<!-- end -->", PAGE, re.DOTALL)
    assert block, "docs/errors.md has lost its markers"
    assert block[1] == explain("--all")[1], "put the output of `fbguard explain --all` between the markers"


def test_the_tables_are_whole():
    for reason in REASONS:
        assert f"| `{reason}` |" in PAGE
    for line in PAGE.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")
    for row in ROWS:
        assert row.meaning in PAGE


def test_reactions_fit_the_reasons():
    assert reaction(REASONS["expired"]) == "log in again"
    assert "Retry-After" in reaction(REASONS["throttled"])
    assert "no login helps" in reaction(REASONS["role_lost"])
    assert "request" in reaction(REASONS["invalid_request"])


def test_what_is_explained_is_what_happens(explain):
    for row in ROWS:
        body = json.loads(
            explain(str(row.first), *([] if row.subcode is None else [str(row.subcode)]), "--json")[1]
        )
        reason = OAuthException(row.message, code=row.first, subcode=row.subcode).reason
        assert reason in {meaning["call"] and meaning["call"]["reason"] for meaning in body["meanings"]}
