"""Fingerprints of tokens and the proofs of calls, against digests that are made here by hand."""

from __future__ import annotations

import hashlib
import hmac
import re

import pytest

from fbguard.core.secret import Secret
from fbguard.core.signing import Signer
from tests.support import NOW, SECRET, TOKEN, make_guard

# Made apart from the package; the first two are of the reference of the platform.
VECTOR_SECRET = "fedcba9876543210fedcba9876543210"
VECTOR_TOKEN = "EAAexampleTOKEN0001ZDZD"
VECTOR_PROOF = "be7a29f055f9140b76d6774d20134957ae16a3a0d437cd9d2001322fb488d6d6"
VECTOR_TIMED = "6ddd3ef7b5476b519b95aeaadfc2008478eed4b89879ea5cd230ee62b3143c81"


def by_hand(secret: str, message: str) -> str:
    return hmac.new(secret.encode("utf-8"), message.encode("utf-8"), hashlib.sha256).hexdigest()


def signer(secret: str = SECRET) -> Signer:
    return Signer(Secret(secret))


def test_the_vector_of_a_plain_proof():
    assert signer(VECTOR_SECRET).proof(Secret(VECTOR_TOKEN)) == {"appsecret_proof": VECTOR_PROOF}


def test_the_vector_of_a_timed_proof():
    assert signer(VECTOR_SECRET).proof(Secret(VECTOR_TOKEN), 1_700_000_000) == {
        "appsecret_proof": VECTOR_TIMED,
        "appsecret_time": "1700000000",
    }


@pytest.mark.parametrize("token", [TOKEN, "a", "a.b-c_d~e+f/g==", "x" * 4096, "tök"])
def test_the_proof_is_the_hmac_of_the_token_with_the_app_secret(token):
    assert signer().proof(Secret(token)) == {"appsecret_proof": by_hand(SECRET, token)}


@pytest.mark.parametrize("at", [0, 1, NOW])
def test_the_timed_proof_is_of_token_and_time(at):
    assert signer().proof(Secret(TOKEN), at) == {
        "appsecret_proof": by_hand(SECRET, f"{TOKEN}|{at}"),
        "appsecret_time": str(at),
    }


def test_proofs_are_in_lower_case_hex():
    assert re.fullmatch(r"[0-9a-f]{64}", signer().proof(Secret(TOKEN))["appsecret_proof"])


def test_another_time_another_token_or_another_secret_is_another_proof():
    proofs = {
        signer().proof(Secret(TOKEN))["appsecret_proof"],
        signer().proof(Secret(TOKEN), NOW)["appsecret_proof"],
        signer().proof(Secret(TOKEN), NOW + 1)["appsecret_proof"],
        signer().proof(Secret(f"{TOKEN}x"))["appsecret_proof"],
        signer(VECTOR_SECRET).proof(Secret(TOKEN))["appsecret_proof"],
    }
    assert len(proofs) == 5


def test_a_fingerprint_is_the_first_twelve_hex_digits_of_the_hmac():
    fingerprint = signer().fingerprint(Secret(TOKEN))
    assert re.fullmatch(r"[0-9a-f]{12}", fingerprint)
    assert fingerprint == by_hand(SECRET, TOKEN)[:12]


def test_the_facts_of_a_token_have_its_fingerprint(guard):
    assert guard.check(TOKEN).fingerprint == by_hand(SECRET, TOKEN)[:12]
    assert guard.signer.fingerprint(Secret(TOKEN)) == by_hand(SECRET, TOKEN)[:12]


def test_of_rotated_secrets_the_first_signs():
    with make_guard(app_secret=[VECTOR_SECRET, SECRET]) as guard:
        assert guard.signer.proof(Secret(VECTOR_TOKEN))["appsecret_proof"] == VECTOR_PROOF
        assert guard.check(TOKEN).fingerprint == by_hand(VECTOR_SECRET, TOKEN)[:12]


def test_a_signer_shows_no_secret():
    one = signer()
    assert SECRET not in repr(one)
    assert not hasattr(one, "__dict__")
