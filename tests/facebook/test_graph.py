"""The guard's own Graph call."""

from __future__ import annotations

import asyncio

import pytest

from fbguard.core.secret import Secret
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Graph, Reply
from fbguard.facebook.login import dialog_url
from tests.support import SECRET, TOKEN, envelope, valid

CREDENTIAL = Secret(f"42|{SECRET}")


class Client:
    def __init__(self, *replies: tuple[int, bytes] | None, headers: dict[str, str] | None = None) -> None:
        self.replies = list(replies)
        self.headers = headers or {}
        self.asked: list[object] = []

    async def get(self, url, params, *, credential, in_header):
        self.asked.append((url, dict(params), credential, in_header))
        reply = self.replies.pop(0)
        return None if reply is None else Reply(*reply, self.headers.get)

    async def aclose(self) -> None: ...


def graph_at(url="https://graph.example", place="header"):
    return Graph(url, "v26.0", place)


@pytest.mark.parametrize("place", ["header", "query"])
def test_the_call(place):
    client = Client((200, valid().body))
    info = asyncio.run(
        graph_at("https://graph.example/base", place).debug_token(client, CREDENTIAL, Secret(TOKEN), "feed")
    )
    url = "https://graph.example/base/v26.0/debug_token"
    assert client.asked == [(url, {"input_token": Secret(TOKEN)}, CREDENTIAL, place == "header")]
    assert (info.user_id, info.fingerprint) == ("1001", "feed")


@pytest.mark.parametrize("reply", [None, (500, b""), (200, b"")])
def test_no_answer(reply):
    outcome = asyncio.run(graph_at().debug_token(Client(reply), CREDENTIAL, Secret(TOKEN), ""))
    assert outcome == UNAVAILABLE


def test_graph_says_how_long_to_wait():
    usage = {"x-business-use-case-usage": '{"1": [{"estimated_time_to_regain_access": 3}]}'}
    client = Client((400, envelope(80001).body), headers=usage)
    finding = asyncio.run(graph_at().debug_token(client, CREDENTIAL, Secret(TOKEN), ""))
    assert (finding.reason, finding.retry_after) == ("throttled", 180)


def test_the_login_dialog():
    url = dialog_url(
        "https://www.example", "v1.0", client_id="4 2", redirect_uri="https://a/?b=c&d", scopes=["x", "y"]
    )
    assert url == (
        "https://www.example/v1.0/dialog/oauth?client_id=4+2&redirect_uri=https%3A%2F%2Fa%2F%3Fb%3Dc%26d&scope=x%2Cy"
    )
