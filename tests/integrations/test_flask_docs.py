"""The complete blocks of docs/flask.md run as they stand there."""

import re
from pathlib import Path

import pytest
from werkzeug.test import Client

from fbguard import Refused
from fbguard.sandbox import Sandbox

PAGE = (Path(__file__).parents[2] / "docs" / "flask.md").read_text()
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)
POSTS = {"scopes": ["pages_manage_posts", "email"], "expires_in": 5_000_000}


@pytest.fixture
def sandbox(monkeypatch):
    sandbox = Sandbox()
    with sandbox.serve() as url:
        monkeypatch.setenv("FBGUARD_APP_ID", sandbox.app_id)
        monkeypatch.setenv("FBGUARD_APP_SECRET", sandbox.app_secret)
        monkeypatch.setenv("FBGUARD_GRAPH_URL", url)
        yield sandbox


@pytest.fixture
def run():
    """Give ``run(number)``: the names that a block leaves."""
    apps = []

    def run(number):
        namespace = {"__name__": f"flask_{number}"}
        exec(compile(BLOCKS[number], f"docs/flask.md, block {number}", "exec"), namespace)
        apps.append(namespace["app"])
        return namespace

    yield run
    for app in apps:
        if "fbguard" in app.extensions:
            app.extensions["fbguard"].close()


def test_there_are_as_many_blocks_as_tests_know():
    assert len(BLOCKS) == 6
    assert all(len(line) <= 130 for line in PAGE.splitlines())


def test_the_smallest_app(run, sandbox):
    client = Client(run(0)["app"])
    assert client.get("/me").status_code == 401
    assert client.get("/me", headers=sandbox.bearer(sandbox.issue_token(user_id="42"))).json == {"user": "42"}


def test_the_policy(run, sandbox):
    app = run(1)["app"]
    for path in ("/health", "/feed", "/pages/<page_id>/posts", "/else"):
        app.add_url_rule(path, path, lambda **params: "hello")
    client = Client(app)
    bearer = sandbox.bearer(sandbox.issue_token(scopes=["email"]))
    paths = ["/health", "/feed", "/else", "/pages/7/posts"]
    assert [client.get(path).status_code for path in paths] == [200, 200, 401, 401]
    assert [client.get(path, headers=bearer).status_code for path in paths] == [200, 200, 200, 403]


def test_the_decorator(run, sandbox):
    client = Client(run(2)["app"])
    poor = sandbox.bearer(sandbox.issue_token())
    rich = sandbox.bearer(sandbox.issue_token(**POSTS, granular_scopes={"pages_manage_posts": ["7"]}))
    assert client.post("/newsletter", headers=poor).status_code == 403
    assert client.post("/newsletter", headers=rich).status_code == 200
    assert client.get("/pages/7/posts", headers=rich).json == {"page": 7, "posts": []}
    assert client.get("/pages/8/posts", headers=rich).status_code == 403
    assert client.delete("/pages/7/posts", headers=rich).json == {"deleted": 7}


def test_settings(run):
    namespace = run(3)
    client = Client(namespace["app"])
    assert [client.get(path).status_code for path in ("/health", "/me")] == [404, 401]
    assert namespace["guard"].app_id == "1234567890"


def test_the_errorhandler(run, sandbox):
    from fbguard.integrations.flask import FBGuard

    app = run(4)["app"]
    FBGuard(app, sandbox.guard())
    answer = Client(app).get("/")
    assert (answer.status_code, answer.json) == (401, {"error": "missing_token", "login": None})
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert Refused in app.error_handler_spec[None][None]


def test_testing(run):
    run(5)
