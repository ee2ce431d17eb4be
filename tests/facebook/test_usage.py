"""How much of its limit Graph says is used, and how long the headers ask to wait."""

from __future__ import annotations

import json

import pytest

from fbguard.facebook.usage import Usage, seconds_to_wait, usage_of

BUSINESS = "x-business-use-case-usage"
ACCOUNT = "x-ad-account-usage"
DAY = 86_400


def wait(**headers: object) -> int | None:
    """Give the headers by their names with underscores; what is no text is sent as JSON."""
    sent = {
        name.replace("_", "-"): value if isinstance(value, str) else json.dumps(value)
        for name, value in headers.items()
    }
    return seconds_to_wait(sent.get)


def business(*minutes: object) -> int | None:
    """Give one account with an entry for each of these times to regain access."""
    entries = [{"type": "pages", "call_count": 1, "estimated_time_to_regain_access": one} for one in minutes]
    return wait(x_business_use_case_usage={"1001": entries})


def account(used: object, reset: object) -> int | None:
    return wait(x_ad_account_usage={"acc_id_util_pct": used, "reset_time_duration": reset})


def test_no_header_says_nothing():
    assert wait() is None


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 60), (5, 300), (30, 1800), (1440, DAY)])
def test_business_use_cases_regain_access_in_minutes(minutes, seconds):
    assert business(minutes) == seconds


@pytest.mark.parametrize(
    ("used", "seconds"), [(100, 100), (100.0, 100), (250, 100), (99.9, None), (9.67, None)]
)
def test_an_ad_account_that_is_used_up_is_reset_in_seconds(used, seconds):
    assert account(used, 100) == seconds


def test_nothing_to_wait_for_is_none_and_not_zero():
    assert business(0) is None
    assert account(100, 0) is None


def test_of_several_entries_the_longest_counts():
    assert business(3, 10, 1) == 600


def test_of_several_accounts_the_longest_counts():
    entry = {"estimated_time_to_regain_access": 2}
    longer = {"estimated_time_to_regain_access": 7}
    assert wait(x_business_use_case_usage={"1": [entry], "2": [entry, longer], "3": []}) == 420


@pytest.mark.parametrize(("minutes", "reset", "seconds"), [(1, 100, 100), (2, 100, 120)])
def test_of_both_headers_the_longest_counts(minutes, reset, seconds):
    sent = {
        BUSINESS: json.dumps({"1": [{"estimated_time_to_regain_access": minutes}]}),
        ACCOUNT: json.dumps({"acc_id_util_pct": 100, "reset_time_duration": reset}),
    }
    assert seconds_to_wait(sent.get) == seconds


def test_percentages_alone_are_no_time():
    full = {"call_count": 100, "total_time": 100, "total_cputime": 100, "reset_time_duration": 100}
    assert wait(x_app_usage=full, x_page_usage=full) is None


@pytest.mark.parametrize("minutes", [1441, 100_000])
def test_nobody_waits_longer_than_a_day(minutes):
    assert business(minutes) == DAY


def test_a_long_reset_is_a_day_too():
    assert account(100, 10 * DAY) == DAY


@pytest.mark.parametrize(
    "value",
    [-1, -1e30, True, False, None, "5", "", [5], {"minutes": 5}, 0.5],
    ids=lambda v: repr(v)[:12],
)
def test_what_is_no_sane_number_is_passed_over(value):
    assert business(value) is None
    assert account(100, value) is None
    assert business(value, 5) == 300


HUGE = ["8640001", "1e30", "1e999", "Infinity", "9" * 400]


@pytest.mark.parametrize("number", HUGE, ids=lambda text: text[:12])
def test_a_number_beyond_all_measure_is_the_most_there_is(number):
    """Whoever sends it says "very long", and not "nothing"."""
    for name, text in (
        (BUSINESS, '{"1": [{"estimated_time_to_regain_access": X}]}'),
        (ACCOUNT, '{"acc_id_util_pct": 100, "reset_time_duration": X}'),
    ):
        assert seconds_to_wait({name: text.replace("X", number)}.get) == DAY
    used_up = '{"acc_id_util_pct": X, "reset_time_duration": 60}'.replace("X", number)
    assert seconds_to_wait({ACCOUNT: used_up}.get) == 60


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "-1e999", "9" * 5000])
def test_numbers_that_json_does_not_have_are_passed_over(number):
    for name, text in (
        (BUSINESS, '{"1": [{"estimated_time_to_regain_access": X}]}'),
        (ACCOUNT, '{"acc_id_util_pct": 100, "reset_time_duration": X}'),
        (ACCOUNT, '{"acc_id_util_pct": X, "reset_time_duration": 60}'),
    ):
        assert seconds_to_wait({name: text.replace("X", number)}.get) is None
        assert seconds_to_wait({name: text.replace("X", "100")}.get) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "null",
        "true",
        "5",
        "[]",
        '"x"',
        "{",
        "<html>",
        "{}",
        '{"1": null}',
        '{"1": {}}',
        '{"1": [null, 5, "x", [], {}]}',
        '{"1": "estimated_time_to_regain_access"}',
        '{"acc_id_util_pct": {}}',
        "[" * 100_000,
        '{"1":' * 100_000,
        "\ud800",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_junk_in_a_header_says_nothing(text):
    assert wait(x_business_use_case_usage=text, x_ad_account_usage=text) is None


def test_junk_beside_a_good_header_does_no_harm():
    sent = {BUSINESS: "<html>", ACCOUNT: '{"acc_id_util_pct": 100, "reset_time_duration": 60}'}
    assert seconds_to_wait(sent.get) == 60


def test_whole_seconds():
    seconds = account(100, 99.9)
    assert seconds == 99
    assert isinstance(seconds, int)


# -- how much is used ------------------------------------------------------------------------------------


def used(**headers: object) -> Usage:
    """Do what :func:`wait` does, for the share."""
    return usage_of(
        {
            name.replace("_", "-"): value if isinstance(value, str) else json.dumps(value)
            for name, value in headers.items()
        }.get
    )


def test_no_header_names_no_share():
    assert used() == Usage(0, None)


@pytest.mark.parametrize("name", ["call_count", "total_time", "total_cputime"])
@pytest.mark.parametrize("percent", [1, 79, 100, 250])
def test_every_share_of_the_app_counts(name, percent):
    shares = {"call_count": 0, "total_time": 0, "total_cputime": 0} | {name: percent}
    assert used(x_app_usage=shares) == Usage(percent)
    entry = {"type": "pages", **shares, "estimated_time_to_regain_access": 0}
    assert used(x_business_use_case_usage={"1": [{"call_count": 0}, entry], "2": []}) == Usage(percent)


def test_the_share_of_an_ad_account_counts():
    assert used(x_ad_account_usage={"acc_id_util_pct": 85.5, "reset_time_duration": 7}) == Usage(85)


def test_the_highest_share_counts_and_comes_with_the_wait():
    assert used(
        x_app_usage={"call_count": 3, "total_time": 90},
        x_business_use_case_usage={"1": [{"call_count": 95, "estimated_time_to_regain_access": 2}]},
        x_ad_account_usage={"acc_id_util_pct": 100, "reset_time_duration": 7},
    ) == Usage(100, 120)


def test_a_page_is_not_the_app():
    assert used(x_page_usage={"call_count": 100}) == Usage()


@pytest.mark.parametrize("number", HUGE, ids=lambda text: text[:12])
@pytest.mark.parametrize("name", ["x_app_usage", "x_business_use_case_usage", "x_ad_account_usage"])
def test_a_share_beyond_all_measure_is_used_up(name, number):
    text = {
        "x_app_usage": '{"call_count": X}',
        "x_business_use_case_usage": '{"1": [{"call_count": 3}, {"total_time": X}]}',
        "x_ad_account_usage": '{"acc_id_util_pct": X}',
    }[name].replace("X", number)
    usage = used(**{name: text})
    assert usage.percent >= 100
    assert type(usage.percent) is int  # it is calculated with


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "-5", "true", "null", '"100"', "9" * 5000])
def test_no_sane_share(number):
    text = '{"call_count": 7, "total_time": X}'.replace("X", number)
    assert used(x_app_usage=text).percent <= 7


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '{"call_count": {}}', '{"call_count": [99]}', "[" * 10**5]
)
def test_junk_names_no_share(text):
    assert used(x_app_usage=text, x_business_use_case_usage=text, x_ad_account_usage=text) == Usage()
