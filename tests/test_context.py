"""Where the facts are, and what is said where there are none."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fbguard import Policy, Requirement, Rule, current_token, require_fb_token
from tests.support import TOKEN, valid


def test_outside_of_every_request():
    assert current_token() is None
    with pytest.raises(RuntimeError, match="no fbguard door"):
        current_token(required=True)


def test_required_is_a_keyword():
    with pytest.raises(TypeError):
        current_token(True)


@pytest.mark.parametrize(
    "policy",
    [None, Policy(Rule("/", public=True)), Policy(default=Requirement(optional=True))],
    ids=["no policy", "public", "optional"],
)
def test_a_request_without_facts(door, guard, policy):
    causes = []

    def act() -> None:
        assert current_token() is None
        with pytest.raises(RuntimeError) as caught:
            current_token(required=True)
        causes.append(str(caught.value))

    assert door(guard, policy=policy, act=act).send().status == 200
    assert "public route" in causes[0]
    assert "anonymous" in causes[0]


def test_a_public_route_looks_at_no_token(door, guard, graph):
    """Good, bad or ambiguous: nothing is looked up and nothing injected."""
    behind = door(guard, policy=Policy(Rule("/{rest:path}", public=True)))
    for token in (None, TOKEN, "a|b", "a, Bearer b"):
        answer = behind.send(token, "/x")
        assert (answer.status, answer.info) == (200, None)
    assert graph.calls == []


def test_an_optional_route(door, guard, graph):
    graph.replies["dead"] = valid(is_valid=False)
    behind = door(guard, policy=Policy(default=Requirement(optional=True)))
    assert behind.send().info is None
    assert behind.send(TOKEN).info.user_id == "1001"
    assert behind.send("dead").status == 401  # a bad token is not nobody
    assert behind.send().info is None


def test_the_facts_are_those_of_the_cache(door, guard):
    behind = door(guard)
    assert behind.send(TOKEN).info is behind.send(TOKEN).info
    assert behind.seen[0] is guard.peek(TOKEN)


def test_a_thread_of_ones_own_has_no_request(door, guard):
    outcomes = []

    def look() -> None:
        try:
            outcomes.append(current_token(required=True).user_id)
        except RuntimeError as exc:
            outcomes.append(str(exc))

    def act() -> None:
        context = contextvars.copy_context()
        for target in (look, lambda: context.run(look)):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    door(guard, act=act).send(TOKEN)
    assert "thread of its own" in outcomes[0]
    assert outcomes[1] == "1001"


def test_requests_side_by_side_see_their_own_facts(make_door, guard, graph):
    users = {f"token{number}": str(number + 1) for number in range(50)}
    graph.replies.update({token: valid(user_id=user) for token, user in users.items()})

    async def main() -> None:
        behind = make_door("starlette", guard)
        answers = await asyncio.gather(*(behind.asend(token) for token in users))
        assert {answer.status for answer in answers} == {200}
        assert sorted(info.user_id for info in behind.seen) == sorted(users.values())

    asyncio.run(main())
    threaded = make_door("flask", guard)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(threaded.send, users))
    assert sorted(info.user_id for info in threaded.seen) == sorted(users.values())


# -- decorated views --------------------------------------------------------------------------------------


def test_without_a_door():
    @require_fb_token
    def sync_view() -> None:
        raise AssertionError("it ran")

    @require_fb_token
    async def async_view() -> None:
        raise AssertionError("it ran")

    with pytest.raises(RuntimeError, match="require_fb_token"):
        sync_view()
    with pytest.raises(RuntimeError, match="require_fb_token"):
        asyncio.run(async_view())


@pytest.mark.parametrize("view", [5, "view", ["email"]])
def test_what_is_no_view(view):
    with pytest.raises(TypeError):
        require_fb_token(view)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"scopes": "email"}, TypeError),
        ({"scopes": ["a b"]}, ValueError),
        ({"target": "page"}, ValueError),
        ({"requried_scopes": ["email"]}, TypeError),
        ({"public": True}, TypeError),
    ],
)
def test_wrong_options_fail_where_the_view_is_written(options, error):
    with pytest.raises(error):
        require_fb_token(**options)
