"""The rest of Graph: the app's node, app tokens, and paths that lead nowhere."""

from __future__ import annotations

import hashlib
import hmac
import re
from urllib.parse import urlencode

import pytest

from fbguard.sandbox import Sandbox
from fbguard.sandbox.graph import answer
from fbguard.sandbox.wire import Request
from fbguard.sandbox.world import App, World

from .conftest import Graph

NODE = {
    "category": "Utilities",
    "link": "https://www.facebook.com/games/?app_id=1234567890",
    "name": "fbguard sandbox",
    "id": "1234567890",
}


def test_client_credentials(graph: Graph) -> None:
    sandbox = graph.sandbox
    fields = {
        "client_id": sandbox.app_id,
        "client_secret": sandbox.app_secret,
        "grant_type": "client_credentials",
    }
    body = graph.bare("/v26.0/oauth/access_token", **fields).json()
    assert list(body) == ["access_token", "token_type"]
    assert body["token_type"] == "bearer"
    assert re.fullmatch(r"1234567890\|[A-Za-z0-9_-]{27}", body["access_token"])
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    posted = graph.send("POST", "/oauth/access_token", form, urlencode(fields).encode())
    assert posted.json() == body
    token = sandbox.issue_token()
    answered = graph.get("/debug_token", as_token=body["access_token"], input_token=token)
    assert answered.json()["data"]["is_valid"] is True


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"client_id": ""}, 101, "Missing client_id parameter."),
        (
            {"client_id": "999"},
            101,
            "Error validating application. Cannot get application info due to a system error.",
        ),
        ({"client_secret": "wrong"}, 1, "Error validating client secret."),
        ({"client_secret": ""}, 1, "Error validating client secret."),
        ({"grant_type": "password"}, 100, "(#100) Invalid parameter"),
        ({"grant_type": ""}, 100, "(#100) Invalid parameter"),
    ],
)
def test_client_credentials_refused(graph: Graph, change: dict[str, str], code: int, message: str) -> None:
    fields = {
        "client_id": graph.sandbox.app_id,
        "client_secret": graph.sandbox.app_secret,
        "grant_type": "client_credentials",
    } | change
    refused = graph.bare("/oauth/access_token", **{name: value for name, value in fields.items() if value})
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["type"], error["code"], error["message"]) == ("OAuthException", code, message)


def test_app_tokens_differ_by_secret_and_are_stable() -> None:
    def token(secret: str) -> str:
        world = World(App("1", "name", secret))
        query = {"client_id": "1", "client_secret": secret, "grant_type": "client_credentials"}
        return answer(world, Request("GET", "/oauth/access_token", query), 0.0).body.decode()

    assert token("one") == token("one")
    assert token("one") != token("two")


def test_the_apps_own_node(graph: Graph) -> None:
    assert graph.get("/1234567890").json() == NODE
    assert graph.get("/v26.0/app").json() == NODE
    assert graph.get("/1234567890", fields="id").json() == {"id": "1234567890"}
    assert graph.get("/app/", fields="name, link").json() == {
        "name": NODE["name"],
        "link": NODE["link"],
        "id": NODE["id"],
    }


def test_the_apps_node_needs_a_good_token(graph: Graph) -> None:
    missing = graph.bare("/1234567890", fields="id")
    assert missing.status_code == 400
    assert missing.json()["error"]["code"] == 104
    wrong = graph.get("/1234567890", as_token="1234567890|wrong", fields="id")
    assert wrong.json()["error"]["code"] == 190
    assert wrong.json()["error"]["message"] == "Invalid OAuth access token signature."
    field = graph.get("/1234567890", fields="id,secret")
    assert field.json()["error"]["message"] == (
        "(#100) Tried accessing nonexisting field (secret) on node type (Application)"
    )


def test_app_is_the_app_of_the_calling_token(quick: Graph) -> None:
    ours = quick.sandbox.issue_token()
    theirs = quick.sandbox.issue_token(app_id="999")
    assert quick.get("/app", as_token=ours, fields="id").json() == {"id": "1234567890"}
    assert quick.get("/app", as_token=theirs, fields="id").json() == {"id": "999"}
    assert quick.get("/1234567890", as_token=theirs, fields="id").json() == {"id": "1234567890"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "kind", "message"),
    [
        ("GET", "/", 400, 100, "GraphMethodException", "Unsupported get request."),
        ("GET", "/v26.0", 400, 100, "GraphMethodException", "Unsupported get request."),
        ("DELETE", "/v26.0/", 400, 100, "GraphMethodException", "Unsupported delete request."),
        (
            "GET",
            "/nobody",
            404,
            803,
            "OAuthException",
            "(#803) Some of the aliases you requested do not exist: nobody",
        ),
        (
            "GET",
            "/99",
            400,
            100,
            "GraphMethodException",
            (
                "Unsupported get request. Object with ID '99' does not exist, cannot be loaded due to missing"
                " permissions, or does not support this operation. Please read the Graph API documentation at"
                " https://developers.facebook.com/docs/graph-api"
            ),
        ),
        ("GET", "/v26.0/99/likes/x", 400, 2500, "OAuthException", "Unknown path components: /likes/x"),
        ("GET", "/oauth/nonsense", 400, 2500, "OAuthException", "Unknown path components: /nonsense"),
        ("GET", "/v26.0x/debug_token", 400, 2500, "OAuthException", "Unknown path components: /debug_token"),
    ],
)
def test_paths_that_lead_nowhere(
    graph: Graph, method: str, path: str, status: int, code: int, kind: str, message: str
) -> None:
    refused = graph.send(method, path, graph.sandbox.bearer(graph.credential))
    assert refused.status_code == status
    error = refused.json()["error"]
    assert (error["code"], error["type"], error["message"]) == (code, kind, message)
    assert ("www-authenticate" in refused.headers) is (kind == "OAuthException")


def test_nothing_of_the_path_breaks_a_header(graph: Graph) -> None:
    refused = graph.bare("/a%0d%0aSet-Cookie:%20x=y%22%C3%A4")
    assert refused.status_code == 404
    assert "set-cookie" not in refused.headers
    assert refused.headers["www-authenticate"].endswith('do not exist: a??Set-Cookie: x=y??"')
    assert refused.json()["error"]["message"].endswith('a\r\nSet-Cookie: x=y"ä')


def test_appsecret_proof(quick: Graph) -> None:
    sandbox = quick.sandbox

    def proof(message: str) -> str:
        return hmac.digest(sandbox.app_secret.encode(), message.encode(), hashlib.sha256).hex()

    now = int(sandbox.clock.time())
    good = [
        {"appsecret_proof": proof(quick.credential)},
        {"appsecret_proof": proof(f"{quick.credential}|{now}"), "appsecret_time": str(now)},
    ]
    late = now - 301
    bad = [
        {"appsecret_proof": proof("something else")},
        {"appsecret_proof": ""},
        {"appsecret_proof": proof(f"{quick.credential}|{late}"), "appsecret_time": str(late)},
        {"appsecret_proof": proof(f"{quick.credential}|x"), "appsecret_time": "x"},
    ]
    for parameters in good:
        assert quick.get("/app", fields="id", **parameters).status_code == 200
    for parameters in bad:
        refused = quick.get("/app", fields="id", **parameters).json()["error"]
        assert (refused["code"], refused["type"]) == (100, "GraphMethodException")
        assert refused["message"] == "Invalid appsecret_proof provided in the API argument"


def test_the_core_is_a_pure_function() -> None:
    world = World(App("1", "name", "secret"))
    request = Request.of("get", "/v26.0/debug_token?input_token=x&input_token=y&access_token=1%7Csecret")
    assert answer(world, request, 1.5) == answer(world, request, 1.5)
    assert request.query["input_token"] == "y"


def test_a_request_shows_nothing_that_may_be_secret() -> None:
    request = Request.of(
        "GET", "/debug_token?input_token=TOPSECRET", [("Authorization", "TOPSECRET")], b"TOPSECRET"
    )
    assert "TOPSECRET" not in repr(request)
    assert "TOPSECRET" not in repr(World(App("1", "name", "TOPSECRET")).app)
    assert repr(Sandbox(app_secret="TOPSECRET")) == "Sandbox(app_id='1234567890', tokens=0)"


def test_a_flood_of_parameters_is_read_as_none() -> None:
    assert Request.of("GET", "/?" + "&".join(f"p{n}=1" for n in range(2000))).query == {}
