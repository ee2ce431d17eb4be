"""The example whose sessions end, served by uvicorn as its docstring says."""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT

APP = "examples.sessions:app"
SERVER = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--port", "0", APP]


@pytest.fixture(scope="module")
def url(variables):
    with running(SERVER, variables | {"VERIFY_TOKEN": "correct horse"}) as program:
        yield program.read_until(r"running on (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Application shutdown complete" in rest
        assert "Traceback" not in program.seen + rest


@pytest.fixture
def send(url):
    """Give ``send(method, path, headers, body)``: status and text."""

    def send(method, path, headers=None, body=None):
        request = urllib.request.Request(url + path, body, headers or {}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.status, refused.read().decode()

    return send


def post_signed(send, sandbox, path, user_id):
    body = urllib.parse.urlencode({"signed_request": sandbox.signed_request(user_id)}).encode()
    return send("POST", path, {}, body)


def long_lived(sandbox, user_id):
    """Log a person in; such a token says when, by Facebook's clock, which is not the program's own."""
    return sandbox.bearer(sandbox.issue_token(user_id=user_id, expires_in=60 * 86_400))


def reason(outcome):
    status, text = outcome
    return status, json.loads(text).get("reason")


def test_log_out_ends_this_session_only(send, sandbox):
    first, second = (sandbox.bearer(sandbox.issue_token(user_id="42")) for _ in range(2))
    assert send("POST", "/log-out")[0] == 401
    assert send("POST", "/log-out", first)[0] == 204
    assert reason(send("GET", "/me", first)) == (401, "session_invalidated")
    assert send("GET", "/me", second) == (200, '{"user":"42"}')


@pytest.mark.parametrize("path", ["/facebook/deauthorize", "/facebook/data-deletion"])
def test_who_leaves_is_out_until_the_next_login(send, sandbox, path):
    user_id = str(1000 + len(path))
    old = long_lived(sandbox, user_id)
    assert send("GET", "/me", old)[0] == 200
    status, text = post_signed(send, sandbox, path, user_id)
    assert status == 200
    assert reason(send("GET", "/me", old)) == (401, "not_authorized")
    sandbox.clock.advance(1)  # that moment is in whole seconds
    assert send("GET", "/me", long_lived(sandbox, user_id))[0] == 200
    if "deletion" in path:
        answer = json.loads(text)
        where = urllib.parse.urlsplit(answer["url"]).path
        assert where == f"/facebook/data-deletion/{answer['confirmation_code']}"
        assert "Data deletion request received" in send("GET", where)[1]


def test_changed_permissions_are_looked_up_anew(send, sandbox):
    headers = sandbox.bearer(sandbox.issue_token(user_id="77"))
    assert send("GET", "/me", headers)[0] == 200
    sandbox.log_out("77")
    assert send("GET", "/me", headers)[0] == 200  # cached
    event = sandbox.permissions_event("77")
    assert send("POST", "/facebook/webhook", event["headers"], event["body"].encode())[0] == 200
    assert reason(send("GET", "/me", headers)) == (401, "logged_out")


def test_the_handshake_of_the_dashboard(send):
    query = urllib.parse.urlencode(
        {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "correct horse"}
    )
    assert send("GET", f"/facebook/webhook?{query}") == (200, "1158201444")
    assert send("GET", f"/facebook/webhook?{query}x")[0] == 403


def test_nobody_else_ends_a_session(send, sandbox):
    headers = sandbox.bearer(sandbox.issue_token(user_id="88"))
    assert send("GET", "/me", headers)[0] == 200
    forged = sandbox.signed_request("88")[:-2] + "AA"
    body = urllib.parse.urlencode({"signed_request": forged}).encode()
    assert send("POST", "/facebook/deauthorize", {}, body)[0] == 403
    assert send("GET", "/me", headers)[0] == 200
