"""The loggers in which a framework or a server complains, written where the test can read them."""

from __future__ import annotations

import logging
import sys

MARK = "RECORD"
WATCHED = {"flask.app": logging.WARNING, "uvicorn.error": logging.WARNING, "django.request": logging.ERROR}


def watch() -> None:
    """Write what is noise in these loggers to stderr, a marked line each; call it after their set-up."""
    for name, level in WATCHED.items():
        handler = logging.StreamHandler(sys.stderr)
        handler.setLevel(level)
        handler.setFormatter(logging.Formatter(f"{MARK} %(levelname)s %(name)s %(message)s"))
        logging.getLogger(name).addHandler(handler)


def complain() -> None:
    """Write one such record each: the proof that a log without them tells something."""
    for name, level in WATCHED.items():
        logging.getLogger(name).log(level, "on purpose")
