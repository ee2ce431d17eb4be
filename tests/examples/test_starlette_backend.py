"""The example of Starlette's authentication, served by uvicorn as its docstring says."""

import sys

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT

SERVER = ["uvicorn", "--app-dir", str(ROOT), "--port", "0", "examples.starlette_backend:app"]


@pytest.fixture(scope="module")
def url(variables):
    with running([sys.executable, "-m", *SERVER], variables) as program:
        yield program.read_until(r"running on (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Traceback" not in program.seen + rest


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "members"),
    [
        ("GET", "/", {"token": False}, 200, {"hello": "stranger"}),
        ("GET", "/", {}, 200, {"hello": "42"}),
        ("GET", "/", {"expires_in": -1}, 401, {"reason": "expired"}),
        ("GET", "/me", {"scopes": ["email"]}, 200, {"user": "42", "scopes": ["email"]}),
        ("GET", "/me", {"app_id": "9"}, 401, {"reason": "wrong_app"}),
        ("POST", "/newsletter", {"scopes": ["email"]}, 200, {"subscribed": "42"}),
    ],
)
def test_outcome(ask, method, path, sent, status, members):
    answered, body = ask(method, path, **sent)
    assert (answered, body | members) == (status, body)


@pytest.mark.parametrize(("path", "token", "status"), [("/me", False, b"401"), ("/newsletter", True, b"403")])
def test_requires_refuses_in_its_own_words(url, sandbox, path, token, status):
    import http.client

    host = url.removeprefix("http://")
    headers = sandbox.bearer(sandbox.issue_token()) if token else {}
    connection = http.client.HTTPConnection(host, timeout=10)
    try:
        connection.request("POST" if path == "/newsletter" else "GET", path, headers=headers)
        assert connection.getresponse().status == int(status)
    finally:
        connection.close()
