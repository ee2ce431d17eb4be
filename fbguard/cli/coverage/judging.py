"""What is asked of whoever calls a view, verb by verb: by the doors on the way, and by itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from fbguard.cli.coverage.templates import Template
from fbguard.cli.coverage.views import VERBS, View
from fbguard.core.requirement import Requirement, could_only_loosen
from fbguard.core.rule import Rule

Verdict = Literal["guarded", "optional", "public", "open"]
Path = tuple[str, ...]  # its segments

_ANY: Final = "-"  # in place of a segment that varies
_LOOSENS: Final = "could only loosen what its door requires: a RuntimeError, unless it names another guard"
_MOST: Final = 5_000  # kinds of paths of one view that are looked at
_WEAKEST_FIRST: Final[tuple[Verdict, ...]] = ("open", "public", "optional", "guarded")


@dataclass(frozen=True, slots=True)
class _Kind:
    """Paths that the rules do not tell apart but by how far they go on from ``start``."""

    start: Path
    paths: tuple[Path, ...]


class TooMany(Exception):  # noqa: N818 - of paths
    """The rules tell more kinds of paths of one view apart than can be looked at."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What guards a view for some verbs.

    "guarded" asks for a token; "optional" takes requests without one; "public" is so by a rule or by what it
    is; "open" is guarded by nothing, and nothing says that it should be. ``except_at`` are paths of the view
    at which a weaker verdict stands, with that; ``-`` is any segment, ``...`` whatever follows. ``wrappers``
    are functions between the route and what asks, ``remarks`` what else there is to say.
    """

    view: View
    methods: tuple[str, ...]
    verdict: Verdict
    asks: tuple[Requirement, ...]
    wrappers: tuple[str, ...] = ()
    except_at: tuple[tuple[str, Verdict], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether anything of it is open."""
        return self.verdict == "open" or any(verdict == "open" for _, verdict in self.except_at)


def judged(view: View, meant: Sequence[Rule] = ()) -> list[Judged]:
    """Return what guards a view, the verbs with the same verdict together.

    ``meant`` are public rules for what is meant to be open although no door has such a rule. Raises TooMany.
    """
    kinds = _kinds_of(view, meant)
    found: list[Judged] = []
    for method in _methods(view):
        one = _judged(view, kinds, method, meant)
        for number, other in enumerate(found):
            if replace(other, methods=one.methods) == one:
                found[number] = replace(other, methods=(*other.methods, method))
                break
        else:
            found.append(one)
    return [_without_head(one) for one in found]


def _methods(view: View) -> tuple[str, ...]:
    if view.methods is not None:
        return view.methods
    listed = (rule.methods or () for door in view.doors if door.policy for rule in door.policy.rules)
    return tuple(dict.fromkeys([*VERBS, *sorted(verb for verbs in listed for verb in verbs)]))


def _without_head(one: Judged) -> Judged:
    """HEAD goes without saying where GET is told."""
    if "GET" not in one.methods:
        return one
    return replace(one, methods=tuple(method for method in one.methods if method != "HEAD"))


def _judged(view: View, kinds: Sequence[_Kind], method: str, meant: Sequence[Rule]) -> Judged:
    own = [view.asks, *filter(None, [view.by_verb.get(method)])]
    required = [requirement for asked in own for requirement in asked.requirements]

    def verdict_of(path: Path) -> Verdict:
        return _of_path(view, path, method, meant, required)[0]

    verdict, asks = _of_path(view, kinds[0].paths[0], method, meant, required)
    weaker: dict[str, Verdict] = {}
    for kind in kinds:
        found: dict[Path, Verdict] = {path: verdict_of(path) for path in kind.paths}
        if len(found) > 1 and len(set(found.values())) == 1:
            found = {(*kind.start, "..."): found[kind.paths[0]]}
        for path, other in found.items():
            if _WEAKEST_FIRST.index(other) < _WEAKEST_FIRST.index(verdict):
                weaker["/" + "/".join(path)] = other
    wrappers = tuple(asked.wrapper for asked in own if asked.wrapper)
    by_doors = _of_doors(view, kinds[0].paths[0], method)[0]
    loosens = any(could_only_loosen(requirement, by_doors) for requirement in required)
    remarks = (*view.remarks, *[_LOOSENS] * loosens)
    return Judged(view, (method,), verdict, asks, wrappers, tuple(sorted(weaker.items())), remarks)


def _of_path(
    view: View, path: Path, method: str, meant: Sequence[Rule], own: Sequence[Requirement]
) -> tuple[Verdict, tuple[Requirement, ...]]:
    by_doors, is_public = _of_doors(view, path, method)
    is_public = is_public or view.is_public or any(rule.params_of(path) is not None for rule in meant)
    asks = [*by_doors, *own]
    return _verdict(asks, is_public=is_public), tuple(dict.fromkeys(asks))


def _of_doors(view: View, path: Path, method: str) -> tuple[list[Requirement], bool]:
    """Return what the doors on the way ask for at a path, and whether a rule makes it public."""
    asks: list[Requirement] = []
    is_public = False
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
    return asks, is_public


def _verdict(asks: Iterable[Requirement], *, is_public: bool) -> Verdict:
    optional = [requirement.optional for requirement in asks]
    if not optional:
        return "public" if is_public else "open"
    return "optional" if all(optional) else "guarded"


# -- paths of every kind that rules can tell apart ---------------------------------------------------------


def _kinds_of(view: View, meant: Sequence[Rule]) -> list[_Kind]:
    """Return the kind that is as general as can be, and each that the rules tell apart."""
    rules = [(0, rule) for rule in meant]
    rules += [(door.below, rule) for door in view.doors if door.policy for rule in door.policy.rules]
    deepest = 1 + max((below + len(rule.segments) for below, rule in rules), default=0)
    kinds: list[_Kind] = []
    for segments, rest in _patterns(view, rules):
        start = tuple(segment or _ANY for segment in segments)
        further = [(_ANY,) * count for count in range(max(deepest - len(start), 1) + 1)] if rest else [()]
        # One that goes on comes first: of "/files/{rest:path}" that is what people ask for.
        paths = [start + more for more in (*further[1:2], *further[:1], *further[2:])]
        kinds.append(_Kind(start, tuple(paths)))
    return kinds


def _patterns(view: View, rules: Sequence[tuple[int, Rule]]) -> list[Template]:
    """Return the view's own pattern, and all that its rules make of it, alone and together."""
    kinds: dict[Template, None] = {(view.segments, view.rest): None}
    for below, rule in rules:
        for segments, rest in list(kinds):
            met = rule.meets(segments[below:], rest=rest)
            if met is not None:
                kinds[(*segments[:below], *met[0]), met[1]] = None
        if len(kinds) > _MOST:
            raise TooMany(f"its rules tell over {_MOST} kinds of paths of {view.shown} apart")
    return list(kinds)
