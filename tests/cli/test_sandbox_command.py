"""``fbguard sandbox``, run as a user runs it."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.cli.processes import FBGUARD, PATIENCE, fbguard, run, running

SECRET = "0f" * 16
ASK = """
import os
from fbguard import Guard

with Guard.from_env() as guard:
    print(sorted(guard.check(os.environ["TOKEN"]).scopes))
"""


def fetch(url, keywords=None, headers=None):
    body = None if keywords is None else json.dumps(keywords).encode()
    request = urllib.request.Request(url, body, headers or {})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_facebook_until_it_is_stopped(number):
    with running([*FBGUARD, "sandbox", "--port", "0"]) as program:
        program.read_until("Ctrl-C stops it")
        url = re.search(r"http://127\.0\.0\.1:\d+", program.seen)[0]
        assert f"export FBGUARD_GRAPH_URL={url}\n" in program.seen
        token = fetch(f"{url}/sandbox/issue_token", {"scopes": ["email"]})["result"]
        credential = {"Authorization": f"Bearer 1234567890|{'0123456789abcdef' * 2}"}
        assert fetch(f"{url}/debug_token?input_token={token}", headers=credential)["data"]["is_valid"]
        fetch(f"{url}/sandbox/expire", {"token": token})
        data = fetch(f"{url}/v26.0/debug_token?input_token={token}", headers=credential)["data"]
        assert data["error"]["subcode"] == 463
        assert program.stop(number) == (0, "Stopped.\n")


def test_the_printed_lines_work_as_they_are():
    with running([*FBGUARD, "sandbox", "--port", "0", "--app-id", "42"]) as program:
        program.read_until("Ctrl-C stops it")
        issue, ask, expire = [
            shlex.split(line) for line in program.seen.splitlines() if line.startswith("curl ")
        ]
        assert fetch(issue[3], json.loads(issue[-1]))["result"].startswith("EAA")
        header = dict([ask[-1].split(": ", 1)])
        assert fetch(ask[1], headers=header)["data"]["app_id"] == "42"
        assert fetch(expire[3], json.loads(expire[-1])) == {"result": None}
        assert fetch(ask[1], headers=header)["data"]["is_valid"] is False
        assert program.stop()[0] == 0


def test_the_exports_are_all_that_a_shell_needs():
    with running([*FBGUARD, "sandbox", "--port", "0"]) as program:
        program.read_until("Ctrl-C stops it")
        exports = "\n".join(line for line in program.seen.splitlines() if line.startswith("export "))
        asked = f"{exports}\n{shlex.quote(sys.executable)} -c {shlex.quote(ASK)}"
        done = subprocess.run(
            ["/bin/sh", "-c", asked], capture_output=True, text=True, timeout=60, check=True
        )
        assert done.stdout == "['email', 'public_profile']\n"
        assert program.stop()[0] == 0


def test_the_line_that_inspects_the_token_works_after_the_exports(tmp_path):
    (tmp_path / "fbguard").write_text(f'#!/bin/sh\nexec {shlex.join(FBGUARD)} "$@"\n')
    (tmp_path / "fbguard").chmod(0o755)
    with running([*FBGUARD, "sandbox", "--port", "0"]) as program:
        program.read_until("Ctrl-C stops it")
        lines = program.seen.splitlines()
        [inspect] = [line for line in lines if line.endswith("fbguard inspect")]
        exports = [line for line in lines if line.startswith("export ")]
        done = run(
            ["/bin/sh", "-c", "\n".join([*exports, inspect])],
            PATH=f"{tmp_path}:{os.environ['PATH']}",
            FBGUARD_DEADLINE=str(PATIENCE),
        )
        assert "Valid for app 1234567890" in done.stdout
        assert done.returncode == 0
        assert program.stop()[0] == 0


def test_a_secret_that_somebody_chose_is_not_printed():
    with running([*FBGUARD, "sandbox", "--port", "0", "--app-secret", SECRET]) as program:
        program.read_until("Ctrl-C stops it")
        assert '"Authorization: Bearer 1234567890|$FBGUARD_APP_SECRET"' in program.seen
        assert program.stop() == (0, "Stopped.\n")
    assert SECRET not in program.seen


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = fbguard("sandbox", "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    hint = "Address already in use; --port 0 takes a free one"
    assert done.stderr == f"fbguard: cannot listen on 127.0.0.1:{port}: {hint}\n"


@pytest.mark.parametrize("words", [["--app-id", "abc"], ["--app-secret", "se cret"], ["--port", "65536"]])
def test_a_wrong_option_is_a_usage_error_that_repeats_no_value(words):
    done = fbguard("sandbox", *words)
    assert done.returncode == 2
    assert "se cret" not in done.stderr
    assert "Traceback" not in done.stderr
