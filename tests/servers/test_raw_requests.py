"""A raw request has one outcome, whatever server and door it comes through.

A view that the rules do not let run never runs; nobody answers 5xx; nothing malformed costs a Graph
call; the worker lives on.
"""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.servers.credential_rows import CREDENTIALS
from tests.servers.deployment import WIDE, Deployment, Server
from tests.servers.path_rows import PATHS, PREFLIGHT
from tests.servers.raw import Connection, Reply
from tests.servers.table import BEARER, FORM, TOKEN, USER, Row, ask, outcome_of, with_fresh_tokens

SPELLINGS = [
    "X-FB-User-Id",
    "x-fb-user-id",
    "X_FB_User_Id",
    "X-Fb_User-ID",
    "X-FBGuard-Token",
    "fbguard.token",
    "FBGUARD.TOKEN",
    "HTTP_FBGUARD.TOKEN",
    "state.fb_token",
    "fb_token",
    "X-Forwarded-User",
    "Remote-User",
    "REMOTE_USER",
    "X-Authenticated-UserId",
]


def send(server: Server, request: bytes) -> tuple[Reply, int]:
    """Send a request between two valid ones, to the same worker; return the Graph calls too."""
    request = with_fresh_tokens(server.sandbox, request)
    pid, before = server.pid(), len(server.sandbox.calls)
    reply = server.send(request)
    calls = len(server.sandbox.calls) - before
    assert server.pid() == pid
    return reply, calls


def check(deployment: Deployment, row: Row) -> None:
    expected = row.on.get(deployment.name, row.outcome)
    reply, calls = send(deployment.configured(row.token_from), row.request)
    if expected.own and reply.reason is None and (reply.status == 0 or 400 <= reply.status < 500):
        # A good token that a server has passed on may lose its answer: to a reset, or to the server's own
        # answer to the bytes behind the request (hypercorn: h11 takes a bare LF for the end of a line).
        is_own = reply.status == 0 or deployment.name.startswith("hypercorn")
        assert calls == 0 or (expected.status == 200 and calls == expected.calls and is_own)
    else:
        assert (outcome_of(reply), calls) == (replace(expected, own=False), expected.calls)


@pytest.mark.parametrize("row", CREDENTIALS, ids=lambda row: row.name)
def test_F_rows(deployment, row):
    check(deployment, row)


@pytest.mark.parametrize("row", PATHS, ids=lambda row: row.name)
def test_H_rows(deployment, row):
    check(deployment, row)


@pytest.mark.parametrize("token_from", ["header", WIDE], ids=["header", "wide"])
def test_F10_a_form_is_left_to_the_view(deployment, token_from):
    form = f"access_token=EAAB&{'a' * 100_000}"
    request = ask("/me", BEARER, FORM, method="POST", body=form)
    reply, calls = send(deployment.configured(token_from), request)
    assert (reply.status, reply.json["body"], reply.json["user_id"], calls) == (200, form, USER, 1)


@pytest.mark.parametrize(
    ("target", "fields"),
    [("/me", [f"Cookie: fb={TOKEN}"]), (f"/me?access_token={TOKEN}", [])],
    ids=["cookie", "query"],
)
def test_F14_answers_to_a_token_elsewhere_are_private(deployment, target, fields):
    reply, _ = send(deployment.configured(WIDE), ask(target, *fields))
    assert (reply.status, reply.header("cache-control")) == (200, "private")
    assert reply.header("vary") == "Authorization, Cookie"


@pytest.mark.parametrize("target", ["/me", "/admin"])
def test_H12_a_preflight_gets_the_permission_and_no_body(deployment, target):
    reply, calls = send(deployment.configured(), ask(target, *PREFLIGHT, method="OPTIONS"))
    assert (reply.status, reply.body, calls) == (204, b"", 0)
    assert reply.header("access-control-allow-origin") == "https://app.example"
    assert reply.all("x-view") == reply.all("content-type") == []


@pytest.mark.parametrize(
    "fields",
    [
        b"Content-Length: 1073741824\r\n",
        b"Content-Length: 1073741824\r\nExpect: 100-continue\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ],
    ids=["1GiB", "1GiB-expect", "chunked"],
)
def test_H19_refused_before_the_body_is_sent(deployment, fields):
    server = deployment.configured()
    pid, before = server.pid(), len(server.sandbox.calls)
    with Connection(server.port) as connection:
        connection.send(b"POST /me HTTP/1.1\r\nHost: api.example\r\n" + fields + b"\r\n")
        reply = connection.read()
    assert (reply.status, reply.reason) == (401, "missing_token")
    assert (server.pid(), len(server.sandbox.calls)) == (pid, before)


@pytest.mark.parametrize(("target", "status"), [("/me", 401), ("/admin", 401), ("//me", 400)])
def test_G08_head_is_refused_like_get_without_a_body(deployment, target, status):
    server = deployment.configured()
    get, _ = send(server, ask(target))
    head, calls = send(server, ask(target, method="HEAD"))  # which fails if a body comes
    assert (head.status, get.status, calls) == (status, status, 0)
    assert head.header("content-length") == get.header("content-length") == str(len(get.body))
    assert head.header("www-authenticate") == get.header("www-authenticate")


@pytest.mark.parametrize("target", ["/health", "/news"])
def test_H10_head_follows_get_where_it_is_public(deployment, target):
    reply, calls = send(deployment.configured(), ask(target, method="HEAD"))
    assert (reply.status, reply.body, calls) == (200, b"", 0)


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    ("target", "fields", "user"),
    [("/me", [BEARER], USER), ("/optional", [], None), ("/health", [BEARER], None)],
    ids=["known", "anonymous", "public"],
)
def test_I01_identity_comes_from_the_guard_alone(deployment, spelling, target, fields, user):
    server = deployment.configured()
    plain, _ = send(server, ask(target, *fields))
    spoofed, calls = send(server, ask(target, f"{spelling}: 666", *fields))
    assert (spoofed.status, spoofed.json["user_id"], calls) == (200, user, 1 if user else 0)
    assert spoofed.json["identity"] == plain.json["identity"]
    assert plain.json["identity"]["fbguard.token"] == ("TokenInfo" if user else "NoneType")
