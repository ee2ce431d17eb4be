"""Refusals as ordinary answers of Flask: after_request, CORS, error handlers of the app, no noise."""

# ruff: noqa: N802 - some tests are named after the rows

from __future__ import annotations

import logging

import pytest
from flask import Blueprint, Flask, g, jsonify, session
from flask_cors import CORS
from werkzeug.exceptions import HTTPException

from fbguard import Policy, Refused, Rule, require_fb_token
from tests.integrations.flask_apps import BEARER, PLACES, loud, nothing_left, put
from tests.support import envelope, valid

SPA = "https://spa.example"
EXPOSED = ["WWW-Authenticate", "Retry-After"]
DOORS = [*((place, None) for place in PLACES), *((place, Policy()) for place in PLACES[:3])]
INSIDE = [("FBGuard", None), ("FBGuard", Policy()), *((place, None) for place in PLACES[1:])]


def _id(value: object) -> str:
    return value if isinstance(value, str) else "none" if value is None else "guarded"


@pytest.fixture(params=INSIDE, ids=lambda pair: f"{pair[0]}-{_id(pair[1])}")
def placed(request, guard):
    """Give ``place(app)``: wherever a refusal is said inside Flask."""
    place, policy = request.param
    return lambda app: put(place, app, guard, policy)


def site(**views) -> Flask:
    app = Flask("site")
    view = require_fb_token(scopes=["email"])(lambda: jsonify(user=g.fb_token.user_id))
    app.add_url_rule("/", "view", view, methods=["GET", "POST"])
    for name, other in views.items():
        app.add_url_rule(f"/{name}", name, other)
    return app


def refusals(graph) -> list[tuple[dict[str, str], int, str | None]]:
    """Return headers, the status that they get, and the header which a browser must be able to read."""
    graph.replies |= {"poor": valid(scopes=[]), "throttled": envelope(4)}
    return [
        ({}, 401, "WWW-Authenticate"),
        ({"Authorization": "Bearer poor"}, 403, "WWW-Authenticate"),
        ({"Authorization": "Bearer throttled"}, 503, "Retry-After"),
    ]


def test_G09_a_browser_can_read_the_refusal(placed, graph):
    app = site()
    CORS(app, origins=[SPA], expose_headers=EXPOSED)
    client = placed(app)
    for headers, status, hint in refusals(graph):
        answer = client.get("/", headers={"Origin": SPA, **headers})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, SPA)
        exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
        assert hint in answer.headers
        assert hint in exposed
        stranger = client.get("/", headers={"Origin": "https://evil.example", **headers})
        assert "Access-Control-Allow-Origin" not in stranger.headers
    assert nothing_left()


@pytest.mark.parametrize("cors_first", [True, False])
def test_G09_a_preflight_is_answered(guard, cors_first):
    app = site()
    if cors_first:
        CORS(app, origins=[SPA])
    client = put("FBGuard", app, guard, Policy())
    if not cors_first:
        CORS(app, origins=[SPA])
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    answer = client.options("/", headers={"Origin": SPA, **asks})
    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == SPA
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization"
    names = {name.lower() for name, _ in answer.headers}
    assert {name for name in names if not name.startswith("access-control-")} <= {
        "allow",
        "vary",
        "content-length",
    }
    assert client.options("/", headers={"Origin": SPA}).status_code == 401  # no preflight
    assert client.options("/nowhere", headers={"Origin": SPA, **asks}).status_code == 401


def test_a_preflight_tells_nothing_that_a_view_or_a_hook_says(guard):
    app = site()
    app.add_url_rule("/own", "own", lambda: ("secret", 200, {"X-Secret": "1"}), methods=["OPTIONS"])
    app.after_request(lambda response: response.headers.update({"X-Early": "1"}) or response)
    client = put("FBGuard", app, guard, Policy())
    app.after_request(lambda response: response.headers.update({"X-Late": "1"}) or response)
    asks = {"Origin": SPA, "Access-Control-Request-Method": "POST"}
    answer = client.options("/own", headers=asks)
    assert (answer.status_code, answer.data) == (204, b"")
    assert not [name for name in answer.headers.keys() if name.startswith("X-")]  # noqa: SIM118
    assert (
        put("FBGuard", site(), guard, Policy(preflight=False)).options("/", headers=asks).status_code == 401
    )


def test_a_refusal_passes_after_request_and_teardown(placed, graph):
    app = site()
    seen = []
    app.after_request(lambda response: seen.append(response.status_code) or response)
    app.teardown_request(seen.append)
    app.secret_key = "not one"  # a session is saved with a refusal, too
    app.before_request(lambda: session.update(seen=True))
    client = placed(app)
    for headers, status, _ in refusals(graph):
        assert client.get("/", headers=headers).status_code == status
    assert seen == [401, None, 403, None, 503, None]


def test_an_errorhandler_for_everything_swallows_no_refusal(placed, graph):
    app = site()
    for kind in (HTTPException, Exception, 401, 403, 500, 503):
        app.register_error_handler(kind, lambda error: ("swallowed", 500))
    client = placed(app)
    for headers, status, _ in refusals(graph):
        answer = client.get("/", headers=headers)
        assert (answer.status_code, answer.content_type) == (status, "application/problem+json")


def test_nor_does_one_of_a_blueprint(placed):
    app = Flask("site")
    shop = Blueprint("shop", "shop")
    shop.register_error_handler(Exception, lambda error: ("swallowed", 500))
    shop.register_error_handler(HTTPException, lambda error: ("swallowed", 500))
    shop.add_url_rule("/", "view", require_fb_token(lambda: "never"))
    app.register_blueprint(shop)
    assert placed(app).get("/").status_code == 401


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("owner", ["app", "blueprint"])
def test_an_errorhandler_for_refused_says_it_in_its_own_words(placed, graph, when, owner):
    app, shop = Flask("site"), Blueprint("shop", "shop")
    shop.add_url_rule("/", "view", require_fb_token(scopes=["email"])(lambda: "never"))

    def register() -> None:
        one = app if owner == "app" else shop
        one.register_error_handler(Refused, lambda refused: (f"we say {refused.reason}", refused.status))

    if when == "before" or owner == "blueprint":
        register()
    app.register_blueprint(shop)
    client = placed(app)
    if when == "after" and owner == "app":
        register()
    answers = [client.get("/", headers=headers) for headers, _, _ in refusals(graph)]
    assert [(one.status_code, one.text) for one in answers] == [
        (401, "we say missing_token"),
        (403, "we say insufficient_scope"),
        (503, "we say throttled"),
    ]


def test_another_blueprints_errorhandler_is_none_of_this_views(placed):
    app, shop = site(), Blueprint("shop", "shop", url_prefix="/shop")
    shop.register_error_handler(Refused, lambda refused: ("mine", 418))
    app.register_blueprint(shop)
    assert placed(app).get("/").status_code == 401


@pytest.mark.parametrize("place", PLACES[:3])
def test_a_refusal_raised_by_hand(guard, graph, place):
    app = Flask("site")
    app.add_url_rule("/", "view", lambda: guard.check("throttled").user_id)
    graph.replies["throttled"] = envelope(4)
    answer = put(place, app, guard).get("/")
    assert (answer.status_code, answer.json["reason"]) == (503, "throttled")


@pytest.mark.parametrize(("place", "policy"), DOORS, ids=_id)
@pytest.mark.parametrize("testing", [True, False])
def test_a_hundred_refusals_leave_no_record(guard, graph, caplog, place, policy, testing):
    by_hand = lambda: guard.check("throttled")  # noqa: E731
    app = site(**({} if place == "extensions" else {"by_hand": by_hand}))
    app.testing = testing
    client = put(place, app, guard, policy)
    poor, throttled = refusals(graph)[1:]
    with caplog.at_level(logging.DEBUG):
        got = [client.get("/").status_code for _ in range(100)]
        got += [client.get("/", headers=poor[0]).status_code for _ in range(100)]
        got += [client.get("/", headers=throttled[0]).status_code for _ in range(100)]
        if place != "extensions":
            got += [client.get("/by_hand", headers=BEARER).status_code for _ in range(100)]
    assert got == [401] * 100 + [403] * 100 + [503] * (100 if place == "extensions" else 200)
    assert loud(caplog.records) == []


def test_a_head_request_has_no_body(placed):
    answer = placed(site()).head("/")
    assert (answer.status_code, answer.data) == (401, b"")


def test_other_carriers_tell_shared_caches(graph, clock):
    from tests.support import TOKEN, make_guard

    with make_guard(graph, clock, token_from=("header", "cookie:fb", "query")) as guard:
        app = site()
        app.after_request(lambda response: response.headers.add("Vary", "Origin") or response)
        client = put("FBGuard", app, guard, Policy(Rule("/health", public=True)))
        by_query = client.get(f"/?access_token={TOKEN}")
        by_header = client.get("/", headers=BEARER)
    assert by_query.status_code == by_header.status_code == 200
    assert set(", ".join(by_query.headers.getlist("Vary")).split(", ")) >= {"Origin", "Cookie"}
    assert "private" in by_query.headers["Cache-Control"]
    assert "private" not in by_header.headers.get("Cache-Control", "")


def test_the_language_of_the_client(placed):
    answer = placed(site()).get("/", headers={"Accept-Language": "id"})
    assert answer.headers["Content-Language"] == "id"
