"""A live response that several guards let in, in WSGI and Django, ends with the token of each of them."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from time import sleep
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, StreamingHttpResponse
from django.test import override_settings
from flask import Flask, Response, request

from fbguard import OAuthException, Policy, Rule, current_token, raise_for_graph_error, require_fb_token
from fbguard.asgi import FBTokenMiddleware as ASGIDoor
from fbguard.core.carrier import carrier_of_request
from fbguard.integrations.flask import FBGuard
from fbguard.wsgi import FBTokenMiddleware as WSGIDoor
from tests.integrations.test_live_everywhere import DjangoSite
from tests.support import NOW, TOKEN, Answer, Server, make_guard, valid, wsgi_environ
from tests.test_live import BEARER, Wire, run

pytestmark = [
    pytest.mark.usefixtures("quiet_asyncio"),
    pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning"),  # the request's body, by Django
]

GUARDING = "fbguard.integrations.django.FBTokenMiddleware"
LIVE = Policy(Rule("/{rest:path}", live=True))
ANYBODY = Policy(Rule("/{rest:path}", live=True, optional=True))
REALMS = {one: f'Bearer realm="{one}"' for one in ("inner", "own")} | {"outer": 'Bearer realm="fbguard"'}
REALMS["door"] = REALMS["outer"]
KINDS = ["wsgi", "flask", "django", "django async"]

Act = Callable[[], object]
Decorate = Callable[[Any], Any]


def nothing() -> None:
    pass


# -- one streamed answer of each kind of app -----------------------------------------------------------------


def chunks(act: Act) -> Iterator[bytes]:
    yield b"one"
    act()
    yield b"two"


async def async_chunks(act: Act) -> AsyncIterator[bytes]:
    yield b"one"
    act()
    await asyncio.sleep(0.05)
    yield b"two"


def wsgi_app(guard: Any, policy: Policy | None, decorate: Decorate, body: Any) -> Any:
    def view(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return body()

    return WSGIDoor(decorate(view), guard, policy=policy)


def flask_app(guard: Any, policy: Policy | None, decorate: Decorate, body: Any) -> Any:
    app = Flask(__name__)
    FBGuard(app, guard, policy=policy)
    app.add_url_rule("/s", "s", decorate(lambda: Response(body())))
    return app


APPS: dict[str, Callable[..., Any]] = {"wsgi": wsgi_app, "flask": flask_app}


class Site:
    """What serves a streamed body below a door: ``serve`` does, and gives what got out before the end."""

    def __init__(self, kind: str, guard: Any, monkeypatch: Any) -> None:
        self.kind = kind
        self.guard = guard
        self._monkeypatch = monkeypatch

    def serve(
        self, act: Act, *, policy: Policy | None = LIVE, decorate: Decorate = lambda view: view
    ) -> bytes:
        if self.kind in APPS:
            server = Server()
            app = APPS[self.kind](self.guard, policy, decorate, lambda: chunks(act))
            return self._sent(lambda: server.serve(app, wsgi_environ("/s", headers=BEARER)), server)
        from fbguard.integrations import django

        self._monkeypatch.setattr(django, "guard", lambda: self.guard)
        self._monkeypatch.setattr(django, "policy", lambda: policy)
        view = self._async_view(act) if self.kind == "django async" else self._view(act)
        site = DjangoSite(decorate(view))
        with override_settings(ROOT_URLCONF=site, MIDDLEWARE=[GUARDING], FBGUARD={}):
            if self.kind == "django async":
                return self._serve_async()
            server = Server()
            environ = wsgi_environ("/s", headers=BEARER)
            return self._sent(lambda: server.serve(WSGIHandler(), environ), server)

    def _view(self, act: Act) -> Any:
        return lambda _request: StreamingHttpResponse(chunks(act))

    def _async_view(self, act: Act) -> Any:
        async def view(_request: Any) -> StreamingHttpResponse:
            return StreamingHttpResponse(async_chunks(act))

        return view

    def _sent(self, serve: Callable[[], object], server: Server) -> bytes:
        with suppress(ConnectionAbortedError):
            serve()
        return server.sent

    def _serve_async(self) -> bytes:
        wire = Wire("http", "/s")
        wire.incoming.get_nowait()
        wire.incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})

        async def test() -> None:
            with suppress(ConnectionAbortedError):
                await wire.serve(ASGIHandler())

        run(test)
        return b"".join(message.get("body", b"") for message in wire.sent)


@pytest.fixture(params=KINDS)
def site(request, guard, monkeypatch) -> Site:
    return Site(request.param, guard, monkeypatch)


@pytest.fixture
def own(graph) -> Iterator[Any]:
    """Give the guard that a view names."""
    with make_guard(graph, realm="own") as own:
        yield own


# -- who ends it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["door", "own"])
def test_below_a_live_rule_a_view_that_names_a_guard_ends_with_the_token_of_each(site, own, whose):
    ending = own if whose == "own" else site.guard
    sent = site.serve(lambda: ending.expire_session(TOKEN), decorate=require_fb_token(guard=own))
    assert sent == b"one"
    assert (len(own.live), len(site.guard.live)) == (0, 0)


@pytest.mark.parametrize("policy", [LIVE, None])
@pytest.mark.parametrize("whose", ["door", "own"])
def test_a_live_view_that_names_a_guard_ends_with_its_token(site, own, whose, policy):
    ending = own if whose == "own" else site.guard
    decorate = require_fb_token(live=True, guard=own)
    sent = site.serve(lambda: ending.expire_session(TOKEN), policy=policy, decorate=decorate)
    assert sent == (b"one" if policy is LIVE or whose == "own" else b"onetwo")
    assert (len(own.live), len(site.guard.live)) == (0, 0)


@pytest.mark.parametrize("whose", ["outer", "inner"])
def test_a_live_requirement_around_that_of_another_guard_ends_with_the_token_of_each(site, own, whose):
    ending = own if whose == "outer" else site.guard

    def decorate(view: Any) -> Any:
        return require_fb_token(live=True, guard=own)(require_fb_token(guard=site.guard)(view))

    sent = site.serve(lambda: ending.expire_session(TOKEN), policy=None, decorate=decorate)
    assert sent == b"one"


def test_a_view_whose_guard_finds_nobody_ends_with_the_doors_token(site, graph):
    with make_guard(graph, token_from=("cookie:fb",)) as own:
        decorate = require_fb_token(guard=own, optional=True)
        assert site.serve(lambda: site.guard.expire_session(TOKEN), decorate=decorate) == b"one"
        assert len(own.live) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_whose_door_finds_nobody_ends_with_its_own_token(graph, own, kind, monkeypatch):
    with make_guard(graph, token_from=("cookie:fb",)) as door:
        decorate = require_fb_token(guard=own)
        sent = Site(kind, door, monkeypatch).serve(
            lambda: own.expire_session(TOKEN), policy=ANYBODY, decorate=decorate
        )
    assert sent == b"one"


@pytest.mark.parametrize("whose", ["door", "own"])
def test_what_graph_tells_a_view_of_its_token_changes_nothing(site, own, whose):
    """The facts are forgotten, and who let the request in is not."""
    ending = own if whose == "own" else site.guard

    def act() -> None:
        with pytest.raises(OAuthException):
            raise_for_graph_error({"error": {"code": 190, "message": "x", "type": "OAuthException"}})
        ending.expire_session(TOKEN)

    assert site.serve(act, decorate=require_fb_token(guard=own)) == b"one"


def test_of_one_guard_the_newest_facts_count(site, graph, own, clock):
    def later(view: Any) -> Any:
        newest = require_fb_token(max_fact_age=0, guard=site.guard)(require_fb_token(guard=own)(view))

        def sync(*args: Any) -> Any:
            graph.default = valid(expires_at=NOW + 1000)
            return newest(*args)

        async def in_async(*args: Any) -> Any:
            return await sync(*args)

        return in_async if site.kind == "django async" else sync

    def pass_time(seconds: float) -> None:
        clock.advance(seconds)
        site.guard.live.tick()

    graph.default = valid(expires_at=NOW + 100)
    assert site.serve(lambda: pass_time(500), decorate=later) == b"onetwo"


@pytest.mark.parametrize("whose", ["door", "own"])
def test_a_view_that_judges_while_the_body_is_made_ends_it_too(guard, own, whose):
    view = require_fb_token(guard=own)(lambda: chunks(lambda: ending.expire_session(TOKEN)))
    ending = own if whose == "own" else guard

    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield from view()

    server = Server()
    with pytest.raises(ConnectionAbortedError):
        server.serve(WSGIDoor(app, guard, policy=LIVE), wsgi_environ("/s", headers=BEARER))
    assert server.sent == b"one"


# -- doors in doors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["outer", "inner", "own"])
@pytest.mark.parametrize("kind", APPS)
def test_of_doors_in_doors_each_ends_what_it_let_in(guard, own, whose, kind):
    with make_guard(realm="inner") as inner:
        ending = {"outer": guard, "inner": inner, "own": own}[whose]
        app = APPS[kind](
            inner, LIVE, require_fb_token(guard=own), lambda: chunks(lambda: ending.expire_session(TOKEN))
        )
        server = Server()
        with pytest.raises(ConnectionAbortedError):
            server.serve(WSGIDoor(app, guard, policy=LIVE), wsgi_environ("/s", headers=BEARER))
        assert server.sent == b"one"
        assert (len(guard.live), len(inner.live), len(own.live)) == (0, 0, 0)


@pytest.mark.parametrize("live", [False, True])
def test_below_a_door_that_is_not_live_the_outer_one_ends_what_it_let_in(guard, own, live):
    ending = own if live else guard
    app = wsgi_app(
        own,
        Policy(),
        require_fb_token(live=live),
        lambda: chunks(lambda: ending.expire_session(TOKEN)),
    )
    server = Server()
    with pytest.raises(ConnectionAbortedError):
        server.serve(WSGIDoor(app, guard, policy=LIVE), wsgi_environ("/s", headers=BEARER))
    assert server.sent == b"one"


def test_a_door_that_is_asked_in_a_view_leaves_the_outer_ones_alone(guard, own):
    """Flask in a view of Flask, with the same environ."""
    inner = flask_app(own, LIVE, lambda view: view, lambda: iter([b"inner"]))
    outer = Flask("outer")
    FBGuard(outer, guard, policy=LIVE)

    @outer.get("/s")
    def view() -> Any:
        assert b"".join(inner(request.environ, Server().start_response)) == b"inner"
        return Response(chunks(lambda: guard.expire_session(TOKEN)))

    server = Server()
    with pytest.raises(ConnectionAbortedError):
        server.serve(outer, wsgi_environ("/s", headers=BEARER))
    assert server.sent == b"one"


# -- what has not begun --------------------------------------------------------------------------------------


def late(act: Act) -> Iterator[bytes]:
    yield b""
    act()
    yield b"late"


def served(app: Any) -> Answer:
    return Server().serve(app, wsgi_environ("/s", headers=BEARER))


@pytest.mark.parametrize("whose", ["door", "own"])
@pytest.mark.parametrize("kind", APPS)
def test_what_has_not_begun_is_refused_by_the_guard_whose_token_has_ended(guard, own, whose, kind):
    """Its client must renew that app's token, not the other's."""
    ending, policy = own if whose == "own" else guard, Policy(Rule("/s", live=True, scopes=["email"]))
    decorate = require_fb_token(guard=own, scopes=["public_profile"])
    answer = served(APPS[kind](guard, policy, decorate, lambda: late(lambda: ending.expire_session(TOKEN))))
    assert (answer.status, answer.reason) == (401, "session_invalidated")
    assert answer.challenge.startswith(REALMS[whose])
    assert answer.json["relogin"]["scopes"] == (["public_profile"] if whose == "own" else ["email"])


@pytest.mark.parametrize("kind", APPS)
def test_a_live_view_that_has_not_begun_is_refused_by_its_own_guard(guard, own, kind):
    decorate = require_fb_token(guard=own, live=True, scopes=["email"])
    answer = served(APPS[kind](guard, None, decorate, lambda: late(lambda: own.expire_session(TOKEN))))
    assert (answer.status, answer.reason) == (401, "session_invalidated")
    assert answer.challenge.startswith(REALMS["own"])
    assert answer.json["relogin"]["scopes"] == ["email"]


@pytest.mark.parametrize("whose", ["outer", "inner", "own"])
def test_of_doors_in_doors_the_one_whose_token_has_ended_refuses(guard, own, whose):
    with make_guard(realm="inner") as inner:
        ending = {"outer": guard, "inner": inner, "own": own}[whose]
        app = wsgi_app(
            inner, LIVE, require_fb_token(guard=own), lambda: late(lambda: ending.expire_session(TOKEN))
        )
        answer = served(WSGIDoor(app, guard, policy=LIVE))
    assert answer.status == 401
    assert answer.challenge.startswith(REALMS[whose])


@pytest.mark.parametrize("first", ["door", "own"])
def test_of_several_ends_the_first_is_told(guard, own, clock, first):
    def act() -> None:
        clock.advance(3600)
        for one in (guard, own) if first == "door" else (own, guard):
            if one is guard:
                guard.live.tick()
            else:
                own.expire_session(TOKEN)

    answer = served(wsgi_app(guard, LIVE, require_fb_token(guard=own), lambda: late(act)))
    assert answer.challenge.startswith(REALMS[first])
    assert answer.reason == ("expired" if first == "door" else "session_invalidated")


def test_an_end_between_verdict_and_body_is_refused_by_its_guard(guard, own):
    def body() -> Iterator[bytes]:
        own.expire_session(TOKEN)
        return chunks(nothing)

    answer = served(wsgi_app(guard, LIVE, require_fb_token(guard=own), body))
    assert (answer.status, answer.reason) == (401, "session_invalidated")
    assert answer.challenge.startswith(REALMS["own"])


def test_without_a_door_nobody_could_refuse_and_it_is_broken_off(own):
    app = Flask(__name__)
    view = require_fb_token(guard=own, live=True)(lambda: Response(late(lambda: own.expire_session(TOKEN))))
    app.add_url_rule("/s", "s", view)
    with pytest.raises(ConnectionAbortedError, match="session_invalidated"):
        served(app)


# -- what stays as it is -------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [None, Policy(), Policy(Rule("/s"), Rule("/other", live=True))])
def test_where_nothing_is_live_nothing_is_noted(site, own, policy):
    seen: list[object] = []

    def decorate(view: Any) -> Any:
        def look(*args: Any) -> Any:
            seen.extend(key for key in carrier_of_request.get() or {} if "live" in key)
            assert current_token() is not None
            return view(*args)

        async def look_in_async(*args: Any) -> Any:
            return await look(*args)

        return require_fb_token(guard=own)(look_in_async if site.kind == "django async" else look)

    assert site.serve(lambda: own.expire_session(TOKEN), policy=policy, decorate=decorate) == b"onetwo"
    assert seen == []


def test_a_file_of_django_keeps_its_fast_way(guard, own, monkeypatch):
    from fbguard.integrations import django

    monkeypatch.setattr(django, "guard", lambda: guard)
    monkeypatch.setattr(django, "policy", lambda: LIVE)

    class FileWrapper:
        def __init__(self, file: Any, size: int = 8192) -> None:
            self.file = file

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.file)

        def close(self) -> None:
            self.file.close()

    @require_fb_token(live=True, guard=own)
    def view(_request: Any) -> FileResponse:
        return FileResponse(open(__file__, "rb"))  # Django closes it

    with override_settings(ROOT_URLCONF=DjangoSite(view), MIDDLEWARE=[GUARDING], FBGUARD={}):
        environ = wsgi_environ("/s", headers=BEARER, **{"wsgi.file_wrapper": FileWrapper})
        body: Any = WSGIHandler()(environ, Server().start_response)
        assert isinstance(body, FileWrapper)
        body.close()
    assert (len(guard.live), len(own.live)) == (0, 0)


# -- Flask in ASGI -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["door", "own"])
def test_flask_below_a_live_asgi_door_ends_with_the_token_of_each(guard, own, whose):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapter = pytest.importorskip("starlette.middleware.wsgi")
    ending = own if whose == "own" else guard
    app = Flask(__name__)

    def body() -> Iterator[bytes]:
        yield b"one"
        ending.expire_session(TOKEN)
        for _ in range(100):
            sleep(0.01)
            yield b"more"

    app.add_url_rule("/s", "s", require_fb_token(guard=own)(lambda: Response(body())))
    door = ASGIDoor(adapter.WSGIMiddleware(app), guard, policy=LIVE)

    async def test() -> None:
        wire = Wire("http", "/s")
        wire.incoming.get_nowait()
        wire.incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        with pytest.raises((OSError, ExceptionGroup)) as caught:  # a group is the adapter's
            await wire.serve(door)
        assert "cut by fbguard: session_invalidated" in repr(caught.value)
        assert all(message.get("more_body", True) for message in wire.sent)

    run(test)
