"""Rows H: WebSockets, other scopes, bodies and unknown paths."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fbguard import Guard, Policy, Requirement, Rule, asgi, wsgi
from tests.support import TOKEN, call_asgi, call_wsgi, http_scope, valid, wsgi_environ
from tests.threats.requests import DENIAL, NeverRead, bearer, opened_by, shake_hands, unreachable

RULES = Policy(
    Rule("/health", public=True),
    Rule("/public/{rest:path}", public=True),
    Rule("/admin/{rest:path}", scopes=["admin"]),
)
PREFLIGHT = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST")]


@pytest.mark.parametrize("path", ["/admin", "/", "/none", "/items/1"])
@pytest.mark.parametrize("more", [{}, DENIAL], ids=["close", "denial"])
def test_H13_websocket(guard, graph, path, more):
    for headers in ([], PREFLIGHT, [("Authorization", "Basic x")]):
        sent = shake_hands(guard, policy=RULES, path=path, headers=headers, app=unreachable, **more)
        assert opened_by(sent) is None
        assert sent[0].get("code", sent[0].get("status")) in {1008, 401}
    assert graph.calls == []
    assert opened_by(shake_hands(guard, policy=RULES, path="/", headers=[bearer(TOKEN)])) == "1001"


def test_H13_websocket_of_a_dead_token_or_without_the_scope(guard, graph):
    graph.replies["dead"] = valid(is_valid=False)
    for token, path, reason in (("dead", "/", "invalid_token"), (TOKEN, "/admin", "insufficient_scope")):
        sent = shake_hands(guard, policy=RULES, path=path, headers=[bearer(token)], app=unreachable)
        assert sent == [{"type": "websocket.close", "code": 1008, "reason": reason}]


def test_H13_a_path_that_is_not_plain(guard):
    sent = shake_hands(guard, policy=RULES, path="/public/../admin", app=unreachable)
    assert sent[0]["reason"] == "invalid_request"


@pytest.mark.parametrize(
    "kind", ["webtransport", "websockets", "HTTP", "http2", "", "lifespan.startup", None]
)
def test_H15_unknown_scope_type(guard: Guard, kind):
    door = asgi.FBTokenMiddleware(unreachable, guard, policy=Policy(default=Requirement(optional=True)))
    with pytest.raises(RuntimeError, match="scope type"):
        asyncio.run(door({**http_scope("/health"), "type": kind}, unreachable, unreachable))


def test_H15_lifespan_passes(guard):
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.complete"})

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        seen.append(message["type"])

    asyncio.run(asgi.FBTokenMiddleware(app, guard)({"type": "lifespan"}, receive, send))
    assert seen == ["lifespan", "lifespan.startup.complete"]


REFUSED = [([], 401), ([bearer("a|b")], 401), ([bearer("dead")], 401), ([("Authorization", ",")], 400)]


@pytest.mark.parametrize(("headers", "status"), REFUSED)
def test_H19_body_before_verdict(guard, graph, headers, status):
    graph.replies["dead"] = valid(is_valid=False)
    headers = [*headers, ("Content-Length", "1073741824"), ("Expect", "100-continue")]
    environ = wsgi_environ(method="POST", headers=headers) | {"wsgi.input": NeverRead(b"x" * 100)}
    assert call_wsgi(wsgi.FBTokenMiddleware(unreachable, guard), environ).status == status
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = http_scope(method="POST", headers=headers)
    asyncio.run(asgi.FBTokenMiddleware(unreachable, guard)(scope, unreachable, send))
    assert [message.get("status") for message in sent] == [status, None]


@pytest.mark.parametrize("path", ["/admin/none", "/none", "/admin/none/", "/favicon.ico", "/.well-known/x"])
def test_H20_unknown_path(door, guard, path):
    answer = door(guard, policy=RULES).send(path=path)
    assert (answer.status, answer.reason, answer.ran) == (401, "missing_token", False)


def test_H20_before_an_app_that_knows_no_path(guard):
    flask = pytest.importorskip("flask")
    starlette = pytest.importorskip("starlette.applications")
    old = wsgi.FBTokenMiddleware(flask.Flask("empty"), guard, policy=RULES)
    new = asgi.FBTokenMiddleware(starlette.Starlette(), guard, policy=RULES)
    for path, token, status in (
        ("/admin/none", [], 401),
        ("/none", [bearer(TOKEN)], 404),
        ("/health", [], 404),
    ):
        assert call_wsgi(old, wsgi_environ(path, headers=token)).status == status
        assert asyncio.run(call_asgi(new, http_scope(path, headers=token))).status == status
