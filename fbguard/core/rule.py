"""One rule of a policy: a template of paths, the verbs it lists, and what it asks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from types import MappingProxyType
from typing import Final, Unpack

from fbguard.core.requirement import OF_RULES, Requirement, RequirementOptions, refuse_options
from fbguard.core.rule_index import RuleIndex

NO_PARAMS: Final[Mapping[str, str]] = MappingProxyType({})

# What guards, servers and routers might read in two ways.
_NOT_PLAIN: Final = re.compile(
    r"//|/\.{1,2}(?:/|\Z)|[;\\\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]|\A[^/]",
)
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")
# Templates of other libraries and raw URLs: as literals they would match nothing that was meant.
_LOOKS_LIKE_A_PATTERN: Final = re.compile(r"[{}<>*?#]|\A:|%[0-9A-Fa-f]{2}")
_ANY: Final = "\0"  # no segment of a plain path
_VERB: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def is_plain(path: str) -> bool:
    """Tell whether a decoded path can be read in one way only; the empty path is the root."""
    return _NOT_PLAIN.search(path) is None


def segments_of(path: str) -> tuple[str, ...]:
    """Split a plain path; one trailing slash makes no difference."""
    path = path.strip("/")
    return tuple(path.split("/")) if path else ()


class Rule:
    """``Rule(path, *, methods=None, public=False, **requirement)``: one template and what it asks.

    ``path`` is a template of whole segments: ``/pages/{page_id}/posts``; ``{rest:path}`` as the last
    segment matches zero or more. ``methods`` are the verbs it lists (None: every verb); GET lists
    HEAD too. ``public=True`` guards nothing and goes with no requirement.

    Raises ValueError for a template that is not plain or repeats a name, TypeError for ``methods``
    as a bare str, RuntimeError for a ``target`` that the template has no parameter for.
    """

    __slots__ = ("_rest", "_template", "methods", "path", "public", "requirement")

    def __init__(
        self,
        path: str,
        *,
        methods: Iterable[str] | None = None,
        public: bool = False,
        **requirement: Unpack[RequirementOptions],
    ) -> None:
        refuse_options("Rule", requirement, OF_RULES)
        if type(public) is not bool:
            raise TypeError("public must be a bool")
        if public and requirement:
            raise ValueError("a public rule takes no requirement")
        self.path = path
        self.public = public
        self.methods = _verbs(methods)
        self.requirement = Requirement(**requirement)
        self._template, self._rest = _compile(path)
        target = self.requirement.target
        if isinstance(target, str) and target not in self.parameters:
            raise RuntimeError(f"{path!r} has no path parameter {target!r}, which its target names")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the template's parameters."""
        names = tuple(name for name, literal in self._template if not literal)
        return (*names, self._rest) if self._rest else names

    def params_of(self, segments: tuple[str, ...]) -> Mapping[str, str] | None:
        """Return the path parameters if the template matches the segments, else None."""
        template = self._template
        if len(segments) < len(template) or (len(segments) > len(template) and not self._rest):
            return None
        params: dict[str, str] = {}
        for (text, literal), segment in zip(template, segments, strict=False):
            if not literal:
                params[text] = segment
            elif text != segment:
                return None
        if self._rest:
            params[self._rest] = "/".join(segments[len(template) :])
        return params or NO_PARAMS

    @property
    def segments(self) -> tuple[str | None, ...]:
        """The template's segments: literal ones, and None for its parameters, without a ``{rest:path}``."""
        return tuple(text if literal else None for text, literal in self._template)

    @property
    def has_rest(self) -> bool:
        """Whether any number of segments may follow the template's."""
        return self._rest is not None

    @property
    def sample(self) -> tuple[str, ...]:
        """The segments of a path that stands for all that the template matches; without a ``{rest:path}``."""
        return tuple(text if literal else _ANY for text, literal in self._template)

    def judges_like(self, other: Rule) -> bool:
        """Tell whether both ask the same of a request that both match."""
        return self._asked() == other._asked()

    def _asked(self) -> tuple[object, ...]:
        """Return it in words that do not depend on what parameters are called."""
        places = {text: number for number, (text, literal) in enumerate(self._template) if not literal}
        if self._rest:
            places[self._rest] = len(self._template)
        target: object = self.requirement.target
        if target is not None:
            target = places[target] if isinstance(target, str) else (target, places)
        return (self.public, replace(self.requirement, target=None), target)

    def meets(
        self, segments: Sequence[str | None], *, rest: bool
    ) -> tuple[tuple[str | None, ...], bool] | None:
        """Return the template of all paths that this one and another one match; None if there are none.

        As its segments (None is one that varies), and whether any number of them may follow.
        """
        mine, theirs, has_rest = self.segments, tuple(segments), self._rest is not None
        if (len(mine) < len(theirs) and not has_rest) or (len(theirs) < len(mine) and not rest):
            return None
        if any(None not in {one, other} and one != other for one, other in zip(mine, theirs, strict=False)):
            return None
        joined = (one or other for one, other in zip_longest(mine, theirs))
        return tuple(joined), rest and has_rest

    def enter(self, index: RuleIndex, number: int) -> None:
        """Add the template to a policy's index."""
        index.add(number, self._template, has_rest=self._rest is not None)

    def lists(self, method: str) -> bool:
        """Tell whether the rule names this verb. HEAD follows GET; verbs are case-sensitive."""
        return self.methods is None or method in self.methods or (method == "HEAD" and "GET" in self.methods)

    def __repr__(self) -> str:
        if not hasattr(self, "_rest"):
            return "<Rule, not built>"  # in the traceback of its own construction
        methods = "" if self.methods is None else f", methods={sorted(self.methods)!r}"
        asked = "public=True" if self.public else repr(self.requirement)
        return f"Rule({self.path!r}{methods}, {asked})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Rule):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[object, ...]:
        return (self.path, self.methods, self.public, self.requirement)


def _verbs(methods: Iterable[str] | None) -> frozenset[str] | None:
    if methods is None:
        return None
    if isinstance(methods, str) or not isinstance(methods, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"methods must be a sequence of str, such as ['GET'], not {type(methods).__name__}")
    names = tuple(methods)
    if not all(isinstance(name, str) for name in names):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("methods must hold str only")
    if not all(_VERB.fullmatch(name) for name in names):
        raise ValueError("methods must hold verbs, each a token of RFC 9110 section 5.6.2")
    verbs = frozenset(name.upper() for name in names)
    if not verbs:
        raise ValueError("methods must name at least one verb; leave it out for every verb")
    return verbs


def _compile(path: str) -> tuple[tuple[tuple[str, bool], ...], str | None]:
    """Turn a template into ((text, is literal), ...) and the name of its ``{rest:path}`` or None."""
    if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError("the path of a rule must be a str")
    if not path.startswith("/") or not is_plain(path):
        raise ValueError(f"{path!r} is not a plain path template that starts with '/'")
    template: list[tuple[str, bool]] = []
    names: list[str] = []
    rest: str | None = None
    for segment in segments_of(path):
        if rest is not None:
            raise ValueError(f"{path!r}: {{{rest}:path}} must be the last segment")
        found = _PARAMETER.fullmatch(segment)
        if found is None:
            if _LOOKS_LIKE_A_PATTERN.search(segment):
                raise ValueError(
                    f"{path!r}: a parameter is a whole segment, {{name}} or {{name:path}}; the rest is taken "
                    "to the letter, percent-decoded and without query"
                )
            template.append((segment, True))
            continue
        names.append(found[1])
        if found[2]:
            rest = found[1]
        else:
            template.append((found[1], False))
    if len(set(names)) < len(names):
        raise ValueError(f"{path!r} repeats a parameter name")
    return tuple(template), rest
