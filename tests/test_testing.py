"""The test kit: its fixtures, and assertions that can fail, on the responses of every test client."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import flask
import httpx
import pytest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import RequestFactory
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from fbguard import Guard, Refused, Requirement
from fbguard.asgi import FBTokenMiddleware
from fbguard.sandbox import Sandbox
from fbguard.testing import assert_allowed, assert_refused
from fbguard.wsgi import FBTokenMiddleware as WSGIMiddleware

pytest_plugins = ["fbguard.testing", "pytester"]

TOKEN_LIKE = "EAAB" + "x1" * 40


def _starlette(guard: Guard) -> Any:
    async def view(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    return TestClient(FBTokenMiddleware(Starlette(routes=[Route("/x", view)]), guard))


def _httpx(guard: Guard) -> Any:
    app = flask.Flask("kit")
    app.add_url_rule("/x", "x", lambda: "hello")
    transport = httpx.WSGITransport(WSGIMiddleware(app, guard))
    return httpx.Client(transport=transport, base_url="http://test")


def _flask(guard: Guard) -> Any:
    app = flask.Flask("kit")
    app.add_url_rule("/x", "x", lambda: "hello")
    app.wsgi_app = WSGIMiddleware(app.wsgi_app, guard)  # type: ignore[method-assign]
    return app.test_client()


CLIENTS = {"starlette": _starlette, "httpx": _httpx, "flask": _flask}


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, fb_guard: Guard) -> Any:
    return CLIENTS[request.param](fb_guard)


def test_a_refusal(client, fb_token):
    body = assert_refused(client.get("/x"), "missing_token")
    assert body["title"] == "Login required"
    assert_refused(client.get("/x"), "missing_token", status=401, action="login", scopes=[])
    assert_refused(client.get("/x", headers=fb_token.headers(expires_in=-1)), "expired")


def test_an_answer(client, fb_token):
    assert_allowed(client.get("/x", headers=fb_token.headers()))


def test_time_travel(client, fb_sandbox, fb_token):
    token = fb_token(expires_in=600)
    assert_allowed(client.get("/x", headers=fb_sandbox.bearer(token)))
    fb_sandbox.clock.advance(601)
    assert_refused(client.get("/x", headers=fb_sandbox.bearer(token)), "expired")


def test_an_outage(client, fb_sandbox, fb_token):
    fb_sandbox.fail(500)
    assert_refused(client.get("/x", headers=fb_token.headers()), "unavailable", status=503, action="wait")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"reason": "expired"}, "expected reason 'expired', found 'missing_token' in a refusal: 401"),
        ({"reason": "missing_token", "status": 403}, "expected status 403, found 401"),
        ({"reason": "missing_token", "action": "wait"}, "expected relogin.action 'wait', found 'login'"),
        ({"reason": "missing_token", "scopes": ["email"]}, "expected relogin.scopes"),
    ],
)
def test_another_refusal_than_expected(client, kwargs, message):
    with pytest.raises(AssertionError) as failed:
        assert_refused(client.get("/x"), **kwargs)
    assert message in str(failed.value)


def test_an_answer_instead_of_a_refusal(client, fb_token):
    answer = client.get("/x", headers=fb_token.headers())
    with pytest.raises(
        AssertionError, match=r"expected a refusal \(expired\), got an answer of the app: 200"
    ):
        assert_refused(answer, "expired")


def test_a_refusal_instead_of_an_answer(client, fb_token):
    answer = client.get("/x", headers=fb_token.headers(expires_in=-1))
    with pytest.raises(
        AssertionError, match="got a refusal: 401 expired, code 190, subcode 463, relogin login"
    ):
        assert_allowed(answer)


def test_an_error_of_the_app_is_neither(client, fb_token):
    answer = client.get("/nowhere", headers=fb_token.headers())
    assert answer.status_code == 404
    with pytest.raises(AssertionError, match="an answer of the app: 404"):
        assert_allowed(answer)
    with pytest.raises(AssertionError, match="an answer of the app: 404"):
        assert_refused(answer, "missing_token")


def test_a_reason_that_does_not_exist(client):
    with pytest.raises(ValueError, match=r"no reason 'missing'; there are .*missing_token"):
        assert_refused(client.get("/x"), "missing")


def test_nothing_of_a_token_is_printed(fb_guard, fb_token):
    token = fb_token()
    responses = [
        httpx.Response(500, text=f"oops {token} {TOKEN_LIKE} 1234567890|abcdefghijklmnop"),
        httpx.Response(200, text=token, headers={"Content-Type": f"text/{token}"}),
        httpx.Response(401, json={"seen": token}, headers={"Content-Type": "application/problem+json"}),
    ]
    for response in responses:
        with pytest.raises(AssertionError) as failed:
            assert_refused(response, "expired")
        assert "***" in str(failed.value)
        for secret in (token, TOKEN_LIKE, "abcdefghijklmnop"):
            assert secret not in str(failed.value)
            assert secret[:12] not in str(failed.value)


@pytest.mark.parametrize("lost", ["Cache-Control", "WWW-Authenticate"])
def test_headers_that_something_took_away(client, lost):
    answer = client.get("/x")
    headers = {name: value for name, value in answer.headers.items() if name.lower() != lost.lower()}
    content = answer.content if hasattr(answer, "content") else answer.data
    with pytest.raises(AssertionError, match=f"something took {lost}"):
        assert_refused(httpx.Response(401, headers=headers, content=content), "missing_token")


def test_a_lost_retry_after(client, fb_sandbox, fb_token):
    fb_sandbox.fail(500)
    answer = client.get("/x", headers=fb_token.headers())
    headers = {name: value for name, value in answer.headers.items() if name.lower() != "retry-after"}
    content = answer.content if hasattr(answer, "content") else answer.data
    with pytest.raises(AssertionError, match="something took Retry-After"):
        assert_refused(httpx.Response(503, headers=headers, content=content), "unavailable")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"reason": "expired"}'])
def test_a_problem_of_somebody_else(body):
    response = httpx.Response(401, content=body, headers={"Content-Type": "application/problem+json"})
    with pytest.raises(AssertionError, match="expected a refusal"):
        assert_refused(response, "expired")


def test_responses_of_django(fb_guard):
    from fbguard.integrations.django import response_of

    request: HttpRequest = RequestFactory().get("/x")
    with pytest.raises(Refused) as refused:
        fb_guard.check(None, Requirement(scopes=["email"]))
    assert_refused(response_of(request, refused.value), "missing_token", scopes=["email"])
    assert_allowed(HttpResponse("hello"))
    for answer in (HttpResponse("hello"), StreamingHttpResponse(iter([b"hello"]))):
        with pytest.raises(AssertionError, match="an answer of the app: 200"):
            assert_refused(answer, "missing_token")


def test_the_fixtures_belong_together(fb_sandbox, fb_guard, fb_token):
    assert isinstance(fb_sandbox, Sandbox)
    assert fb_guard.app_id == fb_sandbox.app_id
    token = fb_token(user_id="7", scopes=["email"], granular_scopes={"email": ["1"]})
    info = fb_guard.check(token)
    assert (info.user_id, info.scopes, dict(info.granular_scopes)) == ("7", {"email"}, {"email": ("1",)})
    assert fb_token.headers(user_id="8").keys() == {"Authorization"}
    assert len(fb_sandbox.calls) == 1


TESTS = """
    import pytest
    from fbguard.testing import assert_refused
    guards = []

    @pytest.mark.parametrize("turn", [1, 2])
    def test_each_has_its_own(fb_sandbox, fb_guard, fb_token, turn):
        assert repr(fb_sandbox).endswith("tokens=0)")
        fb_guard.check(fb_token())
        guards.append(fb_guard)

    def test_the_last_ones_are_closed(fb_token):
        assert len(guards) == 2
        for guard in guards:
            with pytest.raises(RuntimeError, match="closed"):
                guard.check(fb_token())

    @pytest.fixture
    def fb_guard(fb_sandbox):
        with fb_sandbox.guard(ttl=60.0) as guard:
            yield guard
"""


def test_as_users_use_it(pytester):
    """In a process of its own, warnings as errors; the user overrides the guard."""
    pytester.makeconftest('pytest_plugins = ["fbguard.testing"]')
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3)
    listed = pytester.runpytest_subprocess("--fixtures", "-p", "no:cacheprovider")
    listed.stdout.fnmatch_lines(["fb_sandbox*", "fb_guard*", "fb_token*"])


def test_only_the_kit_imports_pytest():
    code = (
        "import sys, fbguard, fbguard.sandbox, fbguard.asgi, fbguard.wsgi; assert 'pytest' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_switch_lets_a_request_by():
    """The kit makes guards of a sandbox; it patches nothing and knows no shortcut."""
    source = (Path(__file__).parent.parent / "fbguard" / "testing.py").read_text()
    for word in ("monkeypatch", "mock", "setattr", "bypass", "environ"):
        assert word not in source


DOCUMENTED = re.findall(
    r"## (\w+)\n[^#]*?<!-- run -->\n```python\n(.*?)```",
    (Path(__file__).parent.parent / "docs" / "testing.md").read_text(),
    re.DOTALL,
)


def test_each_framework_has_a_documented_test_file():
    assert [framework for framework, _ in DOCUMENTED] == ["FastAPI", "Starlette", "Flask", "Django"]


@pytest.mark.parametrize(("framework", "source"), DOCUMENTED, ids=[name for name, _ in DOCUMENTED])
def test_a_documented_test_file(pytester, framework, source):
    pytester.makeconftest('pytest_plugins = ["fbguard.testing"]')
    pytester.makepyfile(**{f"test_{framework.lower()}": source})
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=source.count("\ndef test_"))
