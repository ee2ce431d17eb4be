"""Compare an answer with the design: status, challenge, hint, headers, and the number of Graph calls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final, cast

from fbguard.cli.steps import Step
from fbguard.cli.walk import Answer, Visit, visit
from fbguard.sandbox import Sandbox

_PARAMETER: Final = re.compile(r'([a-z_]+)="([^"]*)"')
_HEADERS: Final = {
    "content-type": "application/problem+json",
    "content-language": "en",
    "cache-control": "no-store",
    "vary": "Authorization, Accept, Accept-Language",
    "x-content-type-options": "nosniff",
}
_WITHOUT_URL: Final = frozenset({"wait", "none"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """A step that was played: ``differences`` has one sentence for everything not as designed.

    ``visit`` is None when nobody answered.
    """

    step: Step
    visit: Visit | None
    differences: tuple[str, ...]


def play(step: Step, url: str, sandbox: Sandbox) -> Outcome:
    """Play one step against the app at ``url`` and compare what comes back."""
    try:
        went = visit(step, url, sandbox)
    except (OSError, HTTPException) as error:
        return Outcome(step, None, (f"nobody answered: {type(error).__name__}",))
    return Outcome(step, went, tuple(_differences(step, went)))


def challenge_of(answer: Answer) -> dict[str, str] | None:
    """Return the parameters of the Bearer challenge; None when there is no such challenge."""
    value = answer.header("www-authenticate")
    if value is None or not value.startswith("Bearer "):
        return None
    return dict(_PARAMETER.findall(value))


def relogin_of(answer: Answer) -> dict[str, Any]:
    """Return the re-login hint of a refusal; an empty mapping when there is none."""
    hint = answer.json().get("relogin")
    return cast("dict[str, Any]", hint) if isinstance(hint, dict) else {}


def _differences(step: Step, went: Visit) -> Iterator[str]:
    answer, expected = went.answer, step.expected
    yield from _unequal("status", answer.status, expected.status)
    yield from _unequal("Graph calls", went.graph_calls, expected.graph_calls)
    if went.login.token.encode() in answer.body or went.login.token in str(answer.headers):
        yield "the answer repeats the token"
    if expected.reason is None:
        yield from _view_differences(step, went)
    else:
        yield from _hint_differences(step, answer)
        yield from _header_differences(step, answer)


def _view_differences(step: Step, went: Visit) -> Iterator[str]:
    if step.expected.status >= HTTPStatus.BAD_REQUEST:
        return  # an error of the app's own, in its own words
    user_id = None if step.anonymous else went.login.user_id
    yield from _unequal("user id in the view", went.answer.json().get("user_id"), user_id)
    yield from _unequal("WWW-Authenticate", went.answer.header("www-authenticate"), None)


def _hint_differences(step: Step, answer: Answer) -> Iterator[str]:
    expected, problem, hint = step.expected, answer.json(), relogin_of(answer)
    yield from _unequal("type", problem.get("type"), f"urn:fbguard:reason:{expected.reason}")
    yield from _unequal("status in the body", problem.get("status"), expected.status)
    yield from _unequal("reason", problem.get("reason"), expected.reason)
    yield from _unequal("code", problem.get("code"), expected.code)
    yield from _unequal("subcode", problem.get("subcode"), expected.subcode)
    yield from _unequal("relogin.action", hint.get("action"), expected.action)
    yield from _unequal("relogin.auth_type", hint.get("auth_type"), expected.auth_type)
    has_url = isinstance(hint.get("url"), str)
    yield from _unequal("relogin.url present", has_url, expected.action not in _WITHOUT_URL)
    if not (problem.get("title") and problem.get("detail") and hint.get("message")):
        yield "title, detail or relogin.message is empty"


def _header_differences(step: Step, answer: Answer) -> Iterator[str]:
    expected = step.expected
    for name, value in _HEADERS.items():
        yield from _unequal(name, answer.header(name), value)
    retry_after = answer.header("retry-after")
    if expected.status == HTTPStatus.SERVICE_UNAVAILABLE:
        if not re.fullmatch(r"[1-9][0-9]*", retry_after or ""):
            yield f"Retry-After is {retry_after!r}; the design says whole seconds, at least 1"
        yield from _unequal("relogin.retry_after", str(relogin_of(answer).get("retry_after")), retry_after)
        yield from _unequal("WWW-Authenticate", answer.header("www-authenticate"), None)
        return
    yield from _unequal("Retry-After", retry_after, None)
    challenge = challenge_of(answer)
    if challenge is None:
        yield "there is no Bearer challenge"
        return
    yield from _unequal("realm", challenge.get("realm"), "fbguard")
    yield from _unequal("error", challenge.get("error"), expected.error)
    yield from _unequal("scope", challenge.get("scope"), expected.scope)
    said = expected.action if expected.error else None
    yield from _unequal("relogin in the challenge", challenge.get("relogin"), said)


def _unequal(what: str, found: object, expected: object) -> Iterator[str]:
    if found != expected:
        yield f"{what} is {found!r}; the design says {expected!r}"
