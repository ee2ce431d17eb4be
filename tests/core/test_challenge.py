"""What a refusal says: the challenge's grammar, the body's members, the address of the login."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qsl, urlsplit

import pytest

from fbguard.core.challenge import Site, refuse
from fbguard.core.reasons import REASONS, Finding

SITE = Site("42", "fbguard", "https://www.facebook.com", "v26.0", "https://app.example/back?x=1&y=ü")
BARE = Site("42", "my api", "https://www.facebook.com", "v26.0", None)


def parse(challenge: str) -> dict[str, str]:
    """Read one Bearer challenge strictly: RFC 9110 section 11.6.1, quoted values only."""
    scheme, rest = challenge.split(" ", 1)
    assert scheme == "Bearer"
    found: dict[str, str] = {}
    position = 0
    pattern = re.compile(r'([A-Za-z_]+)="([\x20-\x21\x23-\x5b\x5d-\x7e]*)"(, |\Z)')
    while position < len(rest):
        match = pattern.match(rest, position)
        assert match, rest[position:]
        assert match[1] not in found
        found[match[1]] = match[2]
        position = match.end()
    assert not rest.endswith(", ")
    return found


FINDINGS = [Finding(name) for name in sorted(REASONS)]


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.reason)
@pytest.mark.parametrize("site", [SITE, BARE], ids=["with redirect", "without"])
def test_every_reason(finding, site):
    row = REASONS[finding.reason]
    if row.status in {429, 503}:
        finding = Finding(finding.reason, retry_after=2)
    refused = refuse(finding, site, ("email",))
    answer = refused.answer()
    headers = dict(answer.headers)
    assert len(headers) == len(answer.headers)
    assert answer.status == refused.status == row.status

    challenges = [value for name, value in answer.headers if name == "WWW-Authenticate"]
    if row.status in {400, 401, 403}:
        parsed = parse(challenges[0])
        assert parsed.pop("realm") == site.realm
        if row.error is None:
            assert parsed == {}
        else:
            assert parsed == {"error": row.error, "error_description": row.detail, "relogin": row.action}
        assert "Retry-After" not in headers
    else:
        assert challenges == []
        assert int(headers["Retry-After"]) >= 1

    body = json.loads(answer.body)
    assert headers["Content-Length"] == str(len(answer.body))
    assert headers["Content-Type"] == "application/problem+json"
    assert list(body) == ["type", "title", "status", "detail", "reason", "code", "subcode", "relogin"]
    assert (body["type"], body["title"]) == (f"urn:fbguard:reason:{row.name}", row.title)
    assert (body["status"], body["reason"], body["detail"]) == (row.status, row.name, row.detail)
    assert (body["code"], body["subcode"]) == (None, None)
    hint = body["relogin"]
    assert list(hint) == ["action", "url", "auth_type", "scopes", "retry_after", "message"]
    assert (hint["action"], hint["auth_type"]) == (row.action, row.auth_type)
    assert hint["message"]
    assert hint["scopes"] == (["email"] if row.action == "login" else [])
    if site is BARE or row.action in {"wait", "none"}:
        assert hint["url"] is None


def test_the_members_of_every_answer():
    answer = refuse(Finding("expired", 190, 463), SITE).answer()
    headers = dict(answer.headers)
    assert headers["Cache-Control"] == "no-store"
    assert headers["Vary"] == "Authorization, Accept, Accept-Language"
    assert headers["Content-Language"] == "en"
    assert headers["X-Content-Type-Options"] == "nosniff"
    body = json.loads(answer.body)
    assert (body["code"], body["subcode"]) == (190, 463)
    assert body["relogin"]["message"] == "Your Facebook session has expired. Please log in again."


def test_a_missing_scope():
    finding = Finding("insufficient_scope", required=("email", "pages"), missing=("pages",))
    refused = refuse(finding, SITE, ("email", "pages", "more"))
    assert parse(refused.challenge)["scope"] == "email pages"
    assert refused.relogin.scopes == ("pages",)
    any_scope = refuse(Finding("insufficient_scope", missing=("a", "b")), SITE)
    assert "scope" not in parse(any_scope.challenge)
    assert any_scope.relogin.scopes == ("a", "b")


@pytest.mark.parametrize("max_age", [0, 300])
def test_a_login_that_is_too_old(max_age):
    parsed = parse(refuse(Finding("login_too_old", max_age=max_age), SITE).challenge)
    assert parsed["error"] == "insufficient_user_authentication"
    assert parsed["max_age"] == str(max_age)


@pytest.mark.parametrize(
    ("reason", "scopes", "query"),
    [
        ("expired", (), []),
        ("expired", ("email", "pages"), [("scope", "email,pages")]),
        ("insufficient_scope", ("a:b&c=d",), [("scope", "a:b&c=d"), ("auth_type", "rerequest")]),
        ("app_inactive", (), [("auth_type", "reauthorize")]),
        ("login_too_old", (), [("auth_type", "reauthenticate")]),
    ],
)
def test_the_address_of_the_login(reason, scopes, query):
    url = refuse(Finding(reason), SITE, scopes).relogin.url
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "https://www.facebook.com/v26.0/dialog/oauth"
    assert parse_qsl(parts.query) == [("client_id", "42"), ("redirect_uri", SITE.redirect_uri), *query]
    assert url.isascii()
    assert " " not in url


def test_what_the_person_must_do_on_facebook():
    relogin = refuse(Finding("checkpointed"), SITE, ("email",)).relogin
    assert (relogin.action, relogin.scopes) == ("visit_facebook", ())
    assert relogin.url.startswith("https://www.facebook.com")


def test_what_an_exception_tells():
    refused = refuse(Finding("throttled", 4, None, retry_after=60), SITE)
    assert (refused.status, refused.reason, refused.code, refused.subcode) == (503, "throttled", 4, None)
    assert (refused.retry_after, refused.challenge, refused.relogin.retry_after) == (60, None, 60)
    assert str(refused).startswith("503 throttled: ")


@pytest.mark.parametrize("accept", [None, "text/*", "application/json", "*/*", "", "garbage,;q"])
@pytest.mark.parametrize("language", [None, "en", "fr;q=1, de", "*", "", ";;;", "x" * 5000])
def test_whatever_the_client_prefers(accept, language):
    answer = refuse(Finding("expired"), SITE).answer(accept=accept, language=language)
    assert answer.status == 401
    assert json.loads(answer.body)["reason"] == "expired"
    assert dict(answer.headers)["Content-Language"] == "en"


def test_rendering_changes_nothing():
    refused = refuse(Finding("expired"), SITE, ("email",))
    first = refused.answer()
    first.headers.append(("X", "y"))
    assert refused.answer() == refuse(Finding("expired"), SITE, ("email",)).answer()
