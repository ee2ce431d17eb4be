"""Where a login is, and where it may send a browser (G04, G05)."""

from __future__ import annotations

from itertools import product
from urllib.parse import quote, urlsplit

import pytest

from fbguard.login.places import Places, is_of_this_site

OURS = [
    *("/", "/me", "/a/b/", "/a?b=c&d=e", "/a#b", "/#/settings", "/?q=https://evil.example", "/a%20b"),
    *("/caf%C3%A9", "/@me", "/a:b", "/a?x=//y", "/a#//y", "/~u/-_.!$&'()*+,=", "/x" + "y" * 1022),
]  # fmt: skip

_HOSTS = ["evil.example", "//evil.example", "https://evil.example", "https:evil.example", "///evil.example"]
_BEFORE = [
    *("", "/", "//", "/\\", "\\", "\\\\", "\\/", "/\t/", "/\n/", "/\r\n/", "\t//", " //", "/ /", "/./"),
    "/..//",
    *("/%09/", "/%2f", "/%5c", "/%2F%2f", "/.//", "/;/", "/;@", "/\x00/", "/\u200b/", "/\uff0f"),
    "/%EF%BC%8F/../",
]  # fmt: skip
ELSEWHERE = [
    *(before + host for before, host in product(_BEFORE, _HOSTS)),
    *("javascript:alert(1)", "data:text/html,x", "mailto:a@evil.example", "fb1://x", "http:///x"),
    *("?a=b", "#a", "a", "", "/a/../b", "/a/./b", "/..", "/.", "/a//b", "/a;b", "/a\\b", "/a%5Cb"),
    "/a%00b",
    *("/a%0d%0ab", "/%2e%2e/b", "/%80", "/a b", "/caf\u00e9", "/a\x7fb", "/a\x1fb", "/" + "y" * 1024),
]  # fmt: skip


@pytest.mark.parametrize("path", OURS)
def test_paths_of_this_site(path):
    assert is_of_this_site(path)
    to = urlsplit(Places.of("https://api.example.com/callback").absolute(path))
    assert (to.scheme, to.netloc) == ("https", "api.example.com")


def _leads_here(path: str) -> bool:
    """Tell what is a path of this site after all: of a host's name alone, behind one slash."""
    return path in {"/evil.example", "/https:evil.example"}


@pytest.mark.parametrize("path", [path for path in ELSEWHERE if not _leads_here(path)], ids=ascii)
def test_G04_open_redirect(path):  # noqa: N802
    assert not is_of_this_site(path)


@pytest.mark.parametrize("path", [path for path in ELSEWHERE if path.startswith("/")], ids=ascii)
def test_G04_open_redirect_behind_an_origin(path):  # noqa: N802
    """Were one let through by mistake, it would stay on the site: the origin stands before it."""
    assert urlsplit(Places.of("https://api.example.com/callback").absolute(path)).netloc == "api.example.com"


@pytest.mark.parametrize("path", ["/a b", "/caf\u00e9", "/a&b", "/a?b", "/a#b", "/\u65e5"])
def test_what_is_quoted_is_a_path(path):
    assert is_of_this_site(quote(path))


@pytest.mark.parametrize(
    ("redirect_uri", "expected"),
    [
        (
            "https://api.example.com/facebook/callback",
            ("https://api.example.com", "https://api.example.com/facebook/login", "/callback", True),
        ),
        ("https://x.example/back", ("https://x.example", "https://x.example/login", "/back", True)),
        (
            "http://127.0.0.1:8000/a/b/c.d-e~f",
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/a/b/login", "/c.d-e~f", False),
        ),
        ("http://[::1]:1/c", ("http://[::1]:1", "http://[::1]:1/login", "/c", False)),
        ("https://x.example:443/c", ("https://x.example", "https://x.example/login", "/c", True)),
        ("http://localhost:80/c", ("http://localhost", "http://localhost/login", "/c", False)),
        ("https://x.example:/c", ("https://x.example", "https://x.example/login", "/c", True)),
        ("https://x.example:80/c", ("https://x.example:80", "https://x.example:80/login", "/c", True)),
    ],
)
def test_places(redirect_uri, expected):
    places = Places.of(redirect_uri)
    assert (places.origin, places.address, places.callback, places.is_https) == expected
    assert places.redirect_uri == redirect_uri


@pytest.mark.parametrize(
    "path", ["/f/login", "/f/logout", "/f/back", "/f/login/", "/f/%6Cogin", "/f/login?next=/x"]
)
def test_no_login_leads_to_itself(path):
    places = Places.of("https://x.example/%66/back")
    assert is_of_this_site(path)
    assert not places.may_follow(path)
    for other in (path.replace("/f/", "/g/"), f"{path.partition('?')[0]}s", "/login", "/?/f/login"):
        assert places.may_follow(other), other


def test_the_address_of_a_login():
    places = Places.of("https://x.example/facebook/callback")
    assert places.login((), None) == "https://x.example/facebook/login"
    assert places.login(("a", "b"), None) == "https://x.example/facebook/login?scope=a%2Cb"
    assert places.login(("a",), "rerequest") == "https://x.example/facebook/login?scope=a&auth_type=rerequest"
    assert places.login((), "reauthorize") == "https://x.example/facebook/login?auth_type=reauthorize"
