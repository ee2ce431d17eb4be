"""No token and no secret in a log record, a repr, an exception or a traceback with local variables."""

from __future__ import annotations

import asyncio
import copy
import gc
import hashlib
import logging
import pickle
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fbguard import Guard, Policy, Refused, Requirement
from fbguard.core.secret import Secret
from tests.support import OTHER_APP, PACKAGE, SECRET, TOKEN, Reply, dead, envelope, make_guard, valid

OLDER = "0older0secret0"

OUTCOMES = {
    "valid": valid(),
    "expired": dead(190, 463),
    "another app": OTHER_APP,
    "echo": dead(190, None, f"{TOKEN} and {SECRET}", application=TOKEN),
    "echo at the top": envelope(190, 463, f"{TOKEN} {SECRET}"),
    "throttled": envelope(4),
    "outage": Reply(b"<html>", 500),
    "garbage": Reply(f'{{"data": "{TOKEN}'.encode()),
    "too long": Reply(TOKEN.encode() * 5000),
    "gzip": Reply(b"\x1f\x8b", headers=(("Content-Encoding", "gzip"),)),
    "redirect": Reply(b"", 302, (("Location", f"https://other.example/?input_token={TOKEN}"),)),
    "network": httpx.ConnectError(f"https://graph.facebook.com/?input_token={TOKEN}"),
    "bug": RuntimeError(f"Bearer 1234567890|{SECRET}"),
}


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    names = [name for name in logging.root.manager.loggerDict if not name.startswith("pytest")]
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)

    def text() -> str:
        formatter = logging.Formatter("%(name)s %(message)s %(args)s")
        return "\n".join(formatter.format(record) + repr(vars(record)) for record in caplog.records)

    with caplog.at_level(logging.DEBUG):
        yield text
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def shows(text: str) -> list[str]:
    return [
        name for name, secret in (("token", TOKEN), ("secret", SECRET), ("older", OLDER)) if secret in text
    ]


@pytest.fixture
def guard(graph, clock):
    with make_guard(graph, clock, app_secret=[SECRET, OLDER], redirect_uri="https://app.example/") as guard:
        yield guard


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("place", ["header", "query"])
def test_logs_and_answers_of_a_door(door, graph, clock, everything_logged, outcome, place):
    graph.replies[TOKEN] = OUTCOMES[outcome]
    with make_guard(graph, clock, app_secret=[SECRET, OLDER], credential_in=place) as guard:
        behind = door(guard, policy=Policy(default=Requirement(scopes=["email"])))
        for _ in range(2):
            answer = behind.send(TOKEN)
            assert (answer.status == 200) == (outcome == "valid")
            assert shows(repr(answer)) == []
        assert shows(repr(guard)) == []
    assert graph.calls
    log = everything_logged()
    assert "fbguard" in log
    assert guard.signer.fingerprint(Secret(TOKEN)) in log  # the look-ups were logged
    assert shows(log) == []


def caught(guard: Guard, colour: str, token: str, requirement: Requirement) -> Refused:
    try:
        if colour == "sync":
            guard.check(token, requirement)
        else:
            asyncio.run(guard.acheck(token, requirement))
    except Refused as refused:
        return refused
    raise AssertionError("it passed")


@pytest.mark.parametrize("outcome", [name for name in OUTCOMES if name != "valid"])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_exceptions(guard, graph, outcome, colour):
    graph.replies[TOKEN] = OUTCOMES[outcome]
    refused = caught(guard, colour, TOKEN, Requirement(scopes=["email"]))
    assert shows(str(refused) + repr(refused) + repr(vars(refused)) + repr(refused.args)) == []
    assert shows(repr(refused.answer(accept="text/html", language="id"))) == []
    assert refused.__cause__ is None
    assert refused.__context__ is None
    assert shows(locals_of(refused)) == []


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("token", [f"{TOKEN}|{SECRET}", f"{TOKEN} {SECRET}", TOKEN * 100, f"eyJ.{TOKEN}.x"])
def test_exceptions_of_tokens_that_are_not_asked_about(guard, colour, token):
    refused = caught(guard, colour, token, Requirement())
    assert shows(str(refused) + repr(refused) + repr(refused.answer())) == []
    assert shows(locals_of(refused)) == []


def locals_of(refused: Refused) -> str:
    """Return the traceback with the local variables of every frame of ours."""
    report = traceback.TracebackException.from_exception(refused, capture_locals=True)
    ours = [frame for frame in report.stack if frame.filename.startswith(PACKAGE)]
    assert len(ours) >= 2
    assert all(frame.locals for frame in ours)
    return repr([(frame.name, frame.locals) for frame in ours])


def test_the_guard_shows_neither(guard):
    guard.check(TOKEN)
    shown = [repr(guard), str(guard), f"{guard}", repr(vars(guard))]
    shown += [repr(vars(part)) for part in vars(guard).values() if hasattr(part, "__dict__")]
    assert shows("".join(shown)) == []


def test_nothing_in_the_guard_keeps_a_token(guard):
    """Of all reachable objects only Secrets hold the secret, and none the token."""
    guard.check(TOKEN)
    texts = set(_texts_reachable_from(guard))
    assert {"email", "1001", "v26.0", "https://app.example/"} <= texts  # cache, Graph and site
    assert [shows(text) for text in texts if shows(text)] == []


_ELSEWHERE = ("tests.", "_pytest", "asyncio", "logging", "threading", "contextvars")


def _texts_reachable_from(root: object) -> Iterator[str]:
    seen: dict[int, object] = {}
    todo: list[object] = [root]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, Secret | type | types.ModuleType):
            continue
        seen[id(thing)] = thing
        if isinstance(thing, str):
            yield thing
        elif isinstance(thing, bytes):
            yield thing.decode("latin-1")
        elif isinstance(thing, types.FunctionType):
            todo += [thing.__closure__, thing.__defaults__]
        elif not type(thing).__module__.startswith(_ELSEWHERE):
            todo += gc.get_referents(thing)


def test_facts_hold_no_token(guard):
    info = guard.check(TOKEN)
    assert shows(repr(info)) == []
    assert TOKEN not in repr([getattr(info, name) for name in dir(info)])


def test_a_secret_is_not_shown_copied_or_pickled():
    secret = Secret(SECRET)
    assert shows(f"{secret} {secret!r} {[secret]} {secret!s:>5}") == []
    assert secret.reveal() == SECRET
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copying(secret)
    assert secret == Secret(SECRET) != Secret(SECRET + "x")
    assert secret != SECRET
    assert len({secret, Secret(SECRET)}) == 1
    assert not hasattr(secret, "__dict__")  # which a debug page would print


def test_the_digest_of_a_secret():
    secret = Secret(SECRET)
    assert secret.digest() == hashlib.sha256(SECRET.encode()).digest()
    assert secret.digest() is secret.digest()  # computed once
    assert secret.digest() != Secret(TOKEN).digest()


def broken(error: type[Exception], **options: Any) -> Exception:
    try:
        Guard(**({"app_id": "1", "app_secret": SECRET} | options))
    except error as exc:
        return exc
    raise AssertionError("it was accepted")


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError, {"ttl": 0}),
        (TypeError, {"ttl": SECRET}),
        (ValueError, {"app_secret": f"{SECRET} "}),
        (ValueError, {"app_secret": [SECRET, "a b"]}),
        (TypeError, {"app_secret": [SECRET, None]}),
        (TypeError, {"app_secret": SECRET.encode()}),
        (ValueError, {"graph_url": f"https://user:{SECRET}@graph.facebook.com"}),
        (ValueError, {"graph_url": f"https://graph.facebook.com/?access_token={SECRET}"}),
        (ValueError, {"app_id": f"1|{SECRET}"}),
        (TypeError, {"unknown": SECRET}),
        (TypeError, {"batch": SECRET}),
        (TypeError, {"limited_login": SECRET}),
        (ValueError, {"jwks_url": f"https://user:{SECRET}@www.facebook.com/"}),
    ],
)
def test_wrong_configuration(error, options):
    exc = broken(error, **options)
    assert shows(str(exc) + repr(exc)) == []
    assert exc.__cause__ is None
    assert exc.__context__ is None or exc.__suppress_context__


def test_wrong_configuration_in_a_traceback_with_locals():
    report = traceback.TracebackException.from_exception(broken(ValueError, ttl=0), capture_locals=True)
    ours = [frame.locals for frame in report.stack if frame.filename.startswith(PACKAGE)]
    assert ours
    assert shows(repr(ours)) == []
