"""What a route asks of a token. Pure data."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypedDict, Unpack

from fbguard.core.options import NoOptions, refuse_unknown

PathParams = Mapping[str, object]
Target = str | Callable[[PathParams], str | None]

#: What a Rule takes besides a requirement.
OF_RULES: Final = ("methods", "public")
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


@dataclass(init=False, frozen=True, slots=True, kw_only=True)
class Requirement:
    """What a request's token must be. Pure data, comparable; judged anew on every request.

    ``scopes``: all of them are needed; none means "any valid user token", never "public".
    ``any_scope``: at least one of them is needed.
    ``target``: the name of a path parameter, or a callable on the path parameters that returns a
    str or None (None refuses). Its value must be among the granular target ids of every one of
    ``scopes`` (with ``any_scope``: of one granted scope).
    ``token_types``: the values of debug_token's ``type`` that pass, and "LIMITED_LOGIN".
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
    ``any_scope`` or ``token_types``, and for a keyword that there is not; ValueError for a scope outside
    the charset of RFC 6749 section 3.3 or with a comma, by which Facebook separates them, for ``target``
    without scopes, and for numbers that are negative or not finite.
    """

    scopes: tuple[str, ...]
    any_scope: tuple[str, ...]
    target: Target | None
    token_types: tuple[str, ...]
    optional: bool
    max_fact_age: float | None
    max_login_age: float | None
    min_remaining: float
    stale_if_error: float | None
    live: bool
    scope_set: frozenset[str] = field(init=False, repr=False, compare=False)
    #: Whether a valid user token with the scopes meets it, whatever else is known.
    scopes_only: bool = field(init=False, repr=False, compare=False)

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
        **unknown: Unpack[NoOptions],
    ) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)

        refuse_options("Requirement", unknown)
        put("scopes", _permissions("scopes", scopes))
        put("any_scope", _permissions("any_scope", any_scope))
        put("target", target)
        put("token_types", _types(token_types))
        put("optional", _flag("optional", optional))
        put("max_fact_age", None if max_fact_age is None else _seconds("max_fact_age", max_fact_age))
        put("max_login_age", None if max_login_age is None else _seconds("max_login_age", max_login_age))
        put("min_remaining", _seconds("min_remaining", min_remaining))
        put("stale_if_error", None if stale_if_error is None else _seconds("stale_if_error", stale_if_error))
        put("live", _flag("live", live))
        _check_target(self)
        put("scope_set", frozenset(self.scopes))
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


def refuse_options(what: str, options: Iterable[str], others: Iterable[str] = ()) -> None:
    """Raise TypeError for keywords of ``what`` that are neither a requirement's nor among the ``others``."""
    for option in options:
        known = [*RequirementOptions.__annotations__, *others]
        if option in OF_RULES and option not in known:
            raise TypeError(f"{what} has no option {option!r}: that is for a Rule")
        refuse_unknown(what, [option], known)


def _permissions(option: str, value: object) -> tuple[str, ...]:
    names = _names(option, value, such_as="email")
    for name in names:
        if "," in name:
            each = [part for part in name.split(",") if part]
            raise ValueError(f"{option} holds {name!r}, but names one permission each: {each!r}")
    return names


def _types(value: object) -> tuple[str, ...]:
    names = _names("token_types", value, such_as="USER")
    if not names:
        raise ValueError("token_types must name at least one type")
    if any(name != name.upper() for name in names):
        raise ValueError("token_types are the words of debug_token, in capitals, such as 'USER'")
    return names


def _names(option: str, value: object, *, such_as: str) -> tuple[str, ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        given = type(value).__name__  # pyright: ignore[reportUnknownArgumentType]
        raise TypeError(f"{option} must be a sequence of str, such as [{such_as!r}], not {given}")
    names: list[str] = []
    for name in value:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(name, str):
            raise TypeError(f"{option} must hold str only")
        if not _SCOPE.fullmatch(name):
            raise ValueError(f"{option} holds {name!r}, which is outside the charset of RFC 6749 section 3.3")
        names.append(name)
    return tuple(dict.fromkeys(names))


def _flag(option: str, value: object) -> object:
    if type(value) is not bool:
        raise TypeError(f"{option} must be a bool")
    return value


def _seconds(option: str, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{option} must be a number of seconds")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{option} must be finite and not negative")
    return value


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
    more = tuple(scopes)
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
