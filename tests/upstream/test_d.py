"""Rows D01 to D09: what Graph says, how slowly, and how much of it; over real sockets."""

from __future__ import annotations

import json
import logging
import time
import tracemalloc
from collections.abc import Callable

import pytest

from tests.support import APP_ID, OTHER_APP, PATIENCE, SECRET, TOKEN, FakeClock, Reply, envelope, valid
from tests.upstream import scripts
from tests.upstream.asking import MARGIN, THROTTLED, UNAVAILABLE, YES, Asker, Verdict
from tests.upstream.faulty import BlackHole, End, FaultyServer, Script, head_of

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

Opened = Callable[..., Asker]

SHORT = 0.3  # seconds; a deadline that is to pass
BLOCKS = 1 << 20
MISCONFIGURED = (503, "misconfigured")
HTML = (("Content-Type", "text/html"),)


def check_no_answer(verdict: Verdict, expected: tuple[int, str] = UNAVAILABLE) -> None:
    """It is a don't-know, as a client sees it."""
    assert verdict.brief == expected
    headers = {name.lower(): value for name, value in verdict.answer.headers}
    assert verdict.answer.status == 503
    assert int(headers["retry-after"]) >= 1
    assert "www-authenticate" not in headers
    assert verdict.refused is not None
    assert verdict.refused.relogin.url is None


def check_not_kept(asker: Asker, server: FaultyServer) -> None:
    """Once Graph is well the same token passes."""
    server.default = scripts.healthy()
    assert asker.ask().brief == YES
    assert asker.guard.peek(TOKEN) is not None


def check_in_time(verdict: Verdict) -> None:
    """The deadline has passed, and not much more."""
    check_no_answer(verdict)
    assert SHORT * 0.9 <= verdict.seconds <= SHORT + MARGIN


def transient(code: int, status: int) -> Reply:
    return Reply(
        b'{"error": {"message": "m", "type": "OAuthException", "code": %d, "is_transient": true}}' % code,
        status,
    )


NO_ANSWERS = {
    **{f"{status} page": Reply(b"<html>Sorry", status, HTML) for status in (500, 502, 503, 504)},
    **{f"{status} empty": Reply(b"", status) for status in (500, 502, 503, 504)},
    **{f"{status} with data": Reply(valid().body, status) for status in (201, 206, 500, 503)},
    **{f"code {code} {status}": envelope(code, status=status) for code in (1, 2) for status in (400, 500)},
    "transient 200": transient(100, 200),
    "transient 190": transient(190, 400),
    "transient 9999": transient(9999, 500),
}


@pytest.mark.parametrize("reply", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_d01_graph_is_ill(opened: Opened, server: FaultyServer, reply: Reply) -> None:
    server.default = scripts.healthy(reply)
    asker = opened(server.url)
    check_no_answer(asker.ask())
    assert asker.guard.peek(TOKEN) is None
    assert server.calls == [TOKEN]  # an answer is an answer: it is not asked for again
    check_not_kept(asker, server)


OUR_FAULT = {
    "190": envelope(190, message="Invalid OAuth access token."),
    "190 secret": envelope(190, message="Error validating application. Invalid application secret."),
    "101": envelope(101, message="Error validating application. Cannot get application info."),
    "102": envelope(102),
    "104": envelope(104),
    "100": envelope(100, message="(#100) You must provide an app access token"),
}


@pytest.mark.parametrize("reply", OUR_FAULT.values(), ids=OUR_FAULT)
def test_d02_our_credential_is_refused(opened: Opened, server: FaultyServer, reply: Reply) -> None:
    """Nobody is sent to a login for it, whether the guard's own probe has spoken yet or not."""
    server.default = scripts.healthy(reply)
    asker = opened(server.url)
    for number in range(5):
        check_no_answer(asker.ask(f"{TOKEN}{number}"))
    check_not_kept(asker, server)


@pytest.mark.parametrize("reply", OUR_FAULT.values(), ids=OUR_FAULT)
def test_d02_the_probe_confirms_it(
    opened: Opened, server: FaultyServer, reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    server.default = server.probe = scripts.healthy(reply)
    asker = opened(server.url)
    with caplog.at_level(logging.WARNING, "fbguard"):
        verdict = asker.ask_until(MISCONFIGURED)
    check_no_answer(verdict, MISCONFIGURED)
    assert verdict.refused is not None
    assert verdict.refused.relogin.action == "none"
    assert [record.levelno for record in caplog.records if record.name == "fbguard"] == [logging.WARNING]
    assert SECRET not in caplog.text
    target, headers = head_of(next(one for one in server.requests if b"input_token" not in one))
    assert target in {f"/v26.0/{APP_ID}?fields=id", f"/{APP_ID}?fields=id"}
    assert headers["authorization"] == [f"Bearer {APP_ID}|{SECRET}"]


def test_d02_one_probe_a_minute(opened: Opened, server: FaultyServer) -> None:
    """A token can be such that Graph answers so: that must not make the guard ask twice as much."""
    clock = FakeClock()
    server.scripts |= {f"bad{number}": scripts.healthy(OUR_FAULT["190"]) for number in range(60)}
    asker = opened(server.url, clock=clock)
    for number in range(30):
        assert asker.ask(f"bad{number}").brief == UNAVAILABLE
    asker.wait(lambda: server.probes == 1)
    clock.advance(61)
    for number in range(30, 60):
        assert asker.ask(f"bad{number}").brief == UNAVAILABLE
    asker.wait(lambda: server.probes == 2)
    assert asker.ask("good").brief == YES
    assert asker.guard.health().status == "ok"


def test_d02_it_heals(opened: Opened, server: FaultyServer) -> None:
    clock = FakeClock()
    server.default = server.probe = scripts.healthy(OUR_FAULT["190 secret"])
    asker = opened(server.url, clock=clock)
    asker.ask_until(MISCONFIGURED)
    server.default, server.probe = scripts.healthy(), scripts.probed()
    clock.advance(61)
    asker.ask_until(YES)
    assert asker.guard.health().status == "ok"


def test_d03_the_token_of_another_app(opened: Opened, server: FaultyServer) -> None:
    clock = FakeClock()
    server.scripts["foreign"] = scripts.healthy(OTHER_APP)
    asker = opened(server.url, clock=clock, ttl=300.0, negative_ttl=30.0)
    assert [asker.ask("foreign").brief for _ in range(3)] == [(401, "wrong_app")] * 3
    assert (server.calls, server.probes) == (["foreign"], 0)
    server.scripts["foreign"] = scripts.healthy()  # it was our app's setting, and somebody has mended it
    clock.advance(29.9)
    assert asker.ask("foreign").brief == (401, "wrong_app")
    clock.advance(0.2)
    assert asker.ask("foreign").brief == YES


THROTTLES = [4, 17, 32, 341, 368, 613, 80000, 80003, 80014]


@pytest.mark.parametrize("status", [200, 400, 403, 429])
@pytest.mark.parametrize("code", THROTTLES)
def test_d04_a_throttle_is_no_verdict(opened: Opened, server: FaultyServer, code: int, status: int) -> None:
    asker = opened(server.url)
    assert asker.ask("cached").brief == YES
    server.default = scripts.healthy(envelope(code, status=status))
    check_no_answer(asker.ask(), THROTTLED)
    assert asker.guard.peek(TOKEN) is None
    assert asker.ask("cached").brief == YES
    assert server.calls == ["cached", TOKEN]


def throttled(minutes: int | None = None) -> Script:
    usage = json.dumps({"1": [{"type": "pages", "estimated_time_to_regain_access": minutes}]})
    headers = [] if minutes is None else [("X-Business-Use-Case-Usage", usage)]
    return scripts.healthy(envelope(4, status=403), headers)


def test_d04_it_backs_off_as_long_as_graph_says(opened: Opened, server: FaultyServer) -> None:
    clock = FakeClock()
    asker = opened(server.url, clock=clock)
    assert asker.ask("cached").brief == YES
    server.default = throttled(minutes=3)
    verdict = asker.ask("first")
    assert (verdict.brief, verdict.retry_after) == (THROTTLED, 180)
    for second in (0, 100, 79):
        clock.advance(second)
        verdict = asker.ask(f"after{second}")
        check_no_answer(verdict, THROTTLED)
        assert asker.ask("cached").brief == YES
    assert server.calls == ["cached", "first"]
    server.default = scripts.healthy()
    clock.advance(2)
    assert asker.ask("later").brief == YES
    assert asker.ask("more").brief == YES


def test_d04_it_backs_off_longer_and_longer(opened: Opened, server: FaultyServer) -> None:
    """Where the headers say nothing: 2 seconds, twice as many, up to a minute; then one probe each."""
    clock = FakeClock()
    asker = opened(server.url, clock=clock)
    server.default = throttled()
    assert asker.ask("first").brief == THROTTLED
    for wait in (2, 4, 8, 16, 32, 60, 60):
        before = len(server.calls)
        clock.advance(wait * 0.7)  # whatever jitter there is
        asker.ask(f"w{wait}early")
        early = len(server.calls) - before
        clock.advance(wait * 0.7)
        assert {verdict.brief for verdict in asker.together([f"w{wait}t{n}" for n in range(5)])} == {
            THROTTLED
        }
        assert (early, len(server.calls) - before) == (0, 1)


def test_d05_nobody_accepts(opened: Opened) -> None:
    with BlackHole() as hole:
        if not hole.works:
            pytest.skip("this system accepts whatever comes")
        verdict, ticks = opened(hole.url, deadline=SHORT).ask_while_ticking()
    check_in_time(verdict)
    assert ticks >= 5


@pytest.mark.parametrize("mute", [True, False], ids=["never reads", "never answers"])
def test_d05_accepted_and_then_silence(opened: Opened, mute: bool) -> None:
    with FaultyServer(scripts.silence(), mute=mute) as server:
        asker = opened(server.url, deadline=SHORT)
        verdict, ticks = asker.ask_while_ticking()
        check_in_time(verdict)
        assert ticks >= 5
        assert server.connections == 1
        asker.wait(lambda: server.open == 0)  # and nothing is left of it


def test_d05_the_queue_for_a_connection(opened: Opened, server: FaultyServer) -> None:
    """Who waits for a slot waits inside the own deadline."""
    server.default = scripts.silence()
    asker = opened(server.url, deadline=SHORT, max_in_flight=1)
    for verdict in asker.together([f"t{number}" for number in range(5)]):
        check_no_answer(verdict)
        assert verdict.seconds <= SHORT + MARGIN
    assert server.most_open == 1
    asker.wait(lambda: server.open == 0)
    check_not_kept(asker, server)


DRIPS = {
    "head": scripts.drip(0.02, scripts.wire(valid())),
    "interim": scripts.interim(100, 0.02),
    "body": scripts.drip(0.02, valid().body, scripts.head(200, [("Content-Length", str(len(valid().body)))])),
    "chunks": scripts.over_and_over(scripts.head(200, scripts.CHUNKED), b"1\r\n \r\n", 0.02),
    "chunk extension": scripts.over_and_over(scripts.head(200, scripts.CHUNKED) + b"1;", b"x", 0.02),
    "header": scripts.over_and_over(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.02),
}


@pytest.mark.parametrize("script", DRIPS.values(), ids=DRIPS)
def test_d06_a_drip(opened: Opened, server: FaultyServer, script: Script) -> None:
    """Each byte would begin a time-out per read anew; the whole verdict has one deadline."""
    server.default = script
    asker = opened(server.url, deadline=SHORT)
    verdict, ticks = asker.ask_while_ticking()
    check_in_time(verdict)
    assert ticks >= 5  # the loop had its turns
    assert server.calls == [TOKEN]
    asker.wait(lambda: server.open == 0)


def test_d06_a_drip_holds_nobody_else_up(opened: Opened, server: FaultyServer) -> None:
    server.scripts["slow"] = DRIPS["body"]
    asker = opened(server.url, deadline=2.0)
    slow, *others = asker.together(["slow", *(f"t{number}" for number in range(5))])
    assert {verdict.brief for verdict in others} == {YES}
    assert max(verdict.seconds for verdict in others) < slow.seconds


class BlockingClock(FakeClock):
    """Blocks whoever reads it next, once; of a cold token's look-up, that is the loop that asks Graph."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = False

    def monotonic(self) -> float:
        if self.blocks:
            self.blocks = False
            time.sleep(2 * SHORT)
        return super().monotonic()


def test_d06_a_blocked_loop_would_be_seen(opened: Opened, server: FaultyServer) -> None:
    """What the tests count as turns would be missing."""
    clock = BlockingClock()
    asker = opened(server.url, clock=clock)
    clock.blocks = True
    verdict, ticks = asker.ask_while_ticking()
    assert verdict.brief == YES
    assert ticks < verdict.seconds / 0.01 / 2


HUGE = {
    "a gibibyte": scripts.huge(),
    "endless chunks": scripts.endless_chunks(),
    "endless without a length": scripts.over_and_over(scripts.head(), b" " * 65_536),
    "an endless header": scripts.over_and_over(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65_536),
    "endless headers": scripts.over_and_over(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000),
    "endless trailers": scripts.over_and_over(
        scripts.head(200, scripts.CHUNKED) + b"0\r\n", b"X: y\r\n" * 10_000
    ),
}


@pytest.mark.parametrize("script", HUGE.values(), ids=HUGE)
def test_d07_too_much(opened: Opened, server: FaultyServer, script: Script) -> None:
    """It is hung up on at the cap, and long before the deadline."""
    server.default = script
    asker = opened(server.url)
    tracemalloc.start()
    try:
        verdict = asker.ask()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    check_no_answer(verdict)
    assert verdict.seconds < PATIENCE / 2
    assert peak < 8 * BLOCKS
    assert server.calls == [TOKEN]
    asker.wait(lambda: server.open == 0)
    assert server.sent < 64 * BLOCKS  # what the buffers of two sockets take
    check_not_kept(asker, server)


UNCOUNTED = {
    "a chunk extension": scripts.over_and_over(scripts.head(200, scripts.CHUNKED) + b"1;", b"x" * 65_536),
    "a chunk size": scripts.over_and_over(scripts.head(200, scripts.CHUNKED), b"0" * 65_536),
}


@pytest.mark.parametrize("script", UNCOUNTED.values(), ids=UNCOUNTED)
def test_d07_too_much_that_is_no_body(opened: Opened, server: FaultyServer, script: Script) -> None:
    """The parser passes over it, so no cap counts it; nothing of it is kept, and the deadline ends it."""
    server.default = script
    asker = opened(server.url, deadline=SHORT)
    tracemalloc.start()
    try:
        verdict, ticks = asker.ask_while_ticking()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    check_in_time(verdict)
    assert ticks >= 5
    assert peak < 8 * BLOCKS
    asker.wait(lambda: server.open == 0)


def test_d07_more_is_announced_than_comes(opened: Opened, server: FaultyServer) -> None:
    server.default = scripts.silence(scripts.wire(valid(), length=60_000))
    check_in_time(opened(server.url, deadline=SHORT).ask())


def test_d07_more_comes_than_is_announced(opened: Opened, server: FaultyServer) -> None:
    """What is left on a connection is nobody's answer: here, facts for whoever asks next."""
    wrong = scripts.wire(valid(user_id="666"))
    server.default = scripts.in_turn(
        scripts.play(scripts.wire() + wrong), scripts.healthy(valid(user_id="2"))
    )
    asker = opened(server.url)
    first, second = asker.ask("a"), asker.ask("b")
    assert first.info is None or first.info.user_id == "1001"
    assert second.info is not None
    assert second.info.user_id == "2"
    cut = scripts.wire(valid(), length=len(valid().body) - 1)
    server.default = scripts.play(cut)
    check_no_answer(asker.ask("c"))


BOMB = 64 << 20
BOMBS = {
    "gzip": scripts.gzip_bomb(BOMB, "gzip"),
    "deflate": scripts.gzip_bomb(BOMB, "deflate"),
    "twice": scripts.gzip_bomb(BOMB, "gzip, gzip", 2),
    "br": scripts.gzip_bomb(BOMB, "br"),
    "zstd": scripts.gzip_bomb(BOMB, "zstd"),
    "x-gzip": scripts.gzip_bomb(BOMB, "x-gzip"),
    "identity, gzip": scripts.gzip_bomb(BOMB, "identity, gzip"),
}


@pytest.mark.parametrize("script", BOMBS.values(), ids=BOMBS)
def test_d08_a_bomb(opened: Opened, server: FaultyServer, script: Script) -> None:
    server.default = script
    asker = opened(server.url)
    tracemalloc.start()
    try:
        verdict = asker.ask()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    check_no_answer(verdict)
    assert peak < 8 * BLOCKS
    assert head_of(server.requests[0])[1]["accept-encoding"] == ["identity"]
    check_not_kept(asker, server)


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "deflate, chunked"])
def test_d08_a_transfer_coding(opened: Opened, server: FaultyServer, coding: str) -> None:
    (whole,) = BOMBS["gzip"]()
    assert isinstance(whole, bytes)
    body = whole.partition(b"\r\n\r\n")[2]
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    server.default = scripts.play(scripts.head(200, [("Transfer-Encoding", coding)]) + chunks, 0.02, End.FIN)
    check_no_answer(opened(server.url).ask())


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_d09_a_redirect(opened: Opened, server: FaultyServer, status: int) -> None:
    with FaultyServer(scripts.healthy()) as other:
        places = [
            f"{other.url}/v26.0/debug_token",
            f"//127.0.0.1:{other.port}/",
            f"https://127.0.0.1:{other.port}/",
            "/v26.0/elsewhere",
            "file:///etc/passwd",
        ]
        asker = opened(server.url)
        for place in places:
            server.default = scripts.redirect(status, place)
            check_no_answer(asker.ask())
        assert other.connections == 0
    assert server.calls == [TOKEN] * len(places)
    check_not_kept(asker, server)
