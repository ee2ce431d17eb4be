"""The words the tour is written in: a person's login, a request, and the answer the design promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fbguard.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Login:
    """A person who has logged in, and the token that the app got; the token stays out of the repr."""

    user_id: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the design promises for one request.

    ``error`` is that of the Bearer challenge: None where it is bare (401) or absent (200, 503).
    ``scope`` is its ``scope`` attribute. ``reason`` None means the view's own answer.
    """

    status: int
    graph_calls: int
    reason: str | None = None
    action: str | None = None
    auth_type: str | None = None
    error: str | None = None
    scope: str | None = None
    code: int | None = None
    subcode: int | None = None


def bearer(login: Login) -> tuple[str, ...]:
    """Send the token as it should be sent; returns the values of the Authorization headers."""
    return (f"Bearer {login.token}",)


def twice(login: Login) -> tuple[str, ...]:
    """Send two tokens, two headers."""
    return bearer(login) * 2


def nothing(_login: Login) -> tuple[str, ...]:
    """Send no credential."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request of the tour.

    ``token`` are the keywords of ``Sandbox.issue_token``; ``headers`` makes the Authorization headers
    of it. With ``cached`` a GET of ``known_by``, or else of the path, is made once before, so that the
    guard knows the token; then ``event`` happens on Facebook; then ``after`` names a path that is asked
    for first, and ``caller`` calls the app at its URL; with ``again`` the person logs in once more; then
    comes the request that counts. ``anonymous`` tells that the view is expected to see no token.
    """

    name: str
    path: str
    expected: Expected
    method: str = "GET"
    token: Mapping[str, Any] = field(default_factory=dict[str, Any])
    headers: Callable[[Login], tuple[str, ...]] = bearer
    cached: bool = False
    known_by: str | None = None
    event: Callable[[Sandbox, Login], object] | None = None
    after: str | None = None
    caller: Callable[[str, Sandbox, Login], object] | None = None
    again: bool = False
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Chapter:
    """Steps that show one thing."""

    title: str
    steps: tuple[Step, ...]
