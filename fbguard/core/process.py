"""What kind of process a guard may live in. What it cannot work in is refused when it is made."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


def refuse_process(*, needs_timers: bool) -> None:
    """Raise RuntimeError where synchronous callers would wait for ever; ``needs_timers`` between requests."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        raise RuntimeError("fbguard does not work under eventlet's monkey patching; use gevent or threads")
    uwsgi = _uwsgi()
    if needs_timers and uwsgi is not None and not _has_threads(uwsgi):
        raise RuntimeError(
            "refresh_ahead needs threads, which uWSGI has switched off: start it with --enable-threads"
        )


def _uwsgi() -> ModuleType | None:
    """Return the module that exists inside uWSGI only."""
    try:
        return importlib.import_module("uwsgi")
    except ImportError:
        return None


def _has_threads(uwsgi: ModuleType) -> bool:
    """Tell whether Python's threads run between requests; the options are bool, or bytes of a file."""
    options = uwsgi.opt
    enabled = options.get("enable-threads", False)
    try:
        return enabled in {True, b"true", b"1"} or int(options.get("threads", 0)) > 1
    except ValueError:
        return False
