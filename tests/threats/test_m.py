"""Rows M: Facebook's callbacks, forged, replayed, re-spelled and cut short, in either protocol."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fbguard.core.secret import Secret
from fbguard.revocation.callbacks import Callbacks
from tests.revocation.calls import (
    FORM,
    HOST,
    JSON,
    VERIFY_TOKEN,
    FakeSessions,
    Mount,
    event_body,
    form,
    hub_signature,
    signed_request,
)
from tests.support import NOW, SECRET

FORMS = ("/deauthorize", "/data-deletion")
ANSWERS = {200, 400, 401, 403, 404, 405, 413, 415, 503}
OTHER_SECRET = "00112233445566778899aabbccddeeff"


@pytest.fixture(params=["asgi", "wsgi"])
def kind(request):
    return request.param


@pytest.fixture
def sessions():
    return FakeSessions()


@pytest.fixture
def mount(kind, sessions):
    return Mount(kind, sessions)


def b64(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed_text(text, secret=SECRET):
    """Sign an encoded payload as it stands, whatever it is."""
    return f"{b64(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))}.{text}"


def post_form(mount, path, signed):
    return mount.call("POST", path, urlencode({"signed_request": signed}).encode(), FORM, HOST)


def post_event(mount, body, *signatures, **how):
    headers = [("x-hub-signature-256", signature) for signature in signatures]
    return mount.call("POST", "/webhook", body, JSON, *headers, **how)


SIGNATURE, _, PAYLOAD = signed_request().partition(".")
DIGEST = base64.urlsafe_b64decode(f"{SIGNATURE}=")

NOT_CHECKED = [
    f"{b64(bytes(32))}.{PAYLOAD}", f"junk.{PAYLOAD}", f"{b64(b'x' * 32)}.{PAYLOAD}",
    f"{SIGNATURE[::-1]}.{PAYLOAD}",
    f"{b64(DIGEST[:16])}.{PAYLOAD}", f"{b64(DIGEST + DIGEST)}.{PAYLOAD}", f"{DIGEST.hex()}.{PAYLOAD}",
    f"{SIGNATURE}.{signed_request(user_id='1').partition('.')[2]}",
    f"{b64(hashlib.sha256(PAYLOAD.encode()).digest())}.{PAYLOAD}",  # no key at all
    # Of the JSON itself, not of its encoded text.
    f"{b64(hmac.digest(SECRET.encode(), base64.urlsafe_b64decode(PAYLOAD + '=='), 'sha256'))}.{PAYLOAD}",
    f"{b64(hmac.digest(SECRET.encode(), PAYLOAD.encode(), 'sha1'))}.{PAYLOAD}",
]  # fmt: skip
ALGORITHMS = [signed_request(algorithm=name) for name in (
    "none", "", "hmac-sha1", "HMAC-SHA1", "hmac-sha256", "HMAC-SHA256\0", "RS256",
    ["HMAC-SHA256"], ..., None, 1,
)]  # fmt: skip
SPELLINGS = [
    *(f"{SIGNATURE[:7]}{extra}{SIGNATURE[7:]}.{PAYLOAD}" for extra in (" ", ".", "\n", "\r\n", "=", "ä")),
    *(f"{SIGNATURE}{extra}.{PAYLOAD}" for extra in ("==", "===", "====", " ", "=\n")),
    *(f" {SIGNATURE}.{PAYLOAD}", f"{SIGNATURE}. {PAYLOAD}", f"{SIGNATURE}.{PAYLOAD}\n"),
    # The same 32 bytes to Python's decoder: the last character has two bits that are left over.
    *(f"{SIGNATURE[:-1]}{last}.{PAYLOAD}" for last in "BCDFGHJKLNOPRSTVWX"),
    *(signed_text(PAYLOAD + extra) for extra in ("=", " ", "====", "=\n", ".", ".x")),
]  # fmt: skip
SEGMENTS = [
    "", ".", "..", PAYLOAD, f".{PAYLOAD}", f"{SIGNATURE}.", f"{SIGNATURE}.{PAYLOAD}.",
    f"{SIGNATURE}.{PAYLOAD}.{PAYLOAD}", f"{PAYLOAD}.{SIGNATURE}", f"{SIGNATURE}..{PAYLOAD}",
    signed_text(""), "A" * 9000,
]  # fmt: skip
PAYLOADS = [signed_text(b64(payload)) for payload in (
    b"", b"null", b"[]", b"7", b"{", b"\xff", b"{}", b"[" * 3000, b'{"a":NaN}',
    b'{"algorithm":"HMAC-SHA256"}',
    b'{"algorithm":"HMAC-SHA256","issued_at":%d,"user_id":"1","user_id":"2"}' % NOW,
    b'{"algorithm":"HMAC-SHA256","issued_at":%d,"user_id":%s}' % (NOW, b"9" * 5000),
)] + [signed_request(user_id=user_id) for user_id in (
    ..., None, "", "me", "1" * 33, -1, True, 1.5, ["1"], "٣",
)]  # fmt: skip
TIMES = [signed_request(issued_at=at) for at in (
    NOW - 660, NOW - 601, NOW - 86_400, 0, -1, NOW + 61, NOW + 3600, NOW * 1000,
    float(NOW), str(NOW), True, None, ...,
)]  # fmt: skip
APPS = [signed_request(secret) for secret in (OTHER_SECRET, SECRET.upper(), f"{SECRET} ", SECRET[:-1], "x")]

GENUINE = event_body("1001")
GENUINE_SIGNATURE = hub_signature(GENUINE)
SIGNATURES = [
    (), ("",), ("sha256=",), (hub_signature(GENUINE, algorithm="sha1"),), (GENUINE_SIGNATURE.upper(),),
    (f"sha256={GENUINE_SIGNATURE[7:].upper()}",), (GENUINE_SIGNATURE[:-1],), (f"{GENUINE_SIGNATURE}0",),
    (GENUINE_SIGNATURE, GENUINE_SIGNATURE), (f"{GENUINE_SIGNATURE},{GENUINE_SIGNATURE}",),
    (GENUINE_SIGNATURE[7:],), ("sha256=" + "\xe4" * 64,), ("sha256=" + "0" * 64,),
    (hub_signature(GENUINE, OTHER_SECRET),),
    (hub_signature(GENUINE + b"\n"),), (hub_signature(b""),), (GENUINE_SIGNATURE.replace("sha256", "sha1"),),
    (f"sha512={GENUINE_SIGNATURE[7:]}",), ("\x00",),
    (GENUINE_SIGNATURE, hub_signature(GENUINE, OTHER_SECRET)),
]  # fmt: skip


def test_M01_to_M07_150_forged_requests_have_no_effect_and_no_500(mount, sessions):
    forged = [*NOT_CHECKED, *ALGORITHMS, *SPELLINGS, *SEGMENTS, *PAYLOADS, *TIMES, *APPS]
    statuses = [post_form(mount, path, signed).status for path in FORMS for signed in forged]
    statuses += [post_event(mount, GENUINE, *signatures).status for signatures in SIGNATURES]
    assert len(statuses) >= 150
    assert set(statuses) == {403}
    assert sessions.effects == 0


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("signed", NOT_CHECKED)
def test_M01_a_junk_signature_is_refused(mount, sessions, path, signed):
    assert (post_form(mount, path, signed).status, sessions.effects) == (403, 0)


@pytest.mark.parametrize("signed", ALGORITHMS)
def test_M02_the_algorithm_is_exactly_the_one(mount, sessions, signed):
    assert (post_form(mount, "/deauthorize", signed).status, sessions.effects) == (403, 0)


def test_M02_the_algorithm_is_looked_at_after_the_signature(mount, sessions, monkeypatch):
    monkeypatch.setattr("fbguard.facebook.signed_request.json", None)  # parsing at all would raise
    forged = signed_request(OTHER_SECRET, algorithm="none")
    assert (post_form(mount, "/deauthorize", forged).status, sessions.effects) == (403, 0)


@pytest.mark.parametrize("signed", SPELLINGS)
def test_M03_base64_has_one_spelling(mount, sessions, signed):
    assert (post_form(mount, "/deauthorize", signed).status, sessions.effects) == (403, 0)


@pytest.mark.parametrize(
    "signed", [f"{SIGNATURE}=.{PAYLOAD}", signed_text(PAYLOAD + "=" * (-len(PAYLOAD) % 4))]
)
def test_M03_padding_where_it_belongs_is_honoured(mount, sessions, signed):
    assert post_form(mount, "/deauthorize", signed).status == 200
    assert sessions.ended == [("1001", NOW)]


@pytest.mark.parametrize("signed", [*SEGMENTS, *PAYLOADS])
def test_M04_segments_and_payload(mount, sessions, signed):
    assert (post_form(mount, "/deauthorize", signed).status, sessions.effects) == (403, 0)


@pytest.mark.parametrize("secrets", [[], [""], [" "], [SECRET, ""]])
def test_M04_an_empty_secret_fails_at_the_start(secrets):
    with pytest.raises(ValueError, match="secret"):
        Callbacks(FakeSessions(), [Secret(secret) for secret in secrets], now=float)


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("signed", TIMES)
def test_M05_replays_and_the_future_are_refused(mount, sessions, path, signed):
    assert (post_form(mount, path, signed).status, sessions.effects) == (403, 0)


def test_M05_an_old_deauthorize_after_a_new_login_ends_what_was_before_it(mount, sessions):
    signed = signed_request(issued_at=NOW - 500)
    for _ in range(3):
        assert post_form(mount, "/deauthorize", signed).status == 200
    login = NOW - 400
    assert {at for _, at in sessions.ended} == {NOW - 500}
    assert all(at < login for _, at in sessions.ended)


@pytest.mark.parametrize("signed", APPS)
def test_M06_another_apps_secret_is_refused(mount, sessions, signed):
    assert (post_form(mount, "/deauthorize", signed).status, sessions.effects) == (403, 0)


@pytest.mark.parametrize("signatures", SIGNATURES)
def test_M07_a_webhook_signature_of_another_spelling_is_refused(mount, sessions, signatures):
    assert (post_event(mount, GENUINE, *signatures).status, sessions.effects) == (403, 0)


@pytest.mark.parametrize("older", ["sha1=" + "0" * 40, hub_signature(GENUINE, algorithm="sha1"), "", "\xe4"])
def test_M07_sha256_wins_over_sha1(mount, sessions, older):
    right = mount.call(
        "POST", "/webhook", GENUINE, ("x-hub-signature", older), ("x-hub-signature-256", GENUINE_SIGNATURE)
    )
    assert (right.status, sessions.forgotten) == (200, ["1001"])
    wrong = mount.call(
        "POST", "/webhook", GENUINE, ("x-hub-signature", older), ("x-hub-signature-256", "sha256=" + "0" * 64)
    )
    assert (wrong.status, sessions.effects) == (403, 1)


BODIES = [
    '{"object":"permissions","entry":[{"uid":"1001","name":"Zoë 密码 \U0001f600"}]}'.encode(),
    rb'{"object":"permissions","entry":[{"uid":"1001","name":"Zo\u00eb \u5bc6 \ud83d\ude00"}]}',
    rb'{"object":"permissions","entry":[{"uid":"1001","n":"a\/b \u003C \u0025 \u0040 \u00E4"}]}',
    b'{\r\n  "object": "permissions",\r\n  "entry": [ { "uid" : "1001" } ]\r\n}\r\n',
    b'\n\t{"entry":[{"time":1,"id":"1001","uid":"1001"}],"object":"permissions"} ',
    b'{"object":"permissions","entry":[{"uid":1001}]}',
]


@pytest.mark.parametrize("body", BODIES)
def test_M08_the_raw_bytes_are_signed(mount, sessions, body):
    assert post_event(mount, body, hub_signature(body)).status == 200
    assert sessions.forgotten == ["1001"]


@pytest.mark.parametrize("body", BODIES)
def test_M08_a_signature_of_the_same_json_written_anew_is_refused(mount, sessions, body):
    anew = json.dumps(json.loads(body)).encode()
    assert anew != body
    assert post_event(mount, body, hub_signature(anew)).status == 403
    assert sessions.effects == 0


def shake(mount, **changes):
    fields = {"mode": "subscribe", "challenge": "1158201444", "verify_token": VERIFY_TOKEN} | changes
    return mount.call(
        "GET", "/webhook", query=urlencode({f"hub.{name}": value for name, value in fields.items()})
    )


def test_M09_the_handshake(mount):
    said = shake(mount)
    assert (said.status, said.body, said.header("content-type")) == (
        200,
        b"1158201444",
        "text/plain; charset=utf-8",
    )
    assert said.header("x-content-type-options") == "nosniff"


@pytest.mark.parametrize("changes", [
    {"verify_token": "wrong"}, {"verify_token": "ä"}, {"verify_token": "密码"}, {"verify_token": b"\xff"},
    {"verify_token": ""}, {"mode": "unsubscribe"}, {"challenge": "<script>alert(1)</script>"},
    {"challenge": "1" * 257},
    {"challenge": ""}, {"challenge": "1\r\nSet-Cookie: a=b"},
])  # fmt: skip
def test_M09_another_handshake_is_refused(mount, changes):
    said = shake(mount, **changes)
    assert said.status == 403
    assert b"script" not in said.body


def test_M09_a_verify_token_may_be_non_ascii(kind, sessions):
    mount = Mount(kind, sessions, verify_token="pässwörd")
    assert shake(mount, verify_token="pässwörd").status == 200
    assert shake(mount, verify_token="password").status == 403
    assert shake(Mount(kind, sessions, verify_token=None)).status == 403


@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
def test_M10_a_body_above_the_cap_is_refused_before_its_hash(mount, sessions, monkeypatch, length):
    body = GENUINE + b" " * (1_048_577 - len(GENUINE))
    signature = hub_signature(body)
    monkeypatch.setattr("fbguard.facebook.signed_request.hmac", None)  # hashing would raise
    assert post_event(mount, body, signature, length=length, pieces=4).status == 413
    large = form(signed_request()) + b"&more=" + b"x" * 16_384
    assert mount.call("POST", "/deauthorize", large, FORM, HOST, length=length).status == 413
    assert sessions.effects == 0


@pytest.mark.parametrize("pieces", [1, 3, 50])
def test_M10_a_chunked_body_is_honoured(mount, sessions, pieces):
    assert post_event(mount, GENUINE, GENUINE_SIGNATURE, length=False, pieces=pieces).status == 200
    assert mount.call("POST", "/deauthorize", form(), FORM, length=False, pieces=pieces).status == 200
    assert (sessions.forgotten, sessions.ended) == (["1001"], [("1001", NOW)])


def test_M10_an_encoded_body_is_refused(mount, sessions):
    packed = gzip.compress(GENUINE)
    for body, signed in ((packed, packed), (packed, GENUINE), (GENUINE, GENUINE)):
        headers = [JSON, ("content-encoding", "gzip"), ("x-hub-signature-256", hub_signature(signed))]
        assert mount.call("POST", "/webhook", body, *headers).status == 415
    assert sessions.effects == 0


@pytest.mark.parametrize(
    "malformed", [None, 7, "x", [], {}, {"uid": None}, {"uid": "x"}, {"uid": 10**4000}, {"id": [1]}]
)
def test_M11_one_malformed_entry_of_1000_takes_no_other_with_it(mount, sessions, malformed):
    event = json.loads(event_body(*map(str, range(1, 1001))))
    event["entry"][499] = malformed
    body = json.dumps(event).encode()
    assert post_event(mount, body, hub_signature(body)).status == 200
    assert sorted(map(int, sessions.forgotten)) == [user for user in range(1, 1001) if user != 500]


def test_M11_one_entry_that_is_not_stored_has_all_delivered_again(mount, sessions):
    sessions.lost, sessions.lost_for = OSError("away"), {"500"}
    body = event_body(*map(str, range(1, 1001)))
    assert post_event(mount, body, hub_signature(body)).status == 503
    assert len(sessions.forgotten) == 999
    sessions.lost = None
    assert post_event(mount, body, hub_signature(body)).status == 200
    assert "500" in sessions.forgotten


# -- whatever else comes -----------------------------------------------------------------------------------

anything = st.text(alphabet=st.characters(max_codepoint=255), max_size=60)
paths = (
    st.sampled_from(["/deauthorize", "/data-deletion", "/data-deletion/x", "/webhook", "/restserver.php"])
    | anything
)
names = st.sampled_from([
    "content-type", "content-encoding", "x-hub-signature-256", "x-hub-signature", "host", "x-forwarded-host",
])  # fmt: skip
values = st.sampled_from([FORM[1], JSON[1], HOST[1], GENUINE_SIGNATURE, "gzip", "sha256="]) | anything
bodies = st.binary(max_size=300) | st.sampled_from([form(), GENUINE, b"signed_request="]) | st.builds(
    lambda text: urlencode({"signed_request": text}).encode(), st.text(max_size=60)
)  # fmt: skip
requests = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "HEAD", "PUT", "OPTIONS", ""]) | anything,
        "path": paths,
        "body": bodies,
        "headers": st.lists(st.tuples(names, values), max_size=4),
        "query": anything
        | st.sampled_from(["hub.mode=subscribe&hub.verify_token=x&hub.challenge=1", "code=A"]),
        "length": st.booleans(),
    }
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=requests)
def test_M_any_request_is_answered_and_never_by_500(kind, request):
    sessions = FakeSessions()
    said = Mount(kind, sessions).call(
        request["method"], request["path"], request["body"], *request["headers"],
        query=request["query"], length=request["length"],
    )  # fmt: skip
    assert said.status in ANSWERS
    assert (said.header("cache-control"), said.header("x-content-type-options")) == ("no-store", "nosniff")
    genuine = request["body"] in {form(), GENUINE}
    assert sessions.effects == 0 or (genuine and said.status == 200)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=400), path=st.sampled_from(["/webhook", *FORMS]))
def test_M_any_signed_bytes_are_answered_and_never_by_500(kind, body, path):
    mount = Mount(kind, FakeSessions())
    if path == "/webhook":
        assert post_event(mount, body, hub_signature(body)).status in {200, 400}
    else:
        assert post_form(mount, path, signed_text(b64(body))).status == 403
