"""Which requirement a path and a verb stand under. Pure: the door says what was asked.

The rules, in the order they are read:

1. A path that is not *plain* (an empty, ``.`` or ``..`` segment inside, ``;``, a backslash, a control
   character, U+FFFD or undecodable bytes) matches nothing and is refused: guard and router must
   never read one path two ways.
2. The first rule whose template matches and that lists the verb judges, alone. HEAD follows GET.
3. No template matches: the default.
4. Templates match but none lists the verb: the default *and* every matching rule that is not public.
   A strange verb is never judged more mildly than a plain one; nor is ``post`` than ``POST``, which
   frameworks do not tell apart: it must satisfy the rules it passed by that list ``POST``, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self, TypeVar, cast

from fbguard.core.options import nearest
from fbguard.core.requirement import OF_RULES, Requirement, RequirementOptions
from fbguard.core.rule import NO_PARAMS, Rule, is_plain, segments_of
from fbguard.core.rule_index import RuleIndex

T = TypeVar("T")

_MOST_KNOWN: Final = 4096  # requests whose match is remembered, and the longest of them in characters
_LONGEST_KNOWN: Final = 256
_MOST_COMPARED: Final = 1000  # rules: it may take the square of that


_Asked = tuple[tuple[Requirement, Mapping[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class Match:
    """What a request stands under: every (requirement, path parameters) must hold.

    ``public`` means that nothing is looked at. ``preflight`` tells whether a CORS preflight may be
    let in to be answered. ``scopes`` are what a valid user token needs, None if that is not all.
    """

    demands: _Asked
    public: bool = False
    preflight: bool = True
    scopes: frozenset[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        is_all = not self.public and all(requirement.scopes_only for requirement, _ in self.demands)
        scopes = [requirement.scope_set for requirement, _ in self.demands]
        object.__setattr__(self, "scopes", frozenset[str]().union(*scopes) if is_all else None)


class Policy:
    """``Policy(*rules, default=Requirement(), preflight=True)``: rules, read in order, and a default.

    With no rules everything is guarded by the default. ``default=None`` is ``Requirement()``: any valid user
    token; what guards no path is a door's ``policy=None``. ``preflight=False`` refuses CORS preflights on
    guarded paths like every other request without a token.
    """

    __slots__ = (
        "_default", "_index", "_known", "_known_count", "default", "has_live", "preflight", "rules", "short",
        "unreached",
    )  # fmt: skip

    def __init__(self, *rules: Rule, default: Requirement | None = None, preflight: bool = True) -> None:
        for rule in rules:
            _check_rule(rule)
        if default is not None and not isinstance(default, Requirement):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("default must be a Requirement")
        if type(preflight) is not bool:
            raise TypeError("preflight must be a bool")
        self.rules = rules
        self.default = default if default is not None else Requirement()
        self.preflight = preflight
        #: Whether any response can be live: where none can, doors do not look for it.
        self.has_live = self.default.live or any(rule.requirement.live for rule in rules)
        if isinstance(self.default.target, str):
            raise RuntimeError(  # noqa: TRY004 - the type is right, the name is not there
                "the default has no path parameters, so its target must be a callable"
            )
        self._default = Match(((self.default, NO_PARAMS),), preflight=preflight)
        self._index = RuleIndex()
        #: Rules that judge none of the requests they name, each with one that does, and differently; of the
        #: first thousand.
        self.unreached: list[tuple[Rule, Rule]] = []
        for number, rule in enumerate(rules):
            judge = self._judge_before(rule) if number < _MOST_COMPARED else None
            if judge is not None:
                self.unreached.append((rule, judge))
            rule.enter(self._index, number)
        self._known: dict[str, dict[str, Match]] = {}
        self._known_count = 0
        #: Scopes and demands for a path and a method that were met before and ask for scopes only: doors look
        #: here first.
        self.short: dict[str, dict[str, tuple[frozenset[str], _Asked]]] = {}

    def _judge_before(self, rule: Rule) -> Rule | None:
        """Return a rule before this one that judges in its place, and not like it.

        None if this one judges any request that it names itself, as far as single rules tell.
        """
        before = [self.rules[number] for number in self._index.candidates(rule.sample)]
        takers = [other for other in before if other.has_rest or not rule.has_rest]
        judges: list[Rule | None]
        if rule.methods is None:
            every = next((number for number, other in enumerate(takers) if other.methods is None), None)
            judges = [None] if every is None else [*takers[: every + 1]]
        else:
            judges = [next((one for one in takers if one.lists(verb)), None) for verb in sorted(rule.methods)]
        others = [one for one in judges if one is not None and not one.judges_like(rule)]
        return None if None in judges or not others else others[0]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Return a policy from TOML or JSON data.

        ``{"rules": [{"path": ..., "methods": [...], "public": true, "scopes": [...], ...}, ...],
        "default": {"scopes": [...], ...}, "preflight": true}``, each key optional but ``path``.
        Raises TypeError or ValueError naming the key, such as ``rules[2]: scopes must be ...``.
        """
        _check_keys("", mapping, ("rules", "default", "preflight"))
        rules = mapping.get("rules", ())
        if isinstance(rules, str) or not isinstance(rules, Sequence):
            raise TypeError("rules must be a sequence of mappings")
        return cls(
            *(_read_rule(f"rules[{number}]", rule) for number, rule in enumerate(rules)),  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            default=_read("default", Requirement, mapping.get("default", {})),
            preflight=mapping.get("preflight", True),
        )

    def match(self, path: str, method: str) -> Match | None:
        """Return what a request stands under, or None for a path that is not plain.

        ``path`` is the decoded path the framework routes on, below its mount; ``method`` the verb
        as it was sent (a WebSocket counts as GET). What was found is remembered for some requests.
        """
        found = self._known.get(path, {}).get(method)
        if found is None:
            found = self._matched(path, method)
            if found is not None and len(path) + len(method) <= _LONGEST_KNOWN:
                self._remember(path, method, found)
        return found

    def _remember(self, path: str, method: str, found: Match) -> None:
        if self._known_count >= _MOST_KNOWN:
            self._known.clear()  # paths of ids that nobody asks for again
            self.short.clear()
            self._known_count = 0
        self._known.setdefault(path, {})[method] = found
        if found.scopes is not None:
            self.short.setdefault(path, {})[method] = (found.scopes, found.demands)
        self._known_count += 1

    def _matched(self, path: str, method: str) -> Match | None:
        if not is_plain(path):
            return None
        segments = segments_of(path)
        passed_by: list[tuple[Rule, Mapping[str, Any]]] = []
        for number in self._index.candidates(segments):
            rule = self.rules[number]
            params = rule.params_of(segments)
            if params is None:
                continue
            if rule.lists(method):
                # Django, Flask and others take "post" for POST, whatever rule comes later.
                folded = [(other.requirement, its) for other, its in passed_by if other.lists(method.upper())]
                return Match(
                    ((rule.requirement, params), *folded), rule.public and not folded, self.preflight
                )
            if not rule.public:
                passed_by.append((rule, params))
        if not passed_by:
            return self._default
        strange = ((rule.requirement, params) for rule, params in passed_by)
        return Match((*self._default.demands, *strange), preflight=self.preflight)

    def __repr__(self) -> str:
        rules = "".join(f"{rule!r}, " for rule in self.rules)
        return f"Policy({rules}default={self.default!r}, preflight={self.preflight!r})"


def _check_rule(rule: object) -> None:
    if not isinstance(rule, Rule):
        given = type(rule).__name__
        how = ": write Policy(*rules)" if isinstance(rule, Iterable) and not isinstance(rule, str) else ""
        raise TypeError(f"a Policy takes rules, not {given}{how}")


_REQUIREMENT_KEYS: Final = tuple(RequirementOptions.__annotations__)
_RULE_KEYS: Final = ("path", *OF_RULES, *_REQUIREMENT_KEYS)


def _read_rule(where: str, data: object) -> Rule:
    _check_keys(where, data, _RULE_KEYS)
    options = dict(cast("Mapping[str, Any]", data))
    if "path" not in options:
        raise TypeError(f"{where}.path is missing")
    return _read(where, partial(Rule, options.pop("path")), options, _RULE_KEYS)


def _read(where: str, make: Callable[..., T], data: object, keys: Sequence[str] = _REQUIREMENT_KEYS) -> T:
    """Make a rule or a requirement of data; errors, which name the option, get the place in front."""
    _check_keys(where, data, keys)
    try:
        return make(**cast("Mapping[str, Any]", data))
    except (TypeError, ValueError, RuntimeError) as error:
        raise type(error)(f"{where}: {error}") from None


def _check_keys(where: str, data: object, keys: Sequence[str]) -> None:
    if not isinstance(data, Mapping):
        raise TypeError(f"{where or 'a policy'} must be a mapping, not {type(data).__name__}")
    prefix = f"{where}." if where else ""
    for key in cast("Mapping[object, object]", data):
        if key not in keys:
            near = nearest(str(key), keys)
            known = f"is it {near!r}?" if near else f"known are {', '.join(keys)}"
            raise TypeError(f"{prefix}{key} is not known here; {known}")
