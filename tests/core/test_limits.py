"""Look-ups of unknown tokens a client, and who a client is."""

from __future__ import annotations

import ipaddress
import secrets
import threading
from dataclasses import dataclass, field

import pytest

from fbguard.core import limits
from fbguard.core.limits import MissLimit, client_of
from tests.support import PATIENCE, FakeClock


@dataclass
class Asker:
    client: str | None
    forwarded: list[str] = field(default_factory=list)

    def header(self, name: str) -> list[str]:
        return self.forwarded if name == "x-forwarded-for" else ["9.9.9.9"]


ONE, OTHER = Asker("192.0.2.1"), Asker("192.0.2.2")
DEADLINE = 3.0


def make(clock: FakeClock, count: int = 5, seconds: float = 10.0, proxies: tuple[str, ...] = ()) -> MissLimit:
    return MissLimit(
        count, seconds, [ipaddress.ip_network(one) for one in proxies], clock.monotonic, DEADLINE
    )


def take(limit: MissLimit, asker: Asker = ONE) -> float:
    """Count a look-up of one more token."""
    return limit.take(asker, secrets.token_bytes(8))


def taken(limit: MissLimit, asker: Asker = ONE, tries: int = 20) -> int:
    return [take(limit, asker) for _ in range(tries)].count(0.0)


@pytest.mark.parametrize(("count", "seconds"), [(1, 1), (5, 10), (7, 0.3), (1000, 60), (3, 86_400)])
def test_so_many_at_once_and_as_many_again(clock, count, seconds):
    limit = make(clock, count, seconds)
    assert taken(limit, tries=count * 2) == count
    clock.advance(seconds)
    assert taken(limit, tries=count * 2) == count
    clock.advance(seconds / count * 1.001)
    assert taken(limit) == 1
    clock.advance(seconds * 100)
    assert taken(limit, tries=count * 2) == count  # a long silence saves up no more


def test_the_time_to_wait(clock):
    limit = make(clock)
    taken(limit)
    assert take(limit, ONE) == pytest.approx(2)
    clock.advance(1.5)
    assert take(limit, ONE) == pytest.approx(0.5)  # to ask in vain costs nothing
    clock.advance(0.5)
    assert take(limit, ONE) == 0
    assert take(limit, ONE) == pytest.approx(2)


def test_over_a_long_time_no_more_than_the_rate(clock):
    limit, allowed = make(clock), 0
    for _ in range(1000):
        allowed += take(limit, ONE) == 0
        clock.advance(0.1)
    assert allowed in {54, 55}  # 5 at once, and 100 seconds at one in two


def test_each_client_for_itself(clock):
    limit = make(clock)
    assert taken(limit) == 5
    assert taken(limit, OTHER) == 5


def test_requests_that_share_a_look_up_count_once(clock):
    limit = make(clock)
    assert [limit.take(ONE, b"key") for _ in range(100)] == [0.0] * 100
    assert taken(limit) == 4
    limit.landed(b"key")
    assert limit.take(ONE, b"key") > 0


def test_a_look_up_that_nobody_saw_land_counts_anew_after_its_deadline(clock):
    limit = make(clock, count=2, seconds=1000)
    assert limit.take(ONE, b"key") == 0
    clock.advance(DEADLINE)
    assert [limit.take(ONE, b"key") for _ in range(2)] == [0.0, 0.0]
    clock.advance(DEADLINE)
    assert limit.take(ONE, b"key") > 0


def test_a_refused_look_up_is_not_under_way(clock):
    limit = make(clock, count=1)
    assert taken(limit) == 1
    assert [limit.take(ONE, b"key") > 0 for _ in range(2)] == [True, True]


def test_the_number_of_look_ups_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(limits, "_LOOK_UPS", 100)
    limit = make(clock, count=1000)
    taken(limit, tries=1000)
    assert len(limit._under_way) == 100


def test_without_an_address_there_is_no_limit(clock):
    limit = make(clock)
    assert taken(limit, Asker(None)) == taken(limit, Asker("")) == 20
    assert taken(limit, Asker(None, ["192.0.2.1"])) == 20


def test_a_machine_set_back_locks_nobody_out(clock):
    limit = make(clock)
    taken(limit)
    clock.mono = 1.0
    assert take(limit, ONE) <= 10
    clock.advance(10)
    assert taken(limit) >= 5


def test_the_number_of_clients_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(limits, "_CLIENTS", 100)
    limit = make(clock)
    for number in range(1000):
        take(limit, Asker(f"client-{number}"))
    assert len(limit._paid_at) == 100


def test_threads(clock):
    limit, barrier, allowed = make(clock, 100, 1000), threading.Barrier(8), []

    def work() -> None:
        barrier.wait(PATIENCE)
        allowed.append(taken(limit, tries=100))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sum(allowed) == 100


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("10.0.0.1", ["198.51.100.7:52044"], "198.51.100.7"),  # some proxies name the port, too
        ("10.0.0.1", ["[2001:db8::7]:52044"], "2001:db8::/64"),
        ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::/64"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # a peer that nobody trusts
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),  # the left part the client wrote
        ("10.0.0.1", ["10.1.1.1, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7", "10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9,198.51.100.7 ,\t10.0.0.2 , 10.0.0.3"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.2, 10.0.0.3"], "10.0.0.2"),  # all of it is ours
        ("10.0.0.1", ["rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, rubbish"], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7, "], "10.0.0.1"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["unknown, 10.0.0.2"], "10.0.0.2"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", ["192.0.2.1"], "2001:db8:1:2::/64"),
        ("fd00::1", ["2001:db8:1:2::ffff"], "2001:db8:1:2::/64"),
        ("fd00::1", ["[2001:db8:1:2::ffff]"], "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], "fe80::/64"),
        ("testclient", ["198.51.100.7"], "testclient"),
        (None, ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),  # a proxy's Unix socket
        (None, [], None),
        ("", [], None),
    ],
)
def test_who_a_client_is(peer, forwarded, client):
    proxies = [ipaddress.ip_network(one) for one in ("10.0.0.0/8", "fd00::/8")]
    assert client_of(Asker(peer, forwarded), proxies) == client


@pytest.mark.parametrize(("peer", "client"), [("10.0.0.1", "10.0.0.1"), ("::1", "::/64"), (None, None)])
def test_without_trusted_proxies_no_header_counts(peer, client):
    assert client_of(Asker(peer, ["198.51.100.7"]), []) == client


def test_one_network_is_one_client(clock):
    limit = make(clock)
    addresses = [Asker(f"2001:db8:1:2::{number:x}") for number in range(20)]
    assert [take(limit, one) for one in addresses].count(0.0) == 5
    assert take(limit, Asker("2001:db8:1:3::1")) == 0


def test_a_client_that_writes_the_header_is_one_client(clock):
    limit = make(clock, proxies=("10.0.0.0/8",))
    spoofed = [Asker("10.0.0.1", [f"203.0.113.{number}, 198.51.100.7"]) for number in range(20)]
    assert [take(limit, one) for one in spoofed].count(0.0) == 5
