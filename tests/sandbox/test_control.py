"""The control API: the sandbox's methods over HTTP."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from fbguard.sandbox import Sandbox
from fbguard.sandbox.control import control, is_control
from fbguard.sandbox.wire import Request

from .conftest import Graph


def post(sandbox: Sandbox, method: str, /, **keywords: Any) -> tuple[int, Any]:
    return raw(sandbox, method, json.dumps(keywords).encode())


def raw(sandbox: Sandbox, method: str, body: bytes, verb: str = "POST") -> tuple[int, Any]:
    reply = control(sandbox, Request.of(verb, f"/sandbox/{method}", body=body))
    return reply.status, json.loads(reply.body)


def test_the_whole_story_of_a_token(sandbox: Sandbox, quick: Graph) -> None:
    status, body = post(
        sandbox, "issue_token", user_id="42", scopes=["email"], granular_scopes={"email": None}
    )
    assert status == 200
    assert list(body) == ["result"]
    token = body["result"]
    assert quick.inspect(token)["granular_scopes"] == [{"scope": "email"}]
    for method, code in [
        ("log_out", 467),
        ("change_password", 460),
        ("remove_app", 458),
        ("unconfirm", 464),
        ("checkpoint", 459),
    ]:
        assert post(sandbox, method, user_id="42") == (200, {"result": None})
        assert quick.inspect(token)["error"]["subcode"] == code
    assert post(sandbox, "restore", user_id="42") == (200, {"result": None})
    assert quick.inspect(token)["error"]["subcode"] == 458


def test_tokens_time_and_moods(sandbox: Sandbox, quick: Graph) -> None:
    tokens = [raw(sandbox, "issue_token", b"")[1]["result"] for _ in range(3)]
    assert post(sandbox, "expire", token=tokens[0]) == (200, {"result": None})
    assert post(sandbox, "invalidate", token=tokens[1]) == (200, {"result": None})
    assert [quick.inspect(token).get("error", {}).get("subcode") for token in tokens] == [463, 466, None]
    assert post(sandbox, "advance", seconds=3600) == (200, {"result": None})
    assert quick.inspect(tokens[2])["error"]["subcode"] == 463
    assert post(sandbox, "throttle", code=4) == (200, {"result": None})
    assert quick.get("/app").json()["error"]["code"] == 4
    assert post(sandbox, "throttle", code=None) == (200, {"result": None})
    assert post(sandbox, "fail", status=200, body="ä", times=1, headers={"X-A": "b"})[0] == 200
    answer = quick.get("/app")
    assert (answer.text, answer.headers["x-a"]) == ("ä", "b")
    assert post(sandbox, "fail", drop=True)[0] == 200
    assert raw(sandbox, "recover", b"{}") == (200, {"result": None})
    assert quick.get("/app").status_code == 200


def test_over_the_wire_and_not_in_the_log(graph: Graph, sandbox: Sandbox) -> None:
    with sandbox.serve() as url, httpx.Client(base_url=url) as client:
        token = client.post("/sandbox/issue_token", json={"user_id": "9"}).json()["result"]
        assert client.get("/sandbox/calls").json() == {"result": []}
        assert graph.inspect(token)["user_id"] == "9"
        refused = client.post("/sandbox/issue_token", json={"scopes": "email"})
        assert (refused.status_code, list(refused.json())) == (400, ["error"])
        assert client.get("/sandbox/calls").json() == {
            "result": [{"method": "GET", "path": "/v26.0/debug_token", "status": 200}]
        }
        # The control API answers while Graph does not.
        client.post("/sandbox/fail", json={"drop": True})
        assert client.post("/sandbox/recover").json() == {"result": None}
    assert len(sandbox.calls) == 1


@pytest.mark.parametrize(
    ("method", "keywords", "named"),
    [
        ("issue_token", {"nonsense": 1}, "nonsense"),
        ("issue_token", {"targets": ["1"]}, "it takes user_id, scopes, granular_scopes"),
        ("issue_token", {"scopes": "email"}, "scopes"),
        ("issue_token", {"expires_in": "1"}, "expires_in"),
        ("expire", {}, "token"),
        ("expire", {"token": "TOPSECRET"}, "token"),
        ("log_out", {"user_id": "1"}, "user_id"),
        ("throttle", {"code": 3}, "code"),
        ("fail", {"status": "x"}, "status"),
        ("advance", {"seconds": -1}, "seconds"),
        ("recover", {"x": 1}, "x"),
    ],
)
def test_wrong_keywords_are_named(
    sandbox: Sandbox, method: str, keywords: dict[str, Any], named: str
) -> None:
    status, body = post(sandbox, method, **keywords)
    assert status == 400
    assert list(body) == ["error"]
    assert named in body["error"]
    assert "TOPSECRET" not in body["error"]


@pytest.mark.parametrize("body", [b"[]", b"1", b"{", b"\xff", b"[" * 100_000, b'"x"'])
def test_bodies_that_are_no_object(sandbox: Sandbox, body: bytes) -> None:
    status, answer = raw(sandbox, "recover", body)
    assert status == 400
    assert "body" in answer["error"]


@pytest.mark.parametrize(
    "method",
    [
        "",
        "nonsense",
        "guard",
        "serve",
        "handle",
        "bearer",
        "_issued",
        "__init__",
        "clock",
        "clock.advance",
        "x/y",
    ],
)
def test_only_listed_methods_can_be_called(sandbox: Sandbox, method: str) -> None:
    status, body = post(sandbox, method)
    assert status == 404
    assert list(body) == ["error"]


def test_the_verb_matters(sandbox: Sandbox) -> None:
    assert raw(sandbox, "recover", b"", "GET")[0] == 405
    assert raw(sandbox, "calls", b"", "POST")[0] == 405
    assert raw(sandbox, "calls", b"", "GET") == (200, {"result": []})


def test_which_paths_are_the_control_apis() -> None:
    assert is_control("/sandbox/calls")
    assert not is_control("/v26.0/sandbox/calls")
    assert not is_control("/sandboxes")


def test_an_unknown_method_is_answered_with_those_there_are(sandbox: Sandbox) -> None:
    status, body = post(sandbox, "isue_token")
    assert status == 404
    assert "there are advance, batch," in body["error"]
