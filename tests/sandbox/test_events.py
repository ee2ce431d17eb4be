"""What happens to tokens and people, and which tokens it happens to."""

from __future__ import annotations

import re
import threading

import pytest

from fbguard.sandbox import Sandbox

from .conftest import Graph


def subcode(graph: Graph, token: str) -> int | None:
    data = graph.inspect(token)
    return data["error"]["subcode"] if "error" in data else None


@pytest.mark.parametrize(("event", "code"), [("log_out", 467), ("change_password", 460), ("remove_app", 458)])
def test_an_event_ends_the_tokens_so_far_and_no_later_one(quick: Graph, event: str, code: int) -> None:
    sandbox = quick.sandbox
    first, page = sandbox.issue_token(user_id="1"), sandbox.issue_token(user_id="1", type="PAGE")
    neighbour = sandbox.issue_token(user_id="2")
    getattr(sandbox, event)("1")
    again = sandbox.issue_token(user_id="1")
    assert [subcode(quick, token) for token in (first, page, neighbour, again)] == [code, code, None, None]


@pytest.mark.parametrize(("event", "code"), [("checkpoint", 459), ("unconfirm", 464)])
def test_a_hold_bars_later_tokens_too_until_it_is_lifted(quick: Graph, event: str, code: int) -> None:
    sandbox = quick.sandbox
    before = sandbox.issue_token(user_id="1")
    getattr(sandbox, event)("1")
    after, neighbour = sandbox.issue_token(user_id="1"), sandbox.issue_token(user_id="2")
    assert [subcode(quick, token) for token in (before, after, neighbour)] == [code, code, None]
    sandbox.restore("1")
    assert [subcode(quick, token) for token in (before, after)] == [None, None]


def test_a_hold_may_come_before_the_first_token(quick: Graph) -> None:
    quick.sandbox.checkpoint("1")
    assert subcode(quick, quick.sandbox.issue_token(user_id="1")) == 459
    quick.sandbox.restore("3")  # nothing to settle: no error
    quick.sandbox.unconfirm("1")
    assert subcode(quick, quick.sandbox.issue_token(user_id="1")) == 464


def test_what_is_told_when_several_things_happened(quick: Graph) -> None:
    sandbox = quick.sandbox
    token = sandbox.issue_token(user_id="1")
    sandbox.expire(token)
    assert subcode(quick, token) == 463
    sandbox.log_out("1")
    assert subcode(quick, token) == 467
    sandbox.remove_app("1")
    assert subcode(quick, token) == 458
    sandbox.checkpoint("1")
    assert subcode(quick, token) == 459
    sandbox.restore("1")
    assert subcode(quick, token) == 458


def test_expire_and_invalidate_touch_one_token(quick: Graph) -> None:
    sandbox = quick.sandbox
    tokens = [sandbox.issue_token(user_id="1") for _ in range(3)]
    sandbox.expire(tokens[0])
    sandbox.invalidate(tokens[1])
    assert [subcode(quick, token) for token in tokens] == [463, 466, None]


def test_an_app_token_can_be_invalidated_but_not_expired(quick: Graph) -> None:
    token = quick.sandbox.issue_token(type="APP")
    with pytest.raises(ValueError, match="token"):
        quick.sandbox.expire(token)
    quick.sandbox.invalidate(token)
    data = quick.inspect(token)
    assert list(data) == ["app_id", "type", "application", "error", "is_valid", "scopes"]
    assert data["error"]["subcode"] == 466
    refused = quick.get("/app", as_token=token)
    assert refused.json()["error"]["error_subcode"] == 466


@pytest.mark.parametrize("method", ["expire", "invalidate"])
def test_an_unknown_token_is_refused_without_being_repeated(sandbox: Sandbox, method: str) -> None:
    stranger = Sandbox().issue_token()
    with pytest.raises(ValueError, match="token") as caught:
        getattr(sandbox, method)(stranger)
    assert stranger not in repr(caught.value)
    with pytest.raises(TypeError, match="token"):
        getattr(sandbox, method)(None)


@pytest.mark.parametrize("method", ["log_out", "change_password", "remove_app"])
def test_an_unknown_person_is_refused(sandbox: Sandbox, method: str) -> None:
    with pytest.raises(ValueError, match="user_id"):
        getattr(sandbox, method)("1")


@pytest.mark.parametrize(
    "method", ["log_out", "change_password", "remove_app", "checkpoint", "unconfirm", "restore"]
)
def test_a_person_is_named_by_digits(sandbox: Sandbox, method: str) -> None:
    with pytest.raises(TypeError, match="user_id"):
        getattr(sandbox, method)(1)
    for wrong in ("", "abc", "1" * 33, "\u0661"):
        with pytest.raises(ValueError, match="user_id"):
            getattr(sandbox, method)(wrong)


def test_the_shape_of_tokens_and_ids(sandbox: Sandbox, quick: Graph) -> None:
    tokens = [sandbox.issue_token() for _ in range(200)]
    assert len(set(tokens)) == 200
    for token in tokens:
        assert re.fullmatch(r"EAA[A-Za-z0-9]{180,297}", token)
        assert token.endswith("ZDZD")
    people = {quick.inspect(token)["user_id"] for token in tokens[:20]}
    assert len(people) == 20
    assert all(re.fullmatch(r"[1-9][0-9]{15}", person) for person in people)
    assert re.fullmatch(r"77\|[A-Za-z0-9_-]{27}", sandbox.issue_token(type="APP", app_id="77"))


def test_bearer(sandbox: Sandbox) -> None:
    assert sandbox.bearer("abc") == {"Authorization": "Bearer abc"}
    with pytest.raises(TypeError, match="token"):
        sandbox.bearer(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"user_id": 1}, TypeError, "user_id"),
        ({"user_id": "a"}, ValueError, "user_id"),
        ({"scopes": "email"}, TypeError, "scopes"),
        ({"scopes": None}, TypeError, "scopes"),
        ({"scopes": [1]}, TypeError, "scopes"),
        ({"scopes": [""]}, ValueError, "scopes"),
        ({"scopes": ["two words"]}, ValueError, "scopes"),
        ({"scopes": ['"']}, ValueError, "scopes"),
        ({"granular_scopes": "email"}, TypeError, "granular_scopes"),
        ({"granular_scopes": {"email": "1"}}, TypeError, "granular_scopes"),
        ({"granular_scopes": {"email": [1]}}, TypeError, "granular_scopes"),
        ({"granular_scopes": {1: None}}, TypeError, "granular_scopes"),
        ({"granular_scopes": ["email"]}, TypeError, "granular_scopes"),
        ({"granular_scopes": [{}]}, ValueError, "granular_scopes"),
        ({"granular_scopes": [{"scope": "a", "targets": []}]}, ValueError, "granular_scopes"),
        ({"expires_in": "1"}, TypeError, "expires_in"),
        ({"expires_in": True}, TypeError, "expires_in"),
        ({"expires_in": float("nan")}, ValueError, "expires_in"),
        ({"expires_in": float("inf")}, ValueError, "expires_in"),
        ({"expires_in": 1e300}, ValueError, "expires_in"),
        ({"data_access_expires_in": "x"}, TypeError, "data_access_expires_in"),
        ({"data_access_expires_in": float("-inf")}, ValueError, "data_access_expires_in"),
        ({"type": "user"}, ValueError, "type"),
        ({"type": None}, TypeError, "type"),
        ({"type": "APP", "user_id": "1"}, ValueError, "user_id"),
        ({"type": "APP", "granular_scopes": {}}, ValueError, "granular_scopes"),
        ({"profile_id": "1"}, ValueError, "profile_id"),
        ({"type": "PAGE", "profile_id": "x"}, ValueError, "profile_id"),
        ({"app_id": 1}, TypeError, "app_id"),
        ({"app_id": "x"}, ValueError, "app_id"),
        ({"nonsense": 1}, TypeError, "nonsense"),
    ],
)
def test_wrong_options_of_issue_token(
    sandbox: Sandbox, options: dict[str, object], kind: type[Exception], named: str
) -> None:
    with pytest.raises(kind, match=named):
        sandbox.issue_token(**options)  # type: ignore[arg-type]
    assert repr(sandbox).endswith("tokens=0)")


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"app_id": 1}, TypeError, "app_id"),
        ({"app_id": ""}, ValueError, "app_id"),
        ({"app_id": "1|2"}, ValueError, "app_id"),
        ({"app_secret": None}, TypeError, "app_secret"),
        ({"app_secret": ""}, ValueError, "app_secret"),
        ({"app_secret": "a b"}, ValueError, "app_secret"),
        ({"app_secret": "a|b"}, ValueError, "app_secret"),
        ({"app_name": ""}, ValueError, "app_name"),
        ({"app_name": b"x"}, TypeError, "app_name"),
    ],
)
def test_wrong_options_of_a_sandbox(options: dict[str, object], kind: type[Exception], named: str) -> None:
    with pytest.raises(kind, match=named):
        Sandbox(**options)  # type: ignore[arg-type]


def test_an_error_never_repeats_a_secret() -> None:
    with pytest.raises(ValueError, match="app_secret") as caught:
        Sandbox(app_secret="TOP SECRET")
    assert "SECRET" not in repr(caught.value)


def test_issuing_and_ending_from_many_threads(quick: Graph) -> None:
    sandbox = quick.sandbox
    issued: list[str] = []

    def work(number: int) -> None:
        for _ in range(50):
            issued.append(sandbox.issue_token(user_id="1"))
            sandbox.log_out("1")
            sandbox.issue_token(user_id=str(number + 10))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(issued)) == 400
    sandbox.change_password("1")
    assert {subcode(quick, token) for token in issued} == {460}
