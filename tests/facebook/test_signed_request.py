"""A signed_request is honoured only as Facebook writes it: vectors, one spelling, one window of time."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbguard.core.secret import Secret
from fbguard.facebook.signed_request import MAX_LENGTH, BadSignedRequest, is_signed, read

SECRET = "fedcba9876543210fedcba9876543210"
NOW = 1_700_000_000
VECTOR = (
    "ZdVhqzrKso_d7g590G82Baz2Qw5EnkEFcggw7UscUXI."
    "eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiIsImlzc3VlZF9hdCI6MTcwMDAwMDAwMCwidXNlcl9pZCI6IjEzMzcifQ"
)
# Of Facebook's own PHP SDK: padded, a user id as a number, a token and a code beside it.
PHP = (
    "U0_O1MqqNKUt32633zAkdd2Ce-jGVgRgJeRauyx_zC8=."
    "eyJvYXV0aF90b2tlbiI6ImZvb190b2tlbiIsImFsZ29yaXRobSI6IkhNQUMtU0hBMjU2IiwiaXNzdWVkX2F0IjozMjEs"
    "ImNvZGUiOiJmb29fY29kZSIsInN0YXRlIjoiZm9vX3N0YXRlIiwidXNlcl9pZCI6MTIzLCJmb28iOiJiYXIifQ=="
)


def encoded(data, *, padded=False):
    text = base64.urlsafe_b64encode(data).decode()
    return text if padded else text.rstrip("=")


def sign(payload, secret=SECRET, *, padded=False):
    """Sign an encoded payload, or any bytes to be encoded first."""
    text = payload if isinstance(payload, str) else encoded(payload, padded=padded)
    proof = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return f"{encoded(proof, padded=padded)}.{text}"


def signed(**changes):
    payload = {"algorithm": "HMAC-SHA256", "issued_at": NOW, "user_id": "1337"} | changes
    return sign(json.dumps({key: value for key, value in payload.items() if value is not ...}).encode())


def honoured(text, *secrets, now=NOW):
    return read(text, [Secret(secret) for secret in secrets or (SECRET,)], now)


def refused(text, *secrets, now=NOW):
    with pytest.raises(BadSignedRequest) as caught:
        honoured(text, *secrets, now=now)
    return str(caught.value)


def test_the_vector_is_honoured():
    said = honoured(VECTOR)
    assert (said.user_id, said.issued_at) == ("1337", NOW)
    assert said.payload["algorithm"] == "HMAC-SHA256"


def test_the_vector_of_the_php_sdk_is_honoured():
    said = honoured(PHP, "foo_app_secret", now=321)
    assert (said.user_id, said.issued_at, said.payload["foo"]) == ("123", 321, "bar")


def test_a_token_and_a_code_in_it_are_not_shown():
    said = honoured(PHP, "foo_app_secret", now=321)
    assert (said.payload["oauth_token"].reveal(), said.payload["code"].reveal()) == ("foo_token", "foo_code")
    assert "foo_token" not in f"{said} {said.payload}"
    assert "foo_code" not in f"{said} {said.payload}"


@pytest.mark.parametrize("secrets", [("other" * 4, SECRET), (SECRET, "other" * 4)])
def test_while_secrets_rotate_each_verifies(secrets):
    assert honoured(VECTOR, *secrets).user_id == "1337"


def test_another_apps_secret_does_not_verify():
    assert "signature" in refused(VECTOR, "other" * 4)


@pytest.mark.parametrize("secrets", [[], [Secret("")], [Secret(SECRET), Secret("")]])
def test_without_a_secret_nothing_is_checked(secrets):
    with pytest.raises(ValueError, match="secret"):
        read(VECTOR, secrets, NOW)
    with pytest.raises(ValueError, match="secret"):
        is_signed(secrets, b"", b"")


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("more", ["", "x", "xx", "xxx"])
def test_padding_may_be_there_or_not(padded, more):
    payload = json.dumps({"algorithm": "HMAC-SHA256", "issued_at": NOW, "user_id": 7, "more": more})
    assert honoured(sign(payload.encode(), padded=padded)).user_id == "7"


@pytest.mark.parametrize("extra", ["=", "==", "===", "====", " ", "\n", "\r\n", "\0", ".", "ä", "%3D", "+"])
@pytest.mark.parametrize("where", ["before", "between", "after"])
def test_a_second_spelling_of_the_signature_is_refused(extra, where):
    first, _, second = VECTOR.partition(".")
    places = {
        "before": f"{extra}{first}.{second}",
        "between": f"{first[:5]}{extra}{first[5:]}.{second}",
        "after": f"{first}{extra}.{second}",
    }
    if extra == "=" and where == "after":
        assert honoured(places[where]).user_id == "1337"  # the padding that belongs there
    else:
        refused(places[where])


def test_bits_left_over_are_refused():
    first, _, second = VECTOR.partition(".")
    assert first.endswith("I")  # of whose six bits two are left over
    for last in "JKL":
        altered = f"{first[:-1]}{last}"
        assert base64.urlsafe_b64decode(altered + "=") == base64.urlsafe_b64decode(first + "=")
        refused(f"{altered}.{second}")


@pytest.mark.parametrize("spelling", ["{}=", "{}====", "{} ", "{}\n", "{}.", "{}.x", ".{}", "{}ä"])
def test_a_payload_of_another_spelling_is_refused_though_signed(spelling):
    text = VECTOR.partition(".")[2]
    refused(sign(spelling.format(text)) if spelling.isascii() else f"{VECTOR}ä")


@pytest.mark.parametrize("text", ["", ".", "..", "a", "a.", ".a", "a.b", "a.b.c", VECTOR.replace(".", ""),
                                  f"{VECTOR}.", f"{VECTOR}.e30", "\ud800.\ud800"])  # fmt: skip
def test_other_than_two_segments_are_refused(text):
    refused(text)


def test_a_long_one_is_refused_before_any_hashing(monkeypatch):
    monkeypatch.setattr(hmac, "digest", None)
    assert "long" in refused("A" * (MAX_LENGTH + 1))


@pytest.mark.parametrize("cut", [16, 31])
def test_a_short_signature_is_refused(cut):
    first, _, second = VECTOR.partition(".")
    refused(f"{encoded(base64.urlsafe_b64decode(first + '=')[:cut])}.{second}")


@pytest.mark.parametrize("algorithm", [
    ..., None, "none", "", "HMAC-SHA1", "hmac-sha256", "HMAC-SHA256\0", " HMAC-SHA256", ["HMAC-SHA256"],
    {"HMAC-SHA256": 1}, 256, True,
])  # fmt: skip
def test_another_algorithm_is_refused(algorithm):
    assert "algorithm" in refused(signed(algorithm=algorithm))


def test_the_payload_is_not_parsed_before_its_signature_is_proven(monkeypatch):
    monkeypatch.setattr(json, "loads", None)
    first, _, second = VECTOR.partition(".")
    assert "signature" in refused(f"{first[::-1][:42]}A.{second}")


@pytest.mark.parametrize("payload", [
    b"", b"null", b"[]", b"7", b'"x"', b"{", b"\xff{}", b"[" * 5000, b'{"issued_at": NaN}',
    b'{"algorithm":"HMAC-SHA256","issued_at":1700000000,"user_id":"1","user_id":"2"}',
    b'{"algorithm":"HMAC-SHA256","issued_at":1700000000,"user_id":"1","more":Infinity}',
    b'{"algorithm":"HMAC-SHA256","issued_at":1700000000,"user_id":"1","more":' + b"9" * 5000 + b"}",
])  # fmt: skip
def test_a_payload_that_is_no_plain_object_is_refused(payload):
    refused(sign(payload))


@pytest.mark.parametrize(("age", "is_in_time"), [
    (0, True), (599, True), (600, True), (601, False), (660, False),
    (-60, True), (-61, False), (-3600, False),
])  # fmt: skip
def test_it_is_honoured_for_ten_minutes_and_a_minute_ahead(age, is_in_time):
    text = signed(issued_at=NOW - age)
    if is_in_time:
        assert honoured(text).issued_at == NOW - age
    else:
        refused(text)


@pytest.mark.parametrize("issued_at", [
    ..., None, "1700000000", 1_700_000_000.0, True, [], -1, 10**400, -(10**400), NOW * 1000,
])  # fmt: skip
def test_a_moment_that_is_no_whole_seconds_is_refused(issued_at):
    refused(signed(issued_at=issued_at))


@pytest.mark.parametrize("user_id", ["0", "7", "1" * 32, 7, 10**31])
def test_user_ids_are_decimal(user_id):
    assert honoured(signed(user_id=user_id)).user_id == str(user_id)


@pytest.mark.parametrize("user_id", [
    ..., None, "", "1" * 33, 10**32, -1, True, 1.0, "1 ", "1\n", "٣", "abc", "1e3", ["1"], {"id": "1"},
])  # fmt: skip
def test_what_is_no_user_id_is_refused(user_id):
    assert "user_id" in refused(signed(user_id=user_id))


@settings(deadline=None)
@given(st.text(alphabet=st.characters()) | st.from_regex(r"[A-Za-z0-9_=-]{0,80}\.[A-Za-z0-9_=-]{0,80}"))
def test_any_text_is_refused_in_one_way(text):
    refused(text)


@settings(deadline=None)
@given(st.integers(0, len(VECTOR) - 1), st.characters())
def test_no_character_can_be_another(index, character):
    altered = VECTOR[:index] + character + VECTOR[index + 1 :]
    if altered != VECTOR:
        refused(altered)


@settings(deadline=None)
@given(st.binary())
def test_any_signed_bytes_are_an_object_or_refused(payload):
    refused(sign(payload))
