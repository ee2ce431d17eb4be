"""Which requirement a path and a verb stand under."""

from __future__ import annotations

import re
from itertools import product

import pytest

from fbguard import Policy, Requirement, Rule
from fbguard.core.rule import is_plain, segments_of


def asked(policy: Policy, path: str, method: str = "GET") -> list[str] | str:
    """Return the scopes that a request needs, "public", or "refused"."""
    match = policy.match(path, method)
    if match is None:
        return "refused"
    return "public" if match.public else [scope for need, _ in match.demands for scope in need.scopes]


def rule(path: str, scope: str, **options: object) -> Rule:
    return Rule(path, scopes=[scope], **options)


DEFAULT = Requirement(scopes=["default"])


# -- templates -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "path", "params"),
    [
        ("/", "/", {}),
        ("/", "", {}),
        ("/a", "/a", {}),
        ("/a", "/a/", {}),
        ("/a/", "/a", {}),
        ("/a", "/ab", None),
        ("/a", "/A", None),
        ("/a", "/a/b", None),
        ("/a", "/", None),
        ("/a", "/\uff41", None),
        ("/pages/{page}", "/pages/1", {"page": "1"}),
        ("/pages/{page}", "/pages/1/", {"page": "1"}),
        ("/pages/{page}", "/pages", None),
        ("/pages/{page}", "/pages/1/posts", None),
        ("/pages/{page}/posts", "/pages/1/posts", {"page": "1"}),
        ("/pages/{page}/posts", "/pages/1/ads", None),
        ("/{a}/{b}", "/1/2", {"a": "1", "b": "2"}),
        ("/pages/{page}", "/pages/ä b", {"page": "ä b"}),
        ("/admin/{rest:path}", "/admin", {"rest": ""}),
        ("/admin/{rest:path}", "/admin/", {"rest": ""}),
        ("/admin/{rest:path}", "/admin/a", {"rest": "a"}),
        ("/admin/{rest:path}", "/admin/a/b/", {"rest": "a/b"}),
        ("/admin/{rest:path}", "/administrator", None),
        ("/{rest:path}", "/", {"rest": ""}),
        ("/{rest:path}", "", {"rest": ""}),
        ("/{tenant}/x/{rest:path}", "/t/x/y", {"tenant": "t", "rest": "y"}),
        ("/{tenant}/x/{rest:path}", "/t/z/y", None),
    ],
)
def test_templates(template, path, params):
    policy = Policy(Rule(template, scopes=["rule"]), default=DEFAULT)
    match = policy.match(path, "GET")
    ((requirement, found),) = match.demands
    assert requirement.scopes == (("default",) if params is None else ("rule",))
    assert dict(found) == (params or {})


@pytest.mark.parametrize(
    "path",
    [
        "//",
        "/a//b",
        "//a",
        "/a//",
        "/.",
        "/..",
        "/./a",
        "/../a",
        "/a/.",
        "/a/..",
        "/a/../b",
        "/a;v=1",
        ";",
        "/a\\b",
        "/a\x00",
        "/a\nb",
        "/a\x1f",
        "/a\x7f",
        "/a\x85",
        "/a\ufffd",
        "/b\udc80",
        "a",
        "*",
        "http://x/a",
    ],
    ids=repr,
)
def test_paths_that_are_not_plain(path):
    assert not is_plain(path)
    assert asked(Policy(Rule("/{rest:path}", public=True)), path) == "refused"
    assert asked(Policy(), path) == "refused"


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "/a/", "/.a", "/a.", "/...", "/a..b", "/%2e", "/a b", "/é", "/a:b@c"]
)
def test_paths_that_are_plain(path):
    assert is_plain(path)
    assert asked(Policy(Rule("/{rest:path}", public=True)), path) == "public"


# -- rules -----------------------------------------------------------------------------------------


def test_no_rules_guard_everything():
    match = Policy().match("/anything", "GET")
    assert [need for need, _ in match.demands] == [Requirement()]
    assert not match.public


def test_the_first_rule_that_matches_judges_alone():
    policy = Policy(
        rule("/pages/new", "first"),
        rule("/pages/{page}", "second"),
        rule("/{rest:path}", "third"),
        default=DEFAULT,
    )
    assert asked(policy, "/pages/new") == ["first"]
    assert asked(policy, "/pages/1") == ["second"]
    assert asked(policy, "/elsewhere") == ["third"]
    assert asked(Policy(rule("/{rest:path}", "a"), rule("/pages", "b")), "/pages") == ["a"]


def test_no_rule_matches_the_default_does():
    assert asked(Policy(rule("/a", "a"), default=DEFAULT), "/b") == ["default"]


def test_an_exemption_is_no_wider_than_its_template():
    policy = Policy(Rule("/health", public=True), default=DEFAULT)
    assert asked(policy, "/health") == asked(policy, "/health/") == "public"
    for path in ("/healthz", "/health-admin", "/health/admin", "/HEALTH", "/he"):
        assert asked(policy, path) == ["default"]


VERBS = Policy(
    rule("/x", "reading", methods=["GET"]),
    rule("/x", "writing", methods=["post", "PUT"]),
    Rule("/x", methods=["PATCH"], public=True),
    default=DEFAULT,
)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", ["reading"]),
        ("HEAD", ["reading"]),
        ("POST", ["writing"]),
        ("PUT", ["writing"]),
        ("PATCH", "public"),
        ("DELETE", ["default", "reading", "writing"]),
        ("OPTIONS", ["default", "reading", "writing"]),
        ("TRACE", ["default", "reading", "writing"]),
        ("get", ["default", "reading", "writing"]),
        ("", ["default", "reading", "writing"]),
    ],
)
def test_verbs(method, expected):
    assert asked(VERBS, "/x", method) == expected


def test_an_unlisted_verb_keeps_the_parameters_of_each_rule():
    policy = Policy(
        Rule("/pages/{page}", methods=["GET"], scopes=["a"], target="page"),
        Rule("/{kind}/{rest:path}", methods=["PUT"], scopes=["b"], target="kind"),
    )
    demands = policy.match("/pages/1", "DELETE").demands
    assert [dict(params) for _, params in demands] == [{}, {"page": "1"}, {"kind": "pages", "rest": "1"}]


def test_a_verb_that_a_later_rule_lists():
    policy = Policy(Rule("/x", methods=["GET"], public=True), rule("/{rest:path}", "all"), default=DEFAULT)
    assert asked(policy, "/x") == "public"
    assert asked(policy, "/x", "POST") == ["all"]


def test_a_strange_verb_on_a_public_rule_meets_the_default():
    policy = Policy(Rule("/x", methods=["GET"], public=True), default=DEFAULT)
    assert asked(policy, "/x", "FOO") == ["default"]


def test_head_may_have_a_rule_of_its_own():
    policy = Policy(rule("/x", "head", methods=["HEAD"]), rule("/x", "get", methods=["GET"]), default=DEFAULT)
    assert asked(policy, "/x", "HEAD") == ["head"]
    assert asked(policy, "/x", "GET") == ["get"]


@pytest.mark.parametrize("allowed", [True, False])
def test_preflights(allowed):
    policy = Policy(rule("/x", "a", methods=["GET"]), preflight=allowed)
    for path, method in (("/x", "GET"), ("/x", "OPTIONS"), ("/y", "OPTIONS")):
        assert policy.match(path, method).preflight is allowed


# -- construction ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a",
        "a/b",
        "//",
        "/a//b",
        "/a/../b",
        "/a;b",
        "/a\\b",
        "/{rest:path}/a",
        "/{a}/{a}",
        "/{a}/{a:path}",
        "/a{b}",
        "/{b}a",
        "/{a-b}",
        "/{}",
        "/{1a}",
        "/{a:int}",
        "/{a",
        "/a}",
        "/{a}{b}",
    ],
)
def test_templates_that_are_none(path):
    with pytest.raises(ValueError, match=r"."):
        Rule(path)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"methods": "GET"}, TypeError),
        ({"methods": []}, ValueError),
        ({"public": True, "scopes": ["email"]}, ValueError),
        ({"public": True, "optional": True}, ValueError),
        ({"scopes": ["email"], "target": "page"}, RuntimeError),
        ({"target": "page"}, ValueError),
        ({"scopes": "email"}, TypeError),
        ({"scope": ["email"]}, TypeError),
    ],
    ids=repr,
)
def test_rules_that_are_none(options, error):
    with pytest.raises(error):
        Rule("/x", **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scope": ["email"]}, "Rule has no option 'scope'; is it 'scopes'?"),
        ({"method": ["GET"]}, "Rule has no option 'method'; is it 'methods'?"),
        ({"public": True, "publik": True}, "Rule has no option 'publik'; is it 'public'?"),
        ({"methods": "GET"}, "methods must be a sequence of str, such as ['GET'], not str"),
    ],
    ids=repr,
)
def test_what_a_rule_should_have_been(options, says):
    with pytest.raises(TypeError, match=f"^{re.escape(says)}$"):
        Rule("/x", **options)


@pytest.mark.parametrize("path", [None, 5, b"/a"])
def test_a_path_of_another_type(path):
    with pytest.raises(TypeError):
        Rule(path)


@pytest.mark.parametrize("rules", [["/a"], [[Rule("/a")]], [Requirement()], [None]], ids=repr)
def test_policies_of_something_else(rules):
    with pytest.raises(TypeError):
        Policy(*rules)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([Rule("/a")], r"not list: write Policy\(\*rules\)$"),
        ((), r"not tuple: write Policy\(\*rules\)$"),
        ("/a", "not str$"),
        (None, "not NoneType$"),
    ],
    ids=repr,
)
def test_a_sequence_of_rules_is_unpacked(given, says):
    with pytest.raises(TypeError, match=says):
        Policy(given)


def test_no_default_is_the_default_as_it_is():
    assert Policy(default=None).default == Requirement()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"rules": [{"path": "/a", "pub": True}]}, "rules[0].pub is not known here; is it 'public'?"),
        ({"default": {"scope": []}}, "default.scope is not known here; is it 'scopes'?"),
        ({"rule": []}, "rule is not known here; is it 'rules'?"),
        ({"quux": 1}, "quux is not known here; known are rules, default, preflight"),
        ({5: 1}, "5 is not known here; known are rules, default, preflight"),
        ({"rules": [{"path": "/a", "scopes": ["a,b"]}]},
         "rules[0]: scopes holds 'a,b', but names one permission each: ['a', 'b']"),
    ],
    ids=repr,
)  # fmt: skip
def test_data_that_is_no_policy(data, says):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(says)}$"):
        Policy.from_mapping(data)


@pytest.mark.parametrize("default", [Rule("/a"), "email", {"scopes": ["email"]}])
def test_a_default_that_is_none(default):
    with pytest.raises(TypeError, match="default"):
        Policy(default=default)


def test_a_default_has_no_path_parameters():
    with pytest.raises(RuntimeError, match="default"):
        Policy(default=Requirement(scopes=["email"], target="page"))
    target = {"scopes": ["email"], "target": lambda params: params.get("page")}
    assert Policy(default=Requirement(**target)).match("/", "GET").demands


def test_rules_are_data():
    one, same = Rule("/a", methods=["get"], scopes=["x"]), Rule("/a", methods=["GET"], scopes=("x",))
    assert one == same
    assert hash(one) == hash(same)
    assert one != Rule("/a", methods=["GET"])
    assert one != "/a"
    assert "/a" in repr(one)
    assert repr(one) in repr(Policy(one))


@pytest.mark.parametrize(
    ("before", "rule", "is_reached"),
    [
        (Rule("/{rest:path}", public=True), Rule("/admin"), False),
        (Rule("/admin/{rest:path}", public=True), Rule("/admin/users", scopes=["email"]), False),
        (Rule("/admin/{rest:path}", public=True), Rule("/admin"), False),
        (Rule("/{a}/x"), Rule("/y/x", public=True), False),
        (Rule("/{a}", scopes=["email"]), Rule("/{b}"), False),
        (Rule("/{rest:path}"), Rule("/a/{rest:path}", public=True), False),
        (Rule("/a", methods=["GET", "POST"]), Rule("/a", methods=["POST"], scopes=["email"]), False),
        (Rule("/a", methods=["GET"]), Rule("/a", methods=["HEAD"], scopes=["email"]), False),
        (Rule("/a"), Rule("/a/"), True),  # it asks the same
        (Rule("/{a}", scopes=["s"], target="a"), Rule("/{b}", scopes=["s"], target="b"), True),
        (Rule("/{a}/{b}", scopes=["s"], target="b"), Rule("/{b}/{a}", scopes=["s"], target="b"), False),
        (Rule("/{a}/x", scopes=["s"], target=str), Rule("/{b}/x", scopes=["s"], target=str), False),
        (Rule("/{a}/x", scopes=["s"], target=str), Rule("/{a}/x", scopes=["s"], target=str), True),
        (Rule("/{a}/{x}", scopes=["s"], target="a"), Rule("/{b}/x", scopes=["s"], target="b"), True),
        (Rule("/{a:path}", scopes=["s"], target="a"), Rule("/{a}", scopes=["s"], target="a"), True),
        (Rule("/a/{rest:path}", scopes=["email"]), Rule("/a", scopes=["email"]), True),
        (Rule("/a", public=True), Rule("/a/{rest:path}"), True),
        (Rule("/a/{b}", public=True), Rule("/a/{rest:path}"), True),
        (Rule("/a/{b}", public=True), Rule("/a"), True),
        (Rule("/a/b", public=True), Rule("/a/{b}"), True),
        (Rule("/a", methods=["GET"], public=True), Rule("/a"), True),
        (Rule("/a", methods=["HEAD"], public=True), Rule("/a", methods=["GET"]), True),
        (Rule("/a", methods=["GET"], public=True), Rule("/a", methods=["GET", "PUT"]), True),
        (Rule("/a", methods=["PUT"], public=True), Rule("/a", methods=["GET"]), True),
    ],
)
def test_a_rule_that_judges_no_request(before, rule, is_reached):
    policy = Policy(Rule("/elsewhere"), before, rule)
    assert policy.unreached == ([] if is_reached else [(rule, before)])


def test_the_first_rule_that_takes_a_verb_is_what_counts():
    """The second one would loosen it, if it ever judged there."""
    first, public = Rule("/admin/{r:path}", scopes=["s"]), Rule("/{r:path}", public=True)
    assert Policy(first, public, Rule("/admin/users", scopes=["s"])).unreached == []
    other = Rule("/admin/users", scopes=["other"])
    assert Policy(first, public, other).unreached == [(other, first)]
    got, every = Rule("/a", methods=["GET"], public=True), Rule("/a", scopes=["s"])
    same = Rule("/a", scopes=["s"])
    assert Policy(got, every, same).unreached == [(same, got)]
    assert Policy(every, got, same).unreached == [(got, every)]


def test_policies_of_many_rules_are_not_looked_through():
    rules = [Rule("/a", public=True), *[Rule("/a", methods=[f"V{number}"]) for number in range(1500)]]
    assert len(Policy(*rules).unreached) == 999


def test_several_rules_may_take_all_verbs_of_another():
    got, put = (Rule("/a", methods=[verb], public=True) for verb in ("GET", "PUT"))
    rule = Rule("/{any}", methods=["GET", "PUT"])
    assert Policy(got, put, rule).unreached == []  # other segments
    rule = Rule("/a", methods=["GET", "PUT"])
    assert Policy(got, put, rule).unreached == [(rule, got)]


_PATHS = ["/".join(("", *parts)) or "/" for count in range(4) for parts in product("ab", repeat=count)]
_TEMPLATES = [
    "/",
    "/a",
    "/{x}",
    "/a/b",
    "/a/{x}",
    "/{x}/b",
    "/{rest:path}",
    "/a/{rest:path}",
    "/{x}/{rest:path}",
]
_VERBS = [None, ("GET",), ("HEAD",), ("GET", "PUT")]


def test_unreached_is_what_no_request_reaches():
    """All pairs of rules, against all paths of up to three segments."""
    for one, other in product(product(_TEMPLATES, _VERBS), repeat=2):
        first, second = Rule(one[0], methods=one[1], public=True), Rule(other[0], methods=other[1])
        policy = Policy(first, second)
        is_reached = any(
            match is not None and not match.public
            for path, verb in product(_PATHS, second.methods or ("GET", "HEAD", "PUT", "X"))
            if second.params_of(segments_of(path)) is not None and second.lists(verb)
            for match in [policy.match(path, verb)]
        )
        assert bool(policy.unreached) is not is_reached, (one, other)
