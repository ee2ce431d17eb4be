"""The Starlette example, served by uvicorn as its docstring says."""

import sys

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT
from tests.examples.outcomes import OUTCOMES

SERVER = [
    sys.executable,
    "-m",
    "uvicorn",
    "--app-dir",
    str(ROOT),
    "--port",
    "0",
    "examples.starlette_app:app",
]


@pytest.fixture(scope="module")
def url(variables):
    with running(SERVER, variables) as program:
        yield program.read_until(r"running on (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Application shutdown complete" in rest
        assert "Traceback" not in program.seen + rest


@pytest.mark.parametrize(("method", "path", "sent", "status", "members"), OUTCOMES)
def test_outcome(ask, method, path, sent, status, members):
    answered, body = ask(method, path, **sent)
    assert (answered, body | members) == (status, body)
