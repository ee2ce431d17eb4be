"""Ask one step of the tour over a real socket and say what came back."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, cast
from urllib.parse import urlsplit

from fbguard.cli.steps import Login, Step
from fbguard.sandbox import Sandbox

_TIMEOUT: Final = 10.0  # seconds; more than a guard's whole deadline

# People of the demo; each logs in once, so that what happens to one happens to nobody else.
_people: Final[Iterator[int]] = count(100_000_000_000_001)


@dataclass(frozen=True, slots=True)
class Answer:
    """A response as it came: header names are lower case, repeated ones stay repeated."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """Return a header's value (values of repeated ones joined by commas), or None."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    def json(self) -> dict[str, Any]:
        """Return the body's JSON object; an empty one if it holds none."""
        try:
            read = json.loads(self.body)
        except ValueError:
            return {}
        return cast("dict[str, Any]", read) if isinstance(read, dict) else {}


@dataclass(frozen=True, slots=True)
class Visit:
    """One step as it went: who asked, what came back, and how many Graph calls the guard made for it."""

    login: Login
    answer: Answer
    graph_calls: int


def visit(step: Step, url: str, sandbox: Sandbox) -> Visit:
    """Play one step against the app at ``url``. Raises OSError or HTTPException if nobody answers."""
    login = log_in(step, sandbox)
    try:
        _prepare(step, url, sandbox, login)
        if step.again:
            login = log_in(step, sandbox, login.user_id)
        before = len(sandbox.calls)
        answer = ask(url, step.path, step.headers(login), step.method)
        # Until then the guard leaves Graph alone, and the steps that follow would be refused unasked.
        wait = answer.header("retry-after") or ""
        sandbox.clock.advance(int(wait) if wait.isdecimal() else 0)
        return Visit(login, answer, len(sandbox.calls) - before)
    finally:
        sandbox.recover()


def _prepare(step: Step, url: str, sandbox: Sandbox, login: Login) -> None:
    """Let happen what comes before the request that counts."""
    headers = step.headers(login)
    if step.cached:
        ask(url, step.known_by or step.path, headers)
    if step.event is not None:
        step.event(sandbox, login)
    if step.after is not None:
        ask(url, step.after, headers)
    if step.caller is not None:
        step.caller(url, sandbox, login)


def log_in(step: Step, sandbox: Sandbox, user_id: str | None = None) -> Login:
    """Let a person, a new one unless named, log in the way the step says."""
    user_id = user_id or str(next(_people))
    keywords: dict[str, Any] = {"user_id": user_id, **step.token}
    return Login(user_id, sandbox.issue_token(**keywords))


def ask(url: str, path: str, authorization: tuple[str, ...], method: str = "GET") -> Answer:
    """Send one request with these Authorization headers, each a header of its own, exactly as given."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=_TIMEOUT)
    try:
        connection.putrequest(method, path)
        connection.putheader("Accept", "application/json")
        for value in authorization:
            connection.putheader("Authorization", value)
        if method == "POST":
            connection.putheader("Content-Length", "0")
        connection.endheaders()
        response = connection.getresponse()
        headers = tuple((name.lower(), value) for name, value in response.getheaders())
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()
