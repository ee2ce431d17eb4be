"""What people granted to an app, and what is left when it is taken away."""

from __future__ import annotations

import threading

import httpx
import pytest

from .conftest import Graph, assert_method_error, assert_top_level

REMOVED = "Error validating access token: User 42 has not authorized application 1234567890."


def listed(graph: Graph, token: str | None = None, path: str = "/me/permissions") -> dict[str, str]:
    answer = graph.get(path, as_token=token)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["data"]
    assert all(list(entry) == ["permission", "status"] for entry in answer.json()["data"])
    return {entry["permission"]: entry["status"] for entry in answer.json()["data"]}


def delete(graph: Graph, path: str, token: str | None = None) -> httpx.Response:
    return graph.send("DELETE", path, graph.sandbox.bearer(graph.credential if token is None else token))


@pytest.mark.parametrize(
    "path", ["/me/permissions", "/v26.0/me/permissions", "/42/permissions", "/v1.0/42/permissions/"]
)
def test_the_list(graph: Graph, path: str) -> None:
    token = graph.sandbox.issue_token(user_id="42", scopes=["public_profile", "email"])
    assert graph.get(path, as_token=token).json() == {
        "data": [
            {"permission": "public_profile", "status": "granted"},
            {"permission": "email", "status": "granted"},
        ]
    }
    assert graph.bare(path, access_token=token).status_code == 200


def test_one_of_the_list(quick: Graph) -> None:
    token = quick.sandbox.issue_token(user_id="42", scopes=["public_profile", "email"])
    assert listed(quick, token, "/me/permissions/email") == {"email": "granted"}
    assert listed(quick, token, "/42/permissions/user_friends") == {}


def test_it_is_the_persons_list_not_the_tokens(quick: Graph) -> None:
    first = quick.sandbox.issue_token(user_id="42", scopes=["email"])
    quick.sandbox.issue_token(user_id="42", scopes=["user_friends"])
    quick.sandbox.issue_token(user_id="43", scopes=["user_posts"])
    quick.sandbox.issue_token(user_id="42", scopes=["user_likes"], app_id="999")
    assert listed(quick, first) == {"email": "granted", "user_friends": "granted"}


def test_an_app_asks_for_its_own_people(quick: Graph) -> None:
    quick.sandbox.issue_token(user_id="42", scopes=["email"])
    quick.sandbox.issue_token(user_id="43", app_id="999", scopes=["user_likes"])
    assert listed(quick, path="/42/permissions") == {"email": "granted"}
    assert quick.get("/43/permissions").json()["error"]["error_subcode"] == 33
    theirs = quick.sandbox.issue_token(type="APP", app_id="999")
    assert listed(quick, theirs, "/43/permissions") == {"user_likes": "granted"}
    assert quick.get("/42/permissions", as_token=theirs).json()["error"]["code"] == 100


def test_one_permission_is_taken_away(graph: Graph) -> None:
    sandbox = graph.sandbox
    token = sandbox.issue_token(
        user_id="42",
        scopes=["public_profile", "email", "pages_show_list"],
        granular_scopes={"email": None, "pages_show_list": ["103"]},
    )
    second = sandbox.issue_token(user_id="42", scopes=["email"])
    page = sandbox.issue_token(user_id="42", type="PAGE", scopes=["email", "pages_show_list"])
    neighbour = sandbox.issue_token(user_id="43", scopes=["email"])
    foreign = sandbox.issue_token(user_id="42", scopes=["email"], app_id="999")

    answer = delete(graph, "/v26.0/me/permissions/email", token)
    assert (answer.status_code, answer.json()) == (200, True)

    data = graph.inspect(token)
    assert data["is_valid"] is True
    assert data["scopes"] == ["public_profile", "pages_show_list"]
    assert data["granular_scopes"] == [{"scope": "pages_show_list", "target_ids": ["103"]}]
    assert graph.inspect(second)["scopes"] == []
    assert graph.inspect(page)["scopes"] == ["pages_show_list"]
    assert graph.inspect(neighbour)["scopes"] == ["email"]
    assert listed(graph, foreign) == {"email": "granted"}
    assert listed(graph, token)["email"] == "declined"
    assert graph.get("/me", as_token=token).status_code == 200


def test_a_permission_that_is_granted_again(quick: Graph) -> None:
    before = quick.sandbox.issue_token(user_id="42", scopes=["email"])
    delete(quick, "/me/permissions/email", before)
    after = quick.sandbox.issue_token(user_id="42", scopes=["email"])
    assert listed(quick, before) == {"email": "granted"}
    assert [quick.inspect(token)["scopes"] for token in (before, after)] == [[], ["email"]]


def test_a_permission_that_nobody_has(quick: Graph) -> None:
    token = quick.sandbox.issue_token(user_id="42", scopes=["email"])
    assert delete(quick, "/me/permissions/nonsense", token).json() is True
    assert listed(quick, token) == {"email": "granted"}


def test_granular_scopes_that_were_never_told_stay_untold(quick: Graph) -> None:
    token = quick.sandbox.issue_token(scopes=["email", "user_posts"])
    delete(quick, "/me/permissions/email", token)
    assert "granular_scopes" not in quick.inspect(token)


def test_the_whole_app_is_removed(graph: Graph) -> None:
    sandbox = graph.sandbox
    token = sandbox.issue_token(user_id="42", scopes=["email"])
    others = [sandbox.issue_token(user_id="42", type=kind) for kind in ("USER", "PAGE")]
    neighbour = sandbox.issue_token(user_id="43")
    foreign = sandbox.issue_token(user_id="42", app_id="999")

    answer = delete(graph, "/me/permissions", token)
    assert (answer.status_code, answer.json()) == (200, True)

    for dead in (token, *others):
        assert graph.inspect(dead)["error"] == {"code": 190, "message": REMOVED, "subcode": 458}
        assert_top_level(graph.get("/me", as_token=dead), 190, REMOVED, 458)
    assert_top_level(delete(graph, "/me/permissions", token), 190, REMOVED, 458)
    assert graph.inspect(neighbour)["is_valid"] is True
    assert graph.get("/me", as_token=foreign).status_code == 200
    assert listed(graph, path="/42/permissions") == {}
    again = sandbox.issue_token(user_id="42", scopes=["public_profile"])
    assert listed(graph, again) == {"public_profile": "granted"}


def test_an_app_takes_from_its_own_people(quick: Graph) -> None:
    token = quick.sandbox.issue_token(user_id="42", scopes=["email", "user_posts"])
    assert delete(quick, "/42/permissions/email").json() is True
    assert quick.inspect(token)["scopes"] == ["user_posts"]
    assert delete(quick, "/42/permissions").json() is True
    assert quick.inspect(token)["error"]["subcode"] == 458
    assert delete(quick, "/42/permissions").json() is True  # nothing is left to take


def test_another_apps_token_takes_from_that_app(quick: Graph) -> None:
    ours = quick.sandbox.issue_token(user_id="42")
    theirs = quick.sandbox.issue_token(user_id="42", app_id="999")
    assert delete(quick, "/me/permissions", theirs).json() is True
    assert quick.inspect(ours)["is_valid"] is True
    assert quick.get("/me", as_token=theirs).json()["error"]["error_subcode"] == 458
    quick.sandbox.remove_app("42")
    assert quick.inspect(ours)["error"]["subcode"] == 458


def test_removing_the_app_by_hand_is_the_same(quick: Graph) -> None:
    theirs = quick.sandbox.issue_token(user_id="42", app_id="999")
    quick.sandbox.issue_token(user_id="42", scopes=["email"])
    quick.sandbox.remove_app("42")
    assert listed(quick, path="/42/permissions") == {}
    assert quick.get("/me", as_token=theirs).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_nobody_elses_permissions(quick: Graph, method: str) -> None:
    token = quick.sandbox.issue_token(user_id="42")
    page = quick.sandbox.issue_token(user_id="42", type="PAGE", profile_id="103")
    quick.sandbox.issue_token(user_id="43")
    start = f"Unsupported {method.lower()} request. Object with ID "
    for asked, caller in (("43", token), ("44", token), ("42", page), ("44", quick.credential)):
        answer = quick.send(method, f"/{asked}/permissions", quick.sandbox.bearer(caller))
        assert answer.json()["error"]["message"].startswith(f"{start}'{asked}' does not exist")
        assert_method_error(answer, answer.json()["error"]["message"], 33)
    assert quick.inspect(token)["is_valid"] is True
    message = "(#100) Tried accessing nonexisting field (permissions) on node type (Page)"
    for path in ("/me/permissions", "/103/permissions"):
        assert_top_level(quick.send(method, path, quick.sandbox.bearer(page)), 100, message)


def test_without_a_token_nothing_is_taken(quick: Graph) -> None:
    token = quick.sandbox.issue_token(user_id="42")
    message = "An active access token must be used to query information about the current user."
    assert_top_level(quick.send("DELETE", "/me/permissions", {}), 2500, message)
    assert_top_level(delete(quick, "/me/permissions"), 2500, message)
    missing = quick.send("DELETE", "/42/permissions", {})
    assert_top_level(missing, 104, "An access token is required to request this resource.")
    assert quick.inspect(token)["is_valid"] is True


def test_a_fault_takes_nothing_and_a_late_answer_does(quick: Graph) -> None:
    token = quick.sandbox.issue_token(user_id="42")
    for fault in ({"status": 500}, {"status": 200, "body": b"true"}):
        quick.sandbox.fail(times=1, **fault)  # type: ignore[arg-type]
        delete(quick, "/me/permissions", token)
        assert quick.inspect(token)["is_valid"] is True
    quick.sandbox.throttle(4)
    delete(quick, "/me/permissions", token)
    quick.sandbox.recover()
    assert quick.inspect(token)["is_valid"] is True
    quick.sandbox.fail(status=None, delay=0.001, times=1)
    assert delete(quick, "/me/permissions", token).json() is True
    assert quick.inspect(token)["is_valid"] is False


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/me/permissions"),
        ("GET", "/me/permissions/email/x"),
        ("DELETE", "/me/permissions/email/x"),
        ("GET", "/someone/permissions"),
        ("DELETE", "/me/feed"),
    ],
)
def test_edges_that_are_not_there(quick: Graph, method: str, path: str) -> None:
    token = quick.sandbox.issue_token()
    error = quick.send(method, path, quick.sandbox.bearer(token)).json()["error"]
    assert (error["code"], error["message"]) == (2500, f"Unknown path components: /{path.split('/', 2)[2]}")
    assert quick.inspect(token)["is_valid"] is True


def test_a_guard_sees_what_was_taken(quick: Graph) -> None:
    token = quick.sandbox.issue_token(user_id="42", scopes=["email", "user_posts"])
    with quick.sandbox.guard(ttl=60.0) as guard:
        assert guard.check(token).scopes == {"email", "user_posts"}
        delete(quick, "/me/permissions/email", token)
        quick.sandbox.clock.advance(61)
        assert guard.check(token).scopes == {"user_posts"}


def test_from_many_threads(quick: Graph) -> None:
    sandbox = quick.sandbox
    scopes = [f"scope_{number}" for number in range(8)]
    tokens = [sandbox.issue_token(user_id="42", scopes=scopes) for _ in range(20)]

    def work(scope: str) -> None:
        assert delete(quick, f"/me/permissions/{scope}", tokens[0]).json() is True
        sandbox.issue_token(user_id="42")

    threads = [threading.Thread(target=work, args=(scope,)) for scope in scopes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(quick.inspect(token)["scopes"] == [] for token in tokens)
    expected = {"public_profile": "granted"} | dict.fromkeys(scopes, "declined")
    assert listed(quick, tokens[0]) == expected
