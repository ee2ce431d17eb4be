"""The example whose people log in, served by uvicorn as its docstring says, with cookies and links."""

import re
import sys
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from urllib.parse import urlencode

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT, free_port

APP = "examples.login:app"


@pytest.fixture(scope="module")
def url(variables):
    port = free_port()
    own = {
        "FBGUARD_DIALOG_URL": variables["FBGUARD_GRAPH_URL"],
        "FBGUARD_REDIRECT_URI": f"http://127.0.0.1:{port}/auth/callback",
    }
    server = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--port", str(port), APP]
    with running(server, variables | own) as program:
        yield program.read_until(r"running on (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Traceback" not in program.seen + rest


class Browser:
    def __init__(self) -> None:
        self.jar = CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def open(self, url, form=None, **headers):
        """Follow a link, or send a form; return status, address and page of where that has led."""
        data = None if form is None else urlencode(form).encode()
        request = urllib.request.Request(url, data, {"Accept": "text/html", **headers})
        try:
            with self._opener.open(request, timeout=10) as response:
                return response.status, response.url, response.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.url, refused.read().decode()

    def press(self, page):
        """Press the button of a refusal's page."""
        return self.open(re.search(r'class="button" href="([^"]*)"', page)[1].replace("&amp;", "&"))


ALLOW = {"decision": "continue", "user_id": "42", "allow:email": "on", "allow:pages_show_list": "on"}


def test_a_person_logs_in_allows_one_more_and_logs_out(url):
    browser = Browser()
    status, _, page = browser.open(f"{url}/me")
    assert status == 401
    _, dialog, _ = browser.press(page)
    assert "/dialog/oauth?" in dialog
    assert browser.open(dialog, ALLOW)[:2] == (200, f"{url}/me")

    status, _, page = browser.open(f"{url}/pages")
    assert status == 403
    _, dialog, _ = browser.press(page)
    status, address, page = browser.open(dialog, ALLOW)
    assert (status, address) == (200, f"{url}/pages")
    assert "Your pages" in page

    token = next(cookie.value for cookie in browser.jar if cookie.name == "fb_token")
    status, address, _ = browser.open(f"{url}/auth/logout", {}, Origin=url)
    assert (status, address, list(browser.jar)) == (200, f"{url}/", [])
    assert browser.open(f"{url}/me", Authorization=f"Bearer {token}")[0] == 401


def test_a_person_who_cancels_sees_why(url):
    browser = Browser()
    _, dialog, _ = browser.open(f"{url}/auth/login")
    status, address, page = browser.open(dialog, {"decision": "cancel"})
    assert (status, address.startswith(f"{url}/auth/callback?")) == (401, True)
    assert "You have not allowed this app" in page
    assert list(browser.jar) == []
