"""What is special to the httpx transport."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import httpx
import pytest

from fbguard.sandbox import Sandbox

from .conftest import Graph


def test_it_is_one_object_for_both_colours(sandbox: Sandbox) -> None:
    assert sandbox.transport is sandbox.transport
    assert isinstance(sandbox.transport, httpx.BaseTransport)
    assert isinstance(sandbox.transport, httpx.AsyncBaseTransport)


@pytest.mark.parametrize(
    "host", ["https://graph.facebook.com", "http://localhost:9", "https://anything.example"]
)
def test_any_host_is_answered(sandbox: Sandbox, host: str) -> None:
    with httpx.Client(transport=sandbox.transport) as client:
        assert client.get(host + "/nobody").json()["error"]["code"] == 803


def test_closing_a_client_leaves_it_open(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    for _ in range(2):  # each call opens and closes a client of its own
        assert quick.inspect(token)["is_valid"] is True


def test_many_loops_and_threads_at_once(sandbox: Sandbox) -> None:
    token = sandbox.issue_token()
    headers = sandbox.bearer(f"{sandbox.app_id}|{sandbox.app_secret}")
    seen: list[bool] = []

    async def main() -> None:
        async with httpx.AsyncClient(transport=sandbox.transport, headers=headers) as client:
            url = f"https://graph.facebook.com/debug_token?input_token={token}"
            answers = await asyncio.gather(*(client.get(url) for _ in range(25)))
            seen.extend(answer.json()["data"]["is_valid"] for answer in answers)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 200
    assert len(sandbox.calls) == 200


def test_an_async_call_gives_other_tasks_a_turn(sandbox: Sandbox) -> None:
    order: list[str] = []

    async def call(client: httpx.AsyncClient) -> None:
        order.append("sent")
        await client.get("https://graph.facebook.com/x")
        order.append("answered")

    async def main() -> None:
        async with httpx.AsyncClient(transport=sandbox.transport) as client:
            await asyncio.gather(call(client), call(client))

    asyncio.run(main())
    assert order == ["sent", "sent", "answered", "answered"]


def test_a_request_body_may_be_a_stream(sandbox: Sandbox) -> None:
    fields = f"client_id={sandbox.app_id}&client_secret={sandbox.app_secret}&grant_type=client_credentials"

    async def parts() -> AsyncIterator[bytes]:
        for part in fields.split("&"):
            yield (part + "&").encode()

    async def main() -> httpx.Response:
        async with httpx.AsyncClient(transport=sandbox.transport) as client:
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            return await client.post("https://g.example/oauth/access_token", content=parts(), headers=form)

    assert asyncio.run(main()).json()["token_type"] == "bearer"


def test_the_client_itself_decodes_a_faked_encoding(sandbox: Sandbox) -> None:
    sandbox.fail(200, gzip.compress(b"x" * 100_000), headers={"Content-Encoding": "gzip"})
    with httpx.Client(transport=sandbox.transport) as client:
        assert len(client.get("https://g.example/").content) == 100_000
        sandbox.fail(200, b"no gzip", headers={"Content-Encoding": "gzip"})
        with pytest.raises(httpx.DecodingError):
            client.get("https://g.example/")
        sandbox.fail(200, b"abc", headers={"content-length": "7"})
        assert client.get("https://g.example/").headers.get_list("content-length") == ["7"]


def test_the_sandbox_is_imported_without_httpx() -> None:
    script = (
        "import sys, fbguard.sandbox, fbguard.sandbox.server;"
        "fbguard.sandbox.Sandbox().issue_token();"
        "sys.exit('httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
