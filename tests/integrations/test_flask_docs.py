"""The complete blocks of docs/flask.md run as they stand there."""

import re
from pathlib import Path

import pytest
from flask import Flask
from flask.views import MethodView
from werkzeug.exceptions import NotFound
from werkzeug.test import Client

from fbguard import Policy, Refused, Rule, require_fb_token
from fbguard.integrations.flask import FBGuard
from fbguard.sandbox import Sandbox

PAGE = (Path(__file__).parents[2] / "docs" / "flask.md").read_text()
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)
POSTS = {"scopes": ["pages_manage_posts", "email"], "expires_in": 5_000_000}


@pytest.fixture
def sandbox(facebook_in_environment):
    return facebook_in_environment


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
    assert len(BLOCKS) == 7
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
    app = run(4)["app"]
    FBGuard(app, sandbox.guard())
    answer = Client(app).get("/")
    assert (answer.status_code, answer.json) == (401, {"error": "missing_token", "login": None})
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Authorization" in answer.headers["Vary"]
    assert answer.headers.getlist("Content-Type") == ["application/json"]
    assert Refused in app.error_handler_spec[None][None]


def test_testing(run):
    run(5)


class Bare(MethodView):
    def get(self, **params):
        return "hello"

    @require_fb_token
    def delete(self, **params):
        return "gone"


def hello(**params):
    return "hello"


ROUTES = (
    "/",
    "/string/<name>/",
    "/<string(length=1):name>/short",
    "/int/<int(signed=True):number>",
    "/float/<float:number>/x",
    "/path/<path:rest>/end",
    "/uuid/<uuid:one>/<uuid:two>",
    "/any/<any(about, help):page>",
    '/any/<any("two words", help):page>',
)


@pytest.fixture
def sweep(run):
    """Give ``sweep(views, policy)``: what the page finds in an app of them and of guarded views."""
    page = run(6)
    page["test_no_route_is_open"]()

    def sweep(views, policy=None):
        app = Flask("swept")
        FBGuard(app, Sandbox().guard(), policy=policy)
        for number, route in enumerate(ROUTES):
            verbs = ["GET", "POST", "PUT"]
            app.add_url_rule(f"/good{route}", f"good{number}", require_fb_token(hello), methods=verbs)
        for number, (route, view) in enumerate(views.items()):
            app.add_url_rule(route, f"view{number}", view)
        try:
            return list(page["open_routes"](app))
        finally:
            app.extensions["fbguard"].close()

    sweep.page = page
    return sweep


def test_no_route_is_open(sweep):
    assert sweep({}) == []
    assert sweep({"/bare": hello}, Policy()) == []
    assert sweep({"/pages/<int:page>": require_fb_token(type("Whole", (Bare,), {})).as_view("whole")}) == []


@pytest.mark.parametrize("route", ROUTES)
def test_a_bare_view_is_found(sweep, route):
    assert sweep({f"/bare{route}": hello}) == [f"GET /bare{route}"]
    assert sweep({f"/bare{route}": hello}, Policy(Rule("/bare/{rest:path}", public=True))) == [
        f"GET /bare{route}"
    ]


def test_a_bare_method_is_found(sweep):
    assert sweep({"/pages/<uuid:page>": Bare.as_view("bare")}) == ["GET /pages/<uuid:page>"]


def test_a_path_that_cannot_be_made_is_no_pass(sweep):
    route = "/codes/<string(length=2):code>"
    with pytest.raises(NotFound):
        sweep({route: require_fb_token(hello)})
    with pytest.raises(AssertionError, match="PATHS needs a path of"):
        sweep({"/one/<name>": require_fb_token(hello), "/one/x": require_fb_token(hello)})
    sweep.page["PATHS"][route] = "/codes/de"
    assert sweep({route: require_fb_token(hello)}) == []
    assert sweep({route: hello}) == [f"GET {route}"]
