"""Rows D16 to D19: who may trip the breaker, storms of retries, the environment, and what is stale."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from fbguard import Requirement
from fbguard.facebook import pools, transport
from tests.support import (
    APP_ID,
    NOW,
    OTHER_APP,
    PATIENCE,
    SECRET,
    TOKEN,
    FakeClock,
    Reply,
    dead,
    envelope,
    valid,
)
from tests.upstream import scripts
from tests.upstream.asking import MARGIN, UNAVAILABLE, YES, Asker
from tests.upstream.certificates import Certificates
from tests.upstream.faulty import End, FaultyServer, Script, head_of

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

Opened = Callable[..., Asker]
Started = Callable[..., FaultyServer]

ILL = scripts.healthy(Reply(b"", 500))
NOES = {
    "dead": dead(190, 463),
    "malformed": dead(190, message="Cannot parse access token"),
    "unknown code": dead(9999),
    "of another app, in data": valid(app_id="666"),
    "of another app": OTHER_APP,
}


class Pulse(FakeClock):
    """A clock that moves on whenever it is read, so that whatever is in a row also lasts."""

    def monotonic(self) -> float:
        self.mono += 0.01
        return self.mono


@pytest.mark.parametrize("reply", NOES.values(), ids=NOES)
def test_d16_a_flood_of_bad_tokens_locks_nobody_out(
    opened: Opened, server: FaultyServer, reply: Reply
) -> None:
    server.default = scripts.healthy(reply)
    server.scripts["good"] = scripts.healthy()
    asker = opened(server.url, clock=Pulse())
    statuses = {asker.ask(f"bad{number}").status for number in range(200)}
    assert statuses == {401}
    assert asker.ask("good").brief == YES
    assert (len(server.calls), server.probes) == (201, 0)
    assert asker.guard.health().status == "ok"


@pytest.mark.parametrize("code", [190, 100, 101, 102, 104])
def test_d16_tokens_that_make_graph_blame_us_lock_nobody_out(
    opened: Opened, server: FaultyServer, code: int
) -> None:
    """Graph has answered; who is to blame is what the guard's own probe finds out, once a minute."""
    server.default = scripts.healthy(envelope(code))
    server.scripts["good"] = scripts.healthy()
    asker = opened(server.url, clock=Pulse())
    briefs = {asker.ask(f"bad{number}").brief for number in range(200)}
    assert briefs == {UNAVAILABLE}
    assert asker.ask("good").brief == YES
    assert server.probes == 1
    assert len(server.calls) == 201


ODD = {
    "unknown code": envelope(9999),
    "unknown code, 404": envelope(803, status=404),
    "odd data": valid(is_valid="true"),
    "no data": Reply(b"{}"),
    "data that is no reply": Reply(b'{"data": []}', 404),
    "throttled, it says of one token": dead(4),
    "out of order, it says of one token": dead(2),
    "unknown, of one token": dead(1),
}


@pytest.mark.parametrize("reply", ODD.values(), ids=ODD)
def test_d16_what_graph_says_oddly_about_one_token_locks_nobody_out(
    opened: Opened, server: FaultyServer, reply: Reply
) -> None:
    """It is there and has spoken about that token, which an attacker may have chosen for it."""
    server.default = scripts.healthy(reply)
    server.scripts["good"] = scripts.healthy()
    asker = opened(server.url, clock=Pulse())
    assert {asker.ask(f"bad{number}").status for number in range(200)} == {503}
    assert asker.ask("good").brief == YES
    assert (len(server.calls), server.probes) == (201, 0)
    assert asker.guard.health().status == "ok"


@pytest.mark.parametrize("reply", [dead(190, 463), *ODD.values()], ids=["dead", *ODD])
def test_d16_any_answer_closes_an_open_breaker(opened: Opened, server: FaultyServer, reply: Reply) -> None:
    server.default = ILL
    clock = FakeClock()
    asker = opened(server.url, clock=clock)
    for number in range(100):
        asker.ask(f"t{number}")
    asker.ask("held")
    assert len(server.calls) == 100
    server.default = scripts.healthy(reply)
    clock.advance(1.1)
    for number in range(5):
        asker.ask(f"u{number}")
    assert len(server.calls) == 105


DOWN = {
    "unknown": envelope(1),
    "temporarily": envelope(2),
    "transient": Reply(b'{"error": {"message": "x", "code": 9999, "is_transient": true}}', 400),
    "500 with an error": envelope(9999, status=500),
    "503 with facts": Reply(valid().body, 503),
    "no JSON": Reply(b"<html>"),
    "no JSON, 404": Reply(b"<html>", 404),
    "nothing": Reply(b""),
}


@pytest.mark.parametrize("reply", DOWN.values(), ids=DOWN)
def test_d16_what_is_said_by_a_graph_that_is_down_counts(
    opened: Opened, server: FaultyServer, reply: Reply
) -> None:
    server.default = scripts.healthy(reply)
    asker = opened(server.url)
    assert {asker.ask(f"t{number}").brief for number in range(110)} == {UNAVAILABLE}
    assert len(server.calls) == 100
    assert asker.guard.health().reason == "unavailable"


def test_d16_it_does_open_when_graph_is_down(opened: Opened, server: FaultyServer) -> None:
    """What the tests above could not see if there was no breaker."""
    clock = FakeClock()
    server.default = ILL
    asker = opened(server.url, clock=clock)
    for number in range(20):
        clock.advance(0.2)
        assert asker.ask(f"t{number}").brief == UNAVAILABLE
    assert len(server.calls) == 10 + 2  # then one a second
    server.default = scripts.healthy()
    assert asker.ask().brief == UNAVAILABLE
    clock.advance(1.1)
    assert asker.ask().brief == YES
    assert asker.ask("and.now.all").brief == YES


def test_d16_cached_tokens_pass_an_open_breaker(opened: Opened, server: FaultyServer) -> None:
    asker = opened(server.url)
    assert asker.ask("cached").brief == YES
    server.default = ILL
    for number in range(150):
        assert asker.ask(f"t{number}").brief == UNAVAILABLE
        assert asker.ask("cached").brief == YES
    assert len(server.calls) == 1 + 100


CROWD = 30

OUTAGES = {
    "500": (ILL, 1),
    "garbage": (scripts.play(b"junk\r\n\r\n", 0.02, End.FIN), 1),
    "reset": (scripts.play(End.RST), 1),
    "closed": (scripts.play(End.FIN), 1),
    "cut": (scripts.cut(scripts.wire()[:-5], End.RST), 1),
}


@pytest.mark.parametrize(("script", "most"), OUTAGES.values(), ids=OUTAGES)
def test_d17_an_outage_is_not_made_worse(
    opened: Opened, server: FaultyServer, script: Script, most: int
) -> None:
    server.default = script
    asker = opened(server.url)
    verdicts = asker.together([f"t{number}" for number in range(CROWD)])
    assert {verdict.brief for verdict in verdicts} == {UNAVAILABLE}
    assert max(verdict.seconds for verdict in verdicts) < PATIENCE
    assert len(server.calls) <= most * CROWD


@pytest.mark.parametrize("script", [script for script, _ in OUTAGES.values()], ids=OUTAGES)
def test_d17_at_most_one_more_try(opened: Opened, server: FaultyServer, script: Script) -> None:
    """The promise of the threat's own row: whatever it is, twice at most."""
    server.default = script
    assert opened(server.url).ask().brief == UNAVAILABLE
    assert 1 <= len(server.calls) <= 2


def test_d17_one_more_connection_where_none_came_about(
    opened: Opened, tls_server: Started, certificates: Certificates
) -> None:
    server = tls_server(certificates.context("self_signed"))
    asker = opened(server.url)
    verdicts = asker.together([f"t{number}" for number in range(CROWD)])
    assert {verdict.brief for verdict in verdicts} == {UNAVAILABLE}
    assert CROWD <= server.connections <= 2 * CROWD


def test_d17_all_who_ask_about_one_token_are_one(opened: Opened, server: FaultyServer) -> None:
    server.default = scripts.late(0.2, Reply(b"", 500))
    asker = opened(server.url)
    assert {verdict.brief for verdict in asker.together([TOKEN] * CROWD)} == {UNAVAILABLE}
    assert server.calls == [TOKEN]


def test_d17_the_second_try_is_inside_the_deadline(
    opened: Opened, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_PAUSE", (PATIENCE, PATIENCE))

    async def refused(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", refused)
    verdict = opened(server.url, deadline=0.3).ask()
    assert verdict.brief == UNAVAILABLE
    assert 0.25 <= verdict.seconds <= 0.3 + MARGIN


def test_d17_the_second_try_comes_at_no_fixed_moment() -> None:
    first, last = transport._PAUSE
    assert 0 < first < last < 1


def test_d17_after_a_long_outage_one_goes_first(opened: Opened, server: FaultyServer) -> None:
    clock = FakeClock()
    server.default = ILL
    asker = opened(server.url, clock=clock)
    for number in range(120):
        asker.ask(f"t{number}")
    assert len(server.calls) == 100
    for turn in range(3):
        clock.advance(1.1)
        asker.together([f"r{turn}t{number}" for number in range(10)])
        assert len(server.calls) == 101 + turn


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home with a .netrc for loopback, and an environment that names proxies' hosts to none."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password geheim\ndefault login me password geheim\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def set_proxies(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    for name in PROXIES:
        monkeypatch.setenv(name, url)
        monkeypatch.setenv(name.lower(), url)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("place", ["header", "query"])
def test_d18_no_proxy_and_no_netrc(
    opened: Opened, server: FaultyServer, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    with FaultyServer(scripts.healthy()) as proxy:
        set_proxies(monkeypatch, proxy.url)
        assert opened(server.url, credential_in=place).ask().brief == YES
        assert proxy.connections == 0
    headers = head_of(server.requests[0])[1]
    expected = [f"Bearer {APP_ID}|{SECRET}"] if place == "header" else None
    assert headers.get("authorization") == expected
    assert "proxy-authorization" not in headers


@pytest.mark.usefixtures("home")
def test_d18_no_proxy_for_https(
    opened: Opened, tls_server: Started, trusted: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tls_server(trusted.context("good"))
    with FaultyServer(scripts.healthy()) as proxy:
        set_proxies(monkeypatch, proxy.url)
        assert opened(server.url).ask().brief == YES
        assert proxy.connections == 0


def test_d18_no_authority_of_the_environment(
    opened: Opened, tls_server: Started, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(certificates.authority))
    monkeypatch.setenv("SSL_CERT_DIR", str(certificates.authority.parent))
    server = tls_server(certificates.context("good"))
    pools._tls.cache_clear()
    try:
        assert opened(server.url).ask().brief == UNAVAILABLE
    finally:
        pools._tls.cache_clear()
    assert server.requests == []
    assert server.connections >= 1


TTL = 300.0


def test_d19_nothing_stale_by_default(opened: Opened, server: FaultyServer) -> None:
    clock = FakeClock()
    asker = opened(server.url, clock=clock, ttl=TTL)
    assert asker.ask().brief == YES
    server.default = ILL
    clock.advance(TTL - 0.1)
    assert asker.ask().brief == YES  # it is still good
    clock.advance(0.2)
    assert asker.ask().brief == UNAVAILABLE
    assert server.calls == [TOKEN] * 2


@pytest.mark.parametrize(
    "outage", [ILL, scripts.play(End.FIN), scripts.healthy(envelope(4))], ids=["500", "closed", "throttled"]
)
def test_d19_stale_within_its_bound(opened: Opened, server: FaultyServer, outage: Script) -> None:
    clock = FakeClock()
    asker = opened(server.url, clock=clock, ttl=TTL, stale_if_error=60.0)
    assert asker.ask().brief == YES
    server.default = outage
    clock.advance(TTL + 0.1)
    verdict = asker.ask()
    assert verdict.info is not None
    assert verdict.info.stale
    clock.advance(59.8)
    assert asker.ask().brief == YES
    clock.advance(0.2)
    assert asker.ask().status == 503
    server.default = scripts.healthy()
    clock.advance(3600)
    clock.wall -= 3600  # the token itself still lives
    fresh = asker.ask()
    assert fresh.info is None or not fresh.info.stale


def test_d19_never_beyond_the_token_itself(opened: Opened, server: FaultyServer) -> None:
    clock = FakeClock()
    server.default = scripts.healthy(valid(expires_at=NOW + int(TTL) + 30))
    asker = opened(server.url, clock=clock, ttl=TTL, stale_if_error=3600.0)
    assert asker.ask().brief == YES
    server.default = ILL
    clock.advance(TTL + 29)
    assert asker.ask().brief == YES
    clock.advance(1)
    assert asker.ask().brief == (401, "expired")


def test_d19_a_dead_token_does_not_live_on(opened: Opened, server: FaultyServer) -> None:
    """Graph has answered no: that is no error, and what was known before does not count any more."""
    clock = FakeClock()
    asker = opened(server.url, clock=clock, ttl=TTL, stale_if_error=3600.0)
    assert asker.ask().brief == YES
    server.default = scripts.healthy(dead(190, 460))
    clock.advance(TTL + 1)
    assert asker.ask().brief == (401, "password_changed")
    server.default = ILL
    clock.advance(60)  # the no is forgotten, and the yes before it does not rise again
    assert asker.ask().brief == UNAVAILABLE


def test_d19_a_route_may_want_none(opened: Opened, server: FaultyServer) -> None:
    clock = FakeClock()
    asker = opened(server.url, clock=clock, ttl=TTL, stale_if_error=60.0)
    assert asker.ask().brief == YES
    server.default = ILL
    clock.advance(TTL + 1)
    assert asker.ask(TOKEN, Requirement(stale_if_error=0.0)).brief == UNAVAILABLE
    assert asker.ask().brief == YES
