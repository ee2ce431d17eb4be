"""What Graph told a view, in every adapter and colour: the guard's own answer, or the app's exception."""

from __future__ import annotations

import pytest

from fbguard import Guard, OAuthException
from tests.integrations.graph_errors import ADAPTERS, Site, is_the_apps_own, served
from tests.support import APP_ID, SECRET, TOKEN, valid

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quiet_asyncio")]

OTHER = "EAABanotherPersonsToken0123456789"
FOREIGN = "0123456789ab"  # a fingerprint of none of these tokens


def said(code: int | None, subcode: int | None = None, message: str = "Error.", **more) -> OAuthException:
    return OAuthException(message, code=code, subcode=subcode, **more)


@pytest.fixture
def options(graph, clock):
    return {"app_id": APP_ID, "app_secret": SECRET, "transport": graph, "clock": clock}


@pytest.fixture(params=ADAPTERS)
def site(request, options, graph):
    graph.replies[OTHER] = valid(user_id="2002")
    with served(request.param, options) as site:
        assert [site.send(token).status for token in (TOKEN, OTHER)] == [200, 200]
        assert graph.calls == [TOKEN, OTHER]
        graph.calls.clear()
        yield site


def asked_again(site: Site, graph) -> list[str]:
    """Return which tokens must be looked up after what happened so far."""
    graph.calls.clear()
    for token in (TOKEN, OTHER, TOKEN, OTHER):
        assert site.send(token).status == 200
    return list(graph.calls)


def test_a_dead_token_is_a_refusal_and_is_forgotten(site, graph):
    answer = site.raises(said(190, 460, "The session is over."))
    assert (answer.error, answer.status, answer.reason, answer.starts) == (None, 401, "password_changed", 1)
    assert (answer.json["code"], answer.json["subcode"]) == (190, 460)
    assert answer.challenge.startswith('Bearer realm="fbguard", error="invalid_token"')
    assert 'relogin="login"' in answer.challenge
    relogin = answer.json["relogin"]
    assert (relogin["action"], relogin["scopes"]) == ("login", ["email"])
    assert relogin["message"]
    assert answer.header("cache-control") == "no-store"
    assert "The session is over." not in answer.body.decode()  # it is Graph's to say, not ours
    assert graph.calls == []
    assert asked_again(site, graph) == [TOKEN]


def test_what_graph_says_of_this_requests_token(site, graph):
    """Code, subcode, status, reason, and whether the token is looked up anew."""
    table = [
        (190, None, 401, "invalid_token", True),
        (190, 463, 401, "expired", True),
        (190, 459, 401, "checkpointed", True),
        (190, 492, 401, "role_lost", True),
        (102, 458, 401, "not_authorized", True),
        (10, None, 403, "insufficient_scope", True),
        (200, None, 403, "insufficient_scope", True),
        (299, None, 403, "insufficient_scope", True),
        *((code, None, 503, "throttled", False) for code in (4, 17, 32, 613, 80001)),
        *((code, None, 503, "unavailable", False) for code in (1, 2)),
    ]
    for code, subcode, status, reason, forgotten in table:
        answer = site.raises(said(code, subcode))
        assert (answer.status, answer.reason, answer.error) == (status, reason, None), code
        assert (answer.json["code"], answer.json["subcode"]) == (code, subcode)
        if status == 503:
            assert (answer.challenge, answer.json["relogin"]["action"]) == ("", "wait")
            assert answer.header("retry-after") == ("60" if reason == "throttled" else "2")
        if status == 403:
            assert 'error="insufficient_scope"' in answer.challenge
            assert 'scope="email"' in answer.challenge
            assert answer.json["relogin"]["auth_type"] == "rerequest"
        assert asked_again(site, graph) == ([TOKEN] if forgotten else []), code


def test_a_transient_error_and_the_wait_that_graph_asks_for(site, graph):
    for error, reason, wait in (
        (said(99999, is_transient=True), "unavailable", "2"),
        (said(190, 460, is_transient=True), "unavailable", "2"),
        (said(2, retry_after=7), "unavailable", "7"),
        (said(4, retry_after=1234), "throttled", "1234"),
    ):
        answer = site.raises(error)
        assert (answer.status, answer.reason, answer.header("retry-after")) == (503, reason, wait)
        assert answer.json["relogin"]["retry_after"] == int(wait)
    assert asked_again(site, graph) == []


def test_what_is_the_applications_own(site, graph):
    foreign = {"token_fingerprint": FOREIGN}
    for error in (
        *(said(code) for code in (100, 803, 506, 99999, None)),
        said(190, 460, **foreign),  # a page's token, or another person's
        said(10, **foreign),
        said(4, **foreign),
        said(190, 460, token_fingerprint=""),
    ):
        outcome = site.raises(error)
        assert is_the_apps_own(outcome), outcome
        assert outcome.error in {None, error}
    assert asked_again(site, graph) == []


def test_the_fingerprint_of_this_requests_token(site, graph, options):
    with Guard(**options) as guard:
        fingerprint = guard.check(TOKEN).fingerprint
    assert site.raises(said(190, 460, token_fingerprint=fingerprint)).reason == "password_changed"
    assert asked_again(site, graph) == [TOKEN]


def test_without_a_token_it_is_the_applications_own(site, graph):
    for path, token in (("/public", None), ("/public", TOKEN), ("/optional", None)):
        if path == "/public" and "backend" in site.name:
            continue  # there the same is required everywhere
        assert site.send(token, path).status == 200
        for error in (said(190, 460), said(10), said(4), said(1)):
            outcome = site.raises(error, token, path)  # type: ignore[arg-type]
            assert is_the_apps_own(outcome), (path, outcome)
    assert asked_again(site, graph) == []
    assert site.raises(said(190, 467), TOKEN, "/optional").reason == "logged_out"
    assert asked_again(site, graph) == [TOKEN]


def test_a_group_about_this_requests_token(site, graph):
    """As an ``asyncio.TaskGroup`` in a view makes it."""
    group = ExceptionGroup("tasks", [said(190, 463), ExceptionGroup("more", [said(190, 460)])])
    answer = site.raises(group)
    assert (answer.error, answer.status, answer.reason, answer.starts) == (None, 401, "expired", 1)
    assert 'error="invalid_token"' in answer.challenge
    assert asked_again(site, graph) == [TOKEN]


def test_a_group_with_something_else_in_it(site, graph):
    """It is the application's; what it tells of the token is heeded."""
    group = ExceptionGroup("tasks", [ValueError("x"), said(190, 460)])
    outcome = site.raises(group)
    assert outcome.status in {0, 500}, outcome
    assert outcome.error in {None, group}
    assert outcome.header("content-type") != "application/problem+json"
    assert asked_again(site, graph) == [TOKEN]


def test_a_group_about_another_token(site, graph):
    group = ExceptionGroup("tasks", [said(190, 460, token_fingerprint=FOREIGN), ValueError("x")])
    outcome = site.raises(group)
    assert outcome.status in {0, 500}, outcome
    assert outcome.header("content-type") != "application/problem+json"
    assert asked_again(site, graph) == []
