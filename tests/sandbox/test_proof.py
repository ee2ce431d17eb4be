"""``appsecret_proof``: that a call was made by who knows the app's secret."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from fbguard.sandbox.control import control
from fbguard.sandbox.graph import answer
from fbguard.sandbox.wire import Reply, Request
from fbguard.sandbox.world import App, IssuedToken, World

from .conftest import Graph, assert_method_error

WRONG = "Invalid appsecret_proof provided in the API argument"
MISSING = "API calls from the server require an appsecret_proof argument"

# Computed apart from this code.
SECRET = "fedcba9876543210fedcba9876543210"
TOKEN = "EAAexampleTOKEN0001ZDZD"
PROOF = "be7a29f055f9140b76d6774d20134957ae16a3a0d437cd9d2001322fb488d6d6"
TIMED_PROOF = "6ddd3ef7b5476b519b95aeaadfc2008478eed4b89879ea5cd230ee62b3143c81"
MOMENT = 1_700_000_000


def prove(graph: Graph, token: str, moment: object = None, secret: str | None = None) -> dict[str, str]:
    message = token if moment is None else f"{token}|{moment}"
    key = graph.sandbox.app_secret if secret is None else secret
    proof = hmac.digest(key.encode(), message.encode(), hashlib.sha256).hex()
    return {"appsecret_proof": proof} | ({} if moment is None else {"appsecret_time": str(moment)})


@pytest.fixture
def world() -> World:
    world = World(App("1234567890", "name", SECRET))
    record = IssuedToken(
        app_id="1234567890",
        type="USER",
        user_id="42",
        profile_id=None,
        scopes=(),
        granular_scopes=None,
        issued_at=MOMENT,
        expires_at=0,
        data_access_expires_at=0,
        long_lived=True,
    )
    world.add(TOKEN, record)
    return world


def ask(world: World, now: float = MOMENT, **params: str) -> Reply:
    return answer(world, Request("GET", "/me", {"access_token": TOKEN, **params}), now)


def test_known_proofs(world: World) -> None:
    assert ask(world, appsecret_proof=PROOF).status == 200
    assert ask(world, appsecret_proof=TIMED_PROOF, appsecret_time=str(MOMENT)).status == 200
    assert ask(world, appsecret_proof=TIMED_PROOF).status == 400
    assert ask(world, appsecret_proof=PROOF, appsecret_time=str(MOMENT)).status == 400
    assert ask(world, appsecret_proof=PROOF.upper()).status == 400


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0, 200), (299, 200), (300, 200), (300.5, 400), (301, 400), (-300, 200), (-301, 400)],
)
def test_a_timed_proof_holds_for_five_minutes(world: World, seconds: float, status: int) -> None:
    timed = {"appsecret_proof": TIMED_PROOF, "appsecret_time": str(MOMENT)}
    assert ask(world, MOMENT + seconds, **timed).status == status


@pytest.mark.parametrize("path", ["/me", "/v26.0/42", "/me/permissions", "/app"])
def test_a_good_proof_opens_every_call(graph: Graph, path: str) -> None:
    token = graph.sandbox.issue_token(user_id="42")
    now = int(graph.sandbox.clock.time())
    for proof in (prove(graph, token), prove(graph, token, now)):
        assert graph.get(path, as_token=token, **proof).status_code == 200
        assert graph.bare(path, access_token=token, **proof).status_code == 200


@pytest.mark.parametrize("path", ["/me", "/42", "/me/permissions", "/app"])
def test_a_wrong_proof_is_refused(graph: Graph, path: str) -> None:
    token = graph.sandbox.issue_token(user_id="42")
    now = int(graph.sandbox.clock.time())
    for proof in (
        prove(graph, "another token"),
        prove(graph, token, secret="another secret"),
        prove(graph, token, now - 302),
        prove(graph, token, now + 320),
        prove(graph, token, f"{now}.5"),
        prove(graph, token, ""),
        prove(graph, token, "\u0661"),
        prove(graph, token, "9" * 5_000),
        prove(graph, token) | {"appsecret_time": str(now)},
        {"appsecret_proof": ""},
        {"appsecret_proof": "ä"},
    ):
        assert_method_error(graph.get(path, as_token=token, **proof), WRONG)


def test_a_timed_proof_grows_old(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    proof = prove(quick, token, int(quick.sandbox.clock.time()))
    assert quick.get("/me", as_token=token, **proof).status_code == 200
    quick.sandbox.clock.advance(301)
    assert_method_error(quick.get("/me", as_token=token, **proof), WRONG)


def test_a_refused_call_changes_nothing(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    headers = quick.sandbox.bearer(token)
    assert_method_error(quick.send("DELETE", "/me/permissions?appsecret_proof=x", headers), WRONG)
    assert quick.inspect(token)["is_valid"] is True


def test_our_secret_proves_nothing_for_another_apps_token(quick: Graph) -> None:
    token = quick.sandbox.issue_token(app_id="999")
    assert_method_error(quick.get("/me", as_token=token, **prove(quick, token)), WRONG)


def test_that_a_token_is_dead_is_told_first(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    quick.sandbox.invalidate(token)
    refused = quick.get("/me", as_token=token, appsecret_proof="x")
    assert refused.json()["error"]["error_subcode"] == 466


def test_without_a_token_a_proof_is_not_looked_at(quick: Graph) -> None:
    assert quick.bare("/me", appsecret_proof="x").json()["error"]["code"] == 2500


def test_the_app_may_ask_for_proofs(graph: Graph) -> None:
    sandbox = graph.sandbox
    user, page = sandbox.issue_token(user_id="42"), sandbox.issue_token(type="PAGE")
    foreign = sandbox.issue_token(app_id="999")
    sandbox.require_proof()
    for token in (user, page):
        assert_method_error(graph.get("/me", as_token=token), MISSING)
        assert_method_error(graph.get("/app", as_token=token, appsecret_time="1"), MISSING)
        assert_method_error(graph.get("/me", as_token=token, appsecret_proof="x"), WRONG)
        assert graph.get("/me", as_token=token, **prove(graph, token)).status_code == 200
    # An app token carries the secret, and what another app asks for is not our setting.
    assert graph.inspect(user)["is_valid"] is True
    assert graph.get("/app").status_code == 200
    assert graph.get("/me", as_token=foreign).status_code == 200
    assert graph.bare("/me").json()["error"]["code"] == 2500
    sandbox.recover()
    assert_method_error(graph.get("/me", as_token=user), MISSING)
    sandbox.require_proof(False)
    assert graph.get("/me", as_token=user).status_code == 200


def test_the_setting_over_the_control_api(quick: Graph) -> None:
    def change(**keywords: Any) -> int:
        body = json.dumps(keywords).encode()
        return control(quick.sandbox, Request("POST", "/sandbox/require_proof", body=body)).status

    token = quick.sandbox.issue_token()
    assert change() == 200
    assert_method_error(quick.get("/me", as_token=token), MISSING)
    assert change(required=False) == 200
    assert quick.get("/me", as_token=token).status_code == 200
    assert change(required="no") == 400


def test_the_setting_is_a_bool(quick: Graph) -> None:
    with pytest.raises(TypeError, match="required"):
        quick.sandbox.require_proof(1)  # type: ignore[arg-type]
