"""What is known about one token: the fact that is cached and given to views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final


class GranularScopes(Mapping[str, "tuple[str, ...] | None"]):
    """Scope -> the target ids it was granted for; None means every target. Immutable, hashable."""

    __slots__ = ("_targets",)

    def __init__(self, targets: Mapping[str, tuple[str, ...] | None] | None = None) -> None:
        self._targets = dict(targets or {})

    def __getitem__(self, scope: str) -> tuple[str, ...] | None:
        return self._targets[scope]

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __hash__(self) -> int:
        return hash(frozenset(self._targets.items()))

    def __repr__(self) -> str:
        return f"GranularScopes({self._targets!r})"


EVERYTHING: Final = GranularScopes()


@dataclass(frozen=True, slots=True)
class TokenError:
    """Why Graph calls a token dead: ``reason`` of the table, and the numbers Graph gave."""

    reason: str
    code: int | None
    subcode: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenInfo:
    """What Graph's debug_token said about a token, valid or not; never the token itself.

    ``app_id`` and ``type`` are empty when Graph could not read the token at all. ``issued``,
    ``expires`` and ``data_access_expires`` are whole seconds since the epoch, 0 where Graph says
    "never" or says nothing; the properties give them as datetimes. ``stale`` tells that the fact is older
    than the guard's ttl and is used because Graph cannot be asked. ``fingerprint`` is the first 12
    hex digits of HMAC-SHA256(app secret, token): short, safe to log, equal on all workers.
    """

    app_id: str
    type: str
    is_valid: bool
    user_id: str | None = None
    profile_id: str | None = None
    application: str = field(default="", repr=False)  # free text of somebody else's
    scopes: frozenset[str] = frozenset()
    granular_scopes: GranularScopes = EVERYTHING
    issued: int = 0
    expires: int = 0
    data_access_expires: int = 0
    error: TokenError | None = None
    stale: bool = False
    fingerprint: str = ""

    @property
    def issued_at(self) -> datetime | None:
        """When the person logged in (UTC); None unless Graph said it (long-lived tokens only)."""
        return _moment(self.issued)

    @property
    def expires_at(self) -> datetime | None:
        """When the token dies (UTC); None for a token that never expires."""
        return _moment(self.expires)

    @property
    def data_access_expires_at(self) -> datetime | None:
        """When the app's access to the person's data lapses (UTC); None for never or not said."""
        return _moment(self.data_access_expires)


def _moment(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None
