"""The faulty server itself: what it is told to do is what a plain socket sees."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from tests.support import PATIENCE, Reply, wait_until
from tests.upstream import scripts
from tests.upstream.certificates import BAD, Certificates, lower
from tests.upstream.faulty import BlackHole, End, FaultyServer, Script, head_of

OK = scripts.wire()
PIECE = 65_536


@contextmanager
def serving(script: Script) -> Generator[FaultyServer]:
    with FaultyServer(script) as server:
        yield server


def connect(server: FaultyServer | BlackHole) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE)


def request(token: str = "a") -> bytes:
    return f"GET /v26.0/debug_token?input_token={token} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def read(connection: socket.socket, count: int | None = None) -> bytes:
    """Read so many bytes, or up to the end."""
    found = b""
    while count is None or len(found) < count:
        piece = connection.recv(PIECE)
        if not piece:
            break
        found += piece
    return found


def ask(server: FaultyServer, token: str = "a") -> bytes:
    """Send one request and read up to the end."""
    with connect(server) as connection:
        connection.sendall(request(token))
        return read(connection)


def test_it_keeps_connections_and_records_raw_bytes() -> None:
    with serving(scripts.healthy()) as server:
        with connect(server) as connection:
            for token in "ab":
                connection.sendall(request(token))
                assert read(connection, len(OK)) == OK
            assert (server.connections, server.open) == (1, 1)
        wait_until(lambda: server.open == 0)
        assert server.requests == [request("a"), request("b")]
        assert (server.calls, server.probes, server.most_open) == (["a", "b"], 0, 1)
        assert server.sent == 2 * len(OK)
        assert head_of(server.requests[0]) == ("/v26.0/debug_token?input_token=a", {"host": ["x"]})


def test_a_script_for_a_token_and_one_for_the_rest() -> None:
    other = Reply(b"{}", 500)
    with serving(scripts.idle_close()) as server:
        server.scripts["b"] = scripts.idle_close(other)
        server.probe = scripts.cut(b"probe", End.FIN)
        assert (ask(server, "a"), ask(server, "b")) == (OK, scripts.wire(other))
        with connect(server) as connection:
            connection.sendall(b"GET /v26.0/1?fields=id HTTP/1.1\r\n\r\n")
            assert read(connection) == b"probe"
        assert (server.calls, server.probes) == (["a", "b"], 1)


def test_in_turn() -> None:
    with serving(scripts.in_turn(scripts.cut(b"1", End.FIN), scripts.cut(b"2", End.FIN))) as server:
        assert [ask(server) for _ in range(3)] == [b"1", b"2", b"2"]


@pytest.mark.parametrize("count", [0, 1, 50])
def test_a_reset_after_so_many_bytes(count: int) -> None:
    with serving(scripts.cut(OK[:count], End.RST)) as server, connect(server) as connection:
        connection.sendall(request())
        assert read(connection, count) == OK[:count]
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


@pytest.mark.parametrize("count", [0, 1, 50])
def test_an_early_end(count: int) -> None:
    with serving(scripts.cut(OK[:count], End.FIN)) as server:
        assert ask(server) == OK[:count]


def test_a_wait_before_the_header() -> None:
    with serving(scripts.late(0.2)) as server, connect(server) as connection:
        started = time.monotonic()
        connection.sendall(request())
        assert read(connection, len(OK)) == OK
        assert time.monotonic() - started >= 0.2


def test_a_drip_comes_byte_by_byte() -> None:
    with serving(scripts.drip(0.02, b"abc", before=b"-")) as server, connect(server) as connection:
        started = time.monotonic()
        connection.sendall(request())
        assert read(connection, 4) == b"-abc"
        assert time.monotonic() - started >= 0.06


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (scripts.interim(103), scripts.head(103) * 3),
        (scripts.endless_chunks(), scripts.head(200, scripts.CHUNKED) + b"10000\r\n" + b" " * PIECE),
        (scripts.huge(), scripts.head(200, [("Content-Length", "1073741824")]) + b" " * PIECE),
        (scripts.bad_chunk(), scripts.head(200, scripts.CHUNKED) + b"zz\r\n"),
        (scripts.play(scripts.wire(length=9999)), b"HTTP/1.1 200 Said\r\nContent-Length: 9999\r\n"),
        (scripts.redirect(307, "x:y"), scripts.wire(Reply(b"", 307, (("Location", "x:y"),)))),
    ],
    ids=["interim", "endless", "huge", "bad chunk", "length", "redirect"],
)
def test_what_is_sent(script: Script, expected: bytes) -> None:
    with serving(script) as server, connect(server) as connection:
        connection.sendall(request())
        assert read(connection, len(expected))[: len(expected)] == expected


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_is_small_until_it_is_unpacked(layers: int) -> None:
    (sent,) = scripts.gzip_bomb(1 << 20, "gzip", layers)()
    assert isinstance(sent, bytes)
    body = sent.partition(b"\r\n\r\n")[2]
    assert len(body) < 4096
    for _ in range(layers):
        body = gzip.decompress(body)
    assert body == b" " * (1 << 20)


ENDLESS = {
    "silence": scripts.silence(),
    "late": scripts.late(3600),
    "drip": scripts.drip(3600, OK),
    "chunks that nobody reads": scripts.endless_chunks(),
    "interim": scripts.interim(100),
}


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_the_end_of_the_server_ends_everything(script: Script) -> None:
    with serving(script) as server:
        connection = connect(server)
        connection.sendall(request())
        wait_until(lambda: server.requests)
        started = time.monotonic()
    assert time.monotonic() - started < PATIENCE / 2
    assert server.open == 0
    connection.close()


@pytest.mark.parametrize("script", ENDLESS.values(), ids=ENDLESS)
def test_it_notices_who_hangs_up(script: Script) -> None:
    with serving(script) as server:
        with connect(server) as connection:
            connection.sendall(request())
            wait_until(lambda: server.requests)
            assert server.open == 1
        wait_until(lambda: server.open == 0)


def test_mute() -> None:
    with FaultyServer(scripts.healthy(), mute=True) as server, connect(server) as connection:
        connection.sendall(request())
        wait_until(lambda: server.connections == 1)
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        assert server.requests == []


def test_a_black_hole() -> None:
    with BlackHole() as hole:
        if not hole.works:
            pytest.skip("this system accepts whatever comes")
        with socket.socket() as connection:
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.connect(("127.0.0.1", hole.port))


def test_many_connections_at_once() -> None:
    with serving(scripts.healthy()) as server:
        together = threading.Barrier(20)

        def one() -> None:
            with connect(server) as connection:
                connection.sendall(request())
                read(connection, len(OK))
                together.wait(PATIENCE)

        threads = [threading.Thread(target=one) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert (server.connections, server.most_open, len(server.requests)) == (20, 20, 20)


def handshake(server: FaultyServer, context: ssl.SSLContext) -> bytes:
    with connect(server) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as connection:
        connection.sendall(request())
        return read(connection, len(OK))


def trusting(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificates.authority)


Started = Callable[..., FaultyServer]


def test_the_good_certificate(certificates: Certificates, tls_server: Started) -> None:
    server = tls_server(certificates.context("good"))
    assert handshake(server, trusting(certificates)) == OK
    assert server.url.startswith("https://")


@pytest.mark.parametrize(
    ("name", "problem"),
    [("expired", "expired"), ("wrong_name", "mismatch"), ("self_signed", "self.signed|local issuer")],
)
def test_each_bad_certificate_has_its_own_fault(
    certificates: Certificates, tls_server: Started, name: str, problem: str
) -> None:
    assert name in BAD
    server = tls_server(certificates.context(name))
    with pytest.raises(ssl.SSLCertVerificationError, match=problem):
        handshake(server, trusting(certificates))
    assert server.requests == []


def test_tls_1_0(certificates: Certificates, tls_server: Started) -> None:
    server = tls_server(certificates.old_context())
    with pytest.raises((ssl.SSLError, OSError)):
        handshake(server, trusting(certificates))
    old = trusting(certificates)
    lower(old)
    try:
        assert handshake(server, old) == OK  # the version alone is what the other one minds
    except ssl.SSLError:
        pytest.skip("this OpenSSL speaks TLS 1.0 no more")
