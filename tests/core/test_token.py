"""Facts made by hand: what they take, and that they are what they were."""

import copy
import dataclasses
import pickle

import pytest

from fbguard import TokenInfo
from fbguard.core.token import GranularScopes, TokenError

WHOLE = {
    "app_id": "42",
    "type": "USER",
    "is_valid": True,
    "user_id": "1001",
    "profile_id": "7",
    "application": "App",
    "scopes": frozenset({"email"}),
    "granular_scopes": GranularScopes({"email": None, "pages": ("1", "2"), "x": ("3",)}),
    "issued": 1,
    "expires": 253_402_300_799,
    "data_access_expires": 1_800_000_000,
    "error": TokenError("expired", 190, 463),
    "stale": True,
    "fingerprint": "0123456789ab",
}


@pytest.mark.parametrize("given", [WHOLE, {"app_id": "42", "type": "USER", "is_valid": True}])
def test_it_is_what_it_was_made_of(given):
    info = TokenInfo(**given)
    assert {name: getattr(info, name) for name in given} == given
    for other in (
        copy.copy(info),
        copy.deepcopy(info),
        pickle.loads(pickle.dumps(info)),
        dataclasses.replace(info),
    ):
        assert other == info
        assert hash(other) == hash(info)
    assert dataclasses.asdict(info)["expires"] == info.expires


@pytest.mark.parametrize("name", WHOLE)
def test_each_part_makes_a_difference(name):
    other = {"app_id": "43", "type": "PAGE", "is_valid": False, "stale": False, "error": None}.get(name)
    if name not in {"error", "is_valid", "stale"} and other is None:
        other = type(WHOLE[name])()
    info = TokenInfo(**WHOLE)
    assert TokenInfo(**(WHOLE | {name: other})) != info
    with pytest.raises(AttributeError):
        setattr(info, name, other)


def test_it_takes_what_is_alike():
    info = TokenInfo(app_id="42", type="USER", is_valid=True, scopes={"a"}, granular_scopes={"a": ("1",)})
    assert info.scopes == frozenset({"a"})
    assert info.granular_scopes["a"] == ("1",)
    assert TokenInfo(app_id="42", type="USER", is_valid=1).is_valid is False


@pytest.mark.parametrize("moment", [-1, 1.5, 253_402_300_800, True])
@pytest.mark.parametrize("name", ["issued", "expires", "data_access_expires"])
def test_what_is_no_moment(name, moment):
    with pytest.raises(ValueError, match="seconds"):
        TokenInfo(app_id="42", type="USER", is_valid=True, **{name: moment})


def test_what_is_no_fingerprint():
    with pytest.raises(ValueError, match="hex digits"):
        TokenInfo(app_id="42", type="USER", is_valid=True, fingerprint="xyz")


def test_what_many_have_in_common_is_one_object():
    one, other = (
        TokenInfo(app_id="42", type="USER", is_valid=True, user_id=user, scopes=frozenset(["email", "x"]))
        for user in ("1", "2")
    )
    assert one.scopes is other.scopes
