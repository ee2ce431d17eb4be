"""The sandbox on a real socket: HTTP/1.1 as clients expect it, and a clean end."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fbguard.sandbox import Sandbox
from fbguard.sandbox.server import SandboxServer


@pytest.fixture
def port(sandbox: Sandbox) -> Iterator[int]:
    with sandbox.serve() as url:
        assert url.startswith("http://127.0.0.1:")
        yield int(url.rpartition(":")[2])


@contextlib.contextmanager
def connect(port: int) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        yield connection


def talk(port: int, text: bytes) -> bytes:
    """Send raw bytes and return everything until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(text)
        return b"".join(iter(lambda: raw.recv(65536), b""))


def test_one_connection_serves_many_calls(sandbox: Sandbox, port: int) -> None:
    token = sandbox.issue_token()
    headers = sandbox.bearer(f"{sandbox.app_id}|{sandbox.app_secret}")
    with connect(port) as connection:
        used = []
        for path in (f"/v26.0/debug_token?input_token={token}", "/app", "/nobody", "/sandbox/calls"):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.version == 11
            assert int(answer.headers["Content-Length"]) == len(body)
            assert json.loads(body)
            used.append(connection.sock)
        assert len(set(used)) == 1
    assert len(sandbox.calls) == 3


def test_head_has_the_headers_of_get_and_no_body(sandbox: Sandbox, port: int) -> None:
    with connect(port) as connection:
        for method in ("HEAD", "GET"):
            connection.request(method, f"/app?fields=id&access_token={sandbox.app_id}%7C{sandbox.app_secret}")
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200
            assert answer.headers["Content-Length"] == "19"
            assert body == (b"" if method == "HEAD" else b'{"id":"1234567890"}')


def test_an_old_client_is_answered_and_closed(port: int) -> None:
    answer = talk(port, b"GET /nobody HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    ("field", "status"),
    [
        (b"Transfer-Encoding: chunked", b"411"),
        (b"Content-Length: x", b"400"),
        (b"Content-Length: -1", b"400"),
        (b"Content-Length: 1048577", b"413"),
    ],
)
def test_bodies_that_are_refused_end_the_connection(port: int, field: bytes, status: bytes) -> None:
    answer = talk(port, b"POST /x HTTP/1.1\r\nHost: x\r\n" + field + b"\r\n\r\n")
    assert answer.split(b" ")[1] == status
    assert b"Connection: close" in answer


def test_a_client_that_leaves_midway_leaves_no_trace(
    sandbox: Sandbox, port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"POST /sandbox/fail HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{}")
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(100) == b""
    assert sandbox.calls == ()
    assert capfd.readouterr().err == ""


def test_a_drop_closes_without_a_byte(sandbox: Sandbox, port: int) -> None:
    sandbox.fail(drop=True, times=1)
    assert talk(port, b"GET /app HTTP/1.1\r\nHost: x\r\n\r\n") == b""


def test_a_wrong_content_length_goes_out_as_asked(sandbox: Sandbox, port: int) -> None:
    sandbox.fail(200, b"abc", headers={"Content-Length": "7", "Connection": "close"}, times=1)
    answer = talk(port, b"GET /app HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"Content-Length: 7\r\n" in answer
    assert answer.endswith(b"\r\n\r\nabc")


def test_nothing_is_printed(sandbox: Sandbox, port: int, capfd: pytest.CaptureFixture[str]) -> None:
    talk(port, b"GET /debug_token?access_token=TOPSECRET HTTP/1.0\r\n\r\n")
    talk(port, b"NONSENSE\r\n\r\n")
    assert capfd.readouterr() == ("", "")


def test_many_clients_at_once(sandbox: Sandbox, port: int) -> None:
    seen: list[int] = []

    def work() -> None:
        with connect(port) as connection:
            for _ in range(5):
                connection.request("GET", "/nobody")
                answer = connection.getresponse()
                answer.read()
                seen.append(answer.status)

    threads = [threading.Thread(target=work) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [404] * 200
    assert len(sandbox.calls) == 200


def test_leaving_ends_idle_connections_and_frees_the_port(sandbox: Sandbox) -> None:
    before = threading.active_count()
    with sandbox.serve() as url:
        port = int(url.rpartition(":")[2])
        idle = socket.create_connection(("127.0.0.1", port), timeout=10)
        idle.sendall(b"GET /nobody HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 404")
    with idle:
        assert idle.recv(65536) == b""
    assert threading.active_count() == before
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
    with sandbox.serve(port=port) as again:
        assert again == url


def test_leaving_cuts_a_delay_short(sandbox: Sandbox) -> None:
    sandbox.fail(delay=3600)
    started = time.monotonic()
    with sandbox.serve() as url:
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as slow:
            slow.sendall(b"GET /app HTTP/1.1\r\nHost: x\r\n\r\n")
            while not sandbox.calls:
                threading.Event().wait(0.001)
            slow.settimeout(0.001)
            with pytest.raises(TimeoutError):
                slow.recv(1)
    assert time.monotonic() - started < 5


def test_two_servers_share_one_sandbox(sandbox: Sandbox) -> None:
    with sandbox.serve() as first, sandbox.serve() as second:
        assert first != second
        for url in (first, second):
            with connect(int(url.rpartition(":")[2])) as connection:
                connection.request("GET", "/nobody")
                connection.getresponse().read()
    assert len(sandbox.calls) == 2


def test_serving_in_the_foreground(sandbox: Sandbox) -> None:
    with SandboxServer(sandbox) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        with connect(server.server_port) as connection:
            connection.request("GET", "/nobody")
            assert connection.getresponse().status == 404
        server.shutdown()
        thread.join()


def test_a_port_that_is_taken(sandbox: Sandbox, port: int) -> None:
    with pytest.raises(OSError, match="in use"), sandbox.serve(port=port):
        pass


@pytest.mark.parametrize(
    ("port_asked", "kind"), [("80", TypeError), (True, TypeError), (-1, ValueError), (65536, ValueError)]
)
def test_wrong_ports(sandbox: Sandbox, port_asked: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="port"), sandbox.serve(port=port_asked):  # type: ignore[arg-type]
        pass
