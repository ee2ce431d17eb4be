"""One client for every test that does not care how the sandbox is reached; it comes in three kinds."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from fbguard.sandbox import Sandbox

GRAPH = "https://graph.facebook.com"


class Graph:
    """Calls the sandbox's Graph: by default with the app's own credential in the header."""

    def __init__(self, sandbox: Sandbox, send: Callable[..., httpx.Response]) -> None:
        self.sandbox = sandbox
        self.send = send

    @property
    def credential(self) -> str:
        return f"{self.sandbox.app_id}|{self.sandbox.app_secret}"

    def get(self, path: str, *, as_token: str | None = None, **params: str) -> httpx.Response:
        target = f"{path}?{urlencode(params)}" if params else path
        headers = self.sandbox.bearer(self.credential if as_token is None else as_token)
        return self.send("GET", target, headers)

    def bare(self, path: str, **params: str) -> httpx.Response:
        return self.send("GET", f"{path}?{urlencode(params)}" if params else path, {})

    def inspect(self, token: str) -> dict[str, Any]:
        answer = self.get("/v26.0/debug_token", input_token=token)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert set(body) == {"data"}
        return body["data"]


def over_sync(sandbox: Sandbox) -> Callable[..., httpx.Response]:
    def send(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> httpx.Response:
        with httpx.Client(transport=sandbox.transport) as client:
            return client.request(method, GRAPH + target, headers=headers, content=body)

    return send


def over_async(sandbox: Sandbox) -> Callable[..., httpx.Response]:
    def send(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> httpx.Response:
        async def main() -> httpx.Response:
            async with httpx.AsyncClient(transport=sandbox.transport) as client:
                return await client.request(method, GRAPH + target, headers=headers, content=body)

        return asyncio.run(main())

    return send


def over_socket(port: int) -> Callable[..., httpx.Response]:
    def send(method: str, target: str, headers: dict[str, str], body: bytes = b"") -> httpx.Response:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            try:
                connection.request(method, target, body=body, headers=headers)
                answer = connection.getresponse()
            except ConnectionError as error:
                raise httpx.RemoteProtocolError(str(error)) from error
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())

    return send


def assert_top_level(
    answer: httpx.Response, code: int, message: str, subcode: int | None = None, *, status: int = 400
) -> None:
    """Assert that Graph refused a call with an OAuthException of exactly this."""
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    keys = ["message", "type", "code", *(["error_subcode"] if subcode else []), "fbtrace_id"]
    assert list(error) == keys
    assert (error["message"], error["type"], error["code"]) == (message, "OAuthException", code)
    assert error.get("error_subcode") == subcode
    assert re.fullmatch(r"A[A-Za-z0-9_-]{22}", error["fbtrace_id"])
    challenge = answer.headers["www-authenticate"]
    word = "invalid_token" if code == 190 else "invalid_request"
    assert challenge == f'OAuth "Facebook Platform" "{word}" "{message}"'


def assert_method_error(answer: httpx.Response, message: str, subcode: int | None = None) -> None:
    """Assert that Graph refused a call with a GraphMethodException, which brings no challenge."""
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["message"], error["type"], error["code"]) == (message, "GraphMethodException", 100)
    assert error.get("error_subcode") == subcode
    assert "www-authenticate" not in answer.headers


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture(params=["sync", "async", "socket"])
def graph(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Graph]:
    if request.param == "socket":
        with sandbox.serve() as url:
            yield Graph(sandbox, over_socket(int(url.rpartition(":")[2])))
    else:
        yield Graph(sandbox, {"sync": over_sync, "async": over_async}[request.param](sandbox))


@pytest.fixture
def quick(sandbox: Sandbox) -> Graph:
    """The same over one carrier only, for tests of what lies behind all of them."""
    return Graph(sandbox, over_sync(sandbox))
