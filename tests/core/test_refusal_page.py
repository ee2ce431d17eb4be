"""Who gets a page instead of a problem body, and what the person and the developer see on it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from fbguard.core import messages
from fbguard.core.challenge import Site, refuse
from fbguard.core.reasons import REASONS, Finding
from fbguard.core.refusal_page import prefers_page

SITE = Site("42", "fbguard", "https://www.facebook.com", "v26.0", 'https://app.example/back?x="><b>&y=ü')
BARE = Site("42", "fbguard", "https://www.facebook.com", "v26.0", None)

CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
JQUERY_JSON = "application/json, text/javascript, */*; q=0.01"


class Page(HTMLParser):
    """What a browser makes of a page; an element that is left open is an error."""

    VOID = frozenset({"meta"})

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(body.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def facts(self) -> dict[str, str]:
        return dict(zip(self.texts["dt"], self.texts["code"], strict=True))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (CHROME, True),
        (FIREFOX, True),
        ("text/html", True),
        ("Text/HTML", True),
        ("text/html;charset=utf-8", True),
        ("text/html, */*; q=0.01", True),
        ("text/html, application/xhtml+xml, */*", True),
        ("text/html;q=0.9, application/json;q=0.8", True),
        ("application/problem+json;q=0, text/html;q=0.1", True),
        ("image/avif;q=high, text/html", True),
        ("text/html \t; \tq=0.5", True),
        (None, False),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        ("application/json, text/plain, */*", False),
        (JQUERY_JSON, False),
        ("application/json, text/html", False),
        ("text/html, application/json", False),
        ("text/html, application/problem+json", False),
        ("text/html;q=0.9, application/json", False),
        ("text/html;q=0.2, */*;q=0.8", False),
        ("text/html;q=0.2, application/*;q=0.8, */*;q=0.1", False),
        ("application/vnd.api+json, text/html;q=0.5", False),
        ("application/hal+json, text/html;q=0.9, */*;q=0.1", False),
        ("application/*+json, text/html;q=0.1", False),
        ("text/json, text/html;q=0.1", False),
        ("text/html, application/ld+json;q=0.3", True),
        ("text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2", False),  # Java's HttpURLConnection
        ("text/html, image/gif, image/jpeg, */*; q=0.2", False),  # of late
        ("text/html;q=0", False),
        ("text/html;q=0.000", False),
        ("text/html;q=2", False),
        ("text/html;q=nan", False),
        ("text/html;q=-1", False),
        ("text/html;q=0.1234", False),
        ("text/html;q=", False),
        ("text/htmlx, xtext/html", False),
        ("text / html", False),
        (",;,;q=1,", False),
        ('"text/html"', False),
        ("\x00text/html", False),
    ],
)
def test_who_wants_a_page(accept, expected):
    assert prefers_page(accept) is expected


def test_a_long_header_is_cut():
    assert not prefers_page("a/b," * 100_000 + "text/html")
    assert prefers_page("text/html," + ";q=1" * 100_000)


@pytest.mark.parametrize("language", messages.CATALOGUES)
@pytest.mark.parametrize("site", [SITE, BARE], ids=["with redirect", "without"])
@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_as_a_page(reason, site, language):
    row = REASONS[reason]
    waits = row.status in {429, 503}
    refused = refuse(Finding(reason, 190, 463, retry_after=7 if waits else None), site, ("email", "x<y"))
    answer, problem = refused.answer(FIREFOX, language), refused.answer(None, language)
    page = Page(answer.body)

    assert page.texts["h1"] == page.texts["title"] == [messages.message(reason, language)]
    assert page.texts["summary"] == [messages.LABELS[language]["developers"]]
    assert page.attributes("html") == [{"lang": language}]
    assert row.detail in page.texts["p"]

    hint = json.loads(problem.body)["relogin"]
    expected = {"reason": reason, "status": str(row.status), "code": "190", "subcode": "463"}
    if hint["auth_type"]:
        expected["auth_type"] = hint["auth_type"]
    if hint["scopes"]:
        expected["scopes"] = "email x<y"
    if waits:
        expected["retry_after"] = "7"
    assert page.facts() == expected

    address = "" if hint["action"] == "wait" else hint["url"]
    assert [link["href"] for link in page.attributes("a")] == ([] if address is None else [address])
    if address is not None:
        assert page.texts["a"] == [messages.LABELS[language][hint["action"]]]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", ""])
def test_a_link_tries_nothing_again_that_was_no_get(method):
    refused = refuse(Finding("unavailable"), SITE, ())
    assert Page(refused.answer(FIREFOX, method=method).body).attributes("a") == []
    assert refused.answer(FIREFOX, method="HEAD") == refused.answer(FIREFOX)
    login = refuse(Finding("expired"), SITE, ())
    assert login.answer(FIREFOX, method=method) == login.answer(FIREFOX)


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_page_has_the_status_and_the_challenge_of_the_problem(reason):
    wait = 3 if REASONS[reason].status >= 429 else None
    refused = refuse(Finding(reason, retry_after=wait), SITE, ("email",))
    page, problem = refused.answer(FIREFOX), refused.answer()
    assert page.status == problem.status
    own = {"Content-Type", "Content-Length", "Content-Security-Policy", "Referrer-Policy"}
    shared = [[pair for pair in answer.headers if pair[0] not in own] for answer in (page, problem)]
    assert shared[0] == shared[1]
    headers = dict(page.headers)
    assert len(headers) == len(page.headers)
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Content-Length"] == str(len(page.body))
    assert headers["Referrer-Policy"] == "no-referrer"
    assert {"Cache-Control", "Vary", "X-Content-Type-Options"} <= headers.keys()


def test_a_page_uses_nothing_but_its_own_style():
    answer = refuse(Finding("expired", 190, 463), SITE, ("email",)).answer(FIREFOX)
    page, policy = Page(answer.body), dict(answer.headers)["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert policy.endswith("'; base-uri 'none'; frame-ancestors 'none'; form-action 'none'")
    style = hashlib.sha256("".join(page.texts["style"]).encode()).digest()
    assert re.findall(r"sha256-([A-Za-z0-9+/=]+)", policy) == [base64.b64encode(style).decode()]
    assert {tag for tag, _ in page.elements} & {"script", "img", "form", "iframe", "base", "link"} == set()
    assert [name for _, found in page.elements for name in found if name.startswith(("on", "style"))] == []


@pytest.mark.parametrize("language", messages.CATALOGUES)
def test_every_action_with_a_button_has_its_label_in_every_language(language):
    actions = {row.action for row in REASONS.values()} - {"none"}
    assert messages.LABELS[language].keys() == actions | {"developers"}
