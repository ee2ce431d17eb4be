"""What a route may ask, and the order in which it is judged."""

from __future__ import annotations

import math
import re

import pytest

from fbguard import Requirement, TokenInfo
from fbguard.core.judge import judge
from fbguard.core.requirement import with_scopes
from fbguard.core.token import GranularScopes, TokenError

NOW = 1_000_000
APP = "42"
GOOD = {
    "app_id": APP,
    "type": "USER",
    "is_valid": True,
    "user_id": "1",
    "scopes": frozenset({"email", "pages"}),
    "issued": NOW - 100,
    "expires": NOW + 100,
    "data_access_expires": NOW + 1000,
}


def info(**changes):
    return TokenInfo(**(GOOD | changes))


def reason(requirement=None, path_params=None, **changes):
    finding = judge(
        info(**changes), requirement or Requirement(), app_id=APP, now=NOW, path_params=path_params
    )
    return finding and finding.reason


# -- construction ----------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["scopes", "any_scope", "token_types"])
@pytest.mark.parametrize("value", ["email", "", b"email", None, 5, [None], [b"email"], [["email"]]], ids=repr)
def test_names_of_another_type(option, value):
    with pytest.raises(TypeError, match=option):
        Requirement(**{option: value})


@pytest.mark.parametrize("option", ["scopes", "any_scope", "token_types"])
@pytest.mark.parametrize("name", ["", " ", "a b", 'a"b', "a\\b", "a\nb", "ü", "a\x7f"], ids=repr)
def test_names_outside_the_charset(option, name):
    with pytest.raises(ValueError, match=option):
        Requirement(**{option: ["good", name]})


@pytest.mark.parametrize("option", ["min_remaining", "max_login_age"])
@pytest.mark.parametrize("value", [-1, -0.1, math.inf, math.nan])
def test_numbers_out_of_range(option, value):
    with pytest.raises(ValueError, match=option):
        Requirement(**{option: value})


@pytest.mark.parametrize("option", ["min_remaining", "max_login_age"])
@pytest.mark.parametrize("value", ["5", True, [5]])
def test_numbers_of_another_type(option, value):
    with pytest.raises(TypeError, match=option):
        Requirement(**{option: value})


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"token_types": []}, ValueError),
        ({"token_types": ["user"]}, ValueError),
        ({"optional": 1}, TypeError),
        ({"optional": "yes"}, TypeError),
        ({"target": "page"}, ValueError),
        ({"target": "page id", "scopes": ["email"]}, ValueError),
        ({"target": "", "scopes": ["email"]}, ValueError),
        ({"target": 5, "scopes": ["email"]}, TypeError),
        ({"requried_scopes": ["email"]}, TypeError),
    ],
    ids=repr,
)
def test_other_mistakes(options, error):
    with pytest.raises(error):
        Requirement(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scope": ["email"]}, "Requirement has no option 'scope'; is it 'scopes'?"),
        ({"Scopes": ["email"]}, "Requirement has no option 'Scopes'; is it 'scopes'?"),
        ({"public": True}, "Requirement has no option 'public': that is for a Rule"),
        ({"methods": ["GET"]}, "Requirement has no option 'methods': that is for a Rule"),
        ({"quux": 1}, "Requirement has no option 'quux'"),
        ({"scopes": "email"}, "scopes must be a sequence of str, such as ['email'], not str"),
        ({"any_scope": None}, "any_scope must be a sequence of str, such as ['email'], not NoneType"),
        ({"token_types": "PAGE"}, "token_types must be a sequence of str, such as ['USER'], not str"),
    ],
    ids=repr,
)
def test_what_a_mistake_should_have_been(options, says):
    with pytest.raises(TypeError, match=f"^{re.escape(says)}$"):
        Requirement(**options)


@pytest.mark.parametrize("option", ["scopes", "any_scope"])
def test_a_comma_separates_permissions(option):
    says = "'email,public_profile', but names one permission each: ['email', 'public_profile']"
    with pytest.raises(ValueError, match=f"^{option} holds {re.escape(says)}$"):
        Requirement(**{option: ["pages", "email,public_profile"]})


def test_a_permission_that_is_needed_too_has_no_comma():
    with pytest.raises(ValueError, match="one permission each"):
        with_scopes(Requirement(), ["email,pages"])


def test_it_is_data():
    one = Requirement(scopes=["email", "pages", "email"])
    assert one == Requirement(scopes=("email", "pages"))
    assert one.scopes == ("email", "pages")
    assert len({one, Requirement(scopes=("email", "pages")), Requirement()}) == 2
    with pytest.raises(AttributeError):
        one.scopes = ()
    with pytest.raises(TypeError):
        Requirement(["email"])


def test_any_iterable_of_names():
    assert Requirement(scopes=(name for name in ("b", "a"))).scopes == ("b", "a")
    assert Requirement(any_scope={"a"}).any_scope == ("a",)


# -- the judge -------------------------------------------------------------------------------------

# Each row fails a later check than the row before; a token with all faults from row n on fails by row n.
STRICT = Requirement(
    scopes=["user_posts"], any_scope=["x", "y"], target="page", min_remaining=500, max_login_age=10
)
FAULTS = [
    ("wrong_app", {"app_id": "43"}),
    ("password_changed", {"error": TokenError("password_changed", 190, 460)}),
    ("invalid_token", {"is_valid": False}),
    ("expired", {"expires": NOW}),
    ("wrong_token_type", {"type": "PAGE"}),
    ("expires_soon", {"expires": NOW + 499}),
    ("login_too_old", {"issued": NOW - 11}),
    ("data_access_expired", {"data_access_expires": NOW}),
    ("insufficient_scope", {"scopes": frozenset({"email"})}),
]
SOUND = {"expires": NOW + 500, "issued": NOW - 10}


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_the_order(first):
    changes = dict(SOUND)
    for _, fault in reversed(FAULTS[first:]):
        changes |= fault  # earlier faults overwrite later ones that use the same field
    assert reason(STRICT, {"page": "1"}, **changes) == FAULTS[first][0]


def test_the_end_of_the_order():
    scopes = frozenset({"user_posts"})
    assert reason(STRICT, {"page": "1"}, scopes=scopes, **SOUND) == "insufficient_scope"  # any_scope
    scopes |= {"y"}
    granular = GranularScopes({"user_posts": ("2",), "y": None})
    assert (
        reason(STRICT, {"page": "1"}, scopes=scopes, granular_scopes=granular, **SOUND)
        == "insufficient_target"
    )
    assert reason(STRICT, {"page": "2"}, scopes=scopes, granular_scopes=granular, **SOUND) is None


@pytest.mark.parametrize(
    ("app_id", "error", "expected"),
    [
        ("", None, "invalid_token"),
        ("", TokenError("malformed_token", 190, None), "malformed_token"),
        ("43", TokenError("malformed_token", 190, None), "wrong_app"),
        (APP, TokenError("role_lost", 190, 492), "role_lost"),
    ],
)
def test_an_app_id_that_graph_left_out(app_id, error, expected):
    assert reason(app_id=app_id, error=error, is_valid=False) == expected


@pytest.mark.parametrize(
    ("expires", "expected"), [(0, None), (NOW - 1, "expired"), (NOW, "expired"), (NOW + 1, None)]
)
def test_expiry(expires, expected):
    assert reason(expires=expires) == expected


@pytest.mark.parametrize(("left", "expected"), [(59, "expires_soon"), (60, None)])
def test_min_remaining(left, expected):
    requirement = Requirement(min_remaining=60)
    assert reason(requirement, expires=NOW + left) == expected
    assert reason(requirement, expires=0) is None  # a token that never expires


@pytest.mark.parametrize(
    ("issued", "expected"), [(0, "login_too_old"), (NOW - 61, "login_too_old"), (NOW - 60, None)]
)
def test_max_login_age(issued, expected):
    assert reason(Requirement(max_login_age=60), issued=issued) == expected
    finding = judge(info(issued=0), Requirement(max_login_age=60), app_id=APP, now=NOW)
    assert finding.max_age == 60


def test_max_login_age_of_zero_is_not_none():
    assert reason(Requirement(max_login_age=0), issued=NOW - 1) == "login_too_old"


@pytest.mark.parametrize("options", [{"scopes": ["email"]}, {"any_scope": ["email"]}])
def test_data_access(options):
    for moment, expected in (
        (NOW - 1, "data_access_expired"),
        (NOW, "data_access_expired"),
        (NOW + 1, None),
        (0, None),
    ):
        assert reason(Requirement(**options), data_access_expires=moment) == expected
    assert reason(data_access_expires=NOW - 1) is None  # a route without scopes stays open


@pytest.mark.parametrize("name", ["EMAIL", "email ", "email\u200b", "\uff45mail", "email_extended", "mail"])
def test_scopes_are_compared_exactly(name):
    assert reason(Requirement(scopes=["email"]), scopes=frozenset({name})) == "insufficient_scope"


def test_what_a_missing_scope_tells():
    finding = judge(info(), Requirement(scopes=["a", "email", "b"]), app_id=APP, now=NOW)
    assert (finding.required, finding.missing) == (("a", "email", "b"), ("a", "b"))
    finding = judge(info(), Requirement(any_scope=["a", "b"]), app_id=APP, now=NOW)
    assert (finding.required, finding.missing) == ((), ("a", "b"))


def test_empty_scopes_ask_for_a_valid_user_token():
    assert reason(Requirement(scopes=[]), scopes=frozenset()) is None
    assert reason(Requirement(scopes=[]), is_valid=False) == "invalid_token"


# -- targets ---------------------------------------------------------------------------------------

GRANULAR = GranularScopes({"email": ("1", "2"), "pages": None})


@pytest.mark.parametrize(
    ("options", "value", "expected"),
    [
        ({"scopes": ["email"]}, "1", None),
        ({"scopes": ["email"]}, 1, None),
        ({"scopes": ["email"]}, "3", "insufficient_target"),
        ({"scopes": ["email"]}, "", "insufficient_target"),
        ({"scopes": ["email"]}, None, "insufficient_target"),
        ({"scopes": ["pages"]}, "anything", None),
        ({"scopes": ["email", "pages"]}, "3", "insufficient_target"),
        ({"any_scope": ["email", "pages"]}, "3", None),
        ({"any_scope": ["email", "absent"]}, "3", "insufficient_target"),
        ({"any_scope": ["email", "absent"]}, "2", None),
    ],
)
def test_targets(options, value, expected):
    by_name = Requirement(**options, target="page")
    assert reason(by_name, {"page": value}, granular_scopes=GRANULAR) == expected
    by_callable = Requirement(**options, target=lambda params: params["page"] and str(params["page"]))
    assert reason(by_callable, {"page": value}, granular_scopes=GRANULAR) == expected


def test_a_scope_that_is_not_granted_covers_nothing():
    requirement = Requirement(any_scope=["absent", "email"], target="page")
    granular = GranularScopes({"absent": None, "email": ()})
    assert reason(requirement, {"page": "1"}, granular_scopes=granular) == "insufficient_target"


def test_a_callable_that_returns_none_refuses_even_where_all_is_covered():
    requirement = Requirement(scopes=["pages"], target=lambda params: None)
    assert reason(requirement, {}, granular_scopes=GRANULAR) == "insufficient_target"
    assert reason(requirement, {}) == "insufficient_target"  # nothing granular at all


@pytest.mark.parametrize("path_params", [None, {}, {"other": "1"}])
def test_a_target_without_its_parameter_is_a_mistake(path_params):
    with pytest.raises(RuntimeError):
        reason(Requirement(scopes=["email"], target="page"), path_params)
