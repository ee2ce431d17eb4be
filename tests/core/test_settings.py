"""A wrong option fails at construction, names itself and shows no secret."""

from __future__ import annotations

import math

import pytest

from tests.support import SECRET, FakeClock, make_guard

NUMBERS = ["ttl", "negative_ttl", "deadline"]
SIZES = ["cache_size", "negative_cache_size", "max_in_flight", "max_queued"]
URLS = ["graph_url", "dialog_url"]
FLAGS = ["batch"]

WRONG = [
    *[("max_calls_per_second", value, ValueError) for value in (0, -1, math.inf, math.nan)],
    *[("max_calls_per_second", value, TypeError) for value in ("5", True, [1])],
    *[(name, value, ValueError) for name in NUMBERS for value in (0, -1, math.inf, -math.inf, math.nan)],
    *[(name, value, TypeError) for name in NUMBERS for value in ("300", None, True, [1])],
    *[(name, value, ValueError) for name in SIZES for value in (0, -5)],
    *[(name, value, TypeError) for name in SIZES for value in (1.5, "10", None, True)],
    *[(name, value, TypeError) for name in FLAGS for value in (0, 1, None, "", "false", [True])],
    *[(name, value, TypeError) for name in URLS for value in (None, b"https://x", 5)],
    *[
        (name, value, ValueError)
        for name in URLS
        for value in (
            "",
            "graph.facebook.com",
            "//graph.facebook.com",
            "ftp://graph.facebook.com",
            "http://graph.facebook.com",
            "http://10.0.0.1",
            "http://localhost.evil.example",
            "http://127.0.0.1.evil.example",
            "https://",
            "https:///path",
            "https://user@host",
            "https://user:pw@host",
            "https://@host",
            "https://host/?a=b",
            "https://host/#a",
            "https://host:port",
            "https://host:99999",
            "https://ho st",
            "https://host\n",
            "https://höst",
            "https://[::1",
        )
    ],
    *[("app_id", value, TypeError) for value in (1234567890, None, ["1234567890"], b"1234567890", True)],
    *[
        ("app_id", value, ValueError)
        for value in ("", " ", "123 ", " 123", "123\n", "1|2", "\uff11\uff12", "a,b")
    ],
    *[
        ("graph_version", value, ValueError)
        for value in ("", "26.0", "v26", "v26.0/", "V26.0", "v26.0\n", "v\uff12.0")
    ],
    *[("graph_version", value, TypeError) for value in (26.0, None)],
    *[("realm", value, ValueError) for value in ("", 'a"b', "a\\b", "a\nb", "ü")],
    *[("realm", value, TypeError) for value in (None, 5)],
    *[
        ("redirect_uri", value, ValueError)
        for value in (
            "",
            "/back",
            "app.example",
            "https://a/#x",
            "https://a b",
            "javascript:alert(1)",
            "DATA:text/html,x",
        )
    ],
    *[("redirect_uri", value, TypeError) for value in (5, b"https://a")],
    ("clock", FakeClock(math.nan), ValueError),
    *[("credential_in", value, ValueError) for value in ("body", "Header", "", None)],
    *[("token_from", value, TypeError) for value in ("header", None, 5, [["header"]], [5])],
    *[("token_from", value, ValueError) for value in ((), ("body",), ("header", "header"), ("cookie:",))],
]


@pytest.mark.parametrize(("option", "value", "error"), WRONG, ids=lambda value: repr(value)[:40])
def test_wrong_values(option, value, error):
    with pytest.raises(error, match=option) as caught:
        make_guard(**{option: value})
    assert SECRET not in str(caught.value)


RIGHT = [
    ("ttl", 1),
    ("ttl", 0.001),
    ("deadline", 60),
    ("cache_size", 1),
    ("graph_url", "https://graph.facebook.com/"),
    ("graph_url", "http://127.0.0.1:8080/graph"),
    ("graph_url", "http://127.1.2.3"),
    ("graph_url", "http://[::1]:80"),
    ("graph_url", "http://localhost:1"),
    ("dialog_url", "http://localhost:1"),
    ("graph_version", "v1.0"),
    ("graph_version", "v100.12"),
    ("realm", "my API (test)"),
    ("redirect_uri", "https://app.example/back?x=%20y&z"),
    ("redirect_uri", "fb123://authorize"),
    ("credential_in", "query"),
    ("app_id", "0"),
    ("batch", True),
    ("batch", False),
]


@pytest.mark.parametrize(("option", "value"), RIGHT)
def test_right_values(option, value):
    make_guard(**{option: value}).close()


def test_a_trailing_slash_makes_no_difference(graph):
    with make_guard(graph, graph_url="https://graph.facebook.com/") as guard:
        guard.check("abc")
    assert str(graph.requests[0].url) == "https://graph.facebook.com/v26.0/debug_token?input_token=abc"
