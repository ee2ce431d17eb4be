"""What follows from what Graph said of a token: the refusal, and what is forgotten."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from fbguard import OAuthException, Refused, Requirement, raise_for_graph_error
from fbguard.context import FORGOTTEN, demands_of, inject, note_judged_by
from fbguard.context import TOKEN as FACTS
from fbguard.core.carrier import entered
from fbguard.core.secret import Secret
from fbguard.reports import heed, refusal_of
from tests.support import PATIENCE, TOKEN, make_guard

EMAIL, POSTS = Requirement(scopes=["email"]), Requirement(scopes=["user_posts", "email"])
OTHER_APP = "The App_id in the input_token did not match the Viewing App"
ANY = Requirement(any_scope=["pages_show_list", "user_posts"])


def said(code: int | None = 190, subcode: int | None = 460, message: str = "over", **more) -> OAuthException:
    return OAuthException(message, code=code, subcode=subcode, **more)


@pytest.fixture
def carrier(guard):
    """Give a scope as a door leaves it that has let TOKEN in."""
    scope = {"type": "http"}
    inject(scope, guard, guard.check(TOKEN), ((EMAIL, None),), token=Secret(TOKEN))
    return scope


def is_known(guard) -> bool:
    return guard.peek(TOKEN) is not None


@pytest.mark.parametrize(
    ("error", "status", "reason", "known"),
    [
        (said(), 401, "password_changed", False),
        (said(190, 463), 401, "expired", False),
        (said(190, None), 401, "invalid_token", False),
        (said(190, None, "Error validating access token: Session has expired on"), 401, "expired", False),
        (said(102, None), 401, "invalid_token", False),
        (said(412, None), 401, "not_authorized", False),
        (said(2500, None, "An active access token must be used to query"), 401, "missing_token", False),
        (said(100, None, OTHER_APP), 401, "wrong_app", False),
        (said(10, None), 403, "insufficient_scope", False),
        (said(4, None), 503, "throttled", True),
        (said(368, None), 503, "throttled", True),
        (said(1, None), 503, "unavailable", True),
        (said(190, 460, is_transient=True), 503, "unavailable", True),
    ],
)  # fmt: skip
def test_what_is_answered(carrier, guard, error, status, reason, known):
    refused = refusal_of(carrier, error)
    assert refused is not None
    assert (refused.status, refused.reason, refused.code, refused.subcode) == (
        status,
        reason,
        error.code,
        error.subcode,
    )
    assert is_known(guard) is known


@pytest.mark.parametrize(
    "error",
    [
        *(said(code, None) for code in (100, 803, 506, 2500, 99999, None)),
        said(token_fingerprint=""),
        said(token_fingerprint="0123456789ab"),
        said(4, None, token_fingerprint="0123456789ab"),
    ],
)
def test_what_is_the_applications_own(carrier, guard, error):
    assert refusal_of(carrier, error) is None
    heed(carrier, error)
    assert is_known(guard)


def test_without_a_token_nothing_is_answered(guard):
    anonymous: dict[str, object] = {"type": "http"}
    inject(anonymous, guard, None, ((Requirement(optional=True), None),))
    for carrier in ({}, {"type": "http"}, anonymous):
        assert refusal_of(carrier, said()) is None
        heed(carrier, said())


@pytest.mark.parametrize(("code", "default"), [(4, 60), (1, 2), (960, 2)])
def test_how_long_to_wait(carrier, code, default):
    for given, expected in ((None, default), (7, 7), (3600, 3600)):
        refused = refusal_of(carrier, said(code, None, retry_after=given))
        assert refused is not None
        assert (refused.retry_after, refused.relogin.retry_after) == (expected, expected)
        assert dict(refused.answer().headers)["Retry-After"] == str(expected)


@pytest.mark.parametrize(("given", "expected"), [(0, 1), (-5, 1), (0.2, 1), (1.5, 2), (60.0, 60)])
def test_a_wait_is_whole_seconds(carrier, given, expected):
    refused = refusal_of(carrier, said(4, None, retry_after=given))
    assert refused is not None
    assert refused.retry_after == refused.relogin.retry_after == expected
    assert isinstance(refused.retry_after, int)
    assert dict(refused.answer().headers)["Retry-After"] == str(expected)


def test_a_dead_token_waits_for_nothing(carrier):
    refused = refusal_of(carrier, said(retry_after=7))
    assert refused is not None
    assert refused.retry_after is None


def test_the_scopes_of_door_and_views(carrier):
    """What the challenge names is all that was required; any_scope is in the hint of a new login only."""
    note_judged_by(carrier, demands_of(carrier), ((POSTS, None), (ANY, None)))
    missing = refusal_of(carrier, said(10, None))
    assert missing is not None
    assert 'scope="email user_posts"' in (missing.challenge or "")
    assert missing.relogin.auth_type == "rerequest"
    dead = refusal_of(carrier, said())
    assert dead is not None
    assert "scope=" not in (dead.challenge or "")
    assert set(dead.relogin.scopes) == {"email", "user_posts", "pages_show_list"}


def test_without_scopes_the_challenge_names_none(guard):
    scope = {"type": "http"}
    inject(scope, guard, guard.check(TOKEN), ((Requirement(), None),), token=Secret(TOKEN))
    refused = refusal_of(scope, said(10, None))
    assert refused is not None
    assert (refused.status, "scope=" in (refused.challenge or "").replace("insufficient_scope", "")) == (
        403,
        False,
    )


def test_only_the_guard_that_judged_forgets(carrier, guard, graph, clock):
    with make_guard(graph, clock) as another:
        another.check(TOKEN)
        assert refusal_of(carrier, said()) is not None
        assert (is_known(guard), is_known(another)) == (False, True)


def _caused(outer: BaseException, inner: BaseException) -> BaseException:
    outer.__cause__ = inner
    return outer


def _circle() -> BaseException:
    one = RuntimeError()
    return _caused(one, _caused(ValueError(), one))


def _deep() -> BaseException:
    error: BaseException = said()
    for _ in range(1000):
        error = _caused(RuntimeError(), error)
    return error


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (said(), False),
        (_caused(RuntimeError(), said()), False),
        (_caused(RuntimeError(), _caused(ValueError(), said())), False),
        (ExceptionGroup("", [ValueError(), said()]), False),
        (
            BaseExceptionGroup("", [ExceptionGroup("", [_caused(OSError(), said())]), KeyboardInterrupt()]),
            False,
        ),  # type: ignore[list-item]
        (_caused(RuntimeError(), ExceptionGroup("", [said()])), False),
        (_caused(said(100, None), said()), False),
        (_caused(RuntimeError(), said(4, None)), True),
        (RuntimeError(), True),
        (_circle(), True),
        (_deep(), True),  # nobody looks that deep
    ],
)
def test_what_comes_too_late_for_an_answer_is_heeded(carrier, guard, error, known):
    heed(carrier, error)
    assert is_known(guard) is known


# -- what is forgotten, and how often ------------------------------------------------------------------


def judged(guard) -> dict:
    """Return another request that the same token has come with."""
    scope = {"type": "http"}
    inject(scope, guard, guard.check(TOKEN), ((EMAIL, None),), token=Secret(TOKEN))
    return scope


def test_two_requests_of_one_dead_token_cost_one_look_up(carrier, guard, graph):
    another = judged(guard)
    assert graph.calls == [TOKEN]
    assert refusal_of(carrier, said()) is not None
    guard.check(TOKEN)
    assert refusal_of(another, said()) is not None
    heed(another, said())
    guard.check(TOKEN)
    assert graph.calls == [TOKEN, TOKEN]


def test_a_request_forgets_the_facts_it_was_judged_by_once(carrier, guard, graph):
    refusal_of(carrier, said())
    assert carrier[FORGOTTEN] is carrier[FACTS]
    fresh = guard.check(TOKEN)
    for _ in range(2):
        assert refusal_of(carrier, said()) is not None
        heed(carrier, said())
    assert guard.peek(TOKEN) is fresh
    inject(carrier, guard, fresh, ((EMAIL, None),), token=Secret(TOKEN))  # a view has judged anew
    refusal_of(carrier, said())
    assert not is_known(guard)


def test_what_graph_said_before_is_not_believed_any_more(carrier, guard, graph):
    """The token is forgotten while a look-up is under way: Graph is asked once more."""
    refusal_of(carrier, said())
    graph.gate.shut()
    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(guard.check, TOKEN)
        graph.wait_for_calls(2)
        refusal_of(carrier, said())  # no news: this request has told it before
        guard.forget(Secret(TOKEN))
        graph.gate.open()
        assert under_way.result(PATIENCE).user_id
    assert graph.calls == [TOKEN] * 3
    assert is_known(guard)


def test_a_request_that_repeats_itself_costs_no_look_up(carrier, guard, graph):
    refusal_of(carrier, said())
    graph.gate.shut()
    with ThreadPoolExecutor() as pool:
        under_way = pool.submit(guard.check, TOKEN)
        graph.wait_for_calls(2)
        refusal_of(carrier, said())
        heed(carrier, said())
        graph.gate.open()
        under_way.result(PATIENCE)
    assert graph.calls == [TOKEN] * 2


# -- whose error it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key", "is_this"),
    [
        ("", TOKEN, True),
        (None, TOKEN, True),
        ("0123456789ab", TOKEN, True),
        ("", "EAABanother", False),
        (None, "EAABanother", False),
    ],
)
def test_the_digest_of_a_token_goes_before_its_name(carrier, guard, name, key, is_this):
    error = said(token_fingerprint=name)
    error.token_key = hashlib.sha256(key.encode()).digest()
    assert (refusal_of(carrier, error) is not None) is is_this
    assert is_known(guard) is not is_this


def test_a_body_alone_that_two_requests_share_is_about_the_one_that_heard_it(carrier, guard):
    other = "EAABanotherPersonsToken0123456789"
    another = {"type": "http"}
    inject(another, guard, guard.check(other), ((EMAIL, None),), token=Secret(other))
    with entered(carrier), pytest.raises(OAuthException) as caught:
        raise_for_graph_error({"error": {"code": 190, "error_subcode": 460, "message": "over"}})
    assert refusal_of(another, caught.value) is None
    assert refusal_of(carrier, caught.value) is not None
    assert (guard.peek(other) is None, is_known(guard)) == (False, False)


# -- groups ------------------------------------------------------------------------------------------------


def group(*errors: Exception) -> ExceptionGroup:
    return ExceptionGroup("tasks", list(errors))


@pytest.mark.parametrize(
    ("error", "reason", "known"),
    [
        (group(said()), "password_changed", False),
        (group(said(190, 463), said()), "expired", False),
        (group(group(said(190, 463)), group(said(), said())), "expired", False),
        (group(said(4, None), said(2, None)), "throttled", True),
        (group(said(4, None), said()), "throttled", False),
        (group(said(), ValueError()), None, False),
        (group(ValueError(), said()), None, False),
        (group(said(), group(ValueError())), None, False),
        (group(said(), said(token_fingerprint="0123456789ab")), None, False),
        (group(said(), said(100, None)), None, False),
        (group(said(token_fingerprint="")), None, True),
        (group(ValueError()), None, True),
        (BaseExceptionGroup("", [said(), KeyboardInterrupt()]), None, False),
    ],
)
def test_groups(carrier, guard, error, reason, known):
    """Answered like its first, if all of it is about this token; the token is forgotten anyway."""
    refused = refusal_of(carrier, error)
    assert (refused and refused.reason) == reason
    heed(carrier, error)
    assert is_known(guard) is known


def test_refusals_in_a_group(carrier, guard):
    with pytest.raises(Refused) as caught:
        guard.check(None)
    assert refusal_of(carrier, caught.value) is caught.value
    assert refusal_of(carrier, group(caught.value, said())) is caught.value
    assert refusal_of(carrier, group(caught.value, ValueError())) is None
