"""Bodies made while they are sent: they see their request, report, and are closed once."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from flask import Flask, Response, send_file
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

from fbguard import OAuthException, current_token, require_fb_token, wsgi
from fbguard.context import inject
from fbguard.core.carrier import carrier_of_request
from fbguard.core.secret import Secret
from fbguard.streams import SeeingBody, seeing_body
from tests.integrations.flask_apps import PLACES
from tests.integrations.graph_errors import flask_app, send_asgi
from tests.support import TOKEN, Server, call_wsgi, http_scope, wsgi_environ

BEARER = [("Authorization", f"Bearer {TOKEN}")]


def over() -> OAuthException:
    return OAuthException("over", code=190, subcode=460)


@pytest.fixture
def carrier(guard) -> dict[str, Any]:
    environ = wsgi_environ()
    inject(environ, guard, guard.check(TOKEN), token=Secret(TOKEN))
    return environ


def user() -> str:
    return current_token(required=True).user_id or ""


def chunks(*errors: Exception) -> Iterator[str]:
    for _ in range(2):
        yield user()
    for error in errors:
        raise error


async def achunks(*errors: Exception) -> AsyncIterator[str]:
    for chunk in chunks(*errors):
        await asyncio.sleep(0)
        yield chunk


async def _all(body: AsyncIterator[str]) -> list[str]:
    read: list[str] = []
    try:
        async for chunk in body:
            read.append(chunk)
            assert carrier_of_request.get() is None
    except Exception as error:
        read.append(type(error).__name__)
    return read


def _read(body: Iterator[str]) -> list[str]:
    read: list[str] = []
    try:
        for chunk in body:
            read.append(chunk)
            assert carrier_of_request.get() is None
    except Exception as error:
        read.append(type(error).__name__)
    return read


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("errors", "known"),
    [
        ((), True),
        ((over(),), False),
        ((ValueError(),), True),
        ((OAuthException("x", code=100),), True),
        ((OAuthException("x", code=4),), True),
        ((ExceptionGroup("tasks", [over()]),), False),
    ],
)
def test_the_chunks_see_their_request(carrier, guard, is_async, errors, known):
    if is_async:
        read = asyncio.run(_all(seeing_body(achunks(*errors), carrier)))
    else:
        read = _read(SeeingBody(chunks(*errors), carrier))
    assert read == ["1001", "1001", *(type(error).__name__ for error in errors)]
    assert (guard.peek(TOKEN) is not None) is known
    assert carrier_of_request.get() is None


@pytest.mark.parametrize("read", [0, 1, 2])
def test_close_is_passed_on_once_with_its_request_in_sight(carrier, read):
    closed: list[str] = []
    body = SeeingBody(chunks(), carrier, lambda: closed.append(user()))
    for _ in range(read):
        next(body)
    assert closed == []
    body.close()
    assert closed == ["1001"]
    SeeingBody(chunks(), carrier).close()  # with nothing to close


class Body:
    """What a view streams; counts."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.begun = 0

    def __iter__(self) -> Iterator[bytes]:
        self.begun += 1
        for _ in range(2):
            yield user().encode()

    def close(self) -> None:
        self.closed.append(user())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_close_in_flask(guard, place, steps):
    """However far the server gets; 0 is a client that is gone before the first chunk."""
    body, app = Body(), Flask("streams")
    app.add_url_rule("/", "view", require_fb_token(lambda: Response(body)))
    site, server = flask_app(place, app, guard, policy=None), Server()
    sent = site(wsgi_environ(headers=BEARER), server.start_response)
    if steps:
        read = [chunk for _, chunk in zip(range(steps), iter(sent), strict=False)]
        assert read == [b"1001"] * min(steps, 2)
    sent.close()
    assert body.closed == ["1001"]
    assert body.begun <= 1
    assert carrier_of_request.get() is None


@pytest.mark.parametrize("policy", [True, False])
def test_close_at_a_plain_door(guard, policy):
    body = Body()

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return body

    door = wsgi.FBTokenMiddleware(app, guard)
    sent = door(wsgi_environ(headers=BEARER), Server().start_response)
    if policy:
        assert list(sent) == [b"1001"] * 2
    sent.close()  # type: ignore[attr-defined]
    assert body.closed == ["1001"]


# -- files -----------------------------------------------------------------------------------------------


class Wrapper:
    """A server's fast way for files."""

    def __init__(self, file: Any, size: int = 8192) -> None:
        self.file = file
        self.close = file.close

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.file)


@pytest.mark.parametrize("place", PLACES)
def test_a_file_of_flask_keeps_the_servers_fast_way(guard, place):
    app, file = Flask("files"), io.BytesIO(b"a file")
    made: list[Response] = []

    def view() -> Response:
        made.append(send_file(file, mimetype="text/plain"))
        return made[0]

    app.add_url_rule("/", "view", require_fb_token(view))
    site = flask_app(place, app, guard, policy=None)
    answer = call_wsgi(site, wsgi_environ(headers=BEARER, **{"wsgi.file_wrapper": Wrapper}))
    assert (answer.status, answer.body) == (200, b"a file")
    assert made[0].direct_passthrough
    assert isinstance(made[0].response, Wrapper)
    assert file.closed


def test_a_file_wrapper_goes_through_a_plain_door(guard):
    given = Wrapper(io.BytesIO(b"a file"))

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return given

    environ = wsgi_environ(headers=BEARER, **{"wsgi.file_wrapper": Wrapper})
    assert wsgi.FBTokenMiddleware(app, guard)(environ, Server().start_response) is given


def test_a_file_of_starlette(guard, tmp_path):
    (tmp_path / "file").write_bytes(b"a file")
    made: list[FileResponse] = []

    @require_fb_token(guard=guard)
    async def view(request: Any) -> FileResponse:
        made.append(FileResponse(tmp_path / "file"))
        return made[0]

    app = Starlette(routes=[Route("/", view)])
    outcome = asyncio.run(send_asgi(app, http_scope(headers=BEARER)))
    assert (outcome.status, outcome.body, outcome.error) == (200, b"a file", None)
    assert not hasattr(made[0], "body_iterator")
