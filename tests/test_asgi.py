"""The ASGI door: what it sends, protocol by protocol."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from fbguard import Guard, Policy, Refused, Requirement, Rule, current_token, require_fb_token
from fbguard.asgi import FBTokenMiddleware
from tests.support import TOKEN, call_asgi, http_scope, until

pytestmark = pytest.mark.usefixtures("quiet_asyncio")
BEARER = [("Authorization", f"Bearer {TOKEN}")]
PREFLIGHT = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")]


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def never(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the app was entered")


def call(app: Any, scope: dict[str, Any]) -> Any:
    return asyncio.run(call_asgi(app, scope))


# -- http ------------------------------------------------------------------------------------------


def test_the_apps_answer_goes_out_untouched(guard):
    answer = call(FBTokenMiddleware(hello, guard), http_scope(headers=BEARER))
    assert answer.messages == [
        {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]},
        {"type": "http.response.body", "body": b"hello"},
    ]


def test_a_refusal_reads_no_body(guard):
    async def receive() -> Any:
        raise AssertionError("the body was read")

    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(FBTokenMiddleware(never, guard)(http_scope(method="POST"), receive, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_the_headers_of_a_refusal(guard):
    answer = call(FBTokenMiddleware(never, guard), http_scope())
    assert answer.status == 401
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("cache-control") == "no-store"
    assert answer.header("vary") == "Authorization, Accept, Accept-Language"
    assert answer.header("content-language") == "en"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.challenge == 'Bearer realm="fbguard"'
    assert answer.header("retry-after") is None
    assert all(name == name.lower() for name, _ in answer.messages[0]["headers"])


def test_head_has_the_headers_of_get_and_no_body(guard):
    door = FBTokenMiddleware(never, guard)
    get, head = call(door, http_scope()), call(door, http_scope(method="HEAD"))
    assert head.body == b""
    assert (head.status, head.headers) == (get.status, get.headers)


@pytest.mark.parametrize(
    "headers", [[(b"authorization", b"Bearer \xff\xfe")], [(b"authorization", b"B\x00")]]
)
def test_bytes_that_are_no_text(guard, graph, headers):
    scope = http_scope()
    scope["headers"] = headers
    answer = call(FBTokenMiddleware(never, guard), scope)
    assert (answer.status, answer.reason, graph.calls) == (401, "malformed_token", [])


@pytest.mark.parametrize(
    ("root_path", "path", "status"),
    [
        ("", "/open", 200),
        ("/app", "/app/open", 200),
        ("/app", "/open", 200),  # servers that leave the root path out
        ("/app", "/application/open", 401),
        ("/app", "/app/app/open", 401),
        ("/open", "/open", 401),
        ("/app", "/app//open", 400),
        ("/app", "/app/../open", 400),
        ("", "", 401),
    ],
)
def test_root_path(guard, root_path, path, status):
    door = FBTokenMiddleware(hello, guard, policy=Policy(Rule("/open", public=True)))
    assert call(door, http_scope(path, root_path=root_path)).status == status


@pytest.mark.parametrize("root_path", ["", "/", "/app", "/app/", "/app//", "/ap", "app", "/open"])
@pytest.mark.parametrize("path", ["/open", "/app/open", "/app//open", "/appopen", "/open/open", "/ap/p/open"])
def test_guard_and_router_read_one_path_one_way(guard, root_path, path):
    """Where the guard lets a stranger in to /open, Starlette must not serve anything else."""
    served = []

    async def view(request: Request) -> PlainTextResponse:
        served.append(request.path_params["rest"])
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/{rest:path}", view)])
    door = FBTokenMiddleware(app, guard, policy=Policy(Rule("/open", public=True)))
    status = call(door, http_scope(path, root_path=root_path)).status
    assert served == (["open"] if status == 200 else [])
    assert status in {200, 400, 401}


def test_only_the_routed_path_counts(guard):
    """Neither the raw path, the query, the Host header nor what proxies add opens anything."""
    door = FBTokenMiddleware(never, guard, policy=Policy(Rule("/open", public=True)))
    headers = [
        ("Host", "x/open?"),
        ("X-Original-URL", "/open"),
        ("X-Rewrite-URL", "/open"),
        ("X-Forwarded-Uri", "/open"),
        ("X-Forwarded-Prefix", "/open"),
        ("X-HTTP-Method-Override", "OPTIONS"),
    ]
    scope = http_scope("/admin", headers=headers, raw_path=b"/open", query_string=b"/open")
    assert call(door, scope).status == 401


@pytest.mark.parametrize("path", ["/a//b", "/a/./b", "/..", "/a;x", "/a\\b", "/a\nb", "/\ufffd", "a", "//"])
def test_a_path_that_is_not_plain(guard, graph, path):
    scope = http_scope(path, headers=BEARER, raw_path=b"/x")
    answer = call(FBTokenMiddleware(never, guard, policy=Policy(default=Requirement(optional=True))), scope)
    assert (answer.status, answer.reason, graph.calls) == (400, "invalid_request", [])


def test_nothing_a_client_sends_sets_the_facts(guard):
    headers = [
        (name, "1") for name in ("fbguard.token", "fb_token", "X-FB-User-Id", "state", "fbguard-token")
    ]
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["fbguard.token"], scope["state"]["fb_token"], current_token()))
        await hello(scope, receive, send)

    door = FBTokenMiddleware(app, guard, policy=Policy(Rule("/", public=True)))
    stale = {"state": {"fb_token": "from before", "kept": 1}, "fbguard.token": "from before"}
    scope = http_scope(headers=headers, **stale)
    assert call(door, scope).status == 200
    assert seen == [(None, None, None)]
    assert scope["state"]["kept"] == 1


def test_streaming(guard):
    """Chunks go out as they come, and the app's code sees the facts until its end."""
    sent: list[bytes] = []
    go = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await go.wait()
        assert current_token(required=True).user_id == "1001"
        await send({"type": "http.response.body", "body": b"two"})

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def main() -> None:
        door = FBTokenMiddleware(app, guard)
        request = asyncio.create_task(door(http_scope(headers=BEARER), asyncio.Future, send))
        await until(lambda: sent == [b"", b"one"])
        go.set()
        await request
        assert sent == [b"", b"one", b"two"]
        assert current_token() is None

    asyncio.run(main())


def test_the_context_is_gone_after_the_request(guard):
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        assert current_token(required=True)
        raise ZeroDivisionError

    async def main() -> None:  # in one task, as servers serve the requests of a connection
        await call_asgi(FBTokenMiddleware(hello, guard), http_scope(headers=BEARER))
        assert current_token() is None
        with pytest.raises(ZeroDivisionError):
            await call_asgi(FBTokenMiddleware(broken, guard), http_scope(headers=BEARER))
        assert current_token() is None

    asyncio.run(main())


def test_a_refusal_after_the_start_is_raised_again(guard):
    """Half an answer is out: no second start, and no clean end."""
    sent = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        guard.check(None)

    async def send(message: Any) -> None:
        sent.append(message)

    with pytest.raises(Refused):
        asyncio.run(FBTokenMiddleware(app, guard, policy=None)(http_scope(), asyncio.Future, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"]


@pytest.mark.parametrize("kind", ["http.response.push", "http.response.early_hint", "http.response.debug"])
def test_a_refusal_after_a_message_that_is_no_start_is_answered(guard, kind):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": kind})
        await guard.acheck(None)

    sent = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    asyncio.run(FBTokenMiddleware(app, guard, policy=None)(http_scope(), asyncio.Future, send))
    assert sent == [kind, "http.response.start", "http.response.body"]


def test_a_refusal_before_the_start_is_answered(guard):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await guard.acheck("a|b")

    answer = call(FBTokenMiddleware(app, guard, policy=None), http_scope())
    assert (answer.status, answer.reason) == (401, "malformed_token")


def test_a_door_in_a_door(guard, graph):
    inner = FBTokenMiddleware(hello, guard)
    assert call(FBTokenMiddleware(inner, guard), http_scope(headers=BEARER)).status == 200
    assert graph.calls == [TOKEN]
    refusal = call(FBTokenMiddleware(inner, guard), http_scope())
    assert len(refusal.all("www-authenticate")) == 1


# -- lifespan and the unknown ----------------------------------------------------------------------


def test_lifespan_passes_and_closes_the_loops_client(guard, graph):
    phases = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            return await hello(scope, receive, send)
        for phase in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{phase}"
            phases.append((phase, graph.closed))
            await send({"type": f"lifespan.{phase}.complete"})
        return None

    async def main() -> None:
        door = FBTokenMiddleware(app, guard)
        incoming: asyncio.Queue[Any] = asyncio.Queue()
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message["type"])

        lifespan = asyncio.create_task(door({"type": "lifespan"}, incoming.get, send))
        incoming.put_nowait({"type": "lifespan.startup"})
        await until(lambda: sent)
        assert (await call_asgi(door, http_scope(headers=BEARER))).status == 200
        assert graph.closed == 0
        incoming.put_nowait({"type": "lifespan.shutdown"})
        await lifespan
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert graph.closed == 1
        assert (await guard.acheck("another")).is_valid  # the guard itself is still open

    asyncio.run(main())
    assert phases == [("startup", 0), ("shutdown", 0)]


@pytest.mark.parametrize("kind", ["webtransport", "websockets", "HTTP", ""])
def test_an_unknown_scope_type(guard, kind):
    scope = http_scope(headers=BEARER) | {"type": kind}
    with pytest.raises(RuntimeError, match="scope type"):
        asyncio.run(FBTokenMiddleware(never, guard)(scope, asyncio.Future, asyncio.Future))


# -- websockets ------------------------------------------------------------------------------------


def connect(app: Any, headers: Any = (), **more: Any) -> list[dict[str, Any]]:
    """Shake hands; return what the app sent until it stopped."""
    scope = http_scope("/ws", headers=headers, **more) | {"type": "websocket", "subprotocols": []}
    del scope["method"]
    sent: list[dict[str, Any]] = []
    incoming = [{"type": "websocket.disconnect", "code": 1000}, {"type": "websocket.connect"}]

    async def receive() -> Any:
        return incoming.pop()

    async def send(message: Any) -> None:
        sent.append(dict(message))

    asyncio.run(app(scope, receive, send))
    return sent


async def talk(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": current_token(required=True).user_id})


REFUSED_HANDSHAKES = [([], 401, "missing_token"), ([("Authorization", "Bearer a|b")], 401, "malformed_token")]


@pytest.mark.parametrize(("headers", "status", "reason"), REFUSED_HANDSHAKES)
@pytest.mark.parametrize("extensions", [{}, {"extensions": None}, {"extensions": {"other": {}}}])
def test_a_websocket_is_refused_before_accept(guard, headers, status, reason, extensions):
    sent = connect(FBTokenMiddleware(never, guard), headers, **extensions)
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": reason}]


@pytest.mark.parametrize(("headers", "status", "reason"), REFUSED_HANDSHAKES)
def test_a_websocket_is_refused_with_a_denial_response(guard, headers, status, reason):
    extensions = {"websocket.http.response": {}}
    start, body = connect(FBTokenMiddleware(never, guard), headers, extensions=extensions)
    assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
    assert dict(start["headers"])[b"www-authenticate"].startswith(b'Bearer realm="fbguard"')
    assert body["type"] == "websocket.http.response.body"
    assert json.loads(body["body"])["reason"] == reason


def test_a_websocket_goes_in_with_a_valid_token(guard):
    sent = connect(FBTokenMiddleware(talk, guard), BEARER)
    assert sent == [{"type": "websocket.accept"}, {"type": "websocket.send", "text": "1001"}]


def test_a_websocket_counts_as_get(guard):
    policy = Policy(Rule("/ws", methods=["GET"], scopes=["user_posts"]), default=Requirement())
    (close,) = connect(FBTokenMiddleware(never, guard, policy=policy), BEARER)
    assert close["reason"] == "insufficient_scope"
    with pytest.raises(RuntimeError, match="public route"):  # what `talk` says without a token
        connect(FBTokenMiddleware(talk, guard, policy=Policy(Rule("/ws", public=True))), BEARER)


def test_a_handshake_is_no_preflight(guard):
    assert connect(FBTokenMiddleware(never, guard), PREFLIGHT, method="OPTIONS")[0]["code"] == 1008


def test_a_refusal_while_a_websocket_is_open_closes_it(guard):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await guard.acheck(None)

    extensions = {"websocket.http.response": {}}
    accept, close = connect(FBTokenMiddleware(app, guard, policy=None), extensions=extensions)
    assert accept["type"] == "websocket.accept"
    assert (close["type"], close["code"]) == ("websocket.close", 1008)


def _websocket_app(guard: Guard, **requirement: Any) -> Any:
    @require_fb_token(**requirement)
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.state.fb_token.user_id)
        guard.check(None)

    app = Starlette(routes=[WebSocketRoute("/{page}", endpoint)])
    return FBTokenMiddleware(app, guard, policy=None)


def test_a_decorated_websocket_of_starlette(guard):
    accept, text, close = connect(_websocket_app(guard, scopes=["email"], target="page"), BEARER)
    assert (accept["type"], text["text"]) == ("websocket.accept", "1001")
    assert (close["code"], close["reason"]) == (1008, "missing_token")  # what the view raised at its end


def test_a_decorated_websocket_of_starlette_is_refused(guard):
    app = _websocket_app(guard, scopes=["user_posts"])
    (close,) = connect(app, BEARER)
    assert (close["type"], close["reason"]) == ("websocket.close", "insufficient_scope")
    assert connect(app, BEARER, extensions={"websocket.http.response": {}})[0]["status"] == 403


@pytest.mark.parametrize(("statuses", "answered"), [([200, 200], 204), ([200, 500], 204), ([404, 200], 401)])
def test_of_an_app_that_answers_a_preflight_twice_the_first_answer_counts(guard, statuses, answered):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for status in statuses:
            await send({"type": "http.response.start", "status": status, "headers": []})

    answer = call(FBTokenMiddleware(app, guard), http_scope("/", "OPTIONS", PREFLIGHT))
    assert answer.status == answered
