"""The complete blocks of docs/django.md run as they stand there."""

import re
import types
from pathlib import Path

import pytest

from tests.integrations.django_site import GUARDING, options

# isort: split
from django.http import JsonResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import Resolver404, include, path, re_path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import cache_page
from django.views.decorators.http import require_http_methods, require_POST
from django.views.decorators.vary import vary_on_headers

from fbguard import Policy, current_token, require_fb_token
from fbguard.integrations.django import check_settings
from fbguard.sandbox import Sandbox

PAGE = (Path(__file__).parents[2] / "docs" / "django.md").read_text()
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)


def run(number):
    module = types.ModuleType(f"django_{number}")
    exec(compile(BLOCKS[number], f"docs/django.md, block {number}", "exec"), module.__dict__)
    return module


@pytest.fixture
def sandbox():
    return Sandbox()


def urls(*patterns):
    module = types.ModuleType("urls")
    vars(module)["urlpatterns"] = patterns
    return module


def test_there_are_as_many_blocks_as_tests_know():
    assert len(BLOCKS) == 6
    assert all(len(line) <= 130 for line in PAGE.splitlines())


def test_the_smallest_site(sandbox):
    bearer = sandbox.bearer(sandbox.issue_token(user_id="42"))
    with override_settings(ROOT_URLCONF=run(0), MIDDLEWARE=[GUARDING], FBGUARD=options(sandbox)):
        assert Client().get("/me").status_code == 401
        assert Client().get("/admin/").status_code == 401
        assert Client().get("/me", headers=bearer).json() == {"user": "42"}


def test_the_policy(sandbox):
    policy = run(1).policy
    assert isinstance(policy, Policy)
    with override_settings(
        ROOT_URLCONF=run(0), MIDDLEWARE=[GUARDING], FBGUARD=options(sandbox, policy=policy)
    ):
        paths = ["/me", "/admin/", "/admin/login/", "/health", "/static/site.css"]
        assert [Client().get(path).status_code for path in paths] == [401, 404, 404, 404, 404]


def test_the_decorator(sandbox):
    rich = {"scopes": ["pages_manage_posts", "email"], "granular_scopes": {"pages_manage_posts": ["7"]}}
    bearer = sandbox.bearer(sandbox.issue_token(**rich, expires_in=5_000_000))
    with override_settings(ROOT_URLCONF=run(2), MIDDLEWARE=[], FBGUARD=options(sandbox)):
        client = Client()
        assert client.get("/newsletter").status_code == 401
        assert "subscribed" in client.get("/newsletter", headers=bearer).json()
        assert client.get("/pages/7/posts", headers=bearer).json() == {"page": 7, "posts": []}
        assert client.get("/pages/8/posts", headers=bearer).status_code == 403
        assert client.delete("/pages/7/posts", headers=bearer).json() == {"deleted": 7}


def test_csrf(sandbox):
    view = run(3).subscribe
    assert view.csrf_exempt
    with override_settings(FBGUARD=options(sandbox)):
        assert view(RequestFactory().post("/")).status_code == 401


def test_testing():
    with override_settings(ROOT_URLCONF=run(0), MIDDLEWARE=[GUARDING]):
        run(4)


class Bare(View):
    def get(self, request, **params):
        return JsonResponse({})

    @method_decorator(require_fb_token)
    def delete(self, request, **params):
        return JsonResponse({})


def hello(request, *args, **params):
    return JsonResponse({})


ROUTES = (
    "",
    "me",
    "str/<name>/",
    "int/<int:number>/posts",
    "slug/<slug:slug>",
    "uuid/<uuid:one>/<uuid:two>",
    "path/<path:rest>/end",
    "<str:name>/last",
)


@pytest.fixture
def sweep(sandbox):
    """Give ``sweep(patterns, **settings)``: what the page finds in a site of them and of guarded views."""
    page = run(5)

    def sweep(*more, middleware=(), **config):
        good = [path(f"good/{route}", require_fb_token(hello)) for route in ROUTES]
        good += [
            path("posted", require_POST(require_fb_token(hello))),
            path(
                "method",
                type("Method", (Bare,), {"get": method_decorator(require_fb_token)(Bare.get)}).as_view(),
            ),
            path("whole", require_fb_token(type("Whole", (Bare,), {})).as_view()),
            path("admin/", include([path("login", hello)])),
            path("health", hello),
        ]
        with override_settings(
            ROOT_URLCONF=urls(*good, *more), MIDDLEWARE=[*middleware], FBGUARD=options(sandbox, **config)
        ):
            return list(page.open_views())

    sweep.page = page
    return sweep


def test_no_view_is_open(sandbox, sweep):
    assert sweep() == []
    assert sweep(path("bare", hello), middleware=[GUARDING], policy=run(1).policy) == []
    with override_settings(ROOT_URLCONF=run(0), MIDDLEWARE=[GUARDING], FBGUARD=options(sandbox)):
        sweep.page.test_no_view_is_open()
    with (
        override_settings(ROOT_URLCONF=run(0), MIDDLEWARE=[], FBGUARD=options(sandbox)),
        pytest.raises(AssertionError),
    ):
        sweep.page.test_no_view_is_open()


@pytest.mark.parametrize("route", ROUTES)
def test_a_bare_view_is_found(sweep, route):
    nested = path("shop/<int:shop>/", include([path("", include([path(route, hello)]))]))
    for pattern, name in (
        (path(f"bare/{route}", hello), f"bare/{route}"),
        (nested, f"shop/<int:shop>/{route}"),
    ):
        [found] = sweep(pattern)
        assert found == f"{name}: {dict.fromkeys(sweep.page.VERBS, 200)}"
    public = {"rules": [{"path": "/bare/{rest:path}", "public": True}]}
    assert len(sweep(path(f"bare/{route}", hello), middleware=[GUARDING], policy=public)) == 1


@pytest.mark.parametrize(
    "view",
    [Bare.as_view(), require_POST(hello), require_http_methods(["PATCH"])(hello), lambda request: 1 / 0],
)
def test_a_method_that_is_open_is_found(sweep, view):
    assert len(sweep(path("one", view))) == 1


def test_a_path_that_cannot_be_made_is_no_pass(sweep):
    route = r"^archive/([0-9]{4})$"
    with pytest.raises(Resolver404):
        sweep(re_path(route, require_fb_token(hello)))
    with pytest.raises(AssertionError, match="PATHS needs a path of"):
        sweep(path("<name>", require_fb_token(hello)), path("x", Bare.as_view()))
    sweep.page.PATHS[route] = "archive/2026"
    assert sweep(re_path(route, require_fb_token(hello))) == []
    assert len(sweep(re_path(route, hello))) == 1


def test_caching(sandbox):
    """The orders that the page gives keep nothing of one person for another, and ask the guard each time."""
    cached = "django.middleware.cache."
    order = [f"{cached}UpdateCacheMiddleware", GUARDING, f"{cached}FetchFromCacheMiddleware"]
    paged = cache_page(60)(require_fb_token(answer))
    vary = vary_on_headers("Authorization", "Cookie")
    patterns = [path("me", answer), path("paged", paged), path("optional", vary(answer))]
    rules = {"rules": [{"path": "/optional", "optional": True}]}
    tokens = {user: sandbox.issue_token(user_id=user) for user in ("1", "2")}
    site = {"ROOT_URLCONF": urls(*patterns), "MIDDLEWARE": order}
    for source in ("header", "cookie:token", "query"):
        with override_settings(**site, FBGUARD=options(sandbox, token_from=[source], policy=rules)):
            assert check_settings() == []
            for where, nobody in (("/me", 401), ("/paged", 401), ("/optional", 200)):
                for _ in range(2):
                    assert ask(where, source).status_code == nobody
                    for user, token in tokens.items():
                        assert ask(where, source, token).json() == {"user": user}
    with override_settings(**site | {"MIDDLEWARE": [GUARDING, *order[::2]]}):
        for source, errors in (
            ("header", []),
            ("cookie:token", ["fbguard.E004"]),
            ("query", ["fbguard.E004"]),
        ):
            with override_settings(FBGUARD=options(sandbox, token_from=[source])):
                assert [error.id for error in check_settings()] == errors


def answer(request):
    info = current_token()
    return JsonResponse({"user": info and info.user_id})


def ask(where, source, token=None):
    client = Client()
    if token and source == "cookie:token":
        client.cookies["token"] = token
    headers = {"Authorization": f"Bearer {token}"} if token and source == "header" else {}
    query = {"access_token": token} if token and source == "query" else {}
    return client.get(where, query, headers=headers)
