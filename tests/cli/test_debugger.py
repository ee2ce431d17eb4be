"""``fbguard debugger``, run as a user runs it."""

import re
import signal
import socket
import urllib.error
import urllib.request
from urllib.parse import urlencode

import pytest

from tests.cli.conftest import SECRET
from tests.cli.processes import FBGUARD, fbguard, running


@pytest.fixture
def variables(sandbox, url):
    return {"FBGUARD_APP_ID": sandbox.app_id, "FBGUARD_APP_SECRET": SECRET, "FBGUARD_GRAPH_URL": url}


def send(url, form=None, **headers):
    data = None if form is None else urlencode(form).encode()
    request = urllib.request.Request(url, data, {"Origin": url.rstrip("/"), **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_shows_what_a_token_is_worth_until_it_is_stopped(sandbox, variables, number):
    token = sandbox.issue_token(user_id="42", scopes=["email"])
    with running([*FBGUARD, "debugger", "--port", "0"], variables) as program:
        program.read_until("Ctrl-C stops it")
        url = re.search(r"http://127\.0\.0\.1:\d+/", program.seen)[0]
        assert "Token debugger" in send(url)[1]
        status, page = send(url, {"token": token, "scopes": "email"})
        assert (status, "Valid for app" in page, "the view runs" in page) == (200, True, True)
        assert send(url, {"token": token}, Origin="http://evil.example")[0] == 403
        code, rest = program.stop(number)
        assert (code, rest) == (0, "Stopped.\n")
        assert token not in program.seen + rest
        assert SECRET not in program.seen + rest


def test_a_port_that_is_taken(variables):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = fbguard("debugger", "--port", port, **variables)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == (
        f"fbguard: cannot listen on 127.0.0.1:{port}: Address already in use; --port 0 takes a free one\n"
    )


def test_what_is_missing(variables):
    ended = fbguard("debugger", **variables | {"FBGUARD_APP_SECRET": ""})
    assert (ended.returncode, "FBGUARD_APP_SECRET is not set" in ended.stderr) == (2, True)
