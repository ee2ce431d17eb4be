"""Rows F: tokens in other places than the Authorization header: ``token_from``."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator

import pytest

from fbguard import Guard, Policy, Rule, asgi, wsgi
from tests.support import TOKEN, Server, call_asgi, call_wsgi, http_scope, make_guard, wsgi_environ
from tests.threats.requests import DENIAL, WIDE, NeverRead, ask, bearer, cookie, opened_by, shake_hands

OPEN = Policy(Rule("/open", optional=True))
PARAMETER = f"access_token={TOKEN}"
SAME = [("Host", "api.example"), ("Origin", "https://api.example")]
OTHERS = {
    "no origin": [("Host", "api.example")],
    "no host": [("Origin", "https://api.example")],
    "another origin": [("Host", "api.example"), ("Origin", "https://evil.example")],
    "null": [("Host", "api.example"), ("Origin", "null")],
    "empty": [("Host", "api.example"), ("Origin", "")],
    "both empty": [("Host", ""), ("Origin", "")],
    "a suffix": [("Host", "api.example"), ("Origin", "https://evil-api.example")],
    "a prefix": [("Host", "api.example"), ("Origin", "https://api.example.evil.example")],
    "a user": [("Host", "api.example"), ("Origin", "https://api.example@evil.example")],
    "another port": [("Host", "api.example"), ("Origin", "https://api.example:8443")],
    "the port of another scheme": [("Host", "api.example:80"), ("Origin", "https://api.example")],
    "nothing but a port": [("Host", ":443"), ("Origin", "https://")],
    "no URL": [("Host", "api.example"), ("Origin", "api.example")],
    "no IPv6": [("Host", "api.example"), ("Origin", "https://[api.example")],
    "fetch says cross-site": [*SAME, ("Sec-Fetch-Site", "cross-site")],
    "fetch says same-site": [*SAME, ("Sec-Fetch-Site", "same-site")],
    "forwarded": [("Host", "a"), ("X-Forwarded-Host", "b"), ("Origin", "https://b")],
    "referer": [("Host", "api.example"), ("Referer", "https://api.example/")],
}


@pytest.fixture
def wide(graph, clock) -> Iterator[Guard]:
    with make_guard(graph, clock, token_from=WIDE) as guard:
        yield guard


@pytest.mark.parametrize("second", [TOKEN, "other", ""], ids=["equal", "different", "empty"])
@pytest.mark.parametrize("path", ["/", "/open"])
def test_F08_header_and_query_both(door, wide, graph, second, path):
    behind = door(wide, policy=OPEN)
    answer = ask(behind, path, query=f"access_token={second}", headers=[bearer(TOKEN)])
    assert (answer.status, answer.reason, answer.ran) == (400, "invalid_request", False)
    assert answer.challenge.startswith('Bearer realm="fbguard", error="invalid_request"')
    assert graph.calls == []


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", [bearer(TOKEN), cookie(TOKEN)]),
        ("", [bearer(TOKEN), cookie("")]),
        (PARAMETER, [cookie(TOKEN)]),
        (PARAMETER, [bearer(TOKEN), cookie(TOKEN)]),
        ("", [bearer("a|b"), cookie(TOKEN)]),
        (PARAMETER, [("Authorization", "Bearer")]),
        (PARAMETER, [("Cookie", f"fb={TOKEN}; fb={TOKEN}")]),
        ("", [("Cookie", f"fb={TOKEN}; fb={TOKEN}")]),
        ("", [("Cookie", f"fb={TOKEN}; fb=other")]),
    ],
)
def test_F08_two_places(door, wide, graph, query, headers):
    answer = ask(door(wide, policy=OPEN), "/open", query=query, headers=headers)
    assert (answer.status, answer.reason, answer.ran) == (400, "invalid_request", False)
    assert graph.calls == []


def test_F08_another_scheme_is_no_second_credential(door, wide):
    answer = ask(door(wide), query=PARAMETER, headers=[("Authorization", "Basic dTpw")])
    assert (answer.status, answer.info.user_id) == (200, "1001")


@pytest.mark.parametrize("query", [PARAMETER, f"{PARAMETER}&{PARAMETER}", "access_token=x"])
def test_F09_the_query_is_off_by_default(door, guard, graph, query):
    behind = door(guard, policy=OPEN)
    answer = ask(behind, query=query)
    assert (answer.status, answer.reason, answer.ran) == (401, "missing_token", False)
    assert ask(behind, "/open", query=query).info is None
    assert graph.calls == []
    answer = ask(behind, query="access_token=other", headers=[bearer(TOKEN)])
    assert (answer.status, graph.calls) == (200, [TOKEN])


REFUSED_QUERIES = [
    (f"{PARAMETER}&{PARAMETER}", 400, "invalid_request"),
    (f"{PARAMETER}&access_token=other", 400, "invalid_request"),
    (f"{PARAMETER}&access_token=", 400, "invalid_request"),
    (f"access%5Ftoken=other&{PARAMETER}", 400, "invalid_request"),
    (f"%61ccess_token={TOKEN}&{PARAMETER}", 400, "invalid_request"),
    ("a&" * 1500 + PARAMETER, 400, "invalid_request"),
    (f"access_token[]={TOKEN}", 401, "missing_token"),
    (f"access_token[0]={TOKEN}", 401, "missing_token"),
    (f"a=1;{PARAMETER}", 401, "missing_token"),
    (f"Access_Token={TOKEN}", 401, "missing_token"),
    (f"token={TOKEN}&code={TOKEN}&input_token={TOKEN}", 401, "missing_token"),
    (f"access_token%20={TOKEN}", 401, "missing_token"),
    (f"x=%26{PARAMETER}", 401, "missing_token"),
    (f"{PARAMETER};a=1", 401, "malformed_token"),
    ("access_token=", 401, "malformed_token"),
    ("access_token", 401, "malformed_token"),
    (f"access_token=Bearer%20{TOKEN}", 401, "malformed_token"),
    (f"{PARAMETER}+", 401, "malformed_token"),
    (f"{PARAMETER}%00", 401, "malformed_token"),
    (f"{PARAMETER}%0a", 401, "malformed_token"),
    (f"{PARAMETER}%ff", 401, "malformed_token"),
    (f"{PARAMETER}\xe9", 401, "malformed_token"),
    (f"{PARAMETER}%26access_token=x", 401, "malformed_token"),
    ("access_token=" + "a" * 4097, 401, "malformed_token"),
    ("access_token=1234567890%7Csecret", 401, "malformed_token"),
]


@pytest.mark.parametrize(("query", "status", "reason"), REFUSED_QUERIES, ids=lambda value: str(value)[:40])
def test_F09_query(door, wide, graph, query, status, reason):
    answer = ask(door(wide), query=query)
    assert (answer.status, answer.reason, answer.ran) == (status, reason, False)
    assert graph.calls == []


@pytest.mark.parametrize("query", [PARAMETER, f"a=b&{PARAMETER}&c=%ff", f"access%5Ftoken=%45{TOKEN[1:]}"])
def test_F09_query_switched_on(door, wide, graph, query):
    answer = ask(door(wide), query=query)
    assert (answer.status, answer.info.user_id, graph.calls) == (200, "1001", [TOKEN])


FORM = ("Content-Type", "application/x-www-form-urlencoded")
BODY = PARAMETER.encode()


@pytest.mark.parametrize("places", [("header",), WIDE], ids=["header", "wide"])
def test_F10_form_body_is_neither_read_nor_believed(graph, clock, places):
    read: list[bytes] = []

    def view(environ, start_response):
        read.append(environ["wsgi.input"].read())
        start_response("200 OK", [])
        return []

    async def aview(scope, receive, send):
        read.append((await receive())["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive():
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def forbidden():
        raise AssertionError("the guard read the body")

    async def send(message):
        statuses.append(message.get("status"))

    statuses: list[int | None] = []
    with make_guard(graph, clock, token_from=places) as guard:
        door, adoor = wsgi.FBTokenMiddleware(view, guard), asgi.FBTokenMiddleware(aview, guard)
        environ = wsgi_environ(method="POST", headers=[FORM]) | {"wsgi.input": NeverRead(BODY)}
        assert call_wsgi(door, environ).reason == "missing_token"
        asyncio.run(adoor(http_scope(method="POST", headers=[FORM]), forbidden, send))
        assert statuses == [401, None]
        headers = [FORM, bearer(TOKEN)]
        environ = wsgi_environ(method="POST", headers=headers) | {"wsgi.input": io.BytesIO(BODY)}
        assert Server().serve(door, environ).status == 200
        asyncio.run(adoor(http_scope(method="POST", headers=headers), receive, send))
    assert statuses == [401, None, 200, None]
    assert read == [BODY, BODY]


ELSEWHERE = [
    ("X-Access-Token", TOKEN),
    ("X-FB-Token", TOKEN),
    ("Access-Token", TOKEN),
    ("Proxy-Authorization", f"Bearer {TOKEN}"),
    ("X-Authorization", f"Bearer {TOKEN}"),
    ("X-Forwarded-Authorization", f"Bearer {TOKEN}"),
    ("Authorization2", f"Bearer {TOKEN}"),
    ("Authentication", f"Bearer {TOKEN}"),
    ("Cookie", f"access_token={TOKEN}; token={TOKEN}; FB={TOKEN}; fbx={TOKEN}; xfb={TOKEN}"),
    ("Cookie", f'other="fb={TOKEN}"'),
    ("Sec-WebSocket-Protocol", f"bearer, {TOKEN}"),
    ("Referer", f"https://api.example/?{PARAMETER}"),
]


@pytest.mark.parametrize("header", [*ELSEWHERE, ("Cookie", f"fb={TOKEN}")], ids=" ".join)
def test_F14_other_carriers_are_ignored(door, guard, graph, header):
    behind = door(guard, policy=OPEN)
    answer = behind.send(headers=[header])
    assert (answer.status, answer.reason, answer.ran) == (401, "missing_token", False)
    anonymous = behind.send(path="/open", headers=[header])
    assert (anonymous.status, anonymous.info) == (200, None)
    assert graph.calls == []
    answer = behind.send(TOKEN, headers=[("Cookie", "fb=other"), ("X-Access-Token", "other")])
    assert (answer.status, graph.calls) == (200, [TOKEN])


@pytest.mark.parametrize("header", ELSEWHERE, ids=" ".join)
def test_F14_what_is_not_named_stays_ignored(door, wide, graph, header):
    answer = door(wide).send(headers=[header])
    assert (answer.status, answer.reason, answer.ran) == (401, "missing_token", False)
    assert graph.calls == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("where", [*OTHERS, "same"])
def test_F14_cookie_where_nothing_is_changed(door, wide, method, where):
    headers = [cookie(TOKEN), *({**OTHERS, "same": SAME}[where])]
    answer = door(wide).send(method=method, headers=headers)
    assert (answer.status, answer.info.user_id) == (200, "1001")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "FOO"])
def test_F14_cookie_of_the_same_origin(door, wide, method):
    behind = door(wide)
    for more in ([], [("Sec-Fetch-Site", "same-origin")]):
        answer = behind.send(method=method, headers=[cookie(TOKEN), *SAME, *more])
        assert (answer.status, answer.info.user_id) == (200, "1001")
    for host, origin in (
        ("api.example:443", "https://api.example"),  # as a proxy may write it
        ("api.example:80", "http://api.example"),
        ("api.example:8443", "https://api.example:8443"),
        ("api.example:443", "https://api.example:443"),  # of who is no browser
    ):
        answer = behind.send(method=method, headers=[cookie(TOKEN), ("Host", host), ("Origin", origin)])
        assert (answer.status, answer.info.user_id) == (200, "1001"), host


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "FOO"])
@pytest.mark.parametrize("where", OTHERS)
def test_F14_cookie_of_another_origin_is_no_credential(door, wide, graph, method, where):
    behind = door(wide, policy=OPEN)
    headers = [cookie(TOKEN), *OTHERS[where]]
    answer = behind.send(method=method, headers=headers)
    assert (answer.status, answer.reason, answer.ran) == (401, "missing_token", False)
    assert answer.challenge == 'Bearer realm="fbguard"'
    assert "Origin must name what Host does" in answer.json["detail"]  # whoever is logged in must be told
    assert "Origin" not in behind.send(method=method, headers=OTHERS[where]).json["detail"]
    anonymous = behind.send(path="/open", method=method, headers=headers)
    assert (anonymous.status, anonymous.info) == (200, None)
    assert graph.calls == []
    assert behind.send("other", method=method, headers=headers).status == 200  # and no second one
    assert graph.calls == ["other"]


@pytest.mark.parametrize(
    "value",
    ["", " ", f'"{TOKEN}"', f"{TOKEN} x", f"{TOKEN}%20", f"{TOKEN},", "a" * 4097, "x\x00y", "caf\xe9"],
)
def test_F14_cookie_that_holds_no_token(door, wide, graph, value):
    answer = door(wide, policy=OPEN).send(path="/open", headers=[("Cookie", f"fb={value}")])
    assert (answer.status, answer.reason, answer.ran) == (401, "malformed_token", False)
    assert graph.calls == []


# -- handshakes of WebSockets ------------------------------------------------------------------------------


def test_F14_subprotocol(wide, graph):
    sent = shake_hands(wide, subprotocols=("bearer", TOKEN))
    assert opened_by(sent) == "1001"
    assert sent[0]["subprotocol"] == "bearer"
    assert graph.calls == [TOKEN]


def test_F14_the_apps_own_subprotocol_stays(wide):
    async def app(_scope, receive, send):
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "chat"})

    sent = shake_hands(wide, subprotocols=("chat", "bearer", TOKEN), app=app)
    assert sent == [{"type": "websocket.accept", "subprotocol": "chat"}]


def test_F14_subprotocol_is_off_by_default(guard, graph):
    assert opened_by(shake_hands(guard, subprotocols=("bearer", TOKEN))) is None
    sent = shake_hands(guard, subprotocols=("bearer", "other"), headers=[bearer(TOKEN)])
    assert opened_by(sent) == "1001"
    assert sent[0].get("subprotocol") is None
    assert graph.calls == [TOKEN]


@pytest.mark.parametrize(
    ("handshake", "reason"),
    [
        ({"subprotocols": ("bearer",)}, "malformed_token"),
        ({"subprotocols": ("bearer", "a|b")}, "malformed_token"),
        ({"subprotocols": ("bearer", "")}, "malformed_token"),
        ({"subprotocols": ("bearer", TOKEN, "bearer", TOKEN)}, "invalid_request"),
        ({"subprotocols": ("bearer", TOKEN), "headers": [bearer(TOKEN)]}, "invalid_request"),
        ({"subprotocols": ("bearer", TOKEN), "query": PARAMETER}, "invalid_request"),
        ({"subprotocols": ("bearer", TOKEN), "headers": [cookie(TOKEN), *SAME]}, "invalid_request"),
        ({"subprotocols": ("Bearer", TOKEN)}, "missing_token"),
        ({"subprotocols": (TOKEN,)}, "missing_token"),
        ({"headers": [cookie(TOKEN)]}, "missing_token"),
    ],
)
def test_F14_handshakes_that_are_refused(wide, graph, handshake, reason):
    close = shake_hands(wide, **handshake)
    assert close == [{"type": "websocket.close", "code": 1008, "reason": reason}]
    start, _ = shake_hands(wide, **handshake, **DENIAL)
    assert start["type"] == "websocket.http.response.start"
    assert graph.calls == []


@pytest.mark.parametrize("where", OTHERS)
def test_F14_a_handshake_with_a_cookie_needs_its_own_origin(wide, graph, where):
    """It is a GET, and any site can make a browser send it, cookies and all."""
    sent = shake_hands(wide, headers=[cookie(TOKEN), *OTHERS[where]])
    assert opened_by(sent) is None
    assert graph.calls == []
    assert opened_by(shake_hands(wide, headers=[cookie(TOKEN), *SAME])) == "1001"


def test_F14_a_handshake_with_the_token_in_the_query(wide):
    assert opened_by(shake_hands(wide, query=PARAMETER)) == "1001"


def test_F14_a_subprotocol_of_a_plain_request_is_none(wide, graph):
    headers = [("Sec-WebSocket-Protocol", f"bearer, {TOKEN}")]

    async def never(_scope, _receive, _send):
        raise AssertionError("nobody may get here")

    scope = http_scope(headers=headers)
    assert asyncio.run(call_asgi(asgi.FBTokenMiddleware(never, wide), scope)).reason == "missing_token"
    assert graph.calls == []
