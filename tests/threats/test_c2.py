"""Row C18: a view hears from Graph that a token is dead, or that another one is."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fbguard import OAuthException, current_token
from fbguard.sandbox import Sandbox
from tests.integrations.graph_errors import (
    ADAPTERS,
    Site,
    call_me,
    is_async,
    is_the_apps_own,
    send_asgi,
    send_wsgi,
    served,
)
from tests.support import APP_ID, PATIENCE, SECRET, http_scope, valid, wsgi_environ

pytestmark = pytest.mark.usefixtures("quiet_asyncio")

LOOK_UP = "/v26.0/debug_token"


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def options(sandbox):
    secret, transport = sandbox.app_secret, sandbox.transport
    return {
        "app_id": sandbox.app_id,
        "app_secret": secret,
        "transport": transport,
        "clock": sandbox.clock,
    }


@pytest.fixture(params=ADAPTERS)
def site(request, options):
    with served(request.param, options) as site:
        yield site


def look_ups(sandbox: Sandbox) -> int:
    return [call.path for call in sandbox.calls].count(LOOK_UP)


def warm(site: Site, sandbox: Sandbox) -> tuple[str, str]:
    """Return the tokens of 1001 and 2002, whose facts are known."""
    mine, other = (sandbox.issue_token(user_id=user, scopes=["email"]) for user in ("1001", "2002"))
    assert [site.send(token).status for token in (mine, other)] == [200, 200]
    assert look_ups(sandbox) == 2
    return mine, other


def test_C18_the_views_own_call_says_that_the_token_is_dead(site, sandbox):
    mine, other = warm(site, sandbox)
    call = call_me(sandbox, site)
    assert site.send(mine, act=call).status == 200  # Graph knows the person
    sandbox.change_password("1001")
    assert site.send(mine).status == 200  # nobody has said anything so far
    answer = site.send(mine, act=call)
    assert (answer.error, answer.status, answer.reason, answer.starts) == (None, 401, "password_changed", 1)
    assert (answer.json["code"], answer.json["subcode"]) == (190, 460)
    assert 'error="invalid_token"' in answer.challenge
    assert answer.json["relogin"]["action"] == "login"
    assert look_ups(sandbox) == 2
    again = [site.send(mine) for _ in range(2)]
    assert [(one.status, one.reason) for one in again] == [(401, "password_changed")] * 2
    assert look_ups(sandbox) == 3  # one, and its no is remembered
    assert site.send(other, act=call).status == 200
    assert look_ups(sandbox) == 3
    fresh = sandbox.issue_token(user_id="1001", scopes=["email"])
    assert site.send(fresh).status == 200


@pytest.mark.parametrize("how", ["auth", "parameter"])
def test_C18_a_dead_page_logs_nobody_out(site, sandbox, how):
    mine, _ = warm(site, sandbox)
    page = sandbox.issue_token(user_id="3003", type="PAGE", profile_id="501")
    more = {"auth": {"token": page}, "parameter": {"access_token": page}}[how]
    call = call_me(sandbox, site, **more)
    assert site.send(mine, act=call).status == 200
    sandbox.invalidate(page)
    outcome = site.send(mine, act=call)
    assert is_the_apps_own(outcome), outcome
    assert site.send(mine).status == 200
    assert look_ups(sandbox) == 2


def test_C18_limits_of_the_views_own_call(site, sandbox):
    mine, _ = warm(site, sandbox)
    call = call_me(sandbox, site)
    for code, reason in ((4, "throttled"), (17, "throttled"), (2, "unavailable")):
        sandbox.throttle(code)
        answer = site.send(mine, act=call)
        assert (answer.status, answer.reason) == (503, reason)
        assert int(answer.header("retry-after") or "0") > 0
    sandbox.recover()
    assert site.send(mine).status == 200
    assert look_ups(sandbox) == 2


# -- at the same time ------------------------------------------------------------------------------------


@pytest.fixture
def of_fakes(graph, clock):
    graph.replies |= {user: valid(user_id=user) for user in USERS}
    return {"app_id": APP_ID, "app_secret": SECRET, "transport": graph, "clock": clock}


USERS = [str(number) for number in range(1000, 1016)]
UNLUCKY = {"1003", "1004", "1015"}


def _expected(seen: dict[str, tuple[int, str]], graph) -> None:
    assert seen == {user: (401, "password_changed") if user in UNLUCKY else (200, "hello") for user in USERS}
    assert sorted(graph.calls) == USERS


def _dies() -> None:
    if current_token(required=True).user_id in UNLUCKY:
        raise OAuthException("over", code=190, subcode=460)


THREADED = [
    name for name in ADAPTERS if name.startswith(("wsgi", "flask", "django-wsgi")) and "async" not in name
]
TASKED = [
    name
    for name in ADAPTERS
    if "wsgi" not in name and "flask" not in name and "backend" not in name and is_async(name)
]


@pytest.mark.parametrize("name", THREADED)
def test_C18_threads_do_not_touch_each_other(of_fakes, graph, name):
    together = threading.Barrier(len(USERS))

    def act() -> None:
        together.wait(PATIENCE)
        _dies()

    with served(name, of_fakes) as site:

        def send(user: str) -> tuple[str, tuple[int, str]]:
            headers = [("Authorization", f"Bearer {user}")]
            outcome = send_wsgi(site.app, wsgi_environ("/x", headers=headers))
            return user, (outcome.status, outcome.reason if outcome.status != 200 else outcome.body.decode())

        site.views.act = act
        for _ in range(2):
            with ThreadPoolExecutor(len(USERS)) as pool:
                _expected(dict(pool.map(send, USERS)), graph)
            graph.calls[:] = [user for user in USERS if user not in UNLUCKY]  # these need no new look-up


@pytest.mark.parametrize("name", TASKED)
def test_C18_tasks_do_not_touch_each_other(of_fakes, graph, name):
    with served(name, of_fakes) as site:

        async def main() -> None:
            together = asyncio.Barrier(len(USERS))

            async def act() -> None:
                await together.wait()
                _dies()

            async def send(user: str) -> tuple[str, tuple[int, str]]:
                scope = http_scope("/x", headers=[("Authorization", f"Bearer {user}")])
                outcome = await send_asgi(site.app, scope)
                said = outcome.reason if outcome.status != 200 else outcome.body.decode()
                return user, (outcome.status, said)

            site.views.act = act
            for _ in range(2):
                async with asyncio.timeout(PATIENCE):
                    _expected(dict(await asyncio.gather(*map(send, USERS))), graph)
                graph.calls[:] = [user for user in USERS if user not in UNLUCKY]

        site.run(main())
