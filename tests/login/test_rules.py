"""A login from its first link to the log-out, in both protocols, against the sandbox."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qs, urlsplit

import pytest

from fbguard import Refused, Requirement
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.login.gate import Gate
from fbguard.stores.memory import MemoryStore
from tests.login.browsers import COOKIE, OWN, REDIRECT_URI, SITE, Browser, guard_of, state_of
from tests.support import PATIENCE

STATE = "__Host-fbguard-login"


def test_a_person_logs_in(browser, guard, sandbox):
    done = browser.log_in(sandbox, "/login?next=/me%3Ftab%3D1%23top", user_id="42")
    assert (done.status, done.header("location"), done.body) == (303, f"{SITE}/me?tab=1#top", b"")
    assert (done.header("cache-control"), done.header("referrer-policy")) == ("no-store", "no-referrer")
    assert set(browser.jar) == {COOKIE}
    info = guard.check(browser.jar[COOKIE])
    assert (info.user_id, info.scopes) == ("42", {"public_profile", "email"})


def test_the_token_is_known_from_then_on(browser, guard, sandbox):
    browser.log_in(sandbox)
    asked = len(sandbox.calls)
    guard.check(browser.jar[COOKIE])
    assert len(sandbox.calls) == asked


def test_the_dialog_is_asked_for_what_it_should(browser):
    sent = browser.ask("/login?scope=pages_show_list,email%20user_friends&auth_type=rerequest")
    parts = urlsplit(sent.header("location"))
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "https://www.facebook.com/v26.0/dialog/oauth"
    assert parse_qs(parts.query) == {
        "client_id": ["1234567890"],
        "redirect_uri": [REDIRECT_URI],
        "scope": ["email,pages_show_list,user_friends"],
        "auth_type": ["rerequest"],
        "state": [state_of(sent)],
    }


def test_without_scopes_none_are_asked_for(kind, guard):
    sent = Browser(kind, guard).ask("/login")
    assert "scope" not in parse_qs(urlsplit(sent.header("location")).query)


@pytest.mark.parametrize("path", ["/login", "/login?next="])
def test_who_says_nothing_goes_where_all_go(browser, sandbox, path):
    assert browser.log_in(sandbox, path).header("location") == f"{SITE}/home"


def test_cookies_are_for_no_script_no_other_site_and_no_plain_http(browser, sandbox):
    browser.log_in(sandbox)
    way, token, gone = browser.written
    assert re.fullmatch(rf"{STATE}=[\w.-]+; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=600", way)
    assert re.fullmatch(rf"{COOKIE}=EAA\w+; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=(\d+)", token)
    assert gone == f"{STATE}=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
    assert 3590 <= int(token.rpartition("=")[2]) <= 2 * 3600


def test_on_a_developers_machine_cookies_go_without_https(kind, sandbox):
    options = {"redirect_uri": "http://127.0.0.1:8000/callback", "token_from": ("cookie:fb_token",)}
    with guard_of(sandbox, **options) as guard:
        browser = Browser(kind, guard)
        browser.ask("/login")
        assert re.fullmatch(
            r"fbguard-login=\S+; Path=/; HttpOnly; SameSite=Lax; Max-Age=600", *browser.written
        )


def test_a_token_that_never_ends_lives_as_long_as_the_browser(browser, guard, sandbox, monkeypatch):
    issue = sandbox.issue_token

    async def exchange(_code, _redirect_uri):
        return Secret(issue(user_id="42", expires_in=None))

    monkeypatch.setattr(guard._look_ups, "exchange", exchange)
    browser.log_in(sandbox)
    assert "Max-Age" not in browser.written[1]


def test_hints_lead_to_the_login_from_then_on(guard, kind):
    def url(token):
        with pytest.raises(Refused) as refused:
            guard.check(token)
        return refused.value.relogin.url

    assert urlsplit(url(None)).path == "/v26.0/dialog/oauth"
    Browser(kind, guard)
    assert url(None) == f"{SITE}/facebook/login"


def test_a_hint_asks_for_what_is_missing(guard, sandbox, kind):
    Browser(kind, guard)
    token = sandbox.issue_token(scopes=["public_profile"])
    with pytest.raises(Refused) as refused:
        guard.check(token, Requirement(scopes=["email", "pages_show_list"]))
    assert refused.value.relogin.url == (
        f"{SITE}/facebook/login?scope=email%2Cpages_show_list&auth_type=rerequest"
    )


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "next=https://evil.example/",
        "next=//evil.example",
        "scope=a%22b",
        "scope=" + "x" * 4097,
        "next=/a&next=/b",
        "scope=email&scope=user_friends",
        "auth_type=rerequest&auth_type=rerequest",
        "&".join(f"p{n}=1" for n in range(33)),
        "auth_type=anything",
        "auth_type=rerequest,reauthenticate",
    ],
)
def test_a_link_that_is_wrong_begins_no_login(browser, query):
    answer = browser.ask(f"/login?{query}")
    assert (answer.status, answer.reason, browser.written) == (400, "invalid_request", [])


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/login", "POST", "GET"),
        ("/login", "HEAD", "GET"),
        ("/callback", "POST", "GET"),
        ("/logout", "GET", "POST"),
    ],
)
def test_methods(browser, path, method, allowed):
    answer = browser.ask(path, method)
    assert (answer.status, answer.header("allow"), browser.written) == (405, allowed, [])


@pytest.mark.parametrize("path", ["", "/", "/login//", "/callback/x", "/Login", "/facebook/login"])
def test_anything_else_is_not_there(browser, path):
    assert browser.ask(path).status == 404


def test_a_slash_at_the_end_makes_no_difference(browser):
    assert browser.ask("/login/").status == 302  # Litestar's mounts add one


def test_a_person_who_cancels_is_asked_again(browser, sandbox):
    answer = browser.ask(browser.returning(sandbox, browser.ask("/login"), cancel=True))
    assert (answer.status, answer.reason) == (401, "not_authorized")
    assert answer.json["relogin"]["url"] == f"{SITE}/facebook/login"
    assert browser.jar == {}


def test_a_browser_gets_a_page_that_knows_where_it_was_going(browser, sandbox):
    path = browser.returning(sandbox, browser.ask("/login?next=/me"), cancel=True)
    answer = browser.ask(path, "GET", ("Accept", "text/html"), ("Accept-Language", "id"))
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert f'href="{SITE}/facebook/login?next=%2Fme"'.encode() in answer.body
    assert answer.header("content-language") == "id"


@pytest.mark.parametrize(
    "error", ["error=server_error", "error_code=1349048&error_message=x", "error=%0aevil"]
)
def test_an_error_of_the_dialog_ends_the_login(browser, caplog, error):
    caplog.set_level("DEBUG", "fbguard")
    path = f"/callback?{error}&state={state_of(browser.ask('/login'))}"
    answer = browser.ask(path)
    assert (answer.status, answer.reason, browser.jar) == (401, "missing_token", {})
    assert {one.levelname for one in caplog.records} == {"DEBUG"}  # who likes can make up any number of them
    assert "evil" not in caplog.text
    assert browser.ask(path).status == 401


@pytest.mark.parametrize("after", ["error=server_error", "code=x"])
def test_who_must_begin_anew_still_knows_where_to_go(browser, sandbox, after):
    """Also on a page that is loaded again, with its state used."""
    path = f"/callback?{after}&state={state_of(browser.ask('/login?next=/me'))}"
    if after == "code=x":
        sandbox.fail(status=200, body=b'{"access_token": ""}', times=1)
    jar = dict(browser.jar)
    for _ in range(2):
        browser.jar = dict(jar)
        answer = browser.ask(path, "GET", ("Accept", "text/html"))
        if after == "code=x" and answer.status == 503:
            answer = browser.ask(path, "GET", ("Accept", "text/html"))
        assert answer.status == 401
        assert f'href="{SITE}/facebook/login?next=%2Fme"'.encode() in answer.body


def test_a_login_never_leads_to_itself(browser):
    for place in ("login", "callback", "logout"):
        assert browser.ask(f"/login?next=/facebook/{place}").status == 400
        assert browser.ask(f"/logout?next=/facebook/{place}", "POST", *OWN).status == 400


@pytest.mark.parametrize("code", ["", "&code=", "&code=a&code=b", "&code=" + "x" * 4097])
def test_a_code_that_is_none(browser, sandbox, code):
    state = state_of(browser.ask("/login"))
    answer = browser.ask(f"/callback?state={state}{code}")
    assert (answer.status, answer.reason) == (400, "invalid_request")
    assert not any("access_token" in call.path for call in sandbox.calls)


def test_a_code_that_facebook_does_not_know(browser, sandbox):
    state = state_of(browser.ask("/login"))
    answer = browser.ask(f"/callback?state={state}&code=nobodys")
    assert (answer.status, answer.reason, answer.json["code"]) == (401, "invalid_token", 100)
    assert browser.jar == {}


def test_a_code_that_has_been_used(browser, kind, guard, sandbox):
    path = browser.returning(sandbox, browser.ask("/login"))
    used = parse_qs(urlsplit(path).query)["code"][0]
    assert browser.ask(path).status == 303
    other = Browser(kind, guard)
    answer = other.ask(f"/callback?state={state_of(other.ask('/login'))}&code={used}")
    assert (answer.status, answer.reason, answer.json["subcode"]) == (401, "invalid_token", 36009)


def test_a_code_that_has_expired(browser, sandbox):
    path = browser.returning(sandbox, browser.ask("/login"))
    code = parse_qs(urlsplit(path).query)["code"][0]
    sandbox.clock.advance(300)
    state = state_of(browser.ask("/login"))
    sandbox.clock.advance(301)
    assert browser.ask(f"/callback?code={code}&state={state}").json["subcode"] == 36007


def test_a_person_who_was_away_for_long_begins_anew(browser, sandbox):
    path = browser.returning(sandbox, browser.ask("/login"))
    sandbox.clock.advance(600)
    assert browser.ask(path).reason == "missing_token"


def test_a_person_who_is_held_at_facebook(browser, sandbox):
    path = browser.returning(sandbox, browser.ask("/login"))
    sandbox.checkpoint("42")
    answer = browser.ask(path)
    assert (answer.status, answer.reason) == (401, "checkpointed")


def test_while_facebook_is_away_the_way_back_stays_open(browser, sandbox):
    path = browser.returning(sandbox, browser.ask("/login"))
    sandbox.fail(status=500, times=1)
    answer = browser.ask(path)
    assert (answer.status, answer.reason) == (503, "unavailable")
    assert answer.header("retry-after")
    assert list(browser.jar) == [STATE]
    assert browser.ask(path).status == 303


def test_while_facebook_throttles(browser, sandbox):
    path = browser.returning(sandbox, browser.ask("/login"))
    sandbox.throttle(4)
    assert (answer := browser.ask(path)).status == 503
    assert answer.reason == "throttled"


def test_garbage_from_facebook_logs_nobody_in(browser, sandbox):
    for body in (
        b"",
        b"null",
        b"[]",
        b'{"access_token": 5}',
        b'{"access_token": "a|b"}',
        b'{"access_token": ""}',
    ):
        path = browser.returning(sandbox, browser.ask("/login"))
        sandbox.fail(status=200, body=body, times=1)
        assert (browser.ask(path).status, COOKIE in browser.jar) == (503, False), body


def test_a_token_of_another_app_logs_nobody_in(browser, guard, sandbox, monkeypatch):
    async def exchange(_code, _redirect_uri):
        return Secret(sandbox.issue_token(app_id="999"))

    monkeypatch.setattr(guard._look_ups, "exchange", exchange)
    answer = browser.log_in(sandbox)
    assert (answer.status, answer.reason, browser.jar) == (401, "wrong_app", {})


def test_a_token_that_no_browser_would_keep_logs_nobody_in(browser, guard, monkeypatch, sandbox):
    async def exchange(_code, _redirect_uri):
        return Secret(sandbox.issue_token().ljust(4096, "A"))

    async def facts(_self, _token):
        return None

    monkeypatch.setattr(guard._look_ups, "exchange", exchange)
    monkeypatch.setattr(Gate, "facts", facts)
    answer = browser.log_in(sandbox)
    assert (answer.status, answer.reason, browser.jar) == (503, "unavailable", {})


@pytest.mark.parametrize("code", ["guess", "guess{}"])
def test_codes_count_for_the_limit(kind, sandbox, code):
    with guard_of(sandbox, miss_limit=(2, 60.0)) as guard:
        browser = Browser(kind, guard)
        said = []
        for number in range(4):
            state = state_of(browser.ask("/login"))
            said.append(browser.ask(f"/callback?state={state}&code={code.format(number)}").status)
        assert said == [401, 401, 429, 429]


def test_a_closed_guard_asks_people_to_come_again(browser, guard, sandbox):
    browser.log_in(sandbox)
    path = browser.returning(sandbox, browser.ask("/login"))
    guard.close()
    for request in (("/login",), (path,), ("/logout", "POST", *OWN)):
        assert browser.ask(*request).status == 503
    assert COOKIE in browser.jar


def test_a_guard_that_is_closed_meanwhile_asks_no_more(browser, guard, sandbox, monkeypatch):
    """The code is spent by then: the person gets the cookie, and is judged by the next guard."""
    exchange = guard._look_ups.exchange

    async def closing(*args):
        token = await exchange(*args)
        guard.close()
        return token

    monkeypatch.setattr(guard._look_ups, "exchange", closing)
    assert browser.log_in(sandbox).status == 303
    assert COOKIE in browser.jar
    assert [call.path for call in sandbox.calls if "debug_token" in call.path] == []


def test_a_guard_that_is_closed_during_a_log_out(browser, guard, sandbox, monkeypatch):
    find = guard._look_ups.find

    async def closing(*args):
        found = await find(*args)
        guard.close()
        return found

    monkeypatch.setattr(guard._look_ups, "find", closing)
    tokens = [sandbox.issue_token(user_id=user) for user in ("1", "2")]
    pair = "; ".join(f"{COOKIE}={token}" for token in tokens)
    assert browser.ask("/logout", "POST", *OWN, ("Cookie", pair)).status == 303
    assert all(guard._revoker.is_ended(Secret(token)) for token in tokens)


# -- when Facebook is not well -----------------------------------------------------------------------------


def test_a_token_that_cannot_be_looked_up_now_is_kept_for_later(browser, guard, sandbox, monkeypatch):
    """Its code is spent: to send the person back to Facebook would be all that is left."""
    look_up = guard._look_ups.find

    async def away(token, _max_age):
        monkeypatch.setattr(guard._look_ups, "find", look_up)
        return Finding("unavailable", retry_after=1)

    monkeypatch.setattr(guard._look_ups, "find", away)
    done = browser.log_in(sandbox, "/login?next=/me")
    assert (done.status, done.header("location")) == (303, f"{SITE}/me")
    assert "Max-Age" not in browser.written[1]
    assert guard.check(browser.jar[COOKIE]).user_id == "42"


@pytest.mark.parametrize("trouble", ["outage", "throttle"])
def test_logins_come_back_with_facebook(kind, sandbox, trouble):
    """Though nobody looks a token up meanwhile: a login takes the probe, so it must tell how that went."""
    with guard_of(sandbox) as guard:
        browser = Browser(kind, guard)
        if trouble == "outage":
            sandbox.fail(status=500)
        else:
            sandbox.throttle(4)
        for _ in range(8):
            path = browser.returning(sandbox, browser.ask("/login"))
            assert browser.ask(path).status == 503
            sandbox.clock.advance(1)
        assert guard.health().status == "degraded"
        sandbox.recover()
        sandbox.clock.advance(400)
        said = []
        for _ in range(3):
            said.append(browser.log_in(sandbox).status)
            sandbox.clock.advance(10)
        assert said[-1] == 303
        assert guard.health().status == "ok"


def test_while_facebook_is_away_few_logins_ask(kind, sandbox):
    with guard_of(sandbox) as guard:
        browser = Browser(kind, guard)
        sandbox.throttle(4)
        for _ in range(50):
            browser.ask(browser.returning(sandbox, browser.ask("/login")))
        assert sum("access_token" in call.path for call in sandbox.calls) < 5


def test_forged_callbacks_take_nobodys_probe(kind, sandbox):
    with guard_of(sandbox) as guard:
        forger = Browser(kind, guard)
        forger.jar[STATE] = f"{'s' * 43}.{int(sandbox.clock.time())}.Lw.{'m' * 43}"
        for number in range(20):
            assert forger.ask(f"/callback?state={'s' * 43}&code=x{number}").status == 401
        assert not any("access_token" in call.path for call in sandbox.calls)


# -- log-out -----------------------------------------------------------------------------------------------


def test_a_log_out_ends_the_session_and_takes_the_cookie(browser, guard, sandbox):
    browser.log_in(sandbox)
    token = browser.jar[COOKIE]
    answer = browser.ask("/logout?next=/bye", "POST", *OWN)
    assert (answer.status, answer.header("location")) == (303, f"{SITE}/bye")
    assert browser.jar == {}
    with pytest.raises(Refused) as refused:
        guard.check(token)
    assert refused.value.reason == "session_invalidated"


def test_who_is_not_logged_in_may_log_out(browser):
    assert browser.ask("/logout", "POST", *OWN).header("location") == f"{SITE}/"


def test_a_log_out_has_a_place_of_its_own_to_go_to(kind, guard):
    browser = Browser(kind, guard, after="/me", after_logout="/bye")
    assert browser.ask("/logout", "POST", *OWN).header("location") == f"{SITE}/bye"


FORM = ("Content-Type", "application/x-www-form-urlencoded")


@pytest.mark.parametrize(
    ("path", "kind_of_body", "body", "expected"),
    [
        ("/logout", FORM, b"next=/bye", "/bye"),
        ("/logout", (FORM[0], f"{FORM[1]}; charset=utf-8"), b"a=b&next=%2Fbye", "/bye"),
        ("/logout?next=/bye", FORM, b"", "/bye"),
        ("/logout?next=/bye", FORM, b"next=", "/bye"),
        ("/logout?next=/bye", FORM, b"next=/other", None),
        ("/logout", FORM, b"next=//evil.example", None),
        ("/logout", FORM, b"next=/caf\xe9", None),
        ("/logout", FORM, b"&".join([b"a=b"] * 40), None),
        ("/logout", ("Content-Type", "text/plain"), b"next=/bye", "/"),
        ("/logout", ("Content-Type", "multipart/form-data; boundary=x"), b"a" * 5000, "/"),
        ("/logout", ("Content-Type", "application/json"), b'{"next": "/bye"}', "/"),
    ],
)
def test_the_form_may_say_where_to_go(browser, path, kind_of_body, body, expected):
    answer = browser.ask(path, "POST", *OWN, kind_of_body, body=body)
    if expected is None:
        assert (answer.status, answer.reason) == (400, "invalid_request")
    else:
        assert (answer.status, answer.header("location")) == (303, f"{SITE}{expected}")


def test_a_form_that_is_too_long(browser, sandbox):
    browser.log_in(sandbox)
    assert browser.ask("/logout", "POST", *OWN, FORM, body=b"a" * 4097).status == 413
    assert COOKIE in browser.jar
    assert browser.ask("/logout", "POST", *OWN, FORM, body=b"a" * 4096).status == 303


def test_refusals_say_what_is_wrong(browser, sandbox):
    def detail(*request):
        return browser.ask(*request).json["detail"]

    assert "'auth_type'" in detail("/login?auth_type=x")
    assert "'next'" in detail("/login?next=//evil.example")
    assert "Sec-Fetch-Site or Origin" in detail("/logout", "POST")
    assert "'next'" in detail("/logout?next=x", "POST", *OWN)
    assert "begun in this browser" in detail("/callback?code=a&state=b")
    path = browser.returning(sandbox, browser.ask("/login"))
    jar = dict(browser.jar)
    assert browser.ask(path).status == 303
    browser.jar = jar
    assert "used before" in detail(path)
    state = state_of(browser.ask("/login"))
    assert "one 'code'" in detail(f"/callback?state={state}")
    state = state_of(browser.ask("/login"))
    assert "an error instead of a code" in detail(f"/callback?state={state}&error=server_error")


@pytest.mark.parametrize(
    ("redirect_uri", "is_elsewhere"),
    [
        (REDIRECT_URI, False),
        (f"{SITE}/v2/facebook/callback", False),  # a proxy cuts the first part off
        (f"{SITE}/f%61cebook/callback", False),
        (f"{SITE}/auth/callback", True),
        (f"{SITE}/callback", True),
        (f"{SITE}/book/callback", True),
        (f"{SITE}/facebook/v2/callback", True),
    ],
)
def test_who_mounts_a_login_elsewhere_is_told_once(kind, sandbox, caplog, redirect_uri, is_elsewhere):
    with guard_of(sandbox, redirect_uri=redirect_uri) as guard:
        browser = Browser(kind, guard)
        for _ in range(2):
            assert browser.ask("/login").status == 302
    told = [one for one in caplog.messages if "mounted elsewhere" in one]
    path = redirect_uri.removeprefix(SITE)
    assert (
        told
        == [f"a login is mounted elsewhere than redirect_uri says: Facebook sends people to {path}"]
        * is_elsewhere
    )


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Origin", "https://evil.example"), ("Host", "api.example.com")),
        (("Origin", "https://evil.example"), ("Host", "evil.example")),
        (("Origin", "null"), ("Host", "api.example.com")),
        (*OWN, ("Sec-Fetch-Site", "cross-site")),
        (*OWN, ("Sec-Fetch-Site", "same-site")),
        (*OWN, ("Sec-Fetch-Site", "none")),
    ],
)
def test_no_other_site_logs_anybody_out(browser, guard, sandbox, headers):
    browser.log_in(sandbox)
    answer = browser.ask("/logout", "POST", *headers)
    assert (answer.status, answer.reason) == (400, "invalid_request")
    assert guard.check(browser.jar[COOKIE]).user_id == "42"


@pytest.mark.parametrize(
    "headers",
    [
        (
            ("Origin", "null"),
            ("Sec-Fetch-Site", "same-origin"),
        ),  # of a page with Referrer-Policy: no-referrer
        (("Origin", SITE), ("Host", "10.0.0.1:8080")),  # behind a proxy that has names of its own
        (("Origin", SITE.upper()),),
    ],
)
def test_pages_of_this_site_do(browser, sandbox, headers):
    browser.log_in(sandbox)
    assert (browser.ask("/logout", "POST", *headers).status, browser.jar) == (303, {})


@pytest.mark.parametrize("kind", ["wsgi"])
def test_every_cookie_of_the_name_is_ended(browser, guard, sandbox):
    tokens = [sandbox.issue_token(user_id=str(number)) for number in (1, 2)]
    for token in tokens:
        guard.check(token)
    pair = "; ".join(f"{COOKIE}={token}" for token in tokens)
    answer = browser.ask("/logout", "POST", *OWN, ("Cookie", pair))
    assert answer.status == 303
    for token in tokens:
        with pytest.raises(Refused):
            guard.check(token)


def test_a_token_in_the_header_is_not_the_browsers(browser, guard, sandbox):
    token = sandbox.issue_token(user_id="7")
    browser.ask("/logout", "POST", *OWN, ("Authorization", f"Bearer {token}"))
    assert guard.check(token).user_id == "7"


@pytest.mark.parametrize("token", ["invented", "no token at all!", "", "a" * 4097])
def test_what_is_no_token_of_ours_leaves_no_stone(browser, guard, token):
    """Stones are bounded: who could leave any number would bring ended sessions back to life."""
    browser.jar[COOKIE] = token
    assert (browser.ask("/logout", "POST", *OWN).status, browser.jar) == (303, {})
    assert guard._revoker.is_ended(Secret(token)) is False


def test_an_expired_token_of_ours_is_ended_too(browser, guard, sandbox):
    browser.log_in(sandbox)
    token = browser.jar[COOKIE]
    sandbox.expire(token)
    guard.forget(Secret(token))
    assert browser.ask("/logout", "POST", *OWN).status == 303
    assert guard._revoker.is_ended(Secret(token))


def test_log_outs_of_unknown_tokens_count_for_the_limit(kind, sandbox):
    with guard_of(sandbox, miss_limit=(2, 60.0)) as guard:
        browser, said = Browser(kind, guard), []
        for number in range(4):
            browser.jar[COOKIE] = f"invented{number}"
            said.append(browser.ask("/logout", "POST", *OWN).status)
        assert said == [303, 303, 429, 429]


def test_while_nobody_can_tell_whose_token_it_is_the_cookie_stays(browser, sandbox):
    browser.jar[COOKIE] = sandbox.issue_token()
    sandbox.fail(status=500, times=1)
    assert (browser.ask("/logout", "POST", *OWN).status, COOKIE in browser.jar) == (503, True)
    assert (browser.ask("/logout", "POST", *OWN).status, browser.jar) == (303, {})


def test_a_button_that_would_not_log_out_is_not_shown(browser, sandbox):
    browser.jar[COOKIE] = sandbox.issue_token()
    sandbox.fail(status=500, times=1)
    answer = browser.ask("/logout", "POST", *OWN, ("Accept", "text/html"))
    assert (answer.status, b"<a" in answer.body) == (503, False)


def test_a_session_that_ended_elsewhere_is_over_here_too(kind, sandbox):
    """This worker has begun later, and asks the store first."""
    store = MemoryStore(time=sandbox.clock.time)
    with guard_of(sandbox, store=store) as other, guard_of(sandbox, store=store) as guard:
        token = sandbox.issue_token(user_id="42")
        other.expire_session(token)
        browser = Browser(kind, guard)
        browser.jar[COOKIE] = token
        assert (browser.ask("/logout", "POST", *OWN).status, browser.jar) == (303, {})
        assert guard._revoker.is_ended(Secret(token))


def test_who_has_left_the_app_may_log_out(browser, guard, sandbox):
    token = sandbox.issue_token(user_id="77", expires_in=60 * 86400)
    sandbox.clock.advance(10)
    asyncio.run(guard._revoker.end_user("77", sandbox.clock.time()))
    browser.jar[COOKIE] = token
    assert (browser.ask("/logout", "POST", *OWN).status, browser.jar) == (303, {})


def test_a_token_that_this_guard_never_takes_can_be_put_away(browser, guard):
    token = "eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln"  # an ID token, without limited_login=True
    browser.jar[COOKIE] = token
    assert (browser.ask("/logout", "POST", *OWN).status, browser.jar) == (303, {})
    assert not guard._revoker.is_ended(Secret(token))


def test_all_cookies_are_looked_up_at_once(kind, guard, sandbox, monkeypatch):
    """A log-out takes as long as one look-up, whatever others have planted."""
    find, together = guard._look_ups.find, asyncio.Barrier(4)

    async def waiting(*args):
        async with asyncio.timeout(PATIENCE):
            await together.wait()
        return await find(*args)

    monkeypatch.setattr(guard._look_ups, "find", waiting)
    pair = "; ".join(f"{COOKIE}={sandbox.issue_token(user_id=user)}" for user in "1234")
    assert Browser(kind, guard).ask("/logout", "POST", *OWN, ("Cookie", pair)).status == 303


def test_a_log_out_that_others_do_not_hear_of_can_be_done_again(kind, sandbox):
    class Away(MemoryStore):
        is_away = False

        async def bury(self, *args, **options):
            if self.is_away:
                raise OSError
            await super().bury(*args, **options)

    store = Away(time=sandbox.clock.time)
    with guard_of(sandbox, store=store) as guard:
        browser = Browser(kind, guard)
        browser.log_in(sandbox)
        store.is_away = True
        answer = browser.ask("/logout", "POST", *OWN)
        assert (answer.status, COOKIE in browser.jar) == (503, True)
        with pytest.raises(Refused):
            guard.check(browser.jar[COOKIE])


# -- once --------------------------------------------------------------------------------------------------


def test_a_state_works_once_however_many_come_at_once(guard, sandbox):
    browser = Browser("wsgi", guard)
    path = browser.returning(sandbox, browser.ask("/login"))
    cookie = dict(browser.jar)

    def come(_number):
        again = Browser("wsgi", guard)  # each mount of the guard knows
        again.jar = dict(cookie)
        return again.ask(path).status

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(come, range(8))) == [303] + [401] * 7
    assert [call.path.rpartition("/")[2] for call in sandbox.calls] == [
        "oauth",
        "access_token",
        "debug_token",
    ]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_a_lock_of_its_own(guard):
    browser = Browser("wsgi", guard)
    browser.ask("/login")
    used = guard._states
    assert used is not None
    with used._lock:  # as if another thread had been in there
        pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        os._exit(0 if used.take(Secret("s")) else 1)
    assert os.waitpid(pid, 0)[1] == 0
