"""What ``fbguard audit`` has found about stored tokens, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from math import inf
from typing import Final

from fbguard.cli.sheet import Sheet
from fbguard.cli.terminal import Terminal
from fbguard.core.credentials import LIMITED_LOGIN
from fbguard.debugger.moments import iso

_SOON: Final = 7 * 86_400  # seconds
_LISTED: Final = 20  # lines that are told of one by one; of all of a long file --json does


@dataclass(frozen=True, slots=True)
class Found:
    """What was found about a stored token; None is not said, and of a moment never, too."""

    line: int
    fingerprint: str
    valid: bool | None
    reason: str | None
    user_id: str | None
    scopes: tuple[str, ...] | None
    expires_at: datetime | None
    data_access_expires_at: datetime | None

    def as_json(self) -> dict[str, object]:
        """Return it for programs, moments as ``fbguard inspect --json`` writes them."""
        ends = {"expires_at": self.expires_at, "data_access_expires_at": self.data_access_expires_at}
        return {**asdict(self), **{name: iso(moment) for name, moment in ends.items()}}


def show(found: Sequence[Found], now: float, *, with_commas: int) -> None:
    """Print what was found, at ``now`` (seconds).

    ``with_commas`` is the number of lines that look like CSV and were read as tokens.
    """
    sheet = Sheet(Terminal())
    counted = Counter(_named(one) for one in found)
    sheet.headline("", f"{_tokens(len(found))}, {counted['valid']} valid", "")
    sheet.gap()
    for name, count in sorted(counted.items(), key=lambda pair: (pair[0] != "valid", -pair[1], pair[0])):
        sheet.row(str(count), name)
    _show_others(sheet, [one for one in found if not one.valid])
    notes = list(_notes(found, now, with_commas))
    if notes:
        sheet.gap()
    for note in notes:
        sheet.row("Note", note)


def _show_others(sheet: Sheet, others: Sequence[Found]) -> None:
    """Tell which are not known to be valid."""
    if not others:
        return
    sheet.gap()
    sheet.row("Line", "Fingerprint   Reason")
    for one in others[:_LISTED]:
        sheet.row(str(one.line), f"{one.fingerprint}  {one.reason}")
    more = len(others) - _LISTED
    if more > 0:
        sheet.row("", f"and {more} more; --json tells of each")


def _named(one: Found) -> str:
    if one.valid:
        return "valid"
    return f"nobody can tell: {one.reason}" if one.valid is None else f"not valid: {one.reason}"


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count} tokens"


def _notes(found: Sequence[Found], now: float, with_commas: int) -> Iterator[str]:
    valid = [one for one in found if one.valid]
    yield from _told(
        sum(_left(one.expires_at, now) <= _SOON for one in valid),
        "1 of the valid ones expires within seven days.",
        "{} of the valid ones expire within seven days.",
    )
    yield from _told(
        sum(_left(one.data_access_expires_at, now) <= 0 for one in valid),
        "1 of the valid ones has no data access any more; routes with scopes refuse it.",
        "{} of the valid ones have no data access any more; routes with scopes refuse them.",
    )
    yield from _told(
        sum(one.reason == LIMITED_LOGIN.reason for one in found),
        "1 is an ID token of Limited Login, which needs fbguard[jwt] to be verified.",
        "{} are ID tokens of Limited Login, which need fbguard[jwt] to be verified.",
    )
    yield from _told(
        len(found) - len({one.fingerprint for one in found}),
        "1 line repeats a token of another line.",
        "{} lines repeat a token of another line.",
    )
    yield from _told(
        with_commas,
        f"1 line holds a comma, as no token does. {_IF_CSV}",
        f"{{}} lines hold commas, as no token does. {_IF_CSV}",
    )


_IF_CSV: Final = "If this is CSV with a header, name the column of the tokens: --column NAME."


def _told(count: int, of_one: str, of_many: str) -> Iterator[str]:
    if count:
        yield of_one if count == 1 else of_many.format(count)


def _left(moment: datetime | None, now: float) -> float:
    """Return how many seconds there are until a moment; where there is none, endless many."""
    return inf if moment is None else moment.timestamp() - now
