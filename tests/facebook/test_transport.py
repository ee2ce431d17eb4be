"""The HTTP client against a server that does what it is told, over sockets."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from fbguard import Guard, Refused
from fbguard.core.secret import Secret
from fbguard.facebook.graph import MAX_REPLY
from fbguard.facebook.graph import Reply as GraphReply
from fbguard.facebook.pools import HttpxPool
from fbguard.facebook.transport import GraphClient
from tests.facebook.raw_server import Server, reply
from tests.support import APP_ID, PATIENCE, SECRET, TOKEN, FakeClock, Reply, dead, make_guard, valid

pytestmark = pytest.mark.usefixtures("quiet_asyncio")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def guarding(server: Server, **options: object) -> Guard:
    wired = {"app_id": APP_ID, "app_secret": SECRET, "graph_url": server.url, "clock": FakeClock()}
    return Guard(**(wired | options))


def run(guard: Guard, colour: str, tokens: Iterable[str]) -> list[str]:
    """Check tokens one after the other; return user ids and reasons."""

    def said(outcome: object) -> str:
        return outcome.reason if isinstance(outcome, Refused) else outcome.user_id

    outcomes: list[object] = []
    if colour == "sync":
        for token in tokens:
            try:
                outcomes.append(guard.check(token))
            except Refused as refused:
                outcomes.append(refused)
        guard.close()
    else:

        async def main() -> None:
            async with guard:
                for token in tokens:
                    outcomes.extend(await asyncio.gather(guard.acheck(token), return_exceptions=True))

        asyncio.run(main())
    return [said(outcome) for outcome in outcomes]


both_colours = pytest.mark.parametrize("colour", ["sync", "async"])


@both_colours
def test_keep_alive(server, colour):
    assert run(guarding(server), colour, ["a", "b", "c", "d"]) == ["1001"] * 4
    assert (len(server.requests), server.connections) == (4, 1)
    assert server.hung_up.wait(PATIENCE)  # closed with the guard


@both_colours
def test_the_request(server, colour):
    assert run(guarding(server), colour, [TOKEN]) == ["1001"]
    ((target, headers),) = server.heads()
    assert target == f"/v26.0/debug_token?input_token={TOKEN}"
    assert headers["authorization"] == [f"Bearer {APP_ID}|{SECRET}"]
    assert headers["accept-encoding"] == ["identity"]
    assert headers["accept"] == ["application/json"]
    assert headers["host"] == [f"127.0.0.1:{server.port}"]
    assert not {"cookie", "content-length", "transfer-encoding", "referer"} & headers.keys()
    assert server.requests[0].startswith(b"GET ")


def test_the_credential_as_a_parameter(server):
    assert run(guarding(server, credential_in="query"), "sync", [TOKEN]) == ["1001"]
    ((target, headers),) = server.heads()
    query = dict(parse_qsl(urlsplit(target).query, strict_parsing=True))
    assert query == {"input_token": TOKEN, "access_token": f"{APP_ID}|{SECRET}"}
    assert "authorization" not in headers


@pytest.mark.parametrize(
    "token", ["+/=", "a+b/c~d.e_f-g==", "++//", "~", ".", "..", "-_-", "a/../b", "Aa0", "//x"]
)
def test_every_symbol_of_a_token_arrives(server, token):
    if not token.strip("="):
        token = "a" + token
    run(guarding(server), "sync", [token])
    ((target, _),) = server.heads()
    parts = urlsplit(target)
    assert parts.path == "/v26.0/debug_token"
    assert parse_qsl(parts.query, strict_parsing=True) == [("input_token", token)]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_no_redirect_is_followed(server, status):
    with Server() as other:
        for location in (f"{other.url}/v26.0/debug_token", "/v26.0/elsewhere", "file:///etc/passwd"):
            server.script = lambda _request, to=location: [reply(b"", status, f"Location: {to}")]
            assert run(guarding(server), "sync", [TOKEN]) == ["unavailable"]
        assert other.connections == 0
    assert len(server.requests) == 3


@both_colours
def test_no_cookie_is_sent_back(server, colour):
    cookies = ["Set-Cookie: a=1; Path=/", "Set-Cookie: b=2"]
    server.script = lambda _request: [reply(valid().body, "200 OK", *cookies)]
    by_name = f"http://localhost:{server.port}"  # cookie jars pass over hosts that are mere addresses
    assert run(guarding(server, graph_url=by_name), colour, ["a", "b"]) == ["1001"] * 2
    assert all("cookie" not in headers for _, headers in server.heads())


@both_colours
def test_the_environment_is_not_asked(server, colour, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password geheim\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Server() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        assert run(guarding(server), colour, [TOKEN]) == ["1001"]
        assert proxy.connections == 0
    assert server.heads()[0][1]["authorization"] == [f"Bearer {APP_ID}|{SECRET}"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "GZIP", "x-unknown"])
def test_an_encoded_reply_is_refused(server, coding):
    server.script = lambda _request: [
        reply(gzip.compress(valid().body), "200 OK", f"Content-Encoding: {coding}")
    ]
    assert run(guarding(server), "sync", [TOKEN]) == ["unavailable"]


def test_identity_may_be_said(server):
    server.script = lambda _request: [reply(valid().body, "200 OK", "Content-Encoding: identity")]
    assert run(guarding(server), "sync", [TOKEN]) == ["1001"]


@pytest.mark.parametrize(("size", "expected"), [(MAX_REPLY, "1001"), (MAX_REPLY + 1, "unavailable")])
def test_the_largest_reply(server, size, expected):
    assert MAX_REPLY == 65_536
    server.script = lambda _request: [reply(valid().body.ljust(size))]
    assert run(guarding(server), "sync", [TOKEN]) == [expected]


@both_colours
def test_an_endless_reply_is_hung_up_on(server, colour):
    def endless(_request: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        yield from itertools.repeat(b"1000\r\n" + b" " * 4096 + b"\r\n")

    server.script = endless
    assert run(guarding(server), colour, [TOKEN]) == ["unavailable"]
    assert server.hung_up.wait(PATIENCE)


@both_colours
@pytest.mark.parametrize("part", ["head", "body", "silence"])
def test_a_drip_does_not_prolong_the_deadline(server, colour, part):
    def drip(_request: bytes) -> Iterator[bytes]:
        whole = reply(valid().body.ljust(5000))
        if part == "body":
            head, _, whole = whole.partition(b"\r\n\r\n")
            yield head + b"\r\n\r\n"
        for position in range(len(whole)):
            if server.over.wait(0.01):
                return
            yield b"" if part == "silence" else whole[position : position + 1]

    server.script = drip
    guard = guarding(server, deadline=0.2)
    started = time.monotonic()
    assert run(guard, colour, [TOKEN]) == ["unavailable"]
    assert 0.15 < time.monotonic() - started < 2.5


@pytest.mark.parametrize(
    "pieces",
    [
        [],
        [b"\x00\x01junk\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + valid().body],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + valid().body],
        [b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" + valid().body],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + valid().body],
        [b"HTTP/1.1 204 No Content\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"],
    ],
    ids=["nothing", "junk", "short", "bad chunk", "negative", "two lengths", "204", "long header"],
)
def test_broken_replies(server, pieces):
    def broken(_request: bytes) -> Iterator[bytes]:
        yield from pieces
        raise OSError  # and hang up

    server.script = broken
    assert run(guarding(server), "sync", [TOKEN]) == ["unavailable"]


def test_a_connection_that_the_server_closed_meanwhile(server):
    def once(_request: bytes) -> Iterator[bytes]:
        yield reply()
        raise OSError

    server.script = once
    guard = guarding(server)
    assert guard.check("a").user_id == "1001"
    assert server.hung_up.wait(PATIENCE)
    assert run(guard, "sync", ["b"]) == ["1001"]
    assert server.connections == 2


def test_nobody_listens():
    with Server() as server:
        pass
    assert run(guarding(server), "sync", [TOKEN]) == ["unavailable"]


def test_a_reply_in_pieces(server):
    def pieces(_request: bytes) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for letter in valid().body:
            yield b"1\r\n%c\r\n" % letter
        yield b"0\r\n\r\n"

    server.script = pieces
    assert run(guarding(server), "sync", [TOKEN]) == ["1001"]


OUTCOMES: list[Reply] = [valid(), dead(190, 463), Reply(b"", 500), Reply(b"x" * 70_000)]


@both_colours
@pytest.mark.parametrize("place", ["header", "query"])
def test_no_logger_prints_a_token(server, colour, place, caplog):
    answers = iter(OUTCOMES)

    def script(_request: bytes) -> Iterator[bytes]:
        answer = next(answers, None)
        if answer is None:
            raise OSError
        yield reply(answer.body, f"{answer.status} Said")

    server.script = script
    names = [name for name in logging.root.manager.loggerDict if not name.startswith("pytest")]
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    try:
        with caplog.at_level(logging.DEBUG):
            run(
                guarding(server, credential_in=place),
                colour,
                [f"{TOKEN}+/~{number}==" for number in range(5)],
            )
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
    log = "\n".join(f"{record.name} {record.getMessage()} {vars(record)!r}" for record in caplog.records)
    assert log.count("fbguard token ") == 5
    assert len(server.requests) >= 5
    for secret in (TOKEN, SECRET):
        assert secret not in log


@pytest.mark.parametrize("place", ["header", "query"])
def test_what_http2_logs_shows_no_token(place, caplog):
    """A transport of the user's own may speak HTTP/2, whose header compression logs every header."""
    import hpack  # what every Python client of HTTP/2 packs headers with; hypercorn brings it

    class Http2(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            hpack.Encoder().encode([(b":path", request.url.raw_path), *request.headers.raw])
            return httpx.Response(200, stream=httpx.ByteStream(valid().body))

    with caplog.at_level(logging.DEBUG, "hpack"):
        with make_guard(transport=Http2(), credential_in=place) as guard:
            assert guard.check(TOKEN).user_id == "1001"
        assert [record for record in caplog.records if record.name.startswith("hpack")] == []
        hpack.Encoder().encode([(b"x-somebody", b"else")])
    assert any(record.name == "hpack.hpack" for record in caplog.records)


def test_what_other_clients_log_shows_no_token_either(server, caplog):
    """An httpx client of the application, whose request lines name the URL."""
    with guarding(server), caplog.at_level(logging.DEBUG), httpx.Client(trust_env=False) as client:
        client.get(f"{server.url}/debug_token", params={"input_token": TOKEN, "access_token": SECRET})
    assert "input_token=***" in caplog.text
    for secret in (TOKEN, SECRET):
        assert secret not in caplog.text


def test_the_client_outlives_its_own_failures():
    """A transport's exceptions hold the URL: none of them, and no request, leaves the client."""

    class Broken(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise httpx.ReadError(str(request.url), request=request)

    from fbguard.core.secret import Secret

    async def main() -> None:
        client = GraphClient(HttpxPool(Broken()))
        for _ in range(2):
            params = {"input_token": Secret(TOKEN)}
            answer = await client.get(
                "https://graph.example/x", params, credential=Secret(SECRET), in_header=True
            )
            assert answer is None
        await client.aclose()

    asyncio.run(main())


def test_the_callers_cancellation_is_not_swallowed(server):
    arrived, over = threading.Event(), server.over

    def silent(_request: bytes) -> Iterator[bytes]:
        arrived.set()
        over.wait(PATIENCE)
        yield b""

    server.script = silent

    async def main() -> None:
        async with guarding(server) as guard:
            task = asyncio.create_task(guard.acheck(TOKEN))
            await asyncio.to_thread(arrived.wait, PATIENCE)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


# -- forms -----------------------------------------------------------------------------------------------

FORM = Secret(urlencode({"access_token": f"{APP_ID}|{SECRET}", "batch": f'["{TOKEN}&=+/ "]', "x": "y"}))
URL = "https://graph.example/v26.0/"


def post(handler: Callable[[httpx.Request], httpx.Response], most: int = 100) -> GraphReply | None:
    async def main() -> GraphReply | None:
        client = GraphClient(HttpxPool(httpx.MockTransport(handler)))
        try:
            return await client.post(URL, FORM, most=most)
        finally:
            await client.aclose()

    return asyncio.run(main())


def streamed(body: bytes, status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, stream=httpx.ByteStream(body), headers=headers)


def test_a_form():
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return streamed(b"[]", 418, **{"X-App-Usage": "{}"})

    reply = post(answer)
    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert request.headers["Accept-Encoding"] == "identity"
    assert not {"authorization", "cookie"} & request.headers.keys()
    assert dict(parse_qsl(request.content.decode(), strict_parsing=True)) == {
        "access_token": f"{APP_ID}|{SECRET}",
        "batch": f'["{TOKEN}&=+/ "]',
        "x": "y",
    }
    assert reply is not None
    assert (reply.status, reply.body, reply.header("x-app-usage")) == (418, b"[]", "{}")


@pytest.mark.parametrize(("size", "is_read"), [(100, True), (101, False)])
def test_the_largest_reply_to_a_form(size, is_read):
    reply = post(lambda _request: streamed(b"x" * size, 418, **{"X-App-Usage": "{}"}))
    assert reply is not None
    assert (reply.status, reply.body) == (418, b"x" * size if is_read else b"")
    assert reply.header("x-app-usage") == "{}"


async def get(client: GraphClient) -> GraphReply | None:
    return await client.get(URL, {}, credential=Secret(SECRET), in_header=True)


async def delete(client: GraphClient) -> GraphReply | None:
    return await client.delete(URL, {}, token=Secret(TOKEN))


UNREAD = {
    "over-long": (b"x" * (MAX_REPLY + 1), {}),
    "encoded": (gzip.compress(b"{}"), {"Content-Encoding": "gzip"}),
    "encoded, it says": (b"{}", {"Content-Encoding": "br"}),
}


@pytest.mark.parametrize("send", [get, delete])
@pytest.mark.parametrize(("body", "headers"), UNREAD.values(), ids=UNREAD)
def test_what_is_not_read_has_come_all_the_same(send, body, headers):
    """Its status and its headers tell whether Graph throttles, or is down."""

    async def main() -> None:
        answer = streamed(body, 429, **{"X-App-Usage": '{"call_count": 100}'}, **headers)
        client = GraphClient(HttpxPool(httpx.MockTransport(lambda _request: answer)))
        reply = await send(client)
        await client.aclose()
        assert reply is not None
        assert (reply.status, reply.body) == (429, b"")
        assert reply.header("x-app-usage") == '{"call_count": 100}'

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "tries"),
    [(httpx.ConnectError, 2), (httpx.ConnectTimeout, 2), (httpx.ReadError, 1), (httpx.WriteError, 1)],
)
def test_a_form_is_sent_again_only_if_it_was_not_sent(error, tries, caplog):
    caplog.set_level(logging.DEBUG)
    count = itertools.count()

    def fail(request: httpx.Request) -> httpx.Response:
        next(count)
        raise error(f"{request.url} {request.content!r}")

    assert post(fail) is None
    assert next(count) == tries
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text


def test_a_redirect_of_a_form_is_not_followed():
    count = itertools.count()

    def redirect(_request: httpx.Request) -> httpx.Response:
        next(count)
        return streamed(b"", 307, Location="https://elsewhere.example/")

    reply = post(redirect)
    assert reply is not None
    assert (reply.status, next(count)) == (307, 1)
