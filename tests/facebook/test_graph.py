"""The guard's own Graph call."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import MAX_REPLY, Graph, Reply
from fbguard.facebook.login import dialog_url
from fbguard.facebook.usage import Usage
from tests.support import APP_ID, SECRET, TOKEN, dead, envelope, valid

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

    async def post(self, url, form, *, most):
        self.asked.append((url, dict(parse_qsl(form.reveal(), strict_parsing=True)), most))
        reply = self.replies.pop(0)
        return None if reply is None else Reply(*reply, self.headers.get)

    async def aclose(self) -> None: ...

    def abandon(self) -> None: ...


def graph_at(url="https://graph.example", place="header"):
    return Graph(url, "v26.0", APP_ID, place)


@pytest.mark.parametrize("place", ["header", "query"])
def test_the_call(place):
    client = Client((200, valid().body))
    info, usage = asyncio.run(
        graph_at("https://graph.example/base", place).debug_token(
            client, CREDENTIAL, Secret(TOKEN), "feedfeedfeed"
        )
    )
    url = "https://graph.example/base/v26.0/debug_token"
    assert client.asked == [(url, {"input_token": Secret(TOKEN)}, CREDENTIAL, place == "header")]
    assert (info.user_id, info.fingerprint, usage) == ("1001", "feedfeedfeed", Usage())


@pytest.mark.parametrize("reply", [None, (500, b""), (200, b"")])
def test_no_answer(reply):
    outcome = asyncio.run(graph_at().debug_token(Client(reply), CREDENTIAL, Secret(TOKEN), ""))
    assert outcome == (UNAVAILABLE, Usage())


REGAIN = {"x-business-use-case-usage": '{"1": [{"call_count": 99, "estimated_time_to_regain_access": 3}]}'}


@pytest.mark.parametrize(("reply", "reason"), [(envelope(80001), "throttled"), (dead(190, 463), None)])
def test_graph_says_how_much_we_use(reply, reason):
    client = Client((reply.status, reply.body), headers=REGAIN)
    outcome, usage = asyncio.run(graph_at().debug_token(client, CREDENTIAL, Secret(TOKEN), ""))
    assert usage == Usage(99, 180)
    assert (outcome.reason if isinstance(outcome, Finding) else None) == reason


# -- several tokens in one call ------------------------------------------------------------------------

ASKED = [(Secret(f"EAA{number}"), f"feedfeedfee{number}") for number in range(3)]


def items(*replies) -> bytes:
    return json.dumps(
        [None if reply is None else {"code": reply.status, "body": reply.body.decode()} for reply in replies]
    ).encode()


@pytest.mark.parametrize("place", ["header", "query"])
def test_the_call_for_several(place):
    client = Client((200, items(valid(), None, envelope(4))), headers=REGAIN)
    graph = graph_at("https://graph.example/base", place)
    outcomes, usage = asyncio.run(graph.debug_tokens(client, CREDENTIAL, ASKED))
    ((url, form, most),) = client.asked
    assert url == "https://graph.example/base/v26.0/"
    assert most >= 10 * MAX_REPLY
    credential = CREDENTIAL.reveal()
    assert {**form, "batch": ""} == {"access_token": credential, "include_headers": "false", "batch": ""}
    assert [
        (item.pop("method"), parse_qs(urlsplit(item.pop("relative_url")).query), item)
        for item in json.loads(form["batch"])
    ] == [("GET", {"input_token": [token.reveal()]}, {}) for token, _ in ASKED]
    assert isinstance(outcomes[0], TokenInfo)
    assert outcomes[0].fingerprint == "feedfeedfee0"
    assert (outcomes[1], outcomes[2].reason, usage) == (None, "throttled", Usage(99, 180))


def test_no_answer_about_several():
    assert asyncio.run(graph_at().debug_tokens(Client(None), CREDENTIAL, ASKED)) == (UNAVAILABLE, Usage())


# -- our own credential --------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["header", "query"])
def test_the_probe(place):
    client = Client((200, json.dumps({"id": APP_ID}).encode()))
    assert asyncio.run(graph_at(place=place).takes(client, CREDENTIAL)) is True
    url = f"https://graph.example/v26.0/{APP_ID}"
    assert client.asked == [(url, {"fields": "id"}, CREDENTIAL, place == "header")]


@pytest.mark.parametrize("code", [100, 101, 102, 104, 190])
def test_a_probe_that_is_refused(code):
    refused = envelope(code)
    assert asyncio.run(graph_at().takes(Client((refused.status, refused.body)), CREDENTIAL)) is False


@pytest.mark.parametrize(
    "reply",
    [
        None,
        (200, b""),
        (200, b"{}"),
        (200, b"[]"),
        (200, b"[" * 100_000),
        (200, b'{"id": 1234567890}'),
        (200, b'{"id": "42"}'),
        (200, b'{"id": "1234567890", "x": 1}'),
        (500, b'{"id": "1234567890"}'),
        (500, b""),
        (502, b"<html>"),
        *[(400, envelope(code).body) for code in (1, 2, 4, 10, 80001, 3)],
    ],
    ids=lambda reply: repr(reply)[:40],
)
def test_a_probe_that_says_nothing(reply):
    assert asyncio.run(graph_at().takes(Client(reply), CREDENTIAL)) is None


def test_the_login_dialog():
    url = dialog_url(
        "https://www.example", "v1.0", client_id="4 2", redirect_uri="https://a/?b=c&d", scopes=["x", "y"]
    )
    assert url == (
        "https://www.example/v1.0/dialog/oauth?client_id=4+2&redirect_uri=https%3A%2F%2Fa%2F%3Fb%3Dc%26d&scope=x%2Cy"
    )
