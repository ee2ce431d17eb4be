"""Rows H01-H12 and H20 of the list of threats: paths and verbs, against every router."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from django.test import override_settings
from flask import Flask

from fbguard import Policy, Rule, asgi, wsgi
from tests.routers import starlette_sites
from tests.routers.raw import PREFLIGHT, Raw, to_environ, to_scope
from tests.routers.sites import EVERYTHING, GUARDED, examine, lacking, path_of, refused
from tests.routers.views import POLICY, RAN, VERBS_OF, VIEWS
from tests.support import call_asgi, call_wsgi, make_guard, wsgi_environ


@pytest.mark.parametrize(
    "host", ["x/public?", "x/health?", "x/public/x#", "x/public;", "public", "x\\public", "", "x?/health"]
)
def test_H01_the_host_header_is_no_path(site, host):
    for view in GUARDED:
        assert refused(site, Raw(path_of(site, view), headers=(("Host", host),))).answer.status == 401


@pytest.mark.parametrize(
    "dots",
    [
        "/public/..",
        "/public/%2e%2e",
        "/public/%2E.",
        "/.",
        "/%2e",
        "/health/..",
        "/..",
        "/public/x/../..",
        "/public/..;",
    ],
)
def test_H02_dot_segments_are_refused(site, dots):
    for view in GUARDED:
        raw = Raw(dots + path_of(site, view))
        assert site.send(raw, EVERYTHING).answer.status == 400
        assert refused(site, raw).answer.reason == "invalid_request"


def test_H02_dots_encoded_twice_are_no_dots(site):
    """They are names like others: what runs is the public view, which may."""
    raw = Raw("/public/%252e%252e/admin")
    assert set(site.send(raw).ran) <= {"public"}
    assert examine(site, raw).violations == []


def test_H03_slashes(site):
    for view in GUARDED:
        path = path_of(site, view)
        bare = path.rstrip("/")
        for target in (f"/{path}", f"//{path}", f"{bare}//", f"/.{path}", path.replace("/", "//")):
            assert site.send(Raw(target), EVERYTHING).answer.status == 400
            refused(site, Raw(target))
        refused(site, Raw(f"{bare}/"))
        refused(site, Raw(bare or "/"))


@pytest.mark.parametrize(
    "noise",
    [
        "%00",
        "%0a",
        "%0d%0a",
        "%5c",
        "%c0%af",
        "%e0%80%af",
        "%c0%ae",
        "%ff",
        "%ed%a0%80",
        "%7f",
        "%c2%85",
        "%2f%2f",
        "%ef%bf%bd",
    ],
)
def test_H04_encoded(site, noise):
    if "%0a" in noise and site.name.startswith("starlette-mounted"):
        # A mount of Starlette takes no line feed: it never comes to the door, nor to a view.
        assert all(site.send(Raw(f"{path_of(site, view)}{noise}"), EVERYTHING).ran == () for view in GUARDED)
        return
    for view in GUARDED[1:]:
        path = path_of(site, view).rstrip("/")
        for target in (f"{path}{noise}", f"{path}{noise}/public/x", f"/{noise}{path[1:]}"):
            assert site.send(Raw(target), EVERYTHING).answer.status == 400
            refused(site, Raw(target))


@pytest.mark.parametrize(
    "target", ["/public%2fsecret", "/%70ublic/secret", "/public/%73ecret", "/public%2F%73ecret"]
)
def test_H04_an_encoded_name_is_that_name(site, target):
    sent = refused(site, Raw(target))
    assert sent.answer.status == 401
    assert "secret" not in site.send(Raw(target), lacking("secret")).ran


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/admin;x", 400),
        ("/admin;v=1/users", 400),
        ("/admin%3bx", 400),
        ("/ADMIN", 401),
        ("/Admin/Users", 401),
        ("/%EF%BD%81dmin", 401),
        ("/%EF%BC%8Fadmin", 401),
        ("/health;/admin", 400),
        ("/public;/secret", 400),
        ("/PUBLIC/x", 401),
        ("/HEALTH", 401),
        ("/he%61lth;", 400),
        ("/healt%EF%BD%88", 401),
        ("/heal%C5%ADth", 401),
    ],
)
def test_H05_parameters_case_and_other_letters(site, target, status):
    assert refused(site, Raw(target)).answer.status == status


# -- mounts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("router", ["starlette", "django-asgi"])
@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("/app", "/app/admin", 401),
        ("/app", "/apple", 401),
        ("/app", "/app", 401),
        ("/app", "/apple/health", 401),
        ("/app", "/apphealth", 401),
        ("/app", "/app/app/health", 401),
        ("/app", "/app//health", 400),
        ("/app/", "/app/health", 401),
        ("/admin/", "/admin/users", 401),
        ("/", "/admin", 401),
        ("/", "//admin", 401),
        ("/health", "/healthz-admin", 401),
        ("/health", "/health", 401),
        ("/public", "/public/admin", 401),
        ("/public", "/publicity", 401),
        ("/app", "", 401),
    ],
)
def test_H06_root_path_ends_at_a_segment(sites, router, root_path, path, status):
    site = sites[router]
    raw = Raw(path, mount=root_path, reader="outside")  # the scope's path is what is written here
    assert refused(site, raw).answer.status == status


@pytest.mark.parametrize(
    ("script_name", "path_info", "status"),
    [
        ("/app", "/admin", 401),
        ("/app", "le/health", 400),  # as gunicorn cuts /apple/health
        ("/app", "", 401),
        ("/health", "/", 401),
        ("/public", "/admin", 401),
        ("/public/", "admin", 400),
        ("", "//health", 400),
    ],
)
@pytest.mark.parametrize("router", ["flask-strict", "flask-loose", "django-wsgi"])
def test_H06_script_name_counts_for_nothing(sites, router, script_name, path_info, status):
    RAN.clear()
    answer = call_wsgi(sites[router].app, wsgi_environ(SCRIPT_NAME=script_name, PATH_INFO=path_info))
    assert (answer.status, RAN) == (status, [])


@pytest.mark.parametrize(
    "name", ["Script-Name", "SCRIPT_NAME", "X-Script-Name", "X-Forwarded-Prefix", "Root-Path", "Path-Info"]
)
@pytest.mark.parametrize("value", ["/public", "/health", "/admin", "/app"])
def test_H06_no_header_moves_the_mount(site, name, value):
    assert refused(site, Raw(path_of(site, "admin"), headers=((name, value),))).answer.status == 401


@pytest.mark.parametrize("name", ["starlette-mounted", "flask-dispatched"])
@pytest.mark.parametrize("path", ["/apple/admin", "/app.admin", "/appadmin", "/ap/admin"])
def test_H06_a_mount_ends_at_a_segment(sites, name, path):
    """The door stands below ``/app``: what only begins like it gets neither there nor past the rules."""
    site = sites[name]
    RAN.clear()
    if site.kind.is_asgi:
        answer = site.runner.run(call_asgi(site.app, to_scope(Raw(path), EVERYTHING)))
    else:
        answer = call_wsgi(site.app, to_environ(Raw(path), EVERYTHING))
    assert (answer.status, RAN) == (404, [])


@pytest.mark.xfail(
    strict=True, reason="Django moves its mount behind the door: there its own integration is needed"
)
def test_H06_djangos_forced_script_name_without_a_root_path(sites):
    """Django takes FORCE_SCRIPT_NAME off the path of a scope, whatever the server said.

    So one of both paths means another rule to the door than to Django, wherever the rule is written.
    """
    site = sites["django-asgi"]
    with override_settings(FORCE_SCRIPT_NAME="/app"):
        assert examine(site, Raw("/app/admin")).violations == []


@pytest.mark.parametrize(
    "middleware",
    [
        True,
        False,
    ],
    ids=["inside", "around"],
)
@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
def test_H06_fastapis_own_root_path(sites, middleware):
    """FastAPI(root_path=...) replaces the scope's, also behind a door around it."""
    fastapi = pytest.importorskip("fastapi")
    site = sites["starlette"]
    guard = site.app.guard
    app = fastapi.FastAPI(root_path="/api", routes=starlette_sites.routes())
    if middleware:
        app.add_middleware(asgi.FBTokenMiddleware, guard=guard, policy=POLICY)
    door = app if middleware else asgi.FBTokenMiddleware(app, guard, policy=POLICY)
    RAN.clear()
    answer = site.runner.run(call_asgi(door, to_scope(Raw("/api/admin"), lacking("admin"))))
    assert (answer.status, RAN) == (403, [])


# -- headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-Uri",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Original-URI",
        "X-Forwarded-Path",
        "X-Envoy-Original-Path",
        "X-Accel-Redirect",
    ],
)
def test_H07_path_hints_are_ignored(site, name):
    for view in GUARDED:
        assert refused(site, Raw(path_of(site, view), headers=((name, "/public/x"),))).answer.status == 401
    assert (
        refused(site, Raw(path_of(site, "admin") + "?/health", headers=((name, "/health"),))).answer.status
        == 401
    )
    public = site.send(Raw(path_of(site, "health"), headers=((name, "/admin"),)))
    assert public.ran == ("health",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("User-Agent", "kube-probe/1.31"),
        ("User-Agent", "GoogleHC/1.0"),
        ("User-Agent", "ELB-HealthChecker/2.0"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("X-Internal", "true"),
        ("X-Forwarded-User", "admin"),
        ("X-Middleware-Subrequest", "middleware:middleware:middleware"),
        ("X-Debug", "1"),
    ],
)
def test_H08_no_header_frees_a_path(site, name, value):
    for view in GUARDED:
        assert refused(site, Raw(path_of(site, view), headers=((name, value),))).answer.status == 401


# -- exemptions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/healthz-admin",
        "/health/admin",
        "/healthx",
        "/health-",
        "/health.",
        "/health%20",
        "/healthz-admin/",
        "/health/admin/",
        "/health%2fadmin",
        "/heal",
        "/Health",
        "/x/health",
    ],
)
def test_H09_public_prefix_is_no_prefix(site, target):
    assert refused(site, Raw(target)).answer.status == 401


def test_H09_what_is_public_is_reached(site):
    assert site.send(Raw(path_of(site, "health"))).ran == ("health",)
    assert site.send(Raw("/public/a/b/c.css")).ran == ("public",)


def test_H09_a_guarded_path_below_a_public_folder(site):
    assert refused(site, Raw(path_of(site, "secret"))).answer.status == 401
    assert refused(site, Raw("/public/secret")).answer.status == 401
    assert refused(site, Raw("/public/secret/")).answer.status == 401


# -- verbs -------------------------------------------------------------------------------------------------


def test_H10_each_verb_has_its_rule(site):
    for view, (method, path) in VERBS_OF.items():
        raw = Raw(quote(site.canonical(path)), method)
        assert refused(site, raw).answer.status == 401
        assert site.send(raw, lacking(view)).answer.status == 403
        assert site.send(raw, EVERYTHING).ran == (view,)
    for view in ("read_notes", "read_any", "open_hook"):
        assert site.send(Raw(path_of(site, view))).ran == (view,)


def test_H10_head_follows_get(site):
    for view in ("admin", "item", "files"):
        raw = Raw(path_of(site, view), "HEAD")
        assert refused(site, raw).answer.body == b""
        assert site.send(raw, lacking(view)).answer.status == 403
        assert site.send(raw, EVERYTHING).ran == (view,)
    for view in ("health", "read_notes", "read_any"):
        assert site.send(Raw(path_of(site, view), "HEAD")).ran == (view,)


@pytest.mark.parametrize(
    "method", ["get", "FOO", "TRACE", "", "PROPFIND", "CONNECT", "Post", "post", "head", "GET "], ids=repr
)
def test_H10_a_verb_that_no_rule_lists_is_guarded(site, method):
    for view in (*GUARDED, "read_notes", "read_any"):
        assert refused(site, Raw(path_of(site, view), method)).answer.status == 401
        if VIEWS[view] is not None:
            assert site.send(Raw(path_of(site, view), method), lacking(view)).answer.status in {401, 403}


@pytest.mark.parametrize("method", ["post", "Post", "pOST"])
def test_H10_a_verb_in_another_case_stays_that_verb(site, method):
    """Only POST is guarded there. Frameworks fold the case, and must not find the door open for it."""
    raw = Raw(path_of(site, "open_hook"), method)
    assert refused(site, raw).answer.status == 401
    assert site.send(raw, lacking("hook")).answer.status == 403


def _overridable(app: Any) -> Any:
    """Wrap a WSGI app as Flask's documentation does for method overrides."""

    def overridden(environ: Any, start_response: Any) -> Any:
        environ["REQUEST_METHOD"] = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE", environ["REQUEST_METHOD"])
        return app(environ, start_response)

    return overridden


OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method")


@pytest.mark.parametrize("name", OVERRIDES)
def test_H11_an_override_that_nobody_reads_changes_nothing(site, name):
    path = path_of(site, "read_notes")
    post = Raw(f"{path}?_method=GET", "POST", ((name, "GET"),))
    assert refused(site, post).answer.status == 401
    assert site.send(post, lacking("add_note")).answer.status == 403
    get = site.send(Raw(f"{path}?_method=DELETE", "GET", ((name, "DELETE"),)))
    assert get.ran == ("read_notes",)


def test_H11_an_override_before_the_door_is_the_verb(sites):
    for name in ("flask-strict", "django-wsgi"):
        app = _overridable(sites[name].app)
        for token, status, ran in (
            (None, 401, []),
            (lacking("drop_notes"), 403, []),
            (EVERYTHING, 200, ["drop_notes"]),
        ):
            RAN.clear()
            raw = Raw("/notes", "POST", (("X-HTTP-Method-Override", "DELETE"),))
            answer = call_wsgi(app, to_environ(raw, token))
            assert (answer.status, RAN) == (status, ran)


_BEHIND = pytest.mark.xfail(strict=True, reason="the door cannot know what an app behind it makes of a verb")


@pytest.mark.parametrize(
    "method", [pytest.param("GET", marks=_BEHIND), pytest.param("POST", marks=_BEHIND), "OPTIONS"]
)
def test_H11_an_override_behind_the_door(sites, method):
    app = Flask(__name__)
    app.add_url_rule(
        "/notes", view_func=lambda: RAN.append("drop_notes") or "", endpoint="drop", methods=["DELETE"]
    )
    door = wsgi.FBTokenMiddleware(_overridable(app.wsgi_app), sites["flask-strict"].app.guard, policy=POLICY)
    RAN.clear()
    raw = Raw(
        "/notes", method, (("X-HTTP-Method-Override", "DELETE"), *(PREFLIGHT if method == "OPTIONS" else ()))
    )
    call_wsgi(door, to_environ(raw, lacking("drop_notes") if method == "POST" else None))
    assert RAN == []


# -- paths that lead nowhere -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "/admin/none",
        "/none/none",
        "/shop/none",
        "/items/none/none",
        "/admin/users/1",
        "/favicon.ico",
        "/static/x",
    ],
)
def test_H20_a_path_that_leads_nowhere_is_guarded(site, target):
    for method in ("GET", "POST", "HEAD", "FOO"):
        assert refused(site, Raw(target, method)).answer.status == 401
    assert site.send(Raw(target), EVERYTHING).answer.status in {200, 301, 307, 308, 404}


# -- where a router's pattern and a template differ ----------------------------------------------------------


def test_a_trailing_slash_belongs_to_the_rule_without_one():
    """One trailing slash makes no difference to a rule, but it does to some routes.

    A public file in a guarded folder: ``/files/readme/`` stands under the file's rule, and the
    folder's view gets it, as the path ``readme/``.
    """
    policy = Policy(Rule("/files/readme", public=True), Rule("/files/{rest:path}", scopes=["v.files"]))
    with make_guard() as guard:
        app = Flask(__name__)
        app.add_url_rule("/files/readme", "readme", lambda: "readme")
        app.add_url_rule("/files/<path:rest>", "files", lambda rest: rest)
        door = wsgi.FBTokenMiddleware(app, guard, policy=policy)
        assert call_wsgi(door, wsgi_environ("/files/readme")).body == b"readme"
        assert call_wsgi(door, wsgi_environ("/files/readme/")).body == b"readme/"
        assert call_wsgi(door, wsgi_environ("/files/readme/x")).status == 401
