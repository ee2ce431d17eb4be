"""Rows G: what the guard writes back."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import base64
import re
from urllib.parse import quote

import pytest

from fbguard import Policy, Rule
from fbguard.login.cookies import Cookies
from fbguard.sandbox import Sandbox
from tests.login.browsers import COOKIE, OWN, SITE, Browser, guard_of, state_of
from tests.support import TOKEN, dead, envelope, make_guard, valid
from tests.threats.requests import ask, bearer

EVIL = [
    "a\r\nSet-Cookie: x=y",
    "a\nX: y",
    "\x00",
    'a", scope="admin',
    "a\\",
    '\\"',
    "\U0001f600",
    "caf\xe9",
    "\u2028",
    "<script>alert(1)</script>",
    "\x1b[31m",
    "a" * 9000,
]
# RFC 6750 section 3: one challenge, "k=v" with a comma and a space between; values without \ and ".
VALUE = r"[\x20\x21\x23-\x5b\x5d-\x7e]"
CHALLENGE = re.compile(rf'Bearer (?:[a-z_]+="{VALUE}*"(?:, (?!\Z)|\Z))+')
PARAMETER = re.compile(rf'([a-z_]+)="({VALUE}*)"')


@pytest.mark.parametrize("evil", EVIL, ids=lambda text: ascii(text)[:20])
@pytest.mark.parametrize(("code", "subcode"), [(190, 463), (190, None), (100, None), (99_999, 1)])
def test_G01_header_injection_by_graph(door, guard, graph, evil, code, subcode):
    graph.replies["plain"] = dead(code, subcode)
    graph.replies["evil"] = dead(
        code, subcode, evil, application=evil, type=evil, error_user_msg=evil, error_user_title=evil
    )
    plain, answer = door(guard).send("plain"), door(guard).send("evil")
    assert (answer.status, answer.headers) == (401, plain.headers)
    assert answer.json == plain.json
    assert b"alert" not in answer.body


@pytest.mark.parametrize("evil", EVIL, ids=lambda text: ascii(text)[:20])
def test_G01_header_injection_at_the_top(door, guard, graph, evil):
    graph.replies["plain"], graph.replies["evil"] = envelope(4), envelope(4, message=evil)
    plain, answer = door(guard).send("plain"), door(guard).send("evil")
    assert (answer.status, answer.headers, answer.body) == (503, plain.headers, plain.body)


NAMES = ["Accept-Language", "Accept", "Host", "Origin", "Referer", "User-Agent", "X-Request-Id", "Realm"]


@pytest.mark.parametrize("name", NAMES)
def test_G01_header_injection_by_the_client(door, guard, name):
    behind = door(guard)
    plain = behind.send()
    for evil in EVIL:
        headers = [(name, evil.encode().decode("latin-1"))]
        answer = ask(behind, "/\u2028<script>", query=evil.encode().decode("latin-1"), headers=headers)
        assert answer.status in {400, 401}
        if answer.status == plain.status:
            assert (answer.headers, answer.body) == (plain.headers, plain.body)


@pytest.mark.parametrize("scope", ['x"y', "x y", "x\\", "caf\xe9", "x\n", ""])
def test_G01_no_scope_that_could_leave_its_quotes(scope):
    with pytest.raises(ValueError, match="RFC 6749"):
        Rule("/", scopes=[scope])


@pytest.mark.parametrize("realm", ['x"y', "x\\", "x\ny", "caf\xe9", ""])
def test_G01_no_realm_that_could_leave_its_quotes(realm):
    with pytest.raises(ValueError, match="realm"):
        make_guard(realm=realm)


RULES = Policy(
    Rule("/scopes", scopes=["email", "ads_read"]),
    Rule("/any", any_scope=["ads_read", "ads_management"]),
    Rule("/target/{page}", scopes=["email"], target="page"),
    Rule("/fresh", max_login_age=60),
    Rule("/long", min_remaining=1e6),
)
HINT = {"relogin": "login"}
CHALLENGES = [
    ("/", [], valid(), {}),
    ("/", [("Authorization", "Basic x")], valid(), {}),
    ("/", [("Authorization", "Bearer a,b")], valid(), {"error": "invalid_request", "relogin": "none"}),
    ("/a//b", [], valid(), {"error": "invalid_request", "relogin": "none"}),
    ("/", [("Authorization", "Bearer")], valid(), {"error": "invalid_token", **HINT}),
    ("/", [bearer(TOKEN)], dead(190, 463), {"error": "invalid_token", **HINT}),
    ("/", [bearer(TOKEN)], dead(190, 459), {"error": "invalid_token", "relogin": "visit_facebook"}),
    ("/", [bearer(TOKEN)], dead(190, 492), {"error": "invalid_token", "relogin": "none"}),
    ("/long", [bearer(TOKEN)], valid(), {"error": "invalid_token", **HINT}),
    (
        "/fresh",
        [bearer(TOKEN)],
        valid(),
        {"error": "insufficient_user_authentication", "max_age": "60", **HINT},
    ),
    (
        "/scopes",
        [bearer(TOKEN)],
        valid(),
        {"error": "insufficient_scope", "scope": "email ads_read", **HINT},
    ),
    ("/any", [bearer(TOKEN)], valid(), {"error": "insufficient_scope", **HINT}),
    (
        "/target/1",
        [bearer(TOKEN)],
        valid(granular_scopes=[{"scope": "email", "target_ids": ["2"]}]),
        {"error": "insufficient_scope", "scope": "email", **HINT},
    ),
]


@pytest.mark.parametrize(("path", "headers", "reply", "said"), CHALLENGES)
@pytest.mark.parametrize("realm", ["fbguard", "a, b=c; Bearer"])
def test_G02_challenge_grammar(door, graph, path, headers, reply, said, realm):
    graph.replies[TOKEN] = reply
    with make_guard(graph, realm=realm) as guard:
        answer = door(guard, policy=RULES).send(path=path, headers=headers)
    (challenge,) = answer.all("www-authenticate")
    assert CHALLENGE.fullmatch(challenge), challenge
    parameters = PARAMETER.findall(challenge)
    found = dict(parameters)
    assert len(found) == len(parameters)  # none twice
    assert found.pop("realm") == realm
    assert bool(found.pop("error_description", "")) == ("error" in said)
    assert found == said


def test_G02_the_grammar_is_strict():
    for wrong in ('Bearer , realm="x"', 'Bearer realm="x",error="y"', 'Bearer realm="x", ', "Bearer realm=x"):
        assert not CHALLENGE.fullmatch(wrong)


@pytest.mark.parametrize("reply", [envelope(4), envelope(2), valid(app_id=...)])
def test_G02_a_dont_know_challenges_nobody(door, guard, graph, reply):
    graph.replies[TOKEN] = reply
    answer = door(guard).send(TOKEN)
    assert (answer.status, answer.all("www-authenticate")) == (503, [])
    assert re.fullmatch("[1-9][0-9]*", answer.header("retry-after") or "")


SCRIPTS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'-alert(1)-'",
    "</style><script>alert(1)</script>",
    "javascript:alert(1)",
    "%3Cscript%3Ealert(1)%3C/script%3E",
]


@pytest.mark.parametrize("evil", SCRIPTS)
@pytest.mark.parametrize(("code", "subcode"), [(190, 463), (4, None)])
def test_G03_reflected_xss_by_graph(door, guard, graph, evil, code, subcode):
    wants_page = ("Accept", "text/html")
    said = dead if code == 190 else envelope
    graph.replies["plain"] = said(code, subcode)
    graph.replies["evil"] = said(code, subcode, evil)
    plain, answer = (door(guard).send(token, headers=[wants_page]) for token in ("plain", "evil"))
    assert plain.body.startswith(b"<!doctype html>")
    assert (answer.status, answer.headers, answer.body) == (plain.status, plain.headers, plain.body)
    assert answer.header("content-security-policy").startswith("default-src 'none'; ")
    assert answer.header("x-content-type-options") == "nosniff"


@pytest.mark.parametrize("evil", SCRIPTS)
@pytest.mark.parametrize("name", ["Accept", "Accept-Language", "Host", "Referer", "Cookie", "User-Agent"])
def test_G03_reflected_xss_by_the_client(door, guard, evil, name):
    behind = door(guard)
    plain = behind.send(headers=[("Accept", "text/html")])
    value = f"text/html, {evil}" if name == "Accept" else evil
    headers = [(name, value), *([] if name == "Accept" else [("Accept", "text/html")])]
    query = f"next={evil}&access_token={evil}"
    answer = ask(behind, f"/x/{evil}".replace("//", "/"), query=query, headers=headers)
    assert answer.status in {400, 401}
    assert answer.body.startswith(b"<!doctype html>")
    if answer.status == plain.status:
        assert (answer.headers, answer.body) == (plain.headers, plain.body)
    assert b"alert" not in answer.body
    assert "alert" not in repr(answer.headers)


TEXT_458 = "Error validating access token: The user 4444444444 has not authorized application 1234567890."
LEAKY = [
    (458, TEXT_458),
    (None, TEXT_458),
    (463, "Session has expired on Friday, 08-Aug-25 10:00:00 PDT. The user 4444444444 was Jane Roe."),
    (460, "The session of jane@example.com (4444444444) was invalidated because of a changed password."),
]


@pytest.mark.parametrize(("subcode", "message"), LEAKY)
@pytest.mark.parametrize("language", ["en", "id", "de"])
def test_G07_message_leak(door, guard, graph, subcode, message, language):
    person = {"error_user_msg": message, "error_user_title": "Jane Roe", "fbtrace_id": "Jane"}
    graph.replies[TOKEN] = dead(190, subcode, message, application="Jane Roe", user_id="4444444444", **person)
    for _ in range(2):
        answer = door(guard).send(TOKEN, headers=[("Accept-Language", language)])
        shown = repr((answer.headers, answer.body))
        assert answer.status == 401
        assert not [
            word for word in ("44444", "1234567890", "Jane", "jane", "PDT", "validating") if word in shown
        ]


REFUSED = [
    ("/", [], 401),
    ("/a//b", [], 400),
    ("/scopes", [bearer(TOKEN)], 403),
    ("/", [bearer("down")], 503),
]


@pytest.mark.parametrize(("path", "headers", "status"), REFUSED)
def test_G08_head(door, guard, graph, path, headers, status):
    graph.replies["down"] = envelope(4)
    behind = door(guard, policy=RULES)
    get = behind.send(path=path, headers=headers)
    head = behind.send(path=path, headers=headers, method="HEAD")
    assert (head.status, head.ran, head.body) == (status, False, b"")
    assert head.headers == get.headers
    assert head.header("content-length") == str(len(get.body)) != "0"


# -- the login: G04 is in tests/login/test_places.py, too ----------------------------------------------------


def returning(browser: Browser, sandbox: Sandbox, path: str = "/login") -> str:
    return browser.returning(sandbox, browser.ask(path))


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
@pytest.mark.parametrize(
    "evil", ["//evil.example", "https://evil.example", "/\\evil.example", "/%09/evil.example"]
)
def test_G04_open_redirect(kind, evil):
    sandbox = Sandbox()
    with guard_of(sandbox) as guard:
        browser = Browser(kind, guard)
        assert browser.ask(f"/login?next={quote(evil, safe='')}").status == 400
        assert browser.ask(f"/logout?next={quote(evil, safe='')}", "POST", *OWN).status == 400
        # A browser's cookie is not only ours to write.
        browser.jar[Cookies("x", is_https=True).state_name] = "s" * 43 + "." + b64(evil)
        assert browser.ask(f"/callback?code=x&state={'s' * 43}").status == 401


def b64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_G05_host_in_relogin_url(kind):
    sandbox = Sandbox()
    evil = [(name, "evil.example") for name in ("Host", "X-Forwarded-Host", "X-Forwarded-Server")]
    evil += [
        ("Forwarded", "host=evil.example"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Prefix", "/evil"),
    ]
    with guard_of(sandbox) as guard:
        browser = Browser(kind, guard)
        sent = browser.ask("/login", "GET", *evil)
        assert "evil" not in str(sent.headers)
        done = browser.ask(browser.returning(sandbox, sent), "GET", *evil)
        assert done.header("location") == f"{SITE}/"
        refused = browser.ask("/callback", "GET", *evil, ("Accept", "text/html"))
        assert (refused.status, b"evil" in refused.body) == (401, False)
        assert f'href="{SITE}/facebook/login"'.encode() in refused.body


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
class TestG06:
    """State: random, bound to one browser, for one use."""

    def test_G06_missing(self, kind):
        sandbox = Sandbox()
        with guard_of(sandbox) as guard:
            browser = Browser(kind, guard)
            path = returning(browser, sandbox)
            without = re.sub(r"&?state=[^&]*", "", path)
            for wrong in (without, f"{without}&state=", f"{path}&state=x", f"{without}&state[]=x"):
                assert_nobody(browser, sandbox, wrong)
            assert browser.ask(path).status == 303  # nobody else's tries end the login

    def test_G06_chosen_by_an_attacker(self, kind):
        """Login CSRF: the link back of the attacker's own login, in the victim's browser."""
        sandbox = Sandbox()
        with guard_of(sandbox) as guard:
            attacker, victim = Browser(kind, guard), Browser(kind, guard)
            link = returning(attacker, sandbox)
            assert_nobody(victim, sandbox, link)
            victim.ask("/login")  # under way with one of its own
            assert_nobody(victim, sandbox, link)

    def test_G06_another_browser_has_no_use_for_a_link(self, kind):
        sandbox = Sandbox()
        with guard_of(sandbox) as guard:
            victim, thief = Browser(kind, guard), Browser(kind, guard)
            link = returning(victim, sandbox)
            thief.ask("/login")
            assert_nobody(thief, sandbox, link)

    def test_G06_reused(self, kind):
        sandbox = Sandbox()
        with guard_of(sandbox) as guard:
            browser = Browser(kind, guard)
            sent = browser.ask("/login")
            kept = dict(browser.jar)
            assert browser.ask(browser.returning(sandbox, sent)).status == 303
            again = browser.returning(sandbox, sent)  # a new code, the old state
            assert_nobody(Browser(kind, guard), sandbox, again)
            browser.jar = kept
            assert_nobody(browser, sandbox, again)

    def test_G06_planted_twice(self, kind):
        sandbox = Sandbox()
        with guard_of(sandbox) as guard:
            browser = Browser(kind, guard)
            path = returning(browser, sandbox)
            (pair,) = (f"{name}={value}" for name, value in browser.jar.items())
            browser.jar = {}
            answer = browser.ask(path, "GET", ("Cookie", f"{pair}; {pair}"))
            assert (answer.status, browser.jar) == (401, {})

    def test_G06_random(self, kind):
        with guard_of(Sandbox()) as guard:
            browser = Browser(kind, guard)
            states = {state_of(browser.ask("/login")) for _ in range(100)}
            assert len(states) == 100
            assert all(re.fullmatch(r"[\w-]{43}", state) for state in states)


def assert_nobody(browser: Browser, sandbox: Sandbox, path: str) -> None:
    """Nobody is logged in by this link, and Facebook is not even asked."""
    before = [call for call in sandbox.calls if "dialog" not in call.path]
    answer = browser.ask(path)
    assert (answer.status, answer.reason) == (401, "missing_token")
    assert COOKIE not in browser.jar
    assert [call for call in sandbox.calls if "dialog" not in call.path] == before
