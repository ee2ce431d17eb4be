"""Handshakes of WebSockets as bytes: who may not come in is told so before the connection is open."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from tests.servers.deployment import ASGI, WIDE, Server, params
from tests.servers.raw import Connection, Reply
from tests.servers.table import (
    BAD_REQUEST,
    BEARER,
    MALFORMED,
    MISSING,
    NO_SCOPE,
    OTHER,
    TOKEN,
    USER,
    Outcome,
    Row,
    or_server,
    outcome_of,
    with_fresh_tokens,
)

KEY = base64.b64encode(b"sixteen bytes...").decode()
# RFC 6455 section 4.2.2
ACCEPT = base64.b64encode(
    hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
).decode()
TEXT, CLOSE = 0x81, 0x88  # first bytes of frames that are not continued
EVIL, OWN = "Origin: https://evil.example", "Origin: https://api.example"


def handshake(
    target: str, *fields: str, method: str = "GET", upgrade: str = "websocket", version: str = "13"
) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        "Host: api.example",
        "Connection: Upgrade",
        f"Upgrade: {upgrade}",
        f"Sec-WebSocket-Key: {KEY}",
        f"Sec-WebSocket-Version: {version}",
        *fields,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def refused(name: str, outcome: Outcome, target: str, *fields: str, **more: Any) -> Row:
    return Row(name, outcome, handshake(target, *fields, **more))


def wide(name: str, outcome: Outcome, target: str, *fields: str) -> Row:
    return replace(refused(name, outcome, target, *fields), token_from=WIDE)


def offer(protocols: str) -> str:
    return f"Sec-WebSocket-Protocol: {protocols}"


def opened(name: str, target: str, *fields: str, token_from: str = WIDE) -> Row:
    return Row(
        name, Outcome(101, target.partition("?")[0], USER), handshake(target, *fields), token_from=token_from
    )


REFUSED = [
    refused("H13-no-token", MISSING, "/me"),
    refused("H13-upper-case", MISSING, "/me", upgrade="WEBSOCKET"),
    refused("H13-post", or_server(MISSING), "/me", method="POST"),
    refused("H13-old-version", or_server(MISSING), "/me", version="12"),
    refused("H13-encoded-slash", MISSING, "/health%2fme"),
    refused("H13-not-plain-public", BAD_REQUEST, "//health"),
    refused("H13-dot-segments", BAD_REQUEST, "/health/../me"),
    refused("H13-not-utf8", BAD_REQUEST, "/health%ff"),
    refused("H13-scope", NO_SCOPE, "/admin", BEARER),
    refused("F01-two-headers", BAD_REQUEST, "/me", BEARER, BEARER),
    refused("F03-other-scheme", MISSING, "/me", "Authorization: Basic dTpw"),
    refused("F05-latin1", MALFORMED, "/me", f"{BEARER}\xe9"),
    refused("F05-nul", or_server(MALFORMED), "/me", f"{BEARER}\x00"),
    refused("F06-4KiB+1", MALFORMED, "/me", "Authorization: Bearer " + "a" * 4097),
    refused("F07-empty", MALFORMED, "/me", "Authorization: Bearer"),
    refused("F07-empty-optional", MALFORMED, "/optional", "Authorization: Bearer"),
    refused("F14-off-query", MISSING, f"/me?access_token={TOKEN}"),
    refused("F14-off-cookie", MISSING, "/me", f"Cookie: fb={TOKEN}", OWN),
    refused("F14-off-subprotocol", MISSING, "/me", offer(f"bearer, {TOKEN}")),
    wide("F08-subprotocol-and-header", BAD_REQUEST, "/me", offer(f"bearer, {TOKEN}"), BEARER),
    wide("F08-subprotocol-and-query", BAD_REQUEST, f"/me?access_token={OTHER}", offer(f"bearer, {TOKEN}")),
    wide(
        "F08-subprotocol-and-cookie",
        BAD_REQUEST,
        "/me",
        offer(f"bearer, {TOKEN}"),
        f"Cookie: fb={OTHER}",
        OWN,
    ),
    wide("F14-subprotocol-twice", BAD_REQUEST, "/me", offer(f"bearer, {TOKEN}, bearer, {OTHER}")),
    wide(
        "F14-subprotocol-in-two-headers",
        BAD_REQUEST,
        "/me",
        offer(f"bearer, {OTHER}"),
        offer(f"bearer, {TOKEN}"),
    ),
    wide("F14-subprotocol-over-two-headers", BAD_REQUEST, "/me", offer("bearer"), offer(TOKEN)),
    wide("F14-subprotocol-alone", MALFORMED, "/me", offer("bearer")),
    wide("F14-subprotocol-reversed", MALFORMED, "/me", offer(f"{TOKEN}, bearer")),
    wide("F14-subprotocol-another", MISSING, "/me", offer("chat")),
    wide("F14-subprotocol-letter-case", MISSING, "/me", offer(f"Bearer, {TOKEN}")),
    wide("F14-cookie-cross-origin", MISSING, "/me", f"Cookie: fb={TOKEN}", EVIL),
    wide("F14-cookie-no-origin", MISSING, "/me", f"Cookie: fb={TOKEN}"),
    wide("F14-cookie-null-origin", MISSING, "/me", f"Cookie: fb={TOKEN}", "Origin: null"),
    wide("F14-cookie-two-origins", or_server(MISSING), "/me", f"Cookie: fb={TOKEN}", OWN, EVIL),
]
OPENED = [
    opened("H13-header", "/me", BEARER, token_from="header"),
    opened("H13-header-cross-origin", "/me", BEARER, EVIL, token_from="header"),  # no browser sends it
    opened("F14-query", f"/me?access_token={TOKEN}"),
    opened("F14-cookie-same-origin", "/me", f"Cookie: fb={TOKEN}", OWN),
    Row("H13-public", Outcome(101, "/health"), handshake("/health")),
    Row("H13-optional", Outcome(101, "/optional"), handshake("/optional")),
]
BY_SUBPROTOCOL = [
    opened("F14-subprotocol", "/me", offer(f"bearer, {TOKEN}")),
    opened("F14-subprotocol-no-space", "/me", offer(f"bearer,{TOKEN}")),
    opened("F14-subprotocol-among-others", "/me", offer(f"chat, bearer, {TOKEN}")),
]


def shake(server: Server, row: Row) -> tuple[Reply, dict[str, Any] | None]:
    """Send a handshake between two valid requests to the same worker; return what the view sent too."""
    request = with_fresh_tokens(server.sandbox, row.request)
    pid, before = server.pid(), len(server.sandbox.calls)
    with Connection(server.port) as connection:
        connection.send(request)
        reply, seen = connection.read(), None
        if reply.status == 101:
            assert reply.header("sec-websocket-accept") == ACCEPT
            seen = json.loads(_frame(connection, TEXT))
            assert seen["pid"] == pid
            connection.send(bytes([CLOSE, 0x80, 0, 0, 0, 0]))
            _frame(connection, CLOSE)
    own = row.outcome.own and reply.reason is None
    assert len(server.sandbox.calls) - before == (0 if own else row.outcome.calls)
    assert server.pid() == pid
    return reply, seen


def _frame(connection: Connection, kind: int) -> bytes:
    """Return the payload of the server's next frame (RFC 6455 section 5.2), which is of this kind."""
    first, length = connection.take(2)
    assert first == kind
    return connection.take(int.from_bytes(connection.take(2)) if length == 126 else length)


@pytest.mark.parametrize("deployment", params(*ASGI), indirect=True)
@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.name)
def test_H13_refused_before_it_is_open(deployment, row):
    reply, _ = shake(deployment.configured(row.token_from), row)
    if row.outcome.own and reply.reason is None:
        assert 400 <= reply.status < 500
    else:
        assert outcome_of(reply) == replace(row.outcome, own=False)


@pytest.mark.parametrize("deployment", params(*ASGI), indirect=True)
@pytest.mark.parametrize("row", [*OPENED, *BY_SUBPROTOCOL], ids=lambda row: row.name)
def test_H13_opened(deployment, row):
    reply, seen = shake(deployment.configured(row.token_from), row)
    assert seen is not None, reply
    assert Outcome(reply.status, seen["view"], seen["user_id"]) == row.outcome
    assert reply.header("sec-websocket-protocol") == ("bearer" if row in BY_SUBPROTOCOL else None)


def test_H13_no_server_takes_an_upgrade_for_a_token(deployment):
    reply, _ = shake(deployment.configured(), refused("H13", MISSING, "/me"))
    assert outcome_of(reply) == MISSING
