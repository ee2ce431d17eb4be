"""Ending sessions through the guard: both colours, Graph's part of it, and what is mounted."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import time
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from fbguard import Guard, OAuthException, Refused
from fbguard.core import background
from fbguard.core.secret import Secret
from fbguard.sandbox import Sandbox
from fbguard.stores.memory import MemoryStore
from tests.legacy.calls import ENDED, FORM, parameters
from tests.legacy.calls import post as legacy_post
from tests.revocation.calls import FORM as FORM_HEADER
from tests.revocation.calls import HOST, JSON, event_body, form, hub_signature, send
from tests.support import (
    APP_ID,
    NOW,
    PATIENCE,
    SECRET,
    TOKEN,
    Gate,
    Reply,
    call_wsgi,
    envelope,
    http_scope,
    make_guard,
    wsgi_environ,
)

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

USER = "1001"


class Facebook(httpx.AsyncBaseTransport):
    """Answers DELETE as it is told; about every token it says that it is valid."""

    def __init__(self) -> None:
        self.reply: Reply | BaseException = Reply(b'{"success":true}')
        self.deletes: list[httpx.Request] = []
        self.gate = Gate()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "DELETE":
            data = {"app_id": APP_ID, "type": "USER", "is_valid": True, "user_id": USER, "scopes": []}
            data["expires_at"] = NOW + 3600
            return httpx.Response(200, json={"data": data}, request=request)
        self.deletes.append(request)
        await self.gate.passed()
        if isinstance(self.reply, BaseException):
            raise self.reply
        return httpx.Response(
            self.reply.status,
            headers=list(self.reply.headers),
            stream=httpx.ByteStream(self.reply.body),
            request=request,
        )


@pytest.fixture
def facebook():
    return Facebook()


@pytest.fixture
def guard(facebook, clock):
    with make_guard(facebook, clock) as guard:
        yield guard


@pytest.fixture(params=["expire_session", "aexpire_session"])
def expire(request, guard) -> Callable[..., None]:
    if request.param == "expire_session":
        return guard.expire_session

    def run(*args: Any, **options: Any) -> None:
        async def main() -> None:
            try:
                await guard.aexpire_session(*args, **options)
            finally:
                await guard.aclose_here()

        asyncio.run(main())

    return run


def reason(guard: Guard, token: str) -> str:
    try:
        guard.check(token)
    except Refused as refused:
        return refused.reason
    return "ok"


def is_over(guard: Guard, token: str = TOKEN) -> bool:
    said = reason(guard, token)
    assert said in {"ok", "session_invalidated"}
    return said != "ok"


def test_a_session_ends(guard, facebook, expire):
    assert not is_over(guard)
    assert expire(TOKEN) is None
    assert is_over(guard)
    expire(TOKEN)
    assert is_over(guard)
    assert facebook.deletes == []


def test_expire_session_may_be_called_on_a_running_loop(guard):
    async def main() -> None:
        guard.expire_session(TOKEN)
        with pytest.raises(Refused, match="session_invalidated"):
            await guard.acheck(TOKEN)

    asyncio.run(main())
    assert is_over(guard)


# -- at Facebook, too ------------------------------------------------------------------------


@pytest.mark.parametrize("body", [b'{"success":true}', b"true"])
@pytest.mark.parametrize("known", [True, False])
def test_the_permissions_are_taken_away(guard, facebook, expire, body, known):
    facebook.reply = Reply(body)
    if known:
        guard.check(TOKEN)
    expire(TOKEN, upstream="revoke")
    assert is_over(guard)
    (request,) = facebook.deletes
    assert request.url.path == f"/v26.0/{USER if known else 'me'}/permissions"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert "appsecret_proof" in request.url.params
    assert TOKEN not in str(request.url)


GRAPH_SAYS = {
    "dead token": (envelope(190, 460), 190, 460),
    "throttled": (envelope(4, status=403), 4, None),
    "no permission": (envelope(200, status=403), 200, None),
    "an error and 200": (envelope(10, status=200), 10, None),
}


@pytest.mark.parametrize("case", GRAPH_SAYS)
def test_what_graph_says_is_raised_and_the_session_is_over_here(guard, facebook, expire, case):
    facebook.reply, code, subcode = GRAPH_SAYS[case]
    with pytest.raises(OAuthException) as caught:
        expire(TOKEN, upstream="revoke")
    assert (caught.value.code, caught.value.subcode) == (code, subcode)
    assert is_over(guard)


NO_ANSWER = {
    "500": Reply(b"", 500),
    "garbage": Reply(b"{"),
    "false": Reply(b"false"),
    "success false": Reply(b'{"success":false}'),
    "1": Reply(b"1"),
    "success 1": Reply(b'{"success":1}'),
    "success and more": Reply(b'{"success":true,"later":1}'),
    "null": Reply(b"null"),
    "empty": Reply(b""),
    "deep": Reply(b"[" * 50_000),
    "too long": Reply(b'{"success":true}' + b" " * 70_000),
    "elsewhere": Reply(b"true", 302, (("Location", "https://elsewhere.example/"),)),
    "created": Reply(b"true", 201),
    "no network": httpx.ReadError("reset"),
    "bug": RuntimeError("boom"),
}


@pytest.mark.parametrize("case", NO_ANSWER)
def test_no_answer_is_503_and_the_session_is_over_here(guard, facebook, expire, case):
    facebook.reply = NO_ANSWER[case]
    with pytest.raises(Refused) as caught:
        expire(TOKEN, upstream="revoke")
    assert (caught.value.status, caught.value.reason) == (503, "unavailable")
    assert is_over(guard)


def test_a_graph_that_never_answers(facebook, clock):
    with make_guard(facebook, clock, deadline=0.2) as guard:
        facebook.gate.shut()
        start = time.monotonic()
        for call in (guard.expire_session, lambda *a, **o: asyncio.run(guard.aexpire_session(*a, **o))):
            with pytest.raises(Refused) as caught:
                call(TOKEN, upstream="revoke")
            assert caught.value.status == 503
        assert time.monotonic() - start < PATIENCE
        assert is_over(guard)
        facebook.gate.open()


def test_the_effect_here_does_not_wait_for_facebook(guard, facebook):
    async def main() -> None:
        await guard.acheck(TOKEN)
        facebook.gate.shut()
        task = asyncio.create_task(guard.aexpire_session(TOKEN, upstream="revoke"))
        await asyncio.sleep(0)
        with pytest.raises(Refused, match="session_invalidated"):
            await guard.acheck(TOKEN)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        facebook.gate.open()
        await guard.aclose_here()

    asyncio.run(main())
    assert is_over(guard)


@pytest.mark.parametrize("fault", [RuntimeError("boom"), None])
def test_a_revoke_that_failed_leaves_no_slot_behind(facebook, clock, fault):
    with make_guard(facebook, clock, max_in_flight=1, deadline=0.1) as guard:
        if fault is None:
            facebook.gate.shut()
        else:
            facebook.reply = fault
        for _ in range(3):
            with pytest.raises(Refused):
                guard.expire_session(TOKEN, upstream="revoke")
        facebook.gate.open()
        facebook.reply = Reply(b"true")
        assert guard.check("EAAother").user_id == USER
        assert guard.health().in_flight == 0


# -- wrong arguments, secrets ------------------------------------------------------------------------


class Text(str):
    """A str is a str."""

    __slots__ = ()


@pytest.mark.parametrize("token", [None, b"EAA", 5, ["EAA"], object()])
def test_a_token_is_a_str(guard, expire, token):
    with pytest.raises(TypeError, match="token must be a str"):
        expire(token)
    with pytest.raises(TypeError, match="token must be a str"):
        guard.register_session(token, "key")


def test_a_subclass_of_str_is_one(guard, expire):
    expire(Text(TOKEN))
    assert is_over(guard)


@pytest.mark.parametrize("upstream", ["Revoke", "", "yes", True, False, 0, ["revoke"], {}])
def test_upstream_is_revoke_or_nothing_and_nothing_happens(guard, facebook, expire, upstream):
    with pytest.raises((ValueError, TypeError)):
        expire(TOKEN, upstream=upstream)
    assert not is_over(guard)
    assert facebook.deletes == []


@pytest.mark.parametrize("user", [None, 1001, b"1001"])
def test_a_user_id_is_a_str(guard, user):
    with pytest.raises(TypeError, match="user_id must be a str"):
        guard.forget_user(user)
    with pytest.raises(TypeError, match="user_id must be a str"):
        asyncio.run(guard.aforget_user(user))


@pytest.mark.parametrize("user", ["", "nobody", "1" * 10_000, "ü", "\n"])
def test_a_user_nobody_knows_is_forgotten_in_vain(guard, user):
    guard.check(TOKEN)
    guard.forget_user(user)
    asyncio.run(guard.aforget_user(user))
    assert guard.peek(TOKEN) is not None


@pytest.mark.parametrize("token", ["", " ", "EAA\nx", "ü", "x" * 10_000, "eyJ.a.b"])
def test_what_no_request_can_carry_is_ended_in_vain(guard, expire, token):
    expire(token)
    assert not is_over(guard)


@pytest.mark.parametrize("arguments", [
    (5, "key"), (TOKEN, 5), (TOKEN, None), (TOKEN, "key", 5), (TOKEN, b"key"), (TOKEN, "key", b"secret"),
])  # fmt: skip
def test_registering_takes_texts(guard, arguments):
    with pytest.raises(TypeError, match="must be a str"):
        guard.register_session(*arguments)


@pytest.mark.parametrize("arguments", [
    (TOKEN, ""), (TOKEN, "a b"), (TOKEN, "a=b"), (TOKEN, "x" * 257), (TOKEN, "ü"), (TOKEN, "\ud800"),
    ("", "key"), (TOKEN, "key", ""), (TOKEN, "key", "a b"), (TOKEN, "key", "ü"),
])  # fmt: skip
def test_registering_refuses_what_no_client_can_sign(guard, arguments):
    with pytest.raises(ValueError, match="must"):
        guard.register_session(*arguments)
    assert len(guard._registry) == 0


def _frames(exc: BaseException) -> str:
    """Return what an error page shows: the traceback, with the local variables of our frames."""
    shown = traceback.TracebackException.from_exception(exc, capture_locals=True)
    ours = [frame for frame in shown.stack if f"{os.sep}fbguard{os.sep}" in frame.filename]
    text = "\n".join(f"{frame.name} {frame.locals}" for frame in ours)
    chain = "".join(repr(one) for one in (exc, exc.__cause__, exc.__context__))
    return f"{text}\n{chain}\n{vars(exc)}\n{exc.args}"


WRONG: dict[str, Callable[[Guard], object]] = {
    "graph error": lambda guard: guard.expire_session(TOKEN, upstream="revoke"),
    "upstream": lambda guard: guard.expire_session(TOKEN, upstream="no"),  # type: ignore[arg-type]
    "key": lambda guard: guard.register_session(TOKEN, f"{TOKEN} {SECRET}", SECRET),
    "secret": lambda guard: guard.register_session(TOKEN, "key", f"{SECRET} {TOKEN}"),
    "bytes": lambda guard: guard.register_session(TOKEN, TOKEN.encode()),  # type: ignore[arg-type]
    "no UTF-8": lambda guard: guard.expire_session(f"{TOKEN}\ud800"),  # its own error holds the text
    "callbacks": lambda guard: guard.callbacks_asgi(SECRET, status_url=5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("reply", [envelope(190, 460), httpx.ReadError("x")])
def test_no_secret_comes_out(guard, facebook, caplog, case, reply):
    facebook.reply = reply
    with caplog.at_level(logging.DEBUG):
        try:
            WRONG[case](guard)
        except Exception as exc:
            shown = _frames(exc)
        else:
            shown = ""
    log = "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in caplog.records)
    for secret in (TOKEN, SECRET):
        assert secret not in shown
        assert secret not in log
    assert all(secret not in repr(guard) + repr(vars(guard)) for secret in (TOKEN, SECRET))


# -- a guard that is closed --------------------------------------------------------------

ENDS: dict[str, Callable[[Guard], Any]] = {
    "expire_session": lambda guard: guard.expire_session(TOKEN),
    "expire_session of no token": lambda guard: guard.expire_session("no token"),
    "expire_session at Facebook": lambda guard: guard.expire_session(TOKEN, upstream="revoke"),
    "aexpire_session": lambda guard: asyncio.run(guard.aexpire_session(TOKEN)),
    "aexpire_session at Facebook": lambda guard: asyncio.run(guard.aexpire_session(TOKEN, upstream="revoke")),
    "forget_user": lambda guard: guard.forget_user(USER),
    "aforget_user": lambda guard: asyncio.run(guard.aforget_user(USER)),
}


class Watched:
    """A store of one space, which notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._space = MemoryStore().space("one")

    def space(self, _namespace: str) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return getattr(self._space, name)


@pytest.fixture
def watched():
    return Watched()


@pytest.fixture
def closed(facebook, clock, watched):
    guard = make_guard(facebook, clock, store=watched)
    guard.check(TOKEN)
    guard.close()
    watched.asked.clear()
    return guard


@pytest.mark.parametrize("how", ENDS)
def test_a_closed_guard_ends_nothing_and_opens_nothing(closed, facebook, watched, how):
    with pytest.raises(RuntimeError, match="this guard is closed"):
        ENDS[how](closed)
    assert watched.asked == facebook.deletes == []


def test_a_closed_guard_still_names_what_is_wrong(closed):
    for work in (lambda: closed.expire_session(5), lambda: closed.forget_user(5)):
        with pytest.raises(TypeError):
            work()
    with pytest.raises(ValueError, match="upstream"):
        closed.expire_session(TOKEN, upstream="x")


def test_what_a_request_finds_out_while_the_guard_closes_opens_nothing(closed, watched):
    closed.forget(Secret(TOKEN))
    background.submit(asyncio.sleep(0)).result(PATIENCE)  # behind what was submitted
    assert watched.asked == []


# -- mounted ------------------------------------------------------------------------

Call = Callable[..., Any]


@pytest.fixture
def sandbox():
    return Sandbox()


@pytest.fixture
def wired(sandbox):
    with Guard(
        app_id=sandbox.app_id,
        app_secret=sandbox.app_secret,
        transport=sandbox.transport,
        clock=sandbox.clock,
    ) as guard:
        yield guard


@pytest.fixture(params=["asgi", "wsgi"])
def mounted(request, wired) -> Call:
    """Give ``post(path, body, *headers)`` to the callbacks of a guard, in one of the two protocols."""
    deleted: list[tuple[str, str]] = []
    app: Any = getattr(wired, f"callbacks_{request.param}")(
        "verify", delete=lambda user, code: deleted.append((user, code))
    )

    def post(path: str, body: bytes, *headers: tuple[str, str]) -> Any:
        if request.param == "asgi":
            scope = http_scope(path, "POST", headers)
            return asyncio.run(send(app, scope, [{"type": "http.request", "body": body}]))
        environ = wsgi_environ(
            path,
            "POST",
            [pair for pair in headers if pair[0] != "content-type"],
            CONTENT_TYPE=dict(headers)["content-type"],
            CONTENT_LENGTH=str(len(body)),
            **{"wsgi.input": io.BytesIO(body)},
        )
        return call_wsgi(app, environ)

    post.deleted = deleted  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    return post


@pytest.mark.parametrize("path", ["/deauthorize", "/data-deletion"])
def test_facebook_says_that_a_user_is_gone(wired, sandbox, mounted, path):
    """Graph lags: it calls the token valid all the while."""
    token, other = sandbox.issue_token(user_id=USER), sandbox.issue_token(user_id="2002")
    assert [reason(wired, one) for one in (token, other)] == ["ok", "ok"]
    sandbox.clock.advance(5)
    wrong = form(secret="0" * 32, issued_at=int(sandbox.clock.time()))
    assert mounted(path, wrong, FORM_HEADER, HOST).status == 403
    assert reason(wired, token) == "ok"
    right = form(secret=sandbox.app_secret, issued_at=int(sandbox.clock.time()), user_id=USER)
    said = mounted(path, right, FORM_HEADER, HOST)
    assert said.status == 200
    assert [reason(wired, one) for one in (token, other)] == ["not_authorized", "ok"]
    sandbox.clock.advance(1)
    again = sandbox.issue_token(user_id=USER)
    assert mounted(path, right, FORM_HEADER, HOST).status == 200
    assert [reason(wired, one) for one in (token, again)] == ["not_authorized", "ok"]
    if path == "/data-deletion":
        code = said.json["confirmation_code"]
        assert said.json["url"].endswith(f"/data-deletion/{code}")
        assert set(mounted.deleted) == {(USER, code)}


def test_facebook_says_that_permissions_have_changed(wired, sandbox, mounted):
    token = sandbox.issue_token(user_id=USER)
    assert reason(wired, token) == "ok"
    sandbox.remove_app(USER)
    assert reason(wired, token) == "ok"  # remembered
    body = event_body(USER)
    for secret, status, expected in (("0" * 32, 403, "ok"), (sandbox.app_secret, 200, "not_authorized")):
        signed = ("x-hub-signature-256", hub_signature(body, secret))
        assert mounted("/webhook", body, JSON, signed).status == status
        assert (reason(wired, token) == "ok") == (expected == "ok")


def test_a_legacy_client_ends_a_registered_session(wired, sandbox, mounted):
    token = sandbox.issue_token(user_id=USER)
    wired.register_session(token, "legacy-key-1", "its0secret")
    assert reason(wired, token) == "ok"
    sent = parameters("0" * 32, api_key=sandbox.app_id, session_key="legacy-key-1")
    answer = mounted("/restserver.php", legacy_post(sent).body, *FORM.items())
    assert (answer.status, answer.body.decode() == ENDED, reason(wired, token)) == (200, False, "ok")
    sent = parameters("its0secret", api_key=sandbox.app_id, session_key="legacy-key-1", ss="1")
    answer = mounted("/restserver.php", legacy_post(sent).body, *FORM.items())
    assert answer.body.decode() == ENDED
    assert reason(wired, token) == "session_invalidated"


def test_callbacks_of_a_closed_guard_are_to_come_again(wired, sandbox, mounted, caplog):
    token = sandbox.issue_token(user_id=USER)
    wired.register_session(sandbox.issue_token(), "legacy-key-1")
    wired.close()
    asked = len(sandbox.calls)
    gone = form(secret=sandbox.app_secret, issued_at=int(sandbox.clock.time()), user_id=USER)
    assert mounted("/deauthorize", gone, FORM_HEADER, HOST).status == 503
    signed = ("x-hub-signature-256", hub_signature(event_body(USER), sandbox.app_secret))
    assert mounted("/webhook", event_body(USER), JSON, signed).status == 503
    for key, code in (("legacy-key-1", 1), (token, 2)):
        sent = parameters(sandbox.app_secret, api_key=sandbox.app_id, session_key=key)
        answer = mounted("/restserver.php", legacy_post(sent).body, *FORM.items())
        assert f"<error_code>{code}</error_code>" in answer.body.decode()
    assert len(sandbox.calls) == asked


def test_a_token_is_its_own_session_key(wired, sandbox, mounted):
    token = sandbox.issue_token(user_id=USER)
    assert reason(wired, token) == "ok"
    sent = parameters(sandbox.app_secret, api_key=sandbox.app_id, session_key=token)
    assert mounted("/restserver.php", legacy_post(sent).body, *FORM.items()).body.decode() == ENDED
    assert reason(wired, token) == "session_invalidated"


def test_expiring_at_facebook_ends_every_token_there(wired, sandbox):
    token, second = (sandbox.issue_token(user_id=USER) for _ in range(2))
    assert [reason(wired, one) for one in (token, second)] == ["ok", "ok"]
    wired.expire_session(token, upstream="revoke")
    wired.forget_user(USER)
    assert reason(wired, token) == "session_invalidated"
    assert reason(wired, second) == "not_authorized"
    calls = [(call.method, call.path) for call in sandbox.calls]
    assert calls.count(("DELETE", f"/v26.0/{USER}/permissions")) == 1


@pytest.mark.parametrize("colour", ["callbacks_asgi", "callbacks_wsgi"])
def test_mounting_names_a_wrong_option(wired, colour):
    mount = getattr(wired, colour)
    for options, name in (
        ({"verify_token": 5}, "verify_token"),
        ({"delete": 5}, "delete"),
        ({"status_url": 5}, "status_url"),
    ):
        with pytest.raises((TypeError, ValueError), match=name):
            mount(**options)


def test_a_revoke_that_is_not_answered_counts_as_any_other_call():
    sandbox = Sandbox()
    with sandbox.guard() as guard:
        tokens = [sandbox.issue_token(user_id=str(number + 1)) for number in range(40)]
        for token in tokens:
            guard.check(token)
        asked = len(sandbox.calls)
        sandbox.throttle(4)
        for token in tokens:
            with pytest.raises((Refused, OAuthException)):
                guard.expire_session(token, upstream="revoke")
        assert len(sandbox.calls) - asked < 5
