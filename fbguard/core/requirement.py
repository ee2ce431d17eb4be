"""What a route asks of a token, and the judge that compares both. Pure: no clock, no I/O."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypedDict

from fbguard.core.reasons import Finding
from fbguard.core.token import TokenInfo

PathParams = Mapping[str, object]
Target = str | Callable[[PathParams], str | None]

# scope-token of RFC 6749 section 3.3
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


class RequirementOptions(TypedDict, total=False):
    """The keywords of :class:`Requirement`, for the places that take them as ``**options``."""

    scopes: Iterable[str]
    any_scope: Iterable[str]
    target: Target | None
    token_types: Iterable[str]
    optional: bool
    max_fact_age: float | None
    max_login_age: float | None
    min_remaining: float
    stale_if_error: float | None
    live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """What a request's token must be. Pure data, comparable; judged anew on every request.

    ``scopes``: all of them are needed; none means "any valid user token", never "public".
    ``any_scope``: at least one of them is needed.
    ``target``: the name of a path parameter, or a callable on the path parameters that returns a
    str or None (None refuses). Its value must be among the granular target ids of every one of
    ``scopes`` (with ``any_scope``: of one granted scope).
    ``token_types``: the values of debug_token's ``type`` that pass.
    ``optional``: a request without a credential passes as anonymous; a bad token is still refused.
    ``max_fact_age``: seconds; what Graph said longer ago is looked up again (0: always). Judged by the
    guard, who knows the age.
    ``max_login_age``: seconds since ``issued_at``; Facebook states that moment for long-lived tokens
    only, so every short-lived token is refused.
    ``min_remaining``: seconds the token must still live.
    ``stale_if_error``: seconds past the guard's ttl for which a fact still counts here while Graph cannot
    be asked (None: as the guard says).
    ``live``: a streamed response is cut when the token expires or its session is ended; a WebSocket always
    is (docs/live.md).

    Raises TypeError for a bare str (or anything else that is no sequence of str) as ``scopes``,
    ``any_scope`` or ``token_types``; ValueError for a scope outside the charset of RFC 6749
    section 3.3, for ``target`` without scopes, and for numbers that are negative or not finite.
    """

    scopes: tuple[str, ...] = ()
    any_scope: tuple[str, ...] = ()
    target: Target | None = None
    token_types: tuple[str, ...] = ("USER",)
    optional: bool = False
    max_fact_age: float | None = None
    max_login_age: float | None = None
    min_remaining: float = 0.0
    stale_if_error: float | None = None
    live: bool = False
    scope_set: frozenset[str] = field(init=False, repr=False, compare=False)
    #: Whether a valid user token with the scopes meets it, whatever else is known.
    scopes_only: bool = field(init=False, repr=False, compare=False)

    if TYPE_CHECKING:  # what it takes is wider than what it keeps

        def __init__(
            self,
            *,
            scopes: Iterable[str] = (),
            any_scope: Iterable[str] = (),
            target: Target | None = None,
            token_types: Iterable[str] = ("USER",),
            optional: bool = False,
            max_fact_age: float | None = None,
            max_login_age: float | None = None,
            min_remaining: float = 0.0,
            stale_if_error: float | None = None,
            live: bool = False,
        ) -> None: ...

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        put("scopes", _names("scopes", self.scopes))
        put("any_scope", _names("any_scope", self.any_scope))
        put("token_types", _names("token_types", self.token_types))
        put("scope_set", frozenset(self.scopes))
        if not self.token_types:
            raise ValueError("token_types must name at least one type")
        if any(name != name.upper() for name in self.token_types):
            raise ValueError("token_types are the words of debug_token, in capitals, such as 'USER'")
        for name in ("optional", "live"):
            if type(getattr(self, name)) is not bool:
                raise TypeError(f"{name} must be a bool")
        _check_seconds("min_remaining", self.min_remaining)
        for name in ("max_fact_age", "max_login_age", "stale_if_error"):
            if getattr(self, name) is not None:
                _check_seconds(name, getattr(self, name))
        _check_target(self)
        put("scopes_only", self._asks_for_scopes_only())

    def _asks_for_scopes_only(self) -> bool:
        return (
            "USER" in self.token_types
            and not self.any_scope
            and self.target is None
            and self.max_fact_age is None
            and self.max_login_age is None
            and not self.min_remaining
            and not self.live
        )


def _names(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise TypeError(f"{option} must be a sequence of str, not {type(value).__name__}")  # pyright: ignore[reportUnknownArgumentType]
    names: list[str] = []
    for name in value:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(name, str):
            raise TypeError(f"{option} must hold str only")
        if not _SCOPE.fullmatch(name):
            raise ValueError(f"{option} holds {name!r}, which is outside the charset of RFC 6749 section 3.3")
        names.append(name)
    return tuple(dict.fromkeys(names))


def _check_seconds(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{option} must be a number of seconds")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{option} must be finite and not negative")


def _check_target(requirement: Requirement) -> None:
    target = requirement.target
    if target is None:
        return
    if not (isinstance(target, str) or callable(target)):
        raise TypeError("target must be the name of a path parameter or a callable")
    if inspect.iscoroutinefunction(target):
        raise TypeError("target must return a str or None, so it cannot be a coroutine function")
    if isinstance(target, str) and not target.isidentifier():
        raise ValueError("target must be the name of a path parameter")
    if not requirement.scopes and not requirement.any_scope:
        raise ValueError("target needs scopes or any_scope: it is judged against their granular targets")


def with_scopes(requirement: Requirement, scopes: Iterable[str]) -> Requirement:
    """Return a requirement that needs these scopes, too."""
    more = _names("scopes", list(scopes))
    return replace(requirement, scopes=(*requirement.scopes, *more)) if more else requirement


def is_live(demands: Iterable[tuple[Requirement, object]]) -> bool:
    """Tell whether a response that stands under these demands is cut when its token ends."""
    return any(requirement.live for requirement, _ in demands)


def could_only_loosen(own: Requirement, door: Sequence[Requirement]) -> bool:
    """Tell a view's requirement that lets in more than its door and asks for nothing more.

    Every requirement on the way must hold, so such a one has no effect, and its author meant another.
    """
    types = [set(other.token_types) for other in door]
    looser = (own.optional and not all(other.optional for other in door)) or any(
        set(own.token_types) - others for others in types
    )
    tighter = (
        any(others - set(own.token_types) for others in types)
        or own.scope_set - {scope for other in door for scope in other.scopes}
        or (own.any_scope and own.any_scope not in [other.any_scope for other in door])
        or own.target is not None
        or own.max_fact_age is not None
        or own.max_login_age is not None
        or own.stale_if_error is not None
        or (own.live and not any(other.live for other in door))
        or own.min_remaining > max((other.min_remaining for other in door), default=0.0)
    )
    return looser and not tighter


def judge(
    info: TokenInfo,
    requirement: Requirement,
    *,
    app_id: str,
    now: float,
    path_params: PathParams | None = None,
) -> Finding | None:
    """Compare a token's facts with a requirement; return None for yes, else why not.

    ``now`` is wall time in seconds. The order is fixed: app id, Graph's own error, validity, expiry,
    type, remaining life, login age, data access, scopes, any_scope, target. Raises RuntimeError
    for a target whose path parameter is not there: a mistake in the application, never a pass.
    """
    return (
        _judge_token(info, app_id, now)
        or _judge_kind_and_age(info, requirement, now)
        or _judge_scopes(info, requirement, now)
        or _judge_target(info, requirement, path_params)
    )


def _judge_token(info: TokenInfo, app_id: str, now: float) -> Finding | None:
    # Without an app id Graph could not read the token, and said so in the error.
    if info.app_id and info.app_id != app_id:
        return Finding("wrong_app")
    if info.error is not None:
        return Finding(info.error.reason, info.error.code, info.error.subcode)
    if not info.is_valid or info.app_id != app_id:
        return Finding("invalid_token")
    if 0 < info.expires <= now:
        return Finding("expired")
    return None


def _judge_kind_and_age(info: TokenInfo, requirement: Requirement, now: float) -> Finding | None:
    if info.type not in requirement.token_types:
        return Finding("wrong_token_type")
    if info.expires and info.expires - now < requirement.min_remaining:
        return Finding("expires_soon")
    max_age = requirement.max_login_age
    if max_age is not None and (not info.issued or now - info.issued > max_age):
        return Finding("login_too_old", max_age=int(max_age))
    return None


def _judge_scopes(info: TokenInfo, requirement: Requirement, now: float) -> Finding | None:
    scopes, any_scope = requirement.scopes, requirement.any_scope
    if (scopes or any_scope) and 0 < info.data_access_expires <= now:
        return Finding("data_access_expired")
    if not requirement.scope_set <= info.scopes:
        missing = tuple(scope for scope in scopes if scope not in info.scopes)
        return Finding("insufficient_scope", required=scopes, missing=missing)
    if any_scope and info.scopes.isdisjoint(any_scope):
        return Finding("insufficient_scope", missing=any_scope)
    return None


def _judge_target(
    info: TokenInfo, requirement: Requirement, path_params: PathParams | None
) -> Finding | None:
    if requirement.target is None:
        return None
    wanted = _target_id(requirement.target, path_params)
    missing = tuple(scope for scope in requirement.scopes if not _covers(info, scope, wanted))
    if missing:
        return Finding("insufficient_target", required=requirement.scopes, missing=missing)
    any_scope = requirement.any_scope
    if any_scope and not any(scope in info.scopes and _covers(info, scope, wanted) for scope in any_scope):
        return Finding("insufficient_target", missing=any_scope)
    return None


def _target_id(target: Target, path_params: PathParams | None) -> str | None:
    if path_params is None:
        raise RuntimeError("a requirement with a target needs the path parameters of the request")
    if not isinstance(target, str):
        wanted: object = target(path_params)
        if wanted is not None and not isinstance(wanted, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RuntimeError(f"a target must return a str or None, not {type(wanted).__name__}")
        return wanted
    if target not in path_params:
        raise RuntimeError(f"the route has no path parameter {target!r}, which a target names")
    value = path_params[target]
    return None if value is None else str(value)


def _covers(info: TokenInfo, scope: str, wanted: str | None) -> bool:
    """Tell whether a granted scope reaches one object.

    Listed without ids: every object. Listed with ids: those, an empty list none. Not listed beside
    others that are: none. Nothing listed at all: Graph made no difference between objects.
    """
    if wanted is None:
        return False
    if not info.granular_scopes:
        return True
    if scope not in info.granular_scopes:
        return False
    targets = info.granular_scopes[scope]
    return targets is None or wanted in targets
