"""Facebook's callbacks: only what it signed has an effect, and what has none is never acknowledged."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from urllib.parse import urlencode

import pytest

from fbguard.core.answers import Answer
from fbguard.core.secret import Secret
from fbguard.core.served import Request
from fbguard.revocation.callbacks import Callbacks
from tests.revocation.calls import (
    FORM,
    HOST,
    JSON,
    FakeSessions,
    answer,
    event,
    event_body,
    form,
    handshake,
    header,
    hub_signature,
    make_callbacks,
    posted,
    signed_request,
)
from tests.support import NOW, SECRET


class StoreAwayError(Exception):
    """Stands for any failure of a store."""


@pytest.fixture
def sessions():
    return FakeSessions()


@pytest.fixture
def callbacks(sessions):
    return make_callbacks(sessions)


# -- deauthorize -------------------------------------------------------------------------------------------


def test_a_deauthorized_user_is_ended_as_of_that_moment(callbacks, sessions):
    said = answer(callbacks, posted("/deauthorize", form(issued_at=NOW - 5)))
    assert (said.status, sessions.ended, sessions.forgotten) == (200, [("1001", float(NOW - 5))], [])


def test_a_replay_ends_no_later_login(callbacks, sessions):
    request = posted("/deauthorize", form(issued_at=NOW - 600))
    assert [answer(callbacks, request).status for _ in range(2)] == [200, 200]
    assert set(sessions.ended) == {("1001", float(NOW - 600))}  # never "now": the login since then lives


@pytest.mark.parametrize("path", ["/deauthorize", "/data-deletion"])
@pytest.mark.parametrize("body", [
    form("junk"), form(secret="f" * 31 + "0"), form(issued_at=NOW - 601), form(issued_at=NOW + 61),
    form(algorithm="none"), form(user_id="me"), form(signed_request() + "="), form(signed_request() + "."),
    form(code="AQBxyz"),  # that of a login, as the JavaScript SDK keeps it in a cookie
])  # fmt: skip
def test_a_signed_request_that_is_not_to_be_honoured_has_no_effect(callbacks, sessions, path, body):
    assert (answer(callbacks, posted(path, body)).status, sessions.effects) == (403, 0)


@pytest.mark.parametrize("path", ["/deauthorize", "/data-deletion"])
@pytest.mark.parametrize("body", [
    b"", b"signed_request", b"other=1", form() + b"&" + form(), b"\xff\xfe", b"&".join([b"a=b"] * 33),
])  # fmt: skip
def test_a_form_has_exactly_one_signed_request(callbacks, sessions, path, body):
    expected = 403 if body == b"signed_request" else 400  # an empty one is one
    assert (answer(callbacks, posted(path, body)).status, sessions.effects) == (expected, 0)


def test_a_signed_request_in_the_query_is_not_looked_at(callbacks, sessions):
    request = posted("/deauthorize", b"", query=form().decode())
    assert (answer(callbacks, request).status, sessions.effects) == (400, 0)


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data; boundary=x", "text/plain"])
def test_only_an_urlencoded_form_is_taken(callbacks, sessions, kind):
    request = posted("/deauthorize", form(), ("content-type", kind))
    assert (answer(callbacks, request).status, sessions.effects) == (415, 0)


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded; charset=UTF-8", "Application/X-WWW-Form-Urlencoded"]
)
def test_its_media_type_may_have_parameters(callbacks, kind):
    assert answer(callbacks, posted("/deauthorize", form(), ("content-type", kind))).status == 200


def test_a_form_with_two_media_types_is_refused(callbacks, sessions):
    request = posted("/deauthorize", form(), FORM, FORM)
    assert (answer(callbacks, request).status, sessions.effects) == (415, 0)


def test_each_of_rotating_secrets_is_honoured(sessions):
    callbacks = make_callbacks(sessions, secrets=["0123456789abcdef", SECRET])
    assert answer(callbacks, posted("/deauthorize", form())).status == 200
    assert answer(callbacks, event(event_body("7"))).status == 200
    assert (sessions.ended, sessions.forgotten) == ([("1001", float(NOW))], ["7"])


# -- data deletion -----------------------------------------------------------------------------------------


def delete_data(callbacks, *headers, **changes):
    return answer(callbacks, posted("/data-deletion", form(), *headers, **changes))


def test_a_deletion_ends_the_user_and_names_a_page(callbacks, sessions):
    said = delete_data(callbacks)
    assert (said.status, header(said, "content-type")) == (200, "application/json")
    told = json.loads(said.body)
    code = told["confirmation_code"]
    assert told == {"url": f"https://api.example.com/data-deletion/{code}", "confirmation_code": code}
    assert code.isascii()
    assert code.isalnum()
    assert sessions.ended == [("1001", float(NOW))]


@pytest.mark.parametrize("as_query", [False, True])
def test_the_page_knows_a_genuine_code(callbacks, as_query):
    code = json.loads(delete_data(callbacks).body)["confirmation_code"]
    path = "/data-deletion" if as_query else f"/data-deletion/{code}"
    said = answer(callbacks, Request("GET", path, f"code={code}" if as_query else ""))
    text = said.body.decode()
    assert said.status == 200
    assert "2027-01-15" in text
    assert code in text
    assert "1001" not in text
    assert header(said, "content-type") == "text/html; charset=utf-8"
    assert header(said, "content-security-policy").startswith("default-src 'none'; style-src 'sha256-")
    assert 'lang="en"' in text
    assert "<script" not in text


@pytest.mark.parametrize("path", [
    "/data-deletion", "/data-deletion/", "/data-deletion/x", "/data-deletion/<b>",
    "/data-deletion/" + "A" * 48, "/data-deletion/" + "A" * 5000,
])  # fmt: skip
def test_the_page_knows_no_invented_code(callbacks, path):
    said = answer(callbacks, Request("GET", path))
    assert (said.status, header(said, "content-type")) == (404, "text/html; charset=utf-8")
    assert b"<b>" not in said.body


def test_a_code_cannot_be_altered(callbacks):
    code = json.loads(delete_data(callbacks).body)["confirmation_code"]
    for index, old in enumerate(code):
        altered = code[:index] + ("B" if old == "A" else "A") + code[index + 1 :]
        assert answer(callbacks, Request("GET", f"/data-deletion/{altered}")).status == 404
    assert answer(callbacks, Request("GET", f"/data-deletion/{code.lower()}")).status == 404
    assert answer(callbacks, Request("GET", f"/data-deletion/{code}/")).status == 404


def test_a_code_is_of_this_app_and_outlives_a_rotation(callbacks):
    path = "/data-deletion/" + json.loads(delete_data(callbacks).body)["confirmation_code"]
    assert answer(make_callbacks(secrets=["0123456789abcdef"]), Request("GET", path)).status == 404
    assert answer(make_callbacks(secrets=["0123456789abcdef", SECRET]), Request("GET", path)).status == 200


def test_the_same_request_has_the_same_code_and_others_have_not(callbacks):
    codes = [
        json.loads(answer(callbacks, posted("/data-deletion", form(**changes))).body)["confirmation_code"]
        for changes in ({}, {}, {"user_id": "1002"}, {"issued_at": NOW - 1})
    ]
    assert codes[0] == codes[1]
    assert len(set(codes)) == 3
    assert len({code[8:24] for code in codes}) == 3  # nothing of two codes tells that one user has both


@pytest.mark.parametrize(("options", "request_parts", "expected"), [
    ({}, {"scheme": "http"}, "http://api.example.com/data-deletion/"),
    ({}, {"root": "/facebook"}, "https://api.example.com/facebook/data-deletion/"),
    ({}, {"root": "/fä b\"<"}, "https://api.example.com/f%C3%A4%20b%22%3C/data-deletion/"),
    ({"status_url": "https://example.com/privacy/"}, {}, "https://example.com/privacy/"),
    ({"status_url": "http://127.0.0.1:8000/deleted"}, {"root": "/x"}, "http://127.0.0.1:8000/deleted/"),
])  # fmt: skip
def test_the_pages_address_is_where_the_client_came_or_status_url(options, request_parts, expected):
    told = json.loads(delete_data(make_callbacks(**options), **request_parts).body)
    assert told["url"] == expected + told["confirmation_code"]


@pytest.mark.parametrize(
    "host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "API.example.com:443", "my_host"]
)
def test_a_host_is_taken_as_it_came(callbacks, host):
    assert json.loads(delete_data(callbacks, ("host", host)).body)["url"].startswith(f"https://{host}/")


@pytest.mark.parametrize("hosts", [
    ["a b"], ["a/b"], ["a@b"], ["a?b"], ["a#b"], ["evil.example\\@a"], ["a:b"], ["a:123456"], [""],
    ["ä.example"],
    ["a\n"], ["[::1"], ["a", "b"], ["a,b"], [".a"],
])  # fmt: skip
def test_a_host_that_is_none_names_no_page_and_has_no_effect(callbacks, sessions, hosts):
    said = delete_data(callbacks, *(("host", host) for host in hosts))
    assert (said.status, sessions.effects) == (400, 0)
    fixed = make_callbacks(sessions, status_url="https://example.com/deleted")
    assert delete_data(fixed, *(("host", host) for host in hosts)).status == 200


@pytest.mark.parametrize("is_async", [False, True])
def test_the_apps_own_deletion_comes_after_the_end(sessions, is_async):
    calls = []

    def delete(user_id, code):
        calls.append((user_id, code, list(sessions.ended), threading.current_thread()))

    async def adelete(user_id, code):
        delete(user_id, code)

    told = json.loads(delete_data(make_callbacks(sessions, delete=adelete if is_async else delete)).body)
    ((user_id, code, before, thread),) = calls
    assert (user_id, code, before) == ("1001", told["confirmation_code"], [("1001", float(NOW))])
    assert (thread is threading.main_thread()) == is_async  # a plain function may block; the loop may not


def test_a_callable_object_that_is_async_is_awaited():
    class Delete:
        done = False

        async def __call__(self, user_id, code):
            await asyncio.sleep(0)
            self.done = True

    delete = Delete()
    assert delete_data(make_callbacks(delete=delete)).status == 200
    assert delete.done


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("error", [RuntimeError("no database"), TimeoutError(), KeyError("x")])
def test_a_deletion_that_fails_is_asked_for_again(sessions, caplog, is_async, error):
    def delete(user_id, code):
        raise error

    async def adelete(user_id, code):
        raise error

    with caplog.at_level(logging.DEBUG):
        said = delete_data(make_callbacks(sessions, delete=adelete if is_async else delete))
    assert (said.status, sessions.ended) == (500, [("1001", float(NOW))])
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert (record.name, record.levelname) == ("fbguard", "ERROR")
    assert type(record.exc_info[1]) is type(error)
    assert "1001" not in caplog.text


def test_where_the_store_is_away_the_apps_deletion_waits(sessions):
    sessions.lost = StoreAwayError()
    calls = []
    said = delete_data(make_callbacks(sessions, delete=lambda *args: calls.append(args)))
    assert (said.status, calls) == (503, [])


# -- the webhook -------------------------------------------------------------------------------------------


def test_the_handshake_is_answered_with_the_challenge_alone(callbacks):
    said = answer(callbacks, handshake())
    assert (said.status, said.body) == (200, b"1158201444")
    assert header(said, "content-type") == "text/plain; charset=utf-8"
    assert header(said, "x-content-type-options") == "nosniff"


def test_without_a_verify_token_the_handshake_is_refused():
    assert answer(make_callbacks(verify_token=None), handshake()).status == 403


def test_an_event_forgets_each_user_once(callbacks, sessions):
    assert answer(callbacks, event(event_body("1", "2", "1", "0"))).status == 200
    assert sorted(sessions.forgotten) == ["1", "2"]
    assert sessions.ended == []


def test_an_event_about_other_objects_is_acknowledged_and_has_no_effect(callbacks, sessions):
    assert (answer(callbacks, event(event_body("1", about="page"))).status, sessions.effects) == (200, 0)


def test_a_signed_body_that_is_no_event_is_refused(callbacks, sessions):
    assert (answer(callbacks, event(b"[]")).status, sessions.effects) == (400, 0)


def test_the_users_of_an_event_are_forgotten_side_by_side(callbacks, sessions):
    assert answer(callbacks, event(event_body(*map(str, range(1, 1001))))).status == 200
    assert len(sessions.forgotten) == 1000
    assert 2 <= sessions.most <= 50


@pytest.mark.parametrize("error", [StoreAwayError("redis://user:password@host"), TimeoutError(), OSError()])
def test_what_is_not_stored_is_not_acknowledged(callbacks, sessions, caplog, error):
    sessions.lost = error
    for request in (posted("/deauthorize", form()), posted("/data-deletion", form()), event(event_body("1"))):
        said = answer(callbacks, request)
        assert (said.status, sessions.effects) == (503, 0)
        assert int(header(said, "retry-after")) >= 1
    assert "password" not in caplog.text
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3


def test_where_one_user_is_not_stored_the_others_are_and_all_come_again(callbacks, sessions):
    sessions.lost, sessions.lost_for = StoreAwayError(), {"500"}
    assert answer(callbacks, event(event_body(*map(str, range(1, 1001))))).status == 503
    assert len(sessions.forgotten) == 999


def test_a_store_that_hangs_is_not_waited_for_beyond_the_deadline(sessions):
    sessions.hangs = True
    callbacks = make_callbacks(sessions, deadline=0.05)
    for request in (posted("/deauthorize", form()), event(event_body("1", "2"))):
        assert (answer(callbacks, request).status, sessions.effects, sessions.under_way) == (503, 0, 0)


# -- all of them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [
    "", "/", "/deauthorize/", "/webhook/", "/Webhook", "//webhook", "/restserver.php", "/data-deletionx",
    "/../webhook", "/webhook\0", "webhook",
])  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_anything_else_is_not_there(callbacks, sessions, path, method):
    assert (answer(callbacks, Request(method, path)).status, sessions.effects) == (404, 0)


@pytest.mark.parametrize(("method", "path", "allowed"), [
    ("GET", "/deauthorize", "POST"), ("HEAD", "/deauthorize", "POST"), ("PUT", "/deauthorize", "POST"),
    ("DELETE", "/data-deletion", "GET, POST, HEAD"), ("POST", "/data-deletion/x", "GET, HEAD"),
    ("OPTIONS", "/webhook", "GET, POST, HEAD"), ("post", "/webhook", "GET, POST, HEAD"),
    ("", "/webhook", "GET, POST, HEAD"),
])  # fmt: skip
def test_another_method_is_told_which_are_for_here(callbacks, method, path, allowed):
    said = answer(callbacks, Request(method, path))
    assert (said.status, header(said, "allow")) == (405, allowed)


@pytest.mark.parametrize("coding", ["gzip", "identity", "br, gzip", ""])
def test_an_encoded_body_is_refused(callbacks, sessions, coding):
    body = event_body("1")
    for request in (
        event(body, ("content-encoding", coding)),
        posted("/deauthorize", form(), ("content-encoding", coding)),
    ):
        assert (answer(callbacks, request).status, sessions.effects) == (415, 0)


@pytest.mark.parametrize(
    ("path", "cap"), [("/deauthorize", 16_384), ("/data-deletion", 16_384), ("/webhook", 1_048_576)]
)
def test_a_body_above_the_cap_is_refused_before_its_signature_is_made(
    callbacks, sessions, monkeypatch, path, cap
):
    assert callbacks.admit(posted(path, b"")) == cap
    assert callbacks.admit(posted(path, b"", ("content-length", str(cap)))) == cap
    for length in (str(cap + 1), "9" * 5000, f"000{cap + 1}"):
        admitted = callbacks.admit(posted(path, b"", ("content-length", length)))
        assert isinstance(admitted, Answer)
        assert admitted.status == 413
    monkeypatch.setattr("fbguard.facebook.signed_request.hmac", None)
    assert (answer(callbacks, posted(path, b"x" * (cap + 1))).status, sessions.effects) == (413, 0)


def test_of_a_get_no_body_is_read(callbacks):
    assert callbacks.admit(Request("GET", "/webhook", headers=[("content-length", "9999999")])) == 0


@pytest.mark.parametrize("request_", [
    handshake(), handshake(verify_token="x"), posted("/deauthorize", form()), posted("/deauthorize", b""),
    posted("/data-deletion", form()), event(event_body("1")), Request("GET", "/data-deletion/x"),
    Request("GET", "/"),
    Request("PUT", "/webhook"), posted("/deauthorize", b"", ("content-type", "x")),
    posted("/restserver.php", b"method=x"),
])  # fmt: skip
def test_no_answer_is_stored_or_guessed_at(request_):
    async def endpoint(_request):
        return Answer(200, [("Content-Type", "text/xml")], b"<x/>")

    said = answer(make_callbacks(endpoint=endpoint), request_)
    assert header(said, "cache-control") == "no-store"
    assert header(said, "x-content-type-options") == "nosniff"
    assert header(said, "content-length") == str(len(said.body))


def test_the_endpoint_serves_the_legacy_address():
    seen = []

    async def endpoint(request):
        seen.append((request.method, request.query, request.body))
        return Answer(200, [("Content-Type", "text/xml"), ("cache-control", "no-store, private")], b"<x/>")

    callbacks = make_callbacks(endpoint=endpoint)
    said = answer(callbacks, posted("/restserver.php", b"a=1", query="b=2"))
    assert (said.status, said.body, header(said, "cache-control")) == (200, b"<x/>", "no-store, private")
    assert answer(callbacks, Request("GET", "/restserver.php", "c=3")).status == 200
    assert seen == [("POST", "b=2", b"a=1"), ("GET", "c=3", b"")]


def test_nothing_shows_what_was_sent(callbacks, caplog):
    with caplog.at_level(logging.DEBUG):
        for request in (
            posted("/deauthorize", form()),
            event(event_body("1001")),
            posted("/deauthorize", form("x.y")),
        ):
            answer(callbacks, request)
            assert "signed_request" not in repr(request)
            assert "1001" not in repr(request)
    assert caplog.records
    assert "1001" not in caplog.text
    assert SECRET not in f"{caplog.text}{vars(callbacks)}"
    assert "horse" not in f"{vars(callbacks)}"


# -- options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "value", "error"), [
    ("verify_token", "", ValueError), ("verify_token", " \n", ValueError), ("verify_token", 7, TypeError),
    ("verify_token", b"x", TypeError),
    ("delete", "delete", TypeError), ("delete", 7, TypeError),
    ("endpoint", "endpoint", TypeError),
    ("now", 1_700_000_000.0, TypeError),
    ("status_url", "http://example.com/deleted", ValueError), ("status_url", "/deleted", ValueError),
    ("status_url", "https://example.com/deleted?x=1", ValueError), ("status_url", "", ValueError),
    ("status_url", "javascript:alert(1)", ValueError), ("status_url", 7, TypeError),
    ("deadline", 0, ValueError), ("deadline", "1", TypeError), ("deadline", float("inf"), ValueError),
])  # fmt: skip
def test_a_wrong_option_fails_at_construction_and_is_named(option, value, error):
    with pytest.raises(error, match=option):
        make_callbacks(**{option: value})


def test_sessions_and_secrets_are_looked_at_too():
    with pytest.raises(TypeError, match="sessions"):
        Callbacks(object(), [Secret(SECRET)], now=float)  # type: ignore[arg-type]
    for wrong in ([], [Secret("")]):
        with pytest.raises(ValueError, match="secret"):
            Callbacks(FakeSessions(), wrong, now=float)
    with pytest.raises(TypeError, match="secret"):
        Callbacks(FakeSessions(), [SECRET], now=float)  # type: ignore[list-item]


def test_the_calls_of_these_tests_are_genuine():
    """Guard the tests above: what they refuse, they refuse for the reason they name."""
    body = urlencode({"signed_request": signed_request()}).encode()
    assert answer(make_callbacks(), Request("POST", "/deauthorize", headers=[FORM], body=body)).status == 200
    request = Request(
        "POST", "/webhook", headers=[JSON, HOST, ("x-hub-signature-256", hub_signature(b"{}"))], body=b"{}"
    )
    assert answer(make_callbacks(), request).status == 400
