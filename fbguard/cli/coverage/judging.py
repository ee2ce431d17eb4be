"""What is asked of whoever calls a view, verb by verb: by the doors on the way, and by itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from fbguard.cli.coverage.views import View
from fbguard.core.requirement import Requirement
from fbguard.core.rule import Rule

Verdict = Literal["guarded", "optional", "public", "open"]

ANY: Final = "-"  # a segment that varies
_VERBS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_WEAKEST_FIRST: Final[tuple[Verdict, ...]] = ("open", "public", "optional", "guarded")


@dataclass(frozen=True, slots=True)
class Judged:
    """What guards a view for some verbs.

    "guarded" asks for a token; "optional" takes requests without one; "public" is so by a rule; "open" is
    guarded by nothing, and no rule says that it should be. ``except_at`` are paths of the view at which a
    weaker verdict stands, with that.
    """

    view: View
    methods: tuple[str, ...]
    verdict: Verdict
    asks: tuple[Requirement, ...]
    except_at: tuple[tuple[str, Verdict], ...] = ()


def judged(view: View, meant: Sequence[Rule] = ()) -> list[Judged]:
    """Return what guards a view, the verbs with the same verdict together.

    ``meant`` are public rules for what is meant to be open although no door has such a rule.
    """
    found: list[Judged] = []
    for method in view.methods or _VERBS:
        one = _judged(view, method, meant)
        for number, other in enumerate(found):
            if replace(other, methods=one.methods) == one:
                found[number] = replace(other, methods=(*other.methods, method))
                break
        else:
            found.append(one)
    return found


def _judged(view: View, method: str, meant: Sequence[Rule]) -> Judged:
    general, *special = dict.fromkeys(_samples(view, meant))
    verdict, asks = _of_path(view, general, method, meant)
    weaker: dict[str, Verdict] = {}
    for path in special:
        other, _ = _of_path(view, path, method, meant)
        if _WEAKEST_FIRST.index(other) < _WEAKEST_FIRST.index(verdict):
            weaker["/" + "/".join(path)] = other
    return Judged(view, (method,), verdict, asks, tuple(sorted(weaker.items())))


def _samples(view: View, meant: Sequence[Rule]) -> Iterator[tuple[str, ...]]:
    """Give paths of a view: any, and for each rule that matches some of them one that it matches."""
    plain = tuple(segment or ANY for segment in view.segments)
    yield (*plain, ANY) if view.rest else plain
    if view.rest:
        yield plain
    rules = [(0, rule) for rule in meant]
    rules += [(door.below, rule) for door in view.doors if door.policy for rule in door.policy.rules]
    for below, rule in rules:
        met = rule.meets(view.segments[below:], rest=view.rest)
        if met is not None:
            yield (*plain[:below], *met)


def _of_path(
    view: View, path: tuple[str, ...], method: str, meant: Sequence[Rule]
) -> tuple[Verdict, tuple[Requirement, ...]]:
    asks: list[Requirement] = []
    is_public = any(rule.params_of(path) is not None for rule in meant)
    for door in view.doors:
        if door.policy is None:
            continue
        match = door.policy.match("/" + "/".join(path[door.below :]), method)
        if match is None:
            continue  # a path that no door lets pass
        if match.public:
            is_public = True
        else:
            asks += [requirement for requirement, _ in match.demands]
    asks += view.asks
    return _verdict(asks, is_public=is_public), tuple(dict.fromkeys(asks))


def _verdict(asks: Iterable[Requirement], *, is_public: bool) -> Verdict:
    optional = [requirement.optional for requirement in asks]
    if not optional:
        return "public" if is_public else "open"
    return "optional" if all(optional) else "guarded"
