"""The cookie for the way: what is read back is what was written, and nothing else."""

from __future__ import annotations

import base64
import random

import pytest

from fbguard.core.secret import Secret
from fbguard.core.sources import cookies_of
from fbguard.login.cookies import Journey, _signature

STATE = "s" * 43
OURS, OTHER, OLD = Secret("0a1b" * 8), Secret("ffee" * 8), Secret("1234abcd" * 4)
NOW = 1_800_000_000


def encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def signed(state: str, begun: object, after: bytes, secret: Secret = OURS) -> str:
    text = f"{state}.{begun}.{encoded(after)}"
    return f"{text}.{_signature(text, secret)}"


def read(value: str, now: float = NOW) -> Journey | None:
    return Journey.read(Secret(value), [OURS, OLD], now)


@pytest.mark.parametrize("after", ["/", "/a", "/ab", "/abc", "/me?tab=1&x=%20#y", "/" + "z" * 1023])
def test_a_journey_is_read_as_it_was_written(after):
    journey = Journey.begin(after, NOW + 0.9)
    assert read(journey.written(OURS).reveal()) == journey
    assert len(journey.written(OURS).reveal()) < 1600  # browsers keep 4096


def test_it_is_over_when_facebooks_code_is():
    value = Journey.begin("/", NOW).written(OURS).reveal()
    assert read(value, NOW + 599.9) is not None
    assert read(value, NOW + 600) is None


def test_another_hosts_clock_may_be_ahead_a_little():
    value = Journey.begin("/", NOW).written(OURS).reveal()
    assert read(value, NOW - 60) is not None
    assert read(value, NOW - 61) is None


def test_secrets_may_be_rotated_meanwhile():
    assert read(Journey.begin("/", NOW).written(OLD).reveal()) is not None
    assert read(Journey.begin("/", NOW).written(OTHER).reveal()) is None


def test_each_journey_has_a_state_of_its_own():
    states = {Journey.begin("/", NOW).state.reveal() for _ in range(1000)}
    assert len(states) == 1000
    assert {len(state) for state in states} == {43}  # 32 bytes


def test_a_cookie_that_is_signed_right_is_read():
    assert read(signed(STATE, NOW, b"/a")) == Journey(Secret(STATE), "/a", NOW)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        STATE,
        signed(STATE, NOW, b"/").replace("s", "t", 1),
        signed(STATE, NOW, b"/").replace(str(NOW), str(NOW + 1)),
        signed(STATE, NOW, b"/").replace(encoded(b"/"), encoded(b"/a")),
        signed(STATE, NOW, b"/")[:-1],
        signed(STATE, NOW, b"/") + "x",
        signed(STATE, NOW, b"/") + "\n",
        signed(STATE, "", b"/"),
        signed(STATE, -NOW, b"/"),
        signed(STATE, "9" * 13, b"/"),
        signed(STATE[1:], NOW, b"/"),
        signed(STATE + "x", NOW, b"/"),
        signed(STATE, NOW, b""),
        # Signed, and yet: who has the app secret of a site that is badly built.
        signed(STATE, NOW, b"//evil.example"),
        signed(STATE, NOW, b"https://evil.example"),
        signed(STATE, NOW, bytes([47, 255])),
    ],
    ids=ascii,
)
def test_a_cookie_that_is_none_of_ours(value):
    assert read(value) is None


def test_any_cookie_is_read_without_a_fault():
    source = random.Random(7)
    for _ in range(5000):
        text = "".join(source.choice("abcXYZ019-_./=\x00\xff\u2028") for _ in range(source.randrange(90)))
        assert read(text) is None
        assert read(f"{STATE}.{NOW}.{text}.{STATE}") is None


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], []),
        (["a=b"], []),
        (["way=1"], ["1"]),
        (["a=b; way=1; c=d"], ["1"]),
        (["a=b", "way=1"], ["1"]),
        (["a=b;way=1"], ["1"]),
        (["way=1; way=2"], ["1", "2"]),
        (["way=1", "way=1"], ["1", "1"]),
        (["Way=1; ways=2; xway=3"], []),
        (["way"], [""]),
        (["way=a=b"], ["a=b"]),
    ],
)
def test_the_cookies_of_a_name(headers, found):
    assert [one.reveal() for one in cookies_of(headers, "way")] == found


def test_nothing_shows_what_a_cookie_holds():
    journey = Journey.begin("/", NOW)
    assert journey.state.reveal() not in repr(journey)
    assert repr(journey.written(OURS)) == "***"
