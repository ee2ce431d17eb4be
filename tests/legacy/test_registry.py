"""The registry of session keys, and the order of a session's calls."""

from __future__ import annotations

import os
import threading

import pytest

from fbguard.core.secret import Secret
from fbguard.legacy.sessions import CallOrder, SessionRegistry
from tests.legacy.calls import KEY, SESSION_SECRET, TOKEN
from tests.support import PATIENCE


def fill(registry: SessionRegistry, *keys: str) -> None:
    for key in keys:
        registry.register(Secret(key), Secret(f"token of {key}"))


def test_a_session_is_found_by_its_key():
    registry = SessionRegistry()
    registry.register(Secret(KEY), Secret(TOKEN), Secret(SESSION_SECRET))
    token, secret = registry.find(Secret(KEY))
    assert (token.reveal(), secret.reveal()) == (TOKEN, SESSION_SECRET)
    assert registry.find(Secret(KEY[:-1])) is None
    registry.register(Secret(KEY), Secret("new"))
    token, secret = registry.find(Secret(KEY))
    assert (token.reveal(), secret) == ("new", None)
    assert len(registry) == 1


def test_the_longest_unused_goes_first():
    registry = SessionRegistry(2)
    fill(registry, "a", "b")
    registry.find(Secret("a"))
    fill(registry, "c")
    assert [registry.find(Secret(key)) is not None for key in "abc"] == [True, False, True]
    assert len(registry) == 2


@pytest.mark.parametrize("key", ["", " ", "a b", "a=b", "a\n", "\u00e4", "\x7f", "k" * 257])
def test_keys_that_no_call_can_carry_are_refused(key):
    with pytest.raises(ValueError, match="session_key must be") as caught:
        SessionRegistry().register(Secret(key), Secret(TOKEN))
    assert not key.strip() or key not in str(caught.value)


def test_the_longest_key_and_every_letter():
    letters = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "=")
    for key in (letters, "k" * 256):
        registry = SessionRegistry()
        fill(registry, key)
        assert registry.find(Secret(key)) is not None


def test_empty_tokens_and_secrets_are_refused():
    registry = SessionRegistry()
    with pytest.raises(ValueError, match="token must not be empty"):
        registry.register(Secret(KEY), Secret(""))
    for secret in ("", " ", "a b", "\u00e4"):
        with pytest.raises(ValueError, match="secret must"):
            registry.register(Secret(KEY), Secret(TOKEN), Secret(secret))
    assert len(registry) == 0


def test_nothing_of_a_session_is_shown():
    registry = SessionRegistry()
    registry.register(Secret(KEY), Secret(TOKEN), Secret(SESSION_SECRET))
    shown = repr(registry) + repr(vars(registry)) + repr(registry.find(Secret(KEY)))
    assert [word for word in (KEY, TOKEN, SESSION_SECRET) if word in shown] == []


def test_threads_share_a_registry():
    registry = SessionRegistry(100)

    def work(name: str) -> None:
        for number in range(500):
            fill(registry, f"{name}{number}")
            registry.find(Secret(f"{name}{number // 2}"))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert len(registry) == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_lock_that_is_held_at_a_fork_is_free_in_the_child():
    registry, order = SessionRegistry(), CallOrder()
    fill(registry, KEY)
    with registry._lock, order._lock:
        child = os.fork()
        if not child:
            found = registry.find(Secret(KEY)) is not None
            first = order.allows(Secret(KEY), "1", Secret("s"), Secret(TOKEN))
            os._exit(0 if found and first else 1)
    watchdog = threading.Timer(PATIENCE, os.kill, (child, 9))
    watchdog.start()
    _, status = os.waitpid(child, 0)
    watchdog.cancel()
    watchdog.join()
    assert status == 0


def test_the_order_of_calls_is_bounded_and_knows_a_repeat():
    order = CallOrder(2)
    key, sig, token = Secret(KEY), Secret("sig"), Secret(TOKEN)
    order.note(key, "2", sig, token)
    order.note(key, "1", sig, token)  # a slower call, that was let in before
    assert order.allows(key, "2.0", sig, token)
    assert order.allows(key, "2.01", Secret("other"), token)
    assert not order.allows(key, "2", Secret("other"), token)
    assert not order.allows(key, "2", sig, Secret("other"))
    assert not order.allows(key, "1", sig, token)
    for name in "ab":
        order.note(Secret(name), "1", sig, token)
    assert order.allows(key, "1", sig, token)
    assert [word for word in (KEY, TOKEN) if word in repr(vars(order))] == []
