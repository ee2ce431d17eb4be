"""Rows O: configuration."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import ast
import asyncio
import math
import ssl
from pathlib import Path

import pytest

import fbguard
from fbguard import Guard, Policy, Requirement, Rule, asgi, require_fb_token, wsgi
from fbguard.facebook.pools import AiohttpPool
from tests.support import APP_ID, SECRET, call_asgi, call_wsgi, http_scope, valid, wsgi_environ
from tests.threats.requests import unreachable

WRONG = ["", " ", "\t", "\n", f"{SECRET}\n", f" {SECRET}", f"{SECRET} x", "geheim\x00", "geheimé"]
PLACEHOLDERS = [
    "changeme",
    "CHANGE_ME",
    "your-app-secret",
    "<your app secret>",
    "{app-secret}",
    "xxxxxxxx",
    "0000",
]


@pytest.mark.parametrize("secret", [*WRONG, *PLACEHOLDERS, [], [""], [SECRET, ""], [SECRET, "x y"]], ids=repr)
def test_O01_secret_that_is_none(secret):
    with pytest.raises(ValueError, match="app_secret") as caught:
        Guard(app_id=APP_ID, app_secret=secret)
    assert SECRET not in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("secret", [None, 5, b"geheim", [b"geheim"], [None], {SECRET}], ids=repr)
def test_O01_secret_of_another_type(secret):
    with pytest.raises(TypeError, match="app_secret") as caught:
        Guard(app_id=APP_ID, app_secret=secret)
    assert SECRET not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_O01_secret_left_out():
    with pytest.raises(TypeError, match="app_secret"):
        Guard(app_id=APP_ID)


@pytest.mark.parametrize("value", [None, *WRONG[:4], f"{SECRET}\n", f"{SECRET},", "changeme"], ids=repr)
def test_O01_secret_in_the_environment(monkeypatch, value):
    monkeypatch.setenv("FBGUARD_APP_ID", APP_ID)
    monkeypatch.delenv("FBGUARD_APP_SECRET", raising=False)
    if value is not None:
        monkeypatch.setenv("FBGUARD_APP_SECRET", value)
    with pytest.raises(ValueError, match=r"(?i)app_secret") as caught:
        Guard.from_env()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("secret", [SECRET, [SECRET], (SECRET, "an-older-one")])
def test_O01_secrets_that_are_some(secret):
    with Guard(app_id=APP_ID, app_secret=secret) as guard:
        assert guard.app_id == APP_ID


MAKERS = {
    "requirement": Requirement,
    "rule": lambda **options: Rule("/", **options),
    "decorator": require_fb_token,
    "mapping": lambda **options: Policy.from_mapping({"default": options}),
    "rule of a mapping": lambda **options: Policy.from_mapping({"rules": [{"path": "/"} | options]}),
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("option", ["scopes", "any_scope", "token_types"])
@pytest.mark.parametrize(
    "value", ["email", "", None, 5, True, b"email", [b"email"], [None], [["email"]]], ids=repr
)
def test_O02_scope_argument_of_a_wrong_type(make, option, value):
    with pytest.raises(TypeError, match=option):
        MAKERS[make](**{option: value})


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "name", ["", " ", "a b", 'a"b', "a\\b", "caf\xe9", "a\n", "\x00", "\uff45mail"], ids=ascii
)
def test_O02_scope_argument_outside_the_charset(make, name):
    for option in ("scopes", "any_scope"):
        with pytest.raises(ValueError, match=f"{option}.*RFC 6749"):
            MAKERS[make](**{option: ["email", name]})


@pytest.mark.parametrize("make", MAKERS)
def test_O02_other_wrong_requirements(make):
    for options in (
        {"target": "page"},
        {"token_types": []},
        {"min_remaining": -1},
        {"max_login_age": math.nan},
    ):
        with pytest.raises((ValueError, RuntimeError), match=next(iter(options))):
            MAKERS[make](**options)
    for options in ({"optional": 1}, {"optional": "no"}, {"min_remaining": "5"}, {"max_login_age": True}):
        with pytest.raises(TypeError, match=next(iter(options))):
            MAKERS[make](**options)


@pytest.mark.parametrize("empty", [[], (), set(), frozenset()], ids=repr)
def test_O03_empty_scopes(door, guard, graph, empty):
    """Any valid token of a user; never public."""
    graph.replies |= {"none": valid(scopes=[]), "dead": valid(is_valid=False), "page": valid(type="PAGE")}
    behind = door(guard, policy=Policy(Rule("/x", scopes=empty, any_scope=empty)))
    assert behind.send("none", "/x").status == 200
    assert behind.send(path="/x").reason == "missing_token"
    assert behind.send("dead", "/x").reason == "invalid_token"
    assert behind.send("page", "/x").reason == "wrong_token_type"


@pytest.mark.parametrize("options", [{}, {"policy": Policy()}, {"policy": Policy.from_mapping({})}], ids=repr)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "FOO"])
def test_O04_no_rules_given(guard, graph, options, method):
    for path in ("/", "/health", "/static/x.css", "/docs", "/favicon.ico", "/.well-known/x", ""):
        environ = wsgi_environ(path, method)
        assert call_wsgi(wsgi.FBTokenMiddleware(unreachable, guard, **options), environ).status == 401
        answer = call_asgi(asgi.FBTokenMiddleware(unreachable, guard, **options), http_scope(path, method))
        assert asyncio.run(answer).status == 401
    assert graph.calls == []


def test_O04_policy_none_is_said_aloud(door, guard):
    """The one way to a door that guards no path: the views decide."""
    answer = door(guard, policy=None).send(path="/x")
    assert (answer.status, answer.info) == (200, None)


UNKNOWN = [
    "requried_scopes",
    "scope",
    "required_scopes",
    "Scopes",
    "any_scopes",
    "public_",
    "verify",
    "_scopes",
]


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("make", MAKERS)
def test_O05_unknown_keyword(make, name):
    with pytest.raises(TypeError, match=name):
        MAKERS[make](**{name: ["email"]})


@pytest.mark.parametrize(
    "name", ["tll", "appsecret", "verify", "debug", "disable", "skip", "enabled", "token_form"]
)
@pytest.mark.parametrize("value", [False, None, 0])
def test_O05_unknown_keyword_of_a_guard(guard, name, value):
    for make in (
        lambda: Guard(app_id=APP_ID, app_secret=SECRET, **{name: value}),
        lambda: Guard.from_mapping({"app_id": APP_ID, "app_secret": SECRET, name: value}),
        lambda: wsgi.FBTokenMiddleware(unreachable, guard, **{name: value}),
        lambda: asgi.FBTokenMiddleware(unreachable, guard, **{name: value}),
        lambda: Policy(**{name: value}),
    ):
        with pytest.raises(TypeError, match=name):
            make()


INSECURE = [
    "http://graph.facebook.com",
    "HTTP://graph.facebook.com",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://127.evil",
    "http://user@localhost",
    "http://[::2]",
    "http://0.0.0.0",
    "http://192.168.0.1",
    "//graph.facebook.com",
    "graph.facebook.com",
    "ftp://graph.facebook.com",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "https://",
    "https://graph.facebook.com/?a=b",
    "https://graph.facebook.com/#x",
    "https://user:pw@graph.facebook.com",
    "https://graph.facebook.com\n.evil",
    "https://graph.facebook.com:port",
    " https://graph.facebook.com",
    "",
]


@pytest.mark.parametrize("url", INSECURE, ids=repr)
@pytest.mark.parametrize("option", ["graph_url", "dialog_url"])
def test_O06_insecure_url(option, url):
    with pytest.raises(ValueError, match=option):
        Guard(app_id=APP_ID, app_secret=SECRET, **{option: url})


@pytest.mark.parametrize(
    "url", ["http://localhost:8080", "http://127.0.0.1", "http://127.9.9.9", "http://[::1]:1"]
)
def test_O06_plain_http_stays_on_this_machine(url):
    with Guard(app_id=APP_ID, app_secret=SECRET, graph_url=url, dialog_url=url) as guard:
        assert url in repr(guard)


@pytest.mark.parametrize("name", ["verify", "verify_ssl", "ssl", "insecure", "trust_env", "follow_redirects"])
def test_O06_no_switch_turns_tls_off(name):
    with pytest.raises(TypeError, match=name):
        Guard(app_id=APP_ID, app_secret=SECRET, **{name: False})


def test_O06_the_client_verifies_and_asks_no_environment(monkeypatch):
    for name in ("HTTPS_PROXY", "ALL_PROXY", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/nonexistent")

    async def main() -> tuple[bool, bool, bool]:
        session = AiohttpPool()._open()
        tls = session.connector._ssl
        verifies = tls.check_hostname and tls.verify_mode is ssl.CERT_REQUIRED and tls.get_ca_certs() != []
        seen = session.trust_env, session.connector.force_close, verifies
        await session.close()
        return seen

    assert asyncio.run(main()) == (False, False, True)


SECONDS = [0, 0.0, -1, -0.001, math.inf, -math.inf, math.nan]
NO_NUMBERS = ["300", "", None, True, [], 1j, b"1"]


@pytest.mark.parametrize("option", ["ttl", "negative_ttl", "deadline"])
def test_O07_seconds(option):
    for value in SECONDS:
        with pytest.raises(ValueError, match=option):
            Guard(app_id=APP_ID, app_secret=SECRET, **{option: value})
    for value in NO_NUMBERS:
        with pytest.raises(TypeError, match=option):
            Guard(app_id=APP_ID, app_secret=SECRET, **{option: value})


@pytest.mark.parametrize("option", ["cache_size", "negative_cache_size"])
def test_O07_sizes(option):
    for value in (0, -1):
        with pytest.raises(ValueError, match=option):
            Guard(app_id=APP_ID, app_secret=SECRET, **{option: value})
    for value in (*NO_NUMBERS, 1.5, math.inf):
        with pytest.raises(TypeError, match=option):
            Guard(app_id=APP_ID, app_secret=SECRET, **{option: value})


@pytest.mark.parametrize("option", ["stale_if_error", "max_in_flight", "refresh_ahead", "max_queued"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "300", None], ids=repr)
def test_O07_numbers_of_what_is_not_built_yet(option, value):
    with pytest.raises((ValueError, TypeError), match=option):
        Guard(app_id=APP_ID, app_secret=SECRET, **{option: value})


SWITCHES = [
    *(
        f"FBGUARD_{word}"
        for word in ("DISABLE", "DISABLED", "DEBUG", "SKIP", "OFF", "TESTING", "PUBLIC", "INSECURE")
    ),
    *("DEBUG", "FLASK_DEBUG", "TESTING", "DJANGO_DEBUG", "STARLETTE_DEBUG", "PYTHONDEVMODE", "ENV", "CI"),
]


@pytest.mark.parametrize("value", ["1", "true", "development"])
def test_O09_kill_switch(door, graph, monkeypatch, value):
    for name in SWITCHES:
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FBGUARD_ENABLED", "0")
    monkeypatch.setenv("FBGUARD_APP_ID", APP_ID)
    monkeypatch.setenv("FBGUARD_APP_SECRET", SECRET)
    with Guard.from_env(transport=graph) as guard:
        answer = door(guard).send(headers=[("X-Debug", "1")])
        assert (answer.status, answer.reason, answer.ran) == (401, "missing_token", False)


@pytest.mark.parametrize("debug", [True, False])
def test_O09_debug_mode_of_a_framework(guard, debug):
    app = pytest.importorskip("flask").Flask("debug")
    app.debug = app.testing = debug
    assert call_wsgi(wsgi.FBTokenMiddleware(app, guard), wsgi_environ()).status == 401
    other = pytest.importorskip("starlette.applications").Starlette(debug=debug)
    assert asyncio.run(call_asgi(asgi.FBTokenMiddleware(other, guard), http_scope())).status == 401


SOURCES = [path for path in Path(fbguard.__file__).parent.rglob("*.py") if "cli" not in path.parts]


def test_O09_nothing_hangs_on_asserts_or_the_environment():
    """``python -O`` takes asserts away; the environment is read where ``from_env`` reads it."""
    asserts, readers = set(), set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert) or (isinstance(node, ast.Name) and node.id == "__debug__"):
                asserts.add(path.name)
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}:
                is_os = isinstance(node.value, ast.Name) and node.value.id == "os"
                readers |= {path.name} if is_os else set()
    assert len(SOURCES) > 30
    assert (asserts, readers) == (set(), {"options.py"})
