"""What FastAPI's schema tells about guarded routes, and that it is true."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient

from fbguard import TokenInfo
from fbguard.integrations.fastapi import REFUSALS, FBToken, OptionalFBToken
from fbguard.testing import assert_refused

pytest_plugins = ["fbguard.testing"]

SCHEME = "FacebookToken"
Emailed = Annotated[TokenInfo, Depends(FBToken(scopes=["email"]))]
JSON_TYPES = {"object": dict, "array": list, "string": str, "integer": int, "null": type(None)}


def _app() -> FastAPI:
    app = FastAPI(responses=REFUSALS)
    posts = APIRouter(prefix="/posts", dependencies=[Depends(FBToken(scopes=["user_posts"]))])

    @app.get("/health", responses={})
    def health() -> None: ...

    @app.get("/me")
    def me(token: Annotated[TokenInfo, Depends(FBToken())]) -> None: ...

    @app.get("/email")
    def email(token: Emailed) -> None: ...

    @app.get("/either", dependencies=[Depends(FBToken(any_scope=["email", "user_posts"]))])
    def either() -> None: ...

    @app.get("/feed")
    def feed(token: Annotated[TokenInfo | None, Depends(OptionalFBToken())]) -> None: ...

    @posts.get("/mine", dependencies=[Depends(FBToken(scopes=["email", "user_posts"]))])
    def mine(token: Emailed) -> None: ...

    app.include_router(posts)
    return app


@pytest.fixture
def schema() -> dict[str, Any]:
    answer = TestClient(_app()).get("/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def test_one_security_scheme(schema):
    scheme = {"type": "http", "scheme": "bearer", "description": "A Facebook access token of this app."}
    assert schema["components"]["securitySchemes"] == {SCHEME: scheme}


@pytest.mark.parametrize(
    ("path", "scopes"),
    [
        ("/health", None),
        ("/me", []),
        ("/email", ["email"]),
        ("/either", ["email", "user_posts"]),
        ("/feed", []),
        ("/posts/mine", ["email", "user_posts"]),  # of the router, the route and the parameter
    ],
)
def test_scopes_of_a_route(schema, path, scopes):
    security = schema["paths"][path]["get"].get("security")
    if scopes is None:
        assert security is None
    else:
        [only] = security
        assert {name: sorted(listed) for name, listed in only.items()} == {SCHEME: scopes}


def test_nothing_of_the_dependency_becomes_a_parameter(schema):
    assert all("parameters" not in path["get"] for path in schema["paths"].values())
    assert all("requestBody" not in path["get"] for path in schema["paths"].values())


def check(schema: dict[str, Any], value: object, where: str = "body") -> None:
    """Be as much of a JSON Schema validator as the documented schema needs."""
    assert set(schema) <= {"type", "required", "properties", "enum", "items"}, where
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    assert isinstance(value, tuple(JSON_TYPES[name] for name in types)), where
    assert not isinstance(value, bool), where
    if "enum" in schema:
        assert value in schema["enum"], where
    if isinstance(value, list):
        for one in value:
            check(schema["items"], one, f"{where}[]")
    if isinstance(value, dict):
        assert set(value) == set(schema["required"]) == set(schema["properties"]), where
        for name, inner in schema["properties"].items():
            check(inner, value[name], f"{where}.{name}")


def test_the_documented_refusals_are_the_real_ones(schema, fb_sandbox, fb_guard, fb_token):
    app = _app()
    app.state.fbguard = fb_guard
    client = TestClient(app)
    documented = schema["paths"]["/email"]["get"]["responses"]
    assert set(documented) == {"200", "401", "403", "503"}
    expired, checked = fb_token(expires_in=-1), fb_token(user_id="42")
    fb_sandbox.checkpoint("42")
    for happens, headers, reason in (
        (None, {}, "missing_token"),
        (None, fb_sandbox.bearer(expired), "expired"),
        (None, fb_sandbox.bearer(checked), "checkpointed"),
        (None, fb_token.headers(), "insufficient_scope"),
        (lambda: fb_sandbox.fail(500), fb_token.headers(), "unavailable"),
        (lambda: (fb_sandbox.recover(), fb_sandbox.throttle(4)), fb_token.headers(), "throttled"),
    ):
        if happens:
            happens()
        answer = client.get("/email", headers=headers)
        body = assert_refused(answer, reason)
        content = documented[str(answer.status_code)]["content"]
        check(content[answer.headers["content-type"]]["schema"], body)


@pytest.mark.parametrize("change", ["reason", "relogin.action", "relogin.scopes", "more"])
def test_the_check_of_the_schema_can_fail(schema, fb_token, fb_guard, change):
    app = _app()
    app.state.fbguard = fb_guard
    body = TestClient(app).get("/email").json()
    if change == "relogin.action":
        body["relogin"]["action"] = "jump"
    elif change == "relogin.scopes":
        body["relogin"]["scopes"] = [1]
    else:
        body[change] = None
    content = schema["paths"]["/email"]["get"]["responses"]["401"]["content"]
    with pytest.raises(AssertionError):
        check(content["application/problem+json"]["schema"], body)


def test_the_schema_page_has_the_authorize_button():
    assert "/openapi.json" in TestClient(_app()).get("/docs").text
