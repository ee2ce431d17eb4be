"""``Guard(on_event=...)``: what happens is told, in the words of the log, and to nobody's harm."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

import fbguard.events
from fbguard import Guard, Refused, Requirement, assembly, events
from fbguard.events import Event
from fbguard.revocation.tombstones import Tombstones
from fbguard.sandbox import Sandbox
from fbguard.stores import listening, telling
from fbguard.stores.memory import MemoryStore
from tests.stores.test_shared import Away, Cut
from tests.support import SECRET, TOKEN, FakeClock, hears, make_guard, until, wait_until, wsgi_environ

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

KINDS = [
    one for one in vars(fbguard.events).values()
    if isinstance(one, type) and issubclass(one, Event) and one is not Event
]  # fmt: skip


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def seen() -> list[Event]:
    return []


Make = Callable[..., Guard]


@pytest.fixture
def make(sandbox: Sandbox, seen: list[Event]) -> Iterator[Make]:
    """Make guards that tell ``seen``, where no look-up takes any time."""
    guards: list[Guard] = []

    def note(event: Event) -> None:
        seen.append(replace(event, seconds=0.0) if isinstance(event, events.TokenLookedUp) else event)

    def made(**options: Any) -> Guard:
        guards.append(sandbox.guard(**({"on_event": note} | options)))
        return guards[-1]

    yield made
    for guard in guards:
        guard.close()


def reason_of(guard: Guard, token: str) -> str | None:
    try:
        guard.check(token)
    except Refused as refused:
        return refused.reason
    return None


def looked_up(
    guard: Guard, token: str, answer: Any, reason: str | None = None, code: int | None = None
) -> Event:
    fingerprint = guard.signer.fingerprint(fbguard.core.secret.Secret(token))
    return events.TokenLookedUp(token=fingerprint, answer=answer, reason=reason, code=code, seconds=0.0)


# -- what is told ------------------------------------------------------------------------------------------


def test_a_look_up_that_says_yes_and_no_hit(make, sandbox, seen):
    guard, token = make(), sandbox.issue_token()
    info = guard.check(token)
    assert seen == [looked_up(guard, token, "yes")]
    assert seen[0].token == info.fingerprint
    guard.check(token)
    assert len(seen) == 1


def test_a_look_up_that_says_no(make, sandbox, seen):
    guard, token = make(), sandbox.issue_token()
    sandbox.expire(token)
    assert reason_of(guard, token) == "expired"
    assert seen == [looked_up(guard, token, "no", "expired", 190)]


def test_another_apps_token(make, sandbox, seen):
    guard, token = make(), sandbox.issue_token(app_id="999")
    assert reason_of(guard, token) == "wrong_app"
    assert [one.answer for one in seen] == ["no"]


def test_nobody_knows_and_all_is_well_again(make, sandbox, seen):
    guard, token = make(), sandbox.issue_token()
    sandbox.fail()
    assert [reason_of(guard, token), reason_of(guard, token)] == ["unavailable"] * 2
    unknown = looked_up(guard, token, "unknown", "unavailable")
    assert seen == [events.GraphStateChanged(reason="unavailable"), unknown, unknown]
    sandbox.recover()
    assert reason_of(guard, token) is None
    assert seen[3:] == [events.GraphStateChanged(reason=None), looked_up(guard, token, "yes")]


def test_throttled(make, sandbox, seen):
    guard, token = make(), sandbox.issue_token()
    sandbox.throttle(4)
    assert reason_of(guard, token) == "throttled"
    assert seen == [
        events.GraphStateChanged(reason="throttled"),
        looked_up(guard, token, "unknown", "throttled", 4),
    ]


def test_how_long_it_took(sandbox, seen):
    clock = FakeClock(wall=sandbox.clock.time())

    class Slow(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            clock.advance(1.5)
            return await sandbox.transport.handle_async_request(request)

    token = sandbox.issue_token()
    with sandbox.guard(clock=clock, transport=Slow(), on_event=seen.append) as guard:
        guard.check(token)
    assert seen[0].seconds == 1.5


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_session_that_is_ended(make, sandbox, seen, colour):
    guard, token = make(), sandbox.issue_token()
    if colour == "sync":
        guard.expire_session(token)
    else:
        asyncio.run(guard.aexpire_session(token))
    fingerprint = guard.signer.fingerprint(fbguard.core.secret.Secret(token))
    assert seen == [events.SessionEnded(token=fingerprint)]


def test_a_user_that_is_forgotten(make, seen):
    guard = make()
    guard.forget_user("77")
    assert seen == [events.UserForgotten(user=guard.signer.short("77"))]
    assert seen[0].user != "77"


def test_a_user_that_has_left(make, sandbox, seen):
    guard = make()
    body = urlencode({"signed_request": sandbox.signed_request("77")}).encode()
    environ = wsgi_environ(
        "/deauthorize", "POST", CONTENT_TYPE="application/x-www-form-urlencoded",
        CONTENT_LENGTH=str(len(body)), **{"wsgi.input": io.BytesIO(body)},
    )  # fmt: skip
    b"".join(guard.callbacks_wsgi()(environ, lambda *_: lambda _data: None))
    assert seen == [events.UserSessionsEnded(user=guard.signer.short("77"))]


def test_the_apps_own_credential(make, sandbox, seen):
    guard, token = make(app_secret="0f" * 16), sandbox.issue_token()
    assert reason_of(guard, token) == "misconfigured"
    assert [type(one) for one in seen] == [
        events.CredentialRefused,
        events.GraphStateChanged,
        events.TokenLookedUp,
    ]
    assert seen[1] == events.GraphStateChanged(reason="misconfigured")


def test_another_secret_is_used(make, sandbox, seen):
    guard, token = make(app_secret=["0f" * 16, sandbox.app_secret]), sandbox.issue_token()
    assert reason_of(guard, token) is None
    assert [type(one) for one in seen] == [events.SecretReplaced, events.TokenLookedUp]


def test_a_credential_that_is_taken_again(make, sandbox, seen):
    """A token that Graph knows: an answer about it shows that the credential was taken."""
    is_wrong = [True]

    class Moody(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if is_wrong[0]:
                request.headers["Authorization"] = "Bearer 1|nonsense"
            return await sandbox.transport.handle_async_request(request)

    guard, token = make(transport=Moody()), sandbox.issue_token()
    assert reason_of(guard, token) == "misconfigured"
    is_wrong[0] = False
    sandbox.clock.advance(2)
    assert reason_of(guard, token) is None
    assert events.CredentialAccepted() in seen


def test_batches_that_are_refused(make, sandbox, seen):
    sandbox.batch(allowed=False)
    guard = make(batch=True, max_in_flight=1)
    tokens = [sandbox.issue_token() for _ in range(6)]

    async def all_at_once() -> None:
        await asyncio.gather(*map(guard.acheck, tokens))
        await guard.aclose()

    asyncio.run(all_at_once())
    assert seen.count(events.BatchesRefused()) == 1


def test_every_token_is_another_apps(make, sandbox, seen):
    guard = make()
    for _ in range(200):
        reason_of(guard, sandbox.issue_token(app_id="999"))
    told = [one for one in seen if isinstance(one, events.TokensOfAnotherApp)]
    assert len(told) == 1
    assert told[0].count >= 10


def test_a_certificate_that_is_not_accepted(make, sandbox, seen):
    def refuse(_request: httpx.Request) -> httpx.Response:
        try:
            raise ssl.SSLCertVerificationError("self-signed certificate")
        except ssl.SSLCertVerificationError as error:
            raise httpx.ConnectError("no connection") from error

    guard = make(transport=httpx.MockTransport(refuse))
    assert [reason_of(guard, sandbox.issue_token()) for _ in range(2)] == ["unavailable"] * 2
    assert len([one for one in seen if isinstance(one, events.CertificateRefused)]) == 1


def test_a_tombstone_that_must_go(make, seen, monkeypatch):
    monkeypatch.setattr(assembly, "Tombstones", partial(Tombstones, most=2))
    guard = make()
    for number in range(4):
        guard.expire_session(f"EAABtoken{number}")
    assert seen.count(events.TombstoneDropped()) == 2


def test_the_store(make, sandbox, seen):
    store = Cut(time=sandbox.clock.time)
    guard, token = make(store=store), sandbox.issue_token()
    assert reason_of(guard, token) is None
    hears(guard)
    assert events.StoreHeard() in seen
    assert events.StoreLost() not in seen
    store.cut(guard)
    wait_until(lambda: events.StoreLost() in seen)
    store.heal(guard)
    wait_until(lambda: seen.count(events.StoreHeard()) == 2)


def test_too_many_news(make, sandbox, seen, monkeypatch):
    monkeypatch.setattr(listening, "MOST", 10)
    store = MemoryStore(time=sandbox.clock.time)
    guard = make(store=store)
    assert reason_of(guard, sandbox.issue_token()) is None
    hears(guard)
    for _ in range(30):
        store._spread(b"junk")
    wait_until(lambda: any(isinstance(one, events.StoreFailed) for one in seen))


def test_a_store_that_raises_nonsense(make, sandbox, seen):
    class Broken(MemoryStore):
        async def find(self, *_: Any, **__: Any) -> Any:
            raise KeyError(TOKEN)

    guard = make(store=Broken(time=sandbox.clock.time))
    assert reason_of(guard, sandbox.issue_token()) is None
    assert events.StoreFailed(what="the store failed: KeyError") in seen


def test_a_store_that_has_lost_all(make, sandbox, seen):
    store, origin = Cut(time=sandbox.clock.time), ["a"]

    async def tell() -> str:
        return origin[0]

    store.origin = tell
    guard = make(store=store)
    assert reason_of(guard, sandbox.issue_token()) is None
    hears(guard)
    wait_until(lambda: guard._revoker.shared._telling._origin == "a")
    store.cut(guard)
    origin[0] = "b"
    store.heal(guard)
    wait_until(lambda: events.StoreWrittenAnew() in seen)


def test_more_ends_than_can_wait_for_the_store(make, seen, monkeypatch):
    monkeypatch.setattr(telling, "_UNSENT", 3)
    guard = make(store=Away())
    for number in range(6):
        with pytest.raises(fbguard.stores.StoreUnavailable):
            guard.expire_session(f"EAABtoken{number}")
    assert seen.count(events.StoreFallenBehind()) == 1


def test_the_keys_of_limited_login(make, sandbox, seen):
    guard, need = make(limited_login=True), Requirement(token_types=["LIMITED_LOGIN"])
    sandbox.fail()
    for _ in range(3):
        with pytest.raises(Refused):
            guard.check(sandbox.issue_id_token(), need)
    sandbox.recover()
    sandbox.clock.advance(2)
    for _ in range(2):
        guard.check(sandbox.issue_id_token(), need)
    assert [one for one in seen if not isinstance(one, events.TokenLookedUp)] == [
        events.SigningKeysUnavailable(status=500),
        events.SigningKeysFetched(count=1),
    ]


# -- how it is told ----------------------------------------------------------------------------------------


def test_the_log_says_the_same(make, sandbox, seen, caplog):
    caplog.set_level(logging.DEBUG, "fbguard")
    guard, token = make(), sandbox.issue_token()
    sandbox.throttle(4)
    reason_of(guard, token)
    sandbox.recover()
    sandbox.clock.advance(10)
    guard.check(token)
    guard.expire_session(token)
    guard.forget_user("77")
    said = [(one.levelno, one.getMessage()) for one in caplog.records if one.name == "fbguard"]
    assert len(seen) == 6
    assert said == [(one.level, str(one)) for one in seen]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_is_a_frozen_record_with_a_line(kind):
    given = {name: name for name in kind.__slots__}
    event = kind(**given)
    assert str(event)
    assert str(event) != repr(event)
    assert event == kind(**given)
    assert hash(event) == hash(kind(**given))
    assert kind.__doc__
    assert event.level in {logging.DEBUG, logging.INFO, logging.WARNING}
    assert not hasattr(event, "__dict__")
    assert pickle.loads(pickle.dumps(event)) == event  # to a queue of another process
    with pytest.raises((AttributeError, TypeError)):  # which of them, is the dataclass's own matter
        event.level = 0
    if given:
        with pytest.raises(TypeError):
            kind(*given.values())


def test_the_tests_above_have_met_every_kind():
    text = Path(__file__).read_text(encoding="utf-8")
    assert [kind.__name__ for kind in KINDS if f"events.{kind.__name__}" not in text] == []


def test_what_it_raises_harms_nobody(make, sandbox, caplog):
    def fail(_event: Event) -> None:
        raise LookupError("a mistake of the app's")

    guard, token = make(on_event=fail), sandbox.issue_token()
    assert guard.check(token).is_valid
    guard.expire_session(token)
    assert reason_of(guard, token) == "session_invalidated"
    records = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert [one.getMessage() for one in records] == [
        "on_event failed at TokenLookedUp",
        "on_event failed at SessionEnded",
    ]
    assert all(one.exc_info is not None and one.exc_info[0] is LookupError for one in records)
    assert token not in caplog.text


class Hanging(httpx.AsyncBaseTransport):
    """Never answers; the request's URL and header are in its frame."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        shown = f"{request.url} {request.headers['authorization']}"
        await asyncio.Event().wait()
        raise AssertionError(shown)


class Distrusted(httpx.AsyncBaseTransport):
    """Fails as a client does that does not accept a certificate; its text has the URL."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            raise ssl.SSLCertVerificationError("self-signed certificate")
        except ssl.SSLCertVerificationError as error:
            text = f"{request.url} {request.headers['authorization']}"
            raise httpx.ConnectError(text) from error


class Password(MemoryStore):
    """Fails with a text that has a password."""

    async def news(self):
        raise KeyError(f"redis://:{TOKEN}@host")
        yield b""


TROUBLES = {
    "certificate": ({"transport": Distrusted()}, events.CertificateRefused),
    "deadline": ({"transport": Hanging(), "deadline": 0.2}, events.GraphStateChanged),
    "deadline, the look-up": ({"transport": Hanging(), "deadline": 0.2}, events.TokenLookedUp),
    "store": ({"store": Password()}, events.StoreFailed),
}


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_l02_it_sees_no_exception_of_a_client(make, sandbox, caplog, trouble, colour):
    """Such an exception has the token in its text, and the request in its frames."""
    options, kind = TROUBLES[trouble]
    handled: list[BaseException | None] = []
    raised: list[LookupError] = []

    def fail(event: Event) -> None:
        if isinstance(event, kind):
            handled.append(sys.exception())
            raised.append(LookupError("a mistake of the app's"))
            raise raised[-1]

    guard, token = make(on_event=fail, **options), sandbox.issue_token()

    async def ask() -> None:
        with suppress(Refused):
            await guard.acheck(token)
        await until(lambda: raised)

    if colour == "sync":
        reason_of(guard, token)
        wait_until(lambda: raised)
    else:
        asyncio.run(ask())
    assert set(handled) == {None}
    assert raised[0].__context__ is None
    wait_until(lambda: "on_event failed" in caplog.text)
    for secret in (token, sandbox.app_secret, TOKEN):
        assert secret not in caplog.text


def test_l02_what_was_handled_is_cut_off(caplog):
    """Where it is told of something in an ``except`` block all the same."""

    def fail(_event: Event) -> None:
        try:
            raise KeyError("its own")
        except KeyError:
            raise LookupError("a mistake of the app's")  # noqa: B904 - its own context is kept

    tell = events.teller(fail)
    try:
        raise ValueError(TOKEN)
    except ValueError:
        tell(events.CredentialRefused())
    assert "LookupError" in caplog.text
    assert "KeyError" in caplog.text
    assert "ValueError" not in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("wrong", [SystemExit, asyncio.CancelledError, GeneratorExit, BaseException])
def test_nothing_that_it_raises_ends_a_look_up_or_the_loop(make, sandbox, caplog, wrong, colour):
    def fail(_event: Event) -> None:
        raise wrong("stop")

    guard, other = make(on_event=fail), make()
    for one in (guard, other, guard):
        if colour == "sync":
            assert one.check(sandbox.issue_token()).is_valid
        else:
            assert asyncio.run(one.acheck(sandbox.issue_token())).is_valid
    assert caplog.text.count("on_event failed at TokenLookedUp") == 2


def test_ctrl_c_is_not_kept_from_anybody():
    def interrupt(_event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        events.teller(interrupt)(events.CredentialRefused())


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_look_up_that_runs_out_of_time(make, sandbox, seen, colour):
    guard, token = make(transport=Hanging(), deadline=0.2), sandbox.issue_token()
    unknown = looked_up(guard, token, "unknown", "unavailable")

    async def ask() -> None:
        with suppress(Refused):
            await guard.acheck(token)
        await until(lambda: unknown in seen)

    if colour == "sync":
        assert reason_of(guard, token) == "unavailable"
        wait_until(lambda: unknown in seen)
    else:
        asyncio.run(ask())
    assert seen.count(unknown) == 1
    assert events.GraphStateChanged(reason="unavailable") in seen


def test_a_guard_that_is_closed_tells_of_no_look_up(make, sandbox, seen):
    guard = make(transport=Hanging(), deadline=60.0)

    async def ask() -> None:
        asked = asyncio.create_task(guard.acheck(sandbox.issue_token()))
        await until(lambda: guard.health().in_flight)
        await guard.aclose()
        await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(ask())
    assert seen == []


def test_what_is_told_is_so_already(make, sandbox):
    """Whoever hears of it asks the guard, and may take his time."""
    found: dict[type[Event], object] = {}
    made: list[Guard] = []

    def look(event: Event) -> None:
        health = made[0].health() if made else None
        if isinstance(event, events.StoreLost | events.StoreHeard) and health is not None:
            found[type(event)] = health.store.status
        elif isinstance(event, events.GraphStateChanged) and health is not None:
            found[type(event)] = health.reason

    store = Cut(time=sandbox.clock.time)
    made.append(make(store=store, on_event=look))
    sandbox.fail(500)
    reason_of(made[0], sandbox.issue_token())
    hears(made[0])
    store.cut(made[0])
    wait_until(lambda: len(found) == 3)
    assert found == {
        events.StoreHeard: "ok",
        events.StoreLost: "unheard",
        events.GraphStateChanged: "unavailable",
    }


def test_another_secret_is_used_when_that_is_told(make, sandbox):
    used: list[bool] = []
    made: list[Guard] = []

    def look(event: Event) -> None:
        if isinstance(event, events.SecretReplaced):
            used.append(sandbox.app_secret in made[0]._look_ups._upstream._credentials.current.reveal())

    made.append(make(app_secret=["0f" * 16, sandbox.app_secret], on_event=look))
    assert reason_of(made[0], sandbox.issue_token()) is None
    assert used == [True]


def test_it_may_end_sessions_itself(make, sandbox, seen, monkeypatch):
    """No lock is held while it is told: whoever ends sessions at a dropped tombstone waits for nobody."""
    monkeypatch.setattr(assembly, "Tombstones", partial(Tombstones, most=2))
    monkeypatch.setattr(telling, "_UNSENT", 2)
    made: list[Guard] = []

    def react(event: Event) -> None:
        seen.append(event)
        is_full = isinstance(event, events.TombstoneDropped | events.StoreFallenBehind)
        if is_full and len(seen) < 50:
            made[0].forget_user("77")

    made.append(make(on_event=react))
    for number in range(3):
        made[0].expire_session(f"EAABtoken{number}")
    assert events.UserForgotten(user=made[0].signer.short("77")) in seen


def test_nothing_is_told_of_a_guard_to_another(make, sandbox):
    one: list[Event] = []
    other: list[Event] = []
    guards = make(on_event=one.append), make(on_event=other.append)
    guards[0].check(sandbox.issue_token())
    assert (len(one), len(other)) == (1, 0)


@pytest.mark.parametrize("wrong", ["print", 1, object(), [print]])
def test_what_cannot_be_called(wrong):
    with pytest.raises(TypeError, match="on_event must be callable"):
        make_guard(on_event=wrong)


async def _coroutine_function(_event: Event) -> None: ...


class _CallableCoroutineFunction:
    async def __call__(self, _event: Event) -> None: ...


@pytest.mark.parametrize(
    "wrong", [_coroutine_function, _CallableCoroutineFunction(), partial(_coroutine_function)]
)
def test_what_would_have_to_be_awaited(wrong):
    with pytest.raises(TypeError, match="on_event must be no coroutine function"):
        make_guard(on_event=wrong)


def test_a_class_may_be_called(make, sandbox):
    make(on_event=type).check(sandbox.issue_token())


def test_by_a_mapping(sandbox, seen):
    options = {"app_id": "1", "app_secret": SECRET, "transport": sandbox.transport, "on_event": seen.append}
    with Guard.from_mapping(options) as guard:
        guard.forget_user("77")
    assert len(seen) == 1
