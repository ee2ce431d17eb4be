"""Whose requirement and whose guard judge when several stand on the way."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Security
from flask import Flask
from flask.views import View
from starlette.testclient import TestClient

from fbguard import Requirement, Rule, TokenInfo, require_fb_token
from fbguard.integrations.fastapi import FBToken
from fbguard.sandbox import Sandbox


@pytest.fixture
def ours():
    sandbox = Sandbox()
    with sandbox.guard() as guard:
        yield sandbox, guard


@pytest.fixture
def theirs():
    sandbox = Sandbox(app_id="777")
    with sandbox.guard() as guard:
        yield sandbox, guard


def test_scopes_of_security_are_judged(ours):
    sandbox, guard = ours
    app = FastAPI()
    app.state.fbguard = guard

    @app.get("/")
    async def view(token: Annotated[TokenInfo, Security(FBToken(), scopes=["pages_manage_posts"])]) -> str:
        return token.app_id

    client = TestClient(app)
    assert client.get("/", headers=sandbox.bearer(sandbox.issue_token())).status_code == 403
    granted = sandbox.issue_token(scopes=["pages_manage_posts"])
    assert client.get("/", headers=sandbox.bearer(granted)).status_code == 200


def test_a_guard_of_one_view_judges_no_other(ours, theirs):
    sandbox, guard = theirs
    app = FastAPI(dependencies=[Depends(FBToken(guard=guard))])
    app.state.fbguard = ours[1]

    @app.get("/")
    async def view(token: Annotated[TokenInfo, Depends(FBToken())]) -> str:
        return token.app_id

    # Good for the other app's guard only; ours knows no such token.
    answer = TestClient(app).get("/", headers=sandbox.bearer(sandbox.issue_token()))
    assert answer.status_code == 401


def test_a_subclass_that_overrides_dispatch_is_guarded_too(ours):
    sandbox, guard = ours
    app = Flask("x")

    @require_fb_token(guard=guard)
    class Base(View):
        def dispatch_request(self):
            return "base"

    class Child(Base):
        def dispatch_request(self):
            return "child"

    app.add_url_rule("/", view_func=Child.as_view("child"))
    client = app.test_client()
    assert client.get("/").status_code == 401
    assert client.get("/", headers=sandbox.bearer(sandbox.issue_token())).text == "child"


def test_an_async_generator_is_refused_at_decoration(ours):
    async def stream():
        yield b""

    with pytest.raises(TypeError, match="async generator"):
        require_fb_token(guard=ours[1])(stream)


@pytest.mark.parametrize("path", ["/a/*", "/a/<id>", "/:id", "/caf%C3%A9", "/x?y=1", "/x#y"])
def test_patterns_of_others_are_no_literals(path):
    with pytest.raises(ValueError, match="percent-decoded"):
        Rule(path)


@pytest.mark.parametrize("methods", [["GET,POST"], [""], ["GET "]])
def test_verbs_are_tokens(methods):
    with pytest.raises(ValueError, match="methods"):
        Rule("/x", methods=methods)


@pytest.mark.parametrize("value", [1, ["1"], b"1"])
def test_a_target_callable_returns_text_or_none(ours, value):
    sandbox, guard = ours
    requirement = Requirement(scopes=["email"], target=lambda _params: value)  # type: ignore[arg-type,return-value]
    with pytest.raises(RuntimeError, match="target"):
        guard.check(sandbox.issue_token(scopes=["email"]), requirement, {})
