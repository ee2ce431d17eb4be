"""One framework in another: the requirement of a view is read where the view runs."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.wsgi import WsgiToAsgi
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.test import override_settings
from django.urls import path, set_script_prefix
from django.views import View
from fastapi import FastAPI
from flask import Flask, g, jsonify
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.responses import JSONResponse as StarletteResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from fbguard import Policy, Rule, current_token, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from fbguard.core.carrier import carrier_of_request
from fbguard.integrations.flask import FBGuard
from fbguard.sandbox import Sandbox
from fbguard.testing import assert_refused
from tests.integrations.django_site import options
from tests.integrations.flask_apps import loud

GUARDING = "fbguard.integrations.django.FBTokenMiddleware"
SCOPE = "pages_manage_posts"


@pytest.fixture(autouse=True)
def quiet(caplog) -> Iterator[None]:
    with caplog.at_level(logging.WARNING):
        yield
    assert loud(caplog.get_records("call")) == []
    assert carrier_of_request.get() is None
    set_script_prefix("/")


def bearer_of_page(sandbox: Sandbox, page: str) -> dict[str, str]:
    token = sandbox.issue_token(user_id="42", scopes=[SCOPE], granular_scopes={SCOPE: [page]})
    return sandbox.bearer(token)


# -- Django in Starlette -----------------------------------------------------------------------------------


def say(request: Any, page_id: Any) -> JsonResponse:
    info = current_token(required=True)
    assert request.fb_token is info
    return JsonResponse({"user": info.user_id, "page": str(page_id)})


needs_page = require_fb_token(scopes=[SCOPE], target="page_id")


@needs_page
def view(request: HttpRequest, page_id: int) -> JsonResponse:
    return say(request, page_id)


@needs_page
async def aview(request: HttpRequest, page_id: int) -> JsonResponse:
    return say(request, page_id)


@needs_page
class Whole(View):
    def get(self, request: HttpRequest, page_id: int) -> JsonResponse:
        return say(request, page_id)


@require_fb_token(scopes=[SCOPE], target="shop")
def names_the_mount(request: HttpRequest) -> JsonResponse:
    return say(request, None)


class urls:  # noqa: N801 - stands for a module
    urlpatterns = (
        path("view/<int:page_id>", view),
        path("aview/<int:page_id>", aview),
        path("whole/<int:page_id>", Whole.as_view()),
        path("mount", names_the_mount),
    )


@pytest.fixture(params=[(), (GUARDING,)], ids=["no middleware", "middleware"])
def site(request) -> Iterator[Sandbox]:
    sandbox = Sandbox()
    guarding = options(sandbox, policy=None)
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=list(request.param), FBGUARD=guarding):
        yield sandbox


@pytest.fixture(params=["no door", "door", "policy", "inside"])
def shops(request, site) -> Iterator[tuple[Sandbox, TestClient]]:
    """Give Django in Starlette, below a parameter of the same name as the one of its views."""
    app: Any = Starlette(
        routes=[
            Mount("/shops/{page_id}", get_asgi_application()),
            Mount("/by/{shop}", get_asgi_application()),
        ]
    )
    with site.guard() as guard:
        if request.param == "door":
            app = FBTokenMiddleware(app, guard, policy=None)
        elif request.param == "policy":
            app = FBTokenMiddleware(app, guard)
        elif request.param == "inside":
            app.add_middleware(FBTokenMiddleware, guard=guard, policy=None)
        with TestClient(app) as client:
            yield site, client


@pytest.mark.parametrize("kind", ["view", "aview", "whole"])
def test_the_target_of_a_django_view_is_its_own_parameter(shops, kind):
    sandbox, client = shops
    seven = bearer_of_page(sandbox, "7")
    good = client.get(f"/shops/8/{kind}/7", headers=seven)
    assert (good.status_code, good.json()) == (200, {"user": "42", "page": "7"})
    # The mount's value is the one that the token has.
    assert_refused(client.get(f"/shops/7/{kind}/8", headers=seven), "insufficient_target", status=403)
    assert_refused(client.get(f"/shops/7/{kind}/7"), "missing_token", status=401)
    poor = sandbox.bearer(sandbox.issue_token())
    assert_refused(client.get(f"/shops/7/{kind}/7", headers=poor), "insufficient_scope", status=403)


def test_a_parameter_of_the_mount_is_none_of_django(site, caplog):
    app = Starlette(routes=[Mount("/by/{shop}", get_asgi_application())])
    with site.guard() as guard:
        client = TestClient(FBTokenMiddleware(app, guard, policy=None), raise_server_exceptions=False)
        answer = client.get("/by/7/mount", headers=bearer_of_page(site, "7"))
    assert answer.status_code == 500  # a target that the route has not: never a free pass
    assert "shop" in caplog.text
    caplog.clear()


# -- Flask in Starlette and FastAPI ------------------------------------------------------------------------


def flask_app() -> Flask:
    app = Flask("mounted")

    def say(page_id: str) -> Any:
        info = current_token(required=True)
        assert g.fb_token is info
        return jsonify(user=info.user_id, page=page_id)

    class Whole(MethodView):
        def get(self, page_id: str) -> Any:
            return say(page_id)

    app.add_url_rule("/view/<page_id>", "view", needs_page(say))
    app.add_url_rule("/whole/<page_id>", view_func=needs_page(Whole).as_view("whole"))

    @app.get("/whole")
    @require_fb_token
    def streamed() -> Any:
        return (f"{current_token(required=True).user_id} " for _ in range(3))

    @app.get("/twice/<page_id>")
    @require_fb_token(scopes=["email"])
    @needs_page
    def twice(page_id: str) -> Any:
        return say(page_id)

    return app


def asgi_of(kind: str, app: Flask) -> Any:
    if kind == "asgiref":
        return WsgiToAsgi(app)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapter = pytest.importorskip("starlette.middleware.wsgi")
    return adapter.WSGIMiddleware(app)


@pytest.fixture(params=["asgiref", "starlette"])
def adapter(request) -> str:
    return request.param


@pytest.fixture(params=[Starlette, FastAPI])
def outer(request) -> Any:
    return request.param


@pytest.fixture(params=["door", "policy", "inside"])
def flask_shops(request, outer, adapter) -> Iterator[tuple[Sandbox, TestClient]]:
    sandbox = Sandbox()
    app: Any = outer(routes=[Mount("/shops/{page_id}", asgi_of(adapter, flask_app()))])
    with sandbox.guard() as guard:
        if request.param == "inside":
            app.add_middleware(FBTokenMiddleware, guard=guard, policy=None)
        else:
            app = FBTokenMiddleware(app, guard, policy=None if request.param == "door" else Policy())
        with TestClient(app) as client:
            yield sandbox, client


@pytest.mark.parametrize("kind", ["view", "whole"])
def test_the_target_of_a_flask_view_is_its_own_parameter(flask_shops, kind):
    sandbox, client = flask_shops
    seven = bearer_of_page(sandbox, "7")
    good = client.get(f"/shops/8/{kind}/7", headers=seven)
    assert (good.status_code, good.json()) == (200, {"user": "42", "page": "7"})
    assert_refused(client.get(f"/shops/7/{kind}/8", headers=seven), "insufficient_target", status=403)
    assert_refused(client.get(f"/shops/7/{kind}/7"), "missing_token", status=401)
    poor = sandbox.bearer(sandbox.issue_token())
    assert_refused(client.get(f"/shops/7/{kind}/7", headers=poor), "insufficient_scope", status=403)
    # `quiet` has looked whether Flask called any of them an error.


def test_two_requirements_and_a_streamed_body_in_flask(flask_shops):
    sandbox, client = flask_shops
    seven = bearer_of_page(sandbox, "7")
    assert_refused(client.get("/shops/1/twice/7", headers=seven), "insufficient_scope")
    token = sandbox.issue_token(scopes=[SCOPE, "email"], granular_scopes={SCOPE: ["7"]})
    assert client.get("/shops/1/twice/7", headers=sandbox.bearer(token)).status_code == 200
    assert_refused(client.get("/shops/1/twice/8", headers=sandbox.bearer(token)), "insufficient_target")
    assert client.get("/shops/1/whole", headers=seven).text == "42 42 42 "


def test_the_doors_facts_are_asked_of_facebook_once(flask_shops):
    sandbox, client = flask_shops
    assert client.get("/shops/8/view/7", headers=bearer_of_page(sandbox, "7")).status_code == 200
    assert len([call for call in sandbox.calls if "debug_token" in call.path]) == 1


def test_a_flask_app_with_an_errorhandler_keeps_its_words(outer, adapter):
    from fbguard import Refused

    sandbox, app = Sandbox(), flask_app()
    app.register_error_handler(Refused, lambda refused: (f"no: {refused.reason}", 418))
    with sandbox.guard() as guard:
        around = FBTokenMiddleware(outer(routes=[Mount("/x", asgi_of(adapter, app))]), guard, policy=None)
        answer = TestClient(around).get("/x/view/7")
    assert (answer.status_code, answer.text) == (418, "no: missing_token")


def test_a_flask_app_with_a_door_of_its_own(outer, adapter):
    ours, theirs, app = Sandbox(), Sandbox(app_id="777"), flask_app()
    with ours.guard() as guard, theirs.guard() as inner:
        FBGuard(app, inner, policy=None)
        around = FBTokenMiddleware(outer(routes=[Mount("/x", asgi_of(adapter, app))]), guard, policy=None)
        client = TestClient(around)
        assert_refused(client.get("/x/view/7", headers=bearer_of_page(ours, "7")), "malformed_token")
        assert client.get("/x/view/7", headers=bearer_of_page(theirs, "7")).status_code == 200


def test_a_view_of_the_outer_framework_beside_flask(adapter):
    @needs_page
    async def page(request: Any) -> StarletteResponse:
        return StarletteResponse({"page": request.path_params["page_id"]})

    sandbox = Sandbox()
    routes = [Mount("/flask", asgi_of(adapter, flask_app())), Route("/pages/{page_id}", page)]
    with sandbox.guard() as guard:
        client = TestClient(FBTokenMiddleware(Starlette(routes=routes), guard, policy=None))
        seven = bearer_of_page(sandbox, "7")
        assert client.get("/pages/7", headers=seven).json() == {"page": "7"}
        assert_refused(client.get("/pages/8", headers=seven), "insufficient_target")


def test_a_door_is_built_around_an_app_that_mounts_flask(guard, outer):
    class Adapter:
        """As the ones that keep what they wrap in ``self.app``."""

        def __init__(self, app: Any) -> None:
            self.app = app

    app = flask_app()
    assert app.root_path, "a directory"
    for mounted in (Adapter(app), Adapter(app.wsgi_app), asgi_of("starlette", app), WsgiToAsgi(app)):
        FBTokenMiddleware(outer(routes=[Mount("/x", mounted)]), guard, policy=Policy(Rule("/x", public=True)))
    api = FastAPI()
    api.root_path = "/y"
    with pytest.raises(ValueError, match="root_path"):
        FBTokenMiddleware(Starlette(routes=[Mount("/x", api)]), guard)


# -- requests in a request -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_a_request_made_within_a_view_has_its_own_token(kind):
    """What a view sends to another app in this process is judged for what it carries itself."""
    from fbguard.wsgi import FBTokenMiddleware as WSGIDoor

    sandbox, other = Sandbox(), flask_app()
    found: list[int] = []
    with sandbox.guard() as guard:
        other.extensions["fbguard"] = guard

        def ask() -> str:
            found.append(other.test_client().get("/view/7").status_code)
            return "asked"

        seven = bearer_of_page(sandbox, "7")
        if kind == "wsgi":
            first = Flask("first")
            first.add_url_rule("/", view_func=ask)
            first.wsgi_app = WSGIDoor(first.wsgi_app, guard)  # type: ignore[method-assign]
            assert first.test_client().get("/", headers=seven).status_code == 200
        else:

            async def endpoint(_request: Any) -> StarletteResponse:
                return StarletteResponse(ask())

            app = FBTokenMiddleware(Starlette(routes=[Route("/", endpoint)]), guard)
            assert TestClient(app).get("/", headers=seven).status_code == 200
    assert found == [401]


def test_everything_is_loaded_that_could_be_confused():
    assert {"django", "flask", "starlette", "fastapi"} <= set(sys.modules)
