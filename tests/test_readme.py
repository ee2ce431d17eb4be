"""The README's code runs as it stands there."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from werkzeug.test import Client

README = (Path(__file__).parent.parent / "README.md").read_text()
PAGES = {"scopes": ["pages_read_engagement"], "granular_scopes": {"pages_read_engagement": ["111"]}}


@pytest.fixture
def sandbox(facebook_in_environment):
    return facebook_in_environment


def run(number):
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    namespace = {"__name__": "readme"}
    exec(compile(blocks[number], f"README.md, block {number}", "exec"), namespace)
    return namespace


def expectations(sandbox):
    plain, pages = sandbox.bearer(sandbox.issue_token()), sandbox.bearer(sandbox.issue_token(**PAGES))
    return [
        ("/health", {}, 200),
        ("/me", {}, 401),
        ("/me", plain, 200),
        ("/pages/111/posts", plain, 403),
        ("/pages/111/posts", pages, 200),
        ("/pages/222/posts", pages, 403),
    ]


async def ask(app, requests):
    """Answer (path, headers) pairs by an ASGI app, one after the other."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answers = [await client.get(path, headers=headers) for path, headers in requests]
    await app.guard.aclose()
    return answers


def test_quick_start_for_starlette(sandbox):
    table = expectations(sandbox)
    answers = asyncio.run(ask(run(0)["app"], [row[:2] for row in table]))
    assert [answer.status_code for answer in answers] == [row[2] for row in table]


def test_quick_start_for_flask(sandbox):
    namespace = run(1)
    client = Client(namespace["app"])
    for path, headers, status in expectations(sandbox):
        assert client.get(path, headers=headers).status_code == status, path
    namespace["app"].wsgi_app.guard.close()


def test_a_view_that_calls_graph(sandbox):
    """Its block as it stands: the view's own call goes well, then the session ends on Facebook."""

    async def main(namespace):
        token = sandbox.issue_token(user_id="42")
        app, headers = namespace["app"], sandbox.bearer(token)
        async with (
            namespace["graph"],
            app.guard,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
        ):
            good = await client.get("/name", headers=headers)
            sandbox.change_password("42")
            dead = [await client.get("/name", headers=headers) for _ in range(2)]
        return good, dead

    good, dead = asyncio.run(main(run(2)))
    assert good.json() == {"name": "User 42"}
    assert [(one.status_code, one.json()["reason"], one.json()["subcode"]) for one in dead] == [
        (401, "password_changed", 460)
    ] * 2
    paths = [call.path.rpartition("/")[2] for call in sandbox.calls]
    assert paths == ["debug_token", "me", "me", "debug_token"]


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_two_commands_are_one_line_each(name):
    block = re.search(rf"<!-- {name} command -->\n```sh\n(.*?)```", README, re.DOTALL)
    assert block[1].count("\n") == 1


def test_the_refusal_shown_is_the_one_that_is_sent(sandbox):
    token = sandbox.issue_token()
    sandbox.expire(token)
    [answer] = asyncio.run(ask(run(0)["app"], [("/me", sandbox.bearer(token))]))
    assert f"WWW-Authenticate: {answer.headers['www-authenticate']}\n" in README
    for member in ("type", "title", "detail", "reason"):
        assert f'"{member}": "{answer.json()[member]}"' in README
    assert f'"message": "{answer.json()["relogin"]["message"]}"' in README
