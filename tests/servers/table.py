"""What the table of raw requests is made of: requests as bytes, and what a client may see of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fbguard.sandbox import Sandbox
from tests.servers.deployment import WIDE
from tests.servers.raw import Reply

USER = "1001"  # of TOKEN
TOKEN, OTHER = "<token>", "<other token>"  # stand in for fresh ones
BEARER = f"Authorization: Bearer {TOKEN}"
FORM = "Content-Type: application/x-www-form-urlencoded"

H11 = ("uvicorn-h11", "hypercorn")
GRANIAN = ("granian-asgi", "granian-wsgi")
GUNICORN = ("gunicorn-sync", "gunicorn-gthread")
TRUSTING = ("gunicorn-gthread",)  # takes every client on this machine for its proxy: gunicorn's default


@dataclass(frozen=True)
class Outcome:
    """What a client may see: our status with our reason, or 200 with the path of the view that ran.

    ``own`` tells that a server may refuse the request before us: with a 4xx of its own, or by
    closing the connection.
    """

    status: int
    said: str = ""
    user: str | None = None
    own: bool = False

    @property
    def calls(self) -> int:
        """The Graph calls that it takes: one where a token is looked up."""
        return 1 if self.user or self.status == 403 else 0


MISSING = Outcome(401, "missing_token")
MALFORMED = Outcome(401, "malformed_token")
BAD_REQUEST = Outcome(400, "invalid_request")
NO_SCOPE = Outcome(403, "insufficient_scope")
SERVER = Outcome(0, own=True)  # never reaches us
ME = Outcome(200, "/me", USER)


def public(path: str) -> Outcome:
    return Outcome(200, path)


def or_server(outcome: Outcome) -> Outcome:
    return replace(outcome, own=True)


def at(servers: tuple[str, ...], outcome: Outcome) -> dict[str, Outcome]:
    return dict.fromkeys(servers, outcome)


@dataclass(frozen=True)
class Row:
    name: str
    outcome: Outcome
    request: bytes
    on: Mapping[str, Outcome] = field(default_factory=dict)  # where a server changes it before us
    token_from: str = "header"


def ask(target: str, *fields: str, method: str = "GET", host: str = "api.example", body: str = "") -> bytes:
    """Return a request as bytes; characters up to U+00FF stand for their byte."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *fields]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", body]).encode("latin-1")


def row(
    name: str,
    outcome: Outcome,
    target: str,
    *fields: str,
    on: Mapping[str, Outcome] | None = None,
    **more: Any,
) -> Row:
    return Row(name, outcome, ask(target, *fields, **more), on or {})


def wide(name: str, outcome: Outcome, target: str, *fields: str, **more: Any) -> Row:
    """Return a row for the configuration with every place of a token."""
    return replace(row(name, outcome, target, *fields, **more), token_from=WIDE)


def auth(name: str, outcome: Outcome, value: str, **more: Any) -> Row:
    """Return a row with one Authorization header."""
    return row(name, outcome, "/me", f"Authorization: {value}", **more)


def path(name: str, outcome: Outcome, target: str) -> Row:
    """Return a row that asks for a path without a token, and has it in its name."""
    return row(f"{name}-{target}", outcome, target)


def with_fresh_tokens(sandbox: Sandbox, request: bytes) -> bytes:
    """Put in tokens that nobody has seen, so that a look-up shows as a Graph call."""
    for name, user in ((TOKEN, USER), (OTHER, "1002")):
        request = request.replace(name.encode(), sandbox.issue_token(user_id=user).encode())
    return request


def outcome_of(reply: Reply) -> Outcome:
    """Return what came of a request that was not refused before us."""
    if reply.status == 200:
        return Outcome(200, reply.json["view"], reply.json["user_id"])
    assert reply.reason is not None, reply
    assert reply.header("cache-control") == "no-store"
    return Outcome(reply.status, reply.reason)
