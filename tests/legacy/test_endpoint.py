"""The server's side: who may end what, in which order it is looked at, and what is answered."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fbguard.core.errors import StoreUnavailable
from fbguard.core.secret import Secret
from fbguard.legacy.endpoint import LegacyEndpoint
from fbguard.legacy.sessions import SessionRegistry
from tests.legacy.calls import (
    API_KEY,
    ENDED,
    FORM,
    KEY,
    OLDER,
    SECRET,
    SESSION_SECRET,
    TOKEN,
    FakeSessions,
    Request,
    Service,
    code_of,
    get,
    parameters,
    post,
    signature,
)

OTHER_KEY = "aaaabbbbccccddddeeeeffff-42"


@pytest.fixture
def service() -> Service:
    return Service()


# -- who may -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("send", [post, get])
@pytest.mark.parametrize("name", ["auth.expireSession", "facebook.auth.expireSession"])
@pytest.mark.parametrize("secret", [SECRET, OLDER])
def test_a_registered_session_ends(service, send, name, secret):
    answer = service.ask(send(parameters(secret, method=name)))
    assert (answer.status, answer.body.decode()) == (200, ENDED)
    assert service.ended == [TOKEN]


def test_the_parameters_may_be_spread_over_query_and_body_as_by_the_php_client(service):
    sent = parameters(call_id="1170813376.3544", format="XML")
    in_query = {name: sent.pop(name) for name in ("method", "session_key", "api_key", "v")}
    spread = Request("POST", get(in_query).query, FORM, post(sent).body)
    assert service.code(spread) == 0
    assert service.ended == [TOKEN]


def test_a_session_secret_ends_its_own_session(service):
    assert code_of(service.post(SESSION_SECRET, ss="1")) == 0
    assert service.ended == [TOKEN]


@pytest.mark.parametrize(
    ("secret", "ss"),
    [(SESSION_SECRET, None), (SECRET, "1"), ("0" * 32, None), ("0" * 32, "1")],
)
def test_each_secret_signs_for_itself_only(service, secret, ss):
    assert code_of(service.post(secret, ss=ss)) == 104
    assert service.ended == []


def test_a_session_without_a_secret_of_its_own_takes_none(service):
    service.registry.register(Secret(OTHER_KEY), Secret("other"))
    for secret in (SECRET, SESSION_SECRET, "", "None", "0" * 32):
        assert code_of(service.post(secret, session_key=OTHER_KEY, ss="1")) == 104
    assert code_of(service.post(session_key=OTHER_KEY)) == 0
    assert service.ended == ["other"]


def test_an_access_token_is_its_own_session_key_in_the_body_of_a_post(service):
    token = "EAAB" + "x" * 300
    sent = parameters(session_key=token)
    assert service.code(post(sent)) == 0
    assert service.ended == [token]


def test_an_access_token_in_a_query_ends_nothing(service):
    sent = parameters(session_key=TOKEN)
    assert service.code(get(sent)) == 102
    rest = {name: value for name, value in sent.items() if name != "session_key"}
    assert service.code(Request("POST", get({"session_key": TOKEN}).query, FORM, post(rest).body)) == 102
    assert service.code(Request("GET", get(rest).query, FORM, post({"session_key": TOKEN}).body)) == 102
    assert service.ended == []


@pytest.mark.parametrize(
    "key",
    [
        OTHER_KEY,  # of an app that was started anew, or of another worker
        "2,AbCdEf__.3600.1259366400-1337",
        f"{API_KEY}|{SECRET}",  # the app's own credential
        "eyJhbGciOi.eyJpc3MiOi.c2ln",  # a person's identity, no session
    ],
)
def test_what_is_no_token_and_not_registered_ends_nothing(service, key):
    assert code_of(service.post(session_key=key)) == 102
    assert service.ended == []


# -- the order -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("is_ours", "code"), [(True, 0), (False, 102), (None, 2)])
def test_a_key_that_is_not_registered_must_be_a_token_of_the_app(service, is_ours, code):
    """What is nobody's token ends nothing, and must not be told that it did; nobody knows: code 2."""
    asked: list[str] = []

    async def tell(token: Secret) -> bool | None:
        asked.append(token.reveal())
        return is_ours

    endpoint = LegacyEndpoint(API_KEY, [Secret(SECRET)], service.sessions, service.registry, tell)
    answer = asyncio.run(endpoint(post(parameters(session_key="EAAunknown"))))
    assert code_of(answer) == code
    assert asked == ["EAAunknown"]
    assert service.ended == (["EAAunknown"] if is_ours else [])
    registered = asyncio.run(endpoint(post(parameters())))
    assert code_of(registered) == 0
    assert asked == ["EAAunknown"]  # nobody needs to be asked about what is registered


def test_errors_in_their_order(service):
    """Each step mends the first thing that is wrong."""
    sent = parameters(
        "wrong", note="1", callback="a;b", method="auth.logout", v="2.0", format="yaml", ss="0",
        call_id="one", api_key="0", session_key=OTHER_KEY,
    )  # fmt: skip
    assert service.code(post(sent)) == 104
    del sent["note"]
    refused = service.ask(post(sent))
    assert refused.status == 400
    assert b"a;b" not in refused.body
    for name, good, code in (
        ("callback", None, 3), ("method", "auth.expireSession", 100), ("v", "1.0", 100),
        ("format", None, 100), ("ss", None, 100), ("call_id", "5", 101), ("api_key", API_KEY, 104),
    ):  # fmt: skip
        if good is None:
            del sent[name]
        else:
            sent[name] = good
        assert service.code(post(sent)) == code, name
    sent["sig"] = signature(sent, SECRET)
    assert service.code(post(sent)) == 102
    assert service.ended == []
    service.registry.register(Secret(OTHER_KEY), Secret("other"))
    assert service.code(post(sent)) == 0
    assert code_of(service.post(session_key=OTHER_KEY, call_id="4")) == 103
    assert service.ended == ["other"]


@pytest.mark.parametrize("verb", ["HEAD", "PUT", "DELETE", "OPTIONS", "get", "FOO"])
def test_other_verbs_change_nothing(service, verb):
    sent = parameters()
    answer = service.ask(Request(verb, get(sent).query))
    assert answer.status == 405
    assert dict(answer.headers)["Allow"] == "GET, POST"
    assert service.ended == []


def test_headers_may_come_as_pairs(service):
    class Paired:
        method, query, body = "POST", "", post(parameters()).body
        headers = (("host", "api.example"), ("content-type", "text/plain"))

    assert code_of(asyncio.run(service.endpoint(Paired()))) == 104
    Paired.headers = (("content-type", "application/x-www-form-urlencoded"),)
    assert code_of(asyncio.run(service.endpoint(Paired()))) == 0


# -- call_id -------------------------------------------------------------------------------------------


def test_a_call_id_must_grow_in_its_session_only(service):
    service.registry.register(Secret(OTHER_KEY), Secret("other"))
    assert code_of(service.post(call_id="1170813376.3544")) == 0
    assert code_of(service.post(call_id="1170813376.35")) == 103
    assert code_of(service.post(call_id="999999999")) == 103  # by value, not letter by letter
    assert code_of(service.post(call_id="1170813376.3545")) == 0
    assert code_of(service.post(session_key=OTHER_KEY, call_id="1")) == 0
    assert code_of(service.post()) == 0


def test_a_call_id_without_an_effect_is_not_used_up(service):
    assert code_of(service.post("wrong", call_id="9")) == 104
    service.sessions.fault = StoreUnavailable()
    assert code_of(service.post(call_id="8")) == 2
    service.sessions.fault = None
    assert code_of(service.post(call_id="8")) == 0
    assert code_of(service.post(call_id="7")) == 103


def test_an_old_call_does_not_end_a_later_session_of_the_same_key(service):
    sent = post(parameters(call_id="5"))
    assert service.code(sent) == 0
    assert service.code(sent) == 0
    service.registry.register(Secret(KEY), Secret("a later token"))
    assert service.code(sent) == 103
    assert set(service.ended) == {TOKEN}


# -- faults --------------------------------------------------------------------------------------------


def test_a_store_that_is_away_is_code_2(service):
    service.sessions.fault = StoreUnavailable("redis://:password@host")
    answer = service.post(format="JSON")
    assert json.loads(answer.body)["error_code"] == 2
    assert "password" not in answer.body.decode()


def test_any_other_fault_is_code_1_and_is_logged_without_its_text(service, caplog):
    service.sessions.fault = RuntimeError(TOKEN)
    with caplog.at_level(logging.DEBUG, "fbguard"):
        assert code_of(service.post()) == 1
    assert [record.getMessage() for record in caplog.records] == [
        "a legacy call could not end a session: RuntimeError"
    ]


def test_errors_repeat_no_secret(service):
    for kind in ("XML", "JSON"):
        body = service.post("wrong", format=kind, call_id="5").body.decode()
        assert "call_id" in body
        assert [word for word in (KEY, SECRET, API_KEY) if word in body] == []


def test_the_endpoint_shows_no_secret(service):
    shown = repr(vars(service.endpoint)) + repr(vars(service.registry))
    assert [word for word in (KEY, SECRET, OLDER, TOKEN, SESSION_SECRET) if word in shown] == []


# -- anything ------------------------------------------------------------------------------------------

BYTES = st.binary(max_size=300)
PIECES = st.lists(
    st.sampled_from([
        "method", "auth.expireSession", "=", "&", "v=1.0", "sig=" + "0" * 32, "session_key", KEY, "%", "%ff",
        "\x00", "\ud800", "\xe4", "callback=", "a", "+", ";", "api_key=", API_KEY, "format=JSON",
    ]),
    max_size=30,
).map("".join)  # fmt: skip


@settings(deadline=None)
@given(
    st.sampled_from(["GET", "POST"]),
    PIECES | BYTES.map(lambda raw: raw.decode("latin-1")),
    BYTES | PIECES.map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(["", "application/x-www-form-urlencoded", "text/plain", "\x00;"]),
)
def test_any_request_has_an_answer(method, query, body, kind):
    sessions = FakeSessions()
    endpoint = LegacyEndpoint(API_KEY, [Secret(SECRET)], sessions, SessionRegistry())
    answer = asyncio.run(endpoint(Request(method, query, {"content-type": kind}, body)))
    assert answer.status in {200, 400}
    assert sessions.ended == []
