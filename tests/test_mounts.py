"""The callbacks in either protocol: mounted anywhere, bodies in pieces, clients that leave."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
from contextlib import contextmanager
from typing import Any
from wsgiref.validate import validator

import pytest

from fbguard import mounts
from fbguard.core import background
from fbguard.core.answers import Answer
from fbguard.mounts import MountedASGI, MountedWSGI
from tests.revocation.calls import (
    FORM,
    HOST,
    JSON,
    FakeSessions,
    Mount,
    event_body,
    form,
    hub_signature,
    make_callbacks,
    send,
)
from tests.support import NOW, PATIENCE, call_wsgi, http_scope, wait_until, wsgi_environ

EVENT_CAP = 1_048_576


@pytest.fixture
def sessions():
    return FakeSessions()


@pytest.fixture(params=["asgi", "wsgi"])
def kind(request):
    return request.param


@pytest.fixture
def mount(kind, sessions):
    return Mount(kind, sessions)


def test_each_callback_has_its_effect(mount, sessions):
    assert mount.deauthorize().status == 200
    assert mount.call("POST", "/data-deletion", form(user_id="1002"), FORM, HOST).status == 200
    assert mount.event(event_body("1003")).status == 200
    assert (sessions.ended, sessions.forgotten) == ([("1001", NOW), ("1002", NOW)], ["1003"])


def test_the_handshake_gets_the_challenge_alone(mount):
    query = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=correct%20horse"
    said = mount.call("GET", "/webhook", query=query)
    assert (said.status, said.body, said.header("content-length")) == (200, b"1158201444", "10")
    assert said.header("x-content-type-options") == "nosniff"


@pytest.mark.parametrize("query", ["hub.verify_token=\xe4", "hub.mode=%", "\x00", "a=\xff&b"])
def test_any_query_is_answered(mount, query):
    assert mount.call("GET", "/webhook", query=query).status == 403


@pytest.mark.parametrize("root", ["", "/facebook", "/a/b"])
def test_paths_are_below_the_mount_and_the_page_is_there(mount, root):
    told = mount.call("POST", "/data-deletion", form(), FORM, HOST, root=root, scheme="https").json
    assert told["url"] == f"https://api.example.com{root}/data-deletion/{told['confirmation_code']}"
    assert mount.call("GET", f"/data-deletion/{told['confirmation_code']}", root=root).status == 200


@pytest.mark.parametrize("path", ["", "/", "/x", "/deauthorize/x", "/d\u00e9authorize", "/webhook\ufffd"])
def test_anything_else_is_not_there(mount, path):
    assert mount.call("POST", path, form(), FORM, root="/facebook").status == 404


def test_a_root_that_is_no_whole_segment_is_not_cut_off(sessions):
    app = MountedASGI(make_callbacks(sessions))
    for path, expected in (("/face/webhook", 403), ("/facebook/webhook", 404), ("/webhook", 403)):
        assert asyncio.run(send(app, http_scope(path, root_path="/face"), [])).status == expected


def test_a_path_that_is_no_utf8_is_not_there(sessions):
    assert call_wsgi(MountedWSGI(make_callbacks(sessions)), wsgi_environ("/webhook\udcff")).status == 404


def test_head_gets_no_body(mount):
    for path, status in (("/data-deletion/x", 404), ("/deauthorize", 405), ("/webhook", 403)):
        said = mount.call("HEAD", path)
        assert (said.status, said.body) == (status, b"")
        assert int(said.header("content-length")) > 0


@pytest.mark.parametrize("pieces", [1, 2, 7, 500])
def test_a_body_may_come_in_pieces_and_without_a_length(mount, sessions, pieces):
    body = event_body(*map(str, range(1, 101)))
    assert mount.event(body, pieces=pieces, length=False).status == 200
    assert len(sessions.forgotten) == 100


@pytest.mark.parametrize("length", [True, False])
def test_a_body_of_the_cap_is_read_and_one_byte_more_is_not(mount, sessions, length):
    body = event_body("1")
    full = body + b" " * (EVENT_CAP - len(body))
    assert mount.event(full, pieces=5, length=length).status == 200
    assert mount.event(full + b" ", pieces=5, length=length).status == 413
    assert sessions.effects == 1


def test_no_more_than_the_cap_and_a_byte_is_kept_of_an_endless_body(sessions):
    received = 0

    async def receive():
        nonlocal received
        received += 65_536
        return {"type": "http.request", "body": b"x" * 65_536, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def record(message):
        sent.append(message)

    scope = http_scope("/webhook", "POST")
    asyncio.run(MountedASGI(make_callbacks(sessions))(scope, receive, record))
    assert sent[0]["status"] == 413
    assert received <= EVENT_CAP + 65_536


class Keeping:
    """Stands for the rules; takes ten bytes and keeps what it is given."""

    def admit(self, _request):
        return 10

    async def answer(self, request):
        self.body = request.body
        return Answer(200, [], b"")


@pytest.mark.parametrize(("sizes", "kept"), [
    ([9], 9), ([10], 10), ([11], 11), ([5_000_000], 11), ([6, 6, 6], 11), ([1] * 9, 9),
])  # fmt: skip
def test_of_large_messages_no_more_than_the_cap_and_a_byte_is_kept(sizes, kept):
    rules: Any = Keeping()
    messages = [{"type": "http.request", "body": b"x" * size, "more_body": True} for size in sizes]
    messages[-1]["more_body"] = False
    asyncio.run(send(MountedASGI(rules), http_scope("/", "POST"), messages))
    assert len(rules.body) == kept


def test_of_an_endless_stream_no_more_than_the_cap_and_a_byte_is_read(sessions):
    class Endless:
        read_bytes = 0

        def read(self, size):
            self.read_bytes += size
            return b"x" * size

    stream = Endless()
    environ = wsgi_environ(
        "/webhook", "POST", CONTENT_TYPE="x", **{"wsgi.input": stream, "wsgi.input_terminated": True}
    )
    assert call_wsgi(MountedWSGI(make_callbacks(sessions)), environ).status == 413
    assert stream.read_bytes == EVENT_CAP + 1


@pytest.mark.parametrize("path", ["/webhook", "/deauthorize"])
def test_what_is_refused_by_its_head_is_not_read(path, sessions):
    class Unread:
        def read(self, size):
            raise AssertionError("the body was read")

    async def receive():
        raise AssertionError("the body was read")

    for headers in ([("content-encoding", "gzip")], [("content-length", "99999999")]):
        scope = http_scope(path, "POST", [FORM, *headers])
        sent: list[dict[str, Any]] = []

        async def record(message, sent=sent):
            sent.append(message)

        asyncio.run(MountedASGI(make_callbacks(sessions))(scope, receive, record))
        expected = sent[0]["status"]
        assert expected in {413, 415}
        more = {"CONTENT_LENGTH": dict(headers).get("content-length", "5"), "wsgi.input": Unread()}
        environ = wsgi_environ(path, "POST", headers[:1], CONTENT_TYPE=FORM[1], **more)
        assert call_wsgi(MountedWSGI(make_callbacks(sessions)), environ).status == expected


@pytest.mark.parametrize("cut", [0, 1, 100])
def test_a_client_that_leaves_in_its_body_has_no_effect(sessions, cut):
    body = event_body("1")
    scope = http_scope("/webhook", "POST", [JSON, ("x-hub-signature-256", hub_signature(body))])
    pieces = [{"type": "http.request", "body": body[:cut], "more_body": True}] if cut else []
    assert asyncio.run(send(MountedASGI(make_callbacks(sessions)), scope, pieces)) is None
    assert sessions.effects == 0


class Broken(io.BytesIO):
    def read(self, size=-1, /):
        raise ConnectionResetError


@pytest.mark.parametrize("more", [
    {"CONTENT_LENGTH": "500"}, {"CONTENT_LENGTH": "1e3"}, {"CONTENT_LENGTH": "-1"}, {"CONTENT_LENGTH": "٣"},
    {"CONTENT_LENGTH": "0" * 5000}, {"HTTP_TRANSFER_ENCODING": "chunked"},
    {"CONTENT_LENGTH": "100", "wsgi.input": Broken()},
    {"wsgi.input_terminated": True, "wsgi.input": Broken()},
])  # fmt: skip
def test_a_body_that_did_not_come_whole_has_no_effect(sessions, more):
    body = event_body("1")
    headers = [("x-hub-signature-256", hub_signature(body))]
    environ = wsgi_environ("/webhook", "POST", headers, **({"wsgi.input": io.BytesIO(body)} | more))
    assert (call_wsgi(MountedWSGI(make_callbacks(sessions)), environ).status, sessions.effects) == (400, 0)


def test_without_a_length_there_is_no_body(sessions):
    environ = wsgi_environ("/deauthorize", "POST", CONTENT_TYPE=FORM[1], **{"wsgi.input": io.BytesIO(form())})
    assert (call_wsgi(MountedWSGI(make_callbacks(sessions)), environ).status, sessions.effects) == (400, 0)


def test_two_signatures_are_refused_in_either_protocol(mount, sessions):
    body = event_body("1")
    assert mount.event(body, ("x-hub-signature-256", hub_signature(body))).status == 403
    assert sessions.effects == 0


# -- where the effects run ---------------------------------------------------------------------------------


def test_the_effects_run_on_the_loop_of_the_colour(mount, sessions):
    assert mount.deauthorize().status == 200
    assert (sessions.loops == [background.running()]) == (mount.kind == "wsgi")


def test_a_store_that_hangs_is_not_waited_for(kind, sessions):
    sessions.hangs = True
    said = Mount(kind, sessions, deadline=0.05).deauthorize()
    assert (said.status, sessions.effects) == (503, 0)
    assert int(said.header("retry-after")) >= 1
    wait_until(lambda: sessions.under_way == 0)


def test_a_loop_that_hangs_is_not_waited_for(sessions, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(mounts, "_GRACE", 0.05)

    async def endpoint(_request):
        release.wait(PATIENCE)  # blocks the loop itself: no deadline of its own can fire
        return Answer(200, [], b"")

    try:
        assert (
            Mount("wsgi", sessions, deadline=0.05, endpoint=endpoint).call("GET", "/restserver.php").status
            == 503
        )
    finally:
        release.set()


def test_a_cancelled_effect_is_asked_for_again(sessions):
    sessions.lost = asyncio.CancelledError()  # as when the store's client was closed meanwhile
    assert Mount("wsgi", sessions).deauthorize().status == 503


def test_an_exception_of_the_endpoint_is_the_servers_to_report(kind, sessions):
    async def endpoint(_request):
        raise LookupError("a defect")

    with pytest.raises(LookupError, match="a defect"):
        Mount(kind, sessions, endpoint=endpoint).call("GET", "/restserver.php")


def test_the_endpoint_gets_the_request(kind, sessions):
    seen = []

    async def endpoint(request):
        seen.append((request.method, request.path, request.query, request.body, request.all("content-type")))
        return Answer(200, [("Content-Type", "text/xml")], b"<x/>")

    mount = Mount(kind, sessions, endpoint=endpoint)
    said = mount.call("POST", "/restserver.php", b"a=1", FORM, query="b=2", root="/fb")
    assert (said.status, said.body, said.header("cache-control")) == (200, b"<x/>", "no-store")
    assert seen == [("POST", "/restserver.php", "b=2", b"a=1", [FORM[1]])]


# -- the protocols -----------------------------------------------------------------------------------------


def test_wsgi_is_spoken_as_pep_3333_says(sessions):
    app = validator(MountedWSGI(make_callbacks(sessions)))
    for path, method in (
        ("/webhook", "GET"),
        ("/data-deletion", "GET"),
        ("/x", "GET"),
        ("/deauthorize", "GET"),
    ):
        assert call_wsgi(app, wsgi_environ(path, method)).status in {403, 404, 405}
    length = {"CONTENT_LENGTH": str(len(form())), "CONTENT_TYPE": FORM[1], "wsgi.input": io.BytesIO(form())}
    assert call_wsgi(app, wsgi_environ("/deauthorize", "POST", **length)).status == 200


def test_lifespan_is_completed(sessions):
    sent = []
    waiting = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive():
        return {"type": next(waiting)}

    async def record(message):
        sent.append(message["type"])

    asyncio.run(MountedASGI(make_callbacks(sessions))({"type": "lifespan"}, receive, record))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_websocket_is_refused(sessions):
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def record(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/webhook", "headers": []}
    asyncio.run(MountedASGI(make_callbacks(sessions))(scope, receive, record))
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


def test_another_scope_is_an_error(sessions):
    with pytest.raises(RuntimeError, match="quic"):
        asyncio.run(MountedASGI(make_callbacks(sessions))({"type": "quic"}, None, None))  # type: ignore[arg-type]


# -- behind servers and frameworks -------------------------------------------------------------------------


@contextmanager
def uvicorn_serving(app):
    import uvicorn

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="on", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(PATIENCE)


@contextmanager
def werkzeug_serving(app):
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        log = staticmethod(lambda *_args: None)

    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(PATIENCE)
        server.server_close()


@contextmanager
def mounted(kind, callbacks):
    """Serve a framework's app that has the callbacks at /facebook."""
    if kind == "asgi":
        from starlette.applications import Starlette
        from starlette.routing import Mount as At

        with uvicorn_serving(Starlette(routes=[At("/facebook", MountedASGI(callbacks))])) as port:
            yield port
    else:
        from flask import Flask
        from werkzeug.middleware.dispatcher import DispatcherMiddleware

        app = DispatcherMiddleware(Flask("app"), {"/facebook": MountedWSGI(callbacks)})
        with werkzeug_serving(app) as port:
            yield port


def exchange(port: int, head: str, *pieces: bytes) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        lines = f"{head}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        connection.sendall(lines.encode("latin-1"))
        for piece in pieces:
            connection.sendall(piece)
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    top, _, body = received.partition(b"\r\n\r\n")
    return int(top.split()[1]), body


def chunks(body: bytes, size: int) -> list[bytes]:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return [*(b"%x\r\n%s\r\n" % (len(part), part) for part in parts), b"0\r\n\r\n"]


def test_a_chunked_event_is_honoured_behind_a_server(kind, sessions):
    body = event_body(*map(str, range(1, 101)))
    head = "POST /facebook/webhook HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Hub-Signature-256: "
    head += hub_signature(body)
    with mounted(kind, make_callbacks(sessions)) as port:
        assert exchange(port, head, *chunks(body, 1000))[0] == 200
        assert len(sessions.forgotten) == 100
        assert exchange(port, head.replace("sha256=", "sha256=0"), *chunks(body, 1000))[0] == 403


def test_a_deletion_behind_a_server_leads_to_its_page(kind, sessions):
    body = form()
    head = f"POST /facebook/data-deletion HTTP/1.1\r\nContent-Type: {FORM[1]}\r\nContent-Length: {len(body)}"
    with mounted(kind, make_callbacks(sessions)) as port:
        status, said = exchange(port, head, body)
        told = json.loads(said)
        assert status == 200
        address = told["url"].removeprefix(f"http://127.0.0.1:{port}")
        assert address == f"/facebook/data-deletion/{told['confirmation_code']}"
        status, shown = exchange(port, f"GET {address} HTTP/1.1")
        assert status == 200
        assert b"2027-01-15" in shown
        assert exchange(port, f"GET {address}A HTTP/1.1")[0] == 404
