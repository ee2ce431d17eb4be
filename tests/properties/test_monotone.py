"""Monotone: to take something away from a token, or to add an error, never opens a route."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests import oracle
from tests.properties import strategies as nasty
from tests.properties.generator import encode
from tests.properties.harness import new_token
from tests.support import NOW, Reply


def ask(world, document, need, page):
    token = new_token()
    world.tell(token, Reply(encode(document)))
    world.clock.wall = NOW
    return world.ask("check", [f"Bearer {token}"], need, page)


facts = nasty.good_facts.filter(lambda data: data["scopes"])


@given(data=facts, need=nasty.needs, page=nasty.pages, pick=st.integers(0))
def test_without_a_scope(world, data, need, page, pick):
    before = ask(world, {"data": data}, need, page)
    scope = data["scopes"][pick % len(data["scopes"])]
    fewer = data | {"scopes": [name for name in data["scopes"] if name != scope]}
    after = ask(world, {"data": fewer}, need, page)
    assert before == oracle.OK or after != oracle.OK
    if scope in need.data["scopes"]:
        assert after != oracle.OK


@given(data=facts, need=nasty.needs, page=nasty.pages, pick=st.integers(0))
def test_without_a_target(world, data, need, page, pick):
    grants = [dict(grant) for grant in data.get("granular_scopes", [])]
    narrow = [grant for grant in grants if grant.get("target_ids")]
    if not narrow:
        return
    before = ask(world, {"data": data}, need, page)
    grant = narrow[pick % len(narrow)]
    grant["target_ids"] = grant["target_ids"][1:]
    after = ask(world, {"data": data | {"granular_scopes": grants}}, need, page)
    assert before == oracle.OK or after != oracle.OK


@given(data=facts, need=nasty.needs, page=nasty.pages, sooner=st.integers(1, 7200))
def test_a_shorter_life(world, data, need, page, sooner):
    before = ask(world, {"data": data}, need, page)
    ends = (data["expires_at"] or NOW + 7200) - sooner
    after = ask(world, {"data": data | {"expires_at": ends}}, need, page)
    assert before == oracle.OK or after != oracle.OK
    if ends <= NOW:
        assert after != oracle.OK


@given(data=facts, need=nasty.needs, page=nasty.pages, older=st.integers(0, 7200))
def test_an_older_login(world, data, need, page, older):
    if not data.get("issued_at"):
        return
    before = ask(world, {"data": data}, need, page)
    after = ask(world, {"data": data | {"issued_at": data["issued_at"] - older}}, need, page)
    assert before == oracle.OK or after != oracle.OK


@given(
    document=nasty.documents,
    need=nasty.needs,
    page=nasty.pages,
    error=nasty.errors("subcode") | nasty.json_values,
    inside=st.booleans(),
)
def test_an_error_beside_anything(world, document, need, page, error, inside):
    if inside and isinstance(document.get("data"), dict):
        document = document | {"data": document["data"] | {"error": error}}
    else:
        document = document | {"error": error}
    assert ask(world, document, need, page) != oracle.OK


@given(data=nasty.good_facts, need=nasty.needs, page=nasty.pages, flag=nasty.json_values)
def test_anything_but_true(world, data, need, page, flag):
    if flag is not True:
        assert ask(world, {"data": data | {"is_valid": flag}}, need, page) != oracle.OK
