"""The index of templates and what a policy remembers: the same matches as without them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fbguard import Policy, Rule
from fbguard.core import policy as module
from fbguard.core.rule import segments_of

SEGMENTS = st.sampled_from(["a", "b", "{x}", "{y}"])
TEMPLATES = st.tuples(st.lists(SEGMENTS, max_size=3), st.booleans())
PATHS = st.lists(st.sampled_from(["a", "b", "c", "1"]), max_size=4).map(lambda parts: "/" + "/".join(parts))


def template(parts, has_rest):
    named = [f"{{p{number}}}" if part.startswith("{") else part for number, part in enumerate(parts)]
    return "/" + "/".join([*named, *(["{rest:path}"] if has_rest else [])])


@given(st.lists(TEMPLATES, max_size=8), PATHS)
def test_candidates_are_the_rules_whose_templates_match(templates, path):
    rules = [Rule(template(*one)) for one in templates]
    found = Policy(*rules)._index.candidates(segments_of(path))
    assert found == [
        number for number, rule in enumerate(rules) if rule.params_of(segments_of(path)) is not None
    ]


@given(
    st.lists(TEMPLATES, max_size=8),
    st.lists(st.tuples(PATHS, st.sampled_from(["GET", "POST", "post", "HEAD"]))),
)
def test_what_is_remembered_is_what_was_found(templates, requests):
    rules = [
        Rule(template(*one), methods=["GET"] if number % 2 else None, scopes=[f"s{number}"])
        for number, one in enumerate(templates)
    ]
    policy = Policy(*rules)
    for path, method in requests * 2:
        assert policy.match(path, method) == Policy(*rules).match(path, method)


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MOST_KNOWN", 10)
    policy = Policy()
    for number in range(100):
        policy.match(f"/{number}", "GET")
        policy.match("/", f"X{number}")
        assert sum(map(len, policy._known.values())) <= 10
        assert sum(map(len, policy.short.values())) <= 10
    policy.match("/" + "x" * 1000, "GET")
    policy.match("/", "X" * 1000)
    assert all(len(method + path) <= 256 for path, verbs in policy._known.items() for method in verbs)
