"""Where a guard's options come from: the environment, a mapping."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final, TypedDict, cast

from fbguard.core.settings import boxed


class NoOptions(TypedDict):
    """The options that there are besides those with a name: none."""


STORE: Final = "FBGUARD_REDIS_URL"
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "FBGUARD_APP_ID": "app_id",
    "FBGUARD_APP_SECRET": "app_secret",
    "FBGUARD_GRAPH_URL": "graph_url",
    "FBGUARD_GRAPH_VERSION": "graph_version",
    "FBGUARD_DIALOG_URL": "dialog_url",
    "FBGUARD_REDIRECT_URI": "redirect_uri",
    "FBGUARD_JWKS_URL": "jwks_url",
    "FBGUARD_TTL": "ttl",
    "FBGUARD_NEGATIVE_TTL": "negative_ttl",
    "FBGUARD_DEADLINE": "deadline",
    "FBGUARD_STALE_IF_ERROR": "stale_if_error",
    STORE: "store",
}
VARIABLES: Final = tuple(_ENVIRONMENT)
_NUMBERS: Final = frozenset({"ttl", "negative_ttl", "deadline", "stale_if_error"})
_SECRETS: Final = frozenset({"app_secret", "store"})  # the URL of a store holds a password
NEEDED: Final = frozenset({"app_id", "app_secret"})
# The whole, or one of several secrets.
_QUOTED: Final = re.compile(r"""(?:\A|,)\s*(["']).*\1\s*(?:,|\Z)""", re.DOTALL)


def refuse_unknown(
    what: str, options: Iterable[str], known: Collection[str], spelled: Callable[[str], str] = str
) -> None:
    """Raise TypeError for an option that ``what`` does not have; its text names one that is spelled alike.

    ``spelled`` gives an option as people write it there.
    """
    for option in options:
        if option not in known:
            near = nearest(option, known)
            meant = f"; is it {spelled(near)!r}?" if near else ""
            raise TypeError(f"{what} has no option {spelled(option)!r}{meant}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name that is spelled most alike, whatever its case; None if there is none."""
    from difflib import get_close_matches  # noqa: PLC0415 - importing fbguard is quick

    names = {one.lower(): one for one in known}
    near = get_close_matches(name.lower(), names, 1)
    return names[near[0]] if near else None


def boxed_secret(options: object) -> Any:
    """Return a mapping whose secrets are boxed, so that no traceback shows them; else what was given."""
    if not isinstance(options, Mapping):
        return options
    items = cast("Mapping[object, object]", options).items()
    return {key: boxed(value) if key in _SECRETS else value for key, value in items}


def from_environment(overrides: Mapping[str, object]) -> dict[str, Any]:
    """Return the options that ``FBGUARD_*`` variables give, without those that are overridden.

    The environment is read where it stands: as a local variable it would be in every traceback.
    Raises ValueError naming the variable when a needed one is missing, one is quoted, or a number is none.
    """
    options: dict[str, Any] = {}
    for variable, option in _ENVIRONMENT.items():
        if option in overrides:
            continue
        if variable in os.environ:
            if _QUOTED.search(os.environ[variable]):
                raise ValueError(f"{variable} has quotes around it: docker's --env-file keeps them")
            options[option] = _from_text(variable, option, os.environ[variable])
        elif option in NEEDED:
            raise ValueError(f"{variable} is not set")
    return options


def _from_text(variable: str, option: str, text: str) -> object:
    if option in _NUMBERS:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{variable} must be a number of seconds") from None
    if option == "app_secret":
        return boxed(text.split(",") if "," in text else text)
    return boxed(text) if option in _SECRETS else text


def from_mapping(mapping: object) -> dict[str, Any]:
    """Return the options of a mapping from TOML, JSON or a framework's settings.

    Raises TypeError for what is no mapping from str, and for a required option that is missing, or that
    bears nearly its name.
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(f"a guard is configured by a mapping, not {type(mapping).__name__}")
    options: dict[str, Any] = {}
    for key, value in mapping.items():  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(key, str):
            raise TypeError("the names of a guard's options are str")
        options[key] = value
    for needed in sorted(NEEDED - options.keys()):
        for option in options.keys() - NEEDED:
            if nearest(option, [needed]):
                refuse_unknown("Guard", [option], [needed])
        raise TypeError(f"{needed} is missing")
    return options
