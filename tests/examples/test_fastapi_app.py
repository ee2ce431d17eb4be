"""The FastAPI example, served by uvicorn as its docstring says, and by hypercorn and granian."""

import socket
import sys

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT, free_port
from tests.examples.outcomes import OUTCOMES

UVICORN = ["uvicorn", "--app-dir", str(ROOT), "--port", "0", "examples.fastapi_app:app"]
HYPERCORN = ["hypercorn", "--workers", "0", "--bind", "127.0.0.1:{port}", "examples.fastapi_app:app"]
GRANIAN = [
    "granian",
    "--interface",
    "asgi",
    "--host",
    "127.0.0.1",
    "--port",
    "{port}",
    "examples.fastapi_app:app",
]
# Where a framework routes, a path that routes nowhere is not guarded by anybody: 404, not 401.
EXPECTED = [row for row in OUTCOMES if row[1] != "/nowhere"]


def answering(port, program):
    """Wait for a server that says that it has started before it listens; running() bounds the time."""
    while program.process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            continue
        return f"http://127.0.0.1:{port}"
    raise AssertionError(f"it ended: {program.seen}")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((UVICORN, r"running on (http://127\.0\.0\.1:\d+)"), id="uvicorn"),
        pytest.param(
            (HYPERCORN, r"Running on (http://127\.0\.0\.1:\d+)"), id="hypercorn", marks=pytest.mark.slow
        ),
        pytest.param((GRANIAN, r"Started worker-1(?: runtime-1)?$"), id="granian", marks=pytest.mark.slow),
    ],
)
def url(request, variables):
    words, started = request.param
    port = free_port()
    with running([sys.executable, "-m", *(word.format(port=port) for word in words)], variables) as program:
        found = program.read_until(started)
        yield found[1] if found.groups() else answering(port, program)
        _, rest = program.stop()
        assert "Traceback" not in program.seen + rest


@pytest.mark.parametrize(("method", "path", "sent", "status", "members"), EXPECTED)
def test_outcome(ask, method, path, sent, status, members):
    answered, body = ask(method, path, **sent)
    assert (answered, body | members) == (status, body)


def test_the_schema_tells_the_scopes(ask):
    _, schema = ask("GET", "/openapi.json", token=False)
    assert schema["paths"]["/newsletter"]["post"]["security"] == [{"FacebookToken": ["email"]}]
    assert schema["paths"]["/pages/{page_id}/posts"]["get"]["security"] == [
        {"FacebookToken": ["pages_manage_posts"]}
    ]
