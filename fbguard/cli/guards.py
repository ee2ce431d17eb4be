"""The guard of a command that asks once."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Final

from fbguard.cli import asking
from fbguard.core.options import STORE
from fbguard.guard import Guard
from fbguard.stores.sqlite import SQLiteStore

# Asked once, by a person who waits: from Facebook and not from a store, and with patience.
_ASKED_ONCE: Final = {"ttl": 300.0, "negative_ttl": 300.0, "stale_if_error": 0.0}
_DEADLINE: Final = 10.0  # seconds


def patience() -> dict[str, float]:
    """Return the deadline of a command, where the environment names none: a person waits for it."""
    return {} if "FBGUARD_DEADLINE" in os.environ else {"deadline": _DEADLINE}


def file_store(path: str) -> SQLiteStore:
    """Return the store in a file that is there; raises :class:`fbguard.cli.asking.WrongUse`.

    It makes none: nobody would share it.
    """
    try:
        size = os.stat(path).st_size
    except (OSError, ValueError) as error:
        raise asking.WrongUse(f"--store-file: {getattr(error, 'strerror', None) or 'no path'}") from None
    if not size:
        raise asking.WrongUse("--store-file: the file is empty")
    try:
        return SQLiteStore(path)
    except ValueError as error:
        raise asking.WrongUse(f"--store-file: {error}") from None


def one_off_guard(
    *,
    in_store: bool = False,
    store_file: str | None = None,
    id_tokens: bool = False,
    rate: float | None = None,
    **given: str | None,
) -> Guard:
    """Return a guard with these options; those that are None come from the environment, or are its defaults.

    With ``id_tokens`` it takes those of Limited Login, too, where what verifies them is installed. With
    ``in_store`` it shares the store that the environment names, with ``store_file`` the one in that file;
    ``rate`` is calls a second. Raises
    :class:`fbguard.cli.asking.WrongUse` for options that are wrong or missing.
    """
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options["limited_login"] = id_tokens and find_spec("joserfc") is not None
    if not in_store:
        options["store"] = None if store_file is None else file_store(store_file)
    elif STORE not in os.environ:
        raise asking.WrongUse(f"--store needs {STORE}; a file that workers share is --store-file PATH")
    if rate is not None:
        options["max_calls_per_second"] = rate
    secret = asking.app_secret()
    if secret is not None:
        options["app_secret"] = secret
    try:
        return Guard.from_env(**_ASKED_ONCE, **patience(), **options)
    except (TypeError, ValueError, ImportError) as error:  # it names the option or variable, never its value
        told = str(error).replace("SQLiteStore(path)", "--store-file PATH")  # as it is written here
        raise asking.WrongUse(told) from None
