"""Limited Login in the sandbox: its tokens, its keys, and what Graph makes of both."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet

from fbguard.sandbox import Sandbox

KEYS = "/.well-known/oauth/openid/jwks/"


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


def fetched(sandbox: Sandbox, path: str = KEYS) -> dict[str, Any]:
    with httpx.Client(transport=sandbox.transport) as client:
        answer = client.get(f"https://www.facebook.com{path}")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    return answer.json()


def verified(sandbox: Sandbox, token: str) -> jwt.Token:
    """Verify as somebody else's library does."""
    return jwt.decode(token, KeySet.import_key_set(fetched(sandbox)), algorithms=["RS256"])


def test_a_token_in_the_shape_of_facebooks(sandbox):
    token = verified(sandbox, sandbox.issue_id_token(user_id="1001", nonce="n-1"))
    assert set(token.header) == {"alg", "typ", "kid"}
    assert (token.header["alg"], token.header["typ"], len(token.header["kid"])) == ("RS256", "JWT", 40)
    claims = token.claims
    assert {"iss", "aud", "sub", "iat", "exp", "jti", "nonce"} < set(claims)
    assert (claims["iss"], claims["aud"], claims["sub"]) == (
        "https://www.facebook.com",
        sandbox.app_id,
        "1001",
    )
    assert (claims["exp"] - claims["iat"], claims["nonce"]) == (3600, "n-1")
    assert abs(claims["iat"] - sandbox.clock.time()) < 5
    assert {"name", "picture", "email"} < set(claims)


def test_nobody_is_named_twice(sandbox):
    one, two = (verified(sandbox, sandbox.issue_id_token()).claims for _ in range(2))
    assert not [name for name in ("sub", "jti", "nonce") if one[name] == two[name]]


@pytest.mark.parametrize(
    ("permissions", "there"),
    [
        ([], set()),
        (["email"], {"email"}),
        (["public_profile"], {"name", "given_name", "family_name", "picture"}),
        (["user_friends", "user_age_range"], {"user_friends", "user_age_range"}),
    ],
)
def test_a_permission_puts_its_claims_in(sandbox, permissions, there):
    claims = verified(sandbox, sandbox.issue_id_token(permissions=permissions)).claims
    assert set(claims) - {"iss", "aud", "sub", "iat", "exp", "jti", "nonce"} == there


def test_claims_of_ones_own(sandbox):
    token = sandbox.issue_id_token(claims={"email": None, "cnf": {"jkt": "x"}, "iss": "https://facebook.com"})
    claims = verified(sandbox, token).claims
    assert "email" not in claims
    assert (claims["cnf"], claims["iss"]) == ({"jkt": "x"}, "https://facebook.com")


@pytest.mark.parametrize("path", [KEYS, KEYS.rstrip("/"), f"/v26.0{KEYS}"])
def test_the_keys(sandbox, path):
    assert fetched(sandbox, path) == {"keys": []}  # nobody has logged in yet
    sandbox.issue_id_token()
    (key,) = fetched(sandbox, path)["keys"]
    assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}  # and nothing of the private half
    assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")


def test_other_verbs(sandbox):
    with httpx.Client(transport=sandbox.transport) as client:
        assert client.head(f"https://www.facebook.com{KEYS}").status_code == 200
        assert client.post(f"https://www.facebook.com{KEYS}").status_code == 400


def test_keys_are_changed(sandbox):
    old = sandbox.issue_id_token()
    sandbox.rotate_signing_keys()
    new = sandbox.issue_id_token()
    assert len(fetched(sandbox)["keys"]) == 2
    assert verified(sandbox, old)
    assert verified(sandbox, new)
    sandbox.rotate_signing_keys(keep_old=False)
    assert len(fetched(sandbox)["keys"]) == 1
    for token in (old, new):
        with pytest.raises(InvalidKeyIdError):
            verified(sandbox, token)


def test_an_outage_takes_the_keys_too_and_a_limit_of_graphs_does_not(sandbox):
    sandbox.issue_id_token()
    sandbox.throttle(4)
    assert len(fetched(sandbox)["keys"]) == 1
    sandbox.fail(503)
    with httpx.Client(transport=sandbox.transport) as client:
        assert client.get(f"https://www.facebook.com{KEYS}").status_code == 503


def test_graph_does_not_take_it(sandbox):
    token = sandbox.issue_id_token()
    with httpx.Client(transport=sandbox.transport, base_url="https://graph.facebook.com") as client:
        app = {"access_token": f"{sandbox.app_id}|{sandbox.app_secret}"}
        said = client.get("/debug_token", params={"input_token": token, **app}).json()["data"]["error"]
        assert (said["code"], "subcode" in said) == (190, False)
        error = client.get("/me", headers=sandbox.bearer(token)).json()["error"]
        assert (error["code"], "Cannot parse" in error["message"]) == (190, True)


@pytest.mark.parametrize("seconds", [0, -5, 0.5, 7200])
def test_its_end_is_so_many_seconds_from_now(sandbox, seconds):
    claims = json.loads(
        base64.urlsafe_b64decode(sandbox.issue_id_token(expires_in=seconds).split(".")[1] + "==")
    )
    assert claims["exp"] - claims["iat"] == int(seconds)


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (TypeError, {"permissions": "email"}),
        (ValueError, {"permissions": ["pages_show_list"]}),
        (ValueError, {"user_id": "me"}),
        (TypeError, {"user_id": 5}),
        (ValueError, {"app_id": ""}),
        (TypeError, {"expires_in": "1"}),
        (TypeError, {"expires_in": None}),
        (ValueError, {"nonce": ""}),
        (TypeError, {"claims": ["email"]}),
        (TypeError, {"claims": {5: 1}}),
    ],
)
def test_wrong_arguments(sandbox, error, options):
    (name,) = options
    with pytest.raises(error, match=name):
        sandbox.issue_id_token(**options)


def test_by_the_control_api(sandbox):
    with sandbox.serve() as url, httpx.Client(base_url=url) as client:
        answer = client.post("/sandbox/issue_id_token", json={"user_id": "1001", "permissions": ["email"]})
        token = answer.json()["result"]
        assert verified(sandbox, token).claims["sub"] == "1001"
        assert client.post("/sandbox/rotate_signing_keys", json={"keep_old": False}).status_code == 200
        assert len(json.loads(client.get(KEYS).text)["keys"]) == 1
        assert client.post("/sandbox/issue_id_token", json={"permissions": ["x"]}).status_code == 400
    assert "eyJ" not in repr(sandbox.calls)
