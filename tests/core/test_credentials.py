"""The Authorization header, value by value."""

from __future__ import annotations

import time

import pytest

from fbguard.core.credentials import (
    AMBIGUOUS,
    LIMITED_LOGIN,
    MALFORMED,
    MAX_LENGTH,
    from_authorization,
    screen,
)
from fbguard.core.secret import Secret


@pytest.mark.parametrize(
    ("values", "token"),
    [
        (["Bearer abc"], "abc"),
        (["bearer abc"], "abc"),
        (["BEARER abc"], "abc"),
        ([" Bearer abc "], "abc"),
        (["\tBearer abc\t"], "abc"),
        (["Bearer abc=="], "abc=="),
        (["Bearer A-Z.a_z~0+9/x="], "A-Z.a_z~0+9/x="),
        (["Bearer eyJ.one"], "eyJ.one"),
        (["Bearer EYJ.a.b"], "EYJ.a.b"),
        (["Bearer eyJ.a.b.c"], "eyJ.a.b.c"),
    ],
)
def test_tokens(values, token):
    assert from_authorization(values) == Secret(token)


@pytest.mark.parametrize(
    "values",
    [[], ["Basic abc"], ["OAuth abc"], ["Token abc"], ["Bearer: abc"], ["Bearerabc"], ["abc"], ["Bear er"]],
)
def test_no_credential(values):
    assert from_authorization(values) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "\t",
        "Bearer",
        "Bearer ",
        "Bearer  abc",
        "Bearer\tabc",
        "Bearer abc def",
        "Bearer abc\tdef",
        "Bearer \xa0abc",
        "Bearer\xa0abc",
        "Bearer abc\x85",
        "Bearer\x1cabc",
        "Bearer abc\n",
        "Bearer abc\r\nX: y",
        "Bearer abc\x00",
        "Bearer äbc",
        "Bearer 1|s",
        "Bearer =abc",
        "Bearer a=b",
        'Bearer "abc"',
        "Bearer a%20b",
        "Bearer a&b",
        "Bearer a#b",
        "Bearer a?b",
        "\x00",
        "Basic \x00",
    ],
    ids=repr,
)
def test_malformed(value):
    assert from_authorization([value]) == MALFORMED


@pytest.mark.parametrize(
    "values",
    [
        ["Bearer a", "Bearer a"],
        ["Bearer a", ""],
        ["", ""],
        ["Basic a", "Bearer b"],
        ["a,b"],
        ["Bearer a,"],
        [","],
    ],
)
def test_ambiguous(values):
    assert from_authorization(values) == AMBIGUOUS


@pytest.mark.parametrize("token", ["eyJhbGciOi.eyJpc3Mi.c2ln", "eyJ.."])
def test_oidc_tokens(token):
    assert from_authorization([f"Bearer {token}"]) == LIMITED_LOGIN


def test_the_longest_token():
    assert screen(Secret("a" * MAX_LENGTH)) == Secret("a" * 4096)
    assert screen(Secret("a" * (MAX_LENGTH + 1))) == MALFORMED
    assert screen(Secret("eyJ." + "a" * MAX_LENGTH + ".b")) == MALFORMED


@pytest.mark.parametrize("stuff", ["=", " ", ".", "a=", "\t", "Bearer "])
def test_long_nonsense_is_read_quickly(stuff):
    value = "Bearer " + stuff * (65_536 // len(stuff)) + "!"
    started = time.perf_counter()
    assert from_authorization([value]) == MALFORMED
    assert time.perf_counter() - started < 0.5
