"""What a traceback with local variables shows of a login that breaks: no token, no state, no code (L04)."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fbguard.asgi import FBTokenMiddleware
from tests.login.browsers import COOKIE, Browser, state_of
from tests.support import http_scope, wsgi_environ
from tests.threats.canaries import shown_exception


class Broken(Exception):  # noqa: N818
    """The server's way out is."""


def shown(kind: str, app: Any, browser: Browser, path: str) -> str:
    """Send a request whose answer does not get out; return what a traceback shows, local variables too."""
    parts = urlsplit(path)
    headers = [("Cookie", "; ".join(f"{name}={value}" for name, value in browser.jar.items()))]
    if kind == "asgi":
        scope = http_scope(parts.path, "GET", headers, query_string=parts.query.encode())
        with pytest.raises(Broken) as caught:
            asyncio.run(app(scope, None, _break))
    else:
        with pytest.raises(Broken) as caught:
            app(wsgi_environ(parts.path, "GET", headers, QUERY_STRING=parts.query), _break_start)
    return shown_exception(caught.value)


async def _break(_message: object) -> None:
    raise Broken


def _break_start(*_: object) -> Any:
    raise Broken


@pytest.fixture(params=["alone", "behind a door"])
def app(request, kind, guard, browser) -> Any:
    if request.param == "alone":
        return browser.app
    if kind == "wsgi":
        # start_response is called with the headers, so whoever stands around it has them.
        return browser.app
    return FBTokenMiddleware(browser.app, guard, policy=None)


def test_L04_the_way_out_shows_no_state(kind, app, browser):  # noqa: N802
    report = shown(kind, app, browser, "/login")
    assert "state=" not in report
    assert "__Host-fbguard-login=" not in report


def test_L04_the_way_back_shows_no_token_and_no_code(kind, app, browser, guard, sandbox):  # noqa: N802
    path = browser.returning(sandbox, browser.ask("/login"))
    report = shown(kind, app, browser, path)
    assert f"{COOKIE}=" not in report
    assert "EAA" not in report
    given = parse_qs(urlsplit(path).query)
    assert given["code"][0] not in report
    assert given["state"][0] not in report


def test_L04_an_exchange_that_breaks_shows_no_code(browser, guard, sandbox, monkeypatch):  # noqa: N802
    async def broken(_code, _redirect_uri):
        raise Broken

    path = browser.returning(sandbox, browser.ask("/login"))
    monkeypatch.setattr(guard._look_ups, "exchange", broken)
    with pytest.raises(Broken) as caught:
        browser.ask(path)
    report = shown_exception(caught.value)
    given = parse_qs(urlsplit(path).query)
    assert given["code"][0] not in report
    assert given["state"][0] not in report


def test_L04_nothing_is_logged(browser, guard, sandbox, caplog):  # noqa: N802
    caplog.set_level("DEBUG")
    sent = browser.ask("/login")
    path = browser.returning(sandbox, sent)
    browser.ask(path)
    token = browser.jar[COOKIE]
    for secret in (token, state_of(sent), parse_qs(urlsplit(path).query)["code"][0], sandbox.app_secret):
        assert secret not in caplog.text
