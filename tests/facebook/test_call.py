"""The token that a call of Graph names among its parameters, in every way and of every client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import httpx2
import pytest

from fbguard.core.secret import Secret
from fbguard.facebook.call import UNREADABLE, named_by
from tests.facebook.graph_calls import ME, PAGE_TOKEN, PreparedRequest

FORM, JSON, MULTIPART = "application/x-www-form-urlencoded", "application/json", "multipart/form-data"
PAGE = Secret(PAGE_TOKEN)

both_libraries = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


def posted(library: Any, **more: Any) -> Any:
    return library.Request("POST", ME, **more)


def with_body(body: object, kind: object) -> PreparedRequest:
    """Return a request of requests."""
    request = PreparedRequest(ME, httpx.Headers(), body)
    request.headers = {"Content-Type": kind}  # type: ignore[assignment]
    return request


def part(name: str, value: str = PAGE_TOKEN) -> bytes:
    lines = ("--x", f"Content-Disposition: form-data; name={name}", "", value, "--x--", "")
    return "\r\n".join(lines).encode()


@both_libraries
@pytest.mark.parametrize(
    "more",
    [
        {"params": {"access_token": PAGE_TOKEN}},
        {"data": {"message": "a b", "access_token": PAGE_TOKEN}},
        {"json": {"message": "a b", "access_token": PAGE_TOKEN}},
        {"json": {"access_token": PAGE_TOKEN, "more": {"access_token": "another"}}},
        {"content": json.dumps({"access_token": PAGE_TOKEN}), "headers": {"Content-Type": f"{JSON}; x=y"}},
        {"content": json.dumps({"access_token": PAGE_TOKEN}), "headers": {"Content-Type": JSON.upper()}},
        {"data": {"access_token": PAGE_TOKEN}, "files": {"source": b"bytes"}},
        {"data": {"access_token": PAGE_TOKEN.encode()}, "files": {"source": b"bytes"}},
    ],
)
def test_a_token_that_is_named(library, more):
    assert named_by(posted(library, **more)) == PAGE


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (f"a=b&access_token={PAGE_TOKEN}", FORM),
        (f"a=b&access_token={PAGE_TOKEN}".encode(), FORM.encode()),
        (json.dumps({"access_token": PAGE_TOKEN}), JSON),
        (json.dumps({"access_token": PAGE_TOKEN}).encode(), JSON.encode()),
    ],
)
def test_a_token_that_is_named_by_requests(body, kind):
    """Which takes the values of headers in bytes, too."""
    assert named_by(with_body(body, kind)) == PAGE


@both_libraries
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"params": {"access_token": ""}},
        {"params": {"input_token": PAGE_TOKEN}},
        {"data": {"access_token": ""}},
        {"json": {"access_token": ""}},
        {"json": {"access_token": None}},
        {"json": {"more": {"access_token": PAGE_TOKEN}}},
        {"json": [{"access_token": PAGE_TOKEN}]},
        {"json": "access_token"},
        {"headers": {"Content-Type": JSON}},
        {"headers": {"Content-Type": FORM}},
        {"content": " \n", "headers": {"Content-Type": JSON}},
        {"content": json.dumps({"access_token": PAGE_TOKEN}), "headers": {"Content-Type": "text/plain"}},
        {"content": iter([b"a video"]), "headers": {"Content-Type": "video/mp4"}},
        {"data": {"message": "access_token"}, "files": {"source": b'name="access_token"'}},
        {"data": {"access_token": ""}, "files": {"source": b"bytes"}},
    ],
)
def test_nobodys_token(library, more):
    assert named_by(posted(library, **more)) is None


@pytest.mark.parametrize("kind", [FORM, JSON, MULTIPART])
def test_no_body_names_nobody(kind):
    assert named_by(with_body(None, kind)) is None
    assert named_by(with_body(b"", kind)) is None


@both_libraries
@pytest.mark.parametrize("kind", [FORM, JSON, MULTIPART, f"{MULTIPART}; boundary=x"])
def test_a_stream_is_not_read(library, kind):
    request = posted(library, content=iter([b"access_token=", b"x"]), headers={"Content-Type": kind})
    assert named_by(request) is UNREADABLE
    assert b"".join(request.stream) == b"access_token=x"


@pytest.mark.parametrize("kind", [FORM, JSON, MULTIPART])
@pytest.mark.parametrize("body", [iter([b"x"]), object(), bytearray(b"x")], ids=type)
def test_a_body_of_another_kind_is_not_read(kind, body):
    assert named_by(with_body(body, kind)) is UNREADABLE


@pytest.mark.parametrize(
    "body",
    [
        b'{"access_token": "x"',
        b"\xef\xbb\xbf" + json.dumps({"access_token": PAGE_TOKEN}).encode(),
        json.dumps({"access_token": PAGE_TOKEN}).encode("utf-16"),
        b'{"access_token": "x", "a": ' + b"[" * 100_000,
        b"access_token=x",
        b'{"access_token": "\\ud800"}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_json_that_cannot_be_read(body):
    assert named_by(with_body(body, JSON)) is UNREADABLE


@both_libraries
def test_a_token_that_is_sent_as_a_file_is_not_read(library):
    files = {"access_token": (None, PAGE_TOKEN), "source": b"bytes"}
    assert named_by(posted(library, files=files)) is UNREADABLE


def test_a_multipart_body_that_is_made_already():
    kind = f"{MULTIPART}; boundary=x"
    assert named_by(with_body(part('"access_token"'), kind)) is UNREADABLE
    assert named_by(with_body(part('"message"'), kind)) is None


@both_libraries
def test_the_query_goes_before_the_body(library):
    request = posted(library, params={"access_token": PAGE_TOKEN}, json={"access_token": "another"})
    assert named_by(request) == PAGE


def test_what_cannot_be_read_is_like_no_token():
    assert Secret(PAGE_TOKEN) != UNREADABLE
