"""The dialect of the old REST API: signatures, parameters, answers, and reading them."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbguard.core.secret import Secret
from fbguard.facebook import rest
from fbguard.facebook.rest import Call, read_call, sign
from fbguard.facebook.rest_answers import (
    BROKEN_SERVER,
    MAX_ANSWER,
    UNREADABLE,
    Failure,
    failure,
    failure_in,
    success,
    xml_text,
)
from tests.legacy.calls import ENDED

A = "0123456789abcdef0123456789abcdef"
S = "fedcba9876543210fedcba9876543210"
K = "3a1f00c0ffee5eed12345678-1337"
FIRST = {
    "method": "facebook.auth.expireSession",
    "api_key": A,
    "session_key": K,
    "call_id": "1234567890.125",
    "v": "1.0",
    "format": "JSON",
}
THIRD = {"method": "auth.expireSession", "api_key": A, "session_key": K, "v": "1.0"}
VECTORS = [
    (FIRST, S, "618cc7e5621da6690ddb9d2123f645bd"),
    ({**FIRST, "ss": "1"}, "00112233445566778899aabbccddeeff", "800f62e13dc9dda3644bc033d3344a8d"),
    (THIRD, S, "fea01629c07bcd4892f0164a9018e70b"),
    ({**THIRD, "callback": "cb&1", "note": "äöü =+/"}, S, "d124dbfa08ac5951eeb43123581fa822"),
    ({"a": "", "B": "2", "b": "1", "a_b": "x", "aB": "y"}, "s3cr3t", "30e0a3920d51e8b9102a6c1aa6370f00"),
]
GOOD = "&".join(f"{name}={value}" for name, value in THIRD.items()) + f"&sig={'0' * 32}"
FORM = "application/x-www-form-urlencoded"


def boxed(parameters: dict[str, str]) -> dict[str, Secret]:
    return {name: Secret(value) for name, value in parameters.items()}


def call(**parameters: str) -> Call:
    return Call.of(boxed(parameters).items(), ())


# -- signatures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("parameters", "secret", "expected"), VECTORS)
def test_signatures_are_those_of_the_platform(parameters, secret, expected):
    assert sign(boxed(parameters), Secret(secret)) == expected
    assert sign(boxed({**parameters, "sig": "anything"}), Secret(secret)) == expected
    assert sign(boxed(dict(reversed(parameters.items()))), Secret(secret)) == expected


# -- parameters ----------------------------------------------------------------------------------------


def test_parameters_of_query_and_body_are_one_set():
    read = read_call("method=auth.expireSession&v=1.0", f"session_key={K}&api_key={A}".encode(), FORM)
    assert {name: value.reveal() for name, value in read.parameters.items()} == THIRD
    assert read.in_body == {"session_key", "api_key"}
    assert read.is_whole


@pytest.mark.parametrize(
    ("query", "body", "kind"),
    [
        ("note=1", b"", ""),
        ("v=1.0&v=1.0", b"", ""),
        ("v=1.0", b"v=1.0", FORM),
        ("", b"v=1.0&v=1.0", FORM),
        ("v=1.0&V=1.0", b"", ""),
        ("v=1.0&v%00=1.0", b"", ""),
        ("v=1.0&flag", b"", ""),
        ("v=1.0;ss=1&x", b"", ""),
        ("", b'{"v": "1.0"}', "application/json"),
        ("", b"--x", "multipart/form-data; boundary=x"),
        ("", b"v=\xff", FORM),
        ("v=%ff", b"", ""),
        ("", b"v=" + b"1" * 65_536, FORM),
        ("&".join(f"v{number}=1" for number in range(60)), b"", ""),
    ],
)
def test_what_is_not_on_the_list_or_comes_twice_or_is_no_form_makes_no_whole(query, body, kind):
    assert not read_call(query, body, kind).is_whole


@pytest.mark.parametrize("kind", ["", FORM, FORM.upper(), f"{FORM}; charset=UTF-8"])
def test_a_form_by_any_spelling_of_its_type(kind):
    assert read_call("", GOOD.encode(), kind).fault is None


def test_well_formed_calls():
    assert read_call(GOOD, b"").fault is None
    more = "&format=json&ss=1&callback=jQuery.cb_1&call_id=1170813376.3544"
    assert read_call(GOOD.replace("auth.", "facebook.auth.") + more, b"").fault is None


@pytest.mark.parametrize(
    ("name", "wrong", "code"),
    [
        ("method", [None, "", "auth.logout", "auth.expiresession", "auth.expireSession ", f"x{rest.METHOD}"],
         3),
        ("v", [None, "", "1", "1.00", "2.0", "1.0 ", "1.0\n", "1x0"], 100),
        ("format", ["", "yaml", "JSON2", " XML", "\uff38ML"], 100),
        ("ss", ["", "0", "2", "11", "true"], 100),
        ("call_id", ["", "-1", "1e9", "1.", ".5", "1_000", "\u0661", "1" * 21, "nan"], 100),
        ("api_key", [None, "", "a b", "a=b", "a" * 65], 101),
        ("sig", [None, "", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "g", f"{'0' * 32}\n"], 104),
        ("session_key", [None, "", "a b", "a=b", "k\u00e4", "a" * 4097, "a\n"], 102),
    ],
)  # fmt: skip
def test_values_that_are_wrong(name, wrong, code):
    for value in wrong:
        sent = {**THIRD, "sig": "0" * 32, name: value}
        read = call(**{key: text for key, text in sent.items() if text is not None})
        assert read.is_whole
        assert read.fault == code, value


@given(st.sampled_from(sorted(rest._PARAMETERS)), st.text(max_size=100))
def test_no_value_that_is_taken_holds_what_parts_names_from_values(name, text):
    """What the signature's one reading rests on; see the module."""
    taken = rest._PARAMETERS[name].grammar.fullmatch(f"{text}=") or rest._PARAMETERS[name].grammar.fullmatch(
        f"1={text}"
    )
    assert taken is None


def test_no_name_is_the_end_of_another():
    names = list(rest._PARAMETERS)
    assert [(one, other) for one in names for other in names if one != other and one.endswith(other)] == []


def test_what_an_error_repeats_is_never_secret():
    sent = {**FIRST, "ss": "1", "sig": "0" * 32, "callback": "cb"}
    shown = dict(call(**sent).echo())
    hidden = {"api_key", "sig", "session_key", "callback"}
    assert {name for name, value in shown.items() if value == "***"} == hidden
    assert all(shown[name] == sent[name] for name in sent.keys() - hidden)
    misplaced = call(method=K, v=K, format=K, call_id=K, ss=K, note=K)
    assert set(dict(misplaced.echo()).values()) == {"***"}
    assert "note" not in dict(misplaced.echo())


def test_a_call_shows_no_value():
    assert "1337" not in repr(call(**THIRD))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (K, True),
        ("373443c857fcda2e410e349c-i7nF4PqX4IW4.", True),
        ("2,AbCdEf__.3600.1259366400-1337", True),
        ("2.AbCdEf__.86400.1259366400-1337", True),
        ("EAABcanaryToken0123456789", False),
        ("3a1f00c0ffee5eed12345678", False),
        ("token-1", False),
    ],
)
def test_shapes_of_session_keys(key, expected):
    assert rest.has_old_shape(Secret(key)) is expected


# -- answers -------------------------------------------------------------------------------------------


def header(answer, name):
    return dict(answer.headers)[name]


def test_success_is_the_example_of_the_page_of_the_method():
    answer = success(call(**THIRD))
    assert answer.body.decode() == ENDED
    assert answer.status == 200
    assert header(answer, "Content-Type") == "text/xml; charset=utf-8"
    assert header(answer, "Content-Length") == str(len(ENDED))
    assert header(answer, "Cache-Control") == "no-store"
    assert header(answer, "X-Content-Type-Options") == "nosniff"


def test_success_in_the_other_forms():
    assert success(call(format="JSON")).body == b"true"
    assert header(success(call(format="json")), "Content-Type") == "application/json; charset=utf-8"
    passed = success(call(format="JSON", callback="cb"))
    assert passed.body == b"/**/cb(true);"
    assert header(passed, "Content-Type") == "application/javascript; charset=utf-8"


def test_errors_in_both_forms():
    sent = {**THIRD, "format": "XML", "sig": "0" * 32}
    root = ET.fromstring(failure(call(**sent), 104).body)
    space = "{http://api.facebook.com/1.0/}"
    assert root.tag == f"{space}error_response"
    assert [child.tag for child in root] == [
        space + name for name in ("error_code", "error_msg", "request_args")
    ]
    assert [root[0].text, root[1].text] == ["104", "Incorrect signature."]
    assert root[2].attrib == {"list": "true"}
    arguments = {arg[0].text: arg[1].text for arg in root[2]}
    assert arguments == {
        "method": "auth.expireSession", "v": "1.0", "format": "XML",
        "api_key": "***", "session_key": "***", "sig": "***",
    }  # fmt: skip
    assert json.loads(failure(call(format="JSON", sig="x"), 101).body) == {
        "error_code": 101,
        "error_msg": "The API key submitted is not associated with any known application.",
        "request_args": [{"key": "format", "value": "JSON"}, {"key": "sig", "value": "***"}],
    }


@given(st.text(max_size=50))
def test_any_text_becomes_xml(text):
    parsed = ET.fromstring(f"<a>{xml_text(text)}</a>").text or ""
    kept = "".join(
        letter if letter in "\t\n\r" or (letter >= " " and letter not in "\ufffe\uffff") else "\ufffd"
        for letter in text
    )
    assert parsed == kept.replace("\r\n", "\n").replace("\r", "\n")


# -- reading -------------------------------------------------------------------------------------------

NS = 'xmlns="http://api.facebook.com/1.0/"'


def error_xml(code: str = "104", message: str = "no", more: str = "") -> bytes:
    return (
        f"<error_response {NS}><error_code>{code}</error_code>"
        f"<error_msg>{message}</error_msg>{more}</error_response>"
    ).encode()


@pytest.mark.parametrize(
    "body",
    [
        ENDED.encode(),
        b"\xef\xbb\xbf" + ENDED.encode(),
        b"\n" + ENDED.encode() + b"\n",
        ENDED.replace("/1.0/", "/2.0/").encode(),
        b"<x:auth_expireSession_response xmlns:x='urn:y'> 1 </x:auth_expireSession_response>",
        b"<auth_expireSession_response>1</auth_expireSession_response>",
        b"true",
        b" true\n",
        b"1",
    ],
)
def test_what_means_ended(body):
    assert failure_in(200, body) is None
    assert failure_in(500, body) is not None
    assert failure_in(302, body) is not None


@pytest.mark.parametrize("status", [200, 400, 500])
def test_errors_count_with_any_status(status):
    assert failure_in(status, error_xml()) == Failure(104, "no")
    assert failure_in(status, b'{"error_code":100,"error_msg":"Invalid parameter","request_args":[]}') == (
        Failure(100, "Invalid parameter")
    )
    assert failure_in(status, b'{"error_code":"102"}') == Failure(102, "")


GARBAGE = [
    None,
    b"",
    b" ",
    b"false",
    b"0",
    b"2",
    b"1.0",
    b'"1"',
    b"null",
    b"[true]",
    b"{}",
    b'{"error_code":true}',
    b'{"error_code":1,"error_code":2}',
    b'{"error_code":"-1"}',
    b'{"error_code":1e2}',
    b"[" * 20_000,
    b"\xff\xfe",
    b"<html><body>down</body></html>",
    b"<auth_expireSession_response>0</auth_expireSession_response>",
    b"<auth_expireSession_response>1",
    b"<auth_expireSession_response>11</auth_expireSession_response>",
    b"<auth_expireSession_response><a>1</a></auth_expireSession_response>",
    b"<a><auth_expireSession_response>1</auth_expireSession_response></a>",
    b'<?xml version="1.0" encoding="rot13"?><auth_expireSession_response>0</auth_expireSession_response>',
    error_xml("x"),
    error_xml(""),
    error_xml("9" * 10),
    error_xml(more="<error_code>1</error_code>"),
    error_xml(message="\x0b"),
    b"<a>" * 20_000,
]


@pytest.mark.parametrize("body", GARBAGE)
def test_what_cannot_be_read(body):
    assert failure_in(200, body) == UNREADABLE
    assert failure_in(503, body) == BROKEN_SERVER


@given(st.binary(max_size=200))
def test_no_bytes_are_a_fault_of_the_reader(body):
    failure_in(200, body)
    failure_in(200, b"<" + body)


def test_a_deep_document_is_read_in_time():
    """Each of 9000 levels is a step, not a copy of all levels above it."""
    levels = MAX_ANSWER // 7
    deep = error_xml(more="<a>" * levels + "</a>" * levels)
    assert failure_in(200, deep) == Failure(104, "no")
