"""What a login wants to be configured with; wrong values fail when it is made."""

from __future__ import annotations

import pytest

from tests.login.browsers import guard_of


def made(guard, kind, **options):
    return guard.login_asgi(**options) if kind == "asgi" else guard.login_wsgi(**options)


@pytest.mark.parametrize(
    ("redirect_uri", "why"),
    [
        (None, "needs Guard"),
        ("fb1234567890://authorize", "https URL"),
        ("http://example.com/callback", "https"),
        ("https://example.com/callback?a=b", "query"),
        ("https://example.com", "name for the callback"),
        ("https://example.com/", "name for the callback"),
        ("https://example.com/facebook/", "name for the callback"),
        ("https://example.com/a%20b", "name for the callback"),
        ("https://example.com/facebook/login", "name for the callback"),
        ("https://example.com/logout", "name for the callback"),
        ("https://example.com/a/..", "name for the callback"),
        ("https://example.com/../callback", "name for the callback"),
        ("https://example.com//callback", "name for the callback"),
        ("https://example.com/a%2f%2fb/callback", "name for the callback"),
    ],
)
def test_no_browser_could_come_back_there(kind, sandbox, redirect_uri, why):
    with guard_of(sandbox, redirect_uri=redirect_uri) as guard, pytest.raises(ValueError, match=why):
        made(guard, kind)


@pytest.mark.parametrize(
    ("place", "redirect_uri", "fitting"),
    [
        ("header", "https://example.com/callback", "cookie:__Host-fb_token"),
        ("cookie:fb_token", "https://example.com/callback", "cookie:__Host-fb_token"),
        ("cookie:__Secure-token", "https://example.com/callback", "cookie:__Host-fb_token"),
        ("cookie:__Host-fbguard-login", "https://example.com/callback", "cookie:__Host-fb_token"),
        ("header", "http://localhost:8000/callback", "cookie:fb_token"),
        ("cookie:__Host-token", "http://localhost:8000/callback", "cookie:fb_token"),
        ("cookie:__Secure-token", "http://localhost:8000/callback", "cookie:fb_token"),
        ("cookie:fbguard-login", "http://localhost:8000/callback", "cookie:fb_token"),
    ],
)
def test_the_token_needs_a_cookie_that_nobody_else_can_plant(kind, sandbox, place, redirect_uri, fitting):
    with (
        guard_of(sandbox, token_from=(place,), redirect_uri=redirect_uri) as guard,
        pytest.raises(ValueError, match=f"'{fitting}'"),
    ):
        made(guard, kind)
    with guard_of(sandbox, token_from=(fitting,), redirect_uri=redirect_uri) as guard:
        made(guard, kind)


@pytest.mark.parametrize(
    ("options", "kind_of_error"),
    [
        ({"after": "https://evil.example/"}, ValueError),
        ({"after": ""}, ValueError),
        ({"after": "home"}, ValueError),
        ({"after": "/facebook/login"}, ValueError),
        ({"after": "/facebook/callback?a=b"}, ValueError),
        ({"after": None}, TypeError),
        ({"after_logout": "//evil.example"}, ValueError),
        ({"after_logout": "/facebook/logout"}, ValueError),
        ({"after_logout": None}, TypeError),
        ({"scopes": "email"}, TypeError),
        ({"scopes": ['a"b']}, ValueError),
        ({"scopes": [5]}, TypeError),
    ],
)
def test_wrong_options(kind, guard, options, kind_of_error):
    with pytest.raises(kind_of_error):
        made(guard, kind, **options)
