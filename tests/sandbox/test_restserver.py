"""The old REST API of the sandbox: ``auth.expireSession`` over every carrier."""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import urlencode

import httpx
import pytest

from fbguard import Refused
from fbguard.legacy import LegacyError, expire_session
from fbguard.sandbox import Sandbox
from fbguard.sandbox.control import control
from fbguard.sandbox.wire import Request

from .conftest import Graph

PATH = "/restserver.php"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def signed(sandbox: Sandbox, secret: str | None = None, /, **changes: str | None) -> dict[str, str]:
    plain = {"method": "auth.expireSession", "api_key": sandbox.app_id, "v": "1.0"} | changes
    sent = {name: value for name, value in plain.items() if value is not None}
    text = "".join(f"{name}={sent[name]}" for name in sorted(sent)) + (secret or sandbox.app_secret)
    return {**sent, "sig": hashlib.md5(text.encode()).hexdigest()}


def post(graph: Graph, sent: dict[str, str]) -> httpx.Response:
    return graph.send("POST", PATH, FORM, urlencode(sent).encode())


def code(answer: httpx.Response) -> int:
    assert answer.status_code == 200
    found = re.search(r"<error_code>([0-9]+)</error_code>", answer.text)
    assert found, answer.text
    return int(found[1])


def test_a_session_ends_by_its_token_or_by_its_session_key(graph: Graph) -> None:
    token = graph.sandbox.issue_token()
    for key in (token, graph.sandbox.session_key(graph.sandbox.issue_token())):
        answer = post(graph, signed(graph.sandbox, session_key=key))
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/xml; charset=utf-8")
        assert answer.text.endswith(">1</auth_expireSession_response>")
    data = graph.inspect(token)
    assert (data["is_valid"], data["error"]["code"], data["error"]["subcode"]) == (False, 190, 466)
    assert graph.sandbox.calls[0].path == PATH


def test_get_and_the_other_forms_of_answers(quick: Graph) -> None:
    sent = signed(quick.sandbox, session_key=quick.sandbox.issue_token())
    assert "1</auth" in quick.send("GET", f"/v26.0{PATH}?{urlencode(sent)}", {}).text
    for form, expected in (
        ({"format": "JSON"}, "true"),
        ({"format": "json", "callback": "cb"}, "/**/cb(true);"),
    ):
        sent = signed(quick.sandbox, session_key=quick.sandbox.issue_token(), **form)
        assert quick.send("GET", f"{PATH}?{urlencode(sent)}", {}).text == expected
    refused = quick.send("GET", f"{PATH}?{urlencode(signed(quick.sandbox, callback='a;b'))}", {})
    assert refused.status_code == 400


def test_what_is_refused(quick: Graph) -> None:
    sandbox = quick.sandbox
    token = sandbox.issue_token()
    other, gone = sandbox.issue_token(app_id="77"), sandbox.issue_token()
    sandbox.invalidate(gone)
    for sent, expected in (
        (signed(sandbox, session_key=token, note="1"), 104),
        (signed(sandbox, "wrong", session_key=token), 104),
        (signed(sandbox, session_key=token, ss="1"), 104),
        (signed(sandbox, session_key=token, api_key="77"), 101),
        (signed(sandbox, session_key=token, v=None), 100),
        (signed(sandbox, session_key=token, method="auth.logout"), 3),
        (signed(sandbox, session_key="3a1f00c0ffee5eed12345678-1337"), 102),
        (signed(sandbox, session_key=other), 102),
        (signed(sandbox, session_key=gone), 102),
        (signed(sandbox, session_key=sandbox.issue_token(type="APP").replace("=", "")), 102),
    ):
        assert code(post(quick, sent)) == expected
    assert quick.inspect(token)["is_valid"] is True


def test_a_second_call_finds_no_session(quick: Graph) -> None:
    sent = signed(quick.sandbox, session_key=quick.sandbox.issue_token())
    assert "1</auth_expireSession_response>" in post(quick, sent).text
    assert code(post(quick, sent)) == 102


def test_limits_are_told_in_the_words_of_this_api(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    quick.sandbox.throttle(4)
    answer = post(quick, signed(quick.sandbox, session_key=token, format="JSON"))
    assert answer.status_code == 200
    assert answer.json()["error_code"] == 4
    assert answer.json()["error_msg"] == "(#4) Application request limit reached"
    quick.sandbox.recover()
    assert quick.inspect(token)["is_valid"] is True


def test_other_verbs_are_none_of_this_api(quick: Graph) -> None:
    assert quick.send("DELETE", PATH, {}).json()["error"]["code"] == 100


def test_session_keys_are_minted(sandbox: Sandbox) -> None:
    token = sandbox.issue_token(user_id="1337")
    keys = {sandbox.session_key(token), sandbox.session_key(token)}
    assert len(keys) == 2
    assert all(re.fullmatch(r"[0-9a-f]{24}-1337", key) for key in keys)
    with pytest.raises(ValueError, match="not issued"):
        sandbox.session_key("EAAB")
    with pytest.raises(ValueError, match="app token"):
        sandbox.session_key(sandbox.issue_token(type="APP"))


def test_a_session_key_over_the_control_api(sandbox: Sandbox) -> None:
    token = sandbox.issue_token(user_id="1337")
    body = json.dumps({"token": token}).encode()
    reply = control(sandbox, Request.of("POST", "/sandbox/session_key", body=body))
    assert json.loads(reply.body)["result"].endswith("-1337")


@pytest.mark.parametrize("kind", ["XML", "JSON"])
def test_the_client_over_a_socket_and_a_guard_that_asks_then(sandbox: Sandbox, kind: str) -> None:
    token = sandbox.issue_token()
    key = sandbox.session_key(token)
    with sandbox.serve() as url, sandbox.guard() as guard:
        there = f"{url}{PATH}"
        assert expire_session(sandbox.app_id, sandbox.app_secret, key, url=there, format=kind) is True
        with pytest.raises(Refused) as refused:
            guard.check(token)
        assert refused.value.reason == "session_invalidated"
        with pytest.raises(LegacyError) as caught:
            expire_session(sandbox.app_id, sandbox.app_secret, key, url=there, format=kind)
        assert caught.value.code == 102
        sandbox.fail(drop=True, times=1)
        with pytest.raises(LegacyError) as caught:
            expire_session(sandbox.app_id, sandbox.app_secret, key, url=there, format=kind)
        assert caught.value.code == 2


def test_the_client_without_a_socket(sandbox: Sandbox) -> None:
    token = sandbox.issue_token()
    assert expire_session(sandbox.app_id, sandbox.app_secret, token, transport=sandbox.transport) is True
    with pytest.raises(LegacyError):
        expire_session(sandbox.app_id, sandbox.app_secret, token, transport=sandbox.transport)
