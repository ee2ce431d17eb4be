"""Calling Graph in a view with the token of the request, and hearing what it says."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import flask
import httpx
import httpx2
import pytest
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.wsgi import WSGIRequest
from starlette.requests import HTTPConnection, Request
from starlette.websockets import WebSocket

from fbguard import (
    GraphAuth,
    Guard,
    OAuthException,
    Policy,
    Requirement,
    Rule,
    asgi,
    current_token,
    raise_for_graph_error,
    wsgi,
)
from fbguard.core.carrier import Carrier, entered
from fbguard.reports import refusal_of
from fbguard.sandbox import Sandbox
from tests.facebook.graph_calls import (
    COLOURS,
    HOST,
    ME,
    PAGE_TOKEN,
    Called,
    PreparedRequest,
    RequestsResponse,
    call,
    carrier_of,
    carries,
    proof_of,
)
from tests.support import (
    NOW,
    SECRET,
    TOKEN,
    Answer,
    call_asgi,
    call_wsgi,
    http_scope,
    make_guard,
    wsgi_environ,
)
from tests.threats.canaries import everything_logged, shown_exception

both_colours = pytest.mark.parametrize("colour", COLOURS)
both_doors = pytest.mark.parametrize("kind", ["asgi", "wsgi"])

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
MULTIPART = "multipart/form-data; boundary=x"
EXPIRED = {"message": "Session is over.", "type": "OAuthException", "code": 190, "error_subcode": 463}
FAILED = {"error": EXPIRED}
PUBLIC = Policy(Rule("/", public=True))
OPTIONAL = Policy(default=Requirement(optional=True))


@pytest.fixture(params=["asgi", "wsgi"])
def carrier(request, guard) -> Iterator[Carrier]:
    """Give a request that a door has let in with TOKEN, and run the test in it."""
    carrier = carrier_of(request.param, guard)
    with entered(carrier):
        yield carrier


def query(request: Any) -> list[tuple[str, str]]:
    return parse_qsl(request.url.query.decode(), keep_blank_values=True, strict_parsing=True)


# -- what a call of Graph gets -----------------------------------------------------------------------------


@both_colours
def test_token_and_proof_are_attached(carrier, colour):
    graph = Called()
    assert call(colour, graph, ME, GraphAuth()).json() == {"id": "1001"}
    assert graph.only.headers.get_list("Authorization") == [f"Bearer {TOKEN}"]
    assert query(graph.only) == [("appsecret_proof", proof_of(TOKEN))]
    assert TOKEN not in str(graph.only.url)


@both_colours
def test_a_timed_proof_by_the_clock_of_the_guard(carrier, clock, colour):
    for later in (0, 1000.75):
        clock.advance(later)
        graph = Called()
        call(colour, graph, ME, GraphAuth(timed=True))
        at = NOW + int(later)
        assert dict(query(graph.only)) == {
            "appsecret_proof": proof_of(f"{TOKEN}|{at}"),
            "appsecret_time": str(at),
        }


@both_colours
@pytest.mark.parametrize(
    "parameters",
    [
        "fields=id,name",
        "fields=id%2Cname&limit=5",
        "a=1&a=2&b=3&a=4",
        "empty=&other=x",
        "q=a+b%20c%2Bd%26e%3Df",
        "t=%C3%BC%E2%82%AC",
        "filter=%5B%7B%22field%22%3A%22a%22%7D%5D",
        "appsecret_proof=old&appsecret_time=1",
    ],
)
def test_other_parameters_of_the_url_stay(carrier, colour, parameters):
    graph = Called()
    call(colour, graph, f"{ME}?{parameters}", GraphAuth(timed=True))
    before = [pair for pair in parse_qsl(parameters, keep_blank_values=True) if "appsecret" not in pair[0]]
    proof = [("appsecret_proof", proof_of(f"{TOKEN}|{NOW}")), ("appsecret_time", str(NOW))]
    assert sorted(query(graph.only)) == sorted(before + proof)
    assert graph.only.url.path == "/v26.0/me"


@both_colours
def test_parameters_that_the_client_adds_stay(carrier, colour):
    graph = Called()
    call(colour, graph, ME, GraphAuth(), params={"fields": "id", "limit": 5})
    assert dict(query(graph.only)) == {"fields": "id", "limit": "5", "appsecret_proof": proof_of()}


@both_colours
def test_the_body_of_a_post_is_untouched(carrier, colour):
    graph = Called()
    call(colour, graph, f"{HOST}/me/feed", GraphAuth(), "POST", data={"message": "Hello & bye", "x": "1"})
    assert graph.only.content == b"message=Hello+%26+bye&x=1"
    assert graph.only.headers["Content-Type"] == FORM
    assert graph.only.headers["Content-Length"] == str(len(graph.only.content))
    assert dict(query(graph.only)) == {"appsecret_proof": proof_of()}
    assert graph.only.headers["Authorization"] == f"Bearer {TOKEN}"


@both_colours
def test_one_auth_serves_many_calls(carrier, colour):
    auth = GraphAuth()
    for _ in range(3):
        graph = Called()
        call(colour, graph, ME, auth)
        assert query(graph.only) == [("appsecret_proof", proof_of())]


def test_a_request_that_is_sent_twice_has_one_proof(carrier, clock):
    graph = Called()
    auth = GraphAuth(timed=True)
    with httpx.Client(transport=httpx.MockTransport(graph)) as client:
        request = client.build_request("GET", f"{ME}?fields=id")
        for _ in range(2):
            client.send(request, auth=auth)
            clock.advance(10)
    assert sorted(query(request)) == [
        ("appsecret_proof", proof_of(f"{TOKEN}|{NOW + 10}")),
        ("appsecret_time", str(NOW + 10)),
        ("fields", "id"),
    ]


def test_a_client_may_have_it_for_all_its_calls(carrier):
    graph = Called()
    with httpx.Client(transport=httpx.MockTransport(graph), auth=GraphAuth()) as client:
        client.get(ME)
        client.get("https://evil.example/")
    assert [carries(request) for request in graph.requests] == [True, False]


@both_colours
@pytest.mark.parametrize(
    "url", [HOST, f"{HOST}:443/me", "HTTPS://Graph.Facebook.COM/me", f"{HOST}/v1.0/", f"{HOST}/x?y#z"]
)
def test_spellings_of_the_same_host(carrier, colour, url):
    graph = Called()
    call(colour, graph, url, GraphAuth())
    assert graph.only.headers["Authorization"] == f"Bearer {TOKEN}"


# -- where nothing is attached ---------------------------------------------------------------------------


STRANGERS = [
    "https://evil.example/",
    "https://evil.example/graph.facebook.com/me",
    "https://evil.example/?next=https://graph.facebook.com/me",
    "https://evil.example#@graph.facebook.com/",
    "https://graph.facebook.com@evil.example/",
    "https://graph.facebook.com:443@evil.example/",
    "https://user:https%3A%2F%2Fgraph.facebook.com@evil.example/",
    "https://graph.facebook.com.evil.example/",
    "https://graph.facebook.com./me",
    "https://xgraph.facebook.com/me",
    "https://graph.facebook.com:8443/me",
    "https://graph.facebook.com:80/me",
    "http://graph.facebook.com/me",
    "http://graph.facebook.com:443/me",
    "https://facebook.com/me",
    "https://www.facebook.com/me",
    "https://beta.graph.facebook.com/me",
    "https://graph-video.facebook.com/me",
    "https://graph.instagram.com/me",
    "https://graph.facebook.co/me",
    "http://127.0.0.1/me",
    "http://localhost/me",
]


@both_colours
@pytest.mark.parametrize("url", STRANGERS)
def test_nothing_is_attached_to_a_call_of_another_host(carrier, colour, url):
    graph = Called()
    call(colour, graph, url, GraphAuth(timed=True))
    assert not carries(graph.only)
    assert str(graph.only.url) == str(httpx.URL(url))
    assert "Bearer" not in graph.only.headers.get("Authorization", "")


@both_colours
@pytest.mark.parametrize("url", STRANGERS)
def test_nor_another_token(guard, colour, url):
    graph = Called()
    call(colour, graph, url, GraphAuth(token=PAGE_TOKEN, guard=guard, timed=True))
    assert not carries(graph.only, PAGE_TOKEN)


@both_colours
def test_plain_http_is_for_the_guards_own_loopback_graph(graph, clock, colour):
    with make_guard(graph, clock, graph_url="http://127.0.0.1:8123/base") as guard:
        called = Called()
        with entered(carrier_of("asgi", guard)):
            for url in (
                "http://127.0.0.1:8123/v26.0/me",
                "http://127.0.0.1:8124/v26.0/me",
                "https://127.0.0.1:8123/v26.0/me",
                "http://localhost:8123/v26.0/me",
                "http://127.0.0.1/v26.0/me",
                ME,
            ):
                call(colour, called, url, GraphAuth())
    assert [carries(request) for request in called.requests] == [True, *[False] * 5]


@both_colours
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/?x=1",
        "//evil.example/",
        "https://graph.facebook.com@evil.example/",
        "https://graph-video.facebook.com/me",
        "https://graph.facebook.com:8443/me",
        "http://graph.facebook.com/me",
    ],
)
def test_nothing_goes_along_to_another_host(carrier, colour, status, place):
    graph = Called(httpx.Response(status, headers={"Location": place}))
    answer = call(colour, graph, ME, GraphAuth(timed=True), follow=True)
    first, second = graph.requests
    assert (answer.status_code, carries(first), carries(second)) == (200, True, False)
    assert second.url.host != "graph.facebook.com" or second.url.scheme != "https" or second.url.port


@both_colours
def test_nor_to_another_host_with_a_posted_body(carrier, colour):
    graph = Called(httpx.Response(307, headers={"Location": "https://evil.example/"}))
    call(colour, graph, ME, GraphAuth(), "POST", follow=True, data={"message": "Hello"})
    assert graph.requests[1].content == b"message=Hello"
    assert not carries(graph.requests[1])


@both_colours
def test_nor_over_another_host_back_to_graph(carrier, colour):
    graph = Called(
        httpx.Response(302, headers={"Location": "https://evil.example/"}),
        httpx.Response(302, headers={"Location": "https://graph.facebook.com/v26.0/me/accounts?x=1"}),
    )
    call(colour, graph, ME, GraphAuth(), follow=True)
    assert [carries(request) for request in graph.requests] == [True, False, False]


@both_colours
def test_nor_to_graph_from_another_host(carrier, colour):
    graph = Called(httpx.Response(302, headers={"Location": ME}))
    call(colour, graph, "https://evil.example/", GraphAuth(), follow=True)
    assert [carries(request) for request in graph.requests] == [False, False]


@both_colours
@pytest.mark.parametrize("place", ["/v26.0/1001", f"{HOST}/v26.0/1001", f"{HOST}:443/v26.0/1001"])
def test_a_redirect_within_graph_goes_on_as_this_user(carrier, colour, place):
    graph = Called(httpx.Response(302, headers={"Location": place}))
    answer = call(colour, graph, ME, GraphAuth(), follow=True)
    assert (answer.status_code, answer.request.url.path) == (200, "/v26.0/1001")
    assert [request.headers["Authorization"] for request in graph.requests] == [f"Bearer {TOKEN}"] * 2


@both_colours
def test_a_call_with_a_token_of_its_own_in_the_url_stays_as_it_is(carrier, colour):
    graph = Called()
    call(colour, graph, ME, GraphAuth(timed=True), params={"access_token": PAGE_TOKEN})
    assert query(graph.only) == [("access_token", PAGE_TOKEN)]
    assert "Authorization" not in graph.only.headers


@both_colours
def test_an_empty_parameter_is_no_token_of_its_own(carrier, colour):
    graph = Called()
    call(colour, graph, ME, GraphAuth(), params={"access_token": ""})
    assert query(graph.only) == [("access_token", ""), ("appsecret_proof", proof_of())]
    assert graph.only.headers["Authorization"] == f"Bearer {TOKEN}"


@both_colours
def test_a_call_with_a_token_of_its_own_in_the_form_stays_as_it_is(carrier, colour):
    """Graph would take the form's token and a proof of the other one."""
    graph = Called()
    form = {"access_token": PAGE_TOKEN, "message": "Hello"}
    call(colour, graph, f"{HOST}/me/feed", GraphAuth(), "POST", data=form)
    assert "Authorization" not in graph.only.headers
    assert not graph.only.url.query
    assert graph.only.content == f"access_token={PAGE_TOKEN}&message=Hello".encode()


def streamed(colour: str) -> Any:
    """Return the content of a request that only sending reads."""

    async def chunks() -> Any:
        yield b"access_token=x"

    return chunks() if colour == "async" else iter([b"access_token=x"])


OWN_BODIES: dict[str, Callable[[str], dict[str, Any]]] = {
    "json": lambda _: {"json": {"access_token": PAGE_TOKEN}},
    "multipart": lambda _: {"data": {"access_token": PAGE_TOKEN}, "files": {"source": b"x"}},
    "multipart in bytes": lambda _: {"data": {"access_token": PAGE_TOKEN.encode()}, "files": {"a": b"x"}},
    "multipart file": lambda _: {"files": {"access_token": (None, PAGE_TOKEN)}},
    "broken json": lambda _: {"content": b'{"access_token": ', "headers": {"Content-Type": JSON}},
    "streamed form": lambda colour: {"content": streamed(colour), "headers": {"Content-Type": FORM}},
    "streamed json": lambda colour: {"content": streamed(colour), "headers": {"Content-Type": JSON}},
    "streamed multipart": lambda colour: {
        "content": streamed(colour),
        "headers": {"Content-Type": MULTIPART},
    },
}


@both_colours
@pytest.mark.parametrize("own", OWN_BODIES)
def test_a_call_with_a_token_of_its_own_in_any_body_stays_as_it_is(carrier, colour, own):
    """Also if nobody can tell whether there is one."""
    graph = Called()
    call(colour, graph, f"{HOST}/me/feed", GraphAuth(), "POST", **OWN_BODIES[own](colour))
    assert "Authorization" not in graph.only.headers
    assert not graph.only.url.query


@both_colours
@pytest.mark.parametrize(
    "more",
    [
        {"json": {"message": "Hello"}},
        {"data": {"message": "Hello"}, "files": {"source": b"bytes"}},
        {"headers": {"Content-Type": "application/json"}},
        {"content": b"bytes", "headers": {"Content-Type": "video/mp4"}},
    ],
)
def test_another_body_goes_out_as_this_user(carrier, colour, more):
    graph = Called()
    call(colour, graph, f"{HOST}/me/videos", GraphAuth(), "POST", **more)
    assert graph.only.headers["Authorization"] == f"Bearer {TOKEN}"
    assert query(graph.only) == [("appsecret_proof", proof_of())]


@both_colours
@pytest.mark.parametrize(
    "header",
    [f"Bearer {PAGE_TOKEN}", f"bearer {PAGE_TOKEN}", f"OAuth {PAGE_TOKEN}", "Basic dTpw", PAGE_TOKEN],
)
def test_a_call_with_a_header_of_its_own_stays_as_it_is(carrier, colour, header):
    graph = Called()
    call(colour, graph, f"{ME}?fields=id", GraphAuth(timed=True), headers={"Authorization": header})
    assert graph.only.headers.get_list("Authorization") == [header]
    assert query(graph.only) == [("fields", "id")]


@both_colours
@pytest.mark.parametrize("options", [{}, {"token": PAGE_TOKEN}])
def test_the_address_of_the_next_page_gets_the_proof(carrier, colour, options):
    """Graph's ``paging.next`` names the token that the first page was asked with."""
    token = options.get("token", TOKEN)
    graph = Called()
    call(colour, graph, f"{ME}/posts?limit=25&access_token={token}&after=Qx", GraphAuth(**options))
    assert query(graph.only) == [
        ("limit", "25"),
        ("access_token", token),
        ("after", "Qx"),
        ("appsecret_proof", proof_of(token)),
    ]
    assert "Authorization" not in graph.only.headers


@both_colours
def test_a_form_with_this_users_token_gets_the_proof(carrier, colour):
    graph = Called()
    call(colour, graph, f"{HOST}/me/feed", GraphAuth(), "POST", data={"access_token": TOKEN})
    assert query(graph.only) == [("appsecret_proof", proof_of())]
    assert "Authorization" not in graph.only.headers


@both_doors
def test_nobodys_call_with_a_token_of_its_own_needs_no_other(guard, kind):
    graph = Called()
    with entered(carrier_of(kind, guard, None, OPTIONAL)):
        call("sync", graph, ME, GraphAuth(), params={"access_token": PAGE_TOKEN})
        call("sync", graph, ME, GraphAuth(), headers={"Authorization": f"Bearer {PAGE_TOKEN}"})
    assert ["appsecret" in str(request.url) for request in graph.requests] == [False, False]


# -- another token, another guard, another place -------------------------------------------------------------


@both_colours
def test_another_token_with_the_guard_of_the_request(carrier, colour):
    graph = Called()
    call(colour, graph, ME, GraphAuth(token=PAGE_TOKEN))
    assert graph.only.headers["Authorization"] == f"Bearer {PAGE_TOKEN}"
    assert query(graph.only) == [("appsecret_proof", proof_of(PAGE_TOKEN))]


@both_colours
def test_a_token_and_a_guard_need_no_request(guard, colour):
    graph = Called()
    call(colour, graph, ME, GraphAuth(token=PAGE_TOKEN, guard=guard, timed=True))
    assert graph.only.headers["Authorization"] == f"Bearer {PAGE_TOKEN}"
    assert dict(query(graph.only))["appsecret_proof"] == proof_of(f"{PAGE_TOKEN}|{NOW}")


@both_colours
def test_a_guard_that_is_given_goes_before_the_one_of_the_request(carrier, colour):
    other = "another0secret0another0secret0"
    called = Called()
    with make_guard(app_secret=other, graph_url="https://graph.example") as guard:
        auth = GraphAuth(token=PAGE_TOKEN, guard=guard)
        for url in ("https://graph.example/me", ME):
            call(colour, called, url, auth)
    ours, theirs = called.requests
    assert query(ours) == [("appsecret_proof", proof_of(PAGE_TOKEN, other))]
    assert not carries(theirs, PAGE_TOKEN)


@pytest.mark.parametrize("more", [{}, {"timed": True}, {"token": None}])
def test_a_guard_without_a_token_is_a_mistake(guard, more):
    with pytest.raises(ValueError, match="token"):
        GraphAuth(guard=guard, **more)


def test_a_guard_goes_with_a_request_only_if_a_token_does(guard, carrier):
    with pytest.raises(ValueError, match="token"):
        GraphAuth(carrier, guard=guard)


@pytest.mark.parametrize("token", ["", b"EAAB", 5, ["EAAB"]], ids=repr)
def test_a_token_that_is_none_is_a_mistake(guard, token):
    """Nothing like ``Bearer b'...'`` goes out."""
    with pytest.raises((TypeError, ValueError), match="token"):
        GraphAuth(token=token, guard=guard)


@both_colours
@pytest.mark.parametrize("options", [{}, {"timed": True}, {"token": PAGE_TOKEN}])
@pytest.mark.parametrize("url", [ME, "https://evil.example/"])
def test_outside_of_any_request_a_call_fails(colour, options, url):
    graph = Called()
    with pytest.raises(RuntimeError, match="no request"):
        call(colour, graph, url, GraphAuth(**options))
    assert graph.requests == []


@both_colours
@both_doors
@pytest.mark.parametrize(
    ("policy", "token"), [(PUBLIC, TOKEN), (PUBLIC, None), (OPTIONAL, None), (None, TOKEN)]
)
def test_public_routes_and_anonymous_requests_have_no_token(guard, kind, colour, policy, token):
    graph = Called()
    scope = carrier_of(kind, guard, token, policy)
    with entered(scope):
        for auth in (GraphAuth(), GraphAuth(scope)):
            with pytest.raises(RuntimeError, match="no token"):
                call(colour, graph, ME, auth)
        assert graph.requests == []
        call(colour, graph, "https://evil.example/", GraphAuth())
        call(colour, graph, ME, GraphAuth(token=PAGE_TOKEN))
    assert [carries(request, PAGE_TOKEN) for request in graph.requests] == [False, True]


@both_colours
def test_each_request_calls_with_its_own_token(guard, colour):
    called = Called()
    scopes = [carrier_of("asgi", guard, token) for token in (TOKEN, PAGE_TOKEN)]
    auth = GraphAuth()
    for scope in scopes:
        with entered(scope):
            call(colour, called, ME, auth)
    sent = [request.headers["Authorization"] for request in called.requests]
    assert sent == [f"Bearer {TOKEN}", f"Bearer {PAGE_TOKEN}"]


# -- outside of the request's context ------------------------------------------------------------------------


async def nothing_to_receive() -> Any:
    raise AssertionError("nobody reads this body")


def websocket(scope: Carrier) -> WebSocket:
    return WebSocket(dict(scope) | {"type": "websocket"}, nothing_to_receive, nothing_to_receive)


WRAPPERS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "scope": ("asgi", lambda scope: scope),
    "environ": ("wsgi", lambda environ: environ),
    "starlette": ("asgi", Request),
    "starlette connection": ("asgi", HTTPConnection),
    "starlette websocket": ("asgi", websocket),
    "flask": ("wsgi", flask.Request),
    "django over wsgi": ("wsgi", WSGIRequest),
    "django over asgi": ("asgi", lambda scope: ASGIRequest(scope, None)),
}


@pytest.fixture(params=WRAPPERS)
def framework_request(request, guard) -> Any:
    """Give the request of a framework, from behind a door; the test runs outside of it."""
    kind, wrap = WRAPPERS[request.param]
    return wrap(carrier_of(kind, guard))


def in_a_thread(work: Callable[[], Any]) -> Any:
    """Run it in a thread of its own, which inherits no context; return or raise what it does."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((work(), None))
        except Exception as exc:
            outcome.append((None, exc))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    ((value, exc),) = outcome
    if exc is not None:
        raise exc
    return value


@both_colours
def test_a_request_given_by_hand(framework_request, colour):
    graph = Called()
    auth = GraphAuth(framework_request)
    in_a_thread(lambda: call(colour, graph, ME, auth))
    assert graph.only.headers["Authorization"] == f"Bearer {TOKEN}"
    assert query(graph.only) == [("appsecret_proof", proof_of())]


def test_it_may_be_made_in_the_thread(framework_request):
    graph = Called()
    in_a_thread(lambda: call("sync", graph, ME, GraphAuth(framework_request, timed=True)))
    assert graph.only.headers["Authorization"] == f"Bearer {TOKEN}"


@both_colours
def test_a_thread_of_its_own_is_in_no_request(carrier, colour):
    graph = Called()
    with pytest.raises(RuntimeError, match="no request"):
        in_a_thread(lambda: call(colour, graph, ME, GraphAuth()))
    assert graph.requests == []


def test_flasks_proxy_of_the_request(guard):
    app = flask.Flask("guarded")
    graph = Called()
    with app.request_context(carrier_of("wsgi", guard)):
        call("sync", graph, ME, GraphAuth(flask.request))
    assert graph.only.headers["Authorization"] == f"Bearer {TOKEN}"


@both_colours
def test_a_request_given_by_hand_goes_before_the_one_that_runs(guard, colour):
    graph = Called()
    with entered(carrier_of("asgi", guard, PAGE_TOKEN)):
        call(colour, graph, ME, GraphAuth(carrier_of("wsgi", guard)))
    assert graph.only.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    "request_", [http_scope(), wsgi_environ(), Request(http_scope()), {}, "request", 5, object()], ids=type
)
def test_a_request_that_no_door_has_looked_at(request_):
    with pytest.raises(RuntimeError, match="door"):
        GraphAuth(request_)


# -- in an app, against a Facebook -------------------------------------------------------------------------


@pytest.fixture
def sandbox() -> Sandbox:
    sandbox = Sandbox()
    sandbox.require_proof()
    return sandbox


class App:
    """A guarded app whose view asks Graph who is there; ``send`` a token to it."""

    def __init__(self, kind: str, sandbox: Sandbox, guard: Guard, **auth: Any) -> None:
        self._kind = kind
        self._sandbox = sandbox
        self._auth = auth
        self.ids: list[str] = []
        view = self._asgi_view if kind == "asgi" else self._wsgi_view
        self._door = (asgi if kind == "asgi" else wsgi).FBTokenMiddleware(view, guard)

    def _wsgi_view(self, environ: Any, start_response: Any) -> list[bytes]:
        with httpx.Client(transport=self._sandbox.transport, auth=GraphAuth(**self._auth)) as client:
            self.ids.append(raise_for_graph_error(client.get(ME)).json()["id"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"hello"]

    async def _asgi_view(self, scope: Any, receive: Any, send: Any) -> None:
        async with httpx.AsyncClient(
            transport=self._sandbox.transport, auth=GraphAuth(**self._auth)
        ) as client:
            self.ids.append(raise_for_graph_error(await client.get(ME)).json()["id"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    def send(self, token: str) -> Answer:
        sent = [("Authorization", f"Bearer {token}")]
        if self._kind == "wsgi":
            return call_wsgi(self._door, wsgi_environ(headers=sent))
        return asyncio.run(call_asgi(self._door, http_scope(headers=sent)))


@both_doors
@pytest.mark.parametrize("auth", [{}, {"timed": True}], ids=["plain", "timed"])
def test_facebook_takes_the_token_and_its_proof(sandbox, kind, auth):
    token = sandbox.issue_token(user_id="1001")
    with sandbox.guard() as guard:
        app = App(kind, sandbox, guard, **auth)
        assert app.send(token).status == 200
        sandbox.clock.advance(1000)
        assert app.send(token).status == 200
    assert app.ids == ["1001", "1001"]


@both_doors
def test_without_a_proof_facebook_would_refuse(sandbox, kind):
    token = sandbox.issue_token()
    with httpx.Client(transport=sandbox.transport) as client:
        answer = client.get(ME, headers=sandbox.bearer(token))
    with pytest.raises(OAuthException) as caught:
        raise_for_graph_error(answer)
    assert (caught.value.code, caught.value.type, caught.value.reason) == (100, "GraphMethodException", None)


@both_doors
def test_a_session_that_ended_is_answered_and_forgotten(sandbox, kind):
    token = sandbox.issue_token(user_id="1001")
    with sandbox.guard() as guard:
        app = App(kind, sandbox, guard)
        assert app.send(token).status == 200
        sandbox.change_password("1001")
        answer = app.send(token)
        assert (answer.status, answer.reason) == (401, "password_changed")
        assert (answer.json["code"], answer.json["subcode"]) == (190, 460)
        assert guard.peek(token) is None
    assert app.ids == ["1001"]


@both_doors
def test_a_limit_logs_nobody_out(sandbox, kind):
    token = sandbox.issue_token(user_id="1001")
    with sandbox.guard() as guard:
        app = App(kind, sandbox, guard)
        assert app.send(token).status == 200
        sandbox.throttle(32)
        answer = app.send(token)
        assert (answer.status, answer.reason, answer.challenge) == (503, "throttled", "")
        assert guard.peek(token) is not None
        sandbox.recover()
        assert app.send(token).status == 200


# -- another client that calls it --------------------------------------------------------------------------


@both_colours
def test_a_client_that_takes_a_callable(carrier, colour):
    """httpx2 knows no httpx.Auth, but takes any callable."""
    seen: list[httpx2.Request] = []

    def graph(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(400, json=FAILED)

    async def main() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(graph), auth=GraphAuth()) as client:
            return [await client.get(f"{ME}?fields=id"), await client.get("https://evil.example/")]

    if colour == "sync":
        with httpx2.Client(transport=httpx2.MockTransport(graph), auth=GraphAuth()) as client:
            answers = [client.get(f"{ME}?fields=id"), client.get("https://evil.example/")]
    else:
        answers = asyncio.run(main())
    ours, theirs = seen
    assert ours.headers["Authorization"] == f"Bearer {TOKEN}"
    assert dict(query(ours)) == {"fields": "id", "appsecret_proof": proof_of()}
    assert not carries(theirs)
    assert [heard(answer).token_fingerprint for answer in answers] == [fingerprint(), ""]


# -- nothing shows the token -------------------------------------------------------------------------------


def test_nothing_about_an_auth_shows_a_token(framework_request, guard, carrier):
    for auth in (
        GraphAuth(),
        GraphAuth(framework_request),
        GraphAuth(token=PAGE_TOKEN),
        GraphAuth(token=PAGE_TOKEN, guard=guard, timed=True),
    ):
        for text in (repr(auth), str(auth), repr(vars(auth)), f"{vars(auth)}"):
            assert TOKEN not in text
            assert PAGE_TOKEN not in text
            assert SECRET not in text


def test_an_exception_of_a_call_shows_no_token(guard):
    scope = carrier_of("asgi", guard, policy=PUBLIC)
    failures: list[Callable[[], object]] = [
        lambda: GraphAuth(token=PAGE_TOKEN)(httpx.Request("GET", ME)),
        lambda: GraphAuth(scope)(httpx.Request("GET", ME)),
        lambda: GraphAuth("no request", token=PAGE_TOKEN),
    ]
    for fail in failures:
        with pytest.raises(RuntimeError) as caught:
            fail()
        assert PAGE_TOKEN not in shown_exception(caught.value)
        assert TOKEN not in shown_exception(caught.value)


@pytest.fixture
def served(clock) -> Iterator[tuple[str, Sandbox, Guard]]:
    sandbox = Sandbox()
    with sandbox.serve() as url, sandbox.guard(graph_url=url, transport=None) as guard:
        yield url, sandbox, guard


@both_colours
@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("path", ["/v26.0/me?fields=id", "/v26.0/nowhere"])
def test_the_loggers_of_a_client_show_neither_token_nor_proof(served, colour, library, path):
    url, sandbox, guard = served
    token = sandbox.issue_token()
    scope = carrier_of("asgi", guard, token)
    auth = GraphAuth(scope, timed=True)

    async def main() -> Any:
        async with library.AsyncClient(auth=auth) as client:
            return await client.get(f"{url}{path}")

    with everything_logged() as log:
        if colour == "sync":
            with library.Client(auth=auth) as client:
                answer = client.get(f"{url}{path}")
        else:
            answer = asyncio.run(main())
    assert answer.request.headers["Authorization"] == f"Bearer {token}"
    proof = answer.request.url.params["appsecret_proof"]
    text = "\n".join(log.shown)
    assert f"{library.__name__}" in log.names
    assert "HTTP Request: GET" in text
    assert token not in text
    assert proof not in text


def test_what_a_client_logs_of_other_calls_is_untouched(carrier, caplog):
    GraphAuth()
    with caplog.at_level(logging.DEBUG, "httpx"):
        call("sync", Called(), "https://example.com/?page=2", None)
    assert '"HTTP/1.1 200 OK"' in caplog.text
    assert "https://example.com/?page=2" in caplog.text


# -- hearing what Graph says ---------------------------------------------------------------------------------


def heard(answer: object, **more: Any) -> OAuthException:
    with pytest.raises(OAuthException) as caught:
        raise_for_graph_error(answer, **more)
    assert caught.value.code == 190
    return caught.value


def fingerprint() -> str:
    """Return the fingerprint of the facts of this request."""
    name = current_token(required=True).fingerprint
    assert name == proof_of(TOKEN)[:12]
    return name


def request_of(**more: Any) -> httpx.Request:
    return httpx.Request(more.pop("method", "GET"), more.pop("url", ME), **more)


def failed(**more: Any) -> httpx.Response:
    return httpx.Response(400, json=FAILED, request=request_of(**more))


def failed_requests(
    url: str = ME, headers: dict[str, Any] | None = None, body: object = None
) -> RequestsResponse:
    request = PreparedRequest(url, httpx.Headers(headers), body)
    return RequestsResponse(json.dumps(FAILED), request=request)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, json={"id": "1"}, request=httpx.Request("GET", ME)),
        httpx.Response(204, request=httpx.Request("GET", ME)),
        httpx.Response(302, headers={"Location": "/x"}, request=httpx.Request("GET", ME)),
        httpx2.Response(200, json={"id": "1"}, request=httpx2.Request("GET", ME)),
        RequestsResponse('{"id": "1"}', 200),
        RequestsResponse("<html>", 200),
        {"id": "1"},
        {},
        [{"id": "1"}],
        [],
        True,
        False,
        None,
        5,
        1.5,
        {"code": 200, "headers": [], "body": '{"id": "1"}'},
    ],
    ids=repr,
)
def test_a_success_is_given_back(answer):
    assert raise_for_graph_error(answer) is answer
    assert raise_for_graph_error(answer, token=TOKEN) is answer


def coroutine() -> Any:
    async def get() -> None: ...

    return get()


class AsyncResponse:
    """As aiohttp's: its body must be awaited."""

    status = 400

    async def json(self) -> Any: ...


@pytest.mark.parametrize(
    "make",
    [
        lambda: json.dumps(FAILED),
        lambda: "",
        lambda: json.dumps(FAILED).encode(),
        lambda: b"",
        lambda: bytearray(b"{}"),
        coroutine,
        AsyncResponse,
        object,
        lambda: (FAILED,),
        lambda: {"error"},
        lambda: OAuthException("x"),
        lambda: httpx.Response,
    ],
)
def test_what_is_no_answer_is_a_type_error(make):
    answer = make()
    try:
        with pytest.raises(TypeError, match=type(answer).__name__):
            raise_for_graph_error(answer)
    finally:
        if inspect.iscoroutine(answer):
            answer.close()  # of the coroutine, which nobody awaits


def test_a_type_error_does_not_quote():
    with pytest.raises(TypeError) as caught:
        raise_for_graph_error(TOKEN)
    assert TOKEN not in str(caught.value)


PLACES: dict[str, Callable[[str], dict[str, Any]]] = {
    "header": lambda token: {"headers": {"Authorization": f"Bearer {token}"}},
    "header in lower case": lambda token: {"headers": {"authorization": f"bearer {token}"}},
    "oauth scheme": lambda token: {"headers": {"Authorization": f"OAuth {token}"}},
    "query": lambda token: {"url": f"{ME}?fields=id&access_token={token}&x=1"},
    "escaped query": lambda token: {"url": f"{ME}?access_token=%{ord(token[0]):X}{token[1:]}"},
    "query before a body": lambda token: {
        "url": f"{ME}?access_token={token}",
        "headers": {"Content-Type": FORM},
    },
}
FORMS: dict[str, Callable[[str], bytes]] = {
    "form": lambda token: f"message=a+b&access_token={token}".encode(),
    "form alone": lambda token: f"access_token={token}".encode(),
}


def ways(token: str) -> Iterator[tuple[str, object]]:
    """Give a failed answer to a call that carried a token, in every way and of every library."""
    for name, place in PLACES.items():
        yield f"httpx {name}", failed(**place(token))
        yield f"requests {name}", failed_requests(**place(token))
    for name, form in FORMS.items():
        for kind in (FORM, f"{FORM}; charset=UTF-8"):
            headers = {"Content-Type": kind}
            sent = {"method": "POST", "headers": headers, "content": form(token)}
            yield f"httpx {name} {kind}", failed(**sent)
            yield f"requests {name} {kind}", failed_requests(headers=headers, body=form(token))
            yield (
                f"requests {name} as text {kind}",
                failed_requests(headers=headers, body=form(token).decode()),
            )
    yield "httpx json", failed(method="POST", json={"message": "a b", "access_token": token})
    body = json.dumps({"access_token": token})
    for text in (body, body.encode()):
        yield "requests json", failed_requests(headers={"Content-Type": "application/json"}, body=text)
    for library in (httpx, httpx2):
        form = {"data": {"access_token": token}, "files": {"source": b"bytes"}}
        request = library.Request("POST", ME, **form)
        yield "multipart", library.Response(400, json=FAILED, request=request)
    yield (
        "httpx GraphAuth",
        call("sync", lambda _: httpx.Response(400, json=FAILED), ME, GraphAuth(token=token)),
    )
    request = httpx2.Request("GET", ME, headers={"Authorization": f"Bearer {token}"})
    yield "httpx2", httpx2.Response(400, json=FAILED, request=request)


def test_the_fingerprint_of_this_requests_token(carrier):
    for name, answer in ways(TOKEN):
        assert heard(answer).token_fingerprint == fingerprint(), name


def test_the_fingerprint_of_another_token(carrier):
    for name, answer in ways(PAGE_TOKEN):
        assert heard(answer).token_fingerprint == proof_of(PAGE_TOKEN)[:12] != fingerprint(), name


def test_a_parameter_goes_before_the_header(carrier):
    """As it does for Graph."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert (
        heard(failed(url=f"{ME}?access_token={PAGE_TOKEN}", headers=headers)).token_fingerprint
        != fingerprint()
    )
    headers = {"Authorization": f"Bearer {PAGE_TOKEN}"}
    assert heard(failed(url=f"{ME}?access_token={TOKEN}", headers=headers)).token_fingerprint == fingerprint()


@pytest.mark.parametrize(
    "answer",
    [
        failed(),
        failed(headers={"Authorization": ""}),
        failed(headers={"Authorization": "Bearer"}),
        failed(headers={"Authorization": "Bearer "}),
        failed(headers={"Authorization": f"Basic {TOKEN}"}),
        failed(headers={"Authorization": TOKEN}),
        failed(headers={"X-Authorization": f"Bearer {TOKEN}"}),
        failed(url=f"{ME}?access_token="),
        failed(url=f"{ME}?input_token={TOKEN}&my_access_token={TOKEN}"),
        failed(url=f"{ME}#access_token={TOKEN}"),
        failed(method="POST", json={"more": {"access_token": TOKEN}}),
        failed(method="POST", content=f"access_token={TOKEN}", headers={"Content-Type": "text/plain"}),
        failed_requests(),
        failed_requests(headers={"Content-Type": FORM}),
        failed_requests(headers={"Content-Type": FORM}, body=iter([b"access_token="])),
        RequestsResponse(json.dumps(FAILED)),
    ],
)
def test_a_call_without_a_token_is_about_nobodys(carrier, answer):
    assert heard(answer).token_fingerprint == ""


class Unread(httpx.BaseTransport):
    """A transport that answers before the body was read."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json=FAILED)


class Unread2(httpx2.BaseTransport):
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(400, json=FAILED)


@pytest.mark.parametrize(
    ("library", "transport"), [(httpx, Unread), (httpx2, Unread2)], ids=["httpx", "httpx2"]
)
@pytest.mark.parametrize("kind", [FORM, JSON, MULTIPART])
@pytest.mark.parametrize("more", [{}, {"Authorization": f"Bearer {TOKEN}"}], ids=["alone", "header"])
def test_a_streamed_form_is_not_read(carrier, library, transport, kind, more):
    """It may name a token, which goes before the header's: the error is about nobody's."""
    with library.Client(transport=transport()) as client:
        sent = {"Content-Type": kind, **more}
        answer = client.post(ME, content=iter([b"access_token=", b"x"]), headers=sent)
    error = heard(answer)
    assert (error.token_fingerprint, error.token_key) == ("", None)


@pytest.mark.parametrize(
    ("library", "transport"), [(httpx, Unread), (httpx2, Unread2)], ids=["httpx", "httpx2"]
)
@pytest.mark.parametrize("token", [TOKEN, PAGE_TOKEN], ids=["this", "page"])
def test_a_multipart_form_names_its_token(carrier, library, transport, token):
    with library.Client(transport=transport()) as client:
        answer = client.post(ME, data={"access_token": token}, files={"source": b"bytes"})
    assert heard(answer).token_fingerprint == proof_of(token)[:12]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"access_token": ', JSON),
        (b'{"access_token": "\\ud800"}', JSON),
        (b'--x\r\nContent-Disposition: form-data; name="access_token"\r\n\r\nEAAB\r\n--x--', MULTIPART),
        (iter([b"x"]), MULTIPART),
    ],
)
def test_a_body_that_cannot_be_read_is_about_nobodys(carrier, body, kind):
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
    error = heard(failed_requests(headers=headers, body=body))
    assert (error.token_fingerprint, error.token_key) == ("", None)


def test_a_response_that_was_made_by_hand_has_no_request(carrier):
    """As tests of applications make them."""
    assert heard(httpx.Response(400, json=FAILED)).token_fingerprint == ""
    assert raise_for_graph_error(good := httpx.Response(200, json={"id": "1"})) is good


def test_a_header_in_bytes(carrier):
    """requests takes them."""
    answer = failed_requests()
    assert answer.request is not None
    answer.request.headers = {"Authorization": b"Bearer " + TOKEN.encode()}  # type: ignore[assignment]
    assert heard(answer).token_fingerprint == fingerprint()


@pytest.mark.parametrize(
    "body", [FAILED, {"code": 400, "headers": [], "body": json.dumps(FAILED)}, {"code": 190, "message": "x"}]
)
def test_a_body_alone_is_about_this_requests_token(carrier, body):
    assert heard(body).token_fingerprint == fingerprint()


@pytest.mark.parametrize("answer", [FAILED, failed(), failed_requests()], ids=["body", "httpx", "requests"])
def test_the_token_that_is_named_counts(carrier, answer):
    assert heard(answer, token=TOKEN).token_fingerprint == fingerprint()
    assert heard(answer, token=PAGE_TOKEN).token_fingerprint == proof_of(PAGE_TOKEN)[:12]


def test_the_token_that_is_named_goes_before_the_one_that_was_carried(carrier):
    answer = failed(headers={"Authorization": f"Bearer {TOKEN}"})
    assert heard(answer, token=PAGE_TOKEN).token_fingerprint == proof_of(PAGE_TOKEN)[:12]


def test_each_request_names_its_own_token_to_a_body_alone(guard):
    for token in (TOKEN, PAGE_TOKEN):
        with entered(carrier_of("asgi", guard, token)):
            assert heard(FAILED).token_fingerprint == proof_of(token)[:12]


def test_the_digest_of_the_token_that_was_carried(carrier):
    for token in (TOKEN, PAGE_TOKEN):
        for name, answer in ways(token):
            assert heard(answer).token_key == hashlib.sha256(token.encode()).digest(), name
    for answer in (failed(), failed_requests(), FAILED, httpx.Response(400, json=FAILED)):
        assert heard(answer).token_key is None


@both_doors
@pytest.mark.parametrize("library", ["httpx", "requests"])
@pytest.mark.parametrize(("token", "is_this"), [(TOKEN, True), (PAGE_TOKEN, False)], ids=["this", "page"])
def test_what_a_thread_of_its_own_hears_is_answered_at_the_door(guard, kind, library, token, is_this):
    """There no guard is known, so the token gets no name."""
    make = failed if library == "httpx" else failed_requests
    carrier = carrier_of(kind, guard)
    error = in_a_thread(lambda: heard(make(headers={"Authorization": f"Bearer {token}"})))
    assert error.token_fingerprint == ""
    refused = refusal_of(carrier, error)
    assert (refused is not None, guard.peek(TOKEN) is None) == (is_this, is_this)


def test_outside_of_any_request_a_token_has_no_name():
    for token in (TOKEN, PAGE_TOKEN):
        answer = failed(headers={"Authorization": f"Bearer {token}"})
        assert heard(answer).token_fingerprint == ""
        assert heard(answer, token=token).token_fingerprint == ""
        assert heard(FAILED, token=token).token_fingerprint == ""
    assert heard(FAILED).token_fingerprint is None


def test_outside_of_any_request_the_guard_of_the_call_names_the_token(guard):
    answer = call("sync", lambda _: httpx.Response(400, json=FAILED), ME, GraphAuth(token=TOKEN, guard=guard))
    assert heard(answer).token_fingerprint == proof_of(TOKEN)[:12]


def test_in_a_thread_the_request_given_by_hand_names_the_token(framework_request):
    auth = GraphAuth(framework_request)
    error = in_a_thread(
        lambda: heard(call("sync", lambda _: httpx.Response(400, json=FAILED), ME, auth)),
    )
    assert error.token_fingerprint == proof_of(TOKEN)[:12]


def test_the_answer_after_a_redirect_to_another_host_is_about_nobodys(carrier):
    graph = Called(
        httpx.Response(302, headers={"Location": "https://evil.example/"}), httpx.Response(400, json=FAILED)
    )
    assert heard(call("sync", graph, ME, GraphAuth(), follow=True)).token_fingerprint == ""
