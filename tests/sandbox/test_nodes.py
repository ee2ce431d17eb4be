"""``/me`` and nodes by their id: who is behind a token, and what a dead token, or none, is told."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fbguard.sandbox import Call

from .conftest import Graph, assert_method_error, assert_top_level

NO_USER = "An active access token must be used to query information about the current user."
NO_TOKEN = "An access token is required to request this resource."
MAY_NOT_READ = (
    "(#10) This endpoint requires the 'pages_read_engagement' permission or the 'Page Public Content Access'"
    " feature. Refer to https://developers.facebook.com/docs/apps/review/login-permissions#manage-pages and"
    " https://developers.facebook.com/docs/apps/review/feature#reference-PAGES_ACCESS for details."
)


def nobody(node_id: str, method: str = "get") -> str:
    return (
        f"Unsupported {method} request. Object with ID '{node_id}' does not exist, cannot be loaded due to"
        " missing permissions, or does not support this operation. Please read the Graph API documentation at"
        " https://developers.facebook.com/docs/graph-api"
    )


# -- whose token it is --------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/v26.0", "/v1.0"])
def test_me_is_the_person(graph: Graph, prefix: str) -> None:
    token = graph.sandbox.issue_token(user_id="42")
    answer = graph.get(f"{prefix}/me", as_token=token)
    assert answer.status_code == 200
    assert answer.json() == {"id": "42", "name": "User 42"}
    assert answer.headers["content-type"] == "application/json; charset=UTF-8"


def test_every_way_to_send_the_token(graph: Graph) -> None:
    token = graph.sandbox.issue_token(user_id="42")
    by_query = graph.bare("/me", access_token=token)
    by_header = graph.send("GET", "/me", {"authorization": f"OAuth {token}"})
    assert by_query.json() == by_header.json() == {"id": "42", "name": "User 42"}


def test_me_is_the_page_of_a_pages_token(graph: Graph) -> None:
    token = graph.sandbox.issue_token(type="PAGE", user_id="42", profile_id="103")
    assert graph.get("/me", as_token=token).json() == {"id": "103", "name": "Page 103"}
    assert graph.get("/103", as_token=token).json() == {"id": "103", "name": "Page 103"}
    assert_method_error(graph.get("/42", as_token=token), nobody("42"), 33)


def test_me_is_a_system_user(quick: Graph) -> None:
    token = quick.sandbox.issue_token(type="SYSTEM_USER", user_id="7")
    assert quick.get("/me", as_token=token, fields="id").json() == {"id": "7"}


def test_another_apps_token_is_good_here(quick: Graph) -> None:
    # Graph asks whether a token is valid for its own app: why a guard must not trust an answer of /me.
    token = quick.sandbox.issue_token(app_id="999", user_id="42")
    assert quick.get("/me", as_token=token).json()["id"] == "42"


def test_the_node_by_its_id_is_the_same(graph: Graph) -> None:
    token = graph.sandbox.issue_token(user_id="42")
    assert graph.get("/v26.0/42", as_token=token).json() == {"id": "42", "name": "User 42"}
    assert graph.get("/42", as_token=token, fields="name").json() == {"id": "42", "name": "User 42"}


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ("id", ["id"]),
        ("name", ["name", "id"]),
        ("id,name", ["id", "name"]),
        (" name , id ", ["name", "id"]),
        ("", ["name", "id"]),
        ("id,id", ["id"]),
        ("id,email,picture", ["id"]),  # nobody here has them: left out, as without the permission
    ],
)
def test_fields(quick: Graph, fields: str, keys: list[str]) -> None:
    token = quick.sandbox.issue_token(user_id="42")
    assert list(quick.get("/me", as_token=token, fields=fields).json()) == keys


@pytest.mark.parametrize(
    ("kind", "field", "node"),
    [("USER", "nonsense", "User"), ("USER", "fan_count", "User"), ("PAGE", "email", "Page")],
)
def test_a_field_that_does_not_exist(graph: Graph, kind: str, field: str, node: str) -> None:
    token = graph.sandbox.issue_token(type=kind)
    message = f"(#100) Tried accessing nonexisting field ({field}) on node type ({node})"
    assert_top_level(graph.get("/me", as_token=token, fields=f"id,{field}"), 100, message)


# -- whose token it is no more ------------------------------------------------------------------------


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
def test_what_people_did_to_their_tokens(graph: Graph, event: str, subcode: int, message: str) -> None:
    token = graph.sandbox.issue_token(user_id="42")
    page = graph.sandbox.issue_token(user_id="42", type="PAGE")
    getattr(graph.sandbox, event)("42")
    expected = f"Error validating access token: {message}"
    for dead in (token, page):
        for path in ("/me", "/v26.0/42", "/me/permissions"):
            assert_top_level(graph.get(path, as_token=dead), 190, expected, subcode)


def test_an_invalidated_token(graph: Graph) -> None:
    token = graph.sandbox.issue_token()
    graph.sandbox.invalidate(token)
    message = "Error validating access token: The session was invalidated explicitly using an API call."
    assert_top_level(graph.get("/me", as_token=token), 190, message, 466)
    assert_top_level(graph.bare("/me", access_token=token), 190, message, 466)


def test_an_expired_token(graph: Graph) -> None:
    token = graph.sandbox.issue_token(expires_in=3600)
    graph.sandbox.clock.advance(3600)
    answer = graph.get("/me", as_token=token)
    told = answer.json()["error"]["message"]
    date = r"[A-Z][a-z]+day, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d PST"
    assert re.fullmatch(
        rf"Error validating access token: Session has expired on {date}\. The current time is {date}\.", told
    )
    assert_top_level(answer, 190, told, 463)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("xxxx", "Invalid OAuth access token - Cannot parse access token"),
        ("EAA" + "a" * 100, "The access token could not be decrypted"),
        ("1234567890|abc", "Invalid OAuth access token signature."),
        ("123|abc", "Error validating application. Cannot get application info due to a system error."),
    ],
)
def test_texts_that_are_no_token(graph: Graph, text: str, message: str) -> None:
    assert_top_level(graph.get("/me", as_token=text), 190, message)
    assert_top_level(graph.bare("/42", access_token=text), 190, message)


def test_no_token_at_all(graph: Graph) -> None:
    assert_top_level(graph.bare("/me"), 2500, NO_USER)
    assert_top_level(graph.bare("/v26.0/me", access_token="", fields="id"), 2500, NO_USER)
    assert_top_level(graph.bare("/me/permissions"), 2500, NO_USER)
    assert_top_level(graph.send("GET", "/me", {"Authorization": "Basic abc"}), 2500, NO_USER)
    assert_top_level(graph.bare("/42"), 104, NO_TOKEN)
    assert_top_level(graph.bare("/42/permissions"), 104, NO_TOKEN)


def test_an_app_is_not_me(quick: Graph) -> None:
    for token in (
        quick.credential,
        *(quick.sandbox.issue_token(type="APP", app_id=app) for app in (None, "9")),
    ):
        assert_top_level(quick.get("/me", as_token=token), 2500, NO_USER)


# -- others -------------------------------------------------------------------------------------------


def test_other_people_are_not_there(quick: Graph) -> None:
    token = quick.sandbox.issue_token(user_id="42")
    quick.sandbox.issue_token(user_id="43")
    for asked in ("43", "44"):
        assert_method_error(quick.get(f"/{asked}", as_token=token), nobody(asked), 33)
        assert_method_error(quick.get(f"/{asked}"), nobody(asked), 33)


def test_a_page_is_read_with_the_permission_for_it(graph: Graph) -> None:
    def login(**options: Any) -> str:
        return graph.sandbox.issue_token(scopes=["pages_read_engagement"], **options)

    for granted in (
        login(granular_scopes={"pages_read_engagement": ["103", "104"]}),
        login(granular_scopes={"pages_read_engagement": None}),
        login(granular_scopes={}),
        login(),
    ):
        answer = graph.get("/v26.0/103", as_token=granted, fields="name")
        assert (answer.status_code, answer.json()) == (200, {"name": "Page 103", "id": "103"})
    for refused in (
        login(granular_scopes={"pages_read_engagement": ["104"]}),
        login(granular_scopes={"pages_read_engagement": []}),
        login(granular_scopes={"pages_show_list": ["103"]}),
        graph.sandbox.issue_token(granular_scopes={"pages_show_list": ["103"]}),
        graph.sandbox.issue_token(type="PAGE", scopes=["pages_read_engagement"]),
        graph.credential,
    ):
        assert_top_level(graph.get("/103", as_token=refused), 10, MAY_NOT_READ, status=403)


def test_a_page_is_known_by_its_token_or_as_the_target_of_a_page_permission(quick: Graph) -> None:
    sandbox = quick.sandbox
    token = sandbox.issue_token(scopes=["pages_read_engagement"])
    assert_method_error(quick.get("/103", as_token=token), nobody("103"), 33)
    sandbox.issue_token(granular_scopes={"ads_read": ["105"]})
    assert_method_error(quick.get("/105", as_token=token), nobody("105"), 33)
    sandbox.issue_token(type="PAGE", profile_id="103")
    assert quick.get("/103", as_token=token).json()["name"] == "Page 103"


def test_the_permission_for_a_page_can_be_lost(quick: Graph) -> None:
    scopes = ["pages_read_engagement"]
    token = quick.sandbox.issue_token(scopes=scopes, granular_scopes={"pages_read_engagement": ["103"]})
    assert quick.get("/103", as_token=token).status_code == 200
    quick.send("DELETE", "/me/permissions/pages_read_engagement", quick.sandbox.bearer(token))
    assert_top_level(quick.get("/103", as_token=token), 10, MAY_NOT_READ, status=403)


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_nodes_are_read_only(quick: Graph, method: str) -> None:
    token = quick.sandbox.issue_token(user_id="42")
    for node_id in ("me", "42"):
        answer = quick.send(method, f"/{node_id}", quick.sandbox.bearer(token))
        assert_method_error(answer, nobody(node_id, method.lower()), 33)


# -- the platform's moods, and the log ----------------------------------------------------------------


def test_limits_and_faults_reach_these_calls_too(graph: Graph) -> None:
    sandbox = graph.sandbox
    token = sandbox.issue_token(user_id="42")
    sandbox.throttle(17)
    for path in ("/me", "/42", "/me/permissions"):
        assert_top_level(graph.get(path, as_token=token), 17, "(#17) User request limit reached")
    sandbox.throttle(None)
    sandbox.fail(503, times=1)
    assert graph.get("/me", as_token=token).status_code == 503
    assert graph.get("/me", as_token=token).status_code == 200


def test_the_call_log_holds_no_token(graph: Graph) -> None:
    sandbox = graph.sandbox
    token = sandbox.issue_token(user_id="42")
    graph.bare("/me", access_token=token, appsecret_proof="f" * 64)
    graph.bare("/v26.0/42", access_token=token)
    graph.send("DELETE", f"/me/permissions/email?access_token={token}", {})
    graph.send("DELETE", f"/me/permissions/{token}", sandbox.bearer(token))
    assert sandbox.calls == (
        Call("GET", "/me", 400),
        Call("GET", "/v26.0/42", 200),
        Call("DELETE", "/me/permissions/email", 200),
        Call("DELETE", "/me/permissions/***", 200),
    )
