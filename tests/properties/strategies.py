"""Strategies of hypothesis for replies, requirements and requests; generator.py has what they draw from."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.properties import generator
from tests.properties.generator import SCOPES, encode
from tests.properties.harness import Need
from tests.support import APP_ID, NOW, Reply

pages = st.sampled_from(generator.PAGES)
moments = st.sampled_from([0, 0, 1, 59, 60, 61, 3599, 3600, 3601, 90 * 86_400, -1])  # seconds after NOW
statuses = st.one_of(st.just(200), st.sampled_from(sorted(set(generator.STATUSES))))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(generator.MOMENTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def _odd(values: list[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.sampled_from(values), json_values)


_texts = st.sampled_from([*SCOPES, *generator.LOOK_ALIKES]) | st.text(max_size=8)
_grants = st.fixed_dictionaries(
    {"scope": _texts}, optional={"target_ids": st.lists(st.sampled_from(generator.PAGES), max_size=4)}
)
_moments = _odd(generator.MOMENTS)

good_facts = st.fixed_dictionaries(
    {
        "app_id": st.sampled_from([APP_ID, int(APP_ID)]),
        "type": st.sampled_from(generator.TYPES),
        "expires_at": st.sampled_from([0, NOW + 1, NOW + 60, NOW + 3600]),
        "is_valid": st.just(True),
        "scopes": st.lists(st.sampled_from(SCOPES)),
        "user_id": st.integers(1, 10**32 - 1).map(str),
    },
    optional={
        "application": st.text(st.characters(exclude_categories=["Cs"])),
        "data_access_expires_at": st.sampled_from([0, NOW - 1, NOW, NOW + 1, NOW + 90 * 86_400]),
        "issued_at": st.sampled_from([0, NOW - 3600, NOW - 60, NOW + 3600]),
        "granular_scopes": st.lists(_grants, max_size=4, unique_by=lambda grant: grant["scope"]),
    },
)
_odd_members: dict[str, st.SearchStrategy[Any]] = {
    "app_id": _odd(generator.APP_IDS),
    "type": _odd([*generator.TYPES, *generator.ODD_TYPES]),
    "user_id": _odd(generator.USER_IDS),
    "is_valid": _odd(generator.FLAGS),
    "expires_at": _moments,
    "data_access_expires_at": _moments,
    "issued_at": _moments,
    "scopes": st.lists(_texts, max_size=5) | json_values,
    "granular_scopes": st.lists(_grants | json_values, max_size=3) | json_values,
    "application": json_values,
    "profile_id": json_values,
}
_changes = st.sampled_from(sorted(_odd_members)).flatmap(
    lambda key: st.tuples(st.just(key), _odd_members[key] | st.just(...))
)
_nearly_good_facts = st.builds(
    lambda facts, change: {k: v for k, v in (facts | dict([change])).items() if v is not ...},
    good_facts,
    _changes,
)


def errors(subcode_key: str) -> st.SearchStrategy[dict[str, Any]]:
    """Errors of Graph, the known ones and others; ``subcode_key`` is what this place calls a subcode."""
    return st.fixed_dictionaries(
        {},
        optional={
            "code": st.sampled_from([190, 102]) | _odd(generator.CODES) | st.integers(0, 100_000),
            "message": _odd(generator.MESSAGES),
            subcode_key: _odd(generator.SUBCODES) | st.integers(440, 500),
            "is_transient": _odd(generator.FLAGS),
        },
    )


_inner, _outer = errors("subcode"), errors("error_subcode")
_facts = good_facts | _nearly_good_facts
_dead = st.builds(lambda facts, error: facts | {"is_valid": False, "error": error}, _facts, _inner)
_bare_dead = _inner.map(lambda error: {"is_valid": False, "error": error, "scopes": []})
_beside = st.builds(lambda facts, error: facts | {"error": error}, _facts, _inner | json_values)
_data = _facts | _dead | _bare_dead | _beside

documents = st.one_of(
    _data.map(lambda data: {"data": data}),
    _outer.map(lambda error: {"error": error}),
    st.builds(lambda data, error: {"data": data, "error": error}, _data, _outer | json_values),
    json_values.map(lambda value: {"data": value}),
)


def _twice(document: dict[str, Any], pair: str) -> bytes:
    return encode(document).replace(b'"data": {', b'"data": {' + pair.encode() + b", ", 1)


_pairs = st.sampled_from(
    ['"is_valid": false', '"is_valid": true', '"app_id": "999"', '"scopes": []', '"user_id": "7"', '"x": NaN']
)
bodies = st.one_of(
    documents.map(encode),
    documents.map(encode),
    st.builds(_twice, documents, _pairs),
    documents.map(lambda document: b"\xef\xbb\xbf" + encode(document)),
    st.builds(lambda document, cut: encode(document)[:-cut], documents, st.integers(1, 40)),
    st.builds(lambda document, junk: encode(document) + junk, documents, st.binary(min_size=1, max_size=3)),
    st.builds(
        lambda document, size: encode(document).ljust(size), documents, st.sampled_from([65_536, 65_537])
    ),
    st.sampled_from(generator.JUNK),
    st.binary(),
)
good_replies = good_facts.map(lambda facts: Reply(encode({"data": facts})))
replies = good_replies | good_replies | st.builds(Reply, bodies, statuses)

_some_scopes = st.lists(st.sampled_from(SCOPES), max_size=3).map(tuple)


@st.composite
def _needs(draw: st.DrawFn) -> Need:
    data: dict[str, Any] = {"scopes": draw(_some_scopes)}
    if draw(st.booleans()):
        data["any_scope"] = draw(_some_scopes)
    if data["scopes"] or data.get("any_scope"):
        data["target"] = draw(
            st.sampled_from([None, "page_id", generator.named_page, generator.no_page, generator.always_111])
        )
    if draw(st.booleans()):
        data["token_types"] = draw(st.lists(st.sampled_from(generator.TYPES), min_size=1).map(tuple))
    if draw(st.booleans()):
        data["optional"] = draw(st.booleans())
        data["min_remaining"] = draw(st.sampled_from([0, 1, 60, 60.5, 3600]))
        data["max_login_age"] = draw(st.sampled_from([None, 0, 60, 60.5, 3600]))
    return Need(**data)


needs = _needs()

tokens = st.from_regex(r"[A-Za-z0-9._~+/-]{1,60}=*", fullmatch=True)
header_text = st.text(st.characters(max_codepoint=255), max_size=60)  # what a server may hand on
_spellings = tokens.flatmap(lambda token: st.sampled_from(generator.spellings(token)))
header_values = st.one_of(
    st.lists(_spellings, max_size=1),
    st.lists(_spellings | header_text, min_size=1, max_size=2),
    st.lists(tokens.map("Bearer {}".format), min_size=1, max_size=2),
    header_text.map(lambda text: [f"Bearer {text}"]),
)
