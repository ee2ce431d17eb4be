"""ID tokens and key sets: what is read, and what is believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import string
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, RSAKey

from fbguard import TokenInfo
from fbguard.core.secret import Secret
from fbguard.core.token import TokenError
from fbguard.facebook import oidc
from tests.facebook.id_token_kit import (
    KID,
    a_key,
    claims,
    encoded,
    header,
    published,
    signed,
    signed_text,
)
from tests.support import APP_ID, NOW

FINGERPRINT = "0123456789ab"
_SPARE = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def understood(token: str, keys: oidc.Keys | None = None) -> TokenInfo:
    """Read a token as a look-up does that has these keys."""
    given = Secret(token)
    unverified = oidc.parse(given)
    if isinstance(unverified, str):
        return oidc.dead(unverified, FINGERPRINT)
    key = (keys or {KID: a_key()}).get(unverified.key_id)
    if key is None:
        return oidc.dead("invalid_token", FINGERPRINT)
    return oidc.read(given, unverified, key, fingerprint=FINGERPRINT, now=NOW)


def reason(token: str) -> str | None:
    error = understood(token).error
    return None if error is None else error.reason


def test_what_a_token_says():
    assert understood(signed()) == TokenInfo(
        app_id=APP_ID,
        type="LIMITED_LOGIN",
        is_valid=True,
        user_id="1001",
        scopes=frozenset({"public_profile", "email"}),
        issued=NOW,
        expires=NOW + 3600,
        fingerprint=FINGERPRINT,
    )


def test_of_a_bad_one_nothing_is_believed():
    forged = signed(key=a_key("b" * 40))
    assert understood(forged) == TokenInfo(
        app_id="",
        type="",
        is_valid=False,
        error=TokenError("invalid_token", None, None),
        fingerprint=FINGERPRINT,
    )


@pytest.mark.parametrize(
    ("claim", "value", "scope"),
    [
        ("name", "Alex", "public_profile"),
        ("given_name", "Alex", "public_profile"),
        ("picture", "https://x.example/", "public_profile"),
        ("email", "a@example.com", "email"),
        ("user_friends", [], "user_friends"),
        ("user_birthday", "01/02/1990", "user_birthday"),
        ("user_age_range", {"min": 21}, "user_age_range"),
        ("user_hometown", {"id": "1", "name": "Bandung"}, "user_hometown"),
        ("user_location", {"id": "1", "name": "Jakarta"}, "user_location"),
        ("user_gender", "female", "user_gender"),
        ("user_link", "https://www.facebook.com", "user_link"),
    ],
)
def test_a_claim_shows_a_permission(claim, value, scope):
    nobody = claims(name=..., email=...)
    assert understood(signed(nobody)).scopes == frozenset()
    assert understood(signed(nobody | {claim: value})).scopes == {scope}


@pytest.mark.parametrize("value", [None, ""])
def test_a_claim_without_a_value_shows_none(value):
    assert understood(signed(claims(email=value))).scopes == {"public_profile"}


@pytest.mark.parametrize("claim", ["scope", "scopes", "pages_show_list", "ads_management"])
def test_no_other_claim_grants_anything(claim):
    assert understood(signed(claims(**{claim: "email pages_show_list"}, email=...))).scopes == {
        "public_profile"
    }


@pytest.mark.parametrize(
    "issuer", ["https://www.facebook.com", "https://facebook.com", "https://limited.facebook.com"]
)
def test_issuers(issuer):
    assert reason(signed(claims(iss=issuer))) is None


@pytest.mark.parametrize(
    "issuer",
    [
        ..., None, "", "facebook.com", "http://www.facebook.com", "https://www.facebook.com/",
        "https://www.facebook.com.example", "https://example.com", ["https://www.facebook.com"], 5,
        {"a": 1}, "https://m.facebook.com", "HTTPS://WWW.FACEBOOK.COM",
    ],
)  # fmt: skip
def test_strange_issuers(issuer):
    assert reason(signed(claims(iss=issuer))) == "invalid_token"


@pytest.mark.parametrize("audience", [..., None, "", [APP_ID], [APP_ID, "other"], int(APP_ID), {}, True])
def test_an_audience_that_is_no_text(audience):
    assert reason(signed(claims(aud=audience))) == "invalid_token"


def test_the_audience_is_the_app_that_it_was_issued_to():
    assert understood(signed(claims(aud="999"))).app_id == "999"  # the judge compares


@pytest.mark.parametrize(
    "subject", [..., None, "", "0", 1001, "me", "-1", "1.0", " 1", "1\n", "9" * 33, "١٢٣", ["1"], True]
)
def test_a_subject_that_is_no_user_id(subject):
    assert reason(signed(claims(sub=subject))) == "invalid_token"


@pytest.mark.parametrize(
    "moment", [..., None, "", str(NOW), NOW + 0.5, True, 0, -1, NOW * 1000, [NOW], 10**30]
)
@pytest.mark.parametrize("claim", ["iat", "exp"])
def test_a_moment_that_is_none(claim, moment):
    assert reason(signed(claims(**{claim: moment}))) == "invalid_token"


@pytest.mark.parametrize(("begins", "good"), [(NOW, True), (NOW + 60, True), (NOW + 61, False), ("x", False)])
def test_a_token_that_is_not_good_yet(begins, good):
    assert (reason(signed(claims(nbf=begins))) is None) is good


def test_when_it_is_over_is_for_the_judge():
    info = understood(signed(claims(exp=NOW - 1)))
    assert (info.is_valid, info.expires) == (True, NOW - 1)


# -- signatures (threat A07: claims are never trusted unverified) -------------------------------------------


@pytest.mark.parametrize(
    "algorithm",
    ["none", "None", "HS256", "RS384", "RS512", "PS256", "ES256", "rs256", "", None, 5, ["RS256"], ...],
)
def test_a07_the_algorithm_is_settled(algorithm):
    head = header(alg=algorithm)
    assert reason(signed(head=head)) == "invalid_token"
    bare = signed(head=head).rpartition(".")[0]
    assert reason(f"{bare}.") == "invalid_token"


def test_a07_the_public_key_as_a_shared_secret():
    text = f"{encoded(header(alg='HS256'))}.{encoded(claims())}"
    for secret in (a_key().as_pem(private=False), a_key().as_der(private=False), published()):
        mac = hmac.digest(secret, text.encode(), hashlib.sha256)
        assert reason(f"{text}.{encoded(mac)}") == "invalid_token"


@pytest.mark.parametrize("place", ["jwk", "jku", "x5c", "x5u"])
def test_a07_a_key_of_the_tokens_own(place):
    own = a_key("c" * 40)
    value = {
        "jwk": own.as_dict(private=False),
        "jku": "https://evil.example/jwks",
        "x5c": ["MIIB"],
        "x5u": "https://evil.example/cert",
    }[place]
    assert reason(signed(head=header(**{place: value}), key=own)) == "invalid_token"


@pytest.mark.parametrize(
    "changes",
    [
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
        {"b64": True},
        {"zip": "DEF"},
        {"enc": "A128GCM"},
    ],
)
def test_a07_a_header_that_changes_what_the_rest_means(changes):
    assert reason(signed(head=header(**changes))) == "invalid_token"


def test_an_unknown_header_parameter_is_ignored():
    assert reason(signed(head=header(x="y", typ="at+jwt"))) is None
    assert reason(signed(head=header(typ=...))) is None


@pytest.mark.parametrize("kid", [..., None, "", 5, [KID], "x" * 201, "a b", "ä"])
def test_a_key_id_that_is_none(kid):
    assert reason(signed(head=header(kid=kid))) == "invalid_token"


@given(place=st.integers(0, 10_000), letter=st.sampled_from(_SPARE))
def test_a07_one_letter_is_another_token(place, letter):
    token = signed()
    place %= len(token)
    changed = token[:place] + letter + token[place + 1 :]
    assert (understood(changed).is_valid) is (changed == token)


@given(st.text("eyJ.-_abcXYZ019=+/~", max_size=300))
def test_a07_no_text_is_a_token(text):
    assert not understood(f"eyJ{text}.a.b").is_valid


@given(st.binary(max_size=300))
def test_a07_no_signature_but_the_true_one(octets):
    text = signed().rpartition(".")[0]
    assert not understood(f"{text}.{encoded(octets)}").is_valid


def test_a07_a_signature_has_one_spelling():
    """With a second one a session that was ended would go on under another name."""
    token = signed()
    last = _SPARE.index(token[-1])
    assert last % 16 == 0  # 256 octets leave four bits over
    for spare in range(1, 16):
        other = token[:-1] + _SPARE[last + spare]
        text = other.rpartition(".")[2]
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        assert encoded(octets) == token.rpartition(".")[2]  # the same octets
        assert reason(other) == "malformed_token"
    for other in (
        f"{token}=",
        f"{token}==",
        f"{token}\n",
        token.replace("-", "+", 1).replace("_", "/", 1) + "=",
    ):
        assert not understood(other).is_valid


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"null", b"[]", b"5", b"{", b"\xff", b'{"sub": "1", "sub": "2"}', b'{"iat": NaN}',
        b"[" * 3000, b'{"a":' * 1500, b"\xef\xbb\xbf{}",
    ],
)  # fmt: skip
def test_what_is_no_object_of_json(payload):
    assert reason(signed(payload)) == "malformed_token"
    assert reason(signed_text(f"{encoded(payload)}.{encoded(claims())}")) == "malformed_token"


def test_a_claim_that_stands_twice_is_not_read_two_ways():
    text = json.dumps(claims())[:-1] + f', "aud": "{APP_ID}"}}'
    assert reason(signed(text.encode())) == "malformed_token"


def test_half_a_character():
    assert reason(signed(claims(aud="\ud800"))) == "invalid_token"


def test_a_key_of_another_kind():
    for key in (OctKey.generate_key(256), ECKey.generate_key("P-256")):
        assert not understood(signed(), {KID: key}).is_valid  # type: ignore[dict-item]


# -- key sets -------------------------------------------------------------------------------------------


def test_keys():
    one, other = a_key(), a_key("b" * 40)
    keys = oidc.read_keys(published(one, other))
    assert keys is not None
    assert keys.keys() == {KID, "b" * 40}
    assert understood(signed(), keys).is_valid
    assert understood(signed(head=header(kid="b" * 40), key=other), keys).is_valid
    assert not understood(signed(head=header(kid="b" * 40)), keys).is_valid


def test_members_that_may_be_absent():
    keys = oidc.read_keys(published(use=..., alg=...))
    assert keys is not None
    assert understood(signed(), keys).is_valid


def test_only_the_public_half_is_kept():
    body = json.dumps({"keys": [a_key().as_dict(private=True)]}).encode()
    keys = oidc.read_keys(body)
    assert keys is not None
    assert not keys[KID].is_private


@pytest.mark.parametrize(
    "changes",
    [
        {"kty": "EC"}, {"kty": "oct"}, {"kty": ...}, {"use": "enc"}, {"use": None}, {"alg": "PS256"},
        {"alg": "none"}, {"kid": ...}, {"kid": 5}, {"kid": ""}, {"n": ...}, {"n": 5}, {"n": ""}, {"n": "!"},
        {"e": ...}, {"e": "AA"}, {"e": ""}, {"e": "AQ"}, {"e": 65537}, {"n": "AQAB"}, {"n": "A" * 400},
    ],
)  # fmt: skip
def test_keys_that_are_not_for_us(changes):
    assert oidc.read_keys(published(**changes)) is None
    good, bad = json.loads(published(a_key("b" * 40))), json.loads(published(**changes))
    keys = oidc.read_keys(json.dumps({"keys": bad["keys"] + good["keys"]}).encode())
    assert keys is not None
    assert keys.keys() == {"b" * 40}


def test_a_short_key():
    with pytest.warns(SecurityWarning, match="2048"):
        short = RSAKey.generate_key(1024, {"kid": "c" * 40})
    with warnings.catch_warnings(record=True) as heard:
        assert oidc.read_keys(published(short)) is None
    assert not heard


def test_two_keys_of_one_id_are_none():
    other = RSAKey.import_key(a_key("b" * 40).as_dict(private=True) | {"kid": KID})
    assert oidc.read_keys(published(a_key(), other)) is None


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"{}", b'{"keys": null}', b'{"keys": {}}', b'{"keys": []}',
        b'{"keys": [5, null]}', b"<html></html>", b"\xff", b"[" * 100_000, b'{"keys": [], "keys": []}',
    ],
)  # fmt: skip
def test_what_is_no_key_set(body):
    assert oidc.read_keys(body) is None
