"""Rows N01 to N10: the legacy call Auth.expireSession, on both sides of it."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbguard.core.errors import StoreUnavailable
from fbguard.core.secret import Secret
from fbguard.facebook import rest
from fbguard.facebook.rest_answers import MAX_ANSWER, UNREADABLE, failure, failure_in, xml_text
from fbguard.legacy import LegacyError, expire_session
from tests.legacy.calls import (
    API_KEY,
    ENDED,
    FORM,
    KEY,
    SECRET,
    SESSION_SECRET,
    TOKEN,
    Request,
    Service,
    code_of,
    get,
    parameters,
    post,
    signature,
)
from tests.support import PATIENCE

VICTIMS_KEY = "aaaabbbbccccddddeeeeffff-42"
VICTIMS_TOKEN = "EAABvictimToken0123456789"


@pytest.fixture
def service() -> Service:
    return Service()


# -- N01 -----------------------------------------------------------------------------------------------


def signed_text(sent: dict[str, str]) -> str:
    return "".join(f"{name}={sent[name]}" for name in sorted(sent) if name != "sig")


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        # What was signed, and another reading of the same text.
        ({"ss": "1"}, {"session_key": f"{KEY}ss=1", "ss": None}),
        ({"format": "XML"}, {"api_key": f"{API_KEY}format=XML", "format": None}),
        ({"callback": "x"}, {"api_key": f"{API_KEY}callback=x", "callback": None}),
        ({"call_id": "1", "callback": "x"}, {"call_id": "1callback=x", "callback": None}),
        ({"callback": "x", "format": "XML"}, {"callback": "xformat=XML", "format": None}),
        ({}, {"method": f"auth.expireSessionsession_key={KEY}", "session_key": None}),
        ({}, {"session_key": f"{KEY}v=1.0", "v": None}),
        ({}, {"": parameters()["api_key"], "api_key": None}),
    ],
)
@pytest.mark.parametrize("secret", [SECRET, SESSION_SECRET])
def test_N01_concatenation_ambiguity(service, signed, sent, secret):
    ours = parameters(secret, **signed)
    forged = {name: value for name, value in {**ours, **sent}.items() if value is not None}
    if "" not in sent:
        assert signed_text(forged) == signed_text(ours)
        assert forged["sig"] == signature(forged, secret)
    answer = service.ask(post(forged))
    assert answer.status == 400 or code_of(answer) in {3, 100, 101, 102, 104}
    assert service.ended == []


@pytest.mark.parametrize(
    "request_",
    [
        post({**parameters(), "note": ""}),
        post(parameters(note="")),
        post(parameters(callback="cb&1", note="äöü =+/")),  # a signature of the platform's vectors
        Request("POST", "session_key=" + KEY, FORM, post(parameters()).body),
        Request("POST", "", FORM, post(parameters()).body + b"&v=1.0"),
        Request("POST", "sig=" + "0" * 32, FORM, post(parameters()).body),
    ],
)
def test_N01_an_unknown_or_repeated_parameter_is_104(service, request_):
    assert code_of(service.ask(request_)) == 104
    assert service.ended == []


NAMES = ["method", "api_key", "session_key", "v", "call_id", "format", "callback", "ss"]
PIECES = st.lists(
    st.sampled_from(["a", "1", ".", "-", "=", "&", "|", "v", "s", KEY, *(f"{name}=" for name in NAMES)])
    | st.sampled_from(["ss=1", "v=1.0", "call_id=1", "callback=cb", "format=XML"])
    | st.just(f"session_key={VICTIMS_KEY}"),
    max_size=5,
).map("".join)  # fmt: skip


def value(good: str) -> st.SearchStrategy[str]:
    return st.just(good) | st.builds(str.__add__, st.just(good), PIECES) | PIECES


CALLS = st.fixed_dictionaries(
    {
        "method": value("auth.expireSession"),
        "api_key": value(API_KEY),
        "session_key": value(KEY),
        "v": value("1.0"),
    },
    optional={
        "call_id": value("1"), "format": value("JSON"), "callback": value("cb"), "ss": value("1"),
    },
)  # fmt: skip


def splits(text: str) -> list[dict[str, str]]:
    """Return every reading of a text as names of the list with values, in the order of a signature."""

    def read(start: int, last: str) -> Iterator[list[tuple[str, str]]]:
        for name in NAMES:
            if name > last and text.startswith(f"{name}=", start):
                begin = start + len(name) + 1
                yield [(name, text[begin:])]
                for end in range(begin, len(text)):
                    for rest_ in read(end, name):
                        yield [(name, text[begin:end]), *rest_]

    return [dict(reading) for reading in islice(read(0, ""), 2000)]


@settings(max_examples=200, deadline=None)
@given(CALLS)
def test_N01_no_split_of_the_parameters_keeps_a_signature_valid(signed):
    """Of all readings of a text that somebody got signed one at most is taken."""
    text = signed_text(signed)
    readings = splits(text)
    assert signed in readings or len(readings) == 2000
    taken = [one for one in [signed, *readings] if is_taken(one)]
    assert all(one == taken[0] for one in taken)
    service = Service()
    for other in [*taken[:1], *readings[:20]]:
        service.ended.clear()
        sent = {**other, "sig": hashlib.md5((text + SECRET).encode()).hexdigest()}
        service.ask(post(sent))
        if service.ended:
            assert other == taken[0]


def is_taken(sent: dict[str, str]) -> bool:
    """Tell whether the endpoint looks at the signature of such a call at all."""
    boxed = {name: Secret(value) for name, value in {**sent, "sig": "0" * 32}.items()}
    return rest.Call.of(boxed.items(), ()).fault is None


@settings(max_examples=400, deadline=None)
@given(CALLS, CALLS)
def test_N01_two_calls_that_are_taken_are_never_signed_alike(one, other):
    if one != other and is_taken(one) and is_taken(other):
        assert signed_text(one) != signed_text(other)


# -- N02 -----------------------------------------------------------------------------------------------


def test_N02_length_extension_or_collision_opens_nothing_else(service):
    """The secret stands last, so nothing can be appended; and a signature is good for one call only."""
    sent = parameters()
    for more in ({"z": "1"}, {"v": "1.0\x80"}, {"v": "1.0z"}):
        assert service.code(post({**sent, **more})) in {100, 104}
    for method in ("auth.logout", "users.getInfo", "facebook.users.getInfo", "batch.run"):
        assert service.code(post(parameters(method=method))) == 3
    assert service.ended == []


def test_N02_the_dialect_is_off_by_default():
    code = "import sys, fbguard, fbguard.asgi; print([m for m in sys.modules if 'legacy.endpoint' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


# -- N03 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("send", [post, get])
def test_N03_victims_session(service, send):
    service.registry.register(Secret(VICTIMS_KEY), Secret(VICTIMS_TOKEN), Secret("their-own-secret"))
    for key in (VICTIMS_KEY, VICTIMS_TOKEN, TOKEN):
        sent = parameters(SESSION_SECRET, session_key=key, ss="1")
        assert service.code(send(sent)) == 104
    unsaid = parameters(SESSION_SECRET, session_key=VICTIMS_KEY)
    assert service.code(send(unsaid)) == 104
    assert service.ended == []


# -- N04 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call_id", [None, "1170813376.3544"])
def test_N04_replay(service, call_id):
    """The same request twice has the same answer and no other effect; an older one has none."""
    sent = post(parameters(call_id=call_id))
    answers = [service.ask(sent) for _ in range(3)]
    assert {answer.body.decode() for answer in answers} == {ENDED}
    assert set(service.ended) == {TOKEN}
    ended = len(service.ended)
    if call_id is not None:
        assert code_of(service.post(call_id="1170813376.3543")) == 103
        service.registry.register(Secret(KEY), Secret("a later token of the same session key"))
        assert service.code(sent) == 103
        assert len(service.ended) == ended


# -- N05 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (post(parameters(api_key="f" * 32)), 101),
        (post(parameters("wrong")), 104),
        (post({**parameters(), "sig": signature(parameters(), SECRET).upper()}), 104),
        (post(parameters() | {"sig": ""}), 104),
        (post(parameters(v=None)), 100),
        (post(parameters(v="2.0")), 100),
        (post(parameters(format="YAML")), 100),
        (post(parameters(method=None)), 3),
        (post(parameters(session_key=None)), 102),
        (post({}), 3),
        (get({}), 3),
    ],
)
def test_N05_errors(service, request_, code):
    assert code_of(service.ask(request_)) == code
    assert service.ended == []


def test_N05_a_wrong_key_and_a_wrong_signature_cost_the_same_work(service, monkeypatch):
    """The time of each is that of the same steps, whatever is wrong: no clock is needed to see it."""
    steps: list[str] = []
    sign, compare = rest.sign, service.endpoint.__class__._is_signed.__globals__["hmac"].compare_digest
    monkeypatch.setattr(rest, "sign", lambda *args: steps.append("sign") or sign(*args))
    monkeypatch.setattr(
        "fbguard.legacy.endpoint.hmac.compare_digest", lambda *args: steps.append("compare") or compare(*args)
    )
    seen = []
    for sent in (
        parameters(api_key="f" * 32),
        parameters("wrong"),
        parameters("wrong", api_key="f" * 32),
        parameters(),
    ):
        steps.clear()
        service.ask(post(sent))
        seen.append(sorted(steps))
    assert seen == [["compare", "compare", "compare", "sign", "sign"]] * 4


def test_N05_a_store_that_is_away_is_error_2(service):
    service.sessions.fault = StoreUnavailable()
    assert code_of(service.post()) == 2


# -- N06 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["XML", "JSON"])
@pytest.mark.parametrize(
    "callback",
    [
        "<script>alert(1)</script>", "a;alert(1)//", "a\u2028b", "cb\u00e9", "a" * 65, "a" * 10_240, "1a",
        ".a", "", "a b", "a(", "a[0]", "a\n", "a=b",
        "CWSMIKI0hCD0Up0IZUnnnnnnnnnnnnnnnnnnnUU5nnnnnn3Snn7iiudIbEAtGDDDDDDD",  # the start of a Flash file
    ],
)  # fmt: skip
def test_N06_jsonp_callback(service, callback, kind):
    answer = service.post(callback=callback, format=kind)
    assert answer.status == 400
    assert dict(answer.headers)["X-Content-Type-Options"] == "nosniff"
    assert "javascript" not in dict(answer.headers)["Content-Type"]
    assert not callback or callback not in answer.body.decode()
    assert service.ended == []


@pytest.mark.parametrize("callback", ["a", "_", "$", "jQuery.cb_1", "a" * 64])
def test_N06_a_plain_name_is_called_as_a_script_and_as_nothing_else(service, callback):
    answer = service.post(callback=callback, format="JSON")
    assert answer.body.decode() == f"/**/{callback}(true);"
    headers = dict(answer.headers)
    assert headers["Content-Type"] == "application/javascript; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    refused = service.post("wrong", callback=callback, format="JSON")
    assert refused.status == 200
    text = refused.body.decode()
    assert text.startswith(f"/**/{callback}({{")
    assert json.loads(text[len(callback) + 5 : -2])["error_code"] == 104


# -- N07 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [SECRET, "wrong"])
def test_N07_callback_with_xml(service, secret):
    answer = service.post(secret, callback="cb")
    text = answer.body.decode("ascii")
    assert text.startswith('/**/cb("')
    assert text.endswith('");')
    inside = text[len("/**/cb(") : -2]
    assert "<" not in inside
    assert inside.count('"') == 2 + inside.count('\\"')
    document = json.loads(inside)
    assert document == service.post(secret).body.decode() or "error_response" in document
    assert ET.fromstring(document).tag.startswith("{http://api.facebook.com/1.0/}")
    assert dict(answer.headers)["Content-Type"] == "application/javascript; charset=utf-8"


# -- N08 -----------------------------------------------------------------------------------------------

NASTY = "&<>\"']]>\x0b\x00\ud800\ufffe"


def test_N08_xml_output(service):
    assert ET.fromstring(f'<a b="{xml_text(NASTY)}">{xml_text(NASTY)}</a>').text == "&<>\"']]>" + "\ufffd" * 4
    call = rest.Call.of([("format", Secret(NASTY)), ("v", Secret(NASTY)), ("method", Secret(NASTY))], ())
    document = ET.fromstring(failure(call, 100, message=NASTY).body)
    assert document[1].text == "&<>\"']]>" + "\ufffd" * 4
    for name in ("method", "v", "format", "ss", "call_id", "api_key", "session_key", "sig", NASTY[:5]):
        body = service.ask(post({**parameters(), name: NASTY[:-2]})).body
        ET.fromstring(body)
        assert b"]]&gt;" not in body  # not even escaped
    assert service.ended == []


# -- N09 -----------------------------------------------------------------------------------------------

BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {two} "{f"&{one};" * 10}">' for one, two in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "before",
    [
        "<!DOCTYPE auth_expireSession_response>",
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE a PUBLIC "x" "http://127.0.0.1:1/dtd">',
        BOMB + "]>",
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "http://127.0.0.1:1/"> %p;]>',
    ],
)
def test_N09_xml_input(before):
    started = time.monotonic()
    for root in ("<auth_expireSession_response>1", "<auth_expireSession_response>&i;"):
        body = f"{before}{root}</auth_expireSession_response>".encode()
        assert failure_in(200, body) == UNREADABLE
        assert failure_in(200, b'<?xml version="1.0"?>' + body) == UNREADABLE
        transport = httpx.MockTransport(lambda _request, body=body: httpx.Response(200, content=body))
        with pytest.raises(LegacyError) as caught:
            expire_session(API_KEY, SECRET, KEY, transport=transport)
        assert caught.value.code == 1
    assert time.monotonic() - started < PATIENCE


def test_N09_an_entity_without_a_doctype_and_an_endless_answer():
    assert failure_in(200, b"<auth_expireSession_response>&x;1</auth_expireSession_response>") == UNREADABLE
    long = httpx.MockTransport(
        lambda _request: httpx.Response(200, content=b" " * MAX_ANSWER + ENDED.encode())
    )
    with pytest.raises(LegacyError) as caught:
        expire_session(API_KEY, SECRET, KEY, transport=long)
    assert caught.value.code == 1


# -- N10 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "expected"), [(None, ENDED), ("XML", ENDED), ("json", "true")])
def test_N10_success_effect(service, kind, expected):
    """The session is ended when the answer is there, and not a moment later."""

    async def main() -> None:
        started, may_end = asyncio.Event(), asyncio.Event()

        async def slow(token: Secret) -> None:
            started.set()
            await may_end.wait()
            service.ended.append(token.reveal())

        service.sessions.expire = slow
        asked = asyncio.create_task(service.endpoint(post(parameters(format=kind))))
        await asyncio.wait_for(started.wait(), PATIENCE)
        for _ in range(5):
            await asyncio.sleep(0)
        assert not asked.done()
        assert service.ended == []
        may_end.set()
        answer = await asyncio.wait_for(asked, PATIENCE)
        assert service.ended == [TOKEN]
        assert answer.body.decode() == expected

    asyncio.run(main())


# -- a client that was written from the page of 2009 alone ---------------------------------------------


class ClientOf2009:
    """What the page says, and nothing of this package."""

    def __init__(self, host: str, api_key: str, secret: str) -> None:
        self.host, self.api_key, self.secret = host, api_key, secret

    def call(self, session_key: str, **more: str) -> str:
        params = {"method": "auth.expireSession", "api_key": self.api_key, "session_key": session_key}
        params |= {"v": "1.0", "call_id": repr(time.time()), **more}
        text = "".join(f"{key}={params[key]}" for key in sorted(params))
        params["sig"] = hashlib.md5((text + self.secret).encode("utf-8")).hexdigest()
        connection = http.client.HTTPConnection(self.host, timeout=PATIENCE)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        with contextlib.closing(connection):
            connection.request("POST", "/restserver.php", urlencode(params), headers)
            return connection.getresponse().read().decode("utf-8")

    def expire_session(self, session_key: str, **more: str) -> str:
        root = ET.fromstring(self.call(session_key, **more))
        error = root.find("{http://api.facebook.com/1.0/}error_code")
        if error is not None:
            raise RuntimeError(error.text)
        assert root.text is not None
        return root.text


@contextlib.contextmanager
def served(service: Service) -> Iterator[str]:
    """Serve an endpoint on loopback; yields host and port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.path.partition("?")[2]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = service.ask(Request("POST", query, headers, body))
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(PATIENCE)


def test_a_client_that_knows_only_the_page_of_2009_ends_a_session(service):
    with served(service) as host:
        assert ClientOf2009(host, API_KEY, SECRET).expire_session(KEY) == "1"
        assert service.ended == [TOKEN]
        assert ClientOf2009(host, API_KEY, SESSION_SECRET).expire_session(KEY, ss="1") == "1"
        assert ClientOf2009(host, API_KEY, SECRET).call(KEY, format="JSON", callback="cb") == "/**/cb(true);"
        with pytest.raises(RuntimeError, match="104"):
            ClientOf2009(host, API_KEY, "wrong").expire_session(KEY)
        with pytest.raises(RuntimeError, match="101"):
            ClientOf2009(host, "f" * 32, SECRET).expire_session(KEY)
        url = f"http://{host}/restserver.php"
        assert expire_session(API_KEY, SECRET, KEY, url=url) is True
    assert set(service.ended) == {TOKEN}
