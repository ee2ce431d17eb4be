"""The cookie for the way: what is read back is what was written, and nothing else."""

from __future__ import annotations

import base64
import random

import pytest

from fbguard.core.secret import Secret
from fbguard.login.cookies import Journey, cookie_of

STATE = "s" * 43


def encoded(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@pytest.mark.parametrize("after", ["/", "/a", "/ab", "/abc", "/me?tab=1&x=%20#y", "/" + "z" * 1023])
def test_a_journey_is_read_as_it_was_written(after):
    journey = Journey.begin(after)
    assert Journey.read(journey.written()) == journey
    assert len(journey.written().reveal()) < 1500  # browsers keep 4096


def test_each_journey_has_a_state_of_its_own():
    states = {Journey.begin("/").state.reveal() for _ in range(1000)}
    assert len(states) == 1000
    assert {len(state) for state in states} == {43}  # 32 bytes


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        STATE,
        f"{STATE}.",
        f".{encoded(b'/')}",
        f"{STATE[1:]}.{encoded(b'/')}",
        f"{STATE}x.{encoded(b'/')}",
        f"{STATE}.{encoded(b'/')}.x",
        f"{STATE}.{encoded(b'//evil.example')}",
        f"{STATE}.{encoded(b'https://evil.example')}",
        f"{STATE}.{encoded(bytes([47, 255]))}",
        f"{STATE}.{encoded(b'')}",
        f"{STATE}.a",
        f"{STATE}.L\u00e9",
        f"{STATE}.{encoded(b'/')}\n",
    ],
    ids=ascii,
)
def test_a_cookie_that_is_none_of_ours(value):
    assert Journey.read(Secret(value)) is None


def test_any_cookie_is_read_without_a_fault():
    source = random.Random(7)
    for _ in range(5000):
        text = "".join(source.choice("abcXYZ019-_./=\x00\xff\u2028") for _ in range(source.randrange(90)))
        Journey.read(Secret(text))
        Journey.read(Secret(f"{STATE}.{text}"))


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        (["a=b"], None),
        (["way=1"], "1"),
        (["a=b; way=1; c=d"], "1"),
        (["a=b", "way=1"], "1"),
        (["a=b;way=1"], "1"),
        (["way=1; way=2"], None),
        (["way=1", "way=1"], None),
        (["Way=1; ways=2; xway=3"], None),
        (["way"], ""),
        (["way=a=b"], "a=b"),
    ],
)
def test_the_one_cookie_of_a_name(headers, found):
    cookie = cookie_of(headers, "way")
    assert (None if cookie is None else cookie.reveal()) == found


def test_nothing_shows_what_a_cookie_holds():
    journey = Journey.begin("/")
    assert journey.state.reveal() not in repr(journey)
