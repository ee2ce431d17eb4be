"""The example that counts what happens, served by uvicorn as its docstring says."""

import sys
import urllib.error
import urllib.request

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT

APP = "examples.events:app"
SERVER = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--port", "0", APP]


@pytest.fixture(scope="module")
def url(variables):
    with running(SERVER, variables) as program:
        yield program.read_until(r"running on (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Application shutdown complete" in rest
        assert "Traceback" not in program.seen + rest


def test_what_happens_is_counted(url, ask, sandbox):
    token = sandbox.issue_token(user_id="42")
    ended = sandbox.issue_token(user_id="43")
    sandbox.expire(ended)
    statuses = []
    for sent in (token, token, ended):
        request = urllib.request.Request(f"{url}/me", headers=sandbox.bearer(sent))
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                statuses.append(response.status)
        except urllib.error.HTTPError as refused:
            with refused:
                statuses.append(refused.status)
    assert statuses == [200, 200, 401]
    sandbox.fail()
    assert ask("GET", "/me")[0] == 503
    sandbox.recover()
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    assert lines == [
        'fbguard_events_total{event="GraphStateChanged"} 1',
        'fbguard_look_ups_total{answer="no"} 1',
        'fbguard_look_ups_total{answer="unknown"} 1',
        'fbguard_look_ups_total{answer="yes"} 1',
        "fbguard_cached_tokens 2",
    ]
