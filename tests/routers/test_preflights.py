"""Row H12: CORS preflights, against every router and through the CORS middleware of the frameworks."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask, request
from flask_cors import CORS
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fbguard import Guard, Policy, Rule, asgi, require_fb_token, wsgi
from tests.routers.raw import PREFLIGHT, Raw, to_environ, to_scope
from tests.routers.sites import GUARDED, path_of, refused
from tests.routers.views import CANONICAL, VERBS_OF
from tests.support import TOKEN, Answer, call_asgi, call_wsgi, make_guard

ORIGIN = "https://shop.example"
ASKED = (*PREFLIGHT, ("Access-Control-Request-Headers", "authorization"))
CORS_NAMES = {"allow", "vary"}


def only_permission(answer: Answer) -> bool:
    return answer.body == b"" and all(
        name.startswith("access-control-") or name in CORS_NAMES for name, _ in answer.headers
    )


def test_H12_plain_options_is_guarded(site):
    for view in GUARDED:
        assert refused(site, Raw(path_of(site, view), "OPTIONS")).answer.status == 401


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", PREFLIGHT[:1]),
        ("OPTIONS", PREFLIGHT[1:]),
        ("OPTIONS", (("Origin", ""), ("Access-Control-Request-Headers", "authorization"))),
        ("GET", PREFLIGHT),
        ("POST", PREFLIGHT),
        ("HEAD", PREFLIGHT),
        ("TRACE", PREFLIGHT),
        ("options", PREFLIGHT),
        ("Options", PREFLIGHT),
    ],
)
def test_H12_a_forged_preflight_is_guarded(site, method, headers):
    for view in GUARDED:
        assert refused(site, Raw(path_of(site, view), method, headers)).answer.status == 401


def test_H12_a_preflight_brings_out_no_view(site):
    """Django's views run for OPTIONS, too; of what they say nothing comes out."""
    for view in (*GUARDED, "any"):
        path = VERBS_OF[view][1] if view in VERBS_OF else CANONICAL[view]
        answer = site.send(Raw(quote(site.canonical(path)), "OPTIONS", PREFLIGHT)).answer
        assert answer.status in {204, 401}
        assert b"body of" not in answer.body
        if answer.status == 204:
            assert answer.body == b""
            assert {name for name, _ in answer.headers} <= {"allow", "vary"}


def test_H12_a_preflight_to_a_path_that_is_not_plain(site):
    for target in ("//admin", "/public/../admin", "/admin;x"):
        assert site.send(Raw(target, "OPTIONS", PREFLIGHT)).answer.status == 400


# -- CORS middleware inside the door -----------------------------------------------------------------------


class Shop:
    """A view of one framework, with that framework's CORS inside the door; ``ran`` is what it said yes to."""

    def __init__(self, guard: Guard, framework: str, **options: Any) -> None:
        self.ran: list[str] = []
        make = self._starlette if framework == "starlette" else self._flask
        self._app = make(guard, **options)
        self._is_asgi = framework == "starlette"

    def _starlette(self, guard: Guard, *, cors: bool = True, decorated: bool = False, **options: Any) -> Any:
        async def view(request: Request) -> PlainTextResponse:
            self.ran.append(request.method)
            return PlainTextResponse("body of a view", headers={"Set-Cookie": "a=1", "Allow": "POST"})

        routes = [
            Route(
                "/orders", require_fb_token(view) if decorated else view, methods=["GET", "POST", "OPTIONS"]
            )
        ]
        app = Starlette(routes=routes)
        inner = CORSMiddleware(
            app, allow_origins=[ORIGIN], allow_methods=["POST"], allow_headers=["authorization"]
        )
        return asgi.FBTokenMiddleware(inner if cors else app, guard, **options)

    def _flask(self, guard: Guard, *, cors: bool = True, decorated: bool = False, **options: Any) -> Any:
        def view() -> Any:
            self.ran.append(request.method)
            return "body of a view", 200, {"Set-Cookie": "a=1", "Allow": "POST"}

        app = Flask(__name__, static_folder=None)
        app.add_url_rule(
            "/orders",
            "orders",
            require_fb_token(view) if decorated else view,
            methods=["GET", "POST"] if cors else ["GET", "POST", "OPTIONS"],
            provide_automatic_options=None if cors else False,
        )
        if cors:
            CORS(app, origins=[ORIGIN], methods=["POST"], allow_headers=["authorization"])
        return wsgi.FBTokenMiddleware(app, guard, **options)

    def send(self, raw: Raw, token: str | None = None) -> Answer:
        if not self._is_asgi:
            return call_wsgi(self._app, to_environ(raw, token))
        with asyncio.Runner() as runner:
            return runner.run(call_asgi(self._app, to_scope(raw, token)))


@pytest.fixture
def plain_guard() -> Iterator[Guard]:
    with make_guard() as guard:
        yield guard


both = pytest.mark.parametrize("framework", ["starlette", "flask"])
ORDER = Raw("/orders", "OPTIONS", ASKED)


@both
def test_H12_cors_inside_the_door_answers(plain_guard, framework):
    shop = Shop(plain_guard, framework)
    answer = shop.send(ORDER)
    assert (answer.status, shop.ran) == (204, [])
    assert only_permission(answer)
    assert answer.header("access-control-allow-origin") == ORIGIN
    assert "POST" in (answer.header("access-control-allow-methods") or "")
    assert "authorization" in (answer.header("access-control-allow-headers") or "").lower()


@both
def test_H12_the_request_behind_a_preflight_still_needs_its_token(plain_guard, framework):
    shop = Shop(plain_guard, framework)
    post = Raw("/orders", "POST", PREFLIGHT[:1])
    assert shop.send(post).status == 401
    assert shop.ran == []
    answer = shop.send(post, TOKEN)
    assert (answer.status, shop.ran) == (200, ["POST"])
    assert answer.header("access-control-allow-origin") == ORIGIN


@both
def test_H12_a_view_that_answers_itself_says_no_more_than_permission(plain_guard, framework):
    answer = Shop(plain_guard, framework, cors=False).send(ORDER)
    assert (answer.status, answer.all("allow"), answer.all("set-cookie")) == (204, ["POST"], [])
    assert only_permission(answer)


@both
def test_H12_a_path_without_a_route_has_the_401(plain_guard, framework):
    answer = Shop(plain_guard, framework, cors=False).send(Raw("/none", "OPTIONS", ASKED))
    assert (answer.status, answer.reason) == (401, "missing_token")
    assert answer.challenge == 'Bearer realm="fbguard"'


def test_H12_an_origin_that_cors_does_not_know_has_the_401(plain_guard):
    """Starlette says 400 and why; a 401 without permission says the same to a browser."""
    headers = (("Origin", "https://evil.example"), *ASKED[1:])
    answer = Shop(plain_guard, "starlette").send(Raw("/orders", "OPTIONS", headers))
    assert (answer.status, answer.reason) == (401, "missing_token")
    assert answer.header("access-control-allow-origin") is None


@both
@pytest.mark.parametrize("cors", [True, False])
def test_H12_switched_off(plain_guard, framework, cors):
    shop = Shop(plain_guard, framework, cors=cors, policy=Policy(preflight=False))
    answer = shop.send(ORDER)
    assert (answer.status, answer.reason, shop.ran) == (401, "missing_token", [])


@both
def test_H12_a_public_path_answers_as_it_likes(plain_guard, framework):
    policy = Policy(Rule("/orders", public=True), preflight=False)
    shop = Shop(plain_guard, framework, cors=False, policy=policy)
    answer = shop.send(ORDER)
    assert (answer.status, answer.body, shop.ran) == (200, b"body of a view", ["OPTIONS"])


@both
@pytest.mark.parametrize(
    "policy", [Policy(), None, Policy(Rule("/orders", public=True))], ids=["guarded", "none", "public"]
)
def test_H12_a_decorated_view_refuses(plain_guard, framework, policy):
    shop = Shop(plain_guard, framework, cors=False, decorated=True, policy=policy)
    answer = shop.send(ORDER)
    assert (answer.status, answer.reason, shop.ran) == (401, "missing_token", [])


@both
@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", ASKED[1:]),
        ("OPTIONS", ASKED[:1]),
        ("OPTIONS", ()),
        ("GET", ASKED),
        ("POST", ASKED),
        ("HEAD", ASKED),
        ("options", ASKED),
        ("TRACE", ASKED),
    ],
)
def test_H12_forged(plain_guard, framework, method, headers):
    shop = Shop(plain_guard, framework, cors=False)
    answer = shop.send(Raw("/orders", method, headers))
    assert (answer.status, shop.ran) == (401, [])
    assert answer.challenge


@both
def test_H12_a_preflight_with_a_token_is_a_request_like_any_other(plain_guard, framework):
    policy = Policy(Rule("/orders", scopes=["pages_show_list"]))
    shop = Shop(plain_guard, framework, cors=False, policy=policy)
    assert shop.send(ORDER, TOKEN).status == 403
    assert shop.send(ORDER, "not a token").status == 401
    assert shop.ran == []
