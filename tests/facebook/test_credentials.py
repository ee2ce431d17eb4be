"""Our own credential: which one is used, and when it is probed."""

from __future__ import annotations

import logging
import threading

import pytest

from fbguard.core.secret import Secret
from fbguard.facebook.credentials import PROBE_EVERY, TRY_EVERY, Credentials
from tests.support import APP_ID, PATIENCE, SECRET, FakeClock

OLD, NEW, NEWEST = "00old00", "11new11", "22newest22"


def make(clock: FakeClock, *secrets: str) -> Credentials:
    return Credentials(APP_ID, [Secret(secret) for secret in secrets or (SECRET,)], clock.monotonic)


def shown(*credentials: Secret) -> list[str]:
    return [one.reveal().removeprefix(f"{APP_ID}|") for one in credentials]


def test_a_credential_is_app_id_and_secret(clock):
    assert make(clock).current == Secret(f"{APP_ID}|{SECRET}")


def test_the_one_that_works_goes_first(clock):
    credentials = make(clock, OLD, NEW, NEWEST)
    assert shown(credentials.current, *credentials.in_order()) == [OLD, OLD, NEW, NEWEST]
    credentials.accept(credentials.in_order()[1])
    assert shown(credentials.current, *credentials.in_order()) == [NEW, NEW, OLD, NEWEST]
    credentials.accept(credentials.current)
    assert shown(credentials.current, *credentials.in_order()) == [NEW, NEW, OLD, NEWEST]
    credentials.accept(credentials.in_order()[2])
    assert shown(credentials.current, *credentials.in_order()) == [NEWEST, NEWEST, OLD, NEW]


def test_refused_and_taken_again(clock, caplog):
    caplog.set_level(logging.INFO, "fbguard")
    credentials = make(clock, OLD, NEW)
    assert not credentials.are_refused
    credentials.accept(credentials.current)
    credentials.are_taken()
    assert caplog.records == []  # there is nothing to tell
    credentials.refuse()
    assert credentials.are_refused
    credentials.accept(credentials.current)
    assert not credentials.are_refused
    credentials.refuse()
    credentials.are_taken()
    assert not credentials.are_refused
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO"] * 2
    caplog.clear()
    credentials.accept(credentials.in_order()[1])
    assert [record.levelname for record in caplog.records] == ["WARNING"]  # one secret is no good
    assert OLD not in caplog.text
    assert NEW not in caplog.text


def test_each_refused_probe_is_told(clock, caplog):
    credentials = make(clock)
    for _ in range(3):
        credentials.refuse()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3


def test_one_probe_a_minute(clock):
    credentials = make(clock)
    for _ in range(3):
        assert [credentials.claim_probe() for _ in range(3)] == [True, False, False]
        assert credentials.seconds_to_probe() == PROBE_EVERY
        clock.advance(PROBE_EVERY - 0.5)
        assert not credentials.claim_probe()
        assert credentials.seconds_to_probe() == 0.5
        clock.advance(0.5)
        assert credentials.seconds_to_probe() == 0


def test_a_probe_that_was_not_made_is_given_back(clock):
    credentials = make(clock)
    assert credentials.claim_probe()
    credentials.release_probe()
    assert credentials.seconds_to_probe() == 0
    assert [credentials.claim_probe() for _ in range(2)] == [True, False]


def test_one_try_a_second(clock):
    credentials = make(clock)
    for _ in range(3):
        assert [credentials.claim_try() for _ in range(3)] == [True, False, False]
        clock.advance(TRY_EVERY - 0.25)
        assert not credentials.claim_try()
        clock.advance(0.25)
    assert TRY_EVERY == 1
    clock.mono = 1.0  # a snapshot of long ago
    assert [credentials.claim_try() for _ in range(2)] == [True, False]


def test_before_the_first_probe(clock):
    assert make(clock).seconds_to_probe() == 0


def test_a_machine_set_back_probes_again(clock):
    credentials = make(clock)
    credentials.claim_probe()
    clock.mono = 1.0
    assert credentials.seconds_to_probe() <= PROBE_EVERY
    assert [credentials.claim_probe() for _ in range(2)] == [True, False]


def test_threads_get_one_probe(clock):
    credentials, barrier, claimed = make(clock), threading.Barrier(8), []

    def claim() -> None:
        barrier.wait(PATIENCE)
        claimed.append(credentials.claim_probe())

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(claimed) == [False] * 7 + [True]


def test_a_child_takes_a_new_lock(clock):
    credentials = make(clock)
    credentials._lock.acquire()  # by a thread that the child has not
    credentials.begin_anew()
    assert credentials.claim_probe()


@pytest.mark.parametrize("show", [repr, str, lambda one: str(vars(one))])
def test_nothing_shows_a_secret(clock, show):
    assert SECRET not in show(make(clock))
