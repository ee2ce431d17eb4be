"""Parity: one request, one verdict, whichever door, view or colour it is put to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.properties import strategies as nasty
from tests.properties.harness import DOORS, WAYS, new_token
from tests.support import NOW


@given(
    reply=nasty.replies,
    need=nasty.needs,
    page=nasty.pages,
    after=nasty.moments,
    order=st.permutations(WAYS),
    cold=st.booleans(),
)
def test_one_reply_one_verdict(world, reply, need, page, after, order, cold):
    world.clock.wall = NOW + after
    tokens = {way: new_token() for way in order} if cold else dict.fromkeys(order, new_token())
    for token in tokens.values():
        world.tell(token, reply)
    verdicts = {way: world.ask(way, [f"Bearer {tokens[way]}"], need, page) for way in order}
    right = world.right([f"Bearer {tokens[order[0]]}"], need, page)
    assert set(verdicts.values()) == {right}, verdicts


@given(need=nasty.needs, values=nasty.header_values, order=st.permutations(DOORS))
def test_one_header_one_verdict(world, need, values, order):
    world.clock.wall = NOW
    verdicts = {way: world.ask(way, values, need) for way in order}
    assert set(verdicts.values()) == {world.right(values, need)}, verdicts


@given(need=nasty.needs, token=nasty.header_text)
def test_check_screens_what_it_is_given(world, need, token):
    """A token handed to check() by an application meets the screen of the doors."""
    world.clock.wall = NOW
    values = [f"Bearer {token}"]
    if "," in token or token != token.strip(" \t") or not token:
        return  # as a header this would be read as something else than this token
    assert world.ask("check", values, need) == world.ask("acheck", values, need) == world.right(values, need)
