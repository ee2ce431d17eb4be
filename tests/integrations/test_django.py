"""The middleware of Django: under both handlers, its settings, its checks, its facts."""

# ruff: noqa: N802 - some tests are named after the rows

from __future__ import annotations

import asyncio
import logging
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integrations.django_site import GUARDING, SERVERS, Site, urls

# isort: split
from asgiref.sync import SyncToAsync
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.test.utils import modify_settings

from fbguard import Policy, Rule, asgi, require_fb_token, wsgi
from fbguard.core import background
from fbguard.core.carrier import carrier_of_request
from fbguard.integrations import django as integration
from fbguard.integrations import django_settings
from tests.integrations.flask_apps import loud
from tests.support import APP_ID, PACKAGE, SECRET, TOKEN, Answer, envelope, http_scope, make_guard, valid

pytestmark = pytest.mark.usefixtures("quiet_asyncio", "no_noise")

SPA = "https://spa.example"
CORS = "corsheaders.middleware.CorsMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
CSRF = "django.middleware.csrf.CsrfViewMiddleware"


@pytest.fixture
def logs_a_bug() -> None:
    """For tests of an application's own mistakes, which Django logs as ERROR."""


@pytest.fixture
def no_noise(request, caplog) -> Iterator[None]:
    with caplog.at_level(logging.DEBUG):
        yield
    if "logs_a_bug" not in request.fixturenames:
        assert loud(caplog.get_records("call")) == []  # `records` would be those of the teardown


@pytest.fixture
def configured(graph, clock) -> Any:
    """Give a context in which Django has these settings."""

    @contextmanager
    def configured(middleware: Any = (GUARDING,), **fbguard: Any) -> Iterator[None]:
        options = {"app_id": APP_ID, "app_secret": SECRET, "transport": graph, "clock": clock}
        options |= {"policy": "tests.integrations.django_site.urls.POLICY"} | fbguard
        urls.seen.clear()
        with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=list(middleware), FBGUARD=options):
            yield
        assert carrier_of_request.get() is None

    return configured


@pytest.fixture(params=SERVERS)
def server(request) -> str:
    return request.param


@pytest.fixture
def site(server, configured) -> Iterator[Site]:
    with configured():
        yield Site(server)


def said(answer: Answer) -> Any:
    return answer.status, answer.json.get("reason", answer.json.get("user"))


# -- requests ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "token", "expected"),
    [
        ("/me/", None, (401, "missing_token")),
        ("/me/", "a|b", (401, "malformed_token")),
        ("/me/", TOKEN, (200, "1001")),
        ("/ame", TOKEN, (200, "1001")),
        ("/ame", None, (401, "missing_token")),
        ("/nowhere", None, (401, "missing_token")),
        ("/public/view", None, (200, None)),
        ("/public/view", TOKEN, (200, None)),
        ("/public/decorated", None, (401, "missing_token")),
        ("/public/decorated", TOKEN, (200, "1001")),
        ("/optional", None, (200, None)),
        ("/optional", TOKEN, (200, "1001")),
        ("/optional", "a|b", (401, "malformed_token")),
        ("/pages/7/rule", "seven", (200, "1001")),
        ("/pages/8/rule", "seven", (403, "insufficient_target")),
        ("/pages/7/decorated", "seven", (200, "1001")),  # an int of the router, compared as text
        ("/pages/8/decorated", "seven", (403, "insufficient_target")),
        ("/pages/7/adecorated", "seven", (200, "1001")),
        ("/pages/8/adecorated", "seven", (403, "insufficient_target")),
        ("/shops/7/mine", "seven", (200, "1001")),
        ("/shops/8/mine", "seven", (403, "insufficient_target")),
        ("/two", TOKEN, (403, "insufficient_scope")),
        ("/two", "both", (200, "1001")),
        ("/me//", TOKEN, (400, "invalid_request")),
        ("/hand?token=throttled", TOKEN, (503, "throttled")),
        ("/ahand?token=throttled", TOKEN, (503, "throttled")),
        ("/hand?token=poor", "poor", (503, "throttled")),
    ][:-1],
)
def test_a_table_of_requests(site, graph, path, token, expected):
    graph.replies |= {
        "seven": valid(granular_scopes=[{"scope": "email", "target_ids": ["7"]}]),
        "both": valid(scopes=["email", "user_posts"]),
        "throttled": envelope(4),
    }
    path, _, query = path.partition("?")
    if site.server == "wsgi":
        more: dict[str, Any] = {"QUERY_STRING": query}
    else:
        more = {"query_string": query.encode()}
    for _ in range(2):
        assert said(site.send(path, token, **more)) == expected


def test_the_refusal_is_the_one_of_the_doors(site, guard):
    own = site.send("/me/")
    door = (wsgi if site.server == "wsgi" else asgi).FBTokenMiddleware(None, guard)
    site.app = door
    assert (own.status, own.body) == ((other := site.send("/me/")).status, other.body)
    assert dict(own.headers) == dict(other.headers)


def test_head_has_no_body(site):
    answer = site.send("/me/", method="HEAD")
    assert (answer.status, answer.body) == (401, b"")


@pytest.mark.usefixtures("logs_a_bug")
def test_a_target_that_the_route_does_not_name(configured):
    with configured(policy=None), pytest.raises(RuntimeError, match="'page'"):
        Client().get("/unnamed/7", headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.usefixtures("logs_a_bug")
def test_a_decorator_that_could_only_loosen(configured):
    with configured(), pytest.raises(RuntimeError, match="could only loosen"):
        Client().get("/looser", headers={"Authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_djangos_test_clients(configured, client):
    def ask(**headers: str) -> Any:
        answer = client().get("/me/", headers=headers)
        return asyncio.run(answer) if client is AsyncClient else answer

    with configured():
        assert ask(Authorization=f"Bearer {TOKEN}").json() == {"user": "1001"}
        assert ask().status_code == 401


def test_a_view_called_with_a_request_of_the_factory(configured):
    request = RequestFactory().get("/", headers={"Authorization": f"Bearer {TOKEN}"})
    with configured():
        assert require_fb_token(urls.view)(request).status_code == 200
        assert require_fb_token(urls.view)(RequestFactory().get("/")).status_code == 401


def test_an_async_view_runs_on_the_servers_thread_and_nothing_hops(configured, graph, monkeypatch):
    hops: list[str] = []
    call = SyncToAsync.__call__

    async def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        hops.append(repr(self.func))
        return await call(self, *args, **kwargs)

    monkeypatch.setattr(SyncToAsync, "__call__", counted)

    async def answer(request: Any) -> Any:
        return await urls.aview(request)

    async def main() -> Any:
        from django.core.handlers.asgi import ASGIRequest

        headers = [("Authorization", f"Bearer {TOKEN}")]
        middleware = integration.FBTokenMiddleware(answer)
        return [
            await middleware(ASGIRequest(http_scope(headers=headers), None)),
            await middleware(ASGIRequest(http_scope(headers=headers), None)),
            await middleware(ASGIRequest(http_scope(), None)),
        ]

    with configured():
        assert [one.status_code for one in asyncio.run(main())] == [200, 200, 401]
        assert hops == []
        site = Site("asgi")
        assert site.send("/ame", TOKEN).status == 200
    assert [one["thread"] for one in urls.seen] == [threading.get_ident()] * 3
    assert not [hop for hop in hops if "fbguard" in hop]
    assert background.running() not in graph.loops


def test_async_views_of_a_wsgi_server_look_up_on_the_background_loop(configured, graph):
    with configured(middleware=[], policy=None):
        assert Site("wsgi").send("/kinds/aview", TOKEN).status == 200
        assert Site("wsgi").send("/kinds/awhole", "other").status == 200
    assert graph.loops == [background.running()] * 2


@pytest.mark.parametrize("kind", urls.KINDS)
@pytest.mark.parametrize("around", ["middleware", "middleware none", "nothing", "door", "door none"])
def test_H18_every_kind_of_view_is_guarded(configured, server, graph, clock, kind, around):
    graph.replies |= {"poor": valid(scopes=[]), "throttled": envelope(4)}
    middleware = [GUARDING] if around.startswith("middleware") else []
    policy = None if around.endswith("none") else Policy()
    with configured(middleware, policy=policy), make_guard(graph, clock) as guard:
        module = wsgi if server == "wsgi" else asgi
        door = (lambda app: module.FBTokenMiddleware(app, guard, policy=policy)) if "door" in around else None
        site = Site(server, door)
        for token, expected in (
            (None, (401, "missing_token")),
            ("poor", (403, "insufficient_scope")),
            (TOKEN, (200, "1001")),
            ("throttled", (503, "throttled")),
        ):
            for _ in range(2):
                assert said(site.send(f"/kinds/{kind}", token)) == expected
    assert len(urls.seen) == 2


def test_H18_name_and_signature_stay():
    assert urls.KINDS["view"].__name__ == "view"
    assert urls.KINDS["exempt"].csrf_exempt
    assert urls.KINDS["exempted"].csrf_exempt
    assert (urls.Whole.__name__, urls.Whole.view_is_async, urls.AWhole.view_is_async) == (
        "Whole",
        False,
        True,
    )


@pytest.mark.parametrize(
    "values", [(f"Bearer {TOKEN}",) * 2, (f"Bearer {TOKEN}", ""), ("Basic x", f"Bearer {TOKEN}")]
)
@pytest.mark.parametrize("name", ["authorization", "Authorization"])
def test_H16_two_authorization_headers(site, graph, name, values):
    protocol = {"SERVER_PROTOCOL": "HTTP/2"} if site.server == "wsgi" else {"http_version": "2"}
    answer = site.send("/optional", headers=[(name, value) for value in values], **protocol)
    assert said(answer) == (400, "invalid_request")
    assert graph.calls == []


@pytest.mark.parametrize("place", ["route", "list"])
def test_H17_a_view_that_is_registered_bare(configured, server, place):
    """The path is guarded all the same; with policy=None a bare view is open."""
    for policy, status in ((Policy(), 401), (None, 200)):
        with configured(policy=policy):
            require_fb_token(urls.view)  # what comes out is thrown away
            assert Site(server).send("/form").status == status


def test_I01_a_spoofed_identity_is_not_seen(site):
    names = ["fbguard.token", "fbguard_token", "FBGUARD-TOKEN", "fb_token", "Fb-Token", "X-FB-User-Id"]
    names += [
        "X_FB_User_Id",
        "x-fb-user-id",
        "Remote-User",
        "wsgi.fbguard.token",
        "HTTP-fbguard.token",
        "state",
    ]
    for name in names:
        assert said(site.send("/optional", headers=[(name, "1002")])) == (200, None), name


def test_I04_users_on_threads_see_their_own_facts(configured, graph):
    users = [str(5000 + number) for number in range(50)]
    graph.replies |= {f"of{user}": valid(user_id=user) for user in users}
    wrong: list[str] = []

    def work(start: int, site: Site) -> None:
        for turn in range(25):
            user = users[(start + turn) % len(users)]
            if said(site.send("/me/", f"of{user}")) != (200, user):
                wrong.append(user)
            if site.send("/stream", f"of{user}").body != f"{user} ".encode() * 3:
                wrong.append(user)
        if carrier_of_request.get() is not None:
            wrong.append("left")

    with configured():
        site = Site("wsgi")
        threads = [threading.Thread(target=work, args=(number, site)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


# -- streamed bodies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("around", ["middleware", "nothing"])
@pytest.mark.parametrize(("server", "path"), [("wsgi", "stream"), ("asgi", "astream")])
def test_a_streamed_body_sees_its_token(configured, server, path, around):
    with configured([GUARDING] if around == "middleware" else []):
        answer = Site(server).send(f"/decorated/{path}", TOKEN)
        assert (answer.status, answer.body) == (200, b"1001 " * 3)
        if around == "middleware":
            assert Site(server).send(f"/{path}", TOKEN).body == b"1001 " * 3


def test_a_file_keeps_the_servers_fast_way(configured):
    with configured():
        answer = Site("wsgi").send("/file", TOKEN, **{"wsgi.file_wrapper": lambda file, size: iter(file)})
    assert answer.status == 200
    assert urls.seen[0]["file"].file_to_stream is not None


# -- other middleware, and Django's own -----------------------------------------------------------------


@pytest.mark.parametrize("path", ["/me/", "/ame", "/public/decorated"])
def test_G09_a_browser_can_read_the_refusal(configured, server, graph, path):
    graph.replies |= {"dead": valid(is_valid=False, error={"code": 190, "subcode": 463, "message": "x"})}
    graph.replies |= {"throttled": envelope(4)}
    cors = {"CORS_ALLOWED_ORIGINS": [SPA], "CORS_EXPOSE_HEADERS": ["WWW-Authenticate", "Retry-After"]}
    with configured([CORS, GUARDING]), override_settings(**cors):
        site = Site(server)
        for token, status, hint in (
            (None, 401, "www-authenticate"),
            ("dead", 401, "www-authenticate"),
            ("throttled", 503, "retry-after"),
        ):
            answer = site.send(path, token, headers=[("Origin", SPA)])
            assert (answer.status, answer.header("access-control-allow-origin")) == (status, SPA)
            exposed = (answer.header("access-control-expose-headers") or "").lower().split(", ")
            assert hint in exposed
            assert answer.header(hint)
        stranger = site.send(path, headers=[("Origin", "https://evil.example")])
        assert stranger.header("access-control-allow-origin") is None


def test_G09_preflights_are_the_cors_packages_and_else_refused(configured, server):
    asks = [("Origin", SPA), ("Access-Control-Request-Method", "POST")]
    with override_settings(CORS_ALLOWED_ORIGINS=[SPA]):
        for middleware, status in (([CORS, GUARDING], 200), ([GUARDING, CORS], 401), ([GUARDING], 401)):
            for policy in (Policy(), Policy(preflight=True), {"preflight": True}):
                with configured(middleware, policy=policy):
                    answer = Site(server).send("/me/", method="OPTIONS", headers=asks)
                    assert answer.status == status
                    assert (answer.header("access-control-allow-methods") is not None) == (status == 200)


def test_csrf_is_djangos_and_exempt_views_take_bearer_tokens(configured, caplog):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    with configured([GUARDING, CSRF]):
        client = Client(enforce_csrf_checks=True)
        assert client.post("/plain", headers=bearer).json() == {"user": "1001"}
        assert client.post("/kinds/exempt", headers=bearer).status_code == 200
        assert client.post("/plain").status_code == 401
        refused = client.post("/form", headers=bearer)
    assert refused.status_code == 403
    assert b"CSRF" in refused.content
    assert [one.name for one in caplog.records if one.levelno >= logging.WARNING] == ["django.security.csrf"]
    caplog.clear()


@pytest.mark.parametrize("middleware", [[GUARDING, COMMON], [COMMON, GUARDING]], ids=["above", "below"])
def test_append_slash(configured, server, middleware):
    with configured(middleware):
        site = Site(server)
        answer = site.send("/me", TOKEN)
        assert (answer.status, answer.header("location")) == (301, "/me/")
        assert said(site.send("/me/")) == (401, "missing_token")
        if middleware[0] == GUARDING:
            assert said(site.send("/me")) == (401, "missing_token")


def test_force_script_name(configured, server):
    policy = Policy(Rule("/public/view", public=True), Rule("/me", scopes=["user_posts"]))
    with configured(policy=policy), override_settings(FORCE_SCRIPT_NAME="/mount"):
        site = Site(server)
        prefix = "" if server == "wsgi" else "/mount"  # a WSGI server has taken it off already
        assert site.send(f"{prefix}/public/view").status == 200
        assert said(site.send(f"{prefix}/me/", TOKEN)) == (403, "insufficient_scope")
        assert site.send(f"{prefix}/ame", TOKEN).status == 200


def test_other_carriers_tell_shared_caches(configured, server):
    with configured(token_from=["header", "cookie:fb"]):
        site = Site(server)
        by_cookie = site.send("/me/", headers=[("Cookie", f"fb={TOKEN}")])
        by_header = site.send("/me/", TOKEN)
    assert (by_cookie.status, by_header.status) == (200, 200)
    assert "Cookie" in (by_cookie.header("vary") or "")
    assert "private" in (by_cookie.header("cache-control") or "")
    assert by_header.header("cache-control") is None


@pytest.mark.slow
@pytest.mark.parametrize("around", ["middleware", "nothing", "door"])
@pytest.mark.parametrize("path", ["/kinds/view", "/kinds/aview", "/kinds/awhole", "/hand", "/ahand"])
def test_a_hundred_refusals_leave_no_record(configured, server, graph, clock, around, path):
    """Any record at WARNING or above fails `no_noise`."""
    graph.replies |= {"poor": valid(scopes=[]), "throttled": envelope(4)}
    if "hand" in path and around != "middleware":
        return  # a Refused that escapes a view is the middleware's to answer
    more: dict[str, Any] = (
        {"QUERY_STRING": "token=throttled"} if server == "wsgi" else {"query_string": b"token=throttled"}
    )
    with (
        configured([GUARDING] if around == "middleware" else [], policy=None),
        make_guard(graph, clock) as guard,
    ):
        module = wsgi if server == "wsgi" else asgi
        door = (lambda app: module.FBTokenMiddleware(app, guard, policy=None)) if around == "door" else None
        site = Site(server, door)
        for token, status in ((None, 401), ("poor", 403), ("throttled", 503)):
            expected = 503 if "hand" in path else status
            assert site.send_many(100, path, token, **more) == {expected}


# -- settings -------------------------------------------------------------------------------------------


def test_guard_is_one_and_renewed_with_the_settings(configured, graph):
    with configured():
        first = integration.guard()
        assert integration.guard() is first
        client = Client()  # loads the middleware once, at its first request
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get("/me/", headers=bearer).status_code == 200
        with configured(policy={"default": {"scopes": ["user_posts"]}}):
            assert integration.guard() is not first
            assert client.get("/me/", headers=bearer).status_code == 403
        assert client.get("/me/", headers=bearer).status_code == 200
        with pytest.raises(RuntimeError, match="closed"):
            first.check(TOKEN)
    assert len(graph.calls) == 3


def test_guard_is_one_for_threads_that_ask_at_once(configured):
    found: list[Any] = []
    with configured():
        threads = [threading.Thread(target=lambda: found.append(integration.guard())) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({id(one) for one in found}) == 1


@pytest.mark.parametrize(
    ("policy", "status"),
    [
        ("tests.integrations.django_site.urls.POLICY", 200),
        (Policy(Rule("/public/view", public=True)), 200),
        ({"rules": [{"path": "/public/view", "public": True}]}, 200),
        (None, 200),
        (Policy(), 401),
        ({}, 401),
    ],
)
def test_the_policy(configured, server, policy, status):
    with configured(policy=policy):
        assert Site(server).send("/public/view").status == status


WRONG = [
    ("E001", {"app_id": 123}, "app_id"),
    ("E001", {"app_id": ...}, "app_id"),
    ("E001", {"app_id": ..., "APP_ID": "1"}, "no option 'APP_ID'; is it 'app_id'"),
    ("E001", {"TTL": 1}, "no option 'TTL'; is it 'ttl'"),
    ("E001", {"POLICY": None}, "no option 'POLICY'; is it 'policy'"),
    ("E001", {"app_secret": ...}, "app_secret"),
    ("E001", {"app_secret": f"{SECRET} "}, "app_secret"),
    ("E001", {"tttl": 3}, "tttl"),
    ("E001", {"deadline": "3"}, "deadline"),
    ("E001", {"graph_url": "http://graph.example"}, "graph_url"),
    ("E002", {"policy": "no.such.module"}, "policy"),
    ("E002", {"policy": "tests.integrations.django_site.urls.NOTHING"}, "policy"),
    ("E002", {"policy": "tests.integrations.django_site.urls.view"}, "policy"),
    ("E002", {"policy": 3}, "policy"),
    ("E002", {"policy": {"rules": [{"path": "/a", "scopes": "email"}]}}, "policy"),
]


@pytest.mark.parametrize(("number", "changes", "option"), WRONG)
def test_wrong_settings(configured, server, number, changes, option):
    with configured(**changes):
        from django.conf import settings

        settings.FBGUARD = {key: value for key, value in settings.FBGUARD.items() if value is not ...}
        django_settings.forget_guard(setting="FBGUARD")
        with pytest.raises(ImproperlyConfigured, match=option) as caught:
            Site(server)
        found = [one for one in run_checks() if one.id.startswith("fbguard.")]
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if frame.f_code.co_filename.startswith(PACKAGE)]
    assert ours
    assert SECRET not in repr([frame.f_locals for frame in ours])
    assert caught.value.__context__ is None  # whose frames would hold the settings
    assert [one.id for one in found] == [f"fbguard.{number}"]
    assert option in found[0].msg
    assert SECRET not in str(found[0])


@pytest.mark.parametrize("wrong", ["app", None, ["a"]])
def test_settings_that_are_no_mapping(wrong):
    with override_settings(FBGUARD=wrong):
        with pytest.raises(ImproperlyConfigured, match="FBGUARD must be a mapping"):
            integration.guard()
        assert [one.id for one in run_checks()] == ["fbguard.E001", "fbguard.E002"]


def test_right_settings_and_none_at_all(configured):
    with configured():
        assert run_checks() == []
    assert run_checks() == []
    with override_settings(MIDDLEWARE=[GUARDING]):
        assert "fbguard.E001" in [one.id for one in run_checks()]


def test_the_app_of_the_checks():
    with modify_settings(INSTALLED_APPS={"append": "fbguard.integrations.django.FBGuardConfig"}):
        from django.apps import apps

        assert apps.get_app_config("fbguard").verbose_name == "fbguard"


def test_no_guard_found():
    with pytest.raises(RuntimeError, match=r"settings\.FBGUARD in Django"):
        require_fb_token(urls.view)(RequestFactory().get("/"))
