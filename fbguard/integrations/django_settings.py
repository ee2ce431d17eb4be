"""``settings.FBGUARD``: the one guard and the policy that it describes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from fbguard.core.options import refuse_unknown
from fbguard.core.policy import Policy
from fbguard.guard import OPTIONS, Guard

_lock: Final = threading.RLock()  # the module of a policy may ask for the guard
_guards: Final[list[Guard]] = []  # the one Guard of these settings, or none yet
_policies: Final[list[Policy | None]] = []


def guard() -> Guard:
    """Return the one Guard that ``settings.FBGUARD`` describes.

    Raises ImproperlyConfigured naming the option when the settings are wrong.
    """
    for made in _guards:
        return made
    with _lock:
        if not _guards:
            _guards.append(_make_guard())
        return _guards[0]


def policy() -> Policy | None:
    """Return the policy of ``settings.FBGUARD["policy"]``: a dotted path, a Policy, its mapping or None.

    Without the key everything is guarded. CORS preflights are always refused: the CORS package stands
    outside and answers them. Raises ImproperlyConfigured.
    """
    for made in _policies:
        return made
    with _lock:
        if not _policies:
            _policies.append(_make_policy())
        return _policies[0]


def _make_policy() -> Policy | None:
    given = configuration().get("policy", Policy())
    reason = None
    try:
        found = import_string(given) if isinstance(given, str) else given
        found = Policy.from_mapping(cast("Mapping[str, Any]", found)) if isinstance(found, Mapping) else found
    except (ImportError, TypeError, ValueError, RuntimeError) as error:
        found, reason = None, str(error)
    if reason is not None:
        raise ImproperlyConfigured(f"FBGUARD: policy: {reason}")
    if found is None:
        return None
    if not isinstance(found, Policy):
        raise ImproperlyConfigured("FBGUARD: policy must be a Policy, its mapping, a dotted path or None")
    return Policy(*found.rules, default=found.default, preflight=False)


def configuration() -> Mapping[str, Any]:
    """Return ``settings.FBGUARD``; raises ImproperlyConfigured for what is no mapping."""
    found: object = getattr(settings, "FBGUARD", None)
    if not isinstance(found, Mapping):
        raise ImproperlyConfigured("FBGUARD must be a mapping in the settings")
    return cast("Mapping[str, Any]", found)


def _make_guard() -> Guard:
    try:
        refuse_unknown("Guard", map(str, configuration()), (*OPTIONS, "policy"))
        return Guard.from_mapping({key: value for key, value in configuration().items() if key != "policy"})
    except (TypeError, ValueError) as error:
        reason = str(error)
    # Outside the except block, and no local variable above: a traceback would show the secret.
    raise ImproperlyConfigured(f"FBGUARD: {reason}")


def forget_guard(*, setting: str, **_: object) -> None:
    """Close the guard of settings that were changed, as tests do."""
    if setting == "FBGUARD":
        with _lock:
            old = _guards[:]
            _guards.clear()
            _policies.clear()
        for one in old:
            one.close()


setting_changed.connect(forget_guard)
