"""What kind of process a guard refuses to live in."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from fbguard.core.process import refuse_process
from tests.support import TOKEN, make_guard


def put(monkeypatch: pytest.MonkeyPatch, name: str, **contents: object) -> None:
    """Put a module of this name where imports look first."""
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def eventlet(monkeypatch: pytest.MonkeyPatch, *patched: str) -> None:
    put(monkeypatch, "eventlet.patcher", is_monkey_patched=lambda name: name in patched)


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Give the options of a uWSGI that this process seems to live in."""
    options: dict[str, object] = {}
    put(monkeypatch, "uwsgi", opt=options)
    return options


@pytest.mark.parametrize("needs_timers", [False, True])
def test_a_process_like_this_one(needs_timers):
    refuse_process(needs_timers=needs_timers)


@pytest.mark.parametrize("needs_timers", [False, True])
def test_eventlet_that_patches_threads(monkeypatch, needs_timers):
    eventlet(monkeypatch, "socket", "thread")
    with pytest.raises(RuntimeError, match="eventlet"):
        refuse_process(needs_timers=needs_timers)


@pytest.mark.parametrize("patched", [(), ("socket",), ("socket", "os", "time")])
def test_eventlet_that_leaves_threads_alone(monkeypatch, patched):
    eventlet(monkeypatch, *patched)
    refuse_process(needs_timers=True)


def test_eventlet_that_is_only_installed(monkeypatch):
    """Its patcher is not imported: nobody has patched anything, and the guard imports nothing of it."""
    monkeypatch.delitem(sys.modules, "eventlet.patcher", raising=False)
    before = set(sys.modules)
    refuse_process(needs_timers=True)
    assert not [name for name in set(sys.modules) - before if name.startswith("eventlet")]


WITH_THREADS = [
    {"enable-threads": True},
    {"enable-threads": b"true"},
    {"enable-threads": b"1"},
    {"threads": b"2"},
    {"threads": 4},
    {"enable-threads": False, "threads": b"8"},
]
WITHOUT_THREADS = [
    {},
    {"enable-threads": False},
    {"enable-threads": b"false"},
    {"enable-threads": b"0"},
    {"threads": b"1"},
    {"threads": b"many"},
    {"threads": b""},
]


@pytest.mark.parametrize("options", WITH_THREADS, ids=repr)
def test_a_uwsgi_with_threads(uwsgi, options):
    uwsgi.update(options)
    refuse_process(needs_timers=True)


@pytest.mark.parametrize("options", WITHOUT_THREADS, ids=repr)
def test_a_uwsgi_without_threads(uwsgi, options):
    """Between requests no Python code runs there: what is begun in the background never ends."""
    uwsgi.update(options)
    with pytest.raises(RuntimeError, match="--enable-threads"):
        refuse_process(needs_timers=True)
    refuse_process(needs_timers=False)


def test_a_guard_says_so_when_it_is_made(monkeypatch, uwsgi):
    with pytest.raises(RuntimeError, match="refresh_ahead needs threads"):
        make_guard(refresh_ahead=0.8)
    with make_guard() as guard:
        assert guard.check(TOKEN).user_id == "1001"
    eventlet(monkeypatch, "thread")
    with pytest.raises(RuntimeError, match="eventlet"):
        make_guard()
