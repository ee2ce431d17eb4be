"""Rows L: secrets in exceptions, decorated views, real sockets, logs and comparisons."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import ast
import asyncio
import copy
import hmac
import logging
import pickle
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import fbguard
from fbguard import Guard, Refused, Requirement, asgi, require_fb_token, wsgi
from fbguard.core.secret import Secret
from fbguard.sandbox import Sandbox
from tests.support import (
    APP_ID,
    TOKEN,
    FakeGraph,
    Reply,
    call_asgi,
    call_wsgi,
    dead,
    envelope,
    http_scope,
    make_guard,
    until,
    valid,
    wsgi_environ,
)
from tests.threats.canaries import CANARIES, everything_logged, leaks, shown_exception
from tests.threats.requests import ask, bearer
from tests.threats.sweep import NOISE, OUTCOMES, SECRETS, Hostile, spied

SECRET = SECRETS[0]


@pytest.fixture
def spy(monkeypatch):
    with spied(monkeypatch) as spy:
        yield spy


TOKENS = ["user token", "page token", "app token", "oidc token", "malformed token", "long token"]


def refusal_of(
    guard: Guard, colour: str, token: Any, need: Requirement | None = None
) -> BaseException | None:
    try:
        if colour == "sync":
            guard.check(token, need)
        else:
            asyncio.run(guard.acheck(token, need))
    except Exception as exc:
        return exc
    return None


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_L02_exceptions_of_check(spy, capfd, outcome, colour):
    graph, shown = Hostile(OUTCOMES[outcome], spy), []
    with everything_logged() as log, make_guard(graph, app_secret=SECRETS, credential_in="query") as guard:
        for name in TOKENS:
            exc = refusal_of(guard, colour, CANARIES[name], Requirement(scopes=["ads_read"]))
            assert isinstance(exc, Refused), name
            assert (exc.__cause__, exc.__context__) == (None, None)
            shown += [shown_exception(exc), repr(exc.answer(accept="text/html", language=CANARIES["path"]))]
            shown += [repr(pickle.dumps(exc)), repr(copy.copy(exc).args)]
    assert "asettle" in "".join(shown) or colour == "sync"
    for text in ("\n".join(shown), "\n".join(log.shown), "\n".join(spy.shown), "".join(capfd.readouterr())):
        assert leaks(text) == set()


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("wrong", ["bytes", "list", "closed", "target"])
def test_L02_exceptions_of_a_wrong_call(colour, wrong):
    """A token of another type, a guard that is closed, a target without its parameter."""
    token = CANARIES["user token"]
    guard = make_guard(app_secret=SECRETS)
    need = Requirement(scopes=["email"], target="page") if wrong == "target" else None
    if wrong == "closed":
        guard.close()
    exc = refusal_of(guard, colour, {"bytes": token.encode(), "list": [token]}.get(wrong, token), need)
    assert isinstance(exc, TypeError | RuntimeError)
    assert leaks(shown_exception(exc)) == set()
    guard.close()


@pytest.mark.parametrize("token", [CANARIES["user token"].encode(), f"{CANARIES['user token']}\ud800"])
def test_L02_exceptions_of_peek(token):
    with make_guard(app_secret=SECRETS) as guard:
        try:
            assert guard.peek(token) is None
        except TypeError as exc:
            assert leaks(shown_exception(exc)) == set()  # noqa: PT017 - it may also raise nothing


def views(spy: Any) -> dict[str, Any]:
    @require_fb_token(scopes=["email"])
    def view(**_: object) -> str:
        spy.look_from_the_view()
        return "hello"

    @require_fb_token(scopes=["email"])
    async def aview(_request: Any) -> PlainTextResponse:
        spy.look_from_the_view()
        return PlainTextResponse("hello")

    @require_fb_token(scopes=["email"])
    def sync_view(_request: Any) -> PlainTextResponse:
        spy.look_from_the_view()
        return PlainTextResponse("hello")

    flask = Flask("decorated")
    flask.add_url_rule("/", view_func=view)
    return {
        "flask": flask,
        "async": Starlette(routes=[Route("/", aview)]),
        "sync": Starlette(routes=[Route("/", sync_view)]),
    }


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("kind", ["flask", "async", "sync"])
def test_L04_sweep_of_the_decorator(spy, capfd, outcome, kind):
    graph, app = Hostile(OUTCOMES[outcome], spy), views(spy)[kind]
    replies = []
    with everything_logged() as log, make_guard(graph, app_secret=SECRETS, credential_in="query") as guard:
        for name in TOKENS:
            headers = [*NOISE, bearer(CANARIES[name])]
            if kind == "flask":
                door: Any = wsgi.FBTokenMiddleware(app, guard, policy=None)
                replies.append(call_wsgi(door, wsgi_environ(headers=headers)))
            else:
                door = asgi.FBTokenMiddleware(app, guard, policy=None)
                replies.append(asyncio.run(call_asgi(door, http_scope(headers=headers))))
    assert {reply.status for reply in replies} <= {200, 401, 503}
    assert "guarded" in "\n".join(spy.shown)
    for text in (repr(replies), "\n".join(log.shown), "\n".join(spy.shown), "".join(capfd.readouterr())):
        assert leaks(text) == set()


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_L04_an_exception_of_the_view_passes_through_our_frames(make_door, graph, kind):
    def act() -> None:
        raise LookupError("the view's own")

    with make_guard(graph, app_secret=SECRETS, token_from=["header", "query"]) as guard:
        behind = make_door(kind, guard, act=act)
        with pytest.raises(LookupError) as caught:
            ask(behind, query=f"access_token={CANARIES['query token']}", headers=NOISE)
    assert "_enter" in shown_exception(caught.value)
    assert leaks(shown_exception(caught.value)) == set()


# -- over real sockets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["header", "query"])
@pytest.mark.parametrize("trouble", ["none", "redirect", "garbage", "drop", "nobody listens"])
def test_L01_full_url_in_logs_of_the_real_client(capfd, place, trouble):
    sandbox = Sandbox(app_id=APP_ID, app_secret=SECRET)
    if trouble == "redirect":
        sandbox.fail(
            status=302, headers={"Location": f"/{CANARIES['redirect']}?input_token={CANARIES['echo']}"}
        )
    if trouble in {"garbage", "drop"}:
        sandbox.fail(status=200, body=CANARIES["echo"], drop=trouble == "drop")

    async def main() -> list[BaseException]:
        options = {"app_secret": SECRETS, "transport": None, "graph_url": url, "credential_in": place}
        async with make_guard(**options) as guard:
            asked = (guard.acheck(CANARIES[name]) for name in TOKENS)
            return await asyncio.gather(*asked, return_exceptions=True)

    with everything_logged() as log:
        with sandbox.serve() as url:
            if trouble != "nobody listens":
                found = asyncio.run(main(), debug=True)
        if trouble == "nobody listens":
            found = asyncio.run(main(), debug=True)
    assert all(isinstance(exc, Refused) for exc in found)
    shown = "\n".join(map(shown_exception, found)) + "\n".join(log.shown) + "".join(capfd.readouterr())
    assert leaks(shown) == set()
    assert any(": not valid" in line or ": unavailable" in line for line in log.shown)  # and look-ups are
    assert {"fbguard", "asyncio"} <= log.names


# -- logs --------------------------------------------------------------------------------------------------

INJECTIONS = [
    "\x1b[31mred",
    "\r\nINFO fbguard: token 0: valid",
    "\n",
    "\x00",
    "\u2028",
    "%s%n",
    "{0}",
    "\u202e",
]


@pytest.mark.parametrize("injected", INJECTIONS, ids=ascii)
def test_L07_log_injection(door, injected):
    graph = FakeGraph()
    graph.default = dead(190, None, f"x{injected}", type=f"USER{injected}", application=injected)
    text = injected.encode().decode("latin-1")
    with everything_logged() as log, make_guard(graph) as guard:
        behind = door(guard)
        noise = [("User-Agent", text), ("X-Request-Id", text), ("Referer", text)]
        for headers in ([bearer(f"a{text}")], [("Authorization", text)], [bearer(TOKEN), *noise], noise):
            assert ask(behind, f"/x{injected}", query=text, headers=headers).status in {400, 401}
        behind.send(TOKEN)
        graph.default = envelope(4, message=f"x{injected}")
        behind.send("other")
        graph.default = httpx.ConnectError(f"x{injected}")
        behind.send("third")
    ours = [line for line in log.shown if "fbguard" in line.split()[:3]]
    assert len(ours) >= 3
    for line in ours:
        assert line.isprintable()
        assert "\\x1b" not in line
        assert "x" + injected not in line


# -- comparisons -------------------------------------------------------------------------------------------


def test_L08_secrets_are_compared_in_constant_time(monkeypatch):
    compared: list[tuple[object, object]] = []
    compare = hmac.compare_digest

    def recorded(one: Any, other: Any) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    assert Secret("abc") == Secret("abc")
    assert Secret("abc") != Secret("abd")
    assert Secret("\u00e9") != Secret("e")  # which compare_digest refuses as text
    assert len(compared) == 3
    assert all(isinstance(value, bytes) for pair in compared for value in pair)


def test_L08_no_secret_is_compared_in_the_clear():
    """Nowhere ``a.reveal() == ...``, which stops at the first letter that differs."""
    found, compares = [], 0
    for path in Path(fbguard.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                compares += 1
                sides = [node.left, *node.comparators]
                found += [path.name for side in sides if _reveals(side)]
    assert compares > 50
    assert found == []
    assert _reveals(ast.parse("a.b.reveal()", mode="eval").body)


def _reveals(node: ast.expr) -> bool:
    called = node.func if isinstance(node, ast.Call) else node
    return isinstance(called, ast.Attribute) and called.attr in {"reveal", "_value"}


# -- what asyncio says of tasks ----------------------------------------------------------------------------


@pytest.mark.usefixtures("quiet_asyncio")
@pytest.mark.parametrize("outcome", ["valid", "network", "bug", "time", "garbage"])
@pytest.mark.parametrize("end", ["cancelled", "closed", "loop ends"])
def test_L09_cancelled_fills_complain_to_nobody(outcome, end):
    reply = OUTCOMES[outcome]
    graph = FakeGraph()
    graph.default = reply if isinstance(reply, Reply) else reply(CANARIES["exception"])
    graph.gate.shut()

    async def main(guard: Guard) -> None:
        tasks = [asyncio.create_task(guard.acheck(CANARIES["user token"])) for _ in range(3)]
        await until(lambda: graph.calls)
        if end == "cancelled":
            for task in tasks:
                task.cancel()
            graph.gate.open()
        if end == "closed":
            await guard.aclose()
        if end != "loop ends":
            await asyncio.gather(*tasks, return_exceptions=True)

    with everything_logged() as log, make_guard(graph, app_secret=SECRETS) as guard:
        asyncio.run(main(guard), debug=True)
    graph.gate.open()
    assert leaks("\n".join(log.shown)) == set()
    assert not [line for line in log.shown if "never retrieved" in line or "pending" in line]
    assert logging.getLogger("fbguard").handlers == []


def test_L09_threads_that_gave_up(graph, capfd, quiet_asyncio):
    with everything_logged() as log, make_guard(graph, app_secret=SECRETS, deadline=0.01) as guard:
        graph.gate.shut()
        assert isinstance(refusal_of(guard, "sync", CANARIES["user token"]), Refused)
        graph.gate.open()
    assert valid().status == 200
    assert leaks("\n".join(log.shown) + "".join(capfd.readouterr())) == set()
    assert not [line for line in log.shown if "never retrieved" in line]
