"""Rows H16-H18 in Flask, and views of every kind, with and without a door."""

# ruff: noqa: N802 - some tests are named after the rows

from __future__ import annotations

import functools
import inspect

import pytest
from flask import Flask, g
from flask.views import MethodView, View

from fbguard import Policy, Requirement, Rule, current_token, require_fb_token, wsgi
from fbguard.core import background
from tests.integrations.flask_apps import BEARER, PLACES, nothing_left, put
from tests.support import TOKEN, Server, call_wsgi, valid, wsgi_environ

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


def user() -> str:
    assert g.fb_token is current_token(required=True)
    return str(g.fb_token.user_id)


@require_fb_token(scopes=["email"])
def sync_view() -> str:
    return user()


@require_fb_token(scopes=["email"])
async def async_view() -> str:
    return user()


@require_fb_token(scopes=["email"])
def generator_view():
    yield current_token(required=True).user_id


class Methods(MethodView):
    @require_fb_token(scopes=["email"])
    def get(self) -> str:
        return user()

    @staticmethod
    @require_fb_token(scopes=["email"])
    def static() -> str:
        return user()


class AsyncMethods(MethodView):
    @require_fb_token(scopes=["email"])
    async def get(self) -> str:
        return user()


@require_fb_token(scopes=["email"])
class Whole(MethodView):
    def get(self) -> str:
        return user()


class Child(Whole):
    """Guarded as its parent is."""


@require_fb_token(scopes=["email"])
class AsyncWhole(MethodView):
    async def get(self) -> str:
        return user()


@require_fb_token(scopes=["email"])
class AsyncDispatch(View):
    async def dispatch_request(self) -> str:
        return user()


class Listed(MethodView):
    decorators = (require_fb_token(scopes=["email"]),)

    def get(self) -> str:
        return user()


def _word(word: str, *, polite: bool) -> str:
    return f"{user()}" if polite else word


class Callable:
    def __call__(self) -> str:
        return user()


VIEWS = {
    "sync": sync_view,
    "async": async_view,
    "generator": generator_view,
    "method": Methods.as_view("m"),
    "async method": AsyncMethods.as_view("am"),
    "staticmethod": Methods.static,
    "class": Whole.as_view("w"),
    "child": Child.as_view("c"),
    "class of async methods": AsyncWhole.as_view("aw"),
    "async dispatch": AsyncDispatch.as_view("ad"),
    "decorators": Listed.as_view("l"),
    "partial": require_fb_token(scopes=["email"])(functools.partial(_word, "word", polite=True)),
    "object": require_fb_token(scopes=["email"])(Callable()),
    "bound": require_fb_token(scopes=["email"])(Callable().__call__),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("policy", [None, Policy()], ids=["none", "guarded"])
@pytest.mark.parametrize("kind", VIEWS)
def test_H18_every_kind_of_view_is_guarded(guard, graph, place, policy, kind):
    if place == "extensions" and policy is not None:
        return
    app = Flask("kinds")
    app.add_url_rule("/", "view", VIEWS[kind])
    client = put(place, app, guard, policy)
    graph.replies["poor"] = valid(scopes=[])
    for _ in range(2):
        assert client.get("/").status_code == 401
        assert client.get("/", headers={"Authorization": "Bearer poor"}).status_code == 403
        answer = client.get("/", headers=BEARER)
        assert (answer.status_code, answer.text) == (200, "1001")
    assert sorted(graph.calls) == sorted([TOKEN, "poor"])
    assert nothing_left()


@pytest.mark.parametrize("kind", ["async", "async method", "class of async methods", "async dispatch"])
@pytest.mark.parametrize("place", PLACES)
def test_H18_an_async_view_looks_up_on_a_loop_that_stays(guard, graph, place, kind):
    app = Flask("async")
    app.add_url_rule("/", "view", VIEWS[kind])
    assert put(place, app, guard).get("/", headers=BEARER).text == "1001"
    assert graph.loops == [background.running()]


def test_H18_name_and_signature_stay():
    def view(page: int, *, word: str = "") -> str:
        """Say something."""
        return word

    guarded = require_fb_token(view)
    assert (guarded.__name__, guarded.__doc__, guarded.__wrapped__) == ("view", "Say something.", view)
    assert inspect.signature(guarded) == inspect.signature(view)
    assert inspect.iscoroutinefunction(async_view)
    assert (Whole.__name__, inspect.isclass(Whole)) == ("Whole", True)
    assert Methods.as_view("x").__name__ == "x"
    assert Whole.get.__name__ == "get"


@pytest.mark.parametrize("wrong", [object(), 3, type("NoView", (), {})])
def test_H18_what_is_no_view(wrong):
    with pytest.raises(TypeError):
        require_fb_token(wrong)


def test_H17_a_guard_above_the_route_decorator_guards_nothing(guard):
    """Flask has registered the bare view by then. A door that guards paths refuses all the same."""
    for policy, status in ((None, 200), (Policy(), 401)):
        app = Flask("order")

        @require_fb_token(scopes=["email"])
        @app.get("/wrong")
        def wrong() -> str:
            return "bare"

        @app.get("/right")
        @require_fb_token(scopes=["email"])
        def right() -> str:
            return "never"

        client = put("FBGuard", app, guard, policy)
        assert client.get("/wrong").status_code == status
        assert client.get("/right").status_code == 401


def test_H17_a_class_may_be_decorated_after_as_view(guard):
    class Late(MethodView):
        def get(self) -> str:
            return "never"

    view = Late.as_view("late")
    require_fb_token(Late)
    app = Flask("late")
    app.add_url_rule("/", view_func=view)
    assert put("FBGuard", app, guard, None).get("/").status_code == 401


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "values",
    [
        ("Bearer a", "Bearer b"),
        (f"Bearer {TOKEN}",) * 2,
        (f"Bearer {TOKEN}", ""),
        ("Basic x", f"Bearer {TOKEN}"),
    ],
)
def test_H16_two_authorization_headers_as_servers_join_them(guard, graph, place, values):
    """An HTTP/2 server gives a WSGI app what an HTTP/1.1 server gives it."""
    app = Flask("h2")
    app.add_url_rule("/", "view", sync_view)
    client = put(place, app, guard)
    environ = wsgi_environ(headers=[("authorization", value) for value in values], SERVER_PROTOCOL="HTTP/2")
    answer = call_wsgi(client.application, environ)
    assert (answer.status, answer.reason) == (400, "invalid_request")
    assert graph.calls == []


@pytest.mark.parametrize("name", ["authorization", "AUTHORIZATION", "aUthOrization"])
def test_H16_the_case_of_the_header(guard, name):
    app = Flask("h2")
    app.add_url_rule("/", "view", sync_view)
    environ = wsgi_environ(headers=[(name, f"bearer {TOKEN}")], SERVER_PROTOCOL="HTTP/2")
    assert call_wsgi(put("FBGuard", app, guard).application, environ).body == b"1001"


OPTIONAL = Policy(Rule("/public", public=True), default=Requirement(optional=True))


@pytest.mark.parametrize("policy", [None, OPTIONAL])
def test_g_has_the_facts_below_a_plain_door_also_none(guard, policy):
    app = Flask(__name__)
    door = wsgi.FBTokenMiddleware(app.wsgi_app, guard, policy=policy)

    @app.get("/x")
    @app.get("/public")
    def seen() -> str:
        return repr(getattr(g.fb_token, "user_id", None))

    @app.get("/asks")
    def asks() -> str:
        environ = wsgi_environ("/x", headers=[("Authorization", f"Bearer {TOKEN}2")])
        inner = Server().serve(door, environ).body.decode()
        return f"{inner} {getattr(g.fb_token, 'user_id', None)!r}"

    def asked(path: str, token: str | None = TOKEN) -> str:
        headers = [] if token is None else [("Authorization", f"Bearer {token}")]
        return Server().serve(door, wsgi_environ(path, headers=headers)).body.decode()

    for _ in range(2):
        assert asked("/x") == ("None" if policy is None else "'1001'")
        assert asked("/x", None) == asked("/public") == "None"
        if policy is not None:
            assert asked("/asks", None) == "'1001' None"
