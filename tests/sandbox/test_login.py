"""The login dialog, the code it gives out, and what an app gets for that."""

from __future__ import annotations

import threading
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest

from fbguard import Guard, Refused
from fbguard.sandbox import Sandbox
from fbguard.sandbox.logins import Logins

URI = "https://app.example/back?from=fb"
FACEBOOK = "https://www.facebook.com/v26.0/dialog/oauth"
TOKEN = {"access_token", "data_access_expiration_time", "expires_in", "state"}
GRAPH = "https://graph.facebook.com/v26.0/oauth/access_token"


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def client(sandbox: Sandbox):
    with httpx.Client(transport=sandbox.transport) as client:
        yield client


def dialog(sandbox: Sandbox, **changes: str | None) -> str:
    query = {"client_id": sandbox.app_id, "redirect_uri": URI, "state": "s&1", "scope": "email,user_friends"}
    given = {name: value for name, value in (query | changes).items() if value is not None}
    return f"{FACEBOOK}?{urlencode(given)}"


def query_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).query, strict_parsing=True))


def fragment_of(address: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(address).fragment, strict_parsing=True))


def exchange(client: httpx.Client, sandbox: Sandbox, **parameters: str | None) -> tuple[int, dict[str, Any]]:
    """Ask for a token; a parameter that is None is left out."""
    app = {"client_id": sandbox.app_id, "client_secret": sandbox.app_secret}
    given = app | {"redirect_uri": URI} | parameters
    answer = client.get(GRAPH, params={name: value for name, value in given.items() if value is not None})
    return answer.status_code, answer.json()


def error_of(outcome: tuple[int, dict[str, Any]]) -> tuple[int, int, int | None]:
    status, body = outcome
    return status, body["error"]["code"], body["error"].get("error_subcode")


class Form(HTMLParser):
    """What a browser would send: the fields of the page's form, as they stand there."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.boxes: list[tuple[str, bool]] = []
        self.method = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        if tag == "form":
            assert "action" not in found  # so it posts to its own address
            self.method = found["method"]
        elif tag == "input" and found.get("type") == "checkbox":
            self.boxes.append((found["name"], "disabled" in found))
            if "checked" in found and "disabled" not in found:
                self.fields[found["name"]] = "on"
        elif tag == "input":
            self.fields[found["name"]] = found["value"]


# -- the page ----------------------------------------------------------------------------------------------


def test_a_browser_logs_in(client, sandbox):
    url = dialog(sandbox)
    page = client.get(url)
    assert page.status_code == 200
    form = Form(page.text)
    assert form.method == "post"
    assert form.boxes == [
        ("allow:public_profile", True),
        ("allow:email", False),
        ("allow:user_friends", False),
    ]
    del form.fields["allow:user_friends"]
    sent = client.post(url, data=form.fields | {"user_id": "77", "decision": "continue"})
    assert sent.status_code == 302
    assert sent.headers["location"].startswith(f"{URI}&code=")
    said = query_of(sent.headers["location"])
    assert said.keys() == {"from", "code", "state"}
    assert said["state"] == "s&1"

    status, body = exchange(client, sandbox, code=said["code"])
    assert (status, body["token_type"], body["expires_in"]) == (200, "bearer", 3600)
    with sandbox.guard() as guard:
        info = guard.check(body["access_token"])
    assert (info.user_id, info.scopes) == ("77", {"public_profile", "email"})
    sent = {"access_token": body["access_token"]}
    granted = client.get("https://graph.facebook.com/me/permissions", params=sent)
    assert {one["permission"]: one["status"] for one in granted.json()["data"]} == {
        "public_profile": "granted",
        "email": "granted",
        "user_friends": "declined",
    }


def test_the_page_shows_what_it_was_asked_and_nothing_as_html(client, sandbox):
    asked = {"scope": "a<script>b,email", "state": "<b>", "auth_type": "rerequest,reauthenticate"}
    page = client.get(dialog(sandbox, **asked))
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "<b>" not in page.text
    assert "a&lt;script&gt;b" in page.text
    assert "asks again for what was declined" in page.text
    assert "enter the password again" in page.text
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "form-action" not in policy  # browsers hold that against the redirect, too


def test_head(client, sandbox):
    assert client.head(dialog(sandbox)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"client_id": "1"}, "client_id"),
        ({"client_id": None}, "client_id"),
        ({"redirect_uri": None}, "redirect_uri"),
        ({"redirect_uri": ""}, "redirect_uri"),
        ({"redirect_uri": "/back"}, "redirect_uri"),
        ({"redirect_uri": "//evil.example"}, "redirect_uri"),
        ({"redirect_uri": "javascript:alert(1)"}, "redirect_uri"),
        ({"redirect_uri": "data:text/html,x"}, "redirect_uri"),
        ({"redirect_uri": "https://"}, "redirect_uri"),
        ({"redirect_uri": "https://[x/"}, "redirect_uri"),
        ({"redirect_uri": "https://app.example/#x"}, "redirect_uri"),
        ({"redirect_uri": "https://app.example/\r\nSet-Cookie: a=b"}, "redirect_uri"),
        ({"redirect_uri": "https://app.example/ä"}, "redirect_uri"),
        ({"redirect_uri": "fb1://authorize"}, "redirect_uri"),
        ({"response_type": "id_token"}, "response_type"),
        ({"response_type": "code,nonsense"}, "response_type"),
        ({"scope": 'e"mail'}, "scope"),
        ({"auth_type": "retry"}, "auth_type"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody_is_sent_anywhere_by_a_wrong_address(client, sandbox, changes, what, method):
    answer = client.request(method, dialog(sandbox, **changes), data={"decision": "continue", "user_id": "7"})
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/html")
    assert f"<p>{what} " in answer.text
    assert "location" not in answer.headers
    assert sandbox.calls[-1].path == "/v26.0/dialog/oauth"


@pytest.mark.parametrize("user_id", ["", "0", "000", "x", "1" * 33, "7 ", "\u0667"])
def test_nobody_is_no_user(client, sandbox, user_id):
    answer = client.post(dialog(sandbox), data={"decision": "continue", "user_id": user_id})
    assert answer.status_code == 400
    assert "a user is one to 32 digits" in answer.text


@pytest.mark.parametrize("control", ["checkpoint", "unconfirm"])
def test_who_is_held_back_gets_no_code(client, sandbox, control):
    getattr(sandbox, control)("77")
    answer = client.post(dialog(sandbox), data={"decision": "continue", "user_id": "77"})
    assert answer.status_code == 400
    sandbox.restore("77")
    assert client.post(dialog(sandbox), data={"decision": "continue", "user_id": "77"}).status_code == 302


@pytest.mark.parametrize("form", [{}, {"decision": "cancel"}, {"decision": "cancel", "user_id": "x"}])
def test_cancel(client, sandbox, form):
    answer = client.post(dialog(sandbox), data=form)
    assert query_of(answer.headers["location"]) == {
        "from": "fb",
        "error_reason": "user_denied",
        "error": "access_denied",
        "error_description": "Permissions error.",
        "state": "s&1",
    }
    assert len(sandbox._world) == 0


def test_without_a_state_there_is_none(sandbox):
    assert query_of(sandbox.log_in(dialog(sandbox, state=None))).keys() == {"from", "code"}


def test_an_app_on_a_phone(sandbox):
    address = sandbox.log_in(dialog(sandbox, redirect_uri=f"fb{sandbox.app_id}://authorize"))
    assert address.startswith(f"fb{sandbox.app_id}://authorize?code=")


@pytest.mark.parametrize(
    ("kind", "where", "names"),
    [
        (None, query_of, {"from", "code", "state"}),
        ("code", query_of, {"from", "code", "state"}),
        ("granted_scopes", query_of, {"from", "code", "granted_scopes", "denied_scopes", "state"}),
        ("token", fragment_of, TOKEN),
        ("code token", fragment_of, TOKEN | {"code"}),
        ("token,granted_scopes", fragment_of, TOKEN | {"granted_scopes", "denied_scopes"}),
    ],
)
def test_response_types(sandbox, kind, where, names):
    address = sandbox.log_in(dialog(sandbox, response_type=kind), user_id="77", decline=["email"])
    said = where(address)
    assert said.keys() == names
    assert said.get("granted_scopes", "public_profile,user_friends") == "public_profile,user_friends"
    assert said.get("denied_scopes", "email") == "email"
    if "access_token" in said:
        with sandbox.guard() as guard:
            info = guard.check(said["access_token"])
        assert info.scopes == {"public_profile", "user_friends"}
        assert info.issued_at is None  # Facebook tells it of long-lived ones only
        assert int(said["expires_in"]) == 3600
        assert info.data_access_expires_at.timestamp() == int(said["data_access_expiration_time"])


def test_return_scopes(sandbox):
    said = query_of(sandbox.log_in(dialog(sandbox, return_scopes="true"), decline=["email"]))
    assert (said["granted_scopes"], said["denied_scopes"]) == ("public_profile,user_friends", "email")


def test_what_was_granted_before_is_granted_still(client, sandbox):
    sandbox.log_in(dialog(sandbox), user_id="77", decline=["email"])
    code = query_of(sandbox.log_in(dialog(sandbox, scope="pages_show_list"), user_id="77"))["code"]
    token = exchange(client, sandbox, code=code)[1]["access_token"]
    with sandbox.guard() as guard:
        assert guard.check(token).scopes == {"public_profile", "user_friends", "pages_show_list"}


def test_rerequest_gets_what_was_declined(client, sandbox):
    """The whole way from a 403: its hint leads to the dialog, and the new token gets in."""
    with sandbox.guard(redirect_uri=URI) as guard:
        code = query_of(sandbox.log_in(dialog(sandbox), user_id="77", decline=["email"]))["code"]
        token = exchange(client, sandbox, code=code)[1]["access_token"]
        need = guard_needs(guard, token)
        assert need.relogin.auth_type == "rerequest"
        code = query_of(sandbox.log_in(need.relogin.url, user_id="77"))["code"]
        token = exchange(client, sandbox, code=code)[1]["access_token"]
        assert guard_needs(guard, token) is None


def test_what_was_declined_is_not_asked_for_again_without_that(sandbox):
    sandbox.log_in(dialog(sandbox), user_id="77", decline=["email"])
    for auth_type in (None, "reauthenticate", "reauthorize"):
        again = dialog(sandbox, response_type="granted_scopes", auth_type=auth_type)
        said = query_of(sandbox.log_in(again, user_id="77"))
        assert (said["granted_scopes"], said["denied_scopes"]) == ("public_profile,user_friends", "email")
    again = dialog(sandbox, response_type="granted_scopes", auth_type="rerequest")
    said = query_of(sandbox.log_in(again, user_id="77"))
    assert set(said["granted_scopes"].split(",")) == {"public_profile", "user_friends", "email"}


def guard_needs(guard: Guard, token: str) -> Refused | None:
    from fbguard import Requirement

    try:
        guard.check(token, Requirement(scopes=["email"]))
    except Refused as refused:
        return refused
    return None


# -- log_in(), for tests without a browser -----------------------------------------------------------------


def test_log_in_says_why_not(sandbox):
    with pytest.raises(ValueError, match="url: client_id must be"):
        sandbox.log_in(dialog(sandbox, client_id="1"))
    with pytest.raises(ValueError, match="url: no login dialog"):
        sandbox.log_in("https://www.facebook.com/")
    with pytest.raises(TypeError, match="decline"):
        sandbox.log_in(dialog(sandbox), decline="email")
    with pytest.raises(ValueError, match="user_id"):
        sandbox.log_in(dialog(sandbox), user_id="x")
    with pytest.raises(TypeError, match="url"):
        sandbox.log_in(None)


def test_log_in_cancels(sandbox):
    assert query_of(sandbox.log_in(dialog(sandbox), cancel=True))["error"] == "access_denied"


def test_log_in_of_everybody_is_another(client, sandbox):
    users = set()
    for _ in range(3):
        code = query_of(sandbox.log_in(dialog(sandbox)))["code"]
        token = exchange(client, sandbox, code=code)[1]["access_token"]
        users.add(client.get("https://graph.facebook.com/me", params={"access_token": token}).json()["id"])
    assert len(users) == 3


# -- codes -------------------------------------------------------------------------------------------------


@pytest.fixture
def code(sandbox: Sandbox) -> str:
    return query_of(sandbox.log_in(dialog(sandbox), user_id="77"))["code"]


def test_a_code_is_good_once(client, sandbox, code):
    assert exchange(client, sandbox, code=code)[0] == 200
    assert error_of(exchange(client, sandbox, code=code)) == (400, 100, 36009)


def test_a_code_is_good_for_ten_minutes(client, sandbox, code):
    sandbox.clock.advance(600)
    assert error_of(exchange(client, sandbox, code=code)) == (400, 100, 36007)


def test_a_code_ends_with_the_app(client, sandbox, code):
    sandbox.issue_token(user_id="77")
    other = query_of(sandbox.log_in(dialog(sandbox), user_id="78"))["code"]
    sandbox.remove_app("77")
    assert error_of(exchange(client, sandbox, code=code)) == (400, 100, None)
    assert sandbox._world.grants("77", sandbox.app_id) == {}
    assert exchange(client, sandbox, code=other)[0] == 200


def test_a_code_of_who_is_held_back(client, sandbox, code):
    sandbox.checkpoint("77")
    assert error_of(exchange(client, sandbox, code=code)) == (400, 190, 459)
    sandbox.restore("77")
    assert exchange(client, sandbox, code=code)[0] == 200


def test_a_permission_that_was_taken_back_before_the_exchange(client, sandbox, code):
    app = f"{sandbox.app_id}|{sandbox.app_secret}"
    client.delete("https://graph.facebook.com/77/permissions/email", params={"access_token": app})
    token = exchange(client, sandbox, code=code)[1]["access_token"]
    with sandbox.guard() as guard:
        assert guard.check(token).scopes == {"public_profile", "user_friends"}


def test_a_fault_of_graphs_is_none_of_the_dialogs(sandbox):
    sandbox.fail(500, times=1)
    assert "code" in query_of(sandbox.log_in(dialog(sandbox), user_id="77"))
    with sandbox.guard() as guard, pytest.raises(Refused, match="unavailable"):
        guard.check(sandbox.issue_token())


@pytest.mark.parametrize("uri", [None, "", "https://app.example/back", URI + "/", "https://evil.example/"])
def test_a_code_is_good_for_one_address(client, sandbox, code, uri):
    assert error_of(exchange(client, sandbox, code=code, redirect_uri=uri)) == (400, 100, 36008)
    assert exchange(client, sandbox, code=code)[0] == 200  # which has not used it up


@pytest.mark.parametrize("wrong", ["", "AQnonsense", "x" * 5000])
def test_a_code_of_nobody(client, sandbox, wrong):
    assert error_of(exchange(client, sandbox, code=wrong)) == (400, 100, None)


@pytest.mark.parametrize("secret", [None, "", "f" * 32])
def test_a_code_without_the_apps_secret(client, sandbox, code, secret):
    assert error_of(exchange(client, sandbox, code=code, client_secret=secret)) == (400, 1, None)
    assert exchange(client, sandbox, code=code, grant_type="authorization_code")[0] == 200


def test_of_many_that_use_a_code_at_once_one_gets_a_token(client, sandbox, code):
    barrier, found = threading.Barrier(8), []

    def ask() -> None:
        barrier.wait(10)
        found.append(exchange(client, sandbox, code=code)[0])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(found) == [200] + [400] * 7


def test_codes_are_bounded():
    logins = Logins()
    codes = [logins.add("7", (), URI, 0.0) for _ in range(10_001)]
    assert logins.find(codes[0]) is None
    assert logins.find(codes[1]) is not None
    assert logins.use(codes[1])
    assert not logins.use(codes[1])


# -- long-lived tokens -------------------------------------------------------------------------------------


def test_a_long_lived_token(client, sandbox):
    token = sandbox.issue_token(user_id="77", scopes=["email"])
    status, body = exchange(client, sandbox, grant_type="fb_exchange_token", fb_exchange_token=token)
    assert (status, body["token_type"], body["expires_in"]) == (200, "bearer", 5_184_000)
    with sandbox.guard() as guard:
        short, longer = guard.check(token), guard.check(body["access_token"])
        assert (longer.user_id, longer.scopes) == (short.user_id, short.scopes)
        assert short.issued_at is None
        assert longer.issued_at is not None
        assert longer.expires_at.timestamp() == int(sandbox.clock.time()) + 5_184_000
        sandbox.clock.advance(4000)
        assert guard.check(body["access_token"])


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda sandbox: None, (400, 101, None)),
        (lambda sandbox: "", (400, 101, None)),
        (lambda sandbox: "nonsense", (400, 190, None)),
        (lambda sandbox: sandbox.issue_token(expires_in=-1), (400, 190, 463)),
        (lambda sandbox: sandbox.issue_token(app_id="999"), (400, 100, None)),
        (lambda sandbox: sandbox.issue_token(type="APP"), (400, 100, None)),
        (lambda sandbox: sandbox.issue_token(type="PAGE"), (400, 100, None)),
        (lambda sandbox: f"{sandbox.app_id}|{sandbox.app_secret}", (400, 100, None)),
    ],
)
def test_what_cannot_be_exchanged(client, sandbox, make, error):
    outcome = exchange(client, sandbox, grant_type="fb_exchange_token", fb_exchange_token=make(sandbox))
    assert error_of(outcome) == error


def test_a_session_that_has_ended_is_not_prolonged(client, sandbox):
    token = sandbox.issue_token(user_id="77")
    sandbox.log_out("77")
    outcome = exchange(client, sandbox, grant_type="fb_exchange_token", fb_exchange_token=token)
    assert error_of(outcome) == (400, 190, 467)


# -- over a socket -----------------------------------------------------------------------------------------


def test_served(sandbox):
    with (
        sandbox.serve() as url,
        httpx.Client() as client,
        sandbox.guard(
            graph_url=url, dialog_url=url, redirect_uri=f"{url}/me", transport=None, clock=None
        ) as guard,
    ):
        try:
            guard.check("EAABnobody")
        except Refused as refused:
            address = refused.relogin.url
        page = client.get(address)
        assert page.status_code == 200
        sent = client.post(address, data=Form(page.text).fields | {"decision": "continue"})
        assert sent.status_code == 302
        code = query_of(sent.headers["location"])["code"]
        answer = client.get(
            f"{url}/v26.0/oauth/access_token",
            params={
                "client_id": sandbox.app_id,
                "client_secret": sandbox.app_secret,
                "redirect_uri": f"{url}/me",
                "code": code,
            },
        )
        assert guard.check(answer.json()["access_token"]).user_id == "1000000000000001"
        by_control = client.post(f"{url}/sandbox/log_in", json={"url": address, "user_id": "78"})
        assert "code=" in by_control.json()["result"]
        assert client.post(f"{url}/sandbox/log_in", json={"url": f"{url}/x"}).status_code == 400
    shown = repr(sandbox.calls)
    assert code not in shown
