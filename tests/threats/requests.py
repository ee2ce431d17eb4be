"""Requests of every shape through the doors of ``conftest``, and handshakes of WebSockets."""

from __future__ import annotations

import asyncio
import io
from typing import Any

from fbguard import Guard, Policy, current_token
from fbguard.asgi import FBTokenMiddleware
from tests.conftest import Door
from tests.support import (
    TOKEN,
    Answer,
    Headers,
    call_asgi,
    call_wsgi,
    http_scope,
    negatives,
    positives,
    wsgi_environ,
)

WIDE = ("header", "query", "cookie:fb", "websocket-protocol")
DENIAL = {"extensions": {"websocket.http.response": {}}}


def ask(
    behind: Door,
    path: str = "/",
    *,
    method: str = "GET",
    query: str = "",
    headers: Headers = (),
    mount: str = "",
) -> Answer:
    """Send one request with a query string or below a mount: what ``Door.send`` has no words for."""
    before = len(behind.seen)
    if behind._runner is None:
        given = wsgi_environ(path, method, headers, QUERY_STRING=query, SCRIPT_NAME=mount)
        answer = call_wsgi(behind.app, given)
    else:
        raw = query.encode("latin-1")
        scope = http_scope(mount + path, method, headers, query_string=raw, root_path=mount)
        answer = behind._runner.run(call_asgi(behind.app, scope))
    return behind._noted(answer, before)


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


def cookie(token: str, name: str = "fb") -> tuple[str, str]:
    return ("Cookie", f"a=b; {name}={token}; c=d")


class NeverRead(io.BytesIO):
    """A body that is not to be touched."""

    def _touched(self, *_: object) -> Any:
        raise AssertionError("the guard read the body")

    read = readline = readlines = read1 = readinto = _touched  # type: ignore[assignment]


def undecided(behind: Door, guard: Guard, path: str = "/") -> None:
    """Send the token: nobody can tell, nothing is kept, and the next one finds the guard as it was."""
    kept = (positives(guard), negatives(guard))
    answer = behind.send(TOKEN, path)
    assert (answer.status, answer.reason, answer.ran) == (503, "unavailable", False)
    assert int(answer.header("retry-after") or 0) >= 1
    assert answer.challenge == ""
    assert (positives(guard), negatives(guard)) == kept
    assert behind.send("another").status == 200


async def unreachable(*_: Any) -> Any:
    """Be an ASGI app, its receive or its send, which is not to be called."""
    raise AssertionError("nobody may get here")


# -- websockets --------------------------------------------------------------------------------------------


async def _greet(scope: Any, receive: Any, send: Any) -> None:
    """Accept, and say who is there."""
    assert (await receive())["type"] == "websocket.connect"
    info = current_token()
    assert scope["fbguard.token"] is info
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": info.user_id if info else "nobody"})


def shake_hands(
    guard: Guard,
    *,
    policy: Policy | None = Policy(),  # noqa: B008 - frozen data
    path: str = "/ws",
    query: str = "",
    headers: Headers = (),
    subprotocols: tuple[str, ...] = (),
    app: Any = _greet,
    **more: Any,
) -> list[dict[str, Any]]:
    """Open a WebSocket; return what the door let out until the app stopped."""
    offered = [("Sec-WebSocket-Protocol", ", ".join(subprotocols))] if subprotocols else []
    scope = http_scope(path, headers=[*headers, *offered], query_string=query.encode(), **more)
    scope |= {"type": "websocket", "scheme": "ws", "subprotocols": list(subprotocols)}
    del scope["method"]
    sent: list[dict[str, Any]] = []
    incoming = [{"type": "websocket.disconnect", "code": 1000}, {"type": "websocket.connect"}]

    async def receive() -> Any:
        return incoming.pop()

    async def send(message: Any) -> None:
        sent.append(dict(message))

    async def main() -> None:
        await FBTokenMiddleware(app, guard, policy=policy)(scope, receive, send)
        await guard.aclose_here()

    asyncio.run(main())
    return sent


def opened_by(sent: list[dict[str, Any]]) -> str | None:
    """Return who was greeted, or None where the handshake was refused before it was accepted."""
    if sent[0]["type"] == "websocket.accept":
        return str(sent[1]["text"])
    assert all(message["type"] != "websocket.accept" for message in sent)
    return None
