"""The WSGI door, by PEP 3333."""

from __future__ import annotations

import io
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest

from fbguard import Guard, Policy, Refused, Requirement, Rule, current_token
from fbguard.wsgi import FBTokenMiddleware
from tests.support import TOKEN, Server, call_wsgi, wsgi_environ

BEARER = [("Authorization", f"Bearer {TOKEN}")]
PREFLIGHT = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "GET")]
PLAIN = [("Content-Type", "text/plain")]


def hello(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [*PLAIN, ("X-A", "1")])
    return [b"hello"]


def never(environ: Any, start_response: Any) -> Any:
    raise AssertionError("the app was entered")


# -- one request -----------------------------------------------------------------------------------


def test_the_apps_answer_goes_out_untouched(guard):
    server = Server()
    body = FBTokenMiddleware(hello, guard)(wsgi_environ(headers=BEARER), server.start_response)
    assert body == [b"hello"]
    assert server.started == [("200 OK", [*PLAIN, ("X-A", "1")])]


def test_a_refusal_reads_no_body(guard):
    environ = wsgi_environ(method="POST", CONTENT_LENGTH="5", **{"wsgi.input": None})
    assert call_wsgi(FBTokenMiddleware(never, guard), environ).status == 401


def test_the_headers_of_a_refusal(guard):
    server = Server()
    answer = server.serve(FBTokenMiddleware(never, guard), wsgi_environ())
    assert server.started[0][0] == "401 Unauthorized"
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("cache-control") == "no-store"
    assert answer.header("vary") == "Authorization, Accept, Accept-Language"
    assert answer.header("content-language") == "en"
    assert answer.header("x-content-type-options") == "nosniff"
    assert answer.challenge == 'Bearer realm="fbguard"'
    assert answer.header("retry-after") is None


def test_head_has_the_headers_of_get_and_no_body(guard):
    door = FBTokenMiddleware(never, guard)
    get, head = call_wsgi(door, wsgi_environ()), call_wsgi(door, wsgi_environ(method="HEAD"))
    assert head.body == b""
    assert (head.status, head.headers) == (get.status, get.headers)


@pytest.mark.parametrize("value", ["Bearer \xff\xfe", "B\x00", "Bearer a\x00"])
def test_bytes_that_are_no_text(guard, graph, value):
    answer = call_wsgi(FBTokenMiddleware(never, guard), wsgi_environ(HTTP_AUTHORIZATION=value))
    assert (answer.status, answer.reason, graph.calls) == (401, "malformed_token", [])


@pytest.mark.parametrize(
    ("script_name", "path_info", "status"),
    [
        ("", "/open", 200),
        ("/app", "/open", 200),
        ("/open", "", 401),
        ("/app", "/app/open", 401),
        ("", "", 401),
    ],
)
def test_only_path_info_counts(guard, script_name, path_info, status):
    door = FBTokenMiddleware(hello, guard, policy=Policy(Rule("/open", public=True)))
    more = {"SCRIPT_NAME": script_name, "REQUEST_URI": "/open", "RAW_URI": "/open", "QUERY_STRING": "/open"}
    environ = wsgi_environ(path_info, headers=[("X-Original-URL", "/open"), ("Host", "x/open?")], **more)
    environ["PATH_INFO"] = path_info  # the test helper would make "/" of an empty one
    assert call_wsgi(door, environ).status == status


@pytest.mark.parametrize(
    "path", ["/a//b", "/a/./b", "/..", "/a;x", "/a\\b", "/a\nb", "/\ufffd", "a", "/\xff", "/caf\xe9"]
)
def test_a_path_that_is_not_plain(guard, graph, path):
    environ = wsgi_environ("/", headers=BEARER)
    environ["PATH_INFO"] = path if "\ufffd" not in path else path.encode().decode("latin-1")
    policy = Policy(default=Requirement(optional=True))
    answer = call_wsgi(FBTokenMiddleware(never, guard, policy=policy), environ)
    assert (answer.status, answer.reason, graph.calls) == (400, "invalid_request", [])


def test_a_path_in_utf8(guard):
    door = FBTokenMiddleware(hello, guard, policy=Policy(Rule("/café/{dish}", public=True)))
    assert call_wsgi(door, wsgi_environ("/café/gâteau")).status == 200
    assert call_wsgi(door, wsgi_environ("/cafe/gâteau")).status == 401


def test_nothing_a_client_sends_sets_the_facts(guard):
    seen = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append((environ["fbguard.token"], current_token()))
        return hello(environ, start_response)

    headers = [(name, "1") for name in ("fbguard.token", "fb-token", "X-FB-User-Id", "fbguard-token")]
    door = FBTokenMiddleware(app, guard, policy=Policy(Rule("/", public=True)))
    assert call_wsgi(door, wsgi_environ(headers=headers, **{"fbguard.token": "from before"})).status == 200
    assert seen == [(None, None)]


def test_a_door_in_a_door(guard, graph):
    inner = FBTokenMiddleware(hello, guard)
    assert call_wsgi(FBTokenMiddleware(inner, guard), wsgi_environ(headers=BEARER)).status == 200
    assert graph.calls == [TOKEN]
    refusal = call_wsgi(FBTokenMiddleware(inner, guard), wsgi_environ())
    assert len(refusal.all("www-authenticate")) == 1


# -- bodies that are code --------------------------------------------------------------------------


class Stream:
    """A body that notes what the code in it sees, and when it is closed."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self.chunks = list(chunks)
        self.seen: list[str | None] = []
        self.closed = 0

    def __call__(self, environ: Any, start_response: Any) -> Stream:
        start_response("200 OK", PLAIN)
        return self

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        self.seen.append(current_token(required=True).user_id)
        if not self.chunks:
            raise StopIteration
        chunk = self.chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def close(self) -> None:
        self.closed += 1


def test_streaming_is_lazy_and_sees_the_facts(guard):
    stream, server = Stream(b"one", b"two"), Server()
    body = FBTokenMiddleware(stream, guard)(wsgi_environ(headers=BEARER), server.start_response)
    assert stream.seen == []
    chunks = iter(body)
    assert next(chunks) == b"one"
    assert stream.seen == ["1001"]
    assert list(chunks) == [b"two"]
    assert stream.seen == ["1001"] * 3
    body.close()
    assert stream.closed == 1
    assert current_token() is None


def test_the_context_is_gone_after_the_request(guard):
    door = FBTokenMiddleware(hello, guard)
    call_wsgi(door, wsgi_environ(headers=BEARER))
    assert current_token() is None
    with pytest.raises(RuntimeError, match="no fbguard door"):
        current_token(required=True)

    def broken(environ: Any, start_response: Any) -> Any:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_wsgi(FBTokenMiddleware(broken, guard), wsgi_environ(headers=BEARER))
    assert current_token() is None


def test_close_is_called_after_an_error_too(guard):
    stream = Stream(b"one", ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        call_wsgi(FBTokenMiddleware(stream, guard), wsgi_environ(headers=BEARER))
    assert stream.closed == 1
    assert current_token() is None


def test_a_body_without_close(guard):
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        return map(bytes, [b"one", b"two"])

    assert call_wsgi(FBTokenMiddleware(app, guard), wsgi_environ(headers=BEARER)).body == b"onetwo"


def test_close_may_raise(guard):
    class Broken(Stream):
        def close(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_wsgi(FBTokenMiddleware(Broken(b"x"), guard), wsgi_environ(headers=BEARER))
    assert current_token() is None


def test_a_files_own_wrapper_stays_what_it_is(guard):
    """Servers send a body of their own ``wsgi.file_wrapper`` by the kernel."""
    wrapper = FileWrapper(io.BytesIO(b"a file"))

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        return wrapper

    environ = wsgi_environ(headers=BEARER, **{"wsgi.file_wrapper": FileWrapper})
    assert FBTokenMiddleware(app, guard)(environ, Server().start_response) is wrapper
    assert current_token() is None


def test_write(guard):
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", PLAIN)(b"first ")
        return [b"second"]

    assert call_wsgi(FBTokenMiddleware(app, guard), wsgi_environ(headers=BEARER)).body == b"first second"


# -- refusals of the app ---------------------------------------------------------------------------


def test_a_refusal_before_start_response(guard):
    def app(environ: Any, start_response: Any) -> Any:
        guard.check("a|b")

    answer = call_wsgi(FBTokenMiddleware(app, guard, policy=None), wsgi_environ())
    assert (answer.status, answer.reason) == (401, "malformed_token")
    assert current_token() is None


def test_a_refusal_after_start_response_and_before_the_headers_are_out(guard):
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Set-Cookie", "a=1")])
        guard.check(None)

    server = Server()
    answer = server.serve(FBTokenMiddleware(app, guard, policy=None), wsgi_environ())
    assert [status for status, _ in server.started] == ["200 OK", "401 Unauthorized"]
    assert (answer.reason, answer.header("set-cookie")) == ("missing_token", None)


def test_a_refusal_after_write_is_raised(guard):
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)(b"half")
        guard.check(None)

    server = Server()
    with pytest.raises(Refused):
        server.serve(FBTokenMiddleware(app, guard, policy=None), wsgi_environ())
    assert server.sent == b"half"
    assert current_token() is None


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_refusal_in_a_generator_before_the_first_chunk(guard, method):
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        guard.check(None)
        yield b"never"

    environ = wsgi_environ(method=method)
    answer = call_wsgi(FBTokenMiddleware(app, guard, policy=None), environ)
    assert answer.status == 401
    assert (answer.body == b"") == (method == "HEAD")


def test_a_refusal_in_a_generator_before_start_response(guard):
    def app(environ: Any, start_response: Any) -> Any:
        guard.check(None)
        start_response("200 OK", PLAIN)
        yield b"never"

    assert call_wsgi(FBTokenMiddleware(app, guard, policy=None), wsgi_environ()).reason == "missing_token"


def test_a_refusal_in_a_generator_after_empty_chunks(guard):
    """PEP 3333: headers go out with the first chunk that is not empty."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        yield b""
        guard.check(None)

    assert call_wsgi(FBTokenMiddleware(app, guard, policy=None), wsgi_environ()).reason == "missing_token"


def test_a_refusal_in_a_generator_after_the_headers(guard):
    closed = []

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        try:
            yield b"half"
            guard.check(None)
        finally:
            closed.append(1)

    server = Server()
    with pytest.raises(Refused):
        server.serve(FBTokenMiddleware(app, guard, policy=None), wsgi_environ())
    assert (server.sent, closed) == (b"half", [1])
    assert current_token() is None


def test_a_refusal_when_the_iteration_begins(guard):
    class Body:
        def __iter__(self) -> Any:
            guard.check(None)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", PLAIN)
        return Body()

    assert call_wsgi(FBTokenMiddleware(app, guard, policy=None), wsgi_environ()).reason == "missing_token"
    assert current_token() is None


# -- the letter of the law -------------------------------------------------------------------------


def generated(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", PLAIN)
    yield b"hello"


def refused(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", PLAIN)
    raise AssertionError if current_token() is None else _refusal()


def _refusal() -> Refused:
    with Guard(app_id="1", app_secret="abc") as guard, pytest.raises(Refused) as caught:
        guard.check(None)
    return caught.value


@pytest.mark.parametrize("app", [hello, generated, refused, Stream(b"x")])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
@pytest.mark.parametrize("headers", [BEARER, [], PREFLIGHT], ids=["token", "none", "preflight"])
def test_the_validator_of_the_standard_library(guard, app, method, headers):
    """Around the door it checks us as an app, inside it checks us as a server."""
    if headers == PREFLIGHT and app in (refused,):
        headers = [*PREFLIGHT, *BEARER]
    if headers == PREFLIGHT and method == "OPTIONS" and isinstance(app, Stream):
        app = generated  # whose code wants no facts
    validated = validator(FBTokenMiddleware(validator(app), guard))
    environ = {
        key: value
        for key, value in wsgi_environ(method=method, headers=headers).items()
        if key not in {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"}
    }
    if method == "POST":
        environ["CONTENT_LENGTH"] = "0"
    answer = call_wsgi(validated, environ)
    assert answer.status in {200, 204, 401}
