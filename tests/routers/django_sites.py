"""Django's router, through its WSGI and its ASGI handler, behind the doors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import override_settings
from django.urls import include, path, re_path
from django.views import View

from fbguard import Guard, asgi, wsgi
from tests.routers.views import POLICY, of_any, of_hook, ran

urlpatterns: list[Any] = []


def _view(name: str) -> Any:
    def view(request: object, **params: object) -> HttpResponse:
        ran(name)
        return HttpResponse(f"body of {name}")

    return view


def _any(request: Any) -> HttpResponse:
    ran(of_any(request.method))
    return HttpResponse("body of any")


def _hook(request: Any) -> HttpResponse:
    ran(of_hook(request.method))
    return HttpResponse("body of hook")


class _Notes(View):
    def get(self, request: object) -> HttpResponse:
        ran("read_notes")
        return HttpResponse("body of read_notes")

    def post(self, request: object) -> HttpResponse:
        ran("add_note")
        return HttpResponse("body of add_note")

    def delete(self, request: object) -> HttpResponse:
        ran("drop_notes")
        return HttpResponse("body of drop_notes")


class _URLs:
    """A URLconf; ``end`` is "/" for routes that are written with a trailing slash."""

    def __init__(self, end: str) -> None:
        shop = [
            path("" if end else "/", _view("shop")),
            path(f"orders/<int:number>{end}" if end else "/orders/<int:number>", _view("order")),
        ]
        self.urlpatterns = [
            path("", _view("home")),
            path(f"admin{end}", _view("admin")),
            path(f"admin/users{end}", _view("users")),
            re_path(rf"^health{end}\Z", _view("health")),
            path(f"healthz-admin{end}", _view("healthz")),
            path(f"items/new{end}", _view("new_item")),
            path(f"items/<int:id>{end}", _view("item")),
            re_path(rf"^pages/(?P<page_id>[^/]+)/posts{end}$", _view("posts")),
            path(f"public/secret{end}", _view("secret")),
            path("public/<path:rest>", _view("public")),
            re_path(r"^files/(?P<rest>.*)$", _view("files")),
            path(f"notes{end}", _Notes.as_view()),
            path(f"any{end}", _any),
            path(f"hook{end}", _hook),
            *([] if end else [path("shop", _view("shop"))]),
            path(f"shop{end}", include(shop)),
            path("t/<tenant>/", include([path(f"info{end}", _view("tenant"))])),
            path(f"münchen{end}", _view("munich")),
            path(f"a b{end}", _view("blank")),
            path(f"<str:slug>{end}", _view("slug")),
        ]


BARE, SLASHED = _URLs(""), _URLs("/")


class _URLconf:
    """A middleware of Django that gives each site its own routes."""

    sync_capable = async_capable = True
    urls: _URLs

    def __new__(cls, get_response: Any) -> Any:
        from asgiref.sync import iscoroutinefunction

        if iscoroutinefunction(get_response):

            async def awaited(request: Any) -> Any:
                request.urlconf = cls.urls
                return await get_response(request)

            return awaited

        def called(request: Any) -> Any:
            request.urlconf = cls.urls
            return get_response(request)

        return called


class UseBare(_URLconf):
    urls = BARE


class UseSlashed(_URLconf):
    urls = SLASHED


COMMON = "django.middleware.common.CommonMiddleware"


def _handler(make: Callable[[], Any], urls: type[_URLconf], *middleware: str) -> Any:
    with override_settings(MIDDLEWARE=[f"{__name__}.{urls.__name__}", *middleware]):
        return make()


def wsgi_appending_slashes(guard: Guard) -> Any:
    return wsgi.FBTokenMiddleware(_handler(WSGIHandler, UseSlashed, COMMON), guard, policy=POLICY)


def wsgi_bare(guard: Guard) -> Any:
    return wsgi.FBTokenMiddleware(_handler(WSGIHandler, UseBare), guard, policy=POLICY)


def asgi_appending_slashes(guard: Guard) -> Any:
    return asgi.FBTokenMiddleware(_handler(ASGIHandler, UseSlashed, COMMON), guard, policy=POLICY)


def asgi_bare(guard: Guard) -> Any:
    return asgi.FBTokenMiddleware(_handler(ASGIHandler, UseBare), guard, policy=POLICY)
