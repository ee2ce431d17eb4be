"""The guard's own Graph call."""

from __future__ import annotations

import asyncio

import pytest

from fbguard.core.secret import Secret
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import Graph
from fbguard.facebook.login import dialog_url
from tests.support import SECRET, TOKEN, valid

CREDENTIAL = Secret(f"42|{SECRET}")


class Client:
    def __init__(self, reply: tuple[int, bytes] | None) -> None:
        self.reply = reply
        self.asked: list[object] = []

    async def get(self, url, *, input_token, credential, in_header):
        self.asked.append((url, input_token, credential, in_header))
        return self.reply

    async def aclose(self) -> None: ...


@pytest.mark.parametrize("place", ["header", "query"])
def test_the_call(place):
    client = Client((200, valid().body))
    graph = Graph("https://graph.example/base", "v26.0", CREDENTIAL, place)
    info = asyncio.run(graph.debug_token(client, Secret(TOKEN), "feed"))
    url = "https://graph.example/base/v26.0/debug_token"
    assert client.asked == [(url, Secret(TOKEN), CREDENTIAL, place == "header")]
    assert (info.user_id, info.fingerprint) == ("1001", "feed")


@pytest.mark.parametrize("reply", [None, (500, b""), (200, b"")])
def test_no_answer(reply):
    graph = Graph("https://graph.example", "v26.0", CREDENTIAL)
    assert asyncio.run(graph.debug_token(Client(reply), Secret(TOKEN), "")) == UNAVAILABLE


def test_its_repr_shows_no_secret():
    assert SECRET not in repr(Graph("https://graph.example", "v26.0", CREDENTIAL))


def test_the_login_dialog():
    url = dialog_url(
        "https://www.example", "v1.0", client_id="4 2", redirect_uri="https://a/?b=c&d", scopes=["x", "y"]
    )
    assert url == (
        "https://www.example/v1.0/dialog/oauth?client_id=4+2&redirect_uri=https%3A%2F%2Fa%2F%3Fb%3Dc%26d&scope=x%2Cy"
    )
