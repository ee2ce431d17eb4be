"""A confirmation code is its own record: genuine or invented, its moment, and never its user."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from fbguard.core.secret import Secret
from fbguard.revocation.deletion import code_for, moment_of, page
from tests.support import NOW, SECRET

SIGNING = Secret(SECRET)


@settings(deadline=None)
@given(st.from_regex(r"[0-9]{1,32}", fullmatch=True), st.integers(0, 253_402_300_799))
def test_every_code_knows_its_moment_and_no_user(user_id, at):
    code = code_for(SIGNING, user_id, at)
    assert len(code) == 48
    assert code.isalnum()
    assert moment_of([SIGNING], code) == datetime.fromtimestamp(at, UTC)
    assert moment_of([Secret("another one")], code) is None
    assert code == code_for(SIGNING, user_id, at)


@settings(deadline=None)
@given(st.text(alphabet=st.characters()) | st.from_regex(r"[A-Z2-7]{48}", fullmatch=True))
def test_an_invented_code_has_no_moment(code):
    assert moment_of([SIGNING], code) is None


def test_no_byte_of_a_code_can_be_another():
    raw = base64.b32decode(code_for(SIGNING, "1001", NOW))
    for index in range(len(raw)):
        altered = raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]
        assert moment_of([SIGNING], base64.b32encode(altered).decode()) is None


def test_any_of_rotating_secrets_may_have_made_it():
    assert moment_of([Secret("the new one"), SIGNING], code_for(SIGNING, "1", NOW)) is not None
    assert moment_of([], code_for(SIGNING, "1", NOW)) is None


def test_the_page_shows_the_moment_as_people_and_machines_read_it():
    shown = page("CODE", datetime.fromtimestamp(NOW, UTC))
    assert shown.status == 200
    assert b'<time datetime="2027-01-15T08:00:00Z">2027-01-15, 08:00 UTC</time>' in shown.body
    assert b"<code>CODE</code>" in shown.body


def test_the_page_of_an_invented_code_does_not_repeat_it():
    shown = page("<script>", None)
    assert shown.status == 404
    assert b"script" not in shown.body
