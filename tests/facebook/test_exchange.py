"""A code of the login dialog, exchanged by a guard: what goes out, what shows it, and whose fault it is."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, quote, quote_plus, urlsplit

import httpx
import pytest

from fbguard import Guard, Refused
from fbguard.core import background
from fbguard.core.breaker import FAILURES
from fbguard.core.governor import FULL
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.facebook import transport
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.facebook.graph import MAX_REPLY
from fbguard.facebook.login import dialog_url
from fbguard.heads import ScopeHead
from fbguard.sandbox import Sandbox
from tests.support import (
    APP_ID,
    PATIENCE,
    FakeClock,
    Gate,
    MovableLoop,
    Reply,
    envelope,
    http_scope,
    until,
)
from tests.threats.canaries import everything_logged, shown_exception

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

URI = "https://api.example.com/facebook/callback"
SECRET, OTHER = "0a1b2c3d+known/e5f60718293a4b5c6", "ffeeddcc+other/99887766554433221"
CODE = "AQcanary+code/0123456789#_=_"
EXCHANGE, LOOK_UP, PROBE = "/v26.0/oauth/access_token", "/v26.0/debug_token", f"/v26.0/{APP_ID}"
WRONG_SECRET = envelope(1, message="Error validating client secret.")
PERSON = ScopeHead(http_scope())


def named(reply: Reply | BaseException) -> str:
    """Name a reply in a test's id."""
    return f"{reply.status} {reply.body.decode()}"[:40] if isinstance(reply, Reply) else repr(reply)


class Wire(httpx.AsyncBaseTransport):
    """The way to the sandbox: keeps what was sent, may hold it back, and may answer instead."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.requests: list[httpx.Request] = []
        self.instead: dict[str, Reply | BaseException] = {}  # by path
        self.gate = Gate()
        self._held: str | None = None  # a path
        self._sandbox = sandbox

    def hold(self, path: str) -> None:
        """Let calls of this path hang until the gate is open."""
        self._held = path
        self.gate.shut()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        if request.url.path == self._held:
            await self.gate.passed()
        reply = self.instead.get(request.url.path)
        if isinstance(reply, BaseException):
            raise reply
        if reply is None:
            return await self._sandbox.transport.handle_async_request(request)
        stream = httpx.ByteStream(reply.body)
        return httpx.Response(reply.status, headers=list(reply.headers), stream=stream, request=request)

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]

    @property
    def forms(self) -> list[dict[str, str]]:
        """What the exchanges carried."""
        return [
            dict(parse_qsl(request.content.decode(), strict_parsing=True))
            for request in self.requests
            if request.method == "POST"
        ]


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(app_id=APP_ID, app_secret=SECRET)


@pytest.fixture
def wire(sandbox) -> Wire:
    return Wire(sandbox)


@pytest.fixture
def make(sandbox, wire) -> Iterator[Callable[..., Guard]]:
    guards: list[Guard] = []

    def make(**options: Any) -> Guard:
        wired = {"transport": wire, "redirect_uri": URI, "token_from": ("header", "cookie:__Host-fb_token")}
        guards.append(sandbox.guard(**wired | options))
        return guards[-1]

    yield make
    for guard in guards:
        guard.close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch) -> None:
    monkeypatch.setattr(transport, "_PAUSE", (0.0, 0.0))


def code_of(sandbox: Sandbox) -> str:
    """Log a person in; return the code that the app is sent."""
    url = dialog_url("https://www.facebook.com", "v26.0", client_id=APP_ID, redirect_uri=URI)
    return parse_qs(urlsplit(sandbox.log_in(url, user_id="42")).query)["code"][0]


async def aexchange(guard: Guard, code: str = CODE) -> Secret | Finding:
    return await guard._look_ups.exchange(Secret(code), URI)


def exchange(guard: Guard, code: str = CODE) -> Secret | Finding:
    """Do it as a login in WSGI does."""
    return background.submit(aexchange(guard, code)).result(PATIENCE)


def refused(guard: Guard, code: str = CODE) -> tuple[int, str, int | None]:
    """Return what a person is answered, who comes with a code that is not exchanged."""
    found = exchange(guard, code)
    assert isinstance(found, Finding)
    answer = guard.refusal(found)
    assert (answer.status == 503) == (answer.retry_after is not None)
    return answer.status, answer.reason, answer.code


async def let_in(guard: Guard, code: str = CODE) -> tuple[Secret, Any]:
    """Do what the login of this guard does with a code, deadline and look-up included."""
    gate = guard.login_asgi()._rules._gate  # type: ignore[attr-defined]
    token = await gate.exchange(Secret(code), PERSON)
    return token, await gate.facts(token)


def waiting(guard: Guard) -> int:
    return guard._look_ups._upstream._governor._slots.waiting


# -- the call ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_code_becomes_a_token(make, sandbox, wire, colour):
    guard, code = make(), code_of(sandbox)
    found = exchange(guard, code) if colour == "sync" else asyncio.run(aexchange(guard, code))
    (request,) = wire.requests
    assert (request.method, str(request.url)) == ("POST", f"https://graph.facebook.com{EXCHANGE}")
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Authorization" not in request.headers
    assert wire.forms == [{"client_id": APP_ID, "client_secret": SECRET, "redirect_uri": URI, "code": code}]
    assert guard.check(found.reveal()).user_id == "42"


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({"graph_version": "v19.0"}, "https://graph.facebook.com/v19.0/oauth/access_token"),
        ({"graph_url": "https://proxy.example/fb/"}, "https://proxy.example/fb/v26.0/oauth/access_token"),
        ({"credential_in": "query"}, f"https://graph.facebook.com{EXCHANGE}"),
    ],
)
def test_where_graph_is(make, wire, options, address):
    guard = make(**options)
    wire.instead = dict.fromkeys((urlsplit(address).path,), Reply(b'{"access_token": "EAAx"}'))
    assert exchange(guard) == Secret("EAAx")
    assert [str(request.url) for request in wire.requests] == [address]


def test_a_code_works_once(make, sandbox):
    guard, code = make(), code_of(sandbox)
    assert isinstance(exchange(guard, code), Secret)
    assert exchange(guard, code) == Finding("invalid_token", 100, 36009)
    assert refused(guard, code) == (401, "invalid_token", 100)
    assert guard.health().status == "ok"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"", 500),
        Reply(b"<html>", 502),
        envelope(2),
        Reply(b'{"access_token": "a b"}'),
        httpx.ReadError(""),
    ],
    ids=named,
)
def test_no_answer(make, wire, reply):
    guard = make()
    wire.instead[EXCHANGE] = reply
    assert refused(guard)[:2] == (503, "unavailable")
    assert wire.paths == [EXCHANGE]


def test_a_reply_that_is_too_long(make, wire):
    guard = make()
    for size, expected in ((MAX_REPLY, Secret("EAAx")), (MAX_REPLY + 1, UNAVAILABLE)):
        wire.instead[EXCHANGE] = Reply(b'{"access_token": "EAAx"}'.ljust(size))
        assert exchange(guard) == expected


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (httpx.ConnectError(""), 2),
        (httpx.ConnectTimeout(""), 2),
        (httpx.ReadError(""), 1),
        (httpx.ReadTimeout(""), 1),
        (httpx.RemoteProtocolError(""), 1),
    ],
    ids=repr,
)
def test_a_code_that_facebook_may_have_seen_is_not_sent_again(make, wire, error, tries):
    guard = make()
    wire.instead[EXCHANGE] = error
    assert exchange(guard) == UNAVAILABLE
    assert wire.paths == [EXCHANGE] * tries


def test_throttled(make, sandbox):
    guard = make()
    sandbox.throttle(4)
    assert refused(guard) == (503, "throttled", 4)


# -- nothing shows it ----------------------------------------------------------------------------------

ECHO = f"{CODE} {SECRET} {OTHER} {quote_plus(CODE)} {quote_plus(SECRET)}"
OUTCOMES = {
    "a token": Reply(b'{"access_token": "EAAcanaryOfTheToken"}'),
    "a code that is used": envelope(100, 36009, ECHO),
    "a wrong secret": envelope(1, message=f"Error validating client secret. {ECHO}"),
    "a held account": envelope(190, 459, ECHO),
    "throttled": envelope(4, message=ECHO),
    "out of order": Reply(ECHO.encode(), 500),
    "no token": Reply(f'{{"access_token": "{ECHO}"}}'.encode()),
    "too long": Reply(ECHO.encode() * 1000),
    "elsewhere": Reply(b"", 302),
    "no connection": httpx.ConnectError(ECHO),
    "a lost connection": httpx.ReadError(ECHO),
    "a bug": RuntimeError(ECHO),
}


def shown_in(text: str) -> list[str]:
    """Return which of them stand in a text, as they are or encoded."""
    hidden = (CODE, SECRET, OTHER, "EAAcanaryOfTheToken")
    return [one for one in hidden if one in text or quote(one, safe="") in text]


def heard(log: Any) -> str:
    """Return all that was logged, and see that somebody listens."""
    logging.getLogger("tests").debug("the end")
    assert "tests" in log.names
    return "\n".join(log.shown)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("secrets", [[SECRET], [OTHER, SECRET]], ids=len)
def test_no_log_record_and_no_repr(make, wire, outcome, secrets):
    wire.instead[EXCHANGE] = OUTCOMES[outcome]
    with everything_logged() as log:
        guard = make(app_secret=secrets)
        found = exchange(guard)
        assert shown_in(heard(log)) == []
    assert shown_in(f"{found!r} {guard!r}") == []
    assert [shown_in(str(request.url)) for request in wire.requests] == [[]] * len(wire.requests)
    assert wire.forms[0]["code"] == CODE
    assert wire.forms[0]["client_secret"] == secrets[0]


@pytest.mark.parametrize("secret", [SECRET, OTHER], ids=["right", "wrong"])
def test_no_log_record_of_a_real_connection(make, sandbox, secret):
    """Through aiohttp and a socket; both sides run here, and log."""
    code = code_of(sandbox)
    with sandbox.serve() as url, everything_logged() as log:
        guard = make(transport=None, graph_url=url, app_secret=secret)
        found = exchange(guard, code)
        assert isinstance(found, Secret) == (secret == SECRET)
        guard.close()
        shown = heard(log)
    assert shown_in(shown) == []
    assert code not in shown
    if isinstance(found, Secret):
        assert found.reveal() not in shown
    assert [call.path for call in sandbox.calls if call.method == "POST"][1:] == [EXCHANGE]


@pytest.mark.parametrize("outcome", [name for name in OUTCOMES if name != "a token"])
def test_no_exception(make, wire, outcome):
    guard = make()
    wire.instead[EXCHANGE] = OUTCOMES[outcome]
    with pytest.raises(Refused) as caught:
        asyncio.run(let_in(guard))
    assert shown_in(shown_exception(caught.value)) == []
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert shown_in(repr(caught.value.answer(accept="text/html"))) == []


def test_no_exception_of_a_token_that_is_no_good(make, wire):
    """It has come, and then Graph does not know it."""
    guard = make()
    wire.instead[EXCHANGE] = OUTCOMES["a token"]
    with pytest.raises(Refused) as caught:
        asyncio.run(let_in(guard))
    assert caught.value.reason == "malformed_token"
    assert shown_in(shown_exception(caught.value)) == []


def test_no_exception_of_a_guard_that_is_closed(make):
    guard = make()
    letting_in = let_in(guard)
    guard.close()
    with pytest.raises(Refused) as caught:
        asyncio.run(letting_in)
    assert caught.value.reason == "unavailable"
    assert shown_in(shown_exception(caught.value)) == []


# -- two secrets ---------------------------------------------------------------------------------------


def test_the_probe_finds_the_secret_that_graph_knows(make, sandbox, wire, caplog):
    guard, code = make(app_secret=[OTHER, SECRET]), code_of(sandbox)
    found = exchange(guard, code)
    assert wire.paths == [EXCHANGE, PROBE, PROBE, EXCHANGE]
    assert [form["client_secret"] for form in wire.forms] == [OTHER, SECRET]
    assert [form["code"] for form in wire.forms] == [code, code]
    assert guard.check(found.reveal()).user_id == "42"
    assert [one.levelname for one in caplog.records if one.name == "fbguard"] == ["WARNING"]
    assert guard.health().status == "ok"

    del wire.requests[:]
    assert isinstance(exchange(guard, code_of(sandbox)), Secret)
    assert wire.paths == [EXCHANGE]  # the secret is kept


def test_the_second_exchange_may_be_refused_too(make, wire, clock):
    guard = make(app_secret=[OTHER, SECRET], clock=clock)
    assert refused(guard, "nobodys") == (401, "invalid_token", 100)
    assert wire.paths == [EXCHANGE, PROBE, PROBE, EXCHANGE]


def test_a_look_up_has_found_the_secret_before(make, sandbox, wire):
    guard = make(app_secret=[OTHER, SECRET])
    guard.check(sandbox.issue_token())
    del wire.requests[:]
    assert isinstance(exchange(guard, code_of(sandbox)), Secret)
    assert wire.paths == [EXCHANGE]


# -- a wrong secret ------------------------------------------------------------------------------------


def test_misconfigured(make, wire, clock):
    guard = make(app_secret=OTHER, clock=clock)
    assert refused(guard) == (503, "misconfigured", 1)
    assert wire.paths == [EXCHANGE, PROBE]
    assert guard.health().reason == "misconfigured"
    assert exchange(guard).retry_after == 60  # until the next probe


def test_an_unknown_app(make, wire, clock):
    wire.instead |= {EXCHANGE: envelope(101), PROBE: envelope(190)}
    assert refused(make(clock=clock)) == (503, "misconfigured", 101)


def test_while_misconfigured_one_exchange_a_second_is_tried(make, wire, clock):
    guard = make(app_secret=OTHER, clock=clock)
    exchange(guard)
    for second in range(3):
        del wire.requests[:]
        findings = [exchange(guard) for _ in range(5)]
        assert {(found.reason, found.retry_after) for found in findings} == {("misconfigured", 60 - second)}
        assert wire.paths == [EXCHANGE]
        clock.advance(1)
    clock.advance(57)
    del wire.requests[:]
    assert refused(guard) == (503, "misconfigured", 1)
    assert wire.paths == [EXCHANGE, PROBE]


@pytest.mark.parametrize(
    "probe",
    [Reply(b"", 500), Reply(b"{}"), envelope(2), envelope(4), httpx.ReadError("")],
    ids=named,
)
def test_a_probe_that_says_nothing_leaves_it_open(make, wire, clock, probe):
    guard = make(app_secret=OTHER, clock=clock)
    wire.instead[PROBE] = probe
    assert refused(guard) == (503, "unavailable", 1)
    assert guard.health().status == "ok"
    assert wire.paths == [EXCHANGE, PROBE]


def test_a_secret_that_the_probe_clears(make, wire, clock):
    guard = make(clock=clock)
    wire.instead[EXCHANGE] = WRONG_SECRET
    found = exchange(guard)
    assert (found.reason, found.code, found.blames_us) == ("unavailable", 1, False)
    assert wire.paths == [EXCHANGE, PROBE]
    assert exchange(guard).blames_us is False
    assert wire.paths == [EXCHANGE, PROBE, EXCHANGE]  # one probe a minute
    assert guard.health().status == "ok"


def test_what_is_wrong_with_a_code_is_no_reason_to_probe(make, wire):
    guard = make()
    for _ in range(3):
        assert refused(guard, "nobodys") == (401, "invalid_token", 100)
    assert wire.paths == [EXCHANGE] * 3


def test_a_secret_that_is_right_again(make, wire, clock):
    guard = make(clock=clock)
    wire.instead |= {EXCHANGE: WRONG_SECRET, PROBE: envelope(190)}
    assert refused(guard) == (503, "misconfigured", 1)
    wire.instead = {}
    clock.advance(1)
    assert refused(guard, "nobodys") == (401, "invalid_token", 100)


# -- while Graph is left alone -------------------------------------------------------------------------


def break_graph(guard: Guard, sandbox: Sandbox, clock: FakeClock) -> None:
    """Let look-ups fail until the breaker is open; Graph is well again then."""
    sandbox.fail(500)
    for number in range(FAILURES):
        with pytest.raises(Refused):
            guard.check(f"EAA{number}")
        clock.advance(0.2)
    sandbox.recover()


def test_an_open_breaker(make, sandbox, wire, clock):
    guard = make(clock=clock)
    break_graph(guard, sandbox, clock)
    del wire.requests[:]
    for _ in range(5):
        assert refused(guard) == (503, "unavailable", None)
    assert wire.requests == []
    clock.advance(1)
    assert isinstance(exchange(guard, code_of(sandbox)), Secret)
    assert wire.paths == [EXCHANGE]


def test_a_graph_that_throttles(make, sandbox, wire, clock):
    guard = make(clock=clock)
    sandbox.throttle(4)
    with pytest.raises(Refused, match="throttled"):
        guard.check("EAAx")
    sandbox.recover()
    wait = exchange(guard).retry_after
    del wire.requests[:]
    for _ in range(5):
        assert refused(guard) == (503, "throttled", 4)
    assert wire.requests == []
    clock.advance(wait)
    assert isinstance(exchange(guard, code_of(sandbox)), Secret)


def test_slots_that_are_full(make, sandbox, wire):
    async def main() -> None:
        guard = make(max_in_flight=1, max_queued=1, deadline=PATIENCE)
        wire.hold(EXCHANGE)
        tasks = [asyncio.create_task(aexchange(guard, code_of(sandbox))) for _ in range(2)]
        await until(lambda: wire.requests and waiting(guard) == 1)
        async with asyncio.timeout(PATIENCE):
            assert await aexchange(guard) is FULL
        answer = guard.refusal(FULL)
        assert (answer.status, answer.reason, answer.retry_after) == (503, "unavailable", 1)
        assert wire.paths == [EXCHANGE]
        assert guard.health().in_flight == 1
        wire.gate.open()
        assert all(isinstance(found, Secret) for found in await asyncio.gather(*tasks))
        assert guard.health().in_flight == 0
        await guard.aclose()

    asyncio.run(main())


def test_look_ups_and_logins_share_the_slots(make, sandbox, wire):
    async def main() -> None:
        guard = make(max_in_flight=1, max_queued=1, deadline=PATIENCE)
        wire.hold(LOOK_UP)
        look_up = asyncio.create_task(guard.acheck(sandbox.issue_token(user_id="42")))
        await until(lambda: wire.requests)
        login = asyncio.create_task(aexchange(guard, code_of(sandbox)))
        await until(lambda: waiting(guard) == 1)
        assert EXCHANGE not in wire.paths
        wire.gate.open()
        assert (await look_up).user_id == "42"
        assert isinstance(await login, Secret)
        await guard.aclose()

    asyncio.run(main())


# -- who hangs up --------------------------------------------------------------------------------------


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [asyncio.CancelledError] * len(tasks)


def test_who_hangs_up_leaves_no_slot_taken(make, sandbox, wire):
    async def main() -> None:
        guard = make(max_in_flight=1)
        wire.hold(EXCHANGE)
        in_call = asyncio.create_task(aexchange(guard))
        await until(lambda: wire.requests)
        in_line = [asyncio.create_task(aexchange(guard)) for _ in range(3)]
        await until(lambda: waiting(guard) == 3)
        await cancelled(*in_line)
        assert (waiting(guard), guard.health().in_flight) == (0, 1)
        await cancelled(in_call)
        assert guard.health().in_flight == 0
        wire.gate.open()
        assert isinstance(await aexchange(guard, code_of(sandbox)), Secret)
        assert wire.paths == [EXCHANGE] * 2
        await guard.aclose()

    asyncio.run(main())


def test_who_hangs_up_takes_no_probe_along(make, sandbox, wire):
    async def main() -> None:
        guard = make(app_secret=[OTHER, SECRET], max_in_flight=1)
        wire.hold(PROBE)
        task = asyncio.create_task(aexchange(guard))
        await until(lambda: PROBE in wire.paths)
        await cancelled(task)
        assert guard.health().in_flight == 1  # the probe's
        wire.gate.open()
        await until(lambda: guard.health().in_flight == 0)
        del wire.requests[:]
        assert isinstance(await aexchange(guard, code_of(sandbox)), Secret)
        assert wire.paths == [EXCHANGE]
        await guard.aclose()

    asyncio.run(main())


def test_a_login_has_a_deadline(make, wire):
    async def main(loop: MovableLoop) -> None:
        guard = make(deadline=3.0)
        wire.hold(EXCHANGE)
        task = asyncio.create_task(let_in(guard))
        await until(lambda: wire.requests)
        loop.advance(3.1)
        with pytest.raises(Refused) as caught:
            await asyncio.wait_for(task, PATIENCE)
        assert (caught.value.status, caught.value.reason) == (503, "unavailable")
        assert guard.health().in_flight == 0
        wire.gate.open()
        await guard.aclose()

    with asyncio.Runner(loop_factory=MovableLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, MovableLoop)
        runner.run(main(loop))


# -- what Graph has answered to a login ----------------------------------------------------------------


def test_noes_about_codes_open_no_breaker(make, wire, clock):
    guard = make(clock=clock)
    for _ in range(5 * FAILURES):
        assert refused(guard, "nobodys") == (401, "invalid_token", 100)
        clock.advance(0.2)
    assert guard.health().status == "ok"
    assert len(wire.requests) == 5 * FAILURES


@pytest.mark.parametrize("reply", [Reply(b"", 500), envelope(2), httpx.ReadError("")], ids=named)
def test_exchanges_that_are_not_answered_open_the_breaker(make, wire, clock, reply):
    guard = make(clock=clock)
    wire.instead[EXCHANGE] = reply
    for _ in range(5 * FAILURES):
        assert refused(guard)[:2] == (503, "unavailable")
        if len(wire.requests) < FAILURES:
            clock.advance(0.2)
    assert wire.paths == [EXCHANGE] * FAILURES
    with pytest.raises(Refused, match="unavailable"):
        guard.check("EAAx")  # nobody else asks either
    assert wire.paths == [EXCHANGE] * FAILURES
    assert guard.health().reason == "unavailable"


def test_an_exchange_that_is_throttled_lets_all_wait(make, wire, clock):
    guard = make(clock=clock)
    usage = json.dumps({"1001": [{"call_count": 100, "estimated_time_to_regain_access": 7}]})
    wire.instead[EXCHANGE] = Reply(envelope(4).body, 400, (("X-Business-Use-Case-Usage", usage),))
    assert exchange(guard).retry_after == 420
    for _ in range(5):
        assert refused(guard) == (503, "throttled", 4)
    with pytest.raises(Refused, match="throttled"):
        guard.check("EAAx")
    assert wire.paths == [EXCHANGE]
    assert guard.health().reason == "throttled"


def test_a_login_that_is_answered_ends_misconfigured(make, sandbox, wire):
    """Its look-up follows at once, and the code is used up by then."""
    guard = make()
    wire.instead |= {EXCHANGE: WRONG_SECRET, PROBE: envelope(190)}
    assert refused(guard) == (503, "misconfigured", 1)
    wire.instead = {}
    sandbox.clock.advance(2)
    _, info = asyncio.run(let_in(guard, code_of(sandbox)))
    assert info.user_id == "42"
    assert guard.health().status == "ok"


def test_a_login_that_is_answered_closes_the_breaker(make, sandbox):
    guard = make()
    break_graph(guard, sandbox, sandbox.clock)
    sandbox.clock.advance(2)
    _, info = asyncio.run(let_in(guard, code_of(sandbox)))
    assert info.user_id == "42"
    assert guard.health().status == "ok"


def test_a_login_that_is_answered_ends_the_back_off(make, sandbox):
    guard = make()
    sandbox.throttle(4)
    with pytest.raises(Refused, match="throttled"):
        guard.check("EAAx")
    sandbox.recover()
    sandbox.clock.advance(10)
    _, info = asyncio.run(let_in(guard, code_of(sandbox)))
    assert info.user_id == "42"
    assert guard.health().status == "ok"


@pytest.mark.parametrize("code", [3, 10, 191, 2500])
def test_what_graph_says_of_one_code_opens_no_breaker(make, sandbox, wire, clock, code):
    guard = make(clock=clock)
    wire.instead[EXCHANGE] = envelope(code)
    for _ in range(FAILURES):
        exchange(guard)
        clock.advance(0.2)
    token = sandbox.issue_token(user_id="42", expires_in=None, data_access_expires_in=None)
    assert guard.check(token).user_id == "42"
