"""The example of several workers with one store, served by uvicorn as its docstring says."""

import json
import sys
import urllib.error
import urllib.request

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT
from tests.support import wait_until

APP = "examples.shared_store:app"
SERVER = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--port", "0", APP]


@pytest.fixture
def workers(variables, tmp_path):
    """Give two servers with one store, as two workers are; the way to ask them: status and body."""
    own = variables | {"TMPDIR": str(tmp_path)}
    with running(SERVER, own) as one, running(SERVER, own) as two:
        urls = [program.read_until(r"running on (http://127\.0\.0\.1:\d+)")[1] for program in (one, two)]

        def ask(number, path, headers=None, method="GET"):
            request = urllib.request.Request(urls[number] + path, method=method, headers=headers or {})
            try:
                with urllib.request.urlopen(request, timeout=10) as response:
                    return response.status, json.loads(response.read() or b"null")
            except urllib.error.HTTPError as refused:
                with refused:
                    return refused.code, json.load(refused)

        yield ask
        for program in (one, two):
            _, rest = program.stop()
            assert "Traceback" not in program.seen + rest


def test_a_log_out_at_one_worker_is_one_at_all(workers, sandbox):
    token = sandbox.bearer(sandbox.issue_token(user_id="42"))
    before = len(sandbox.calls)
    answers = [workers(number, "/me", token) for number in (0, 1, 0, 1)]
    assert [(status, body["user"]) for status, body in answers] == [(200, "42")] * 4
    assert len({body["worker"] for _, body in answers}) == 2
    assert len(sandbox.calls) == before + 1
    wait_until(lambda: [workers(number, "/status")[1]["store"] for number in (0, 1)] == ["ok", "ok"])
    assert workers(0, "/log-out", token, "POST")[0] == 204
    wait_until(lambda: workers(1, "/me", token)[0] == 401)
    assert workers(1, "/me", token)[1]["reason"] == "session_invalidated"
    assert workers(0, "/me", token)[0] == 401
