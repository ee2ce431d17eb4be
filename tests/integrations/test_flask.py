"""FBGuard: configuration, where the facts are, streamed bodies, and what is left behind."""

# ruff: noqa: N802 - some tests are named after the rows

from __future__ import annotations

import threading
import traceback
from pathlib import Path

import pytest
from flask import Blueprint, Flask, Response, g, jsonify, request, stream_with_context
from werkzeug.test import Client

from fbguard import Guard, Policy, Requirement, Rule, current_token, require_fb_token
from fbguard.integrations.flask import FBGuard
from fbguard.wsgi import FBTokenMiddleware
from tests.integrations.flask_apps import BEARER, PLACES, nothing_left, put
from tests.support import APP_ID, NOW, SECRET, TOKEN, call_wsgi, valid, wsgi_environ

HEALTH = Policy(Rule("/health", public=True), Rule("/static/{file:path}", public=True))
CONFIG = {"FBGUARD_APP_ID": APP_ID, "FBGUARD_APP_SECRET": SECRET}


def site() -> Flask:
    app = Flask("site", static_folder=str(Path(__file__).parent), static_url_path="/static")

    @app.get("/me")
    def me() -> object:
        info = current_token()
        assert g.fb_token is info
        assert request.environ["fbguard.token"] is info
        return jsonify(user=info and info.user_id)

    app.add_url_rule("/health", "health", lambda: jsonify(user=g.fb_token))
    return app


@pytest.fixture(autouse=True)
def _nothing_is_left():
    yield
    assert nothing_left()


# -- configuration ---------------------------------------------------------------------------------


def test_the_whole_app_is_guarded(guard, graph):
    app = site()
    FBGuard(app, guard)
    client = app.test_client()
    assert app.extensions["fbguard"] is guard
    assert [client.get(path).status_code for path in ("/me", "/health", "/nowhere")] == [401] * 3
    assert client.get("/me", headers=BEARER).json == {"user": "1001"}
    assert client.get("/nowhere", headers=BEARER).status_code == 404
    assert graph.calls == [TOKEN]


def test_static_files_and_health_are_public_rules(guard, graph):
    app = site()
    FBGuard(app, guard, policy=HEALTH)
    client = app.test_client()
    assert client.get("/health", headers=BEARER).json == {"user": None}
    with client.get("/static/flask_apps.py") as file:
        assert file.status_code == 200
    assert client.get("/me").status_code == 401
    assert graph.calls == []


def test_an_app_factory_with_blueprints(guard):
    extension = FBGuard(guard=guard, policy=Policy(Rule("/shop/admin", scopes=["user_posts"])))
    shop = Blueprint("shop", "shop", url_prefix="/shop")
    shop.add_url_rule("/", "front", lambda: f"user {g.fb_token.user_id}")
    shop.add_url_rule("/admin", "admin", lambda: "never")
    shop.add_url_rule("/mail", "mail", require_fb_token(scopes=["user_posts"])(lambda: "never"))

    def create_app() -> Flask:
        app = site()
        extension.init_app(app)
        app.register_blueprint(shop)
        return app

    for app in (create_app(), create_app()):  # one extension, several apps
        client = app.test_client()
        assert client.get("/shop/").status_code == 401
        assert client.get("/shop/", headers=BEARER).text == "user 1001"
        assert client.get("/shop/admin", headers=BEARER).status_code == 403
        assert client.get("/shop/mail", headers=BEARER).status_code == 403


@pytest.mark.parametrize(
    "policy", [HEALTH, {"rules": [{"path": "/health", "public": True}]}], ids=["Policy", "mapping"]
)
def test_the_config_of_the_app(graph, clock, policy):
    app = site()
    app.config.from_mapping(
        CONFIG, FBGUARD_TRANSPORT=graph, FBGUARD_CLOCK=clock, FBGUARD_TTL=5, FBGUARD_POLICY=policy
    )
    FBGuard().init_app(app)
    client = app.test_client()
    with app.extensions["fbguard"]:
        assert client.get("/health").status_code == 200
        assert client.get("/me").status_code == 401
        for _ in range(2):
            assert client.get("/me", headers=BEARER).status_code == 200
            clock.advance(6)  # beyond the configured ttl
    assert len(graph.calls) == 2


def test_a_policy_given_wins_over_the_config(guard):
    app = site()
    app.config["FBGUARD_POLICY"] = None
    FBGuard(app, guard, policy=Policy(Rule("/me", public=True)))
    assert [app.test_client().get(path).status_code for path in ("/me", "/health")] == [200, 401]


def test_policy_none_in_the_config(guard):
    app = site()
    app.config["FBGUARD_POLICY"] = None
    FBGuard(app, guard)
    assert app.test_client().get("/me", headers=BEARER).json == {"user": None}


@pytest.mark.parametrize(
    ("config", "error", "match"),
    [
        ({}, RuntimeError, "FBGUARD_APP_ID"),
        ({"FBGUARD_POLICY": HEALTH}, RuntimeError, "FBGUARD_APP_ID"),
        ({"FBGUARD_APP_SECRET": SECRET}, TypeError, "^FBGUARD_APP_ID is missing$"),
        (CONFIG | {"FBGUARD_APP_ID": 123}, TypeError, "^FBGUARD_APP_ID must be a str, not int$"),
        (CONFIG | {"FBGUARD_TTLL": 1}, TypeError, "no option 'FBGUARD_TTLL'; is it 'FBGUARD_TTL'"),
        (CONFIG | {"FBGUARD_POLCY": None}, TypeError, "no option 'FBGUARD_POLCY'; is it 'FBGUARD_POLICY'"),
        (CONFIG | {"FBGUARD_QUUX": 1}, TypeError, "^FBGuard has no option 'FBGUARD_QUUX'$"),
        ({"FBGUARD_APPID": "1"}, TypeError, "no option 'FBGUARD_APPID'; is it 'FBGUARD_APP_ID'"),
        (CONFIG | {"FBGUARD_APP_SECRET": SECRET + " "}, ValueError, "^FBGUARD_APP_SECRET must not be blank"),
        (CONFIG | {"FBGUARD_STORE": "nowhere"}, ValueError, "^FBGUARD_STORE"),
        (CONFIG | {"FBGUARD_TTL": -1}, ValueError, "^FBGUARD_TTL must be"),
        (CONFIG | {"FBGUARD_POLICY": "site.policy"}, TypeError, "policy"),
        (CONFIG | {"FBGUARD_POLICY": {"rules": [{"path": "/a", "scopes": "email"}]}}, TypeError, "rules"),
    ],
)
def test_wrong_configuration_is_refused_at_init_app(config, error, match):
    app = site()
    app.config.from_mapping(config)
    with pytest.raises(error, match=match) as caught:
        FBGuard(app)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert "fbguard" not in app.extensions
    assert app.test_client().get("/nowhere").status_code == 404  # the app is as it was


@pytest.mark.parametrize("wrong", [{"guard": object()}, {"guard": APP_ID}])
def test_what_is_no_guard(wrong):
    with pytest.raises(TypeError, match="guard must be a Guard"):
        FBGuard(site(), **wrong)


@pytest.mark.parametrize("given", [lambda guard: (guard,), lambda guard: (guard, site())])
def test_the_app_comes_first(guard, given):
    with pytest.raises(TypeError, match=r"^FBGuard guards a Flask app, not Guard: FBGuard\(app, guard\)$"):
        FBGuard(*given(guard))


def test_a_second_init_app(guard):
    app = site()
    extension = FBGuard(app, guard)
    with pytest.raises(RuntimeError, match="has an FBGuard already"):
        extension.init_app(app)


def test_init_app_after_the_first_request(guard):
    app = site()
    app.test_client().get("/nowhere")
    with pytest.raises(AssertionError, match="setup method"):
        FBGuard(app, guard)
    assert "fbguard" not in app.extensions


def test_the_gate_is_in_front_of_what_the_app_does_before_a_request(guard):
    app = site()
    seen = []
    app.before_request(lambda: seen.append("earlier"))
    FBGuard(app, guard)
    app.before_request(lambda: seen.append("later"))
    client = app.test_client()
    assert (client.get("/me").status_code, seen) == (401, [])
    assert (client.get("/me", headers=BEARER).status_code, seen) == (200, ["earlier", "later"])


# -- where the facts are ---------------------------------------------------------------------------


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("policy", [None, Policy()], ids=["none", "guarded"])
def test_a_decorated_view_finds_the_facts_everywhere(guard, place, policy):
    if place == "extensions" and policy is not None:
        return
    app = Flask("facts")

    @app.get("/")
    @require_fb_token(scopes=["email"])
    def view() -> str:
        assert g.fb_token is current_token(required=True) is request.environ["fbguard.token"]
        return g.fb_token.user_id

    client = put(place, app, guard, policy)
    assert client.get("/", headers=BEARER).text == "1001"
    assert client.get("/").status_code == 401


def test_optional_and_public(guard):
    app = site()
    FBGuard(app, guard, policy=Policy(default=Requirement(optional=True)))
    client = app.test_client()
    assert client.get("/me").json == {"user": None}
    assert client.get("/me", headers=BEARER).json == {"user": "1001"}
    assert client.get("/me", headers={"Authorization": "Bearer a|b"}).status_code == 401


def test_I01_a_spoofed_identity_is_not_seen(guard):
    app = site()
    FBGuard(app, guard, policy=Policy(default=Requirement(optional=True)))
    names = ["fbguard.token", "fbguard_token", "FBGUARD-TOKEN", "fb_token", "Fb-Token", "X-FB-User-Id"]
    names += ["X_FB_User_Id", "x-fb-user-id", "Remote-User", "wsgi.fbguard.token", "HTTP-fbguard.token", "g"]
    for name in names:
        answer = call_wsgi(app, wsgi_environ("/me", headers=[(name, "1002")]))
        assert (answer.status, answer.json) == (200, {"user": None}), name


def test_a_request_context_without_a_client(guard):
    app = site()
    FBGuard(app, guard)
    with app.test_request_context("/me", headers=BEARER):
        app.preprocess_request()
        assert current_token(required=True) is g.fb_token
        assert g.fb_token.user_id == "1001"
    assert nothing_left()
    with app.test_request_context("/me"):
        assert app.full_dispatch_request().status_code == 401
    assert nothing_left()


def test_a_request_context_and_a_decorated_view(guard):
    app = Flask("alone")
    app.extensions["fbguard"] = guard
    view = require_fb_token(lambda: current_token(required=True).user_id)
    with app.test_request_context(headers=BEARER):
        assert view() == "1001"
        assert nothing_left()


def test_a_copied_environ(guard, graph):
    """Some middleware between the door and Flask may copy it."""
    app = site()
    decorated = require_fb_token(scopes=["email"], target="page")(
        lambda page: str(current_token(required=True))
    )
    app.add_url_rule("/pages/<int:page>", "page", decorated)
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start: inner(dict(environ), start)
    FBGuard(app, guard)
    graph.replies[TOKEN] = valid(granular_scopes=[{"scope": "email", "target_ids": ["7"]}])
    client = app.test_client()
    assert client.get("/me", headers=BEARER).json == {"user": "1001"}
    assert client.get("/pages/7", headers=BEARER).status_code == 200
    assert client.get("/pages/8", headers=BEARER).status_code == 403


def test_two_apps_of_facebook_behind_one_api(guard, graph, clock):
    other = Guard(app_id="777", app_secret=SECRET, transport=graph, clock=clock)
    app = Flask("two")
    app.add_url_rule("/ours", "ours", require_fb_token(lambda: g.fb_token.app_id))
    app.add_url_rule("/theirs", "theirs", require_fb_token(guard=lambda: other)(lambda: g.fb_token.app_id))
    FBGuard(app, guard, policy=None)
    graph.replies["theirs"] = valid(app_id="777")
    client = app.test_client()
    theirs = {"Authorization": "Bearer theirs"}
    with other:
        assert client.get("/ours", headers=BEARER).text == APP_ID
        assert client.get("/theirs", headers=theirs).text == "777"
        refused = [client.get("/ours", headers=theirs), client.get("/theirs", headers=BEARER)]
    assert [(one.status_code, one.json["reason"]) for one in refused] == [(401, "wrong_app")] * 2


# -- streamed bodies -------------------------------------------------------------------------------


def chunks():
    for _ in range(3):
        yield f"{current_token(required=True).user_id} "


def with_g():
    for _ in range(3):
        yield f"{g.fb_token.user_id} " if g.fb_token is current_token() else "no"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "make",
    [chunks, lambda: Response(chunks()), lambda: Response(stream_with_context(with_g()))],
    ids=["generator", "Response", "stream_with_context"],
)
def test_a_streamed_body_sees_its_token(guard, place, make):
    app = Flask("streams")
    app.add_url_rule("/", "stream", require_fb_token(make))
    client = put(place, app, guard)
    with client.get("/", headers=BEARER) as response:
        assert nothing_left()  # half of the body is still to be made
        assert response.text == "1001 " * 3
    assert client.get("/").status_code == 401


def test_two_streams_of_one_thread_see_their_own(guard, graph):
    graph.replies["other"] = valid(user_id="2002")
    app = Flask("streams")
    app.add_url_rule("/", "stream", lambda: Response(chunks()))
    FBGuard(app, guard)
    client = app.test_client()
    first = client.get("/", headers=BEARER)
    second = client.get("/", headers={"Authorization": "Bearer other"})
    bodies = zip(first.iter_encoded(), second.iter_encoded(), strict=True)
    assert list(bodies) == [(b"1001 ", b"2002 ")] * 3
    first.close()
    second.close()


def test_a_body_that_is_read_on_another_thread(guard):
    app = Flask("streams")
    app.add_url_rule("/", "stream", lambda: Response(chunks()))
    FBGuard(app, guard)
    body = app(wsgi_environ(headers=BEARER.items()), lambda *_: None)
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.extend(body))
    thread.start()
    thread.join()
    body.close()
    assert read == [b"1001 "] * 3
    assert nothing_left()


# -- mistakes in an application --------------------------------------------------------------------


def test_no_guard_found():
    app = Flask("none")
    app.testing = True
    app.add_url_rule("/", "view", require_fb_token(lambda: "never"))
    with pytest.raises(RuntimeError, match=r"FBGuard\(app, guard\) in Flask"):
        app.test_client().get("/", headers=BEARER)


def test_a_decorator_that_could_only_loosen(guard):
    app = Flask("looser")
    app.testing = True
    app.add_url_rule("/", "view", require_fb_token(optional=True)(lambda: "never"))
    FBGuard(app, guard)
    with pytest.raises(RuntimeError, match="could only loosen"):
        app.test_client().get("/", headers=BEARER)


def test_every_rule_and_decorator_must_hold(guard, graph):
    app = Flask("stacked")
    outer, inner = require_fb_token(any_scope=["a", "b"]), require_fb_token(min_remaining=60)
    app.add_url_rule("/pages/<int:page>", "view", outer(inner(lambda page: "hello")))
    FBGuard(app, guard, policy=Policy(Rule("/pages/{page}", scopes=["email"], target="page")))
    client = app.test_client()
    good = {
        "scopes": ["email", "b"],
        "granular_scopes": [{"scope": "email", "target_ids": ["7"]}, {"scope": "b"}],
    }
    table = [
        ("good", {}, 200, None),
        ("noscope", {"scopes": ["b"]}, 403, "insufficient_scope"),
        ("noany", {"scopes": ["email"]}, 403, "insufficient_scope"),
        ("page", {"granular_scopes": [{"scope": "email", "target_ids": ["8"]}]}, 403, "insufficient_target"),
        ("short", {"expires_at": NOW + 30}, 401, "expires_soon"),
    ]
    for token, changes, status, reason in table:
        graph.replies[token] = valid(**(good | changes))
        answer = client.get("/pages/7", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status, token
        assert reason is None or answer.json["reason"] == reason
    assert len(graph.calls) == len(table)  # one look-up a token, however many judge it


def test_50_users_on_64_threads(guard, graph):
    """I04: nobody sees another's facts, in views and in streamed bodies."""
    app = site()
    app.add_url_rule("/stream", "stream", lambda: Response(chunks()))
    FBGuard(app, guard)
    users = [str(5000 + number) for number in range(50)]
    graph.replies |= {f"of{user}": valid(user_id=user) for user in users}
    wrong: list[str] = []

    def work(start: int) -> None:
        client = Client(app)
        for turn in range(60):
            user = users[(start + turn) % len(users)]
            headers = {"Authorization": f"Bearer of{user}"}
            if client.get("/me", headers=headers).json != {"user": user}:
                wrong.append(user)
            if client.get("/stream", headers=headers).text != f"{user} " * 3:
                wrong.append(user)
        if not nothing_left():
            wrong.append("left")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert sorted(set(graph.calls)) == sorted(f"of{user}" for user in users)


@pytest.mark.parametrize("token", ["EAABother0123456789", None])
@pytest.mark.parametrize("how", ["client", "context"])
def test_what_a_view_asks_of_its_own_app_leaves_its_facts_alone(guard, graph, token, how):
    """Flask has one ``g`` for both requests."""
    graph.replies["EAABother0123456789"] = valid(user_id="2002")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    app = Flask("inner and outer")
    FBGuard(app, guard, policy=Policy(Rule("/inner", optional=True)))

    @app.get("/inner")
    @require_fb_token(optional=True)
    def inner() -> str:
        return g.fb_token.user_id if g.fb_token else "nobody"

    @app.get("/outer")
    @require_fb_token(scopes=["email"])
    def outer() -> dict[str, str]:
        if how == "client":
            said = app.test_client().get("/inner", headers=headers).text
        else:
            with app.test_request_context("/inner", headers=headers):
                said = inner()
        return {"inner": said, "outer": g.fb_token.user_id, "current": current_token(required=True).user_id}

    for _ in range(2):
        answer = app.test_client().get("/outer", headers={"Authorization": f"Bearer {TOKEN}"})
        expected = "nobody" if token is None else "2002"
        assert answer.json == {"inner": expected, "outer": "1001", "current": "1001"}


@pytest.mark.parametrize("looks", ["the door", "the view", "nobody"])
def test_an_app_that_a_hidden_view_asks_is_not_let_in_by_the_request_around(guard, graph, looks):
    """The door cannot see Flask behind a plain function, so nothing is noted of the request around."""
    graph.replies["EAABweak0123456789"] = valid(user_id="2002", scopes=[])
    options = {} if looks == "the door" else {"policy": None}
    entered = []

    @require_fb_token(scopes=["email"])
    def view() -> None:
        entered.append(current_token(required=True).user_id)

    def plain(environ, start_response):
        view()  # it is given no request
        raise AssertionError("it was let in")

    asked = FBTokenMiddleware(plain, guard, **options)
    app = Flask("around")

    def around() -> str:
        weak = [("Authorization", "Bearer EAABweak0123456789")]
        try:
            return str(call_wsgi(asked, wsgi_environ(headers=weak)).status)
        except RuntimeError as error:
            return str(error)

    app.add_url_rule("/", "", around if looks == "nobody" else require_fb_token(around))

    def hide(environ, start_response):
        return app.wsgi_app(environ, start_response)

    said = Client(FBTokenMiddleware(hide, guard, **options)).get("/", headers=BEARER).text
    assert entered == []
    assert said == "403" if looks != "nobody" else "put the door around the framework's app" in said
