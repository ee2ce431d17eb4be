"""The example of the Flask extension, served by ``flask run`` as its docstring says."""

import sys
import urllib.error
import urllib.request

import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT

EXAMPLE = str(ROOT / "examples" / "flask_extension.py")
SERVER = [sys.executable, "-m", "flask", "--app", EXAMPLE, "run", "--port", "0"]
SPA = "https://spa.example"

OUTCOMES = [
    ("GET", "/health", {"token": False}, 200, {"ok": True}),
    ("GET", "/shop/orders", {"token": False}, 401, {"reason": "missing_token"}),
    ("GET", "/shop/orders", {}, 200, {"orders_of": "42"}),
    ("GET", "/shop/orders", {"expires_in": -1}, 401, {"reason": "expired", "subcode": 463}),
    ("GET", "/nowhere", {"token": False}, 401, {"reason": "missing_token"}),
    ("POST", "/shop/newsletter", {}, 403, {"reason": "insufficient_scope"}),
    ("POST", "/shop/newsletter", {"scopes": ["email"]}, 200, {"subscribed": "42"}),
]


@pytest.fixture(scope="module")
def url(variables):
    with running(SERVER, variables) as program:
        yield program.read_until(r"Running on (http://127\.0\.0\.1:\d+)")[1]
        _, rest = program.stop()
        assert "Traceback" not in program.seen + rest


@pytest.mark.parametrize(("method", "path", "sent", "status", "members"), OUTCOMES)
def test_outcome(ask, method, path, sent, status, members):
    answered, body = ask(method, path, **sent)
    assert (answered, body | members) == (status, body)


def test_a_browser_of_the_single_page_app_can_read_the_refusal(url):
    request = urllib.request.Request(f"{url}/shop/orders", headers={"Origin": SPA})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    with refused.value as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == SPA
        assert "WWW-Authenticate" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers["WWW-Authenticate"]


def test_a_preflight_is_answered(url):
    headers = {"Origin": SPA, "Access-Control-Request-Method": "POST"}
    request = urllib.request.Request(f"{url}/shop/newsletter", method="OPTIONS", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, SPA)
