"""What the tests of a view's own Graph calls share: a Graph that remembers, and ways to call it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from fbguard import Guard, Policy, asgi, wsgi
from fbguard.core.carrier import Carrier
from tests.support import SECRET, TOKEN, call_asgi, call_wsgi, http_scope, wsgi_environ

HOST = "https://graph.facebook.com"
ME = f"{HOST}/v26.0/me"
PAGE_TOKEN = "EAABpageToken0123456789abcdefghijklmnopqrstuvwxyzPAGE"
COLOURS = ("sync", "async")
EVERYTHING = Policy()


def proof_of(token: str = TOKEN, secret: str = SECRET) -> str:
    """Make an appsecret_proof, or of ``token|time`` a timed one, apart from the package."""
    return hmac.new(secret.encode(), token.encode(), hashlib.sha256).hexdigest()


def carrier_of(
    kind: str, guard: Guard, token: str | None = TOKEN, policy: Policy | None = EVERYTHING
) -> Carrier:
    """Send a request through a door; return the scope or environ that the view was given."""
    seen: list[Carrier] = []
    sent = [] if token is None else [("Authorization", f"Bearer {token}")]

    def wsgi_app(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    async def asgi_app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    if kind == "wsgi":
        call_wsgi(wsgi.FBTokenMiddleware(wsgi_app, guard, policy=policy), wsgi_environ(headers=sent))
    else:
        door = asgi.FBTokenMiddleware(asgi_app, guard, policy=policy)
        asyncio.run(call_asgi(door, http_scope(headers=sent)))
    return seen[0]


class Called:
    """Answers calls with these, then with an empty success, and remembers what it was asked."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = list(answers)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answers.pop(0) if self._answers else httpx.Response(200, json={"id": "1001"})

    @property
    def only(self) -> httpx.Request:
        (request,) = self.requests
        return request


Handler = Callable[[httpx.Request], httpx.Response]


def call(
    colour: str,
    graph: Handler,
    url: str,
    auth: Any,
    method: str = "GET",
    *,
    follow: bool = False,
    **more: Any,
) -> httpx.Response:
    """Call Graph with a client of this colour, in the request that this code runs for."""
    transport = httpx.MockTransport(graph)
    if colour == "sync":
        with httpx.Client(transport=transport, follow_redirects=follow) as client:
            return client.request(method, url, auth=auth, **more)

    async def main() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, follow_redirects=follow) as client:
            return await client.request(method, url, auth=auth, **more)

    return asyncio.run(main())


def carries(request: Any, secret: str = TOKEN) -> bool:
    """Tell whether a request shows a token, or any proof, to whom it is sent."""
    sent = f"{request.url} {list(request.headers.items())} {request.content!r}"
    return secret in sent or "appsecret" in sent


# -- requests, the library, in as much as its responses are looked at --------------------------------------


@dataclass
class PreparedRequest:
    url: str
    headers: httpx.Headers
    body: object = None


@dataclass
class RequestsResponse:
    text: str
    status_code: int = 400
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    request: PreparedRequest | None = None

    def json(self) -> Any:
        return json.loads(self.text)
