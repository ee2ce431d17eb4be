"""The plain ASGI example, served by uvicorn as its docstring says."""

import sys

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT

SERVER = ["uvicorn", "--app-dir", str(ROOT), "--port", "0", "examples.asgi_plain:app"]


@pytest.fixture(scope="module")
def url(variables):
    with running([sys.executable, "-m", *SERVER], variables) as program:
        yield program.read_until(r"running on (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Traceback" not in program.seen + rest


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "members"),
    [
        ("GET", "/health", {"token": False}, 200, {"path": "/health", "user": None}),
        ("GET", "/me", {"token": False}, 401, {"reason": "missing_token"}),
        ("GET", "/me", {}, 200, {"path": "/me", "user": "42"}),
        ("GET", "/me", {"expires_in": -1}, 401, {"reason": "expired"}),
        ("POST", "/newsletter", {}, 403, {"reason": "insufficient_scope"}),
        ("POST", "/newsletter", {"scopes": ["email"]}, 200, {"user": "42"}),
    ],
)
def test_outcome(ask, method, path, sent, status, members):
    answered, body = ask(method, path, **sent)
    assert (answered, body | members) == (status, body)
