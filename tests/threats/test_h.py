"""Rows H: which requests are guarded, as the doors alone see them (``tests/routers`` asks real routers)."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fbguard import Policy, Rule, asgi, wsgi
from tests.conftest import Door
from tests.support import TOKEN, call_asgi, call_wsgi, http_scope, valid, wsgi_environ
from tests.threats.requests import ask, bearer, unreachable

RULES = Policy(
    Rule("/health", public=True),
    Rule("/public/{rest:path}", public=True),
    Rule("/admin/{rest:path}", scopes=["admin"]),
    Rule("/items", methods=["GET"], public=True),
    Rule("/items", methods=["POST"], scopes=["write"]),
)
PREFLIGHT = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")]


def check_refused(behind: Door, path: str, status: int, **request: Any) -> None:
    answer = ask(behind, path, **request)
    assert (answer.status, answer.ran) == (status, False), path
    assert answer.reason == ("invalid_request" if status == 400 else "missing_token")


def test_H00_what_is_public_is_public(door, guard, graph):
    behind = door(guard, policy=RULES)
    for path in ("/health", "/health/", "/public", "/public/", "/public/x/y", "/items"):
        answer = behind.send(path=path)
        assert (answer.status, answer.ran, answer.info) == (200, True, None)
    assert graph.calls == []


@pytest.mark.parametrize(
    "host", ["x/public?", "x/health?", "x/health#", "public", "x\\health", "", "x?/health"]
)
def test_H01_bad_host(door, guard, host):
    behind = door(guard, policy=RULES)
    for path in ("/admin", "/", "/other"):
        check_refused(behind, path, 401, headers=[("Host", host)])


DOTS = [
    "/public/../admin",
    "/public/./x",
    "/public/..",
    "/public/.",
    "/health/..",
    "/..",
    "/.",
    "/../health",
    "/public/x/../../admin",
    "/admin/../health",
]


@pytest.mark.parametrize("path", DOTS)
def test_H02_dot_segments(door, guard, path):
    check_refused(door(guard, policy=RULES), path, 400)


def test_H02_dots_that_are_still_encoded_are_a_name(door, guard):
    behind = door(guard, policy=RULES)
    check_refused(behind, "/%2e%2e/health", 401)
    assert ask(behind, "/public/%2e%2e/admin").info is None  # which runs as what the rule calls public


@pytest.mark.parametrize(
    "path", ["//admin", "//health", "/admin//", "/health//", "/./health", "/public//x", "//", "///health"]
)
def test_H03_slashes(door, guard, path):
    check_refused(door(guard, policy=RULES), path, 400)


def test_H03_one_slash_at_the_end_makes_no_difference(door, guard, graph):
    graph.replies["admin"] = valid(scopes=["admin"])
    behind = door(guard, policy=RULES)
    for path in ("/admin", "/admin/", "/admin/users", "/admin/users/"):
        check_refused(behind, path, 401)
        assert behind.send(TOKEN, path).status == 403
        assert behind.send("admin", path).status == 200


NOISE = ["\\", "\x00", "\n", "\r\n", "\x1f", "\x7f", "\x85", "\ufffd"]


@pytest.mark.parametrize("noise", NOISE, ids=ascii)
def test_H04_encoded(door, guard, noise):
    behind = door(guard, policy=RULES)
    for path in (f"/admin{noise}", f"/health{noise}", f"/public/{noise}", f"/{noise}health"):
        check_refused(behind, path, 400)


@pytest.mark.parametrize(
    "raw", [b"/\xff", b"/health\xc0\xaf", b"/\xe0\x80\xafhealth", b"/public/\xed\xa0\x80"]
)
def test_H04_bytes_that_are_no_text(guard, raw):
    """A WSGI server hands the bytes on; an ASGI server has put U+FFFD there, or surrogates."""
    environ = wsgi_environ() | {"PATH_INFO": raw.decode("latin-1")}
    assert call_wsgi(wsgi.FBTokenMiddleware(unreachable, guard, policy=RULES), environ).status == 400
    for errors in ("replace", "surrogateescape"):
        scope = http_scope() | {"path": raw.decode(errors=errors)}
        answer = asyncio.run(call_asgi(asgi.FBTokenMiddleware(unreachable, guard, policy=RULES), scope))
        assert answer.status == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/admin;x", 400),
        ("/admin;v=1/users", 400),
        ("/health;x", 400),
        ("/public;/admin", 400),
        ("/ADMIN", 401),
        ("/HEALTH", 401),
        ("/Public/x", 401),
        ("/\uff41dmin", 401),
        ("/\uff48ealth", 401),
        ("/health\u200b", 401),
        ("/heal\u0074\u0301h", 401),
    ],
)
def test_H05_parameters_case_and_other_letters(door, guard, path, status):
    check_refused(door(guard, policy=RULES), path, status)


def test_H06_mounts(door, guard, graph):
    behind = door(guard, policy=RULES)
    check_refused(behind, "/admin", 401, mount="/app")
    check_refused(behind, "/", 401, mount="/public")
    check_refused(behind, "", 401, mount="/health")
    assert ask(behind, "/health", mount="/app").info is None


@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("/app", "/apple", 401),
        ("/app", "/apphealth", 401),
        ("/app", "/apple/health", 401),
        ("/app", "/app/app/health", 401),
        ("/public", "/publicity", 401),
        ("/public", "/public/admin", 401),
        ("/health", "/healthz", 401),
        ("/app/", "/app/health", 401),
        ("/app", "/app//health", 400),
        ("/app", "/app/health", 200),
        ("/app", "/health", 200),
        ("", "/health", 200),
    ],
)
def test_H06_root_path_ends_at_a_segment(guard, root_path, path, status):
    ran: list[str] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        ran.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    scope = http_scope(path, root_path=root_path)
    answer = asyncio.run(call_asgi(asgi.FBTokenMiddleware(app, guard, policy=RULES), scope))
    assert (answer.status, ran) == (status, [path] if status == 200 else [])


@pytest.mark.parametrize(
    "name",
    ["Script-Name", "X-Script-Name", "X-Forwarded-Prefix", "Path-Info", "Root-Path", "X-Forwarded-Path"],
)
def test_H06_no_header_moves_the_mount(door, guard, name):
    behind = door(guard, policy=RULES)
    for value in ("/health", "/public", "/admin", "/"):
        check_refused(behind, "/admin", 401, headers=[(name, value)])


HINTS = [
    "X-Forwarded-Uri",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Original-Uri",
    "X-Envoy-Original-Path",
    "Forwarded",
]


@pytest.mark.parametrize("name", HINTS)
def test_H07_path_hints_in_headers(door, guard, name):
    behind = door(guard, policy=RULES)
    for value in ("/health", "/public/x", "https://api.example/health", "for=1.2.3.4;host=x;path=/health"):
        check_refused(behind, "/admin", 401, headers=[(name, value)])
        answer = ask(behind, "/health", headers=[(name, "/admin")])
        assert (answer.status, answer.ran) == (200, True)


FREE = [
    ("User-Agent", "kube-probe/1.30"),
    ("User-Agent", "ELB-HealthChecker/2.0"),
    ("User-Agent", "GoogleHC/1.0"),
    ("X-Health-Check", "1"),
    ("X-Forwarded-For", "127.0.0.1"),
    ("X-Real-Ip", "127.0.0.1"),
    ("X-Authenticated-User", "1001"),
    ("X-Internal", "true"),
    ("Upgrade", "websocket"),
    ("Connection", "Authorization"),
    ("X-Fbguard-Disable", "1"),
    ("Referer", "https://api.example/health"),
]


@pytest.mark.parametrize("header", FREE, ids=": ".join)
def test_H08_exemption_by_header(door, guard, header):
    behind = door(guard, policy=RULES)
    for path in ("/admin", "/", "/items/1"):
        check_refused(behind, path, 401, headers=[header])


TOO_WIDE = [
    "/healthz-admin",
    "/healthz",
    "/health/x",
    "/health-",
    "/health.json",
    "/publicity",
    "/public-x",
    "/x/health",
]


@pytest.mark.parametrize("path", TOO_WIDE)
def test_H09_exempt_prefix_too_wide(door, guard, path):
    check_refused(door(guard, policy=RULES), path, 401)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "FOO", "OPTIONS"])
def test_H10_an_unlisted_method_is_guarded(door, guard, graph, method):
    graph.replies["writer"] = valid(scopes=["write"])
    behind = door(guard, policy=RULES)
    check_refused(behind, "/items", 401, method=method)
    answer = behind.send(TOKEN, "/items", method)
    assert (answer.status, answer.reason) == (403, "insufficient_scope")  # as the strictest that is listed
    assert behind.send("writer", "/items", method).status == 200


def test_H10_head_follows_get(door, guard):
    behind = door(guard, policy=Policy(Rule("/a", methods=["GET"], public=True), Rule("/b", methods=["GET"])))
    answer = behind.send(path="/a", method="HEAD")
    assert (answer.status, answer.ran) == (200, True)
    assert behind.send(path="/b", method="HEAD").status == 401


@pytest.mark.parametrize("method", ["get", "Get", "GET ", " GET", "GET\x00", "", "G\xc9T"], ids=repr)
def test_H10_a_method_that_is_nearly_get(guard, method):
    """It is another verb, of which no rule speaks."""
    environ = wsgi_environ("/items", method)
    assert call_wsgi(wsgi.FBTokenMiddleware(unreachable, guard, policy=RULES), environ).status == 401
    scope = http_scope("/items", method)
    app = asgi.FBTokenMiddleware(unreachable, guard, policy=RULES)
    assert asyncio.run(call_asgi(app, scope)).status == 401


OVERRIDES = ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"]


@pytest.mark.parametrize("name", OVERRIDES)
def test_H11_override(door, guard, name):
    behind = door(guard, policy=RULES)
    for method in ("POST", "DELETE"):
        check_refused(behind, "/items", 401, method=method, headers=[(name, "GET")], query="_method=GET")
    answer = ask(behind, "/items", headers=[(name, "POST")], query="_method=POST")
    assert (answer.status, answer.info) == (200, None)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", []),
        ("OPTIONS", PREFLIGHT[:1]),
        ("OPTIONS", PREFLIGHT[1:]),
        ("options", PREFLIGHT),
        ("GET", PREFLIGHT),
        ("POST", PREFLIGHT),
    ],
)
def test_H12_options_that_is_no_preflight(door, guard, method, headers):
    check_refused(door(guard, policy=RULES), "/admin", 401, method=method, headers=headers)


def test_H12_a_preflight_brings_in_no_facts_and_out_no_body(door, guard, graph):
    answer = ask(door(guard, policy=RULES), "/admin", method="OPTIONS", headers=PREFLIGHT)
    assert (answer.status, answer.info, answer.body) == (204, None, b"")
    assert answer.headers == []
    assert graph.calls == []


def test_H12_preflight_switched_off(door, guard):
    behind = door(guard, policy=Policy(preflight=False))
    check_refused(behind, "/admin", 401, method="OPTIONS", headers=PREFLIGHT)


def test_H12_a_preflight_with_a_token_is_judged(door, guard, graph):
    graph.replies["dead"] = valid(is_valid=False)
    behind = door(guard, policy=RULES)
    answer = ask(behind, "/", method="OPTIONS", headers=[*PREFLIGHT, bearer("dead")])
    assert (answer.status, answer.reason, answer.ran) == (401, "invalid_token", False)
    check_refused(behind, "//", 400, method="OPTIONS", headers=PREFLIGHT)
