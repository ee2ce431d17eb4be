"""Throttling and faults, as every carrier passes them on."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import httpx
import pytest

from fbguard.sandbox import Call, Sandbox

from .conftest import GRAPH, Graph


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (4, "(#4) Application request limit reached"),
        (17, "(#17) User request limit reached"),
        (32, "(#32) Page request limit reached"),
        (341, "(#341) Feed action request limit reached"),
        (613, "(#613) Calls to this api have exceeded the rate limit."),
    ],
)
def test_throttle(graph: Graph, code: int, message: str) -> None:
    token = graph.sandbox.issue_token()
    graph.sandbox.throttle(code)
    for path in ("/debug_token", "/1234567890", "/nonsense"):
        refused = graph.get(path, input_token=token)
        assert refused.status_code == 400
        error = refused.json()["error"]
        assert (error["message"], error["type"], error["code"]) == (message, "OAuthException", code)
        assert "error_subcode" not in error
        challenge = refused.headers["www-authenticate"]
        assert challenge == f'OAuth "Facebook Platform" "invalid_request" "{message}"'
    graph.sandbox.throttle(None)
    assert graph.inspect(token)["is_valid"] is True


def test_every_throttle_code_and_recovery(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    for code in (1, 2, 4, 9, 17, 32, 341, 368, 613, *range(80000, 80015)):
        quick.sandbox.throttle(code)
        refused = quick.get("/debug_token", input_token=token)
        assert refused.json()["error"]["code"] == code
        assert refused.status_code == (500 if code < 3 else 400)
    quick.sandbox.recover()
    assert quick.inspect(token)["is_valid"] is True


def test_the_usage_headers_of_a_limit(quick: Graph) -> None:
    quick.sandbox.throttle(4)
    limited = quick.get("/app")
    assert json.loads(limited.headers["x-app-usage"])["call_count"] == 100
    assert limited.json()["error"]["is_transient"] is True
    quick.sandbox.throttle(80001)
    limited = quick.get("/app")
    usage = json.loads(limited.headers["x-business-use-case-usage"])
    assert usage["1234567890"][0]["estimated_time_to_regain_access"] == 5
    assert "x-app-usage" not in limited.headers


@pytest.mark.parametrize("code", [0, 3, 190, 80015, -4])
def test_codes_that_are_no_limit(sandbox: Sandbox, code: int) -> None:
    with pytest.raises(ValueError, match="code"):
        sandbox.throttle(code)


@pytest.mark.parametrize("code", ["4", 4.0, True])
def test_codes_that_are_no_int(sandbox: Sandbox, code: Any) -> None:
    with pytest.raises(TypeError, match="code"):
        sandbox.throttle(code)


def test_fail_for_a_number_of_calls(graph: Graph) -> None:
    token = graph.sandbox.issue_token()
    graph.sandbox.fail(times=2)
    answers = [graph.get("/debug_token", input_token=token) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 500, 200]
    assert answers[0].content == b""
    assert "content-type" not in answers[0].headers


def test_fail_until_recovery(graph: Graph) -> None:
    graph.sandbox.fail(503, "<html>Sorry</html>")
    for _ in range(3):
        answer = graph.get("/app")
        assert (answer.status_code, answer.text) == (503, "<html>Sorry</html>")
        assert answer.headers["content-type"].startswith("text/html")
    graph.sandbox.recover()
    assert graph.get("/app").status_code == 200


def test_hostile_replies(graph: Graph) -> None:
    for body in (b'{"data": {"is_valid": true, "is_valid": NaN}}', b"\xff\xfe\x00", b"[" * 10_000):
        graph.sandbox.fail(200, body, times=1)
        answer = graph.get("/debug_token", input_token="x")
        assert (answer.status_code, answer.content) == (200, body)
    graph.sandbox.fail(302, headers={"Location": "http://127.0.0.1:1/", "X-A": "b"}, times=1)
    answer = graph.get("/debug_token", input_token="x")
    assert (answer.status_code, answer.headers["location"], answer.headers["x-a"]) == (
        302,
        "http://127.0.0.1:1/",
        "b",
    )
    graph.sandbox.fail(204, times=1)
    assert graph.get("/app").status_code == 204


def test_a_faked_body_guesses_its_type_unless_told(quick: Graph) -> None:
    quick.sandbox.fail(200, b' {"a": 1}')
    assert quick.get("/app").headers["content-type"] == "application/json; charset=UTF-8"
    quick.sandbox.fail(200, b"{}", headers={"content-type": "text/plain"})
    assert quick.get("/app").headers.get_list("content-type") == ["text/plain"]


def test_drop(graph: Graph) -> None:
    token = graph.sandbox.issue_token()
    graph.sandbox.fail(drop=True, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        graph.get("/debug_token", input_token=token)
    assert graph.inspect(token)["is_valid"] is True
    assert [call.status for call in graph.sandbox.calls] == [None, 200]


def test_a_late_true_answer(graph: Graph) -> None:
    token = graph.sandbox.issue_token()
    graph.sandbox.fail(status=None, delay=0.02, times=1)
    started = time.monotonic()
    assert graph.inspect(token)["is_valid"] is True
    assert time.monotonic() - started >= 0.02


def test_a_true_answer_with_more_headers(quick: Graph) -> None:
    usage = '{"call_count": 85}'
    quick.sandbox.fail(status=None, headers={"X-App-Usage": usage}, times=1)
    response = quick.get("/app")
    assert (response.status_code, response.headers["x-app-usage"]) == (200, usage)
    assert "x-app-usage" not in quick.get("/app").headers


def test_no_times_at_all_ends_an_earlier_fault(quick: Graph) -> None:
    quick.sandbox.fail()
    quick.sandbox.fail(times=0)
    assert quick.get("/app").status_code == 200


def test_a_fault_comes_before_a_limit_and_recovery_ends_both(quick: Graph) -> None:
    quick.sandbox.throttle(4)
    quick.sandbox.fail(502)
    assert quick.get("/app").status_code == 502
    quick.sandbox.fail(status=None)
    assert quick.get("/app").json()["error"]["code"] == 4
    quick.sandbox.recover()
    assert quick.get("/app").status_code == 200


def test_recovery_brings_no_token_back(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    quick.sandbox.invalidate(token)
    quick.sandbox.recover()
    assert quick.inspect(token)["is_valid"] is False


def test_the_count_of_faults_is_exact_under_threads(sandbox: Sandbox) -> None:
    sandbox.fail(times=100)
    seen: list[int] = []

    def work() -> None:
        with httpx.Client(transport=sandbox.transport) as client:
            seen.extend(client.get(GRAPH + "/x").status_code for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count(500) == 100
    assert len(sandbox.calls) == 200


def test_a_delay_does_not_block_the_loop(sandbox: Sandbox) -> None:
    sandbox.fail(200, delay=0.05)

    async def main() -> float:
        async with httpx.AsyncClient(transport=sandbox.transport) as client:
            started = time.monotonic()
            await asyncio.gather(*(client.get(GRAPH + "/x") for _ in range(50)))
            return time.monotonic() - started

    assert 0.05 <= asyncio.run(main()) < 1.5


def test_a_delay_beyond_the_read_timeout(sandbox: Sandbox) -> None:
    sandbox.fail(200, delay=3600)
    with (
        httpx.Client(transport=sandbox.transport, timeout=0.01) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        client.get(GRAPH + "/x")

    async def main() -> None:
        async with httpx.AsyncClient(transport=sandbox.transport, timeout=0.01) as client:
            await client.get(GRAPH + "/x")

    with pytest.raises(httpx.ReadTimeout):
        asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "kind", "named"),
    [
        ({"status": 99}, ValueError, "status"),
        ({"status": 100}, ValueError, "status"),
        ({"status": 600}, ValueError, "status"),
        ({"status": "500"}, TypeError, "status"),
        ({"status": True}, TypeError, "status"),
        ({"body": None}, TypeError, "body"),
        ({"delay": -1}, ValueError, "delay"),
        ({"delay": float("nan")}, ValueError, "delay"),
        ({"delay": 3601}, ValueError, "delay"),
        ({"delay": "1"}, TypeError, "delay"),
        ({"drop": 1}, TypeError, "drop"),
        ({"times": -1}, ValueError, "times"),
        ({"times": 1.0}, TypeError, "times"),
        ({"headers": []}, TypeError, "headers"),
        ({"headers": {"a": 1}}, TypeError, "headers"),
        ({"headers": {"a b": "c"}}, ValueError, "headers"),
        ({"headers": {"a": "b\r\nc: d"}}, ValueError, "headers"),
    ],
)
def test_wrong_options_of_fail(
    sandbox: Sandbox, options: dict[str, Any], kind: type[Exception], named: str
) -> None:
    with pytest.raises(kind, match=named):
        sandbox.fail(**options)


def test_the_call_log(graph: Graph) -> None:
    sandbox = graph.sandbox
    token = sandbox.issue_token()
    assert sandbox.calls == ()
    graph.inspect(token)
    graph.get("/debug_token")
    graph.send("POST", f"/v26.0/{token}/x%0Ay?access_token={token}", {})
    graph.bare(f"/{sandbox.app_id}%7C{sandbox.app_secret}")
    assert sandbox.calls == (
        Call("GET", "/v26.0/debug_token", 200),
        Call("GET", "/debug_token", 400),
        Call("POST", "/v26.0/***/x?y", 400),
        Call("GET", "/***", 404),
    )
    shown = repr(sandbox.calls)
    assert token not in shown
    assert sandbox.app_secret not in shown
    with pytest.raises(AttributeError):
        sandbox.calls[0].path = "/"  # type: ignore[misc]
