"""The routes of the site, and their views."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import include, path, re_path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from fbguard import Policy, Rule, current_token, require_fb_token
from fbguard.integrations.django import guard

POLICY = Policy(
    Rule("/public/{rest:path}", public=True),
    Rule("/pages/{page}/rule", scopes=["email"], target="page"),
    Rule("/optional", optional=True),
)
seen: list[dict[str, Any]] = []


def say(request: Any, **more: Any) -> JsonResponse:
    info = current_token()
    carrier = request.environ if isinstance(request, WSGIRequest) else request.scope
    assert carrier.get("fbguard.token") is info
    assert getattr(request, "fb_token", None) is info
    seen.append({"thread": threading.get_ident(), **more})
    return JsonResponse({"user": info and info.user_id, **more})


def view(request: Any, **params: Any) -> JsonResponse:
    return say(request, **params)


async def aview(request: Any, **params: Any) -> JsonResponse:
    return say(request, loop=id(asyncio.get_running_loop()), **params)


def by_hand(request: Any) -> HttpResponse:
    guard().check(request.GET["token"])
    raise AssertionError("it passed")


async def aby_hand(request: Any) -> HttpResponse:
    await guard().acheck(request.GET["token"])
    raise AssertionError("it passed")


def chunks() -> Iterator[str]:
    for _ in range(3):
        yield f"{current_token(required=True).user_id} "


async def achunks() -> AsyncIterator[str]:
    for _ in range(3):
        await asyncio.sleep(0)
        yield f"{current_token(required=True).user_id} "


def stream(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(chunks())


async def astream(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(achunks())


def file(request: Any) -> FileResponse:
    response = FileResponse(Path(__file__).open("rb"))  # noqa: SIM115 - Django closes it
    seen.append({"file": response})
    return response


class Plain(View):
    def get(self, request: Any, **params: Any) -> JsonResponse:
        return say(request, **params)


class APlain(View):
    async def get(self, request: Any, **params: Any) -> JsonResponse:
        return say(request, **params)


email = require_fb_token(scopes=["email"])
Whole = email(type("Whole", (Plain,), {}))
AWhole = email(type("AWhole", (APlain,), {}))
Base = email(type("Base", (View,), {}))
AChild = type("AChild", (Base,), {"get": APlain.get})  # a guarded parent that knows no colour
Child = type("Child", (Base,), {"get": Plain.get})
ByName = method_decorator(email, name="dispatch")(type("ByName", (Plain,), {}))
AByName = method_decorator(email, name="dispatch")(type("AByName", (APlain,), {}))
Several = method_decorator([csrf_exempt, email], name="dispatch")(type("Several", (APlain,), {}))


class Method(View):
    @method_decorator(email)
    def get(self, request: Any) -> JsonResponse:
        return say(request)


class AMethod(View):
    @method_decorator(email)
    async def get(self, request: Any) -> JsonResponse:
        return say(request)


class Direct(View):
    @email
    def get(self, request: Any) -> JsonResponse:
        return say(request)


class ADirect(View):
    @email
    async def get(self, request: Any) -> JsonResponse:
        return say(request)


class Static:
    @staticmethod
    @email
    def view(request: Any) -> JsonResponse:
        return say(request)


KINDS = {
    "view": email(view),
    "aview": email(aview),
    "whole": Whole.as_view(),
    "awhole": AWhole.as_view(),
    "child": Child.as_view(),
    "achild": AChild.as_view(),
    "byname": ByName.as_view(),
    "abyname": AByName.as_view(),
    "several": Several.as_view(),
    "method": Method.as_view(),
    "amethod": AMethod.as_view(),
    "direct": Direct.as_view(),
    "adirect": ADirect.as_view(),
    "static": Static.view,
    "outside": email(Plain.as_view()),
    "aoutside": email(APlain.as_view()),
    "exempt": csrf_exempt(email(view)),
    "exempted": email(csrf_exempt(view)),
}
target = require_fb_token(scopes=["email"], target="page")

urlpatterns = [
    path("me/", view),
    path("ame", aview),
    path("optional", view),
    path("public/view", view),
    path("public/decorated", email(view)),
    path("pages/<int:page>/rule", view),
    path("pages/<int:page>/decorated", target(view)),
    path("pages/<int:page>/adecorated", target(aview)),
    re_path(r"^unnamed/(\d+)$", target(view)),
    path("shops/<slug:page>/", include([path("mine", target(view))])),
    path("looser", require_fb_token(optional=True)(view)),
    path("two", require_fb_token(scopes=["email"])(require_fb_token(scopes=["user_posts"])(view))),
    path("hand", by_hand),
    path("ahand", aby_hand),
    path("stream", stream),
    path("astream", astream),
    path("decorated/stream", email(stream)),
    path("decorated/astream", email(astream)),
    path("file", file),
    path("plain", csrf_exempt(view)),
    path("form", view),
    *(path(f"kinds/{name}", kind) for name, kind in KINDS.items()),
]
