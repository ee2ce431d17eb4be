"""Which rules can match a path at all, without looking at each: a tree of their templates' segments. Pure."""

from __future__ import annotations

from collections.abc import Sequence

Template = Sequence[tuple[str, bool]]  # (text, is literal)


class _Node:
    """Where templates stand after some segments: what ends here, and what goes on."""

    __slots__ = ("any", "ends", "literals", "rests")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.any: _Node | None = None  # a parameter
        self.ends: list[int] = []
        self.rests: list[int] = []  # of templates whose {rest:path} begins here: zero or more segments


class RuleIndex:
    """Templates by their place in a policy."""

    def __init__(self) -> None:
        self._root = _Node()

    def add(self, number: int, template: Template, *, has_rest: bool) -> None:
        """Add the template of rule ``number``."""
        node = self._root
        for text, is_literal in template:
            if is_literal:
                node = node.literals.setdefault(text, _Node())
            else:
                node.any = node = node.any or _Node()
        (node.rests if has_rest else node.ends).append(number)

    def candidates(self, segments: Sequence[str]) -> list[int]:
        """Return the numbers of the rules whose templates match, in order."""
        found = [*self._root.rests]
        nodes = [self._root]
        for segment in segments:
            below = [
                child
                for node in nodes
                for child in (node.literals.get(segment), node.any)
                if child is not None
            ]
            if not below:
                return sorted(found)
            for node in below:
                found += node.rests
            nodes = below
        for node in nodes:
            found += node.ends
        return sorted(found)
