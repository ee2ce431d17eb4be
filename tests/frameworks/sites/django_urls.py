"""Django: decorated views, of both colours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views import View
from django.views.decorators.http import require_GET, require_POST, require_safe

from fbguard import require_fb_token
from fbguard.integrations.django import guard
from tests.frameworks.apps import OWN, REQUIRED, bearer, before_stream, in_stream, said
from tests.frameworks.sites import logs


def _said(view: str, request: Any) -> HttpResponseBase:
    return JsonResponse(said(view, request.fb_token))


@require_safe
def health(request: HttpRequest) -> HttpResponseBase:
    return _said("health", request)


@require_safe
def me(request: HttpRequest) -> HttpResponseBase:
    return _said("me", request)


@require_safe
@require_fb_token(**REQUIRED["email"])
def email(request: HttpRequest) -> HttpResponseBase:
    return _said("email", request)


@require_fb_token(**REQUIRED["pages"])
class Pages(View):
    def get(self, request: HttpRequest, page_id: int) -> HttpResponseBase:
        return _said(f"pages/{page_id}", request)


@require_fb_token(**REQUIRED["either"])
async def either(request: HttpRequest) -> HttpResponseBase:
    return _said("either", request)


@require_fb_token(**REQUIRED["optional"])
async def optional(request: HttpRequest) -> HttpResponseBase:
    return _said("optional", request)


@require_fb_token(**REQUIRED["machine"])
class Machine(View):
    async def get(self, request: HttpRequest) -> HttpResponseBase:
        return _said("machine", request)


@require_fb_token(**REQUIRED["limited"])
async def limited(request: HttpRequest) -> HttpResponseBase:
    return _said("limited", request)


@require_fb_token(**REQUIRED["wide"])
def wide(request: HttpRequest) -> HttpResponseBase:
    return _said("wide", request)


@require_fb_token(**REQUIRED["soon"])
def soon(request: HttpRequest) -> HttpResponseBase:
    return _said("soon", request)


@require_fb_token(**REQUIRED["fresh"])
async def fresh(request: HttpRequest) -> HttpResponseBase:
    return _said("fresh", request)


@require_POST
@require_fb_token(**REQUIRED["report"])
def report(request: HttpRequest) -> HttpResponseBase:
    return _said("report", request)


def stream(request: HttpRequest) -> HttpResponseBase:
    def body() -> Iterator[bytes]:
        yield before_stream()
        yield in_stream()

    async def async_body() -> AsyncIterator[bytes]:
        for chunk in body():
            yield chunk

    is_asgi = isinstance(request, ASGIRequest)
    return StreamingHttpResponse(async_body() if is_asgi else body(), content_type="application/json")


@require_GET
def refuse(request: HttpRequest) -> HttpResponseBase:
    info = guard().check(bearer(request.headers.get("Authorization")), OWN)
    return JsonResponse({"view": "refuse", "user": info.user_id, "carried": info.user_id})


@require_GET
def log(request: HttpRequest) -> HttpResponseBase:
    logs.complain()
    return _said("log", request)


urlpatterns = [
    *(
        path(view.__name__, view)
        for view in (health, me, email, either, optional, limited, wide, soon, fresh)
    ),
    *(path(view.__name__, view) for view in (report, stream, refuse, log)),
    path("machine", Machine.as_view()),
    path("pages/<int:page_id>", Pages.as_view()),
]
