"""Round trip: every challenge can be parsed, and says after formatting what it said before."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.datastructures import WWWAuthenticate

from fbguard import Refused, Requirement
from tests.properties import strategies as nasty
from tests.properties.generator import SCOPES, spellings
from tests.properties.harness import World, new_token
from tests.support import NOW, dead, envelope

# RFC 9110 section 11.6.1, with RFC 6750 section 3's charsets for the values
_PARAMETER = r'([a-z_]+)="([\x20-\x21\x23-\x5b\x5d-\x7e]*)"'
_CHALLENGE = re.compile(rf"Bearer {_PARAMETER}(?:, {_PARAMETER})*")
HINTS = {"login", "visit_facebook", "wait", "none"}


def parse(challenge: str) -> dict[str, str]:
    assert _CHALLENGE.fullmatch(challenge), challenge
    pairs = re.findall(_PARAMETER, challenge)
    assert len(dict(pairs)) == len(pairs), "a parameter stands twice"
    return dict(pairs)


def format_(parameters: dict[str, str]) -> str:
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in parameters.items())


def check_answer(refused: Refused, accept: str | None, language: str | None) -> None:
    answer = refused.answer(accept, language)
    assert answer.status == refused.status
    for name, value in answer.headers:
        assert re.fullmatch(r"[A-Za-z-]+", name)
        assert re.fullmatch(r"[\x20-\x7e]+", value), (name, value)
    by_name = {name.lower(): value for name, value in answer.headers}
    assert len(by_name) == len(answer.headers)
    assert by_name["content-length"] == str(len(answer.body))
    assert by_name["cache-control"] == "no-store"
    challenge = by_name.get("www-authenticate")
    assert (challenge is not None) == (refused.status in {400, 401, 403})
    if refused.status == 503:
        assert int(by_name["retry-after"]) >= 1
    if challenge is not None:
        parameters = parse(challenge)
        assert parse(format_(parameters)) == parameters
        assert format_(parameters) == challenge
        assert next(iter(parameters)) == "realm"
        assert parameters.get("relogin", "none") in HINTS
        assert ("relogin" in parameters) == ("error" in parameters)
        read = WWWAuthenticate.from_header(challenge)
        assert read is not None
        assert (read.type, dict(read.parameters)) == ("bearer", parameters)


def check_body(refused: Refused, accept: str | None, language: str | None) -> None:
    body = json.loads(refused.answer(accept="application/json", language=language).body)
    assert (body["status"], body["reason"]) == (refused.status, refused.reason)
    assert body["type"] == f"urn:fbguard:reason:{refused.reason}"
    assert body.keys() == {"type", "title", "status", "detail", "reason", "code", "subcode", "relogin"}
    assert body["relogin"].keys() == {"action", "url", "auth_type", "scopes", "retry_after", "message"}
    assert body["relogin"]["action"] in HINTS


# No commas: Facebook separates permissions by them, and a Requirement refuses one.
scopes = st.lists(
    st.from_regex(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,12}", fullmatch=True), max_size=4
) | st.just(SCOPES)
realms = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1)


@pytest.fixture(scope="module")
def worlds():
    with World() as plain, World(redirect_uri="https://app.example/back?x=1", realm="my api") as linked:
        yield [plain, linked]


@given(
    reply=nasty.replies,
    needed=scopes,
    one_of=scopes,
    max_age=st.none() | st.floats(0, 1e12) | st.integers(0, 10**12),
    which=st.integers(0, 1),
    accept=st.none() | nasty.header_text,
    language=st.none() | nasty.header_text | st.sampled_from(["id", "id;q=0.5, en", "*", "id-ID", "en;q=x"]),
)
@example(dead(190, 458, 'User 7 has not authorized "x"\r\nSet-Cookie: a=1'), [], [], None, 1, None, None)
@example(envelope(4, message="\u2028"), [], [], None, 0, "text/html", "id")
def test_every_challenge(worlds, reply, needed, one_of, max_age, which, accept, language):
    world = worlds[which]
    token = new_token()
    world.tell(token, reply)
    world.clock.wall = NOW
    need = Requirement(scopes=needed, any_scope=one_of, max_login_age=max_age)
    try:
        world.guard.check(token, need)
    except Refused as refused:
        check_answer(refused, accept, language)
        check_body(refused, accept, language)


@given(token=st.sampled_from(spellings("abc")) | nasty.header_text)
def test_every_challenge_to_a_spelling(worlds, token):
    try:
        worlds[0].guard.check(token)
    except Refused as refused:
        check_answer(refused, None, None)
        check_body(refused, None, None)


@given(realm=realms)
def test_every_realm(realm):
    """What the operator may choose as realm comes back as it was chosen; the rest is refused at the start."""
    try:
        world = World(realm=realm)
    except ValueError:
        return
    with world, pytest.raises(Refused) as caught:
        world.guard.check(None)
    assert parse(caught.value.challenge) == {"realm": realm}
