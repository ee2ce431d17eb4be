"""The example that takes both kinds of tokens, served by uvicorn as its docstring says."""

import json
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT

APP = "examples.limited_login:app"
SERVER = [sys.executable, "-m", "uvicorn", "--app-dir", str(ROOT), "--port", "0", APP]


@pytest.fixture(scope="module")
def url(variables):
    keys = f"{variables['FBGUARD_GRAPH_URL']}/.well-known/oauth/openid/jwks/"
    with running(SERVER, {**variables, "FBGUARD_JWKS_URL": keys}) as program:
        yield program.read_until(r"running on (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Traceback" not in program.seen + rest


def asked(url, token, method="GET"):
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.status, json.load(refused)["reason"]


def test_both_kinds(url, sandbox, variables):
    command = "curl -s -X POST $FBGUARD_GRAPH_URL/sandbox/issue_id_token | cut -d'\"' -f4"
    given = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    limited, full = (
        given.stdout.strip(),
        sandbox.issue_token(user_id="42", scopes=["email", "pages_show_list"]),
    )
    status, body = asked(f"{url}/me", limited)
    assert (status, body["login"]) == (200, "LIMITED_LOGIN")
    assert asked(f"{url}/me", full) == (200, {"user": "42", "login": "USER"})
    assert asked(f"{url}/newsletter", limited, "POST")[0] == 200
    assert asked(f"{url}/pages", limited) == (401, "limited_login")
    assert asked(f"{url}/pages", full)[0] == 200
    no_email = sandbox.issue_id_token(permissions=["public_profile"])
    assert asked(f"{url}/newsletter", no_email, "POST") == (403, "insufficient_scope")
