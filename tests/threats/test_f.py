"""Rows F: taking the credential from the request."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import pytest

from fbguard import Policy, Rule
from tests.support import TOKEN

OPEN = Policy(Rule("/open", optional=True))
AUTH = "Authorization"


@pytest.mark.parametrize(
    "values",
    [
        (f"Bearer {TOKEN}", f"Bearer {TOKEN}"),
        (f"Bearer {TOKEN}", "Bearer other"),
        (f"Bearer {TOKEN}", ""),
        ("", f"Bearer {TOKEN}"),
        ("Basic dXNlcjpwdw==", f"Bearer {TOKEN}"),
        ("", ""),
    ],
    ids=["same", "different", "second empty", "first empty", "two schemes", "both empty"],
)
@pytest.mark.parametrize("path", ["/", "/open"])
def test_F01_two_authorization_headers(door, guard, graph, values, path):
    answer = door(guard, policy=OPEN).send(path=path, headers=[(AUTH, value) for value in values])
    assert (answer.status, answer.reason, answer.ran) == (400, "invalid_request", False)
    assert answer.challenge.startswith('Bearer realm="fbguard", error="invalid_request"')
    assert graph.calls == []


@pytest.mark.parametrize(
    "value", [f"Bearer {TOKEN}, Bearer {TOKEN}", f"Bearer {TOKEN},", ",", "Basic a,b", f"Bearer,{TOKEN}"]
)
@pytest.mark.parametrize("path", ["/", "/open"])
def test_F02_comma_joined(door, guard, graph, value, path):
    answer = door(guard, policy=OPEN).send(path=path, headers=[(AUTH, value)])
    assert (answer.status, answer.reason, answer.ran) == (400, "invalid_request", False)
    assert graph.calls == []


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer", "bEaReR"])
def test_F03_the_scheme_in_any_case(door, guard, scheme):
    assert door(guard).send(headers=[(AUTH, f"{scheme} {TOKEN}")]).info.user_id == "1001"


@pytest.mark.parametrize("scheme", ["Basic", "OAuth", "Token", "Bearer:", "Bearerx", "Bear"])
def test_F03_another_scheme_is_no_credential(door, guard, graph, scheme):
    behind = door(guard, policy=OPEN)
    headers = [(AUTH, f"{scheme} {TOKEN}")]
    answer = behind.send(headers=headers)
    assert (answer.status, answer.reason, answer.ran) == (401, "missing_token", False)
    assert answer.challenge == 'Bearer realm="fbguard"'  # bare: RFC 6750 section 3.1
    anonymous = behind.send(path="/open", headers=headers)
    assert (anonymous.status, anonymous.ran, anonymous.info) == (200, True, None)
    assert graph.calls == []


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "", " ", "\t", "bearer  "], ids=repr)
@pytest.mark.parametrize("path", ["/", "/open"])
def test_F07_empty(door, guard, graph, value, path):
    answer = door(guard, policy=OPEN).send(path=path, headers=[(AUTH, value)])
    assert (answer.status, answer.reason, answer.ran) == (401, "malformed_token", False)
    assert 'error="invalid_token"' in answer.challenge
    assert graph.calls == []
