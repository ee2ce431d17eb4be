"""The guard of a command that asks once."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any, Final

from fbguard.cli import asking
from fbguard.core.options import STORE
from fbguard.guard import Guard

# Asked once, by a person who waits: from Facebook and not from a store, and with patience.
_ASKED_ONCE: Final = {"ttl": 300.0, "negative_ttl": 300.0, "stale_if_error": 0.0}
_DEADLINE: Final = 10.0  # seconds


def patience() -> dict[str, float]:
    """Return the deadline of a command, where the environment names none: a person waits for it."""
    return {} if "FBGUARD_DEADLINE" in os.environ else {"deadline": _DEADLINE}


def one_off_guard(
    *, in_store: bool = False, id_tokens: bool = False, rate: float | None = None, **given: str | None
) -> Guard:
    """Return a guard with these options; those that are None come from the environment, or are its defaults.

    With ``id_tokens`` it takes those of Limited Login, too, where what verifies them is installed. With
    ``in_store`` it shares the store that the environment names; ``rate`` is calls a second. Raises
    :class:`fbguard.cli.asking.WrongUse` for options that are wrong or missing.
    """
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options["limited_login"] = id_tokens and find_spec("joserfc") is not None
    if not in_store:
        options["store"] = None
    elif STORE not in os.environ:
        raise asking.WrongUse(f"--store needs {STORE}")
    if rate is not None:
        options["max_calls_per_second"] = rate
    secret = asking.app_secret()
    if secret is not None:
        options["app_secret"] = secret
    try:
        return Guard.from_env(**_ASKED_ONCE, **patience(), **options)
    except (TypeError, ValueError, ImportError) as error:  # it names the option or variable, never its value
        raise asking.WrongUse(str(error)) from None
