"""How the platform is: what it answers with instead of the truth, and how it takes batch calls."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Failure:
    """A fault to answer with; see ``Sandbox.fail`` for what each part means."""

    status: int | None
    body: bytes = field(repr=False)
    headers: tuple[tuple[str, str], ...]
    delay: float
    drop: bool
    left: int | None  # calls it still lasts; None: until recovery


@dataclass(frozen=True, slots=True)
class Batching:
    """How Graph takes batch calls: at all, and how many items at the end it does not get done."""

    allowed: bool = True
    unfinished: int = 0
