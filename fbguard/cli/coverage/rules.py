"""What is to be said of the rules of an app's doors, beside what they make of its routes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fbguard.cli.coverage.views import Door, View
from fbguard.core.policy import Policy
from fbguard.core.rule import Rule


def notes_of(views: Sequence[View]) -> Iterator[str]:
    """Give a sentence for each rule without effect: it judges nothing, or there is nothing to judge."""
    for policy, doors in _policies(views):
        unreached = {id(rule): judge for rule, judge in policy.unreached}
        for rule in policy.rules:
            judge = unreached.get(id(rule))
            if judge is not None:
                yield f"The rule {rule.path} judges nothing that it names: {judge.path} stands before it."
            elif not any(_fits(rule, door, view) for door, view in doors):
                yield f"The rule {rule.path} fits no route."


def _policies(views: Sequence[View]) -> list[tuple[Policy, list[tuple[Door, View]]]]:
    """Return each policy with the views behind it, in order."""
    found: dict[int, tuple[Policy, list[tuple[Door, View]]]] = {}
    for view in views:
        for door in view.doors:
            if door.policy is not None:
                found.setdefault(id(door.policy), (door.policy, []))[1].append((door, view))
    return list(found.values())


def _fits(rule: Rule, door: Door, view: View) -> bool:
    """Tell whether a path of the view is one of the rule's; of verbs frameworks answer some by themselves."""
    return rule.meets(view.segments[door.below :], rest=view.rest) is not None
