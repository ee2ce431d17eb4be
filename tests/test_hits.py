"""The short way in, for a known token and a rule that asks for scopes: it says what the long way says."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from fbguard import Guard, Policy, Rule, asgi, current_token, require_fb_token, wsgi
from fbguard.asgi import FBTokenMiddleware as AsgiDoor
from fbguard.context import credential_of, inject
from fbguard.core.credentials import from_authorization
from fbguard.core.secret import Secret
from fbguard.heads import bearer_in_environ, bearer_in_scope
from fbguard.wsgi import FBTokenMiddleware as WsgiDoor
from tests.support import NOW, OTHER_APP, TOKEN, FakeClock, FakeGraph, make_guard, valid

POLICY = Policy(
    Rule("/public", public=True),
    Rule("/email", scopes=["email"]),
    Rule("/any", any_scope=["email", "x"]),
    Rule("/fresh", max_fact_age=10),
    Rule("/é", scopes=["nobody_has_it"]),
    Rule("/pages/{page_id}", scopes=["email"]),
)


class Asgi:
    """Asks an ASGI door, and notes which way the request went."""

    def __init__(self, guard: Guard, policy: Policy | None = POLICY) -> None:
        self.seen: list[Any] = []
        self.door = AsgiDoor(self._app, guard, policy=policy)
        self.was_short = False

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        credential = credential_of(scope)
        self.seen.append((current_token(), None if credential is None else credential.reveal()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def ask(self, path: str, *tokens: str, method: str = "GET", **scope: Any) -> int:
        status: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                status.append(message["status"])

        headers = [(b"host", b"x"), *((b"authorization", f"Bearer {token}".encode()) for token in tokens)]
        given = {"type": "http", "method": method, "path": path, "headers": headers, "root_path": ""} | scope
        recall = self.door._recall

        def noted(scope: Any) -> bool:
            self.was_short = recall(scope)
            return self.was_short

        self.door._recall = noted  # type: ignore[method-assign]
        asyncio.run(self.door(given, None, send))  # type: ignore[arg-type]
        del self.door._recall
        return status[0]


class Wsgi:
    """Asks a WSGI door."""

    def __init__(self, guard: Guard, policy: Policy | None = POLICY) -> None:
        self.seen: list[Any] = []
        self.door = WsgiDoor(self._app, guard, policy=policy)
        self.was_short = False

    def _app(self, environ: Any, start_response: Any) -> list[bytes]:
        credential = credential_of(environ)
        self.seen.append((current_token(), None if credential is None else credential.reveal()))
        start_response("200 OK", [])
        return [b""]

    def ask(self, path: str, *tokens: str, method: str = "GET", **environ: Any) -> int:
        status: list[int] = []
        given = {"REQUEST_METHOD": method, "PATH_INFO": path.encode().decode("latin-1")} | environ
        if tokens:
            given["HTTP_AUTHORIZATION"] = ",".join(f"Bearer {token}" for token in tokens)
        recall = self.door._recall

        def noted(environ: Any) -> bool:
            self.was_short = recall(environ)
            return self.was_short

        self.door._recall = noted  # type: ignore[method-assign]
        list(self.door(given, lambda line, *_: status.append(int(line[:3])) or (lambda _: None)))  # type: ignore[func-returns-value, arg-type, return-value]
        del self.door._recall
        return status[0]


@pytest.fixture
def guard(graph: FakeGraph, clock: FakeClock) -> Iterator[Guard]:
    with make_guard(graph, clock) as guard:
        yield guard


@pytest.fixture(params=[Asgi, Wsgi])
def client(request: pytest.FixtureRequest, guard: Guard) -> Any:
    return request.param(guard)


def test_the_second_request_goes_the_short_way_and_is_the_same(client, graph):
    assert client.ask("/email", TOKEN) == 200
    assert not client.was_short
    assert client.ask("/email", TOKEN) == 200
    assert client.was_short
    assert client.seen[0] == client.seen[1]
    assert client.seen[1][1] == TOKEN
    assert current_token() is None
    assert len(graph.calls) == 1


@pytest.mark.parametrize("path", ["/any", "/fresh", "/public", "/é"])
def test_what_asks_for_more_goes_the_long_way(client, path):
    statuses = [client.ask(path, TOKEN) for _ in range(3)]
    assert not client.was_short
    assert statuses == [403 if path == "/é" else 200] * 3


def test_two_tokens_and_none_go_the_long_way(client):
    assert [client.ask("/email", TOKEN), client.ask("/email", TOKEN)] == [200, 200]
    assert client.ask("/email", TOKEN, TOKEN) == 400
    assert client.ask("/email") == 401
    assert client.ask("/email", f" {TOKEN}") == 401
    assert client.ask("/email", f"{TOKEN} ") == 200  # white space around the value is HTTP's
    assert not client.was_short


def test_another_scheme_and_another_spelling(guard):
    client = Wsgi(guard)
    assert [client.ask("/email", TOKEN), client.ask("/email", TOKEN)] == [200, 200]
    assert client.ask("/email", HTTP_AUTHORIZATION=f"bearer {TOKEN}") == 200
    assert client.ask("/email", HTTP_AUTHORIZATION=f"Basic {TOKEN}") == 401
    assert client.ask("/email", HTTP_AUTHORIZATION=f"Bearer {TOKEN}\u20ac") == 401
    assert client.ask("/email", HTTP_AUTHORIZATION=f"Bearer {TOKEN}\ud800") == 401
    assert not client.was_short


def test_the_token_ends_on_its_second(client, graph, clock):
    graph.default = valid(expires_at=NOW + 100)
    assert [client.ask("/email", TOKEN), client.ask("/email", TOKEN)] == [200, 200]
    clock.advance(99.9)
    assert client.ask("/email", TOKEN) == 200
    assert client.was_short
    clock.advance(0.1)
    assert client.ask("/email", TOKEN) == 401


def test_data_access_ends_on_its_second(client, graph, clock):
    graph.default = valid(data_access_expires_at=NOW + 100)
    assert [client.ask(path, TOKEN) for path in ("/email", "/email", "/none", "/none")] == [200] * 4
    clock.advance(100)
    assert [client.ask(path, TOKEN) for path in ("/email", "/none")] == [401, 200]


@pytest.mark.parametrize("which", ["wall", "mono"])
def test_a_fact_ends_by_the_stricter_clock(client, graph, clock, which):
    assert [client.ask("/email", TOKEN), client.ask("/email", TOKEN)] == [200, 200]
    setattr(clock, which, getattr(clock, which) + 299)
    assert client.ask("/email", TOKEN) == 200
    assert client.was_short
    setattr(clock, which, getattr(clock, which) + 1)
    client.ask("/email", TOKEN)
    assert not client.was_short
    assert len(graph.calls) == 2


def test_a_session_that_ends_is_over(client, guard):
    assert [client.ask("/email", TOKEN), client.ask("/email", TOKEN)] == [200, 200]
    guard.expire_session(TOKEN)
    assert client.ask("/email", TOKEN) == 401
    assert not client.was_short


def test_scopes_are_judged_on_each_request(client, graph):
    graph.default = valid(scopes=["public_profile"])
    assert [client.ask("/none", TOKEN), client.ask("/none", TOKEN)] == [200, 200]
    assert client.was_short
    assert [client.ask("/email", TOKEN) for _ in range(3)] == [403] * 3
    assert client.ask("/pages/1", TOKEN) == 403


@pytest.mark.parametrize("kind", ["PAGE", "SYSTEM_USER"])
def test_another_type_of_token_is_never_plain(client, graph, kind):
    graph.default = valid(type=kind, profile_id="9")
    assert [client.ask("/email", TOKEN) for _ in range(3)] == [401] * 3


def test_a_path_whose_bytes_are_another_path(guard):
    """Of WSGI: the bytes of "/é" are "/Ã©" in PATH_INFO, and the path "/Ã©" is another one."""
    client = Wsgi(guard)
    assert [client.ask("/\u00c3\u00a9", TOKEN) for _ in range(2)] == [200, 200]
    assert client.ask("/é", TOKEN) == 403


def test_a_mounted_path_is_read_below_its_mount(guard):
    client = Asgi(guard)
    assert [client.ask("/email", TOKEN) for _ in range(2)] == [200, 200]
    assert client.ask("/x/public", root_path="/x") == 200
    assert client.ask("/public", root_path="/x") == 200  # not below it: as it stands
    assert client.ask("/public/email", root_path="/public") == 401
    assert not client.was_short


@pytest.mark.parametrize("kind", [Asgi, Wsgi])
def test_a_live_door_has_no_short_way(guard, kind):
    client = kind(guard, Policy(Rule("/email", live=True)))
    assert [client.ask("/email", TOKEN) for _ in range(3)] == [200] * 3
    assert not client.was_short


@pytest.mark.parametrize("path", ["/email", "/é", "//x", "/"])
@pytest.mark.parametrize("kind", [Asgi, Wsgi])
def test_a_door_that_leaves_all_to_the_views_looks_at_nothing(guard, graph, kind, path):
    client = kind(guard, None)
    assert client.ask(path, TOKEN) == client.ask(path) == 200
    assert client.seen == [(None, None)] * 2
    assert graph.calls == []


@pytest.mark.parametrize("kind", [Asgi, Wsgi])
def test_it_lets_go_of_what_another_door_has_left(guard, kind):
    """A sub-request may bring the carrier of the request around it along."""
    client = kind(guard, None)
    left: dict[str, Any] = {}
    inject(left, guard, guard.check(TOKEN), (), Secret(TOKEN))
    assert client.ask("/email", TOKEN, **left) == 200
    assert client.seen == [(None, None)]


@pytest.mark.parametrize("kind", [Asgi, Wsgi])
def test_tokens_of_other_places_have_no_short_way(graph, clock, kind):
    with make_guard(graph, clock, token_from=("header", "query")) as guard:
        client = kind(guard)
        assert [client.ask("/email", TOKEN) for _ in range(3)] == [200] * 3
        assert not client.was_short


@pytest.mark.parametrize("kind", [Asgi, Wsgi])
def test_a_refresh_is_not_missed(graph, clock, kind):
    with make_guard(graph, clock, refresh_ahead=0.5) as guard:
        client = kind(guard)
        assert [client.ask("/email", TOKEN) for _ in range(2)] == [200] * 2
        assert client.was_short
        clock.advance(150)
        assert client.ask("/email", TOKEN) == 200
        assert not client.was_short
        graph.wait_for_calls(2)


@pytest.mark.parametrize("kind", [Asgi, Wsgi])
def test_a_closed_guard_says_so(guard, kind):
    client = kind(guard)
    assert [client.ask("/email", TOKEN) for _ in range(2)] == [200] * 2
    guard.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.ask("/email", TOKEN)


@pytest.mark.parametrize("kind", [Asgi, Wsgi])
def test_an_exception_of_the_app_leaves_no_request_behind(guard, kind):
    client = kind(guard)
    assert [client.ask("/email", TOKEN) for _ in range(2)] == [200] * 2

    def fail(*_: Any) -> Any:
        raise LookupError

    client.door.app = fail
    with pytest.raises(LookupError):
        client.ask("/email", TOKEN)
    assert client.was_short
    assert current_token() is None


def test_the_credential_is_a_secret(guard):
    seen: list[Any] = []

    class Kept(Asgi):
        async def _app(self, scope: Any, receive: Any, send: Any) -> None:
            seen.append(credential_of(scope))
            await super()._app(scope, receive, send)

    client = Kept(guard)
    assert [client.ask("/email", TOKEN) for _ in range(2)] == [200] * 2
    assert client.was_short
    assert all(isinstance(one, Secret) for one in seen)


def test_a_yes_below_one_door_is_none_below_another(graph, clock):
    """The views decide, and an outer decorator names a guard of its own: the inner one asks the door's."""
    theirs = FakeGraph()
    theirs.default = OTHER_APP
    with make_guard(graph, clock) as one, make_guard(theirs, clock, app_id="999") as other:

        @require_fb_token(guard=one)
        @require_fb_token(scopes=["email"])
        async def view(request: Request) -> PlainTextResponse:
            return PlainTextResponse("in")

        def door(guard: Guard) -> TestClient:
            app = Starlette(routes=[Route("/x", view)])
            return TestClient(AsgiDoor(app, guard, policy=None), headers={"Authorization": f"Bearer {TOKEN}"})

        first, second = door(one), door(other)
        assert [second.get("/x").status_code, first.get("/x").status_code] == [401, 200]
        assert first.get("/x").status_code == 200
        assert second.get("/x").json()["reason"] == "wrong_app"


def test_a_decorated_view_keeps_no_guard_alive(graph, clock):
    @require_fb_token(scopes=["email"])
    async def view(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    class Decorated(Asgi):
        async def _app(self, scope: Any, receive: Any, send: Any) -> None:
            await view(scope, receive, send)

    guard = make_guard(graph, clock)
    client = Decorated(guard)
    assert [client.ask("/email", TOKEN) for _ in range(3)] == [200] * 3
    gone = weakref.ref(guard)
    guard.close()
    del guard, client
    gc.collect()
    assert gone() is None


def test_headers_may_be_any_iterable(guard):
    client = Asgi(guard)
    assert [client.ask("/email", TOKEN) for _ in range(2)] == [200] * 2
    given = (pair for pair in [(b"authorization", b"Bearer EAAother")])
    assert client.ask("/email", headers=given) == 200


def test_a_scope_without_a_method_is_a_get(guard):
    client = Asgi(guard)
    for _ in range(2):
        scope = {
            "type": "http",
            "path": "/email",
            "headers": [(b"authorization", f"Bearer {TOKEN}".encode())],
        }
        status: list[int] = []

        async def send(message: Any, status: list[int] = status) -> None:
            status.append(message.get("status", 0))

        asyncio.run(client.door(scope, None, send))  # type: ignore[arg-type]
        assert status[0] == 200


def test_what_is_too_long_is_not_hashed(client, monkeypatch):
    assert [client.ask("/email", TOKEN) for _ in range(2)] == [200] * 2
    for module in (asgi, wsgi):
        monkeypatch.setattr(module, "sha256", lambda _: pytest.fail("it was hashed"))
    assert client.ask("/email", "E" * 5000) == 401


def test_a_door_is_of_one_guard_and_one_policy(client):
    for name in ("guard", "policy"):
        with pytest.raises(AttributeError):
            setattr(client.door, name, None)


B = f"Bearer {TOKEN}".encode()
HEADERS = {
    "one": ([(b"authorization", B)], True),
    "last": ([(b"host", b"x"), (b"accept", b"*/*"), (b"authorization", B)], True),
    "none": ([(b"host", b"x")], False),
    "two": ([(b"authorization", B), (b"host", b"x"), (b"authorization", B)], False),
    "two, one of another scheme": ([(b"authorization", b"Basic eDp5"), (b"authorization", B)], False),
    "an empty one besides": ([(b"authorization", B), (b"authorization", b"")], False),
    "another scheme": ([(b"authorization", b"Basic " + TOKEN.encode())], False),
    "no scheme": ([(b"authorization", TOKEN.encode())], False),
    "lower case": ([(b"authorization", b"bearer " + TOKEN.encode())], False),
    "two spaces": ([(b"authorization", b"Bearer  " + TOKEN.encode())], False),
    "a space behind": ([(b"authorization", B + b" ")], False),
    "joined": ([(b"authorization", B + b"," + B)], False),
    "beyond ASCII": ([(b"authorization", B + b"\xe9")], False),
    "too long": ([(b"authorization", B + b"x" * 4096)], False),
    "a proxy's": ([(b"proxy-authorization", B), (b"authorization", B)], True),
}


@pytest.mark.parametrize("case", HEADERS)
def test_doors_and_views_read_the_header_alike(guard, case):
    """The ASGI door reads it in a loop of its own, the WSGI door and views by what is in heads."""
    headers, is_plain = HEADERS[case]
    values = [value for name, value in headers if name == b"authorization"]
    asgi_client, wsgi_client = Asgi(guard), Wsgi(guard)
    for client in (asgi_client, wsgi_client):
        assert client.ask("/email", TOKEN) == 200

    asgi_client.ask("/email", headers=headers)
    read = bearer_in_scope({"headers": headers})
    assert asgi_client.was_short == (read == TOKEN.encode()) == is_plain

    environ = {"HTTP_AUTHORIZATION": b",".join(values).decode("latin-1")} if values else {}
    wsgi_client.ask("/email", **environ)
    assert wsgi_client.was_short == (bearer_in_environ(environ) == TOKEN) == is_plain

    found = from_authorization([value.decode("latin-1") for value in values])
    assert is_plain <= (found == Secret(TOKEN)), "no short way lets in what the long way refuses"


def test_headers_that_are_no_list_take_a_longer_look():
    assert bearer_in_scope({"headers": iter([(b"authorization", B)])}) is None
