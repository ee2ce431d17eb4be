"""Lines to copy and paste: ``curl`` commands for what is running."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from fbguard.cli import tour
from fbguard.cli.steps import Expected, Login, Step
from fbguard.cli.walk import log_in
from fbguard.sandbox import Sandbox

_TTL: Final = 300  # seconds; a guard's default

# Steps whose token shows the same answer at any later time.
_LASTING: Final = (
    "valid token",
    "decorator: scope granted",
    "rule: page granted",
    "expired (463)",
    "app removed (458)",
    "checkpoint (459)",
    "page token",
    "decorator: scope missing",
    "rule: other page granted",
)


@dataclass(frozen=True, slots=True)
class Example:
    """One command and what to expect of it."""

    comment: str
    command: str


def app_examples(apps: Iterable[tuple[str, str]], sandbox: Sandbox) -> Iterator[Example]:
    """Give requests to the apps, (name, URL) each, with freshly issued tokens."""
    named = {step.name: step for chapter in tour.TOUR for step in chapter.steps}
    ready = [(step, _authorization(step, sandbox)) for name in _LASTING if (step := named.get(name))]
    for name, url in apps:
        yield Example(f"401 from {name}: no token", _curl("-i", f"{url}/me"))
        for step, values in ready:
            headers = [word for value in values for word in ("-H", f"Authorization: {value}")]
            comment = f"{step.expected.status} from {name}: {step.name}"
            yield Example(comment, _curl("-i", f"{url}{step.path}", *headers))


def log_out_examples(apps: Iterable[tuple[str, str]], sandbox: Sandbox) -> Iterator[Example]:
    """Give the end of a session by the app's own log-out, one person for each app, (name, URL) each."""
    for name, url in apps:
        login = _somebody(sandbox)
        credential = ("-H", f"Authorization: Bearer {login.token}")
        yield Example(f"200 from {name}: log out", _curl("-i", "-X", "POST", f"{url}/log-out", *credential))
        yield Example(
            f"401 from {name}: that token from then on, without asking Facebook",
            _curl("-i", f"{url}/me", *credential),
        )


def control_examples(url: str, sandbox: Sandbox, apps: Iterable[tuple[str, str]]) -> Iterator[Example]:
    """Give calls of the sandbox's control API, for the sandbox at ``url`` and apps in front of it."""
    login = _somebody(sandbox)
    for name, app_url in apps:
        yield Example(
            f"200 from {name}, for a person whose session is about to end",
            _curl("-i", f"{app_url}/me", "-H", f"Authorization: Bearer {login.token}"),
        )
    yield Example("log this person out of Facebook ...", control(url, "log_out", user_id=login.user_id))
    yield Example(
        f"... and let {_TTL} seconds pass, after which guards ask Facebook again: now it is 401",
        control(url, "advance", seconds=_TTL),
    )
    yield Example(
        "issue a token of your own", control(url, "issue_token", scopes=["public_profile", "email"])
    )
    yield Example("take Facebook down: tokens that are not cached get 503", control(url, "fail", status=500))
    yield Example("and up again", control(url, "recover"))


def control(url: str, method: str, **keywords: object) -> str:
    """Return a call of the sandbox's control API."""
    return _curl("-X", "POST", f"{url}/sandbox/{method}", *(("-d", json.dumps(keywords)) if keywords else ()))


def debug_token(url: str, token: str, credential: str) -> str:
    """Return the Graph call that tells what a token is worth, made by the app itself.

    ``credential`` stands in double quotes, so that it may name a shell variable.
    """
    return f'{_curl(f"{url}/debug_token?input_token={token}")} -H "Authorization: Bearer {credential}"'


def _somebody(sandbox: Sandbox) -> Login:
    return log_in(Step(name="", path="", expected=Expected(status=200, graph_calls=1)), sandbox)


def _authorization(step: Step, sandbox: Sandbox) -> tuple[str, ...]:
    login = log_in(step, sandbox)
    if step.event is not None:
        step.event(sandbox, login)
    return step.headers(login)


def _curl(*words: str) -> str:
    return shlex.join(("curl", *words))
