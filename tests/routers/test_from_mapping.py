"""A policy as TOML or JSON data: the same policy, and errors that name the key."""

from __future__ import annotations

import json
import tomllib

import pytest

from fbguard import Policy, Requirement, Rule
from tests.routers.views import POLICY

TOML = """
preflight = false

[default]
scopes = ["email"]
min_remaining = 60

[[rules]]
path = "/health"
public = true

[[rules]]
path = "/me"
optional = true
token_types = ["USER", "PAGE"]

[[rules]]
path = "/pages/{page_id}/posts"
methods = ["get"]
scopes = ["pages_show_list"]
target = "page_id"

[[rules]]
path = "/pages/{page_id}/{rest:path}"
methods = ["POST", "DELETE"]
any_scope = ["pages_manage_posts", "pages_manage_metadata"]
max_login_age = 3600.5
"""

WRITTEN = Policy(
    Rule("/health", public=True),
    Rule("/me", optional=True, token_types=["USER", "PAGE"]),
    Rule("/pages/{page_id}/posts", methods=["GET"], scopes=["pages_show_list"], target="page_id"),
    Rule(
        "/pages/{page_id}/{rest:path}",
        methods=["POST", "DELETE"],
        any_scope=["pages_manage_posts", "pages_manage_metadata"],
        max_login_age=3600.5,
    ),
    default=Requirement(scopes=["email"], min_remaining=60),
    preflight=False,
)


def assert_same(one: Policy, other: Policy) -> None:
    assert (one.rules, one.default, one.preflight) == (other.rules, other.default, other.preflight)
    assert repr(one) == repr(other)


def test_toml_and_json_make_the_policy_that_is_written():
    data = tomllib.loads(TOML)
    assert_same(Policy.from_mapping(data), WRITTEN)
    assert_same(Policy.from_mapping(json.loads(json.dumps(data))), WRITTEN)


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/health", "GET"),
        ("/me", "POST"),
        ("/pages/1/posts", "HEAD"),
        ("/pages/1/posts", "DELETE"),
        ("/pages/1/x", "PUT"),
        ("/x", "GET"),
        ("//", "GET"),
    ],
)
def test_it_judges_alike(path, method):
    assert Policy.from_mapping(tomllib.loads(TOML)).match(path, method) == WRITTEN.match(path, method)


@pytest.mark.parametrize(
    "data", [{}, {"rules": []}, {"default": {}}, {"preflight": True}, {"rules": [], "default": {}}]
)
def test_what_is_left_out_is_the_default(data):
    assert_same(Policy.from_mapping(data), Policy())


def test_the_data_stays_as_it_is():
    data = tomllib.loads(TOML)
    Policy.from_mapping(data)
    assert data == tomllib.loads(TOML)


def _rule(**options: object) -> dict[str, object]:
    return {"rules": [{"path": "/a"}, {"path": "/b/{id}", **options}]}


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        ([], TypeError, ["policy", "mapping", "list"]),
        (None, TypeError, ["policy", "mapping"]),
        ("rules", TypeError, ["policy", "mapping"]),
        ({"rule": []}, TypeError, ["rule "]),
        ({"Rules": []}, TypeError, ["Rules"]),
        ({5: []}, TypeError, ["5"]),
        ({"rules": "/a"}, TypeError, ["rules"]),
        ({"rules": {"path": "/a"}}, TypeError, ["rules"]),
        ({"rules": None}, TypeError, ["rules"]),
        ({"rules": 5}, TypeError, ["rules"]),
        ({"rules": ["/a"]}, TypeError, ["rules[0]", "str"]),
        ({"rules": [{"path": "/a"}, None]}, TypeError, ["rules[1]"]),
        ({"rules": [{}]}, TypeError, ["rules[0].path"]),
        ({"rules": [{"public": True}]}, TypeError, ["rules[0].path"]),
        ({"rules": [{"path": 5}]}, TypeError, ["rules[0]", "path"]),
        ({"rules": [{"path": None}]}, TypeError, ["rules[0]", "path"]),
        ({"rules": [{"path": "a"}]}, ValueError, ["rules[0]", "path", "'a'"]),
        ({"rules": [{"path": "/a//b"}]}, ValueError, ["rules[0]", "path", "/a//b"]),
        ({"rules": [{"path": "/{a"}]}, ValueError, ["rules[0]", "/{a"]),
        ({"rules": [{"path": "/{a}/{a}"}]}, ValueError, ["rules[0]", "/{a}/{a}"]),
        ({"rules": [{"path": "/{a:path}/b"}]}, ValueError, ["rules[0]", "/{a:path}/b"]),
        (_rule(scope=["email"]), TypeError, ["rules[1].scope "]),
        (_rule(methods="GET"), TypeError, ["rules[1]", "methods"]),
        (_rule(methods=5), TypeError, ["rules[1]", "methods"]),
        (_rule(methods=[5]), TypeError, ["rules[1]", "methods"]),
        (_rule(methods=["GET", None]), TypeError, ["rules[1]", "methods"]),
        (_rule(methods=[]), ValueError, ["rules[1]", "methods"]),
        (_rule(public="yes"), TypeError, ["rules[1]", "public"]),
        (_rule(public=1), TypeError, ["rules[1]", "public"]),
        (_rule(public=True, scopes=["email"]), ValueError, ["rules[1]", "public"]),
        (_rule(public=True, optional=False), ValueError, ["rules[1]", "public"]),
        (_rule(scopes="email"), TypeError, ["rules[1]", "scopes"]),
        (_rule(scopes=5), TypeError, ["rules[1]", "scopes"]),
        (_rule(scopes=[5]), TypeError, ["rules[1]", "scopes"]),
        (_rule(scopes=["e mail"]), ValueError, ["rules[1]", "scopes", "e mail"]),
        (_rule(any_scope="email"), TypeError, ["rules[1]", "any_scope"]),
        (_rule(any_scope=[""]), ValueError, ["rules[1]", "any_scope"]),
        (_rule(token_types="USER"), TypeError, ["rules[1]", "token_types"]),
        (_rule(token_types=[]), ValueError, ["rules[1]", "token_types"]),
        (_rule(optional="no"), TypeError, ["rules[1]", "optional"]),
        (_rule(target="id"), ValueError, ["rules[1]", "target"]),
        (_rule(target=5, scopes=["email"]), TypeError, ["rules[1]", "target"]),
        (_rule(target="no name", scopes=["email"]), ValueError, ["rules[1]", "target"]),
        (_rule(target="page", scopes=["email"]), RuntimeError, ["rules[1]", "target", "page"]),
        (_rule(min_remaining=-1), ValueError, ["rules[1]", "min_remaining"]),
        (_rule(min_remaining=float("inf")), ValueError, ["rules[1]", "min_remaining"]),
        (_rule(min_remaining="60"), TypeError, ["rules[1]", "min_remaining"]),
        (_rule(min_remaining=None), TypeError, ["rules[1]", "min_remaining"]),
        (_rule(max_login_age=True), TypeError, ["rules[1]", "max_login_age"]),
        (_rule(max_login_age=float("nan")), ValueError, ["rules[1]", "max_login_age"]),
        ({"default": None}, TypeError, ["default"]),
        ({"default": ["email"]}, TypeError, ["default"]),
        ({"default": {"path": "/a"}}, TypeError, ["default.path"]),
        ({"default": {"public": True}}, TypeError, ["default.public"]),
        ({"default": {"methods": ["GET"]}}, TypeError, ["default.methods"]),
        ({"default": {"scopes": "email"}}, TypeError, ["default", "scopes"]),
        ({"default": {"scopes": ["email"], "target": "page"}}, RuntimeError, ["default", "target"]),
        ({"preflight": "no"}, TypeError, ["preflight"]),
        ({"preflight": 0}, TypeError, ["preflight"]),
        ({"preflight": None}, TypeError, ["preflight"]),
    ],
    ids=repr,
)  # fmt: skip
def test_an_error_names_its_key(data, error, says):
    with pytest.raises(error) as caught:
        Policy.from_mapping(data)
    for text in says:
        assert text in f"{caught.value} "


def test_the_policy_of_the_sites_as_data():
    """The same policy, read from data: the whole site stands as before."""
    rules = []
    for rule in POLICY.rules:
        data: dict[str, object] = (
            {"path": rule.path, "public": True}
            if rule.public
            else {"path": rule.path, "scopes": [*rule.requirement.scopes]}
        )
        rules.append(data if rule.methods is None else data | {"methods": sorted(rule.methods)})
    read = Policy.from_mapping({"rules": rules, "default": {"scopes": [*POLICY.default.scopes]}})
    assert_same(read, POLICY)
