"""The Django example, served by uvicorn and by gunicorn as its docstring says, and by two more."""

import asyncio
import socket
import sys
from contextlib import suppress

import httpx
import pytest

from tests.cli.processes import running
from tests.examples.conftest import ROOT
from tests.examples.outcomes import OUR_PAGE
from tests.support import wait_until

ASGI, WSGI = "examples.django_site:application", "examples.django_site:wsgi_application"
LOOPBACK = r"(http://127\.0\.0\.1:\d+)"
SERVERS = {
    "uvicorn": f"uvicorn --app-dir {ROOT} --port 0 --lifespan off {ASGI}",
    "gunicorn": f"gunicorn --chdir {ROOT} --bind 127.0.0.1:0 --no-control-socket {WSGI}",
    "hypercorn": f"hypercorn --bind 127.0.0.1:{{port}} {ASGI}",
    "granian": f"granian --interface wsgi --host 127.0.0.1 --port {{port}} --working-dir {ROOT} {WSGI}",
}
SPA = "https://spa.example"

OUTCOMES = [
    ("GET", "/health", {"token": False}, 200, {"ok": True}),
    ("GET", "/me", {"token": False}, 401, {"reason": "missing_token"}),
    ("GET", "/nowhere", {"token": False}, 401, {"reason": "missing_token"}),
    ("GET", "/me", {}, 200, {"user": "42"}),
    ("GET", "/me", {"expires_in": -1}, 401, {"reason": "expired", "subcode": 463}),
    ("POST", "/newsletter", {}, 403, {"reason": "insufficient_scope"}),
    ("POST", "/newsletter", {"scopes": ["email"]}, 200, {"subscribed": "42"}),
    ("GET", "/pages/501/posts", {}, 403, {"reason": "insufficient_scope"}),
    ("GET", "/pages/501/posts", OUR_PAGE, 200, {"page": 501, "posts": []}),
    ("GET", "/pages/777/posts", OUR_PAGE, 403, {"reason": "insufficient_target"}),
]


def listens(port):
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(scope="module", params=SERVERS)
def url(request, variables):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    words = [sys.executable, "-m", *SERVERS[request.param].format(port=port).split()]
    with running(words, variables | {"PYTHONUNBUFFERED": "1"}) as program:
        url = program.read_until(rf"(?:[Rr]unning on|Listening at:?) {LOOPBACK}")[1]
        wait_until(lambda: listens(int(url.rpartition(":")[2])))  # granian says it before it does
        yield url
        _, rest = program.stop()
        assert "Traceback" not in program.seen + rest


@pytest.mark.parametrize(("method", "path", "sent", "status", "members"), OUTCOMES)
def test_outcome(ask, method, path, sent, status, members):
    answered, body = ask(method, path, **sent)
    assert (answered, body | members) == (status, body)


def test_a_browser_of_the_single_page_app_can_read_the_refusal(url):
    preflight = {"Origin": SPA, "Access-Control-Request-Method": "POST"}
    with httpx.Client(base_url=url, trust_env=False) as client:
        refused, asked = client.get("/me", headers={"Origin": SPA}), client.options("/me", headers=preflight)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, SPA)
    assert "www-authenticate" in refused.headers["access-control-expose-headers"].lower()
    assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, SPA)


def test_h16_duplicate_headers_over_http_2(url, request, sandbox):
    """Over HTTP/2 where the server speaks it, else over HTTP/1.1."""
    http2 = "hypercorn" in request.node.name or "granian" in request.node.name
    bearer = sandbox.bearer(sandbox.issue_token(user_id="42"))["Authorization"]

    async def main():
        async with httpx.AsyncClient(http1=not http2, http2=http2, base_url=url, trust_env=False) as client:
            twice = [("AUTHORIZATION", bearer), ("authorization", bearer)]
            return await client.get("/me", headers=twice), await client.get("/me", headers=twice[:1])

    twice, once = asyncio.run(main())
    assert {twice.http_version, once.http_version} == {"HTTP/2" if http2 else "HTTP/1.1"}
    assert (twice.status_code, twice.json()["reason"]) == (400, "invalid_request")
    assert (once.status_code, once.json()) == (200, {"user": "42"})
