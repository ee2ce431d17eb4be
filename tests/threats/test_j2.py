"""Rows J10 and J11: what Graph says to the code that makes a body, when the answer may be out already."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fbguard import OAuthException, asgi, wsgi
from fbguard.sandbox import Sandbox
from tests.integrations.graph_errors import ADAPTERS, POLICY, Site, is_asgi, served
from tests.integrations.test_fastapi_served import on_uvicorn
from tests.servers.deployment import ROOT, STOPPING
from tests.servers.raw import HOST, Connection
from tests.support import APP_ID, SECRET, TOKEN, Server, http_scope, valid, wsgi_environ

pytestmark = [
    pytest.mark.usefixtures("quiet_asyncio"),
    # Django leaves the request's own body to the collector when the answer's breaks.
    pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.Spooled:ResourceWarning"),
]

OTHER = "EAABanotherPersonsToken0123456789"
BEARER = [("Authorization", f"Bearer {TOKEN}")]
CLOSED = "the body was closed"  # which the streaming apps say
OF_ASGI = [name for name in ADAPTERS if is_asgi(name)]
OF_WSGI = [name for name in ADAPTERS if not is_asgi(name)]
BEHIND_A_DOOR = {name for name in OF_WSGI if not name.startswith("django") and "extensions" not in name}


@pytest.fixture
def options(graph, clock):
    graph.replies[OTHER] = valid(user_id="2002")
    return {"app_id": APP_ID, "app_secret": SECRET, "transport": graph, "clock": clock}


@pytest.fixture
def site(request, options, graph):
    with served(request.param, options) as site:
        assert [site.send(token).status for token in (TOKEN, OTHER)] == [200, 200]
        yield site


def asked_again(site: Site, graph: Any) -> list[str]:
    """Return which tokens must be looked up after what happened so far."""
    graph.calls.clear()
    for token in (TOKEN, OTHER, TOKEN):
        assert site.send(token).status == 200
    return list(graph.calls)


def is_deaf(site: Site) -> bool:
    """Tell an adapter of which nothing is around the app once a request is in: facts stay for their ttl."""
    return "backend" in site.name


def chain_of(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None:
        found.append(error)
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = error.__cause__ or inner
    return found


def aborted(site: Site, error: Exception, path: str = "/stream") -> None:
    """Send a request whose body breaks; check that the server sees it break."""
    outcome = site.raises(error, path=path)
    assert (outcome.status, outcome.starts, outcome.ended) == (200, 1, False), outcome
    assert outcome.body == (b"one" if path == "/stream" else b"")
    assert error in chain_of(outcome.error)


@pytest.mark.parametrize("site", OF_ASGI, indirect=True)
def test_J10_after_the_first_chunk(site, graph):
    aborted(site, OAuthException("over", code=190, subcode=460))
    if not is_deaf(site):
        assert asked_again(site, graph) == [TOKEN]
    aborted(site, OAuthException("no such path", code=100))
    aborted(site, OAuthException("over", code=190, subcode=460, token_fingerprint="0123456789ab"))
    aborted(site, OAuthException("slower", code=4))
    assert asked_again(site, graph) == []
    whole = site.send(TOKEN, "/stream")
    assert (whole.status, whole.body, whole.ended, whole.error) == (200, b"onetwo", True, None)


@pytest.mark.parametrize("site", OF_ASGI, indirect=True)
def test_J10_before_the_first_chunk(site, graph):
    """The head is out, or it is not: a clean end of a 200 it never is."""
    outcome = site.raises(OAuthException("over", code=190, subcode=460), path="/late")
    assert (outcome.starts, outcome.ended, outcome.status) == (1, False, 200), outcome
    assert is_deaf(site) or asked_again(site, graph) == [TOKEN]


@pytest.mark.parametrize(
    "site", [name for name in OF_ASGI if name[:7] in {"starlet", "fastapi"}], indirect=True
)
def test_J10_in_a_background_task(site, graph):
    """The answer is whole by then."""
    outcome = site.raises(OAuthException("over", code=190, subcode=460), path="/task")
    assert (outcome.status, outcome.body, outcome.starts, outcome.ended) == (200, b"hello", 1, True)
    assert outcome.error is not None
    assert is_deaf(site) or asked_again(site, graph) == [TOKEN]


@pytest.mark.parametrize("site", OF_WSGI, indirect=True)
def test_J11_after_the_first_chunk(site, graph):
    for error in (
        OAuthException("over", code=190, subcode=460),
        OAuthException("no such path", code=100),
        OAuthException("slower", code=4),
    ):
        site.views.closed = 0
        outcome = site.raises(error, path="/stream")
        assert (outcome.status, outcome.body, outcome.ended) == (200, b"one", False)
        assert outcome.error is error  # the server has it, and can only cut the answer
        assert site.views.closed == 1
        assert asked_again(site, graph) == ([TOKEN] if error.code == 190 else [])
    whole = site.send(TOKEN, "/stream")
    assert (whole.status, whole.body, whole.ended) == (200, b"onetwo", True)


@pytest.mark.parametrize("site", OF_WSGI, indirect=True)
def test_J11_before_the_first_chunk(site, graph):
    outcome = site.raises(OAuthException("over", code=190, subcode=460), path="/late")
    assert site.views.closed == 1
    if site.name in BEHIND_A_DOOR:
        assert (outcome.status, outcome.reason, outcome.starts) == (401, "password_changed", 1)
        assert (outcome.error, outcome.ended) == (None, True)
        assert outcome.header("content-length") in {None, str(len(outcome.body))}
    else:  # who has no door has only the exception; nothing is out, so the server says 500
        assert isinstance(outcome.error, OAuthException)
        assert (outcome.starts, outcome.body) == (0, b"")
    assert asked_again(site, graph) == [TOKEN]


# -- step by step ----------------------------------------------------------------------------------------


def test_J11_start_response_gets_the_exception(guard, graph):
    """PEP 3333: a server raises it again if headers are out, else it may answer anew."""
    error = OAuthException("over", code=190, subcode=460)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "6")])
        yield from environ["tests.before"]
        raise error

    for before in ([], [b""], [b"one"]):
        server, infos = Server(), []

        def start_response(status: str, headers: Any, exc_info: Any = None, server: Any = server) -> Any:
            infos.append(exc_info and exc_info[1])  # noqa: B023
            return server.start_response(status, headers, exc_info)

        body = wsgi.FBTokenMiddleware(app, guard)(
            wsgi_environ(headers=BEARER, **{"tests.before": before}), start_response
        )
        if before == [b"one"]:
            server.write(next(body))
            with pytest.raises(OAuthException) as raised:
                next(body)
            assert raised.value is error
            assert server.sent == b"one"
        else:
            for chunk in body:
                server.write(chunk)
            answer = server.answer()
            assert (answer.status, answer.reason) == (401, "password_changed")
            assert answer.header("content-length") in {None, str(len(answer.body))}
        body.close()
        assert infos == [None, error]
        assert guard.peek(TOKEN) is None


@pytest.mark.parametrize("is_out", [False, True])
def test_J11_before_the_body_is_returned(guard, is_out):
    """The app has called start_response, and perhaps its ``write``, when Graph says so."""
    error = OAuthException("over", code=190, subcode=460)

    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [("Content-Length", "6")])
        if is_out:
            write(b"one")
        raise error

    server, environ = Server(), wsgi_environ(headers=BEARER)
    if is_out:
        with pytest.raises(OAuthException) as raised:
            server.serve(wsgi.FBTokenMiddleware(app, guard), environ)
        assert (raised.value, server.sent, len(server.started)) == (error, b"one", 1)
    else:
        answer = server.serve(wsgi.FBTokenMiddleware(app, guard), environ)
        assert (answer.status, answer.reason) == (401, "password_changed")
    assert guard.peek(TOKEN) is None


def test_J10_in_groups_and_causes(guard):
    """Task groups and frameworks wrap what they raise."""
    over = OAuthException("over", code=190, subcode=460)

    def caused(outer: Exception) -> Exception:
        outer.__cause__ = over
        return outer

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        raise scope["tests.error"]

    async def main() -> None:
        behind = asgi.FBTokenMiddleware(app, guard, policy=POLICY)
        for error, is_about_it in (
            (over, True),
            (caused(RuntimeError("started already")), True),
            (ExceptionGroup("tasks", [ValueError(), over]), True),
            (ExceptionGroup("tasks", [ExceptionGroup("more", [caused(KeyError("x"))])]), True),
            (ExceptionGroup("tasks", [ValueError()]), False),
            (RuntimeError("another"), False),
        ):
            await guard.acheck(TOKEN)
            sent: list[Any] = []

            async def send(message: Any, sent: list[Any] = sent) -> None:
                sent.append(message["type"])

            scope = http_scope("/x", headers=BEARER, **{"tests.error": error})
            with pytest.raises(type(error)) as raised:
                await behind(scope, asyncio.Future, send)  # type: ignore[arg-type]
            assert raised.value is error
            assert sent == ["http.response.start", "http.response.body"]
            assert (guard.peek(TOKEN) is None) is is_about_it, error

    asyncio.run(main())


# -- real servers ----------------------------------------------------------------------------------------


def ask(port: int, path: str, token: str) -> bytes:
    """Return every byte of the answer; the server ends the connection."""
    with Connection(port) as connection:
        lines = (
            f"GET {path} HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        )
        connection.send(lines.encode())
        return connection.rest()


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    if b"transfer-encoding: chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    return b"content-length: %d\r\n" % len(body) in head.lower() + b"\r\n"


def living(app: Any) -> Any:
    """Answer a server's lifespan for apps that know none."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await app(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{phase}"
            await send({"type": f"lifespan.{phase}.complete"})

    return serve


ON_UVICORN = ("asgi", "starlette inside-async", "starlette state-sync", "fastapi Depends-async")


@pytest.mark.parametrize("name", [*ON_UVICORN, "django-asgi middleware-async"])
def test_J10_on_uvicorn(options, graph, name):
    with served(name, options) as site, on_uvicorn(living(site.app)) as url:
        port = int(url.rpartition(":")[2])

        def over() -> None:
            raise OAuthException("over", code=190, subcode=460)

        for token in (TOKEN, OTHER):
            assert is_whole(whole := ask(port, "/stream", token))
            assert b"one" in whole
            assert b"two" in whole
        site.views.act = over
        cut = ask(port, "/stream", TOKEN)
        assert cut.startswith(b"HTTP/1.1 200")
        assert b"one" in cut
        assert not is_whole(cut)
        site.views.act = int
        graph.calls.clear()
        assert [b"hello" in ask(port, "/x", token) for token in (OTHER, TOKEN, OTHER)] == [True] * 3
        assert graph.calls == [TOKEN]


@contextmanager
def on_gunicorn(app: str, worker: str, variables: dict[str, str]) -> Iterator[tuple[int, Callable[[], str]]]:
    """Serve one of the streaming apps; give its port, and what tells all that it wrote."""
    words = (
        f"gunicorn tests.threats.streaming_app:{app} --workers 1 --no-control-socket --worker-class {worker}"
    )
    with tempfile.TemporaryFile("a+b") as log, socket.create_server((HOST, 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # inherited by connections
        process = subprocess.Popen(
            [sys.executable, "-m", *words.split(), "--bind", f"fd://{listener.fileno()}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={key: value for key, value in os.environ.items() if not key.startswith("FBGUARD_")}
            | variables,
            pass_fds=[listener.fileno()],
        )
        try:
            yield (
                listener.getsockname()[1],
                lambda: os.pread(log.fileno(), 10_000_000, 0).decode(errors="replace"),
            )
        finally:
            process.terminate()
            try:
                process.wait(STOPPING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.seek(0)
            print(log.read().decode(errors="replace"))  # pytest shows it beside what failed


@pytest.mark.parametrize(
    ("app", "worker"),
    [
        ("plain", "sync"),
        pytest.param("plain", "gthread", marks=pytest.mark.slow),
        pytest.param("flask_door", "sync", marks=pytest.mark.slow),
        pytest.param("flask_views", "sync", marks=pytest.mark.slow),
    ],
)
def test_J11_on_gunicorn(app, worker):
    sandbox = Sandbox()
    mine, other = (sandbox.issue_token(user_id=user, scopes=["email"]) for user in ("1001", "2002"))

    def look_ups() -> int:
        return [call.path for call in sandbox.calls].count("/v26.0/debug_token")

    with sandbox.serve() as graph:
        variables = {
            "FBGUARD_APP_ID": sandbox.app_id,
            "FBGUARD_APP_SECRET": sandbox.app_secret,
            "FBGUARD_GRAPH_URL": graph,
        }
        with on_gunicorn(app, worker, variables) as (port, log):
            for token in (mine, other):
                assert is_whole(whole := ask(port, "/stream", token)), log()
                assert b"one" in whole
                assert (b"1001" if token is mine else b"2002") in whole
            assert look_ups() == 2
            closed = log().count(CLOSED)
            assert closed == 2
            sandbox.change_password("1001")
            cut = ask(port, "/stream", mine)
            assert cut.startswith(b"HTTP/1.1 200")
            assert b"one" in cut
            assert not is_whole(cut)
            assert log().count(CLOSED) == 3
            assert b" 401 " in ask(port, "/x", mine)
            assert look_ups() == 3
            assert b" 200 " in ask(port, "/x", other)
            sandbox.change_password("2002")
            late = ask(port, "/late", other)
            assert late.startswith(b"HTTP/1.1 500" if app == "flask_views" else b"HTTP/1.1 401"), late
            assert is_whole(late)
            assert log().count(CLOSED) == 4
            assert b" 401 " in ask(port, "/x", other)
            assert look_ups() == 4
