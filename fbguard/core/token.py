"""What is known about one token: the fact that is cached and given to views.

A guard keeps a hundred thousand of them, or a million. So what many tokens have in common, which is all but
whose they are and when they end, is one object for all of them, and the numbers of a token are one number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

S = TypeVar("S", bound="Grant | GranularScopes")

_MOST_KNOWN: Final = 10_000  # that are kept to be shared; an app has a few dozen
_BITS: Final = 38  # of each moment: up to the year 9999 and a bit
_MOMENT: Final = (1 << _BITS) - 1
_LAST_SECOND: Final = 253_402_300_799  # the end of year 9999, as of Python's dates
END: Final = _MOMENT  # the bits of a token's numbers that are its end
_FINGERPRINT_BITS: Final = 48
_FINGERPRINT_MASK: Final = (1 << _FINGERPRINT_BITS) - 1
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{12}")


class GranularScopes(Mapping[str, "tuple[str, ...] | None"]):
    """Scope -> the target ids it was granted for; None means every target. Immutable, hashable."""

    __slots__ = ("_flat",)

    def __init__(self, targets: Mapping[str, tuple[str, ...] | None] | None = None) -> None:
        # A handful, mostly of one page: names and ids by turns, one id alone as it is, in a fifth of a dict's
        # room.
        flat: list[str | tuple[str, ...] | None] = []
        for name, ids in (targets or {}).items():
            flat += (name, ids[0] if ids is not None and len(ids) == 1 else ids)
        self._flat = tuple(flat)

    def __getitem__(self, scope: str) -> tuple[str, ...] | None:
        for name, ids in zip(self._flat[::2], self._flat[1::2], strict=True):
            if name == scope:
                return (ids,) if isinstance(ids, str) else ids
        raise KeyError(scope)

    def __iter__(self) -> Iterator[str]:
        return iter(cast("tuple[str, ...]", self._flat[::2]))

    def __len__(self) -> int:
        return len(self._flat) // 2

    @property
    def has_ids(self) -> bool:
        """Whether any scope is granted for some targets only."""
        return any(ids is not None for ids in self._flat[1::2])

    def __hash__(self) -> int:
        return hash(frozenset(self.items()))

    def __repr__(self) -> str:
        return f"GranularScopes({dict(self)!r})"


EVERYTHING: Final = GranularScopes()


@dataclass(frozen=True, slots=True)
class TokenError:
    """Why Graph calls a token dead: ``reason`` of the table, and the numbers Graph gave."""

    reason: str
    code: int | None
    subcode: int | None


@dataclass(frozen=True, slots=True)
class Grant:
    """What is known of a token but whose it is and when it ends; one for all of which the same is known."""

    app_id: str
    type: str
    is_valid: bool
    profile_id: str | None
    application: str
    scopes: frozenset[str]
    error: TokenError | None
    stale: bool


_known: dict[Grant | GranularScopes, Any] = {}


def _alike(one: S) -> S:
    """Return the object that all share to whom the same was granted."""
    found: S | None = _known.get(one)
    if found is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[one] = one
    return found


@dataclass(frozen=True, kw_only=True, init=False, eq=False, repr=False)
class TokenInfo:
    """What Facebook says about a token, valid or not; never the token itself.

    That is what Graph's debug_token said, or the verified claims of an ID token of Limited Login, whose
    ``type`` is "LIMITED_LOGIN". ``app_id`` and ``type`` are empty when nobody could read the token at all.
    ``issued``, ``expires`` and ``data_access_expires`` are whole seconds since the epoch, 0 where Facebook
    says "never" or says nothing; the properties give them as datetimes. ``stale`` tells that the fact is
    older than the guard's ttl and is used because Facebook cannot be asked. ``fingerprint`` is the first 12
    hex digits of HMAC-SHA256(app secret, token): short, safe to log, equal on all workers.

    Raises ValueError for a moment that is negative or beyond all calendars, and for a fingerprint that is
    none.
    """

    __slots__ = ("grant", "granular_scopes", "numbers", "user_id")

    app_id: str
    type: str
    is_valid: bool
    user_id: str | None
    profile_id: str | None
    application: str
    scopes: frozenset[str]
    granular_scopes: GranularScopes
    issued: int
    expires: int
    data_access_expires: int
    error: TokenError | None
    stale: bool
    fingerprint: str

    if TYPE_CHECKING:
        grant: Grant
        numbers: int

    def __init__(
        self,
        *,
        app_id: str,
        type: str,  # noqa: A002 - Graph's word
        is_valid: bool,
        user_id: str | None = None,
        profile_id: str | None = None,
        application: str = "",
        scopes: frozenset[str] = frozenset(),
        granular_scopes: Mapping[str, tuple[str, ...] | None] = EVERYTHING,
        issued: int = 0,
        expires: int = 0,
        data_access_expires: int = 0,
        error: TokenError | None = None,
        stale: bool = False,
        fingerprint: str = "",
    ) -> None:
        if not isinstance(granular_scopes, GranularScopes):
            granular_scopes = GranularScopes(granular_scopes)
        grant = Grant(
            app_id, type, is_valid is True, profile_id, application, frozenset(scopes), error, bool(stale)
        )
        put = object.__setattr__
        put(self, "user_id", user_id)
        put(self, "granular_scopes", granular_scopes if granular_scopes.has_ids else _alike(granular_scopes))
        put(self, "grant", grant if profile_id is not None else _alike(grant))
        put(self, "numbers", _packed(issued, expires, data_access_expires, fingerprint))

    @property
    def issued_at(self) -> datetime | None:
        """When the person logged in (UTC); None unless Facebook said it.

        It does for long-lived tokens and for those of Limited Login, where a refresh counts as a login.
        """
        return _moment(self.issued)

    @property
    def expires_at(self) -> datetime | None:
        """When the token dies (UTC); None for a token that never expires."""
        return _moment(self.expires)

    @property
    def data_access_expires_at(self) -> datetime | None:
        """When the app's access to the person's data lapses (UTC); None for never or not said."""
        return _moment(self.data_access_expires)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenInfo):
            return NotImplemented
        return self._parts() == other._parts()

    def __hash__(self) -> int:
        return hash(self._parts())

    def _parts(self) -> tuple[object, ...]:
        return self.user_id, self.numbers, self.grant, self.granular_scopes

    def __repr__(self) -> str:
        # Without the app's name: free text of somebody else's.
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _NAMES if name != "application")
        return f"TokenInfo({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, ({name: getattr(self, name) for name in _NAMES},)


_NAMES: Final = tuple(field.name for field in fields(TokenInfo))


def _made(values: dict[str, Any]) -> TokenInfo:
    return TokenInfo(**values)


def _packed(issued: int, expires: int, data_access_expires: int, fingerprint: str) -> int:
    """Return all numbers as one; what is mostly 0 in front, where it takes no room.

    The last :data:`END` bits are when it is over with the token or with the data, whatever is first, for who
    is in a hurry; 0 for never.
    """
    number = 0
    for moment in (issued, expires, data_access_expires):
        if type(moment) is not int or not 0 <= moment <= _LAST_SECOND:
            raise ValueError("a moment must be whole seconds since the epoch")
        number = number << _BITS | moment
    if fingerprint and not _FINGERPRINT.fullmatch(fingerprint):
        raise ValueError("fingerprint must be 12 hex digits")
    mark = (
        1 << _FINGERPRINT_BITS | int(fingerprint, 16) if fingerprint else 0
    )  # the bit in front: there is one
    end = min((one for one in (expires, data_access_expires) if one), default=0)
    return (number << _FINGERPRINT_BITS + 1 | mark) << _BITS | end


def _view_on_moment(place: int) -> property:
    shift = _BITS + _FINGERPRINT_BITS + 1 + place * _BITS

    def moment(info: TokenInfo) -> int:
        return info.numbers >> shift & _MOMENT

    return property(moment)


def _view_on_fingerprint(info: TokenInfo) -> str:
    number = info.numbers >> _BITS
    has_one = number >> _FINGERPRINT_BITS & 1
    return f"{number & _FINGERPRINT_MASK:012x}" if has_one else ""


def _show_fields() -> None:
    """Give the fields of TokenInfo, which have no room of their own, as views on the parts."""
    for field in fields(Grant):
        setattr(TokenInfo, field.name, property(attrgetter(f"grant.{field.name}")))
    for place, name in enumerate(("data_access_expires", "expires", "issued")):
        setattr(TokenInfo, name, _view_on_moment(place))
    setattr(TokenInfo, "fingerprint", property(_view_on_fingerprint))  # noqa: B010 - frozen, to checkers


_show_fields()


def _moment(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
