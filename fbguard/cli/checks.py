"""What ``fbguard doctor`` looks at, one thing after the other: the environment, Graph, the store."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, Literal

import fbguard
from fbguard.cli.guards import patience
from fbguard.core import settings
from fbguard.core.errors import Refused
from fbguard.core.options import STORE, VARIABLES, from_environment
from fbguard.core.secret import Secret
from fbguard.debugger.report import MEND_THE_APP
from fbguard.events import CertificateRefused, Event
from fbguard.facebook.graph import Graph, Reply
from fbguard.facebook.transport import GraphClient, client_maker
from fbguard.guard import Guard
from fbguard.stores.sqlite import SQLiteStore

Result = Literal["good", "warning", "bad"]

_PREFIX: Final = "FBGUARD_"
_NAMES: Final = [name.removeprefix(_PREFIX) for name in VARIABLES]
_PATIENCE: Final = 10.0  # seconds for each question
_SKEW: Final = 5.0  # seconds that Graph's clock and ours may differ without a word; it states whole ones
_BAD_SKEW: Final = 60.0  # as much as a signed_request may be ahead
_HEARING: Final = 2.0  # seconds that a store has until its news are heard
_POLL: Final = 0.05
_UNKNOWN: Final = "EAABfbguardDoctorAsksAboutATokenThatNobodyHasEverIssued0000000000"
_COMMANDS: Final = frozenset({"FBGUARD_TOKEN", "FBGUARD_SESSION_KEY"})  # what commands read besides
_PACKAGES: Final = ("aiohttp", "httpx", "cachetools", "redis", "starlette", "fastapi", "flask", "django")
_DONT_KNOW: Final = 503
# What is installed has no docs folder: what helps stands here, or in a docstring.
_OPTIONS: Final = (
    f"The variables are {', '.join(VARIABLES)}; `python -m pydoc fbguard.Guard` tells of the options."
)
_BY_TRANSPORT: Final = "is named by Guard(transport=...), which this command does not know."
_ASK_AGAIN: Final = "Ask again in a minute."


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``help`` is what to do about it, None if nothing."""

    name: str
    result: Result
    found: str
    help: str | None = None


async def examine(store: SQLiteStore | None = None) -> AsyncIterator[Check]:
    """Give each check when it is done. Asks Graph, and the store: this one, else the environment's."""
    yield Check("Versions", "good", _versions())
    for check in _unread(os.environ):
        yield check
    told: list[Event] = []
    try:
        shared: dict[str, Any] = {} if store is None else {"store": store}
        guard = Guard.from_env(on_event=told.append, **patience(), **shared)
    except (TypeError, ValueError, RuntimeError, ImportError) as error:  # which names the option only
        yield Check("Settings", "bad", str(error), _OPTIONS)
        return
    async with guard:
        for check in _configuration(guard):
            yield check
        async for check in _graph(guard, told):
            yield check
        async for check in _store(guard, STORE if store is None else "the file, and who may write to it"):
            yield check


def _versions() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    found = [f"fbguard {fbguard.__version__}", python]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


# -- the environment ---------------------------------------------------------------------------------------


def _unread(environment: Mapping[str, str]) -> Iterator[Check]:
    """Tell of variables that look like ours and are not."""
    for name in sorted(environment):
        if name.startswith(_PREFIX) and name not in {*VARIABLES, *_COMMANDS}:
            near = get_close_matches(name.removeprefix(_PREFIX), _NAMES, 1)
            hint = f"Is it {_PREFIX}{near[0]}?" if near else "Other options are arguments of Guard."
            yield Check("Environment", "warning", f"{name} is set, and nothing reads it.", hint)


def _configuration(guard: Guard) -> Iterator[Check]:
    yield Check("Settings", "good", f"app {guard.app_id}, {guard.graph_url}, {guard.graph_version}")
    if "FBGUARD_REDIRECT_URI" not in os.environ:
        yield Check(
            "Re-login", "warning", "There is no redirect_uri: hints name no address to log in at.",
            "Set FBGUARD_REDIRECT_URI, unless your clients know where to log in.",
        )  # fmt: skip


# -- Graph -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Answer:
    """Whether Graph takes a secret; its reply, after how many seconds, and when (wall time)."""

    is_taken: bool | None
    reply: Reply | None
    took: float
    at: float


class _Listener:
    """A client that keeps the last reply, for its headers."""

    def __init__(self, client: GraphClient) -> None:
        self._client = client
        self.reply: Reply | None = None
        self.fetch, self.post, self.delete = client.fetch, client.post, client.delete
        self.aclose, self.abandon = client.aclose, client.abandon

    async def get(
        self, url: str, params: Mapping[str, str | Secret], *, credential: Secret, in_header: bool
    ) -> Reply | None:
        self.reply = await self._client.get(url, params, credential=credential, in_header=in_header)
        return self.reply


async def _graph(guard: Guard, told: list[Event]) -> AsyncIterator[Check]:
    try:
        listener = _Listener(client_maker(None, told.append)())
    except OSError as error:
        yield Check(
            "Graph", "bad", f"TLS cannot be set up: {error}", "Look at SSL_CERT_FILE and SSLKEYLOGFILE."
        )
        return
    try:
        answers = [await _ask(guard, listener, secret) for secret in _secrets()]
    finally:
        await listener.aclose()
    answered = [one for one in answers if one.reply is not None]
    if not answered:
        yield _no_answer(guard, told)
        return
    yield Check("Graph", "good", f"answers, in {min(one.took for one in answered) * 1000:.0f} ms")
    is_one_taken = any(one.is_taken for one in answers)
    for number, one in enumerate(answers, 1):
        name = "App secret" if len(answers) == 1 else f"App secret {number}"
        yield _of_secret(one.is_taken, name, others_do=is_one_taken)
    for check in (_of_clock(answered[-1]), _of_version(answered[-1], guard.graph_version)):
        if check is not None:
            yield check
    yield await _look_up(guard)


async def _ask(guard: Guard, client: _Listener, secret: Secret) -> _Answer:
    graph = Graph(guard.graph_url, guard.graph_version, guard.app_id)
    is_taken, client.reply, started = None, None, time.monotonic()
    try:
        async with asyncio.timeout(_PATIENCE):
            is_taken = await graph.takes(client, Secret(f"{guard.app_id}|{secret.reveal()}"))
    except TimeoutError:
        client.reply = None
    return _Answer(is_taken, client.reply, time.monotonic() - started, time.time())


def _secrets() -> tuple[Secret, ...]:
    return settings.app_secrets(settings.boxed(from_environment({})["app_secret"]))


def _no_answer(guard: Guard, told: list[Event]) -> Check:
    for event in told:
        if isinstance(event, CertificateRefused):
            return Check("Graph", "bad", str(event), f"A private CA {_BY_TRANSPORT}")
    return Check(
        "Graph", "bad", f"{guard.graph_url} does not answer.",
        f"Is this machine allowed to connect there? A proxy {_BY_TRANSPORT}",
    )  # fmt: skip


def _of_secret(is_taken: bool | None, name: str, *, others_do: bool) -> Check:
    if is_taken:
        return Check(name, "good", "is taken")
    if is_taken is None:
        return Check(name, "warning", "Graph did not say whether it takes it.", _ASK_AGAIN)
    if others_do:  # the guard finds the one that works
        return Check(name, "warning", "is refused", "Take it out, unless Facebook does not know it yet.")
    return Check(
        name, "bad", "is refused",
        "App id and secret do not belong together, or the secret was reset in the app's dashboard.",
    )  # fmt: skip


def _of_clock(answer: _Answer) -> Check | None:
    theirs = None if answer.reply is None else _date(answer.reply.header("date"))
    if theirs is None:
        return None  # it says no time
    skew = answer.at - theirs
    if abs(skew) <= _SKEW + answer.took:
        return Check("Clock", "good", "agrees with Graph's")
    return Check(
        "Clock", "bad" if abs(skew) > _BAD_SKEW else "warning",
        f"is {abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} Graph's",
        "Tokens end, and callbacks are believed, by this machine's clock: set it by NTP.",
    )  # fmt: skip


def _date(header: str | None) -> float | None:
    """Read a Date header (RFC 9110 section 5.6.7); None for what is none, or has no zone."""
    try:
        moment = parsedate_to_datetime(header or "")
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _of_version(answer: _Answer, asked: str) -> Check | None:
    served = None if answer.reply is None else answer.reply.header("facebook-api-version")
    if served is None or served == asked:
        return None
    return Check(
        "Version", "warning", f"{asked} was asked for, and {served} has answered.",
        f"The time of {asked} is over, or has not come: set FBGUARD_GRAPH_VERSION.",
    )  # fmt: skip


async def _look_up(guard: Guard) -> Check:
    """Look a token up that nobody has issued: a no is what must come of it."""
    try:
        await guard.acheck(_UNKNOWN)
    except Refused as refused:
        answer = f"{refused.reason} ({refused.status})"
        if refused.status != _DONT_KNOW:
            return Check("Look-ups", "good", f"a token of nobody is refused: {answer}")
        help_ = MEND_THE_APP if refused.reason == "misconfigured" else _ASK_AGAIN
        return Check("Look-ups", "bad", f"nobody can tell: {answer}", help_)
    return Check("Look-ups", "bad", "a token of nobody was let in", "Who answers there is no Graph.")


# -- the store ---------------------------------------------------------------------------------------------


async def _store(guard: Guard, to_check: str) -> AsyncIterator[Check]:
    if guard.health().store is not None:
        await _look_up(guard)  # the first of all begins to listen; and this one is known by now, mostly
    until = time.monotonic() + _HEARING
    health = guard.health().store
    while health is not None and health.status != "ok" and time.monotonic() < until:
        await asyncio.sleep(_POLL)
        health = guard.health().store
    if health is None:
        return
    if health.status == "ok":
        yield Check("Store", "good", "is asked, and its news are heard")
    else:
        yield Check(
            "Store", "bad", f"is {health.status}",
            f"Look-ups go on without it, but sessions end in each process alone: check {to_check}.",
        )  # fmt: skip
