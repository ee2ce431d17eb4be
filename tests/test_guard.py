"""The Guard: verdicts in both colours, its configuration and its end."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from flask import Flask
from starlette.applications import Starlette

from fbguard import Guard, Policy, Refused, Requirement, Rule, asgi, wsgi
from fbguard.core import background
from fbguard.core.carrier import entered
from tests.support import (
    APP_ID,
    NOW,
    PATIENCE,
    SECRET,
    TOKEN,
    dead,
    envelope,
    in_flight,
    make_guard,
    negatives,
    positives,
    until,
    valid,
    wsgi_environ,
)


def _sync(guard, *args):
    return guard.check(*args)


def _async(guard, *args):
    return asyncio.run(guard.acheck(*args))


pytestmark = pytest.mark.usefixtures("quiet_asyncio")


@pytest.fixture(params=[_sync, _async], ids=["check", "acheck"])
def check(request):
    return request.param


def refused(check, guard, *args) -> Refused:
    with pytest.raises(Refused) as caught:
        check(guard, *args)
    return caught.value


# -- verdicts --------------------------------------------------------------------------------------


def test_a_valid_token(check, guard, graph):
    graph.replies[TOKEN] = valid(issued_at=NOW - 60)
    info = check(guard, TOKEN)
    assert (info.app_id, info.user_id, info.type, info.is_valid) == (APP_ID, "1001", "USER", True)
    assert info.scopes == {"email", "public_profile"}
    assert (info.issued_at.timestamp(), info.expires_at.timestamp()) == (NOW - 60, NOW + 3600)
    assert len(info.fingerprint) == 12


def test_both_colours_share_one_cache(guard, graph):
    assert _sync(guard, TOKEN) == _async(guard, TOKEN)
    assert graph.calls == [TOKEN]


@pytest.mark.parametrize(
    ("reply", "status", "reason"),
    [
        (dead(190, 463), 401, "expired"),
        (valid(app_id="9"), 401, "wrong_app"),
        (valid(type="PAGE"), 401, "wrong_token_type"),
        (envelope(4), 503, "throttled"),
        (envelope(190), 503, "unavailable"),
        (httpx.ConnectError(""), 503, "unavailable"),
    ],
)
def test_noes_and_dont_knows(check, guard, graph, reply, status, reason):
    graph.replies[TOKEN] = reply
    refusal = refused(check, guard, TOKEN)
    assert (refusal.status, refusal.reason) == (status, reason)
    assert (refusal.retry_after is not None) == (status == 503)


def test_a_requirement_is_judged_on_every_call(check, guard, graph):
    assert check(guard, TOKEN, Requirement(scopes=["email"])).user_id == "1001"
    refusal = refused(check, guard, TOKEN, Requirement(scopes=["email", "user_posts"]))
    assert (refusal.status, refusal.reason, refusal.relogin.scopes) == (
        403,
        "insufficient_scope",
        ("user_posts",),
    )
    assert graph.calls == [TOKEN]


def test_no_token(check, guard, graph):
    assert refused(check, guard, None).reason == "missing_token"
    assert graph.calls == []


@pytest.mark.parametrize("token", ["", "a b", "a|b", "ü", "a\n", "a" * 4097, "a,b", "=a", "a=b"])
def test_a_token_that_cannot_be_one(check, guard, graph, token):
    assert refused(check, guard, token).reason == "malformed_token"
    assert graph.calls == []


def test_the_longest_token(check, guard):
    assert check(guard, "a" * 4096).user_id == "1001"


@pytest.mark.parametrize("token", [5, b"abc", ["abc"]])
def test_a_token_of_another_type(check, guard, token):
    with pytest.raises(TypeError, match="token"):
        check(guard, token)


def test_a_target_needs_the_path_parameters(check, guard, graph):
    requirement = Requirement(scopes=["email"], target="page")
    with pytest.raises(RuntimeError, match="path parameters"):
        check(guard, TOKEN, requirement)
    with pytest.raises(RuntimeError, match="'page'"):
        check(guard, TOKEN, requirement, {"other": "1"})
    assert check(guard, TOKEN, requirement, {"page": "1"}).user_id == "1001"


def test_an_exception_of_a_target_callable_is_the_callers(check, guard):
    def target(params):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check(guard, TOKEN, Requirement(scopes=["email"], target=target), {})


def test_peek_neither_asks_nor_judges(guard, graph):
    graph.replies["dead"] = dead(190, 463)
    assert guard.peek("dead") is None
    assert graph.calls == []
    with pytest.raises(Refused):
        guard.check("dead")
    info = guard.peek("dead")
    assert (info.is_valid, info.error.reason) == (False, "expired")


def test_ttls(check, graph, clock):
    graph.replies["dead"] = dead(190, 463)
    with make_guard(graph, clock, ttl=100, negative_ttl=10) as guard:
        check(guard, TOKEN)
        refused(check, guard, "dead")
        clock.advance(9.9)
        refused(check, guard, "dead")
        assert graph.calls == [TOKEN, "dead"]
        clock.advance(0.1)
        refused(check, guard, "dead")
        assert graph.calls == [TOKEN, "dead", "dead"]
        clock.advance(89.9)
        check(guard, TOKEN)
        assert len(graph.calls) == 3
        clock.advance(0.1)
        check(guard, TOKEN)
        assert len(graph.calls) == 4


def test_a_dont_know_is_never_cached(check, guard, graph):
    graph.default = envelope(2)
    for count in (1, 2, 3):
        refused(check, guard, TOKEN)
        assert len(graph.calls) == count
    assert positives(guard) == negatives(guard) == 0


def test_noes_do_not_push_out_good_tokens(check, graph, clock):
    with make_guard(graph, clock, cache_size=2, negative_cache_size=2) as guard:
        check(guard, TOKEN)
        graph.default = dead(190)
        for number in range(5):
            refused(check, guard, f"invented{number}")
        assert (positives(guard), negatives(guard)) == (1, 2)
        check(guard, TOKEN)
        assert graph.calls.count(TOKEN) == 1


def test_the_deadline(check, graph):
    graph.gate.shut()
    with make_guard(graph, deadline=0.02) as guard:
        refusal = refused(check, guard, TOKEN)
        assert (refusal.status, refusal.reason) == (503, "unavailable")
        graph.gate.open()
        assert check(guard, TOKEN).user_id == "1001"


def test_the_fingerprint_is_keyed_by_the_first_secret(graph, clock):
    prints = []
    for secret in (SECRET, (SECRET, "older"), ("newer", SECRET)):
        with make_guard(graph, clock, app_secret=secret) as guard:
            prints.append(guard.check(TOKEN).fingerprint)
    assert prints[0] == prints[1] != prints[2]


# -- the end ---------------------------------------------------------------------------------------


def test_close_twice_and_then_nothing(check, graph):
    guard = make_guard(graph)
    guard.check(TOKEN)
    guard.close()
    guard.close()
    assert graph.closed == 1
    with pytest.raises(RuntimeError, match="closed"):
        check(guard, TOKEN)


def test_aclose_twice_and_then_nothing(graph):
    async def main() -> None:
        guard = make_guard(graph)
        await guard.acheck(TOKEN)
        await guard.aclose()
        await guard.aclose()
        assert graph.closed == 1
        with pytest.raises(RuntimeError, match="closed"):
            await guard.acheck(TOKEN)

    asyncio.run(main())


def test_aclose_closes_the_background_loops_client_too(graph):
    async def main() -> None:
        guard = make_guard(graph)
        await asyncio.to_thread(guard.check, "one")
        await guard.acheck("two")
        await guard.aclose()
        assert graph.closed == 2

    asyncio.run(main())


def test_close_on_a_running_loop_does_not_wait_for_itself(graph):
    async def main() -> None:
        guard = make_guard(graph)
        await guard.acheck(TOKEN)
        guard.close()
        guard.close()
        await until(lambda: graph.closed)

    asyncio.run(main())
    assert graph.closed == 1


def test_context_managers(graph):
    with make_guard(graph) as guard:
        guard.check(TOKEN)
    assert graph.closed == 1

    async def main() -> None:
        async with make_guard(graph) as guard:
            await guard.acheck(TOKEN)

    asyncio.run(main())
    assert graph.closed == 2


def test_a_context_manager_passes_exceptions_on(graph):
    with pytest.raises(ZeroDivisionError), make_guard(graph):
        raise ZeroDivisionError


def test_an_unused_guard_closes_without_a_loop(monkeypatch):
    monkeypatch.setattr(background, "_loop", None)
    make_guard().close()
    assert background.running() is None


def test_closing_answers_those_who_wait(graph):
    guard = make_guard(graph)
    graph.gate.shut()
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(guard.check, TOKEN) for _ in range(3)]
        graph.wait_for_calls(1)
        guard.close()
        for future in waiting:
            outcome = future.exception(PATIENCE)
            assert isinstance(outcome, Refused | RuntimeError)
            assert getattr(outcome, "reason", "unavailable") == "unavailable"
    assert in_flight(guard) == 0


def test_closing_answers_those_who_await(graph):
    async def main() -> None:
        guard = make_guard(graph)
        graph.gate.shut()
        waiting = [asyncio.create_task(guard.acheck(TOKEN)) for _ in range(3)]
        await asyncio.to_thread(graph.wait_for_calls, 1)
        await guard.aclose()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [outcome.reason for outcome in outcomes] == ["unavailable"] * 3
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_forgotten_guard_closes_itself(graph):
    guard = make_guard(graph)
    guard.check(TOKEN)
    gone = weakref.ref(guard)
    del guard
    gc.collect()
    assert gone() is None
    assert graph.closed == 1


def test_two_runs_of_asyncio(guard, graph):
    for token in ("one", "two"):
        assert asyncio.run(guard.acheck(token)).user_id == "1001"
    assert graph.calls == ["one", "two"]


# -- its doors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("door", [asgi.FBTokenMiddleware, wsgi.FBTokenMiddleware], ids=["asgi", "wsgi"])
@pytest.mark.parametrize("policy", [Policy, [], (Rule("/"),), Requirement(), "/", False], ids=repr)
def test_a_policy_that_is_none(guard, door, policy):
    with pytest.raises(TypeError, match="policy"):
        door(print, guard, policy=policy)
    with pytest.raises(TypeError):
        door(print, guard, Policy())  # a keyword


@pytest.mark.parametrize("door", [asgi.FBTokenMiddleware, wsgi.FBTokenMiddleware], ids=["asgi", "wsgi"])
@pytest.mark.parametrize("guard", [None, Guard, "guard", object()], ids=repr)
def test_a_guard_that_is_none(door, guard):
    with pytest.raises(TypeError, match="guard"):
        door(print, guard)


async def asgi_app(scope, receive, send): ...


def wsgi_app(environ, start_response): ...


@functools.wraps(asgi_app)
def wsgi_app_made_of_asgi(environ, start_response): ...


@functools.wraps(wsgi_app)
async def asgi_app_made_of_wsgi(scope, receive, send): ...


class Hidden:
    """An app that does not say how it is called, like what is compiled."""

    @property
    def __signature__(self):
        raise ValueError("no signature found")

    def __call__(self, *args): ...


ANY_APPS = [lambda *_: None, functools.partial(lambda *_, **__: None, 1), Hidden(), print, None]
ASGI_APPS = [asgi_app, Starlette(), asgi_app_made_of_wsgi, functools.partial(asgi_app), Starlette().__call__]
WSGI_APPS = [wsgi_app, Flask("x"), Flask("x").wsgi_app, wsgi_app_made_of_asgi, functools.partial(wsgi_app)]


@pytest.mark.parametrize("app", WSGI_APPS, ids=["function", "app", "method", "wrapped", "partial"])
def test_an_app_of_wsgi_is_not_for_the_asgi_door(guard, app):
    says = r"^this is the ASGI door; an app of WSGI wants fbguard\.wsgi\.FBTokenMiddleware$"
    with pytest.raises(TypeError, match=says):
        asgi.FBTokenMiddleware(app, guard)
    with pytest.raises(TypeError, match=says):
        asgi.FBTokenMiddleware(wsgi.FBTokenMiddleware(app, guard), guard)


@pytest.mark.parametrize("app", ASGI_APPS, ids=["function", "app", "wrapped", "partial", "method"])
def test_nor_one_of_asgi_for_the_wsgi_door(guard, app):
    says = r"^this is the WSGI door; an app of ASGI wants fbguard\.asgi\.FBTokenMiddleware$"
    with pytest.raises(TypeError, match=says):
        wsgi.FBTokenMiddleware(app, guard)
    with pytest.raises(TypeError, match=says):
        wsgi.FBTokenMiddleware(asgi.FBTokenMiddleware(app, guard), guard)


@pytest.mark.parametrize("app", ANY_APPS, ids=["function", "partial", "hidden", "builtin", "none"])
@pytest.mark.parametrize("door", [asgi.FBTokenMiddleware, wsgi.FBTokenMiddleware], ids=["asgi", "wsgi"])
def test_an_app_that_may_be_either_is_taken(guard, door, app):
    door(app, guard)


@pytest.mark.parametrize("wrong", [{}, {"scopes": ["email"]}, (), "email", 0])
def test_what_is_no_requirement_is_not_taken_for_none(guard, graph, wrong):
    with pytest.raises(TypeError, match="requirement"):
        guard.check(TOKEN, wrong)
    with pytest.raises(TypeError, match="requirement"):
        asyncio.run(guard.acheck(TOKEN, wrong))
    assert graph.calls == []


def test_a_route_with_any_scope_asks_for_them_in_the_hint(guard, graph):
    graph.default = dead(190, 463)
    with pytest.raises(Refused) as caught:
        guard.check(TOKEN, Requirement(any_scope=["email", "pages_show_list"]))
    assert caught.value.relogin.scopes == ("email", "pages_show_list")


# -- a synchronous verdict on an event loop ----------------------------------------------------------


def test_a_look_up_that_holds_up_a_loop_is_a_warning_once(guard, graph, caplog):
    async def view(token):
        return guard.check(token)

    asyncio.run(view(TOKEN))
    asyncio.run(view(TOKEN + "2"))
    (said,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert said.name == "fbguard"
    assert "await guard.acheck(...)" in said.getMessage()
    assert len(graph.calls) == 2


def test_a_known_token_holds_up_nobody(guard, graph, caplog):
    async def view():
        await guard.acheck(TOKEN)
        return guard.check(TOKEN)

    guard.check(TOKEN)
    asyncio.run(view())
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_nor_does_a_loop_that_lives_for_one_request_of_wsgi(guard, graph, caplog):
    async def view():
        return guard.check(TOKEN)

    with entered(wsgi_environ()):
        asyncio.run(view())
    assert len(graph.calls) == 1
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
