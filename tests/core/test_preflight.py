"""CORS preflights: in without a token, only to be answered; of the answer only the permission comes out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fbguard import Guard, Policy, asgi, current_token, require_fb_token, wsgi
from fbguard.core.preflight import is_answered, is_kept, is_preflight
from tests.support import TOKEN, Answer, call_asgi, call_wsgi, dead, http_scope, wsgi_environ

PREFLIGHT = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")]
PERMISSION = [
    ("Access-Control-Allow-Origin", "*"),
    ("access-control-max-age", "60"),
    ("Allow", "GET"),
    ("VARY", "Origin"),
]
REST = [("Set-Cookie", "a=1"), ("Content-Length", "6"), ("Location", "/"), ("Varying", "x"), ("X-Allow", "y")]


class Site:
    """A view that answers everything with one status, behind a door of each protocol."""

    def __init__(
        self, kind: str, guard: Guard, status: int = 200, *, guarded: bool = False, **options: Any
    ) -> None:
        self.is_asgi = kind == "asgi"
        self.status = status
        self.seen: list[Any] = []
        view = {"asgi": self._asgi, "wsgi": self._wsgi, "late wsgi": self._late_wsgi}[kind]
        module = asgi if self.is_asgi else wsgi
        self.door = module.FBTokenMiddleware(require_fb_token(view) if guarded else view, guard, **options)

    async def _asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(current_token())
        headers = [(name.encode(), value.encode()) for name, value in PERMISSION + REST]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"sec", "more_body": True})
        await send({"type": "http.response.body", "body": b"ret"})

    def _wsgi(self, environ: Any, start_response: Any) -> list[bytes]:
        self.seen.append(current_token())
        start_response(f"{self.status} Said", PERMISSION + REST)
        return [b"sec", b"ret"]

    def _late_wsgi(self, environ: Any, start_response: Any) -> Any:
        yield from self._wsgi(environ, start_response)

    def send(self, method: str = "OPTIONS", headers: Any = PREFLIGHT) -> Answer:
        if self.is_asgi:
            return asyncio.run(call_asgi(self.door, http_scope(method=method, headers=headers)))
        return call_wsgi(self.door, wsgi_environ(method=method, headers=headers))


@pytest.fixture(params=["asgi", "wsgi", "late wsgi"])
def site(request, guard):
    return lambda *args, **options: Site(request.param, guard, *args, **options)


@pytest.mark.parametrize("status", [200, 204, 299])
def test_a_preflight_goes_in_to_be_answered(site, graph, status):
    made = site(status)
    answer = made.send()
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers == [(name.lower(), value) for name, value in PERMISSION]
    assert (made.seen, graph.calls) == ([None], [])


@pytest.mark.parametrize("status", [300, 302, 401, 404, 500])
def test_a_preflight_that_nobody_answers(site, status):
    answer = site(status).send()
    assert (answer.status, answer.reason) == (401, "missing_token")
    assert answer.header("allow") is None


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", []),
        ("OPTIONS", PREFLIGHT[:1]),
        ("OPTIONS", PREFLIGHT[1:]),
        ("GET", PREFLIGHT),
        ("options", PREFLIGHT),
        ("POST", [*PREFLIGHT, ("X-HTTP-Method-Override", "OPTIONS")]),
    ],
)
def test_what_is_no_preflight(site, method, headers):
    made = site()
    answer = made.send(method, headers)
    assert (answer.status, answer.reason, made.seen) == (401, "missing_token", [])


def test_a_preflight_with_a_token_is_judged(site, graph):
    graph.replies[TOKEN] = dead(190, 463)
    made = site()
    assert made.send(headers=[*PREFLIGHT, ("Authorization", f"Bearer {TOKEN}")]).reason == "expired"
    assert made.send(headers=[*PREFLIGHT, ("Authorization", "Bearer a|b")]).reason == "malformed_token"
    assert made.seen == []


def test_preflights_switched_off(site):
    made = site(policy=Policy(preflight=False))
    assert (made.send().status, made.seen) == (401, [])


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_a_decorated_view_refuses_a_preflight(guard, kind):
    made = Site(kind, guard, guarded=True)
    answer = made.send()
    assert (answer.status, answer.reason, made.seen) == (401, "missing_token", [])


def test_the_body_of_a_wsgi_preflight_is_closed(guard):
    closed = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PERMISSION)
        try:
            yield b"secret"
        finally:
            closed.append(1)

    assert (
        call_wsgi(wsgi.FBTokenMiddleware(app, guard), wsgi_environ(method="OPTIONS", headers=PREFLIGHT)).body
        == b""
    )
    assert closed == [1]


def test_the_rules():
    assert is_preflight("OPTIONS", origin=True, request_method=True)
    assert not is_preflight("OPTIONS", origin=False, request_method=True)
    assert not is_preflight("OPTIONS", origin=True, request_method=False)
    assert [status for status in (199, 200, 299, 300) if is_answered(status)] == [200, 299]
    kept = ["Access-Control-X", "access-control-", "ALLOW", "Vary"]
    assert [
        name for name in [*kept, "Access-Control", "X-Access-Control-Y", "Set-Cookie"] if is_kept(name)
    ] == kept
