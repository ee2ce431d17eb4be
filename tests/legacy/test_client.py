"""The client's side: what goes out, what the answers mean, and what nobody gets to see."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest

from fbguard.legacy import LegacyError, expire_session
from fbguard.legacy import client as client_module
from tests.legacy.calls import (
    API_KEY,
    ENDED,
    KEY,
    OLDER,
    SECRET,
    SESSION_SECRET,
    TOKEN,
    Request,
    Service,
    signature,
)
from tests.support import PACKAGE

LOOPBACK = "http://127.0.0.1:1/restserver.php"
ERROR = "<error_response><error_code>{code}</error_code><error_msg>{message}</error_msg></error_response>"


class FakeServer(httpx.BaseTransport):
    """Answers every call alike, and keeps what was asked."""

    def __init__(self, body: bytes | str = ENDED, status: int = 200, **headers: str) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.headers = headers
        self.requests: list[httpx.Request] = []
        self.closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        stream = httpx.ByteStream(self.body)
        return httpx.Response(self.status, headers=self.headers, stream=stream)

    def close(self) -> None:
        self.closed = True

    @property
    def form(self) -> dict[str, str]:
        (request,) = self.requests
        return dict(parse_qsl(request.content.decode("ascii"), strict_parsing=True))


class Failing(httpx.BaseTransport):
    def __init__(self, fault: BaseException) -> None:
        self.fault = fault
        self.calls = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        raise self.fault


def end(transport: httpx.BaseTransport | None = None, **options: Any) -> Any:
    return expire_session(API_KEY, SECRET, KEY, **({"transport": transport} | options))


def refused(transport: httpx.BaseTransport, **options: Any) -> LegacyError:
    with pytest.raises(LegacyError) as caught:
        end(transport, **options)
    return caught.value


# -- what goes out -------------------------------------------------------------------------------------


def test_one_post_with_everything_in_its_body():
    server = FakeServer()
    assert end(server) is True
    (request,) = server.requests
    assert (request.method, str(request.url)) == ("POST", "https://api.facebook.com/restserver.php")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept-encoding"] == "identity"
    form = server.form
    assert form.keys() == {"method", "api_key", "session_key", "call_id", "v", "format", "sig"}
    assert form["sig"] == signature(form, SECRET)
    assert {name: form[name] for name in ("method", "api_key", "session_key", "v", "format")} == {
        "method": "auth.expireSession", "api_key": API_KEY, "session_key": KEY, "v": "1.0", "format": "XML",
    }  # fmt: skip
    assert not server.closed


def test_a_call_is_numbered_by_the_time_as_php_did(monkeypatch):
    monkeypatch.setattr(client_module.time, "time_ns", lambda: 1_234_567_890_125_000_000)
    server = FakeServer("true")
    assert end(server, format="json") is True
    form = server.form
    assert (form["call_id"], form["format"]) == ("1234567890.125000000", "JSON")
    # As vector 1 of the dialect's tests, which names the method in its other form and cuts the zeros.
    cut = {**form, "call_id": "1234567890.125", "method": "facebook.auth.expireSession"}
    assert signature(cut, SECRET) == "618cc7e5621da6690ddb9d2123f645bd"


def test_calls_are_numbered_upwards():
    numbers = []
    for _ in range(20):
        server = FakeServer()
        end(server)
        numbers.append(float(server.form["call_id"]))
        time.sleep(0)
    assert numbers == sorted(numbers)


def test_a_session_secret_says_so():
    server = FakeServer()
    expire_session(API_KEY, SESSION_SECRET, KEY, ss=True, transport=server)
    assert server.form["ss"] == "1"
    assert server.form["sig"] == signature(server.form, SESSION_SECRET)


def test_letters_that_a_form_must_spell_out():
    key = "2,Ab+C/%&;#.3600.1259366400-1337"
    server = FakeServer()
    expire_session(API_KEY, SECRET, key, transport=server)
    assert server.form["session_key"] == key
    assert server.form["sig"] == signature(server.form, SECRET)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"url": "http://api.facebook.com/restserver.php"}, ValueError, "https"),
        ({"url": "ftp://api.facebook.com/"}, ValueError, "https"),
        ({"url": "https://user:pw@api.facebook.com/"}, ValueError, "user"),
        ({"url": "https://api.facebook.com/?a=1"}, ValueError, "query"),
        ({"format": "YAML"}, ValueError, "format"),
        ({"ss": 1}, TypeError, "ss"),
        ({"timeout": 0}, ValueError, "timeout"),
        ({"timeout": float("nan")}, ValueError, "timeout"),
    ],
)
def test_options_that_cannot_be(options, error, match):
    server = FakeServer()
    with pytest.raises(error, match=match):
        end(server, **options)
    assert server.requests == []


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("wrong", ["", "a b", "a\n", "k\u00e4", None, 5, ["x"]])
def test_values_that_cannot_be_sent(place, wrong):
    values: list[Any] = [API_KEY, SECRET, KEY]
    values[place] = wrong
    server = FakeServer()
    with pytest.raises((TypeError, ValueError), match=["api_key", "secret", "session_key"][place]) as caught:
        expire_session(*values, transport=server)
    assert server.requests == []
    assert shown(caught.value) == []


def test_plain_http_on_loopback_only():
    server = FakeServer()
    assert end(server, url=LOOPBACK) is True
    assert str(server.requests[0].url) == LOOPBACK


# -- what comes back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [ENDED, "true", "1"])
@pytest.mark.parametrize("kind", ["XML", "json"])
def test_success(body, kind):
    assert end(FakeServer(body), format=kind) is True


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize(
    "body",
    [
        ERROR.format(code=104, message="Incorrect signature"),
        '{"error_code":104,"error_msg":"Incorrect signature"}',
    ],
)
def test_errors_are_raised(body, status):
    error = refused(FakeServer(body, status))
    assert (error.code, error.message, str(error)) == (104, "Incorrect signature", "104: Incorrect signature")


@pytest.mark.parametrize(
    ("server", "code"),
    [
        (FakeServer("<html>down</html>"), 1),
        (FakeServer("false"), 1),
        (FakeServer(""), 1),
        (FakeServer("<html>down</html>", 503), 2),
        (FakeServer(ENDED, 500), 1),
        (FakeServer(b" " * 65_537 + ENDED.encode()), 1),
        (FakeServer(ENDED, **{"Content-Encoding": "gzip"}), 1),
        (FakeServer("", 302, Location="https://elsewhere.example/"), 1),
        (FakeServer(ENDED, 307, Location="https://elsewhere.example/"), 1),
    ],
)
def test_what_is_no_answer(server, code):
    assert refused(server).code == code
    assert len(server.requests) == 1  # not sent again, nor elsewhere


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError(f"{KEY} {SECRET}"),
        httpx.ReadTimeout(KEY),
        httpx.RemoteProtocolError(KEY),
        ssl.SSLError(KEY),
        RuntimeError(SECRET),
    ],
)
def test_no_answer_is_code_2_and_nothing_is_sent_again(fault):
    transport = Failing(fault)
    error = refused(transport)
    assert (error.code, transport.calls) == (2, 1)
    assert error.__cause__ is None
    assert error.__context__ is None


def test_what_is_no_fault_of_the_server_is_not_swallowed():
    with pytest.raises(KeyboardInterrupt):
        end(Failing(KeyboardInterrupt()))


class Drip(httpx.BaseTransport, httpx.SyncByteStream):
    """Sends a good answer letter by letter, a second each."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sent = 0

    def monotonic(self) -> float:
        return self.now

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=self)

    def __iter__(self) -> Iterator[bytes]:
        for letter in ENDED.encode():
            self.now += 1.0
            self.sent += 1
            yield bytes([letter])


def test_an_answer_in_drips_is_given_up(monkeypatch):
    drip = Drip()
    monkeypatch.setattr(client_module.time, "monotonic", drip.monotonic)
    assert refused(drip, timeout=5).code == 2
    assert drip.sent == 6


def test_a_stream_without_end_is_given_up():
    class Endless(httpx.BaseTransport, httpx.SyncByteStream):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return httpx.Response(200, stream=self)

        def __iter__(self) -> Iterator[bytes]:
            while True:
                yield b" " * 10_000

    assert refused(Endless()).code == 1


# -- both sides of this package ------------------------------------------------------------------------


class Bridge(httpx.BaseTransport):
    """Hands the client's calls to an endpoint."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        asked = Request(request.method, request.url.query.decode(), dict(request.headers), request.read())
        answer = asyncio.run(self.service.endpoint(asked))
        return httpx.Response(answer.status, headers=answer.headers, content=answer.body)


@pytest.mark.parametrize("kind", ["XML", "JSON"])
def test_the_client_and_the_endpoint_understand_each_other(kind):
    service = Service()
    bridge = Bridge(service)
    assert end(bridge, format=kind) is True
    assert expire_session(API_KEY, OLDER, KEY, format=kind, transport=bridge) is True
    assert expire_session(API_KEY, SESSION_SECRET, KEY, ss=True, transport=bridge, format=kind) is True
    assert expire_session(API_KEY, SECRET, TOKEN, transport=bridge, format=kind) is True
    assert service.ended == [TOKEN] * 4
    for values, code in (
        ((API_KEY, "wrong", KEY), 104),
        (("1", SECRET, KEY), 101),
        ((API_KEY, SECRET, KEY[:-1]), 102),
    ):
        with pytest.raises(LegacyError) as caught:
            expire_session(*values, transport=bridge, format=kind)
        assert caught.value.code == code
    assert len(service.ended) == 4


# -- what nobody gets to see ---------------------------------------------------------------------------


def shown(error: BaseException) -> list[str]:
    """Return which secrets stand in an exception or in the local variables of our frames."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame for frame in report.stack if frame.filename.startswith(PACKAGE)]
    assert ours
    text = repr([frame.locals for frame in ours]) + repr(error) + str(error) + repr(vars(error))
    return [word for word in (KEY, SECRET, TOKEN) if word in text]


FAULTS: dict[str, Callable[[], httpx.BaseTransport]] = {
    "echo in XML": lambda: FakeServer(ERROR.format(code=104, message=f"{KEY} and {SECRET}")),
    "echo in JSON": lambda: FakeServer('{"error_code":999,"error_msg":"' + KEY + '"}'),
    "echo in garbage": lambda: FakeServer(f"{KEY} {SECRET}"),
    "network": lambda: Failing(httpx.ConnectError(f"{KEY} {SECRET}")),
    "bug": lambda: Failing(RuntimeError(f"{KEY} {SECRET}")),
    "interrupted": lambda: Failing(KeyboardInterrupt()),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_secret_in_exceptions_and_logs(fault, caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises((LegacyError, KeyboardInterrupt)) as caught:
        end(FAULTS[fault]())
    assert shown(caught.value) == []
    logged = repr([vars(record) for record in caplog.records]) + caplog.text
    assert [word for word in (KEY, SECRET) if word in logged] == []


def test_a_message_in_which_something_stands_spelled_out_is_not_repeated():
    key = "2,AbCdEf__.3600.1259366400-1337"
    server = FakeServer(ERROR.format(code=5, message="no such 2%2CAbCdEf__.3600.1259366400-1337"))
    with pytest.raises(LegacyError) as caught:
        expire_session(API_KEY, SECRET, key, transport=server)
    assert (caught.value.code, caught.value.message) == (
        5,
        "An unknown error occurred. Please resubmit the request.",
    )


def test_a_message_is_one_short_line():
    error = refused(FakeServer(ERROR.format(code=5, message="a\nb\u202e" + "x" * 1000)))
    assert error.message.startswith("a b x")
    assert len(error.message) == 300
    assert refused(FakeServer('{"error_code":102}')).message == "Session key invalid or no longer valid"


def test_importing_it_is_quick():
    """Who only serves the call, or none, does without an HTTP client."""
    code = "import sys, fbguard.legacy; print([m for m in ('httpx', 'aiohttp') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
