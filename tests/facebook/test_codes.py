"""The catalogue of codes covers what is known, and cannot tell another story than the table of reasons."""

import pytest

from fbguard import OAuthException
from fbguard.core.reasons import (
    CODE_REASONS,
    PERMISSION_CODES,
    REASONS,
    SUBCODE_REASONS,
    THROTTLE_CODES,
    TRANSIENT_CODES,
)
from fbguard.facebook.codes import ROWS, look_up, owners_of, reason_in_look_up

# What Facebook's pages and SDKs name.
DOCUMENTED = {
    *range(1, 18), 32, *range(100, 105), 110, 190, 191, *range(200, 300), 326, 341, 368, 412,
    *range(450, 456), 506, 613, 803, 960, 1609005, 2500, *range(80000, 80015),
}  # fmt: skip
SUBCODES = {452, *range(456, 469), 490, 492, 493}


@pytest.mark.parametrize("code", sorted(DOCUMENTED))
def test_every_documented_code_has_a_row(code):
    assert look_up(code)


@pytest.mark.parametrize("subcode", sorted(SUBCODES))
@pytest.mark.parametrize("code", [190, 102])
def test_every_documented_subcode_has_one_row(code, subcode):
    (row,) = look_up(code, subcode)
    assert row.subcode == subcode


def test_other_subcodes_have_rows():
    for code, subcode in ((4, 1504022), (4, 1349193), (17, 2446079), (100, 33), (368, 4854002)):
        assert look_up(code, subcode)


def test_every_number_that_the_reasons_know_has_a_row():
    codes = {*CODE_REASONS, *PERMISSION_CODES, *THROTTLE_CODES, *TRANSIENT_CODES, 102, 190, 100, 2500}
    assert not {code for code in codes if not look_up(code)}
    assert not {subcode for subcode in SUBCODE_REASONS if not look_up(190, subcode)}


def test_what_is_not_known_has_no_row():
    assert look_up(12345) == look_up(190, 999) == look_up(463) == look_up(0) == ()


def test_the_narrowest_row_wins():
    assert [row.codes for row in look_up(80001)] == ["80001"]
    assert [row.codes for row in look_up(80007)] == ["80000-80014"]


def test_meanings_that_only_the_message_tells_apart_come_together():
    assert [(row.message != "", row.in_call) for row in look_up(100)] == [(False, None), (True, "wrong_app")]
    assert {row.in_call for row in look_up(2500)} == {None, "missing_token"}


@pytest.mark.parametrize(
    ("code", "subcode", "in_look_up", "in_call"),
    [
        (190, 463, "expired", "expired"),
        (102, 458, "not_authorized", "not_authorized"),
        (10, None, "invalid_token", "insufficient_scope"),
        (250, None, "invalid_token", "insufficient_scope"),
        (506, None, "invalid_token", None),
        (4, None, "throttled", "throttled"),
        (80014, None, "throttled", "throttled"),
        (2, None, "unavailable", "unavailable"),
        (412, None, "not_authorized", "not_authorized"),
    ],
)
def test_a_row_leads_where_the_reasons_lead(code, subcode, in_look_up, in_call):
    (row,) = look_up(code, subcode)
    assert (row.in_look_up, row.in_call) == (in_look_up, in_call)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.codes}-{row.subcode}-{row.message}")
def test_every_code_of_a_row_has_the_same_reason(row):
    for code in range(row.first, row.last + 1):
        assert reason_in_look_up(code, row.subcode, row.message) == row.in_look_up
        assert OAuthException(row.message, code=code, subcode=row.subcode).reason == row.in_call
    assert row.in_look_up in REASONS
    assert row.in_call is None or row.in_call in REASONS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.codes}-{row.subcode}-{row.message}")
def test_every_row_says_something(row):
    assert row.first <= row.last
    for text in (row.meaning, row.advice):
        assert text[0].isupper()
        assert text.endswith(".")
    assert row.source
    assert not row.source.endswith(".")


def test_no_two_rows_are_the_same():
    keys = [(row.first, row.last, row.subcode, row.message) for row in ROWS]
    assert len(set(keys)) == len(keys)


def test_a_subcode_knows_its_codes():
    assert owners_of(463) == (190,)
    assert owners_of(190) == ()
