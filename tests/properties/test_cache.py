"""Cache transparency: a guard that remembers says what one that remembers nothing would say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests import oracle
from tests.properties import strategies as nasty
from tests.properties.harness import WAYS, Need, World, new_token
from tests.support import APP_ID, NOW, Reply, dead, envelope, valid

LONG_TOKENS = 4

requests = st.tuples(
    st.integers(0, LONG_TOKENS - 1), st.integers(0, 3), st.sampled_from(WAYS), st.integers(0, 2)
)
mostly_readable = st.one_of(
    nasty.replies,
    nasty.good_facts.map(lambda facts: valid(**facts)),
    st.sampled_from([valid(), dead(190, 463), envelope(4), envelope(190), envelope(2), Reply(b"", 500)]),
)


def is_definite(reply: Reply) -> bool:
    """Tell whether Graph has said something about the token, which alone may be remembered."""
    return oracle.oracle(reply.status, reply.body, {}, {}, APP_ID, NOW)[0] != 503


@given(
    replies=st.lists(mostly_readable, min_size=LONG_TOKENS, max_size=LONG_TOKENS),
    later=st.lists(mostly_readable, min_size=LONG_TOKENS, max_size=LONG_TOKENS),
    needs=st.lists(nasty.needs, min_size=4, max_size=4),
    sequence=st.lists(requests, min_size=2, max_size=16),
    size=st.sampled_from([1, 2, 100]),
)
def test_the_cache_is_transparent(replies, later, needs, sequence, size):
    """Several tokens, several routes, one guard; beside it a fresh guard for each request.

    What was not definite may change: then the next request must get the new answer.
    """
    tokens = [new_token() for _ in replies]
    truth = dict(zip(tokens, replies, strict=True))
    asked = dict.fromkeys(tokens, 0)
    with World(cache_size=size, negative_cache_size=size) as one:
        for number, route, way, change in sequence:
            token, need = tokens[number], needs[route]
            if change == 0 and not is_definite(truth[token]):
                truth[token] = later[number]
            one.tell(token, truth[token])
            values = [f"Bearer {token}"]
            with World() as fresh:
                fresh.tell(token, truth[token])
                first = fresh.ask("check", values, need)
            assert one.ask(way, values, need) == first == one.right(values, need)
            asked[token] += 1
            calls = one.graph.calls.count(token)
            if not is_definite(truth[token]):
                assert calls == asked[token], "a don't-know was remembered"
            elif size >= LONG_TOKENS and is_definite(replies[number]):
                assert calls == 1, "a definite answer was asked for twice"


@given(order=st.permutations(range(6)))
def test_one_token_on_six_routes_is_looked_up_once(order):
    needs = [
        Need(scopes=("email",)),
        Need(scopes=("pages_show_list",)),
        Need(any_scope=("pages_show_list", "public_profile")),
        Need(scopes=("email",), target="page_id"),
        Need(token_types=("PAGE",)),
        Need(min_remaining=3601),
    ]
    right = [(200, "ok"), (403, "insufficient_scope"), (200, "ok"), (200, "ok"), (401, "wrong_token_type")]
    right += [(401, "expires_soon")]
    token = new_token()
    with World() as world:
        for number in order:
            assert world.ask("check", [f"Bearer {token}"], needs[number]) == right[number]
        assert world.graph.calls == [token]


@given(
    first=st.text("abcAB.-_~+/", min_size=1, max_size=40),
    second=st.text("abcAB.-_~+/", min_size=1, max_size=40),
    shared=st.sampled_from(["", "x" * 19, "x" * 20, "x" * 63, "x" * 64, "x" * 1000]),
    end=st.sampled_from(["", "=", "==", "y" * 16, "y" * 64]),
)
def test_tokens_that_look_alike_are_different_tokens(first, second, shared, end):
    good, bad = shared + first + end, shared + second + end
    if good == bad:
        bad += "="
    with World() as world:
        world.tell(good, valid())
        world.tell(bad, dead(190, 463))
        for _ in range(2):
            assert world.ask("check", [f"Bearer {good}"], Need()) == oracle.OK
            assert world.ask("acheck", [f"Bearer {bad}"], Need()) == (401, "expired")
