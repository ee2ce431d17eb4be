"""The decorator's short way in Flask and Django, and what doors make per request: as the long way has it."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sys
import types
from collections.abc import Iterator
from typing import Any

import flask
import pytest
from flask.views import MethodView
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from fbguard import Guard, Policy, Refused, Rule, asgi, current_token, decorator, require_fb_token, wsgi
from fbguard.connections import Outgoing
from fbguard.context import asked_of, credential_of, door_of, inject, judge_of
from fbguard.core.secret import Secret, recalled
from tests.integrations.django_site import GUARDING, SERVERS, Site
from tests.support import (
    APP_ID,
    OTHER_APP,
    SECRET,
    TOKEN,
    FakeClock,
    FakeGraph,
    call_asgi,
    dead,
    http_scope,
    make_guard,
    valid,
    wsgi_environ,
)

# isort: split
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

import fbguard.integrations.django  # the short way waits until what asks the framework is there
import fbguard.integrations.flask_views  # noqa: F401

BEARER = {"Authorization": f"Bearer {TOKEN}"}
SENT = tuple(BEARER.items())
START = {"type": "http.response.start", "status": 200, "headers": []}
PUSH = {"type": "http.response.push", "path": "/x", "headers": []}
EMAIL = Policy(Rule("/{rest:path}", scopes=["email"]))
UNGUARDED = {"views decide": None, "public": Policy(Rule("/{rest:path}", public=True))}

ways: list[str] = []
seen: list[Any] = []


@pytest.fixture(autouse=True)
def noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note each view that goes the long way."""

    class Noted(decorator.ViewRequest):
        __slots__ = ()

        def consider(self, *args: Any) -> Any:
            ways.append("long")
            return super().consider(*args)

    monkeypatch.setattr(decorator, "ViewRequest", Noted)
    ways.clear()
    seen.clear()


@pytest.fixture
def guard(graph: FakeGraph, clock: FakeClock) -> Iterator[Guard]:
    with make_guard(graph, clock) as guard:
        yield guard


# -- Flask ---------------------------------------------------------------------------------------------


@require_fb_token(scopes=["email"])
def flask_view(**given: Any) -> str:
    seen.append((flask.g.fb_token, current_token(), given))
    return "in"


class FlaskMethods(MethodView):
    decorators = (require_fb_token(scopes=["email"]),)

    def get(self) -> str:
        seen.append((flask.g.fb_token, current_token(), {}))
        return "in"


def flask_client(guard: Guard, view: Any = flask_view, policy: Policy | None = EMAIL) -> Any:
    app = flask.Flask(__name__)
    app.add_url_rule("/x", "x", view)
    app.add_url_rule("/x/<int:number>/<uuid:key>", "numbered", view)
    app.wsgi_app = wsgi.FBTokenMiddleware(app.wsgi_app, guard, policy=policy)  # type: ignore[method-assign]
    return app.test_client()


def test_a_view_of_flask_goes_the_short_way_and_finds_its_facts(guard):
    client = flask_client(guard)
    for _ in range(3):
        assert client.get("/x", headers=BEARER).status_code == 200
    assert ways == []
    assert all(facts is current is not None for facts, current, _ in seen)


def test_routed_values_of_flask_do_not_hinder(guard):
    client = flask_client(guard)
    key = "12345678-1234-1234-1234-123456789abc"
    assert client.get(f"/x/5/{key}", headers=BEARER).status_code == 200
    assert ways == []
    assert seen[0][2]["number"] == 5


def test_a_method_view_of_flask(guard):
    client = flask_client(guard, FlaskMethods.as_view("methods"))
    assert client.get("/x", headers=BEARER).status_code == 200
    assert ways == []
    assert seen[0][0] is seen[0][1] is not None


def test_a_view_of_flask_judges_its_own_scopes(guard, graph):
    graph.default = valid(scopes=["public_profile"])
    client = flask_client(guard, policy=Policy())
    answers = [client.get("/x", headers=BEARER) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert seen == []


@pytest.mark.parametrize("policy", UNGUARDED)
def test_where_the_views_of_flask_decide_they_know_a_token_again(guard, graph, policy):
    client = flask_client(guard, policy=UNGUARDED[policy])
    assert [client.get("/x", headers=BEARER).status_code for _ in range(3)] == [200] * 3
    assert client.get("/x").status_code == 401
    assert ways == ["long", "long"]  # nobody knew it, and nobody sent one
    assert len(graph.calls) == 1
    assert all(facts is current is not None for facts, current, _ in seen)


def test_a_request_of_flask_in_another_one_is_judged_by_itself(guard):
    """A view that calls another one for a request of its own: the outer one's facts are not the inner's."""

    def outer() -> str:
        with flask.current_app.test_request_context("/x"):
            return flask_view()

    client = flask_client(guard, outer)
    client.application.extensions["fbguard"] = guard
    assert client.get("/x", headers=BEARER).status_code == 401
    assert seen == []
    assert "long" in ways


def test_where_flasks_views_are_still_loaded_by_another_thread_a_request_goes_the_long_way(
    guard, monkeypatch
):
    client = flask_client(guard)
    assert client.get("/x", headers=BEARER).status_code == 200
    name = "fbguard.integrations.flask_views"
    monkeypatch.setitem(sys.modules, name, types.ModuleType(name))  # begun: nothing in it yet
    assert client.get("/x", headers=BEARER).status_code == 200
    assert ways == ["long"]


def test_what_may_be_another_request_is_looked_at_the_long_way(guard):
    def outer() -> str:
        return flask_view(request=object())

    client = flask_client(guard, outer)
    assert client.get("/x", headers=BEARER).status_code == 200
    assert ways == ["long"]


def test_a_request_of_django_in_a_view_of_flask_is_not_taken_for_flasks(guard):
    """It is another one, which has no token."""

    def outer() -> str:
        inner = HttpRequest()
        inner.environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}  # type: ignore[attr-defined]
        answer: HttpResponse = django_view(inner)
        return str(answer.status_code)

    inner_guard = override_settings(FBGUARD={"app_id": APP_ID, "app_secret": SECRET})
    with inner_guard:
        answer = flask_client(guard, outer).get("/x", headers=BEARER)
    assert answer.text == "401"
    assert ways == ["long"]


# -- Django --------------------------------------------------------------------------------------------


@require_fb_token(scopes=["email"])
def django_view(request: Any, **_given: Any) -> HttpResponse:
    seen.append((request.fb_token, current_token()))
    return HttpResponse("in")


@require_fb_token(scopes=["email"])
async def async_view(request: Any) -> HttpResponse:
    seen.append((request.fb_token, current_token()))
    return HttpResponse("in")


urlpatterns = [path("x", django_view), path("a", async_view), path("x/<int:number>", django_view)]


@pytest.mark.parametrize("address", ["/x", "/a", "/x/5"])
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("middleware", [[], [GUARDING]], ids=["door", "middleware"])
def test_a_view_of_django_goes_the_short_way(guard, graph, server, address, middleware):
    doors = {"wsgi": wsgi.FBTokenMiddleware, "asgi": asgi.FBTokenMiddleware}
    around = None if middleware else lambda app: doors[server](app, guard, policy=EMAIL)
    options = {"app_id": APP_ID, "app_secret": SECRET, "transport": graph, "policy": EMAIL}
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware, FBGUARD=options):
        site = Site(server, around)
        answers = [site.send(address, TOKEN) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert ways == []
    assert all(facts is current is not None for facts, current in seen)


@pytest.mark.parametrize("server", SERVERS)
def test_a_view_of_django_judges_its_own_scopes(guard, graph, server):
    graph.default = valid(scopes=["public_profile"])
    doors = {"wsgi": wsgi.FBTokenMiddleware, "asgi": asgi.FBTokenMiddleware}
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        site = Site(server, lambda app: doors[server](app, guard, policy=Policy()))
        assert [site.send("/x", TOKEN).status for _ in range(2)] == [403, 403]
    assert seen == []


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("address", ["/x", "/a"])
def test_where_the_views_of_django_decide_they_know_a_token_again(guard, graph, server, address):
    doors = {"wsgi": wsgi.FBTokenMiddleware, "asgi": asgi.FBTokenMiddleware}
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        site = Site(server, lambda app: doors[server](app, guard, policy=None))
        assert [site.send(address, TOKEN).status for _ in range(3)] == [200] * 3
    assert ways == ["long"]
    assert len(graph.calls) == 1
    assert all(facts is current is not None for facts, current in seen)


# -- Starlette and plain ASGI, where the views decide --------------------------------------------------------


@require_fb_token(scopes=["email"])
async def asgi_view(scope: Any, receive: Any, send: Any) -> None:
    seen.append((scope["state"]["fb_token"], current_token(), asked_of(scope), credential_of(scope)))
    await send(START)
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(params=UNGUARDED)
def undecided(request: pytest.FixtureRequest, guard: Guard) -> Any:
    return asgi.FBTokenMiddleware(asgi_view, guard, policy=UNGUARDED[request.param])


def status_of(door: Any, headers: Any = SENT) -> int:
    status: int = ask(door, headers)[0]["status"]
    return status


def test_a_view_knows_a_token_again_as_it_knew_it_first(undecided, graph):
    assert [status_of(undecided) for _ in range(3)] == [200] * 3
    assert ways == ["long"]
    assert len(graph.calls) == 1
    info, current, asked, token = seen[0]
    assert info is current is not None
    assert token.reveal() == TOKEN
    assert len(asked) == 1
    assert seen[1] == seen[2] == seen[0]


def test_it_judges_its_own_scopes_each_time(undecided, graph):
    graph.default = valid(scopes=["public_profile"])
    assert [status_of(undecided) for _ in range(3)] == [403] * 3
    assert seen == []


def test_it_hears_of_a_session_that_ends(undecided, guard):
    assert [status_of(undecided) for _ in range(2)] == [200] * 2
    guard.expire_session(TOKEN)
    assert status_of(undecided) == 401


def test_it_sees_when_a_token_ends(undecided, graph, clock):
    graph.default = valid(scopes=["email"], expires_at=int(clock.time()) + 100)
    assert [status_of(undecided) for _ in range(2)] == [200] * 2
    clock.advance(100)
    graph.default = dead(190)
    assert status_of(undecided) == 401


@pytest.mark.parametrize(
    "headers", [[], [("Authorization", f"Bearer {TOKEN}x")], [("Authorization", f"Bearer {TOKEN}")] * 2]
)
def test_what_is_not_that_token_goes_the_long_way(undecided, graph, headers):
    assert status_of(undecided) == 200
    graph.default = dead(190)
    assert status_of(undecided, headers) == (400 if len(headers) == 2 else 401)
    assert ways == ["long", "long"]


def test_a_token_of_another_place_is_looked_at_the_long_way(graph, clock):
    with make_guard(graph, clock, token_from=("header", "cookie:t")) as guard:
        door = asgi.FBTokenMiddleware(asgi_view, guard, policy=None)
        assert [status_of(door) for _ in range(2)] == [200] * 2
    assert ways == ["long", "long"]


def test_a_view_below_a_live_door_of_another_guard_goes_the_long_way(guard, graph, clock):
    """Its connection must end with this view's token, too."""
    inner = asgi.FBTokenMiddleware(asgi_view, guard, policy=None)
    with make_guard(graph, clock) as other:
        outer = asgi.FBTokenMiddleware(inner, other, policy=Policy(Rule("/x", live=True)))
        assert [status_of(outer) for _ in range(2)] == [200] * 2
    assert ways == ["long", "long"]


def test_a_guard_that_a_view_names_is_asked_the_long_way(guard):
    @require_fb_token(scopes=["email"], guard=guard)
    async def named(scope: Any, receive: Any, send: Any) -> None:
        await asgi_view(scope, receive, send)

    door = asgi.FBTokenMiddleware(named, guard, policy=None)
    assert [status_of(door) for _ in range(2)] == [200] * 2
    assert ways == ["long", "long"]


# -- what a door makes per request -----------------------------------------------------------------------


@pytest.mark.parametrize("raw", [TOKEN, TOKEN.encode()], ids=["text", "bytes"])
def test_a_recalled_secret_is_a_secret(raw):
    usual = Secret(TOKEN)
    one = recalled(raw, usual.digest())
    assert isinstance(one, Secret)
    assert (repr(one), str(one), f"{one}") == ("***",) * 3
    assert one.reveal() == TOKEN
    assert one.digest() == usual.digest()
    assert one == usual
    assert usual == one
    assert hash(one) == hash(usual)
    assert one != Secret("another")
    for give_away in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="pickled"):
            give_away(one)


def ask(door: Any, headers: Any = SENT) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(door(http_scope("/x", headers=headers), None, send))
    return sent


def refuse(guard: Guard) -> None:
    guard.check("", None)


@pytest.mark.parametrize("before", [[], [PUSH]])
def test_what_comes_before_an_answer_is_none(guard, before):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in before:
            await send(message)
        refuse(guard)

    door = asgi.FBTokenMiddleware(app, guard)
    for _ in range(2):  # the long way, the short way
        starts = [one["status"] for one in ask(door) if one["type"] == "http.response.start"]
        assert starts == [401]


@pytest.mark.parametrize(
    "after", [[START], [START, {"type": "http.response.push", "path": "/x", "headers": []}]]
)
def test_no_second_answer_is_begun(guard, after):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in after:
            await send(message)
        refuse(guard)

    door = asgi.FBTokenMiddleware(app, guard)
    for _ in range(2):
        with pytest.raises(Refused):
            ask(door)


def test_outgoing_knows_how_a_websocket_was_closed():
    async def send(message: Any) -> None:
        del message

    def told(*kinds: str) -> tuple[bool, bool]:
        outgoing = Outgoing()
        outgoing.server = send
        for kind in kinds:
            asyncio.run(outgoing.send({"type": kind}))  # type: ignore[arg-type]
        return outgoing.started, outgoing.closed

    assert told() == (False, False)
    assert told("http.response.body", "http.response.debug") == (False, False)
    assert told("websocket.accept", "websocket.send") == (True, False)
    assert told("websocket.accept", "websocket.close") == (True, True)
    assert told("websocket.http.response.start") == (True, True)


def test_a_door_overwrites_what_another_has_left(guard, graph, clock):
    theirs = FakeGraph()
    theirs.default = OTHER_APP
    with make_guard(theirs, clock, app_id="999") as other:
        scope: dict[str, Any] = {"type": "http"}
        inject(scope, guard, guard.check(TOKEN), (), Secret(TOKEN))
        inject(scope, other, None)
        assert door_of(scope) is judge_of(scope) is other
        assert scope["fbguard.token"] is scope["state"]["fb_token"] is None
        assert credential_of(scope) is None
        assert asked_of(scope) == ()


# -- copies: what an app asks of itself with another token ---

COPIED = {
    "the same": (TOKEN, 200),
    "another": (f"{TOKEN}2", 200),
    "without the scope": (f"{TOKEN}3", 403),
    "dead": (f"{TOKEN}4", 401),
}


@pytest.fixture
def several(graph: FakeGraph) -> None:
    graph.replies = {
        f"{TOKEN}2": valid(user_id="2", scopes=["email"]),
        f"{TOKEN}3": valid(user_id="3", scopes=[]),
        f"{TOKEN}4": dead(190),
    }


def answer_to_copy(app: Any, carrier: Any) -> int:
    """Ask an app, as code of another one may, with a copy of its own request; return the status."""
    if "REQUEST_METHOD" in carrier:
        started: list[int] = []
        list(app(carrier, lambda line, *_: started.append(int(line[:3]))))
        return started[0]
    return asyncio.run(call_asgi(app, carrier)).status


@require_fb_token(scopes=["email"])
async def starlette_view(request: Request) -> PlainTextResponse:
    seen.append((request.state.fb_token.user_id, current_token(required=True).user_id))
    return PlainTextResponse("in")


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("case", COPIED)
@pytest.mark.parametrize("policy", [EMAIL, None])
def test_a_copy_of_a_scope_is_judged_for_the_token_in_it(guard, case, policy):
    token, status = COPIED[case]
    inner = Starlette(routes=[Route("/x", starlette_view)])
    statuses: list[int] = []

    @require_fb_token(scopes=["email"])
    def outer(request: Request) -> PlainTextResponse:
        copied = {**request.scope, "path": "/x", "headers": [(b"authorization", f"Bearer {token}".encode())]}
        statuses.append(answer_to_copy(inner, copied))
        return PlainTextResponse("out")

    door = asgi.FBTokenMiddleware(Starlette(routes=[Route("/out", outer)]), guard, policy=policy)
    for _ in range(2):
        assert asyncio.run(call_asgi(door, http_scope("/out", headers=SENT))).status == 200
    assert statuses == [status] * 2
    own = guard.check(TOKEN).user_id
    assert seen == [(user, user) for user in {"the same": [own], "another": ["2"]}.get(case, [])] * 2


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("case", COPIED)
@pytest.mark.parametrize("policy", [EMAIL, None])
def test_a_copy_of_an_environ_is_judged_for_the_token_in_it(guard, case, policy):
    token, status = COPIED[case]
    inner = flask.Flask("inner")
    inner.add_url_rule("/x", "x", flask_view)
    statuses: list[int] = []

    @require_fb_token(scopes=["email"])
    def outer() -> str:
        environ = {**flask.request.environ, "PATH_INFO": "/x", "HTTP_AUTHORIZATION": f"Bearer {token}"}
        statuses.append(answer_to_copy(inner.wsgi_app, environ))
        return "out"

    client = flask_client(guard, outer, policy)
    for _ in range(2):
        assert client.get("/x", headers=BEARER).status_code == 200
    assert statuses == [status] * 2
    own = guard.check(TOKEN).user_id
    users = {"the same": [own], "another": ["2"]}.get(case, [])
    assert [(facts.user_id, current.user_id) for facts, current, _ in seen] == [
        (one, one) for one in users
    ] * 2


@require_fb_token(scopes=["email"])
def wsgi_view(environ: Any, start_response: Any) -> list[bytes]:
    seen.append(current_token(required=True).user_id)
    start_response("200 OK", [])
    return [b""]


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("case", COPIED)
@pytest.mark.parametrize("policy", [EMAIL, None])
def test_so_is_a_scope_that_a_plain_view_is_given(guard, case, policy):
    token, status = COPIED[case]
    statuses: list[int] = []

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        copied = {**scope, "headers": [(b"authorization", f"Bearer {token}".encode())]}
        statuses.append(await status_in_view(asgi_view, copied))
        await asgi_view(scope, receive, send)

    door = asgi.FBTokenMiddleware(outer, guard, policy=policy)
    assert [status_of(door) for _ in range(2)] == [200] * 2
    assert statuses == [status] * 2
    own = guard.check(TOKEN).user_id
    inner = {"the same": [own], "another": ["2"]}.get(case, [])
    assert [current.user_id for _, current, *_ in seen] == [*inner, own] * 2


async def status_in_view(view: Any, scope: Any) -> int:
    try:
        return (await call_asgi(view, scope)).status
    except Refused as refused:
        return refused.status


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("case", COPIED)
@pytest.mark.parametrize("policy", [EMAIL, None])
def test_so_is_an_environ_that_a_plain_view_is_given(guard, case, policy):
    token, status = COPIED[case]
    statuses: list[int] = []

    def outer(environ: Any, start_response: Any) -> list[bytes]:
        try:
            statuses.append(answer_to_copy(wsgi_view, {**environ, "HTTP_AUTHORIZATION": f"Bearer {token}"}))
        except Refused as refused:
            statuses.append(refused.status)
        return wsgi_view(environ, start_response)

    door = wsgi.FBTokenMiddleware(outer, guard, policy=policy)
    for _ in range(2):
        assert answer_to_copy(door, wsgi_environ("/x", headers=SENT)) == 200
    assert statuses == [status] * 2
    own = guard.check(TOKEN).user_id
    assert seen == [*{"the same": [own], "another": ["2"]}.get(case, []), own] * 2


def test_a_copy_from_which_the_token_was_taken_keeps_its_facts(guard):
    """Middleware that hides credentials from the app does so."""

    async def hiding(scope: Any, receive: Any, send: Any) -> None:
        await asgi_view({**scope, "headers": []}, receive, send)

    door = asgi.FBTokenMiddleware(hiding, guard, policy=EMAIL)
    assert [status_of(door) for _ in range(2)] == [200] * 2
