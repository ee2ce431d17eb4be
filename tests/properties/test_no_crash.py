"""No crash: whatever bytes come in, one of our answers goes out, and nothing malformed reaches Graph."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fbguard import Policy, Rule, asgi, wsgi
from tests import oracle
from tests.properties import strategies as nasty
from tests.properties.harness import World, asgi_app, new_token, wsgi_app
from tests.support import TOKEN, Reply, call_asgi, call_wsgi, http_scope, valid, wsgi_environ

ALLOWED = {200, 204, 400, 401, 403, 503}
POLICY = Policy(
    Rule("/public", public=True),
    Rule("/open", optional=True),
    Rule("/public/{name}/edit", methods=["POST"], scopes=["email"]),
    Rule("/pages/{page_id}", scopes=["pages_show_list"], target="page_id"),
    Rule("/files/{rest:path}", any_scope=["email", "pages_show_list"]),
    preflight=True,
)

SEGMENTS = st.sampled_from([
    "public", "PUBLIC", "publi", "publicity", "open", "pages", "files", "edit", "111", "", ".", "..",
    "...", " ",
    "%2e", "%2f", "a;b", "a\\b", "\x00", "\n", "\x7f", "\x85", "\ufffd", "\u200b", "\uff0e\uff0e",
    "p\u00fcblic",
])  # fmt: skip
paths = st.one_of(
    st.lists(SEGMENTS, max_size=5).map(lambda parts: "/" + "/".join(parts)),
    st.lists(SEGMENTS, max_size=3).map("/".join),
    st.text(max_size=12).map(lambda text: f"/{text}"),
    st.sampled_from(["/public", "/public/", "/publicity", "/public/x", "/public/x/edit", "/open", "/", ""]),
)
methods = st.sampled_from(["GET", "HEAD", "POST", "OPTIONS", "DELETE", "TRACE", "get", "FOO", "PROPFIND"])
names = st.sampled_from([
    "authorization", "cookie", "origin", "access-control-request-method", "accept", "accept-language", "host",
    "sec-fetch-site", "x-forwarded-for", "x-fb-user-id", "x-original-url", "content-length",
])  # fmt: skip
headers = st.lists(st.tuples(names, nasty.header_text | nasty.tokens.map("Bearer {}".format)), max_size=5)
queries = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"access_token=x", b"access_token=x&access_token=y", b"access_token[]=x", b"%", b"&" * 2000]
    ),
)
SOURCES = [("header",), ("header", "query", "cookie:fb", "websocket-protocol")]


def is_plain(path: str) -> bool:
    """Section 2 of the design, again in other words: may guard and router read this path in one way?"""
    if path == "":
        return True
    inner = path.removesuffix("/").split("/")[1:]
    odd = any(
        c in ";\\\ufffd" or ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in path
    )
    return path.startswith("/") and not odd and (path == "/" or not {"", ".", ".."} & set(inner))


@pytest.fixture(scope="module", params=SOURCES, ids=["header", "everywhere"])
def behind(request):
    """Give ``send(door, scope or environ) -> answer, ran`` over one guard, and its world."""
    ran: list[bool] = []
    with World(token_from=request.param) as world:
        doors = {
            "asgi": asgi.FBTokenMiddleware(asgi_app(lambda: ran.append(True)), world.guard, policy=POLICY),
            "wsgi": wsgi.FBTokenMiddleware(wsgi_app(lambda: ran.append(True)), world.guard, policy=POLICY),
        }

        def send(door, path, method, pairs, query=b""):
            ran.clear()
            if door == "asgi":
                scope = http_scope("/", method, pairs) | {"path": path, "query_string": query}
                return world.run(call_asgi(doors[door], scope)), bool(ran)
            environ = wsgi_environ(path, method, pairs, QUERY_STRING=query.decode("latin-1"))
            return call_wsgi(doors[door], environ), bool(ran)

        world.send_raw = send
        yield world


def utf8(path: str) -> str:
    """Return what a server hands to an ASGI app that a WSGI app could be handed as well."""
    return path.encode("utf-8", "replace").decode()


@given(path=paths, method=methods, pairs=headers, query=queries)
def test_any_request(behind, path, method, pairs, query):
    values = [value for name, value in pairs if name == "authorization"]
    calls = len(behind.graph.calls)
    got = {}
    for door in ("asgi", "wsgi"):
        answer, ran = behind.send_raw(door, utf8(path), method, pairs, query)
        got[door] = (answer.status, ran)
        assert answer.status in ALLOWED
        assert (
            answer.status in {200, 204} or not ran or answer.status == 401
        )  # a preflight may be refused after
        if not is_plain(utf8(path)):
            assert (answer.status, ran) == (400, False)
            assert len(behind.graph.calls) == calls
    if [name for name, _ in pairs if name != "authorization"].count("cookie") < 2:
        assert got["asgi"] == got["wsgi"]
    if behind.guard.sources.header_only and not isinstance(oracle.credential(values), str):
        assert len(behind.graph.calls) == calls


@given(path=st.binary(max_size=12))
def test_any_path_bytes(behind, path):
    """What cannot be decoded is refused: PEP 3333 hands it on, ASGI servers replace it."""
    decoded = (b"/" + path).decode("utf-8", "surrogateescape")
    right = is_plain(decoded)
    for door in ("asgi", "wsgi"):
        answer, ran = behind.send_raw(door, decoded, "GET", [("authorization", f"Bearer {TOKEN}")])
        assert answer.status == 400 if not right else answer.status in ALLOWED
        assert right or not ran


@given(
    body=st.binary(max_size=200) | nasty.bodies,
    status=st.integers(200, 599),
    way=st.sampled_from(["asgi", "wsgi"]),
)
def test_any_reply(behind, body, status, way):
    token = new_token()
    behind.tell(token, Reply(body, status))
    answer, ran = behind.send_raw(way, "/", "GET", [("authorization", f"Bearer {token}")])
    assert answer.status in {200, 401, 503}
    assert ran == (answer.status == 200)
    again, _ = behind.send_raw(way, "/", "GET", [("authorization", f"Bearer {TOKEN}")])
    assert again.status == 200, "the next request suffers"


@given(path=paths, method=methods, token=st.booleans(), way=st.sampled_from(["asgi", "wsgi"]))
def test_only_what_a_rule_opens_is_open(behind, path, method, token, way):
    """Without a good token a view runs on the public and the optional path, and nowhere beside them."""
    path = utf8(path)
    pairs = [("authorization", "Bearer dead.token")] if token else []
    behind.tell("dead.token", valid(is_valid=False))
    answer, ran = behind.send_raw(way, path, method, pairs)
    open_to_it = {"/public"} if token else {"/public", "/open"}
    is_open = path.removesuffix("/") in open_to_it and path.startswith("/")
    assert ran == is_open, (answer.status, path)
