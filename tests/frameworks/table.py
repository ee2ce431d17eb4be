"""The one table of requests: each has the same answer in every framework, on every server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fbguard.sandbox import Sandbox
from tests.frameworks.tokens import (
    EXPIRED,
    LONG_LIVED,
    OIDC,
    OUR_CREDENTIAL,
    PAGE_SCOPE,
    USER,
    USER_TOKEN,
    WITH_EMAIL,
    ended,
    failing,
    hostile,
    id_token,
    literal,
    of_page,
    over,
    throttled,
    token,
    told,
)

TOKEN = "<token>"
BEARER = f"Authorization: Bearer {TOKEN}"
NOBODY = ("Authorization: Basic dTpw",)


@dataclass(frozen=True)
class Row:
    """A request and what must come of it.

    ``reason`` and what follows it are of a refusal; an answer without one is a view's (200, which
    names ``user``) or the framework's own (404, 405). ``doors`` tells that only a door gives it.
    """

    name: str
    path: str
    status: int
    reason: str | None = None
    action: str | None = None
    scopes: tuple[str, ...] = ()
    user: str | None = None
    auth_type: str | None = None
    subcode: int | None = None
    token: Callable[[Sandbox], str] = field(default=USER_TOKEN, repr=False)
    headers: tuple[str, ...] = (BEARER,)
    method: str = "GET"
    language: str = "en"
    doors: bool = False

    @property
    def is_page(self) -> bool:
        """Tell whether a browser asks, which gets a page if it is refused."""
        return "Accept: text/html" in self.headers

    def fields(self, sandbox: Sandbox) -> list[str]:
        """Return the header fields, with a token that nobody has seen."""
        issued = self.token(sandbox)
        return [line.replace(TOKEN, issued) for line in self.headers]


def _passes(name, path, user=USER, **more) -> Row:
    return Row(name, path, 200, user=user, **more)


def _own(name, path, status, **more) -> Row:
    return Row(name, path, status, **more)


def _missing(name, path, scopes=(), headers=(), **more) -> Row:
    return Row(name, path, 401, "missing_token", "login", scopes, headers=headers, **more)


def _login(name, path, reason, issue, scopes=(), **more) -> Row:
    return Row(name, path, 401, reason, "login", scopes, token=issue, **more)


def _lacks(name, path, reason, issue, scopes, **more) -> Row:
    return Row(name, path, 403, reason, "login", scopes, auth_type="rerequest", token=issue, **more)


def _bad(name, path, **more) -> Row:
    return Row(name, path, 400, "invalid_request", "none", **more)


def _visit(name, path, reason, issue, **more) -> Row:
    return Row(name, path, 401, reason, "visit_facebook", token=issue, **more)


def _wait(name, path, reason, issue, **more) -> Row:
    return Row(name, path, 503, reason, "wait", token=issue, **more)


def _malformed(name, *headers, path="/me", issue=USER_TOKEN, scopes=()) -> Row:
    return Row(name, path, 401, "malformed_token", "login", scopes, token=issue, headers=headers or (BEARER,))


_EMAIL, _PAGES, _EITHER = ("email",), (PAGE_SCOPE,), ("pages_show_list", "business_management")
_NOT_PLAIN = ("//me", "/me//", "/me/../health", "/./me", "/me;x", "/%5cme", "/%2e%2e/me", "/me%00", "/%ff")

CREDENTIALS = [
    _passes("public-anonymous", "/health", None, headers=()),
    _passes("public-known", "/health", None),
    _passes("public-expired", "/health", None, token=EXPIRED),
    _passes("public-ambiguous", "/health", None, headers=(BEARER, BEARER)),
    _passes("me", "/me"),
    _passes("me-lower-case", "/me", headers=(f"authorization: bearer {TOKEN}",)),
    _passes("me-never-expires", "/me", token=token(expires_in=None)),
    _passes("me-data-access-lapsed", "/me", token=token(data_access_expires_in=-1)),
    _missing("missing", "/me"),
    _missing("missing-basic", "/me", headers=NOBODY),
    _missing("missing-with-scopes", "/email", _EMAIL),
    _missing("missing-any-scope", "/either", _EITHER),
    _missing("missing-target", "/pages/501", _PAGES),
    _missing("missing-machine", "/machine"),
    _missing("missing-stream", "/stream"),
    _missing("missing-report", "/report", _EMAIL, method="POST"),
    _missing("missing-in-a-view", "/refuse", _EMAIL),
    _bad("ambiguous", "/me", headers=(BEARER, BEARER)),
    _bad("ambiguous-optional", "/optional", headers=(BEARER, BEARER)),
    _bad("ambiguous-comma", "/email", headers=(f"{BEARER}, Bearer x",)),
    _bad("ambiguous-schemes", "/machine", headers=(BEARER, "Authorization: Basic dTpw")),
    _malformed("malformed-empty", "Authorization:"),
    _malformed("malformed-spaces", f"Authorization: Bearer  {TOKEN}", path="/email", scopes=_EMAIL),
    _malformed("malformed-charset", f"{BEARER}\xe9"),
    _malformed("malformed-long", "Authorization: Bearer " + "A" * 5000),
    _malformed("malformed-app-secret", "Authorization: Bearer 123|secret", path="/optional"),
    _malformed("malformed-undecryptable", issue=literal("EAA" + "b" * 100)),
    _malformed("malformed-unparsable", issue=literal("nonsense")),
]

ENDED = [
    _login("expired", "/me", "expired", EXPIRED, subcode=463),
    _login("expired-with-scopes", "/email", "expired", EXPIRED, _EMAIL, subcode=463),
    _login("expired-optional", "/optional", "expired", EXPIRED, subcode=463),
    _login("expired-report", "/report", "expired", EXPIRED, _EMAIL, subcode=463, method="POST"),
    _login("expired-in-a-view", "/refuse", "expired", EXPIRED, _EMAIL, subcode=463, doors=True),
    _login("expired-by-the-clock", "/me", "expired", hostile(expires_at=1_000_000_000)),
    _login("password-changed", "/me", "password_changed", ended("change_password"), subcode=460),
    _login("not-authorized", "/me", "not_authorized", ended("remove_app"), subcode=458),
    _login("not-authorized-412", "/me", "not_authorized", told(412)),
    _login("invalidated", "/email", "session_invalidated", over("invalidate"), _EMAIL, subcode=466),
    _login("logged-out", "/either", "logged_out", ended("log_out"), _EITHER, subcode=467),
    _login("unknown-subcode", "/me", "invalid_token", told(190, 452), subcode=452),
    _login("old-session-code", "/me", "invalid_token", told(102)),
    _login("not-valid-no-error", "/me", "invalid_token", hostile(is_valid=False)),
    _login("message-decides", "/me", "expired", told(102, None, "Session has expired on Monday")),
    _login("app-inactive", "/me", "app_inactive", told(190, 493), subcode=493, auth_type="reauthorize"),
    _visit("checkpointed", "/me", "checkpointed", ended("checkpoint"), subcode=459),
    _visit("checkpointed-490", "/email", "checkpointed", told(190, 490), subcode=490),
    _visit("checkpointed-326", "/me", "checkpointed", told(326)),
    _visit("unconfirmed", "/me", "unconfirmed_user", ended("unconfirm"), subcode=464),
    Row("role-lost", "/me", 401, "role_lost", "none", token=told(190, 492), subcode=492),
    _login("wrong-app", "/me", "wrong_app", token(app_id="999")),
    _login("wrong-app-told", "/email", "wrong_app", hostile(app_id="999"), _EMAIL),
    _login("limited-login", "/me", "limited_login", id_token()),
    _login("limited-login-with-scopes", "/email", "limited_login", id_token(), _EMAIL),
    _login("limited-login-forged-where-none-will-do", "/me", "limited_login", literal(OIDC)),
    _login("limited-login-forged", "/limited", "invalid_token", literal(OIDC), _EMAIL),
    _login("limited-login-expired", "/limited", "expired", id_token(expires_in=-1), _EMAIL),
    _login("limited-login-wrong-app", "/limited", "wrong_app", id_token(app_id="999"), _EMAIL),
    _login("limited-login-wrong-issuer", "/limited", "invalid_token",
           id_token(claims={"iss": "https://example.com"}), _EMAIL),
]  # fmt: skip

REQUIREMENTS = [
    _passes("email", "/email", token=WITH_EMAIL),
    _lacks("no-scope", "/email", "insufficient_scope", USER_TOKEN, _EMAIL),
    _login("data-access", "/email", "data_access_expired",
           token(scopes=["email"], data_access_expires_in=-1), _EMAIL, auth_type="reauthorize"),
    _login("page-token", "/me", "wrong_token_type", token(type="PAGE")),
    _login("system-user", "/email", "wrong_token_type", token(type="SYSTEM_USER"), _EMAIL),
    _passes("machine", "/machine", token=token(type="PAGE")),
    _login("machine-user", "/machine", "wrong_token_type", USER_TOKEN),
    _passes("limited", "/limited", token=id_token()),
    _passes("limited-graph", "/limited", token=WITH_EMAIL),
    _lacks("limited-no-email", "/limited", "insufficient_scope", id_token(permissions=[]), _EMAIL),
    Row("limited-wide", "/wide", 403, "limited_login", "login", ("email", "pages_show_list"),
        token=id_token()),
    _lacks("limited-wide-graph", "/wide", "insufficient_scope", WITH_EMAIL, ("pages_show_list",)),
    _passes("either-first", "/either", token=token(scopes=["pages_show_list"])),
    _passes("either-second", "/either", token=token(scopes=["business_management"])),
    _lacks("neither", "/either", "insufficient_scope", WITH_EMAIL,
           ("pages_show_list", "business_management")),
    _passes("target", "/pages/501", token=of_page({PAGE_SCOPE: ["500", "501"]})),
    _passes("target-all", "/pages/501", token=of_page({PAGE_SCOPE: None})),
    _passes("target-unsaid", "/pages/501", token=of_page(None)),
    _lacks("target-other", "/pages/502", "insufficient_target", of_page({PAGE_SCOPE: ["501"]}), _PAGES),
    _lacks("target-none", "/pages/501", "insufficient_target", of_page({PAGE_SCOPE: []}), _PAGES),
    _lacks("target-elsewhere", "/pages/501", "insufficient_target",
           of_page({"pages_show_list": ["501"]}), _PAGES),
    _lacks("target-no-scope", "/pages/501", "insufficient_scope", USER_TOKEN, _PAGES),
    _passes("optional-anonymous", "/optional", None, headers=()),
    _passes("optional-basic", "/optional", None, headers=NOBODY),
    _passes("optional-known", "/optional"),
    _passes("soon", "/soon", token=LONG_LIVED),
    _passes("soon-never", "/soon", token=token(expires_in=None)),
    _login("expires-soon", "/soon", "expires_soon", token(expires_in=600)),
    _passes("fresh", "/fresh", token=LONG_LIVED),
    _login("login-unknown", "/fresh", "login_too_old", USER_TOKEN, auth_type="reauthenticate"),
    _login("login-too-old", "/fresh", "login_too_old", hostile(issued_ago=7200), auth_type="reauthenticate"),
    _passes("report", "/report", token=WITH_EMAIL, method="POST"),
    _lacks("report-no-scope", "/report", "insufficient_scope", USER_TOKEN, _EMAIL, method="POST"),
    _passes("stream", "/stream"),
    _passes("in-a-view", "/refuse", token=WITH_EMAIL),
    _lacks("no-scope-in-a-view", "/refuse", "insufficient_scope", USER_TOKEN, _EMAIL),
]  # fmt: skip

DONT_KNOW = [
    *(_wait(f"throttled-{code}", "/me", "throttled", throttled(code)) for code in (4, 17, 341, 368, 613)),
    _wait("throttled-business", "/email", "throttled", throttled(80001)),
    _wait("throttled-optional", "/optional", "throttled", throttled(32)),
    _wait("throttled-in-a-view", "/refuse", "throttled", throttled(9), doors=True),
    _wait("down-1", "/me", "unavailable", throttled(1)),
    _wait("down-2", "/stream", "unavailable", throttled(2)),
    _wait("down-500", "/either", "unavailable", failing()),
    _wait("down-dropped", "/me", "unavailable", failing(drop=True)),
    _wait("down-garbage", "/pages/501", "unavailable", failing(200, '{"data": {"is_valid": NaN}}')),
    _wait("down-web-page", "/machine", "unavailable", failing(200, "<html></html>")),
    Row("our-credential", "/me", 503, "misconfigured", "none", token=failing(400, OUR_CREDENTIAL)),
    _wait("down-in-indonesian", "/me", "unavailable", failing(),
          headers=(BEARER, "Accept-Language: id"), language="id"),
]  # fmt: skip

PATHS = [
    *(_bad(f"not-plain-{path}", path, doors=True, headers=()) for path in _NOT_PLAIN),
    _bad("not-plain-known", "//me", doors=True),
    _missing("no-such-path", "/nowhere", doors=True),
    _missing("no-such-page", "/pages/501/posts", doors=True),
    _login("no-such-path-expired", "/nowhere", "expired", EXPIRED, subcode=463, doors=True),
    _own("no-such-path-known", "/nowhere", 404),
    _missing("no-such-path-utf-8", "/caf%C3%A9/%E6%97%A5", doors=True),
    _own("no-such-path-utf-8-known", "/caf%C3%A9/%E6%97%A5", 404),
    _missing("no-such-path-encoded-twice", "/%2525", doors=True),
    _missing("trailing-slash", "/me/", doors=True),
    _login("trailing-slash-expired", "/me/", "expired", EXPIRED, subcode=463, doors=True),
    _missing("head", "/me", method="HEAD"),
    _bad("head-not-plain", "//me", method="HEAD", doors=True),
    _lacks("head-no-scope", "/email", "insufficient_scope", USER_TOKEN, _EMAIL, method="HEAD"),
    _own("head-passes", "/me", 200, method="HEAD"),
    _missing("unlisted-verb", "/report", _EMAIL, doors=True),
    _lacks("unlisted-verb-no-scope", "/report", "insufficient_scope", USER_TOKEN, _EMAIL, doors=True,
           method="DELETE"),
    _own("unlisted-verb-passes", "/report", 405, token=WITH_EMAIL, method="PUT"),
    _missing("strange-verb", "/me", method="PROPFIND", doors=True),
]  # fmt: skip

LANGUAGES = [
    _login("indonesian", "/me", "expired", EXPIRED, subcode=463, language="id",
           headers=(BEARER, "Accept-Language: id")),
    _lacks("indonesian-region", "/email", "insufficient_scope", USER_TOKEN, _EMAIL, language="id",
           headers=(BEARER, "Accept-Language: fr, id-ID;q=0.8, en;q=0.5")),
    _missing("no-such-language", "/me", headers=("Accept-Language: fr",)),
    _missing("web-page", "/me", headers=("Accept: text/html", "Accept-Language: id"), language="id"),
    _lacks("web-page-no-scope", "/email", "insufficient_scope", USER_TOKEN, _EMAIL,
           headers=(BEARER, "Accept: text/html")),
    _lacks("web-page-in-a-view", "/refuse", "insufficient_scope", USER_TOKEN, _EMAIL, language="id",
           headers=(BEARER, "Accept: text/html", "Accept-Language: id")),
]  # fmt: skip

ROWS = [*CREDENTIALS, *ENDED, *REQUIREMENTS, *DONT_KNOW, *PATHS, *LANGUAGES]
