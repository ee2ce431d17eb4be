"""Every program of docs/sessions.md runs as it stands there, and the page's links lead somewhere."""

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest
from werkzeug.test import Client

from fbguard import Refused
from fbguard.cli.servers import serve_asgi
from fbguard.revocation.tombstones import LIFETIME, MOST

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "sessions.md").read_text()
BLOCKS = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)
STARLETTE, FLASK, REVOKE, DELETION, LEGACY = range(5)


@pytest.fixture
def sandbox(facebook_in_environment):
    return facebook_in_environment


@pytest.fixture
def run(sandbox):
    """Give ``run(number)``: the names that a block leaves."""
    guards = []

    def run(number):
        namespace = {"__name__": "documented"}
        exec(compile(BLOCKS[number], f"docs/sessions.md, block {number}", "exec"), namespace)
        guards.append(namespace["guard"])
        return namespace

    yield run
    for guard in guards:
        guard.close()


def verdict(guard, token):
    try:
        guard.check(token)
    except Refused as refused:
        return refused.reason
    return None


def form(sandbox, user_id):
    sandbox.clock.advance(1)  # whole seconds, and the token was seen before
    return {"signed_request": sandbox.signed_request(user_id)}


def test_every_program_is_run():
    assert len(BLOCKS) == PAGE.count("```python") == 5
    assert max(map(len, PAGE.splitlines())) <= 130


def test_starlette(run, sandbox):
    namespace = run(STARLETTE)
    app, guard = namespace["app"], namespace["guard"]
    first, second = (sandbox.issue_token(user_id="42") for _ in range(2))

    async def main():
        transport = httpx.ASGITransport(app)
        async with guard, httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            outs = [await client.post("/log-out", headers=sandbox.bearer(first)) for _ in range(2)]
            await guard.acheck(second)
            gone = await client.post("/facebook/deauthorize", data=form(sandbox, "42"))
            return [*outs, gone, await client.post("/log-out", headers=sandbox.bearer(second))]

    out, again, gone, last = asyncio.run(main())
    assert [one.status_code for one in (out, again, gone, last)] == [204, 401, 200, 401]
    assert (again.json()["reason"], last.json()["reason"]) == ("session_invalidated", "not_authorized")


def test_flask(run, sandbox):
    namespace = run(FLASK)
    client, guard = Client(namespace["app"]), namespace["guard"]
    first, second = (sandbox.issue_token(user_id="42") for _ in range(2))
    assert client.post("/log-out").status_code == 401
    assert client.post("/log-out", headers=sandbox.bearer(first)).status_code == 204
    assert verdict(guard, first) == "session_invalidated"
    assert verdict(guard, second) is None
    assert client.post("/facebook/deauthorize", data=form(sandbox, "42")).status_code == 200
    assert client.post("/log-out", headers=sandbox.bearer(second)).json["reason"] == "not_authorized"


def test_at_facebook_too(run, sandbox):
    namespace = run(REVOKE)
    tokens = [sandbox.issue_token(user_id="42") for _ in range(2)]
    assert namespace["disconnect"](tokens[0]) == "done"
    assert [verdict(namespace["guard"], token) for token in tokens] == [
        "session_invalidated",
        "not_authorized",
    ]
    assert namespace["disconnect"](tokens[1]) == "Facebook says no: not_authorized"
    sandbox.fail(drop=True)
    assert re.fullmatch(r"nobody knows; again in \d+ s", namespace["disconnect"](sandbox.issue_token()))


def test_data_deletion_behind_a_proxy(run, sandbox):
    namespace = run(DELETION)
    answer = Client(namespace["callbacks"]).post("/data-deletion", data=form(sandbox, "42"))
    body = json.loads(answer.data)
    code = body["confirmation_code"]
    assert body["url"] == f"https://api.example.com/facebook/data-deletion/{code}"
    assert namespace["asked"] == [("42", code)]
    assert b"request received" in Client(namespace["callbacks"]).get(f"/data-deletion/{code}").data


def test_clients_of_2009(run, sandbox):
    namespace = run(LEGACY)
    guard, token = namespace["guard"], sandbox.issue_token()
    namespace["log_in"](token, "key-of-2009", "its-own-secret")
    with serve_asgi(guard.callbacks_asgi()) as url:
        where = f"{url}/restserver.php"
        assert namespace["end"]("key-of-2009", "another-secret", where) == 104
        assert verdict(guard, token) is None
        assert namespace["end"]("key-of-2009", "its-own-secret", where) == 0
    assert verdict(guard, token) == "session_invalidated"


def test_the_webhook_by_the_flask_program(run, sandbox):
    client = Client(run(FLASK)["app"])
    event = sandbox.permissions_event("42")
    assert client.post("/facebook/webhook", data=event["body"], headers=event["headers"]).status_code == 200
    assert (
        client.post("/facebook/webhook", data=event["body"] + " ", headers=event["headers"]).status_code
        == 403
    )
    fields = {"hub.mode": "subscribe", "hub.challenge": "7", "hub.verify_token": "the verify token"}
    assert client.get(f"/facebook/webhook?{urlencode(fields)}").data == b"7"


def test_the_limits_are_those_of_the_code():
    assert (LIFETIME, MOST) == (90 * 86_400, 100_000)
    assert "90 days" in PAGE
    assert "100,000" in PAGE


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", PAGE))
def test_links_lead_somewhere(link):
    assert (DOCS / link).exists()
