"""The shape of REST framework: its request is no HttpRequest but has one inside."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integrations.django_site import GUARDING, SERVERS, Site, options

# isort: split
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.test import override_settings
from django.urls import path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from fbguard import Policy, current_token, require_fb_token
from fbguard.sandbox import Sandbox
from tests.integrations.flask_apps import loud

PAGES = {"pages_manage_posts": ["7"]}


class Request:
    """As rest_framework.request.Request: its attributes are those of ``_request``, which it is not."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.data: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


class APIView(View):
    """As rest_framework.views.APIView: handlers get the Request, which is ``self.request``, too."""

    @classmethod
    def as_view(cls, **initkwargs: Any) -> Callable[..., Any]:
        return csrf_exempt(super().as_view(**initkwargs))

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.request = request = Request(request)  # type: ignore[assignment]
        handler = getattr(self, request.method.lower(), self.http_method_not_allowed)
        return self.finalize_response(request, handler(request, *args, **kwargs))

    def finalize_response(self, request: Any, response: Any) -> Any:
        assert isinstance(request, Request)
        assert isinstance(response, HttpResponse), "REST framework insists on one"
        response.headers["X-Finalized"] = "yes"
        return response


def api_view(methods: list[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """As rest_framework.decorators.api_view: makes a class of a function."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def handler(_view: Any, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        members = {method.lower(): handler for method in methods}
        return type("WrappedAPIView", (APIView,), members).as_view()

    return decorate


def say(request: Any, **more: Any) -> JsonResponse:
    assert isinstance(request, Request)
    info = current_token(required=True)
    assert request.fb_token is info
    assert request._request.fb_token is info
    return JsonResponse({"user": info.user_id, **more})


class OneMethod(APIView):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("for everybody")

    @require_fb_token(scopes=["email"])
    def post(self, request: Any) -> JsonResponse:
        return say(request)


class ByMethodDecorator(APIView):
    @method_decorator(require_fb_token(scopes=["email"]))
    def post(self, request: Any) -> JsonResponse:
        return say(request)


class Target(APIView):
    @require_fb_token(scopes=["pages_manage_posts"], target="page_id")
    def get(self, request: Any, page_id: int) -> JsonResponse:
        return say(request, page=page_id)


class NoRequest(APIView):
    """An action that is handed nothing but itself finds the request there."""

    def get(self, _request: Any) -> Any:
        return self.action()

    @require_fb_token(scopes=["email"])
    def action(self) -> JsonResponse:
        return say(self.request)


@require_fb_token(scopes=["email"])
class Whole(APIView):
    def post(self, request: Any) -> JsonResponse:
        return say(request)


@api_view(["POST"])
@require_fb_token(scopes=["email"])
def function(request: Any) -> JsonResponse:
    return say(request)


@api_view(["GET"])
@require_fb_token(scopes=["pages_manage_posts"], target="page_id")
def page_function(request: Any, page_id: int) -> JsonResponse:
    return say(request, page=page_id)


class urls:  # noqa: N801 - stands for a module
    urlpatterns = (
        path("one", OneMethod.as_view()),
        path("by", ByMethodDecorator.as_view()),
        path("whole", Whole.as_view()),
        path("function", function),
        path("action", NoRequest.as_view()),
        path("class/<int:page_id>", Target.as_view()),
        path("function/<int:page_id>", page_function),
    )


@pytest.fixture(params=[(), (GUARDING,)], ids=["alone", "middleware"])
def site(request, server, caplog) -> Iterator[tuple[Sandbox, Site]]:
    sandbox = Sandbox()
    guarding = options(sandbox, policy=None)
    with (
        caplog.at_level(logging.WARNING),
        override_settings(ROOT_URLCONF=urls, MIDDLEWARE=list(request.param), FBGUARD=guarding),
    ):
        yield sandbox, Site(server)
    assert loud(caplog.get_records("call")) == []


@pytest.fixture(params=SERVERS)
def server(request) -> str:
    return request.param


@pytest.mark.parametrize(
    ("address", "method"),
    [("/one", "POST"), ("/by", "POST"), ("/whole", "POST"), ("/function", "POST"), ("/action", "GET")],
)
def test_a_view_is_guarded(site, address, method):
    sandbox, served = site
    anonymous = served.send(address, method=method)
    assert (anonymous.status, anonymous.reason) == (401, "missing_token")
    assert anonymous.challenge.startswith("Bearer ")
    poor = served.send(address, sandbox.issue_token(), method)
    assert (poor.status, poor.reason) == (403, "insufficient_scope")
    good = served.send(address, sandbox.issue_token(user_id="42", scopes=["email"]), method)
    assert (good.status, good.json) == (200, {"user": "42"})


def test_the_other_methods_are_everybodys(site):
    assert site[1].send("/one").body == b"for everybody"


def test_a_refusal_goes_the_way_of_an_answer(site):
    for address in ("/one", "/by", "/function"):
        assert site[1].send(address, method="POST").header("x-finalized") == "yes"


@pytest.mark.parametrize("kind", ["class", "function"])
def test_a_target_is_read_from_the_route(site, kind):
    sandbox, served = site
    token = sandbox.issue_token(user_id="42", scopes=list(PAGES), granular_scopes=PAGES)
    mine = served.send(f"/{kind}/7", token)
    assert (mine.status, mine.json) == (200, {"user": "42", "page": 7})
    other = served.send(f"/{kind}/8", token)
    assert (other.status, other.reason) == (403, "insufficient_target")


def test_a_whole_api_view_under_a_policy(server):
    sandbox = Sandbox()
    guarding = options(sandbox, policy=Policy())
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[GUARDING], FBGUARD=guarding):
        served = Site(server)
        assert served.send("/function", method="POST").status == 401
        assert served.send("/function", sandbox.issue_token(), "POST").status == 403  # the view's own
        assert served.send("/function", sandbox.issue_token(scopes=["email"]), "POST").status == 200
