"""Limited Login through the guard: the second lane beside Graph's, with all that a guard does."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import textwrap
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from fbguard import GraphAuth, Guard, Policy, Refused, Requirement, Rule, asgi, wsgi
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.events import SessionEnded
from fbguard.heads import ScopeHead
from fbguard.sandbox import Sandbox
from fbguard.sandbox.limited_login import PATH as KEYS
from fbguard.stores.memory import MemoryStore
from fbguard.stores.sqlite import SQLiteStore
from tests.legacy.calls import ENDED, parameters
from tests.legacy.calls import post as legacy_post
from tests.support import call_wsgi, hears, http_scope, until, wait_until, wsgi_environ

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

USER = "1001"
BOTH = ("USER", "LIMITED_LOGIN")
LIMITED = Requirement(token_types=["LIMITED_LOGIN"])
EITHER = Requirement(token_types=BOTH)
OPEN = Policy(default=EITHER)


@pytest.fixture
def facebook() -> Sandbox:
    return Sandbox()


@pytest.fixture
def guard(facebook):
    with facebook.guard(limited_login=True) as guard:
        yield guard


def verdict(guard: Guard, token: str, need: Requirement = EITHER) -> tuple[int, str]:
    try:
        guard.check(token, need)
    except Refused as refused:
        return refused.status, refused.reason
    return 200, "ok"


# -- what routes ask ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("need", "expected"),
    [
        (Requirement(), (401, "limited_login")),
        (Requirement(scopes=["email"]), (401, "limited_login")),
        (Requirement(token_types=["PAGE"]), (401, "limited_login")),
        (Requirement(optional=True), (401, "limited_login")),
        (LIMITED, (200, "ok")),
        (EITHER, (200, "ok")),
        (Requirement(token_types=BOTH, optional=True), (200, "ok")),
        (Requirement(token_types=BOTH, scopes=["email"]), (200, "ok")),
        (Requirement(token_types=BOTH, scopes=["email", "public_profile"]), (200, "ok")),
        (Requirement(token_types=BOTH, scopes=["user_birthday"]), (403, "insufficient_scope")),
        (Requirement(token_types=BOTH, scopes=["pages_show_list"]), (403, "limited_login")),
        (Requirement(token_types=BOTH, scopes=["email", "pages_show_list"]), (403, "limited_login")),
        (Requirement(token_types=BOTH, scopes=["user_link", "pages_show_list"]), (403, "limited_login")),
        (Requirement(token_types=BOTH, any_scope=["pages_show_list", "email"]), (200, "ok")),
        (Requirement(token_types=BOTH, any_scope=["pages_show_list", "user_link"]),
         (403, "insufficient_scope")),
        (Requirement(token_types=BOTH, any_scope=["pages_show_list"]), (403, "limited_login")),
        (Requirement(token_types=BOTH, min_remaining=3000), (200, "ok")),
        (Requirement(token_types=BOTH, min_remaining=4000), (401, "expires_soon")),
        (Requirement(token_types=BOTH, max_login_age=100), (200, "ok")),
        (Requirement(token_types=BOTH, max_fact_age=0), (200, "ok")),
    ],
)  # fmt: skip
def test_what_a_route_asks(guard, facebook, need, expected):
    assert verdict(guard, facebook.issue_id_token(), need) == expected
    assert not [call for call in facebook.calls if "debug_token" in call.path]


def test_graphs_tokens_are_judged_as_before(guard, facebook):
    token = facebook.issue_token()
    assert verdict(guard, token, Requirement()) == verdict(guard, token) == (200, "ok")
    assert verdict(guard, token, LIMITED) == (401, "wrong_token_type")
    needs_pages = Requirement(token_types=BOTH, scopes=["pages_show_list"])
    assert verdict(guard, token, needs_pages) == (403, "insufficient_scope")


def test_the_refusals_say_what_helps(facebook):
    with facebook.guard(limited_login=True, redirect_uri="https://app.example/login") as guard:
        token = facebook.issue_id_token()
        with pytest.raises(Refused) as caught:
            guard.check(token, Requirement(scopes=["pages_show_list"]))
        refused = caught.value
        assert (refused.status, refused.relogin.action, refused.relogin.scopes) == (
            401,
            "login",
            ("pages_show_list",),
        )
        assert 'error="invalid_token"' in refused.challenge
        with pytest.raises(Refused) as caught:
            guard.check(token, Requirement(token_types=BOTH, scopes=["email", "pages_show_list"]))
        refused = caught.value
        # A new login replaces this one, so it must bring what this one had, too.
        assert refused.relogin.scopes == ("email", "pages_show_list")
        assert "scope=email%2Cpages_show_list" in refused.relogin.url
        assert refused.relogin.auth_type is None
        assert 'error="insufficient_scope"' in refused.challenge
        assert 'scope="email pages_show_list"' in refused.challenge
        body = refused.answer().body.decode()
        assert (
            '"type": "urn:fbguard:reason:limited_login"' in body or "urn:fbguard:reason:limited_login" in body
        )
        assert '"status": 403' in body or '"status":403' in body


def test_max_login_age_counts_from_the_issue(guard, facebook):
    token = facebook.issue_id_token(expires_in=100_000)
    need = Requirement(token_types=BOTH, max_login_age=600)
    assert verdict(guard, token, need) == (200, "ok")
    facebook.clock.advance(601)
    assert verdict(guard, token, need) == (401, "login_too_old")


def test_it_ends_when_it_ends(guard, facebook):
    token = facebook.issue_id_token(expires_in=100)
    assert verdict(guard, token) == (200, "ok")
    facebook.clock.advance(101)
    assert verdict(guard, token) == (401, "expired")


def test_another_apps(guard, facebook):
    assert verdict(guard, facebook.issue_id_token(app_id="999")) == (401, "wrong_app")


def test_both_colours_and_peek(guard, facebook):
    token = facebook.issue_id_token(user_id=USER)
    assert guard.peek(token) is None
    info = asyncio.run(guard.acheck(token, LIMITED))
    assert guard.check(token, LIMITED) is info
    assert guard.peek(token) is info
    assert (info.type, info.user_id, info.scopes) == ("LIMITED_LOGIN", USER, {"public_profile", "email"})
    assert info.issued_at is not None
    assert info.expires_at is not None
    assert (info.expires_at - info.issued_at).total_seconds() == 3600


def test_an_end_by_a_guard_without_the_lane_is_an_end_for_those_with_it(facebook, tmp_path):
    """A log-out service need not verify what it ends."""
    store = SQLiteStore(str(tmp_path / "store.db"))
    with (
        facebook.guard(limited_login=True, store=store) as on,
        facebook.guard(store=store) as off,
    ):
        seen, unseen = facebook.issue_id_token(), facebook.issue_id_token()
        assert verdict(on, seen) == (200, "ok")
        hears(on)
        for token in (seen, unseen):
            off.expire_session(token)
        wait_until(lambda: verdict(on, seen) == (401, "session_invalidated"))
        assert verdict(on, unseen) == (401, "session_invalidated")


def test_what_was_verified_by_other_keys_is_no_fact_for_others(facebook, tmp_path):
    other = Sandbox(app_id=facebook.app_id, app_secret=facebook.app_secret)
    store = SQLiteStore(str(tmp_path / "store.db"))
    with (
        facebook.guard(limited_login=True, store=store) as prod,
        other.guard(limited_login=True, store=store, jwks_url=f"https://keys.example{KEYS}/") as odd,
    ):
        token, mine = other.issue_id_token(), facebook.issue_id_token()
        assert verdict(odd, token) == (200, "ok")
        assert verdict(prod, token)[0] != 200
        assert verdict(odd, mine)[0] != 200
        assert verdict(prod, mine) == (200, "ok")
        prod.expire_session(mine)
        assert verdict(odd, mine)[0] == 401


def test_with_the_lane_off_nothing_is_asked(facebook):
    with facebook.guard() as guard:
        token = facebook.issue_id_token()
        assert verdict(guard, token, LIMITED) == (401, "limited_login")
        assert guard.peek(token) is None
        guard.expire_session(token)
    assert facebook.calls == ()


# -- doors --------------------------------------------------------------------------------------------------


def test_a07_every_door_takes_it_where_the_route_does(door, guard, facebook):
    behind = door(guard, policy=Policy(Rule("/open", token_types=BOTH)))
    token = facebook.issue_id_token(user_id=USER)
    for _ in range(2):  # cold, and from the cache
        answer = behind.send(token, "/open")
        assert (answer.status, answer.info.user_id, answer.info.type) == (200, USER, "LIMITED_LOGIN")
        answer = behind.send(token, "/closed")
        assert (answer.status, answer.reason, answer.ran) == (401, "limited_login", False)


@pytest.mark.parametrize("place", ["header", "query", "cookie:session", "websocket-protocol"])
def test_any_place_that_is_switched_on(facebook, place):
    token = facebook.issue_id_token()
    headers = {
        "header": [("Authorization", f"Bearer {token}")],
        "cookie:session": [
            ("Cookie", f"session={token}"),
            ("Host", "a.example"),
            ("Origin", "https://a.example"),
        ],
        "websocket-protocol": [("Sec-WebSocket-Protocol", f"bearer, {token}")],
    }.get(place, [])
    query = f"access_token={token}".encode() if place == "query" else b""
    scope = http_scope(headers=headers, query_string=query, type="websocket", subprotocols=["bearer", token])
    with facebook.guard(token_from=[place], limited_login=True) as guard:
        assert guard.sources.find(ScopeHead(scope)) == Secret(token)
    with facebook.guard(token_from=[place]) as guard:
        assert guard.sources.find(ScopeHead(scope)) == Finding("limited_login")


def test_a_websocket_is_closed_when_it_ends(guard, facebook):
    token = facebook.issue_id_token()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async def main() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        incoming.put_nowait({"type": "websocket.connect"})
        scope = http_scope(headers=[("Authorization", f"Bearer {token}")], type="websocket", subprotocols=[])

        async def send(message: Any) -> None:
            sent.append(message)

        serving = asyncio.create_task(
            asgi.FBTokenMiddleware(app, guard, policy=OPEN)(scope, incoming.get, send)
        )
        await until(lambda: sent)
        await guard.aexpire_session(token)
        await serving
        return sent

    sent = asyncio.run(main())
    assert sent[-1] == {"type": "websocket.close", "code": 1008, "reason": "session_invalidated"}


# -- sessions that end --------------------------------------------------------------------------------------


def test_expire_session(facebook):
    told: list[object] = []
    with facebook.guard(limited_login=True, on_event=told.append) as guard:
        token, other = (facebook.issue_id_token(user_id=USER) for _ in range(2))
        assert verdict(guard, token) == (200, "ok")
        guard.expire_session(token)
        assert verdict(guard, token) == (401, "session_invalidated")
        assert verdict(guard, other) == (200, "ok")
        assert any(isinstance(one, SessionEnded) for one in told)


def test_an_end_before_the_token_was_ever_seen(guard, facebook):
    token = facebook.issue_id_token()
    guard.expire_session(token)
    assert verdict(guard, token) == (401, "session_invalidated")


def test_forget_user_has_it_verified_anew(facebook):
    with facebook.guard(limited_login=True, ttl=10_000) as guard:
        token = facebook.issue_id_token(user_id=USER, expires_in=20_000)
        assert verdict(guard, token) == (200, "ok")
        facebook.rotate_signing_keys(keep_old=False)
        facebook.clock.advance(4000)
        assert verdict(guard, token) == (200, "ok")  # from the cache
        guard.forget_user(USER)
        assert verdict(guard, token) == (401, "invalid_token")  # by the keys of now


def test_a_deauthorize_callback_refuses_what_was_issued_before(guard, facebook):
    token = facebook.issue_id_token(user_id=USER)
    other = facebook.issue_id_token(user_id="1002")
    assert verdict(guard, token) == (200, "ok")
    facebook.clock.advance(5)
    body = urlencode({"signed_request": facebook.signed_request(USER)}).encode()
    environ = wsgi_environ("/deauthorize", "POST", CONTENT_TYPE="application/x-www-form-urlencoded")
    environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    assert call_wsgi(guard.callbacks_wsgi(), environ).status == 200
    assert verdict(guard, token) == (401, "not_authorized")
    assert verdict(guard, other) == (200, "ok")
    facebook.clock.advance(5)
    assert verdict(guard, facebook.issue_id_token(user_id=USER)) == (200, "ok")


def test_graph_cannot_end_it(guard, facebook):
    """It is refused here all the same, and the caller learns that Facebook was not asked."""
    token = facebook.issue_id_token()
    assert verdict(guard, token) == (200, "ok")
    asked = len(facebook.calls)
    with pytest.raises(Refused) as caught:
        guard.expire_session(token, upstream="revoke")
    assert caught.value.reason == "limited_login"
    assert len(facebook.calls) == asked
    assert verdict(guard, token) == (401, "session_invalidated")


def test_it_is_its_own_session_key_for_a_legacy_client(guard, facebook):
    token = facebook.issue_id_token()
    assert verdict(guard, token) == (200, "ok")
    sent = parameters(facebook.app_secret, api_key=facebook.app_id, session_key=token)
    body = legacy_post(sent).body
    environ = wsgi_environ("/restserver.php", "POST", CONTENT_TYPE="application/x-www-form-urlencoded")
    environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
    assert call_wsgi(guard.callbacks_wsgi(), environ).body.decode() == ENDED
    assert verdict(guard, token) == (401, "session_invalidated")


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_shared_store_spares_the_others_the_keys(facebook, kind, tmp_path):
    store = MemoryStore() if kind == "memory" else SQLiteStore(str(tmp_path / "store.db"))
    with (
        facebook.guard(limited_login=True, store=store) as one,
        facebook.guard(limited_login=True, store=store) as two,
        facebook.guard(store=store) as off,
    ):
        token = facebook.issue_id_token(user_id=USER)
        assert verdict(one, token) == (200, "ok")
        assert verdict(two, token) == (200, "ok")
        assert len(facebook.calls) == 1
        hears(one, two)
        assert verdict(off, token) == (401, "limited_login")
        two.expire_session(token)
        assert verdict(one, token) == verdict(two, token) == (401, "session_invalidated")


def test_unknown_tokens_are_counted(facebook):
    with facebook.guard(limited_login=True, miss_limit=(3, 60.0)) as guard:

        def app(_environ: Any, start_response: Any) -> list[bytes]:
            start_response("200 OK", [])
            return [b""]

        behind = wsgi.FBTokenMiddleware(app, guard, policy=OPEN)
        answers = [
            call_wsgi(
                behind, wsgi_environ(headers=[("Authorization", f"Bearer {token}")], REMOTE_ADDR="192.0.2.1")
            )
            for token in (facebook.issue_id_token() for _ in range(5))
        ]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]


def test_a_door_for_such_tokens_only_needs_the_lane(facebook):
    needed = Policy(Rule("/app", token_types=["LIMITED_LOGIN"]))
    with facebook.guard() as guard:
        for door in (asgi.FBTokenMiddleware, wsgi.FBTokenMiddleware):
            with pytest.raises(ValueError, match="limited_login=True"):
                door(None, guard, policy=needed)  # type: ignore[arg-type]
            with pytest.raises(ValueError, match="limited_login=True"):
                door(None, guard, policy=Policy(default=LIMITED))  # type: ignore[arg-type]
            door(None, guard, policy=OPEN)  # type: ignore[arg-type]
            anybody = Policy(Rule("/app", token_types=["LIMITED_LOGIN"], optional=True))
            door(None, guard, policy=anybody)  # type: ignore[arg-type]
    with facebook.guard(limited_login=True) as guard:
        wsgi.FBTokenMiddleware(None, guard, policy=needed)  # type: ignore[arg-type]


# -- calling Graph ------------------------------------------------------------------------------------------


def test_a_view_that_calls_graph_is_told_that_it_needs_another_token(guard, facebook):
    def app(_environ: Any, start_response: Any) -> list[bytes]:
        with httpx.Client(transport=facebook.transport) as client:
            client.get("https://graph.facebook.com/v26.0/me", auth=GraphAuth())
        start_response("200 OK", [])
        return [b"never"]

    behind = wsgi.FBTokenMiddleware(app, guard, policy=OPEN)
    token = facebook.issue_id_token()
    answer = call_wsgi(behind, wsgi_environ(headers=[("Authorization", f"Bearer {token}")]))
    assert (answer.status, answer.reason) == (401, "limited_login")
    assert not [call for call in facebook.calls if call.path.endswith("/me")]
    assert guard.peek(token) is not None  # nothing was said about it
    answer = call_wsgi(behind, wsgi_environ(headers=[("Authorization", f"Bearer {facebook.issue_token()}")]))
    assert answer.status == 200


def test_graph_auth_takes_none_by_hand(guard, facebook):
    with pytest.raises(ValueError, match="ID token"):
        GraphAuth(token=facebook.issue_id_token(), guard=guard)


def test_other_calls_of_such_a_view_go_out_as_they_are(guard, facebook):
    seen: list[httpx.Request] = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    def app(_environ: Any, start_response: Any) -> list[bytes]:
        with httpx.Client(transport=httpx.MockTransport(elsewhere)) as client:
            client.get("https://example.com/", auth=GraphAuth())
        start_response("200 OK", [])
        return [b""]

    behind = wsgi.FBTokenMiddleware(app, guard, policy=OPEN)
    token = facebook.issue_id_token()
    assert call_wsgi(behind, wsgi_environ(headers=[("Authorization", f"Bearer {token}")])).status == 200
    assert "authorization" not in seen[0].headers


# -- configuration ------------------------------------------------------------------------------------------


def test_where_the_keys_are_may_be_in_the_environment(facebook, monkeypatch):
    with facebook.serve() as url:
        monkeypatch.setenv("FBGUARD_APP_ID", facebook.app_id)
        monkeypatch.setenv("FBGUARD_APP_SECRET", facebook.app_secret)
        monkeypatch.setenv("FBGUARD_JWKS_URL", f"{url}/.well-known/oauth/openid/jwks/")
        with Guard.from_env(limited_login=True) as guard:
            assert verdict(guard, facebook.issue_id_token()) == (200, "ok")
        with Guard.from_env() as guard:
            assert verdict(guard, facebook.issue_id_token()) == (401, "limited_login")


def test_a_mapping(facebook):
    settings = {"app_id": facebook.app_id, "app_secret": facebook.app_secret, "limited_login": True}
    with Guard.from_mapping({**settings, "transport": facebook.transport}) as guard:
        assert verdict(guard, facebook.issue_id_token()) == (200, "ok")


WITHOUT = """
import sys
sys.modules["joserfc"] = None  # as if it were not installed
from fbguard.sandbox import Sandbox
from fbguard.sandbox.limited_login import PATH as KEYS
from tests.support import make_guard
make_guard().close()  # who has no lane needs none of it
for make in (lambda: make_guard(limited_login=True), Sandbox().issue_id_token):
    try:
        make()
    except ImportError as error:
        print(error)
print(Sandbox().issue_token()[:3])
"""


def test_without_the_library_the_lane_is_refused_at_construction():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(WITHOUT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "limited_login needs joserfc: pip install 'fbguard[jwt]'",
        "ID tokens need joserfc: pip install 'fbguard[jwt]'",
        "EAA",
    ]


def test_who_has_no_lane_does_not_import_it():
    code = "import sys, tests.support; tests.support.make_guard().close(); print('joserfc' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"
