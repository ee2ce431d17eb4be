"""The debugger's page: what it tells of a token, and whom it tells nothing."""

from __future__ import annotations

import io
import re
from html import unescape
from urllib.parse import urlencode
from wsgiref.validate import validator

import pytest

from fbguard.debugger.rules import DebuggerRules
from fbguard.mounts import MountedWSGI
from fbguard.sandbox import Sandbox
from tests.support import Answer, call_wsgi, wsgi_environ

NAME = "127.0.0.1:8091"
OWN = (("Host", NAME), ("Origin", f"http://{NAME}"))


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def ask(sandbox):
    """Give ``ask(method, headers, body, path)``: the answer."""
    with sandbox.guard() as guard:
        app = validator(MountedWSGI(DebuggerRules(guard, frozenset({NAME, "localhost:8091"}))))

        def ask(method="GET", headers=OWN, body=b"", path="/") -> Answer:
            more = {"CONTENT_TYPE": "application/x-www-form-urlencoded", "CONTENT_LENGTH": str(len(body))}
            environ = wsgi_environ(path, method, headers, **{"wsgi.input": io.BytesIO(body), **more})
            return call_wsgi(app, environ)

        yield ask


@pytest.fixture
def debug(ask):
    """Give ``debug(token, scopes)``: status, heading and text of the page, on which the token is not."""

    def debug(token, scopes=""):
        answer = ask("POST", OWN, urlencode({"token": token, "scopes": scopes}).encode())
        page = answer.body.decode()
        assert not token.strip() or token.strip() not in unescape(page)
        return answer.status, re.search("<h1>(.*?)</h1>", page)[1], unescape(re.sub("<[^>]*>", " ", page))

    return debug


def test_the_page(ask):
    answer = ask()
    assert (answer.status, answer.header("content-type")) == (200, "text/html; charset=utf-8")
    assert '<form method="post" action="/"' in answer.body.decode()
    assert "1234567890" in answer.body.decode()
    assert ask("HEAD").body == b""


def test_nobody_keeps_it_and_nothing_runs_on_it(ask):
    answer = ask()
    assert answer.header("cache-control") == "no-store"
    policy = answer.header("content-security-policy") or ""
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in answer.body.decode()


def test_a_token_that_is_good(debug, sandbox):
    token = sandbox.issue_token(user_id="42", scopes=["email"], granular_scopes={"pages_show_list": ["7"]})
    status, heading, text = debug(f"  {token}\n")
    assert (status, heading) == (200, "Valid for app 1234567890")
    assert re.search(r"User\s+42", text)
    assert re.search(r"pages_show_list: 7", text)
    assert "asks for no permission" in text
    assert "HTTP 200: the view runs" in text


def test_what_a_client_gets_on_a_route(debug, sandbox):
    token = sandbox.issue_token(scopes=["email"])
    _, heading, text = debug(token, "email, pages_show_list")
    assert heading == "Valid for app 1234567890"
    assert "scopes=['email', 'pages_show_list']" in text
    assert "HTTP 403" in text
    assert 'WWW-Authenticate: Bearer realm="fbguard", error="insufficient_scope"' in text
    assert '"reason": "insufficient_scope"' in text
    assert "HTTP 200: the view runs" in debug(token, "email")[2]


def test_a_token_that_is_dead(debug, sandbox):
    token = sandbox.issue_token(user_id="42")
    sandbox.change_password("42")
    _, heading, text = debug(token)
    assert heading == "Not valid: password_changed (401)"
    assert re.search(r"Error\s+190/460", text)
    assert "HTTP 401" in text


def test_each_form_asks_anew(debug, sandbox):
    token = sandbox.issue_token(user_id="42")
    assert debug(token)[1].startswith("Valid")
    sandbox.log_out("42")
    assert debug(token)[1] == "Not valid: logged_out (401)"


def test_while_nobody_can_tell(debug, sandbox):
    sandbox.throttle(4)
    _, heading, text = debug(sandbox.issue_token())
    assert heading == "Nobody can tell: throttled (503)"
    assert re.search(r"Retry-After: \d+", text)


@pytest.mark.parametrize("token", ["nonsense!", "<script>alert(1)</script>", "a" * 5000, "\u65e5"])
def test_what_is_no_token(debug, token):
    assert debug(token)[:2] == (200, "Not valid: malformed_token (401)")


def test_a_form_that_is_wrong_says_what(ask, debug):
    assert debug("")[0] == 400
    assert "Give a token." in debug(" ")[2]
    status, _, text = debug("abc", 'a"b')
    assert (status, "These are no names of permissions." in text) == (400, True)
    answer = ask("POST", OWN, b"token=a&token=b")
    assert answer.status == 400


def test_names_from_outside_are_text(debug, sandbox, ask):
    token = sandbox.issue_token(scopes=["email", "<b>x</b>&"])
    body = urlencode({"token": token, "scopes": "<i>y</i>"}).encode()
    page = ask("POST", OWN, body).body.decode()
    assert "<b>x" not in page
    assert "<i>y" not in page
    assert "&lt;b&gt;x" in page


# -- whom it tells nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("evil.example",),
        ("127.0.0.1",),
        ("127.0.0.1:80",),
        ("127.0.0.1:8091.evil.example",),
        ("localhost",),
        ("",),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_name_of_this_machine_is_a_trick(ask, sandbox, hosts, method):
    headers = [("Host", host) for host in hosts] or [("Host", " ")]
    answer = ask(method, [*headers, ("Origin", f"http://{NAME}")], urlencode({"token": "abc"}).encode())
    assert (answer.status, sandbox.calls) == (421, ())


def test_it_has_two_names(ask):
    assert ask("GET", [("Host", "LOCALHOST:8091")]).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Origin", "http://evil.example"),),
        (("Origin", "null"),),
        (("Origin", f"http://{NAME}"), ("Sec-Fetch-Site", "cross-site")),
    ],
)
def test_forms_of_other_pages_are_refused(ask, sandbox, headers):
    token = sandbox.issue_token()
    answer = ask("POST", [("Host", NAME), *headers], urlencode({"token": token}).encode())
    assert (answer.status, sandbox.calls) == (403, ())


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/x", 404), ("PUT", "/", 405), ("GET", "", 404)]
)
def test_anything_else(ask, method, path, status):
    assert ask(method, path=path).status == status


def test_a_form_that_is_too_large(ask):
    assert ask("POST", OWN, b"token=" + b"a" * 20_000).status == 413
