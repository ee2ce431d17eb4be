"""The plain WSGI example, served by gunicorn as its docstring says."""

import sys

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT
from tests.examples.outcomes import OUR_PAGE

SERVER = [
    sys.executable,
    "-m",
    "gunicorn",
    "--chdir",
    str(ROOT),
    "--bind",
    "127.0.0.1:0",
    "--no-control-socket",
]

OUTCOMES = [
    ("GET", "/health", {"token": False}, 200, {"ok": True}),
    ("GET", "/me", {"token": False}, 401, {"reason": "missing_token"}),
    ("GET", "/me", {}, 200, {"user": "42"}),
    ("GET", "/pages/501/posts", {}, 403, {"reason": "insufficient_scope"}),
    ("GET", "/pages/501/posts", OUR_PAGE, 200, {"user": "42"}),
    ("GET", "/pages/777/posts", OUR_PAGE, 403, {"reason": "insufficient_target"}),
]


@pytest.fixture(scope="module")
def url(variables):
    with running([*SERVER, "examples.wsgi_plain:app"], variables) as program:
        yield program.read_until(r"Listening at: (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Traceback" not in program.seen + rest


@pytest.mark.parametrize(("method", "path", "sent", "status", "members"), OUTCOMES)
def test_outcome(ask, method, path, sent, status, members):
    answered, body = ask(method, path, **sent)
    assert (answered, body | members) == (status, body)
