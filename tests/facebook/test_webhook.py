"""The webhook's handshake, signature and events, in every shape that Facebook sends them."""

from __future__ import annotations

import hashlib
import hmac
import json
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbguard.core.secret import Secret
from fbguard.facebook.signed_request import is_signed
from fbguard.facebook.webhook import Event, challenge, read, signature

SECRET = Secret("fedcba9876543210fedcba9876543210")
BODY = (
    b'{"object":"permissions","entry":[{"id":"1337","uid":"1337","time":1700000000,'
    b'"changes":[{"field":"email","value":{"verb":"revoked"}}]}]}'
)
HEADER = "sha256=2bcb6ddf9e56a697f84d3cd04244edc6f5ecadeadcb8c9cc43b3ff3e6e2ae063"
OURS = Secret("correct horse")


def shake(token=OURS, **changes):
    fields = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "correct horse"}
    fields |= {f"hub.{name}": value for name, value in changes.items()}
    return challenge(urlencode({key: value for key, value in fields.items() if value is not ...}), token)


def event(*entries, about="permissions"):
    return read(json.dumps({"object": about, "entry": list(entries)}).encode())


def test_the_handshake_gets_its_challenge():
    assert shake() == "1158201444"


@pytest.mark.parametrize("token", ["ä", "é\0", "密码", "a&b=c%20+", "\ud800"])
def test_a_verify_token_may_be_any_text(token):
    query = urlencode(
        {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": token}, errors="surrogatepass"
    )
    expected = None if token == "\ud800" else "1"  # half a character is in no query
    assert challenge(query, Secret(token)) == expected


@pytest.mark.parametrize("changes", [
    {"verify_token": "wrong"}, {"verify_token": ""}, {"verify_token": "correct horsE"}, {"verify_token": ...},
    {"verify_token": "correct horse "}, {"verify_token": "ä"}, {"verify_token": b"\xff\xfe"},
    {"mode": "unsubscribe"}, {"mode": "Subscribe"}, {"mode": ""}, {"mode": ...},
    {"challenge": ...}, {"challenge": ""}, {"challenge": "<script>"}, {"challenge": "a b"},
    {"challenge": "1\n"},
    {"challenge": "1\r\nSet-Cookie: a=b"}, {"challenge": "ä"}, {"challenge": "٣"}, {"challenge": "1" * 257},
])  # fmt: skip
def test_any_other_handshake_is_refused(changes):
    assert shake(**changes) is None


def test_without_a_verify_token_of_ours_nobody_is_let_in():
    assert shake(None) is None
    assert shake(None, verify_token="") is None


def test_bytes_that_are_no_text_are_like_no_verify_token():
    query = "hub.mode=subscribe&hub.challenge=1&hub.verify_token="
    assert challenge(f"{query}%EF%BF%BD", Secret("\ufffd")) == "1"
    assert challenge(f"{query}%FF", Secret("\ufffd")) is None  # which decoders often put in their place


@pytest.mark.parametrize("name", ["mode", "verify_token", "challenge"])
def test_a_field_sent_twice_is_refused(name):
    fields = [("hub.mode", "subscribe"), ("hub.challenge", "1"), ("hub.verify_token", "correct horse")]
    assert challenge(urlencode(fields), OURS) == "1"
    assert challenge(urlencode([*fields, (f"hub.{name}", dict(fields)[f"hub.{name}"])]), OURS) is None


def test_a_query_of_very_many_fields_is_refused():
    assert challenge("&".join(["a=b"] * 5000), OURS) is None


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_no_query_raises(query):
    assert challenge(query, OURS) is None


def test_the_vector_is_signed():
    found = signature([HEADER])
    assert found is not None
    assert is_signed([SECRET], BODY, found)
    assert not is_signed([SECRET], BODY + b" ", found)


@pytest.mark.parametrize("values", [
    [], [""], ["sha256="], [HEADER.upper()], ["sha256=" + HEADER[7:].upper()], [HEADER[:-1]], [HEADER[:-2]],
    [HEADER + "0"], [HEADER, HEADER], [f"{HEADER},{HEADER}"], [f"{HEADER}, {HEADER}"], [HEADER[7:]],
    ["sha1=" + hmac.new(b"x", BODY, hashlib.sha1).hexdigest()], [f" {HEADER}"], [f"{HEADER}\n"],
    ["sha256=" + "ä" * 64], ["sha256=" + "٣" * 64], ["Sha256=" + HEADER[7:]], ["sha256 =" + HEADER[7:]],
])  # fmt: skip
def test_a_signature_of_another_spelling_is_none(values):
    assert signature(values) is None


def test_the_vector_names_its_user():
    assert read(BODY) == Event(("1337",))


@pytest.mark.parametrize("change", [
    {"changes": [{"field": "email", "value": {"verb": "granted", "target_ids": ["1"]}}]},
    {"changes": [{"field": "email", "value": {"verb": "revoked", "target_ids": None}}]},
    {"changes": [{"field": "connected", "verb": "granted"}]},
    {"changes": [{"field": "connected", "value": {"verb": "disconnected"}}]},
    {"changed_fields": ["name", "email"]},
    {"changes": None}, {"changes": "?"}, {},
])  # fmt: skip
@pytest.mark.parametrize("about", ["permissions", "user"])
@pytest.mark.parametrize("who", [
    {"id": "1337", "uid": "1337"}, {"uid": "1337"}, {"id": "1337"}, {"uid": 1337}, {"id": 1337, "uid": None},
])  # fmt: skip
def test_every_shape_names_its_user(change, about, who):
    assert event({"time": 1_700_000_000, **who, **change}, about=about) == Event(("1337",))


def test_two_ids_of_one_entry_are_both_meant():
    assert event({"id": "1", "uid": "2"}) == Event(("2", "1"))


def test_each_user_is_named_once():
    assert event({"uid": "1"}, {"uid": "2"}, {"uid": "1"}) == Event(("1", "2"))


def test_the_test_button_names_nobody():
    assert event({"id": "0", "uid": "0", "time": 1, "changed_fields": ["name"]}) == Event(())


@pytest.mark.parametrize("entry", [
    None, 7, "1337", [], {}, {"uid": None}, {"uid": ""}, {"uid": "abc"}, {"uid": -1}, {"uid": 1.5},
    {"uid": True},
    {"uid": ["1"]}, {"uid": {"id": "1"}}, {"uid": "1" * 33}, {"uid": "٣"}, {"uid": "\ud800"}, {"time": 1},
])  # fmt: skip
def test_an_entry_that_cannot_be_read_takes_no_other_with_it(entry):
    assert event({"uid": "1"}, entry, {"uid": "2"}) == Event(("1", "2"), unread=1)


@pytest.mark.parametrize("entry", [
    b'{"uid":"7","uid":"8"}', b'{"uid":NaN}', b'{"uid":-Infinity}', b'{"uid":' + b"9" * 5000 + b"}",
    b'{"uid":1e400}',
])  # fmt: skip
def test_an_entry_of_strange_json_takes_no_other_with_it(entry):
    body = b'{"object":"permissions","entry":[{"uid":"1"},' + entry + b',{"uid":"2"}]}'
    assert read(body) == Event(("1", "2"), unread=1)


@pytest.mark.parametrize("about", ["page", "instagram", "whatsapp_business_account", "Permissions", ""])
def test_other_objects_name_nobody(about):
    assert event({"id": "1337", "uid": "1337"}, about=about) == Event(())


@pytest.mark.parametrize("body", [
    b"", b"null", b"[]", b"{}", b"{", b"\xff", b"[" * 100_000, b'{"object":"permissions"}',
    b'{"object":"permissions","entry":{}}', b'{"object":"permissions","entry":null}',
    b'{"entry":[{"uid":"1"}]}',
    b'{"object":["permissions"],"entry":[]}', b'{"object":"user","object":"permissions","entry":[]}',
    '{"object":"permissions","entry":[]}'.encode("utf-16"),
])  # fmt: skip
def test_what_is_no_event_is_none(body):
    assert read(body) is None


def test_letters_may_be_escaped_or_not():
    assert read('{"object":"permissions","entry":[{"uid":"1","name":"Zoë\U0001f600"}]}'.encode()) == Event(
        ("1",)
    )
    escaped = rb'{"object":"permissions","entry":[{"uid":"1","n":"\u00e4\/\u003C\u0025\u0040"}]}'
    assert read(escaped) == Event(("1",))


@settings(deadline=None)
@given(st.binary())
def test_no_body_raises(body):
    assert read(body) is None


KEYS = st.sampled_from(["object", "entry", "uid", "id"]) | st.text()
ATOMS = st.none() | st.booleans() | st.floats() | st.integers() | st.text()


@settings(deadline=None)
@given(st.recursive(ATOMS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_no_json_raises(value):
    found = read(json.dumps(value).encode())
    assert found is None or isinstance(found, Event)
    inner = read(json.dumps({"object": "permissions", "entry": [value, {"uid": "1"}]}).encode())
    assert inner is not None
    assert "1" in inner.user_ids
