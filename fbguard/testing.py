"""A pytest plugin for APIs that fbguard guards: ``pytest_plugins = ["fbguard.testing"]``.

The fixtures are a Facebook of the test's own, the Guard that asks it, and tokens; nothing leaves the
process, nothing is patched, and time moves by ``fb_sandbox.clock.advance(seconds)``. The guard is a real
one: no switch lets a request by. The two assertions read what the test clients of Starlette, FastAPI,
Flask and Django return, and httpx's responses.

PYTEST_DONT_REWRITE (there is no assert statement here, and a test may import it before pytest does)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypedDict, Unpack, cast

import pytest

from fbguard.core.reasons import REASONS
from fbguard.guard import Guard
from fbguard.sandbox import Sandbox

_MEMBERS: Final = ("type", "title", "status", "detail", "reason", "code", "subcode", "relogin")
_UNAUTHORIZED: Final = 401
_UNAVAILABLE: Final = 503
_FIRST_ERROR: Final = 400
# Any long word of a body might be a token, so none is printed.
_LONG_WORD: Final = re.compile(r"[\w.~+/|=-]{20,}")
_SHOWN: Final = 300  # characters of a body that is not ours


class Issue(TypedDict, total=False):
    """The keywords of :meth:`fbguard.sandbox.Sandbox.issue_token`."""

    user_id: str | None
    scopes: Iterable[str]
    granular_scopes: Mapping[str, Sequence[str] | None] | Sequence[Mapping[str, object]] | None
    expires_in: float | None
    type: str
    profile_id: str | None
    data_access_expires_in: float | None
    app_id: str | None


class TokenFactory:
    """What the fixture ``fb_token`` is: call it for a token, or take the header that carries one."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def __call__(self, **issue: Unpack[Issue]) -> str:
        """Log a person in and return the access token; the keywords are ``Sandbox.issue_token``'s."""
        return self._sandbox.issue_token(**issue)

    def headers(self, **issue: Unpack[Issue]) -> dict[str, str]:
        """Log a person in and return the request header with the access token: ``headers=`` of any client."""
        return self._sandbox.bearer(self(**issue))


@pytest.fixture
def fb_sandbox() -> Sandbox:
    """Give a Facebook with one app, this test's own."""
    return Sandbox()


@pytest.fixture
def fb_guard(fb_sandbox: Sandbox) -> Iterator[Guard]:
    """Give the Guard of the sandbox's app; it is closed after the test.

    For other options override it: a fixture of this name that yields ``fb_sandbox.guard(ttl=60.0)``.
    """
    with fb_sandbox.guard() as guard:
        yield guard


@pytest.fixture
def fb_token(fb_sandbox: Sandbox) -> TokenFactory:
    """Give ``fb_token(scopes=[...], ...) -> str`` and ``fb_token.headers(scopes=[...], ...) -> dict``."""
    return TokenFactory(fb_sandbox)


class AnyResponse(Protocol):
    """What the responses of the test clients have in common."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> Any:
        """The headers; ``get`` finds them in any case."""
        ...


def assert_refused(
    response: AnyResponse,
    reason: str,
    *,
    status: int | None = None,
    action: str | None = None,
    scopes: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Check that fbguard refused the request, and why; return the body.

    ``action`` and ``scopes`` are what the re-login hint tells the client: in its body's ``relogin``.
    The answer is looked at as a whole: status, body, ``Cache-Control``, and the challenge of a 401 or
    the ``Retry-After`` of a 503. Raises ValueError for a reason that does not exist.
    """
    __tracebackhide__ = True
    if reason not in REASONS:
        raise ValueError(f"there is no reason {reason!r}; there are {', '.join(sorted(REASONS))}")
    body = _problem(response)
    if body is None:
        raise AssertionError(f"expected a refusal ({reason}), got {_described(response)}")
    relogin = body["relogin"]
    _check("reason", reason, body["reason"], response)
    _check("status", body["status"] if status is None else status, response.status_code, response)
    if action is not None:
        _check("relogin.action", action, relogin["action"], response)
    if scopes is not None:
        _check("relogin.scopes", sorted(scopes), sorted(relogin["scopes"]), response)
    _check_headers(response)
    return body


def assert_allowed(response: AnyResponse) -> None:
    """Check that the request got in and the app answered it with success (a status below 400)."""
    __tracebackhide__ = True
    if response.status_code >= _FIRST_ERROR:
        raise AssertionError(f"expected the view's answer, got {_described(response)}")


def _check(what: str, expected: object, found: object, response: AnyResponse) -> None:
    __tracebackhide__ = True
    if found != expected:
        raise AssertionError(f"expected {what} {expected!r}, found {found!r} in {_described(response)}")


def _check_headers(response: AnyResponse) -> None:
    __tracebackhide__ = True
    headers, status = response.headers, response.status_code
    missing = [
        name
        for name, is_there in (
            ("Cache-Control: no-store", "no-store" in (headers.get("Cache-Control") or "")),
            ("WWW-Authenticate: Bearer", status != _UNAUTHORIZED or _challenges(headers)),
            ("Retry-After", status != _UNAVAILABLE or headers.get("Retry-After")),
        )
        if not is_there
    ]
    if missing:
        lost = ", ".join(missing)
        raise AssertionError(f"something took {lost} out of {_described(response)}")


def _challenges(headers: Any) -> bool:
    return (headers.get("WWW-Authenticate") or "").startswith("Bearer ")


def _problem(response: AnyResponse) -> dict[str, Any] | None:
    """Return the body of a refusal, None for any other answer."""
    kind: str = response.headers.get("Content-Type") or ""
    if kind.partition(";")[0].strip() != "application/problem+json":
        return None
    try:
        body: object = json.loads(_content(response))
    except ValueError:
        return None
    if not isinstance(body, dict) or any(member not in body for member in _MEMBERS):
        return None
    return cast("dict[str, Any]", body)


def _content(response: Any) -> bytes:
    if getattr(response, "streaming", False):  # of Django, whose body may be read once only
        return b""
    content: bytes = response.content if hasattr(response, "content") else response.get_data()
    return content


def _described(response: AnyResponse) -> str:
    """Describe an answer in one line, without anything in it that could be a token."""
    body = _problem(response)
    if body is not None:
        relogin = body["relogin"]
        return (
            f"a refusal: {response.status_code} {body['reason']}, code {body['code']}, subcode "
            f"{body['subcode']}, relogin {relogin['action']} {relogin['scopes']}: {body['detail']}"
        )
    kind = response.headers.get("Content-Type") or "no content type"
    text = _LONG_WORD.sub("***", _content(response).decode(errors="replace"))[:_SHOWN]
    return f"an answer of the app: {response.status_code}, {_LONG_WORD.sub('***', kind)}, {text!r}"
