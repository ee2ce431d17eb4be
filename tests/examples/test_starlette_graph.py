"""The example whose views call Graph, served by uvicorn as its docstring says."""

import json
import sys
import urllib.error
import urllib.request

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT

APP = "examples.starlette_graph:app"
SERVER = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--port", "0", APP]
SCOPE = "pages_read_engagement"


@pytest.fixture(scope="module")
def url(variables):
    with running(SERVER, variables) as program:
        yield program.read_until(r"running on (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Application shutdown complete" in rest
        assert "Traceback" not in program.seen + rest


@pytest.fixture
def get(url):
    def get(path, headers):
        request = urllib.request.Request(url + path, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.status, json.load(refused)

    return get


def test_as_the_person(get, sandbox):
    headers = sandbox.bearer(sandbox.issue_token(user_id="42"))
    assert get("/name", headers) == (200, {"name": "User 42"})
    sandbox.log_out("42")
    before = len(sandbox.calls)
    for _ in range(2):
        status, body = get("/name", headers)
        assert (status, body["reason"], body["subcode"]) == (401, "logged_out", 467)
    assert [call.path.rpartition("/")[2] for call in sandbox.calls[before:]] == ["me", "debug_token"]


def test_a_page(get, sandbox):
    granted = sandbox.issue_token(user_id="43", scopes=[SCOPE], granular_scopes={SCOPE: ["501"]})
    assert get("/pages/501", sandbox.bearer(granted)) == (200, {"page": "Page 501", "seen_by": "43"})
    other = sandbox.bearer(sandbox.issue_token(user_id="44"))
    said = {"page": None, "because": "insufficient_scope", "code": 10}
    assert get("/pages/501", other) == (200, said)
    sandbox.change_password("44")
    status, body = get("/pages/501", other)
    assert (status, body["reason"]) == (401, "password_changed")


def test_without_a_token(get):
    assert get("/name", {})[0] == 401
    assert get("/health", {}) == (200, {"ok": True})
