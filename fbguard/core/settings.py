"""Checks of configuration: wrong options fail at construction, name themselves and show no secret."""

from __future__ import annotations

import inspect
import ipaddress
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal, TypeVar, cast
from urllib.parse import urlsplit

from fbguard.core.clock import Clock
from fbguard.core.secret import Secret

T = TypeVar("T")

_APP_ID: Final = re.compile(r"[A-Za-z0-9._-]+")
_SECRET: Final = re.compile(r"[\x21-\x7e]+")
_VERSION: Final = re.compile(r"v[0-9]+\.[0-9]+")
_QUOTABLE: Final = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6750 section 3
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21\x24-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7a\x7e]+")
# Schemes of URIs that are no place a person can be sent back to, but a way to run code or to read files.
_NO_PLACES: Final = frozenset({"about", "blob", "data", "file", "javascript", "mailto", "vbscript"})
# What people leave in place of a secret, lower case, letters only.
_PLACEHOLDERS: Final = frozenset({
    "appsecret", "changeme", "facebookappsecret", "fbappsecret", "placeholder", "replaceme", "todo",
    "yourappsecret", "yourfacebookappsecret", "yoursecret", "yoursecrethere",
})  # fmt: skip
_ARGUMENTS: Final[Mapping[str, int]] = {"ASGI": 3, "WSGI": 2}  # an app is called with


def app_id(value: object) -> str:
    """Return a Facebook app id: an exact string, because it is compared exactly."""
    if not isinstance(value, str):
        raise TypeError(f"app_id must be a str, not {type(value).__name__}")
    if not _APP_ID.fullmatch(value):
        raise ValueError("app_id must be the app's id: letters and digits, no white space")
    return value


def boxed(value: object) -> object:
    """Put every str of an ``app_secret`` option into a Secret; what is no str stays for the check."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, list | tuple):
        return tuple(boxed(item) for item in cast("Sequence[object]", value))
    return value


def app_secrets(value: object) -> tuple[Secret, ...]:
    """Return the app secrets of :func:`boxed` options: the first signs, all verify."""
    if isinstance(value, Secret):
        return (_app_secret(value),)
    if not isinstance(value, tuple):
        raise TypeError(f"app_secret must be a str or a sequence of str, not {type(value).__name__}")
    secrets = tuple(_app_secret(item) for item in cast("tuple[object, ...]", value))
    if not secrets:
        raise ValueError("app_secret must hold at least one secret")
    return secrets


def _app_secret(secret: object) -> Secret:
    # Only inside expressions in the clear: the traceback of a wrong secret shows locals.
    if not isinstance(secret, Secret):
        raise TypeError(f"app_secret must hold str, not {type(secret).__name__}")
    if not _SECRET.fullmatch(secret.reveal()):
        raise ValueError("app_secret must not be blank and holds printable ASCII without white space")
    if re.sub(r"[^a-z]", "", secret.reveal().lower()) in _PLACEHOLDERS or len(set(secret.reveal())) == 1:
        raise ValueError("app_secret is a placeholder; use the secret from the app's dashboard")
    return secret


def seconds(option: str, value: object) -> float:
    """Return a finite number of seconds above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{option} must be a number of seconds, not {type(value).__name__}")
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{option} must be finite and above 0")
    return float(value)


def seconds_or_zero(option: str, value: object) -> float:
    """Return a finite number of seconds, 0 or above."""
    return 0.0 if value == 0 and not isinstance(value, bool) else seconds(option, value)


def fraction(option: str, value: object) -> float:
    """Return a number from 0 up to, but not, 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{option} must be a number, not {type(value).__name__}")
    if not 0 <= value < 1:
        raise ValueError(f"{option} must be at least 0 and below 1")
    return float(value)


def networks(option: str, value: object) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Return networks of a sequence of str such as ``10.0.0.0/8``, or addresses."""
    if isinstance(value, str | bytes) or not isinstance(value, Sequence):
        raise TypeError(f"{option} must be a sequence of networks, such as ('10.0.0.0/8',)")
    items = cast("Sequence[object]", value)
    if not all(isinstance(item, str) for item in items):
        raise TypeError(f"{option} must hold str only")
    try:
        return [ipaddress.ip_network(cast("str", item)) for item in items]
    except ValueError:
        raise ValueError(f"{option} must hold networks, such as '10.0.0.0/8'") from None


def optional_rate(option: str, value: object) -> float | None:
    """Return a finite number per second above zero, or None for no limit."""
    return None if value is None else seconds(option, value)


def size(option: str, value: object) -> int:
    """Return a whole number of entries, at least one."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{option} must be an int, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{option} must be at least 1")
    return value


def flag(option: str, value: object) -> bool:
    """Return True or False; TypeError for anything else, also for what is only true or false to Python."""
    if not isinstance(value, bool):
        raise TypeError(f"{option} must be True or False")
    return value


def one_of(option: str, value: T, choices: Sequence[T]) -> T:
    """Return the value if it is one of the choices."""
    if value not in choices:
        raise ValueError(f"{option} must be one of {', '.join(map(repr, choices))}")
    return value


def clock(value: Clock) -> Clock:
    """Return an object with ``time()`` and ``monotonic()`` that give numbers."""
    readings: list[object] = []
    with suppress(AttributeError, TypeError):
        readings += [value.time(), value.monotonic()]
    if not readings or not all(isinstance(reading, int | float) for reading in readings):
        raise TypeError("clock must be an object with time() and monotonic(), in seconds")
    if not all(math.isfinite(reading) for reading in cast("list[float]", readings)):
        raise ValueError("clock must give finite seconds")
    return value


def base_url(option: str, value: object) -> str:
    """Return an https URL without trailing slash; plain http only where it stays on this machine."""
    return url(option, value).rstrip("/")


def url(option: str, value: object) -> str:
    """Return an https URL as it is; plain http only where it stays on this machine."""
    if not isinstance(value, str):
        raise TypeError(f"{option} must be a str, not {type(value).__name__}")
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if not _URI.fullmatch(value) or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{option} must be an https URL")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{option} must have no user, query or fragment")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(f"{option} must be https; plain http is for loopback hosts only")
    return value


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def version(value: object) -> str:
    """Return a Graph API version such as ``v26.0``."""
    if not isinstance(value, str):
        raise TypeError(f"graph_version must be a str, not {type(value).__name__}")
    if not _VERSION.fullmatch(value):
        raise ValueError("graph_version must look like 'v26.0'")
    return value


def realm(value: object) -> str:
    """Return a realm that can stand in a quoted string of the challenge (RFC 6750 section 3)."""
    if not isinstance(value, str):
        raise TypeError(f"realm must be a str, not {type(value).__name__}")
    if not _QUOTABLE.fullmatch(value):
        raise ValueError("realm must be printable ASCII without quotes and backslashes")
    return value


def redirect_uri(value: object) -> str | None:
    """Return an absolute URI without fragment (RFC 6749 section 3.1.2), or None."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"redirect_uri must be a str, not {type(value).__name__}")
    if not _URI.fullmatch(value):
        raise ValueError("redirect_uri must be an absolute URI without fragment")
    if value.partition(":")[0].lower() in _NO_PLACES:
        raise ValueError("redirect_uri must lead to a page or an app")
    return value


def check_app(app: object, door: Literal["ASGI", "WSGI"]) -> None:
    """Raise TypeError for an app of the other protocol, which a door could not call.

    Both doors bear one name. What may be called in both ways, or hides how, is not refused.
    """
    other = "WSGI" if door == "ASGI" else "ASGI"
    if _takes(app, _ARGUMENTS[other]) and not _takes(app, _ARGUMENTS[door]):
        raise TypeError(
            f"this is the {door} door; an app of {other} wants fbguard.{other.lower()}.FBTokenMiddleware"
        )


def _takes(app: object, arguments: int) -> bool:
    if not callable(app):
        return True
    try:  # of itself: functools.wraps() may have made an app of one protocol look like one of the other
        inspect.signature(app, follow_wrapped=False).bind(*range(arguments))
    except ValueError:  # there is none, as of what is compiled
        return True
    except TypeError:
        return False
    return True
