"""One request has one answer, whatever framework, door and server it meets."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import time
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

from tests.frameworks.apps import APPS
from tests.frameworks.serving import REDIRECT_URI, Farm, Send, Served
from tests.frameworks.sites.hasty import FASTER, HastyClock
from tests.frameworks.sites.logs import WATCHED
from tests.frameworks.table import ROWS, Row
from tests.integrations.django_site import GUARDING
from tests.servers.raw import HOST, PATIENCE, Reply

# isort: split
from django.test import AsyncClient, Client, override_settings

HEADERS = (
    "content-type",
    "content-length",
    "content-language",
    "cache-control",
    "vary",
    "x-content-type-options",
    "content-security-policy",
    "referrer-policy",
    "www-authenticate",
    "retry-after",
)
MEMBERS = {"type", "title", "status", "detail", "reason", "code", "subcode", "relogin"}
HINT = {"action", "url", "auth_type", "scopes", "retry_after", "message"}
REASONS = {
    "missing_token", "invalid_request", "malformed_token", "invalid_token", "expired", "expires_soon",
    "password_changed", "logged_out", "session_invalidated", "not_authorized", "checkpointed",
    "unconfirmed_user", "role_lost", "app_inactive", "wrong_app", "wrong_token_type", "data_access_expired",
    "login_too_old", "insufficient_scope", "insufficient_target", "limited_login", "throttled", "unavailable",
    "misconfigured",
}  # fmt: skip


def ask(row: Row, farm: Farm, send: Send) -> Reply:
    """Send a request of the table; what it does to Facebook is over afterwards."""
    fields = row.fields(farm.sandbox)
    try:
        reply = send(row.path, fields, row.method)
    finally:
        farm.sandbox.recover()
    wait = reply.header("retry-after")
    if wait is not None:
        settle(farm, send, int(wait))
    return reply


def settle(farm: Farm, send: Send, seconds: int) -> None:
    """Wait, by the guard's clock, until Graph is asked again, and let it hear that all is well."""
    time.sleep(seconds / FASTER)
    reply = send("/me", [f"Authorization: Bearer {farm.sandbox.issue_token()}"], "GET")
    assert reply.status == 200, reply


def told(row: Row, reply: Reply) -> object:
    """Return what must be equal everywhere."""
    if row.reason == "misconfigured":
        return reply.status, reply.json | {"relogin": None}  # which tells of the time that is left
    if row.reason is not None:
        return reply.status, {name: reply.all(name) for name in HEADERS}, reply.body
    return reply.status, reply.json if reply.status == 200 and reply.body else None


def check(row: Row, reply: Reply) -> None:
    """Compare an answer with the table."""
    assert reply.status == row.status, reply
    if row.reason is not None:
        check_refusal(row, reply)
    elif row.method == "HEAD":
        assert reply.body == b""
    elif row.status == 200:
        view = "refuse" if row.path == "/refuse" else row.path.strip("/")
        assert reply.json == {"view": view, "user": row.user, "carried": row.user}


def check_refusal(row: Row, reply: Reply) -> None:
    kind = "text/html; charset=utf-8" if row.is_page else "application/problem+json"
    assert reply.header("content-type") == kind
    assert reply.header("cache-control") == "no-store"
    assert reply.header("vary") == "Authorization, Accept, Accept-Language"
    assert reply.header("content-language") == row.language
    assert reply.header("x-content-type-options") == "nosniff"
    challenge = reply.header("www-authenticate")
    retry_after = reply.header("retry-after")
    assert (challenge is not None, retry_after is not None) == (row.status < 500, row.status == 503)
    if challenge is not None and row.reason != "missing_token":
        assert challenge.startswith('Bearer realm="fbguard", error="')
        assert challenge.endswith(f'relogin="{row.action}"')
    if row.method == "HEAD":
        assert reply.body == b""
        return
    assert reply.header("content-length") == str(len(reply.body))
    if row.is_page:
        check_page(row, reply)
        return
    body = reply.json
    hint = body["relogin"]
    assert (set(body), set(hint)) == (MEMBERS, HINT)
    assert (body["type"], body["status"]) == (f"urn:fbguard:reason:{row.reason}", row.status)
    assert (body["reason"], hint["action"]) == (row.reason, row.action)
    assert (hint["scopes"], hint["auth_type"]) == (list(row.scopes), row.auth_type)
    assert hint["retry_after"] == (None if retry_after is None else int(retry_after))
    if row.subcode is not None:
        assert (body["code"], body["subcode"]) == (190, row.subcode)
    assert hint["url"] == url_of(row, hint["url"])


def check_page(row: Row, reply: Reply) -> None:
    assert "default-src 'none'" in (reply.header("content-security-policy") or "")
    assert reply.header("referrer-policy") == "no-referrer"
    page = reply.body.decode()
    assert page.startswith(f'<!doctype html><html lang="{row.language}">')
    assert f"<code>{row.reason}</code>" in page
    button = re.search('<a class="button" href="([^"]*)">', page)
    url = None if button is None else unescape(button[1])
    assert url == url_of(row, url)


def url_of(row: Row, url: str | None) -> str | None:
    """Return the address that a hint must have."""
    if row.action == "visit_facebook":
        return "https://www.facebook.com/"
    if row.action == "login":
        assert url is not None
        assert REDIRECT_URI.rpartition("/")[2] in url
        return url
    return None


# -- the table itself --------------------------------------------------------------------------------


def test_the_table_has_every_reason_that_a_request_can_meet():
    assert len({row.name for row in ROWS}) == len(ROWS) >= 60
    assert {row.reason for row in ROWS if row.reason} == REASONS


def test_most_of_the_table_needs_no_door():
    assert len([row for row in ROWS if not row.doors]) >= 60


# -- on real servers ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def answers() -> dict[str, Reply]:
    """Keep what the reference has answered."""
    return {}


@pytest.fixture
def expected(row: Row, farm: Farm, reference: Served, answers: dict[str, Reply]) -> Reply:
    if row.name not in answers:
        answers[row.name] = ask(row, farm, reference.send)
    return answers[row.name]


by_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@by_row
def test_one_answer(row: Row, served: Served, farm: Farm, expected: Reply):
    if row.doors and not served.door:
        return  # nobody stands where this is answered
    reply = ask(row, farm, served.send)
    check(row, reply)
    assert told(row, reply) == told(row, expected)


def test_refusals_of_views_are_no_noise(served: Served, farm: Farm):
    """And a complaint on purpose shows that the log would tell."""
    token = farm.sandbox.issue_token()
    before = served.records()
    with_token = {"Authorization": f"Bearer {token}"}
    connection = http.client.HTTPConnection(HOST, served.port, timeout=PATIENCE)
    refused: list[str] = []
    try:
        for number in range(100):
            path = ("/refuse", "/email", "/pages/501", "/either", "/machine")[number % 5]
            connection.request("GET", path, headers=with_token if number % 3 else {})
            response = connection.getresponse()
            assert response.status in {401, 403}
            refused.append(json.loads(response.read())["reason"])
        connection.request("GET", "/log")
        assert connection.getresponse().read()
    finally:
        connection.close()
    assert set(refused) == {"missing_token", "insufficient_scope", "wrong_token_type"}
    new = served.records()[len(before) :]
    assert sorted(line.split()[2] for line in new) == sorted(WATCHED), "\n".join(new)
    assert all(line.endswith("on purpose") for line in new)


# -- on Django's own stack, in process ---------------------------------------------------------------


class InProcess:
    """Django without a server: its test clients."""

    def __init__(self, colour: str) -> None:
        self._is_async = colour == "AsyncClient"

    def send(self, path: str, fields: list[str], method: str) -> Reply:
        pairs = [(name, value.strip()) for name, _, value in (line.partition(":") for line in fields)]
        return (
            asyncio.run(self._asend(path, pairs, method))
            if self._is_async
            else self._send(path, pairs, method)
        )

    def _send(self, path: str, pairs: list[tuple[str, str]], method: str) -> Reply:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        }
        for name, value in pairs:
            key = f"HTTP_{name.upper().replace('-', '_')}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value  # as servers join them
        response = Client().request(**environ)
        return self._reply(response, response.getvalue())

    async def _asend(self, path: str, pairs: list[tuple[str, str]], method: str) -> Reply:
        response = await AsyncClient().request(
            method=method,
            path=unquote_to_bytes(path).decode("utf-8", "replace"),
            headers=[(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
        )
        if response.streaming:
            return self._reply(response, b"".join([chunk async for chunk in response]))
        return self._reply(response, response.content)

    @staticmethod
    def _reply(response: Any, body: bytes) -> Reply:
        headers = tuple((name.lower(), value) for name, value in response.items())
        return Reply(response.status_code, headers, body)


@pytest.fixture(scope="module", params=["Client", "AsyncClient"])
def in_process(request: pytest.FixtureRequest, farm: Farm) -> Iterator[InProcess]:
    options = {
        "app_id": farm.sandbox.app_id,
        "app_secret": farm.sandbox.app_secret,
        "transport": farm.sandbox.transport,
        "redirect_uri": REDIRECT_URI,
        "clock": HastyClock(),
        "limited_login": True,
        "policy": "tests.frameworks.apps.VIEWS",
    }
    urls = "tests.frameworks.sites.django_urls"
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[GUARDING], FBGUARD=options):
        yield InProcess(request.param)


@by_row
def test_one_answer_in_process(row: Row, in_process: InProcess, farm: Farm, expected: Reply):
    reply = ask(row, farm, in_process.send)
    check(row, reply)
    assert told(row, reply) == told(row, expected)


def test_every_app_is_on_the_list():
    assert {app.name.partition("-")[0] for app in APPS} == {
        "asgi", "wsgi", "starlette", "fastapi", "flask", "django",
    }  # fmt: skip
