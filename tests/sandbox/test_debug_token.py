"""Every situation of debug_token: exact key sets, exact JSON types, Facebook's own words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fbguard.sandbox import Sandbox

from .conftest import Graph, assert_top_level, over_async, over_sync

IDENTITY = ["app_id", "type", "application", "data_access_expires_at"]
DATE = r"[A-Z][a-z]+day, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d PST"


def types(data: dict[str, Any]) -> dict[str, type]:
    return {name: type(value) for name, value in data.items()}


def test_a_short_lived_user_token(graph: Graph) -> None:
    token = graph.sandbox.issue_token(user_id="1001", scopes=["public_profile", "email"])
    now = int(graph.sandbox.clock.time())
    data = graph.inspect(token)
    assert list(data) == [*IDENTITY, "expires_at", "is_valid", "scopes", "user_id"]
    assert types(data) == {
        "app_id": str,
        "type": str,
        "application": str,
        "data_access_expires_at": int,
        "expires_at": int,
        "is_valid": bool,
        "scopes": list,
        "user_id": str,
    }
    assert data["app_id"] == "1234567890"
    assert data["type"] == "USER"
    assert data["application"] == "fbguard sandbox"
    assert data["is_valid"] is True
    assert data["scopes"] == ["public_profile", "email"]
    assert data["user_id"] == "1001"
    assert 0 <= now + 3600 - data["expires_at"] <= 2
    assert 0 <= now + 90 * 86400 - data["data_access_expires_at"] <= 2


def test_a_long_lived_token_tells_when_it_was_issued(graph: Graph) -> None:
    data = graph.inspect(graph.sandbox.issue_token(expires_in=60 * 86400))
    assert list(data) == [*IDENTITY, "expires_at", "is_valid", "issued_at", "scopes", "user_id"]
    assert type(data["issued_at"]) is int
    assert data["expires_at"] - data["issued_at"] == 60 * 86400


@pytest.mark.parametrize("expires_in", [None, 0])
def test_a_token_that_never_expires(quick: Graph, expires_in: int | None) -> None:
    data = quick.inspect(quick.sandbox.issue_token(expires_in=expires_in))
    assert data["expires_at"] == 0
    assert data["is_valid"] is True
    assert type(data["issued_at"]) is int
    quick.sandbox.clock.advance(10 * 365 * 86400)
    assert quick.inspect(quick.sandbox.issue_token(expires_in=expires_in))["is_valid"] is True


@pytest.mark.parametrize(
    ("expires_in", "told"), [(3600, False), (7200, False), (7201, True), (5_183_944, True)]
)
def test_issued_at_is_told_of_long_lived_tokens_only(quick: Graph, expires_in: int, told: bool) -> None:
    assert ("issued_at" in quick.inspect(quick.sandbox.issue_token(expires_in=expires_in))) is told


def test_data_access_ends_while_the_token_stays_valid(quick: Graph) -> None:
    lapsed = quick.inspect(quick.sandbox.issue_token(data_access_expires_in=-60))
    assert lapsed["is_valid"] is True
    assert lapsed["data_access_expires_at"] < quick.sandbox.clock.time()
    never = quick.inspect(quick.sandbox.issue_token(data_access_expires_in=None))
    assert never["data_access_expires_at"] == 0


@pytest.mark.parametrize(
    "granular",
    [
        {"pages_show_list": ["103", "104"], "instagram_basic": None, "leads_retrieval": []},
        [
            {"scope": "pages_show_list", "target_ids": ["103", "104"]},
            {"scope": "instagram_basic"},
            {"scope": "leads_retrieval", "target_ids": []},
        ],
    ],
)
def test_granular_scopes(graph: Graph, granular: Any) -> None:
    data = graph.inspect(graph.sandbox.issue_token(granular_scopes=granular))
    assert list(data)[-3:] == ["scopes", "granular_scopes", "user_id"]
    assert data["granular_scopes"] == [
        {"scope": "pages_show_list", "target_ids": ["103", "104"]},
        {"scope": "instagram_basic"},
        {"scope": "leads_retrieval", "target_ids": []},
    ]


def test_an_empty_granular_list_is_not_an_absent_one(quick: Graph) -> None:
    assert quick.inspect(quick.sandbox.issue_token(granular_scopes={}))["granular_scopes"] == []
    assert "granular_scopes" not in quick.inspect(quick.sandbox.issue_token())


def test_a_page_token(graph: Graph) -> None:
    token = graph.sandbox.issue_token(type="PAGE", user_id="1", profile_id="103", scopes=["pages_show_list"])
    data = graph.inspect(token)
    assert list(data) == [*IDENTITY, "expires_at", "is_valid", "profile_id", "scopes", "user_id"]
    assert (data["type"], data["profile_id"], data["user_id"]) == ("PAGE", "103", "1")
    other = graph.inspect(graph.sandbox.issue_token(type="PAGE"))
    assert re.fullmatch(r"[0-9]{16}", other["profile_id"])
    assert other["profile_id"] != other["user_id"]


def test_a_system_user_token(quick: Graph) -> None:
    token = quick.sandbox.issue_token(type="SYSTEM_USER", expires_in=None, data_access_expires_in=None)
    data = quick.inspect(token)
    assert (data["type"], data["expires_at"], data["data_access_expires_at"]) == ("SYSTEM_USER", 0, 0)
    assert type(data["user_id"]) is str


def test_app_tokens_of_every_origin(graph: Graph) -> None:
    sandbox = graph.sandbox
    granted = graph.bare(
        "/oauth/access_token",
        client_id=sandbox.app_id,
        client_secret=sandbox.app_secret,
        grant_type="client_credentials",
    ).json()["access_token"]
    for token in (graph.credential, granted, sandbox.issue_token(type="APP")):
        data = graph.inspect(token)
        assert data == {
            "app_id": "1234567890",
            "type": "APP",
            "application": "fbguard sandbox",
            "is_valid": True,
            "scopes": [],
        }
        assert list(data) == ["app_id", "type", "application", "is_valid", "scopes"]


def test_an_expired_token(graph: Graph) -> None:
    token = graph.sandbox.issue_token(user_id="7", scopes=["email"])
    graph.sandbox.clock.advance(3600)
    data = graph.inspect(token)
    assert list(data) == [*IDENTITY, "error", "expires_at", "is_valid", "scopes", "user_id"]
    assert list(data["error"]) == ["code", "message", "subcode"]
    assert types(data["error"]) == {"code": int, "message": str, "subcode": int}
    assert (data["error"]["code"], data["error"]["subcode"]) == (190, 463)
    assert re.fullmatch(
        rf"Error validating access token: Session has expired on {DATE}\. The current time is {DATE}\.",
        data["error"]["message"],
    )
    assert data["is_valid"] is False
    assert (data["user_id"], data["scopes"], data["app_id"]) == ("7", ["email"], "1234567890")


def test_the_dates_of_an_expired_token_are_right(quick: Graph) -> None:
    data = quick.inspect(quick.sandbox.issue_token(expires_in=-1))
    named = re.findall(DATE, data["error"]["message"])
    assert len(named) == 2
    assert data["expires_at"] <= quick.sandbox.clock.time()


def test_expire_ends_a_token_at_once(graph: Graph) -> None:
    for expires_in in (3600, 0):
        token = graph.sandbox.issue_token(expires_in=expires_in)
        graph.sandbox.expire(token)
        data = graph.inspect(token)
        assert data["error"]["subcode"] == 463
        assert 0 < data["expires_at"] <= graph.sandbox.clock.time()


def test_expire_does_not_lengthen_a_life(quick: Graph) -> None:
    token = quick.sandbox.issue_token(expires_in=-100)
    before = quick.inspect(token)["expires_at"]
    quick.sandbox.expire(token)
    assert quick.inspect(token)["expires_at"] == before


@pytest.mark.parametrize(
    ("event", "subcode", "message"),
    [
        ("log_out", 467, "The session is invalid because the user logged out."),
        (
            "change_password",
            460,
            (
                "The session has been invalidated because the user changed their password or Facebook has"
                " changed the session for security reasons."
            ),
        ),
        ("remove_app", 458, "User 42 has not authorized application 1234567890."),
        (
            "checkpoint",
            459,
            (
                "You cannot access the app till you log in to www.facebook.com and follow the instructions"
                " given."
            ),
        ),
        (
            "unconfirm",
            464,
            "Sessions for the user are not allowed because the user is not a confirmed user.",
        ),
    ],
)
def test_what_people_do_to_their_tokens(graph: Graph, event: str, subcode: int, message: str) -> None:
    token = graph.sandbox.issue_token(user_id="42", scopes=["email"], granular_scopes={"email": None})
    getattr(graph.sandbox, event)("42")
    data = graph.inspect(token)
    assert list(data) == [
        *IDENTITY,
        "error",
        "expires_at",
        "is_valid",
        "scopes",
        "granular_scopes",
        "user_id",
    ]
    assert data["error"] == {
        "code": 190,
        "message": f"Error validating access token: {message}",
        "subcode": subcode,
    }
    assert data["is_valid"] is False
    assert (data["scopes"], data["user_id"]) == (["email"], "42")


def test_a_token_revoked_through_the_api_has_lost_its_scopes(graph: Graph) -> None:
    token = graph.sandbox.issue_token(user_id="42", scopes=["email"], granular_scopes={"email": None})
    graph.sandbox.invalidate(token)
    data = graph.inspect(token)
    assert list(data) == [*IDENTITY, "error", "expires_at", "is_valid", "scopes", "user_id"]
    assert data["scopes"] == []
    assert data["error"] == {
        "code": 190,
        "message": "Error validating access token: The session was invalidated explicitly using an API call.",
        "subcode": 466,
    }


def test_a_password_change_on_a_token_without_end_keeps_the_zero(quick: Graph) -> None:
    token = quick.sandbox.issue_token(user_id="42", expires_in=0)
    quick.sandbox.change_password("42")
    data = quick.inspect(token)
    assert (data["expires_at"], data["is_valid"], data["error"]["subcode"]) == (0, False, 460)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("xxxx", "Invalid OAuth access token - Cannot parse access token"),
        ("EAA", "Invalid OAuth access token - Cannot parse access token"),
        ("eyJhbGciOiJSUzI1NiJ9.e30.c2ln", "Invalid OAuth access token - Cannot parse access token"),
        ("1234567890|abc", "Invalid OAuth access token signature."),
        ("123|abc", "Error validating application. Cannot get application info due to a system error."),
        ("|", "Invalid OAuth access token - Cannot parse access token"),
        ("ä\n", "Invalid OAuth access token - Cannot parse access token"),
    ],
)
def test_texts_that_are_no_token(graph: Graph, text: str, message: str) -> None:
    data = graph.inspect(text)
    assert data == {"error": {"code": 190, "message": message}, "is_valid": False, "scopes": []}
    assert list(data) == ["error", "is_valid", "scopes"]


def test_an_altered_token(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    last = "A" if token[-1] != "A" else "B"
    expected = {
        "error": {"code": 190, "message": "The access token could not be decrypted"},
        "is_valid": False,
        "scopes": [],
    }
    assert quick.inspect(token[:-1] + last) == expected
    assert quick.inspect(token[:100]) == expected
    assert quick.inspect("x" + token)["error"]["message"].endswith("Cannot parse access token")


def test_a_token_of_another_app(graph: Graph) -> None:
    message = "(#100) The App_id in the input_token did not match the Viewing App"
    for kind in ("USER", "APP"):
        token = graph.sandbox.issue_token(app_id="999", type=kind)
        assert_top_level(graph.get("/debug_token", input_token=token), 100, message)


def test_another_apps_token_says_so_even_when_it_is_dead(quick: Graph) -> None:
    token = quick.sandbox.issue_token(app_id="999")
    quick.sandbox.expire(token)
    assert quick.get("/debug_token", input_token=token).json()["error"]["code"] == 100


def test_no_input_token(graph: Graph) -> None:
    message = "(#100) For field 'debug_token': The parameter input_token is required"
    assert_top_level(graph.get("/debug_token"), 100, message)
    assert_top_level(graph.get("/debug_token", input_token=""), 100, message)


def test_no_or_an_unsuitable_access_token(graph: Graph) -> None:
    message = (
        "(#100) You must provide an app access token, or a user access token that is an owner or"
        " developer of the app"
    )
    token = graph.sandbox.issue_token()
    foreign = graph.sandbox.issue_token(app_id="999", type="APP")
    assert_top_level(graph.bare("/debug_token", input_token=token), 100, message)
    assert_top_level(graph.bare("/debug_token", input_token=token, access_token=""), 100, message)
    assert_top_level(graph.get("/debug_token", as_token=token, input_token=token), 100, message)
    assert_top_level(graph.get("/debug_token", as_token=foreign, input_token=token), 100, message)


def test_bad_access_tokens(graph: Graph) -> None:
    token = graph.sandbox.issue_token()

    def call(credential: str) -> Any:
        return graph.get("/debug_token", as_token=credential, input_token=token)

    assert_top_level(call(f"{graph.sandbox.app_id}|wrong"), 190, "Invalid OAuth access token signature.")
    assert_top_level(call("nonsense"), 190, "Invalid OAuth access token - Cannot parse access token")
    graph.sandbox.invalidate(token)
    message = "Error validating access token: The session was invalidated explicitly using an API call."
    assert_top_level(call(token), 190, message, 466)


@pytest.mark.parametrize("prefix", ["", "/v26.0", "/v1.0", "/v105.12"])
def test_with_and_without_a_version(graph: Graph, prefix: str) -> None:
    token = graph.sandbox.issue_token(user_id="5")
    answer = graph.get(f"{prefix}/debug_token", input_token=token)
    assert answer.json()["data"]["user_id"] == "5"
    assert answer.headers["facebook-api-version"] == (prefix.removeprefix("/") or "v26.0")
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"


def test_every_way_to_send_the_credential(graph: Graph) -> None:
    token = graph.sandbox.issue_token()
    target = f"/debug_token?input_token={token}"
    for headers in (
        {"Authorization": f"Bearer {graph.credential}"},
        {"authorization": f"bearer {graph.credential}"},
        {"Authorization": f"OAuth {graph.credential}"},
    ):
        assert graph.send("GET", target, headers).json()["data"]["is_valid"] is True
    by_query = graph.bare("/debug_token", input_token=token, access_token=graph.credential)
    assert by_query.json()["data"]["is_valid"] is True
    basic = {"Authorization": f"Basic {graph.credential}"}
    assert graph.send("GET", target, basic).json()["error"]["code"] == 100


def test_the_parameter_wins_over_the_header(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    answer = quick.get("/debug_token", input_token=token, access_token="nonsense")
    assert answer.json()["error"]["code"] == 190


def test_debug_token_is_read_only(quick: Graph) -> None:
    answer = quick.send("POST", "/debug_token", quick.sandbox.bearer(quick.credential))
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "GraphMethodException"


def test_the_same_body_by_every_carrier() -> None:
    # The carriers share one core; that the app's name may be anything must not part them either.
    sandbox = Sandbox(app_name='Ünï "code" \\ ☃')
    token = sandbox.issue_token()
    bodies = {
        Graph(sandbox, kind(sandbox)).get("/debug_token", input_token=token).content
        for kind in (over_sync, over_async)
    }
    assert len(bodies) == 1
    assert bodies.pop().isascii()
