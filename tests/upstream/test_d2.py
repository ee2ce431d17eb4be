"""Rows D10 to D15: how connections come about, break and are counted; over real sockets."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from fbguard import Guard, Refused
from tests.conftest import Door
from tests.support import (
    APP_ID,
    PATIENCE,
    SECRET,
    TOKEN,
    Answer,
    FakeClock,
    Reply,
    call_asgi,
    call_wsgi,
    http_scope,
    valid,
    wsgi_environ,
)
from tests.upstream import scripts
from tests.upstream.asking import MARGIN, UNAVAILABLE, YES, Asker, build
from tests.upstream.certificates import BAD, Certificates
from tests.upstream.faulty import End, FaultyServer, Script, head_of

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

Opened = Callable[..., Asker]
Started = Callable[..., FaultyServer]

SHORT = 0.3  # seconds; a deadline that is to pass
OK = scripts.wire()


def test_the_app_secret_travels_in_one_header(opened: Opened, server: FaultyServer) -> None:
    asker = opened(server.url)
    for token in ("a", "b"):
        assert asker.ask(token).brief == YES
    for token, request in zip("ab", server.requests, strict=True):
        target, headers = head_of(request)
        assert target == f"/v26.0/debug_token?input_token={token}"
        assert headers["authorization"] == [f"Bearer {APP_ID}|{SECRET}"]
        assert request.count(SECRET.encode()) == 1
        assert request.startswith(b"GET ")


# -- D10 ----------------------------------------------------------------------------------------------


def test_d10_a_good_certificate(opened: Opened, tls_server: Started, trusted: Certificates) -> None:
    """What the rows below refuse is not the server nor its authority, but what is wrong with each."""
    server = tls_server(trusted.context("good"))
    assert opened(server.url).ask().brief == YES


@pytest.mark.parametrize("name", BAD)
def test_d10_a_bad_certificate(
    opened: Opened, tls_server: Started, trusted: Certificates, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    server = tls_server(trusted.context(name))
    asked = opened(server.url)
    assert asked.ask().brief == UNAVAILABLE
    assert server.requests == []  # neither the token nor the secret was sent
    assert 1 <= server.connections <= 2
    # An operator must hear of it, and once is enough.
    asked.ask()
    [warning] = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "at 127.0.0.1: its certificate is not accepted" in warning
    assert {"expired": "expired", "wrong_name": "mismatch", "self_signed": "self-signed"}[name] in warning


def test_d10_an_authority_of_nobody(opened: Opened, tls_server: Started, certificates: Certificates) -> None:
    server = tls_server(certificates.context("good"))
    assert opened(server.url).ask().brief == UNAVAILABLE
    assert server.requests == []


def test_d10_tls_1_0(opened: Opened, tls_server: Started, trusted: Certificates) -> None:
    server = tls_server(trusted.old_context())
    assert opened(server.url).ask().brief == UNAVAILABLE
    assert server.requests == []


def test_d10_a_server_that_speaks_no_tls(opened: Opened, server: FaultyServer) -> None:
    verdict = opened(f"https://127.0.0.1:{server.port}", deadline=SHORT).ask()
    assert verdict.brief == UNAVAILABLE
    assert verdict.seconds <= SHORT + MARGIN
    assert server.requests == []


def test_d10_a_handshake_that_does_not_come(
    opened: Opened, tls_server: Started, certificates: Certificates
) -> None:
    server = tls_server(certificates.context("good"), mute=True)
    verdict, ticks = opened(server.url, deadline=SHORT).ask_while_ticking()
    assert verdict.brief == UNAVAILABLE
    assert verdict.seconds <= SHORT + MARGIN
    assert ticks >= 5


@pytest.mark.parametrize("option", ["verify", "verify_ssl", "ssl", "insecure", "check_hostname", "trust_env"])
def test_d10_no_switch(option: str) -> None:
    assert option not in inspect.signature(Guard).parameters
    with pytest.raises(TypeError, match=option):
        build("https://127.0.0.1", **{option: False})


def test_d10_no_switch_in_the_environment(
    opened: Opened, tls_server: Started, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONHTTPSVERIFY", "FBGUARD_VERIFY", "SSL_VERIFY"):
        monkeypatch.setenv(name, "0")
    server = tls_server(certificates.context("self_signed"))
    assert opened(server.url).ask().brief == UNAVAILABLE
    assert server.requests == []


# -- D11 ----------------------------------------------------------------------------------------------


class Resolver:
    """Stands in for ``socket.getaddrinfo`` where the guard asks for ``localhost``."""

    def __init__(self) -> None:
        self.asked = 0
        self.answer = threading.Event()
        self.error: socket.gaierror | None = None
        self._original = socket.getaddrinfo

    def __call__(self, host: Any, *arguments: Any, **options: Any) -> Any:
        if host != "localhost":
            return self._original(host, *arguments, **options)
        self.asked += 1
        assert self.answer.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return self._original("127.0.0.1", *arguments, **options)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return resolver


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL])
def test_d11_no_such_name(opened: Opened, server: FaultyServer, resolver: Resolver, code: int) -> None:
    resolver.error = socket.gaierror(code, "no")
    resolver.answer.set()
    asker = opened(f"http://localhost:{server.port}")
    verdict = asker.ask()
    assert verdict.brief == UNAVAILABLE
    assert verdict.seconds < PATIENCE / 2
    assert 1 <= resolver.asked <= 2
    assert server.connections == 0
    resolver.error = None
    assert asker.ask().brief == YES


def test_d11_a_resolver_that_blocks(opened: Opened, server: FaultyServer, resolver: Resolver) -> None:
    asker = opened(f"http://localhost:{server.port}", deadline=SHORT)
    try:
        verdict, ticks = asker.ask_while_ticking()
        assert verdict.brief == UNAVAILABLE
        assert verdict.seconds <= SHORT + MARGIN
        assert ticks >= 5
        for verdict in asker.together([f"t{number}" for number in range(20)]):
            assert verdict.brief == UNAVAILABLE
            assert verdict.seconds <= SHORT + MARGIN
        asker.wait(lambda: asker.guard.health().in_flight == 0)
        assert resolver.asked <= 2  # who waits for a name does not ask for it again, or threads run out
    finally:
        resolver.answer.set()
    assert asker.ask_until(YES)
    assert server.connections == 1


def test_d11_a_guard_closes_while_the_resolver_blocks(server: FaultyServer, resolver: Resolver) -> None:
    async def main() -> bool:
        guard = build(f"http://localhost:{server.port}", deadline=SHORT)
        with pytest.raises(Refused):
            await guard.acheck(TOKEN)
        try:
            async with asyncio.timeout(PATIENCE / 2):
                await guard.aclose()
        finally:
            was_blocked = not resolver.answer.is_set()
            resolver.answer.set()  # the loop's own threads are waited for at its end
        return was_blocked

    assert asyncio.run(main())
    assert server.connections == 0


def test_d11_a_name_that_leads_elsewhere(
    opened: Opened, tls_server: Started, trusted: Certificates, resolver: Resolver
) -> None:
    """Rebinding: whoever the name leads to now has no certificate for it, and gets nothing."""
    resolver.answer.set()
    server = tls_server(trusted.context("wrong_name"))
    assert opened(f"https://localhost:{server.port}").ask().brief == UNAVAILABLE
    assert resolver.asked >= 1
    assert server.requests == []
    good = tls_server(trusted.context("good"))
    assert opened(f"https://localhost:{good.port}").ask().brief == YES


# -- D12 ----------------------------------------------------------------------------------------------

HEAD = OK[: -len(valid().body)]
CUTS = {
    "nothing": 0,
    "in the status line": 5,
    "in the head": len(HEAD) - 10,
    "after the head": len(HEAD),
    "in the body": len(HEAD) + 20,
    "before the last byte": len(OK) - 1,
}


@pytest.mark.parametrize("end", list(End), ids=lambda end: end.value)
@pytest.mark.parametrize("count", CUTS.values(), ids=CUTS)
def test_d12_cut_off(opened: Opened, server: FaultyServer, count: int, end: End) -> None:
    """The connection is new: Graph may have answered, and is not asked again."""
    server.default = scripts.cut(OK[:count], end)
    asker = opened(server.url)
    verdict = asker.ask()
    assert verdict.brief == UNAVAILABLE
    assert verdict.seconds < PATIENCE / 2
    assert server.calls == [TOKEN]
    server.default = scripts.healthy()
    assert asker.ask().brief == YES


def closing(*steps: bytes) -> Script:
    return scripts.play(*steps, 0.02, End.FIN)


BROKEN = {
    "short body": closing(scripts.wire(length=5000)),
    "bad chunk": scripts.bad_chunk(),
    "negative chunk": closing(scripts.head(200, scripts.CHUNKED) + b"-1\r\n" + valid().body),
    "no last chunk": closing(
        scripts.head(200, scripts.CHUNKED) + b"%x\r\n" % len(valid().body) + valid().body + b"\r\n"
    ),
    "negative length": closing(scripts.wire(length=-1)),
    "two lengths": closing(scripts.wire(headers=[("Content-Length", "3")])),
    "length and chunks": closing(scripts.wire(headers=scripts.CHUNKED)),
    "no http": closing(b"\x00\x01\x02 junk\r\n\r\n"),
    "http/0.9": closing(valid().body),
    "another protocol": closing(OK.replace(b"HTTP/1.1", b"ICY")),
    "no status": closing(OK.replace(b" 200 Said", b"")),
    "a nul in a header": closing(scripts.wire(headers=[("X", "a\0b")])),
    "switching protocols": closing(
        scripts.head(101, [("Upgrade", "x"), ("Connection", "upgrade")]) + valid().body
    ),
    "204": scripts.play(scripts.head(204)),
    "204 with a body": closing(scripts.wire(Reply(valid().body, 204))),
    "205": scripts.play(scripts.wire(Reply(b"", 205))),
    "304": scripts.play(scripts.head(304)),
    "304 with a body": closing(scripts.wire(Reply(valid().body, 304))),
    "100 and the end": closing(scripts.head(100)),
    "103 and the end": closing(scripts.head(103)),
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_d12_broken(opened: Opened, server: FaultyServer, script: Script) -> None:
    server.default = script
    asker = opened(server.url)
    verdict = asker.ask()
    assert verdict.brief == UNAVAILABLE
    assert verdict.seconds < PATIENCE / 2
    assert server.calls == [TOKEN]
    server.default = scripts.healthy()
    assert asker.ask("next").brief == YES  # whatever was left on the connection is not its answer


@pytest.mark.parametrize("status", [100, 103])
def test_d12_interim_answers_before_the_true_one(opened: Opened, server: FaultyServer, status: int) -> None:
    server.default = scripts.play(scripts.head(status) * 3 + OK)
    assert opened(server.url).ask().brief == YES


@pytest.mark.parametrize("status", [100, 103])
@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_d12_interim_answers_for_ever(
    opened: Opened, server: FaultyServer, status: int, seconds: float
) -> None:
    server.default = scripts.interim(status, seconds)
    asker = opened(server.url, deadline=SHORT)
    verdict, ticks = asker.ask_while_ticking()
    assert verdict.brief == UNAVAILABLE
    assert verdict.seconds <= SHORT + MARGIN
    assert ticks >= 5
    assert server.calls == [TOKEN]
    asker.wait(lambda: server.open == 0)


@pytest.mark.parametrize("end", list(End), ids=lambda end: end.value)
def test_d12_a_stale_connection_is_forgiven(opened: Opened, server: FaultyServer, end: End) -> None:
    """It was kept alive, and the server ended it just when the next request came: once more, on a new one."""
    server.default = scripts.in_turn(scripts.healthy(), scripts.play(end), scripts.healthy())
    asker = opened(server.url)
    assert [asker.ask(token).brief for token in "abc"] == [YES] * 3
    assert server.calls == ["a", "b", "b", "c"]
    assert server.connections == 2


def test_d12_a_connection_that_was_closed_while_idle(opened: Opened, server: FaultyServer) -> None:
    server.default = scripts.idle_close()
    asker = opened(server.url)
    for number, token in enumerate("abc"):
        assert asker.ask(token).brief == YES
        asker.wait(lambda: server.open == 0)
        assert server.connections == number + 1
    assert server.calls == ["a", "b", "c"]


@pytest.mark.parametrize("end", list(End), ids=lambda end: end.value)
def test_d12_a_stale_connection_is_forgiven_once(opened: Opened, server: FaultyServer, end: End) -> None:
    server.default = scripts.in_turn(scripts.healthy(), scripts.play(end))
    asker = opened(server.url)
    assert asker.ask("a").brief == YES
    assert asker.ask("b").brief == UNAVAILABLE
    assert server.calls == ["a", "b", "b"]


def test_d12_nobody_listens(opened: Opened) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen: a connection is refused
        asker = opened(f"http://127.0.0.1:{bound.getsockname()[1]}")
        verdict = asker.ask()
    assert verdict.brief == UNAVAILABLE
    assert verdict.seconds < PATIENCE / 2


def test_d12_a_connection_that_comes_about_at_the_second_try(
    opened: Opened, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, tries = asyncio.SelectorEventLoop.sock_connect, itertools.count()
    asker = opened(server.url)

    async def connect(self: Any, sock: socket.socket, address: Any) -> None:
        if next(tries) == 0:
            raise ConnectionRefusedError
        await original(self, sock, address)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", connect)
    assert asker.ask().brief == YES
    assert next(tries) == 2
    assert server.calls == [TOKEN]


# -- D13 to D15 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 302, 500])
def test_d13_no_cookie_is_sent_back(opened: Opened, server: FaultyServer, status: int) -> None:
    cookies = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Max-Age=9999")]
    first = scripts.healthy(Reply(valid().body, status), cookies)
    server.default = scripts.in_turn(first, scripts.healthy())
    asker = opened(f"http://localhost:{server.port}")  # cookie jars pass over hosts that are mere addresses
    asker.ask("a")
    assert asker.ask("b").brief == YES
    assert server.calls == ["a", "b"]
    assert not any("cookie" in head_of(request)[1] for request in server.requests)


def churn(asker: Asker, tokens: list[str], server: FaultyServer, most: int) -> None:
    """Ask about all of them, and give up; a sync caller gives up at its deadline."""
    if asker.colour == "sync":
        assert {verdict.brief for verdict in asker.together(tokens)} == {UNAVAILABLE}
        return

    async def main() -> None:
        tasks = [asyncio.create_task(asker.guard.acheck(token)) for token in tokens]
        async with asyncio.timeout(PATIENCE):
            while server.open < most:
                await asyncio.sleep(0.005)
        for task in tasks:
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)

    asker.run(main())


def test_d14_who_gives_up_takes_no_slot_along(opened: Opened, server: FaultyServer) -> None:
    most = 5
    asker = opened(server.url, deadline=0.5, max_in_flight=most)
    server.default = scripts.silence()
    for turn in range(2):
        churn(asker, [f"r{turn}t{number}" for number in range(50)], server, most)
        asker.wait(lambda: server.open == asker.guard.health().in_flight == 0)
    server.default = scripts.healthy()
    verdicts = asker.together([f"cold{number}" for number in range(50)])
    assert {verdict.brief for verdict in verdicts} == {YES}
    assert server.most_open <= most
    assert asker.guard.health().in_flight == 0


MALFORMED = [
    "", " ", "a b", "a\tb", "a\r\nX: y", "a\0", "ä", "a,b", "a;b", 'a"b', "a=b", "=", "a%20b", "a&b", "a?b",
    "a#b", "😀", "x" * 4097, f"{APP_ID}|{SECRET}", "1|2", "a|b", "\ud800",
]  # fmt: skip


def test_d15_what_cannot_be_a_token_costs_no_call(opened: Opened, server: FaultyServer) -> None:
    asker = opened(server.url)
    for token in MALFORMED:
        assert asker.ask(token).brief == (401, "malformed_token"), repr(token)
    assert server.connections == 0


def test_d15_no_more_calls_than_the_cap_whoever_asks(opened: Opened, server: FaultyServer) -> None:
    asker = opened(server.url, deadline=SHORT, max_calls_per_second=10)
    assert asker.ask("cached").brief == YES
    verdicts = asker.together([f"random{number}" for number in range(50)])
    assert {verdict.brief for verdict in verdicts} <= {YES, UNAVAILABLE}
    assert max(verdict.seconds for verdict in verdicts) <= SHORT + MARGIN
    assert len(server.calls) <= 1 + SHORT * 10 + 1
    assert asker.ask("cached").brief == YES


def send(door: Door, token: str, peer: str = "192.0.2.1") -> Answer:
    headers = [("Authorization", f"Bearer {token}")]
    if door._runner is not None:
        return door._runner.run(call_asgi(door.app, http_scope(headers=headers, client=(peer, 50_000))))
    return call_wsgi(door.app, wsgi_environ(headers=headers, REMOTE_ADDR=peer))


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_d15_a_client_has_a_budget(make_door: Callable[..., Door], server: FaultyServer, kind: str) -> None:
    with build(server.url, miss_limit=(10, 60.0), clock=FakeClock()) as guard:
        door = make_door(kind, guard)
        assert send(door, "cached").status == 200
        statuses = [send(door, f"random{number}").status for number in range(50)]
        assert statuses == [200] * 9 + [429] * 41
        assert len(server.calls) == 10
        assert send(door, "cached").status == 200
        assert send(door, "another", "192.0.2.2").status == 200
