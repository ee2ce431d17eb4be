"""What guards write into a store: names without tokens, values that nobody else can write or move."""

from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbguard.core.secret import Secret
from fbguard.core.token import GranularScopes, TokenError, TokenInfo
from fbguard.stores.codec import Codec, Fact, read, written
from tests.support import APP_ID, NOW, SECRET, TOKEN

PARTS = (APP_ID, "https://graph.facebook.com", "v26.0")
OLD = Secret("00112233445566778899aabbccddeeff")
FACT = Fact(
    TokenInfo(
        app_id=APP_ID,
        type="USER",
        is_valid=True,
        user_id="1001",
        application="Täst",
        scopes=frozenset({"email", "pages_show_list"}),
        granular_scopes=GranularScopes({"pages_show_list": ("1", "2"), "email": None, "none": ()}),
        issued=NOW - 5,
        expires=NOW + 5,
        fingerprint="feedfeedfeed",
    ),
    float(NOW),
    NOW - 1.5,
    good=True,
)
DEAD = Fact(
    TokenInfo(app_id="", type="", is_valid=False, error=TokenError("expired", 190, 463)), 1.0, 1.0, good=False
)


def codec(*secrets: Secret, parts: tuple[str, ...] = PARTS) -> Codec:
    return Codec(parts[:-1], parts[-1], secrets or (Secret(SECRET),))


def names(one: Codec) -> list[str]:
    return [*one.token_names(b"x"), *one.end_names(b"x"), *one.user_names("x")]


@pytest.mark.parametrize("fact", [FACT, DEAD])
def test_a_fact_comes_back_as_it_was(fact):
    one = codec()
    value = one.open("fact", "name", one.seal("fact", "name", written(fact)))
    assert value is not None
    assert read(value) == fact


def test_names_hold_no_token_and_no_user():
    one = codec()
    digest = TOKEN.encode()
    given = [*one.token_names(digest), *one.end_names(digest), *one.user_names("1001")]
    assert all(re.fullmatch(r"(v26\.0:)?[0-9a-f]{64}", name) for name in given)
    assert all(digest.hex() not in name and "1001" not in name for name in given)
    assert len(set(given)) == 3
    assert names(one) == names(codec())  # in every process


@pytest.mark.parametrize(
    "other",
    [
        codec(OLD),
        codec(parts=("42", *PARTS[1:])),
        codec(parts=(PARTS[0], "http://127.0.0.1:1", PARTS[2])),
        codec(parts=("".join(PARTS[:2]), PARTS[2])),
    ],
    ids=["secret", "app", "host", "parts in one"],
)
def test_another_app_host_or_secret_is_another_world(other):
    one = codec()
    assert not set(names(other)) & set(names(one))
    assert other.open("fact", "n", one.seal("fact", "n", written(FACT))) is None


def test_another_version_has_facts_of_its_own_and_the_same_ends():
    one, other = codec(), codec(parts=(*PARTS[:2], "v25.0"))
    assert other.token_names(b"x") != one.token_names(b"x")
    assert (other.end_names(b"x"), other.user_names("x")) == (one.end_names(b"x"), one.user_names("x"))


def test_while_secrets_are_rotated_all_read_and_the_first_writes():
    old, both = codec(OLD), codec(Secret(SECRET), OLD)
    assert both.open("fact", "n", old.seal("fact", "n", {"a": 1})) == {"a": 1}
    assert old.open("fact", "n", both.seal("fact", "n", {"a": 1})) is None
    assert old.open("fact", "n", both.seal("fact", "n", {"a": 1}, by=1)) == {"a": 1}
    assert names(both)[::2] == names(codec())
    assert names(both)[1::2] == names(old)


def test_a_value_that_was_moved_is_unreadable():
    one = codec()
    sealed = one.seal("fact", "n", {"a": 1})
    assert one.open("fact", "m", sealed) is None
    assert one.open("token stone", "n", sealed) is None
    assert one.open("fact", "n", sealed.replace(b"1", b"2")) is None


@given(st.binary(max_size=300))
def test_no_bytes_are_believed_and_none_raise(value):
    assert codec().open("fact", "n", value) is None


@pytest.mark.parametrize(
    "value", [b"", b"{}", pickle.dumps({"a": 1}), b"\xff" * 64 + b"{}", b"0" * 64 + b"[]"]
)
def test_odd_values(value):
    assert codec().open("fact", "n", value) is None


@pytest.mark.parametrize("name", sorted(written(FACT)))
def test_what_another_version_wrote_is_not_there(name):
    value = written(FACT)
    del value[name]
    assert read(value) is None


@pytest.mark.parametrize(
    "odd",
    [{"times": [1, 2]}, {"times": None}, {"error": ["a"]}, {"granular_scopes": []}, {"scopes": 5}],
    ids=str,
)
def test_odd_parts(odd):
    assert read(written(FACT) | odd) is None
