"""Rows F: taking the credential from the request."""

# ruff: noqa: N802 - the tests are named after the rows

from __future__ import annotations

import time

import pytest

from fbguard import Policy, Rule
from fbguard.core import credentials, validator
from fbguard.core.secret import Secret
from fbguard.core.sources import TokenSources
from fbguard.heads import EnvironHead
from tests.support import TOKEN, make_guard, wsgi_environ
from tests.threats.requests import WIDE, ask

OPEN = Policy(Rule("/open", optional=True))
AUTH = "Authorization"


@pytest.mark.parametrize(
    "values",
    [
        (f"Bearer {TOKEN}", f"Bearer {TOKEN}"),
        (f"Bearer {TOKEN}", "Bearer other"),
        (f"Bearer {TOKEN}", ""),
        ("", f"Bearer {TOKEN}"),
        ("Basic dXNlcjpwdw==", f"Bearer {TOKEN}"),
        ("", ""),
    ],
    ids=["same", "different", "second empty", "first empty", "two schemes", "both empty"],
)
@pytest.mark.parametrize("path", ["/", "/open"])
def test_F01_two_authorization_headers(door, guard, graph, values, path):
    answer = door(guard, policy=OPEN).send(path=path, headers=[(AUTH, value) for value in values])
    assert (answer.status, answer.reason, answer.ran) == (400, "invalid_request", False)
    assert answer.challenge.startswith('Bearer realm="fbguard", error="invalid_request"')
    assert graph.calls == []


@pytest.mark.parametrize(
    "value", [f"Bearer {TOKEN}, Bearer {TOKEN}", f"Bearer {TOKEN},", ",", "Basic a,b", f"Bearer,{TOKEN}"]
)
@pytest.mark.parametrize("path", ["/", "/open"])
def test_F02_comma_joined(door, guard, graph, value, path):
    answer = door(guard, policy=OPEN).send(path=path, headers=[(AUTH, value)])
    assert (answer.status, answer.reason, answer.ran) == (400, "invalid_request", False)
    assert graph.calls == []


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer", "bEaReR"])
def test_F03_the_scheme_in_any_case(door, guard, scheme):
    assert door(guard).send(headers=[(AUTH, f"{scheme} {TOKEN}")]).info.user_id == "1001"


@pytest.mark.parametrize("scheme", ["Basic", "OAuth", "Token", "Bearer:", "Bearerx", "Bear"])
def test_F03_another_scheme_is_no_credential(door, guard, graph, scheme):
    behind = door(guard, policy=OPEN)
    headers = [(AUTH, f"{scheme} {TOKEN}")]
    answer = behind.send(headers=headers)
    assert (answer.status, answer.reason, answer.ran) == (401, "missing_token", False)
    assert answer.challenge == 'Bearer realm="fbguard"'  # bare: RFC 6750 section 3.1
    anonymous = behind.send(path="/open", headers=headers)
    assert (anonymous.status, anonymous.ran, anonymous.info) == (200, True, None)
    assert graph.calls == []


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "", " ", "\t", "bearer  "], ids=repr)
@pytest.mark.parametrize("path", ["/", "/open"])
def test_F07_empty(door, guard, graph, value, path):
    answer = door(guard, policy=OPEN).send(path=path, headers=[(AUTH, value)])
    assert (answer.status, answer.reason, answer.ran) == (401, "malformed_token", False)
    assert 'error="invalid_token"' in answer.challenge
    assert graph.calls == []


def check_malformed(behind, graph, value):
    for path in ("/", "/open"):
        answer = behind.send(path=path, headers=[(AUTH, value)])
        assert (answer.status, answer.reason, answer.ran) == (401, "malformed_token", False)
    assert graph.calls == []


SPACES = "\t\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0"  # str.split() takes all of them


@pytest.mark.parametrize("value", [f"Bearer {TOKEN} ", f"Bearer {TOKEN}\t", f" \tBearer {TOKEN}"], ids=repr)
def test_F04_white_space_around_the_value_is_http(door, guard, value):
    assert door(guard).send(headers=[(AUTH, value)]).info.user_id == "1001"


@pytest.mark.parametrize("space", [*SPACES, "  ", " \t", "\t ", "   "], ids=repr)
def test_F04_white_space_between_is_one_space(door, guard, graph, space):
    assert f"Bearer{space}{TOKEN}".split() == ["Bearer", TOKEN]  # a careless reader takes it
    check_malformed(door(guard, policy=OPEN), graph, f"Bearer{space}{TOKEN}")


@pytest.mark.parametrize("space", SPACES[1:], ids=repr)
def test_F04_white_space_that_is_not_https(door, guard, graph, space):
    behind = door(guard, policy=OPEN)
    for value in (f"Bearer {TOKEN}{space}", f"Bearer {space}{TOKEN}", f"{space}Bearer {TOKEN}"):
        check_malformed(behind, graph, value)


@pytest.mark.parametrize("inside", [" ", "\t", "\xa0"], ids=repr)
def test_F04_white_space_inside(door, guard, graph, inside):
    check_malformed(door(guard, policy=OPEN), graph, f"Bearer {TOKEN[:20]}{inside}{TOKEN[20:]}")


STRANGE = ["\x00", "\r", "\n", "\r\n", "\x1b", "\x7f", "\xe9", "\xff", "\xc3\xa9", "\xe2\x80\x8b"]


@pytest.mark.parametrize("strange", STRANGE, ids=repr)
def test_F05_bytes_that_no_token_has(door, guard, graph, strange):
    behind = door(guard, policy=OPEN)
    for value in (
        f"Bearer {TOKEN}{strange}",
        f"Bearer {strange}{TOKEN}",
        f"Bearer {TOKEN[:9]}{strange}{TOKEN[9:]}",
        f"Bear{strange}er {TOKEN}",
        f"{strange}Bearer {TOKEN}",
        f"Bearer {strange}",
        strange,
    ):
        check_malformed(behind, graph, value)


@pytest.mark.parametrize("length", [4095, 4096])
def test_F06_the_longest_token(door, guard, graph, length):
    assert door(guard).send("a" * length).status == 200
    assert graph.calls == ["a" * length]


@pytest.mark.parametrize("length", [4097, 65_536, 1_048_576])
def test_F06_length(door, guard, graph, monkeypatch, length):
    """Refused before it is hashed: else every long header would cost its length."""
    monkeypatch.setattr(validator, "key_of", lambda _: pytest.fail("it was hashed"))
    check_malformed(door(guard, policy=OPEN), graph, "Bearer " + "a" * length)


@pytest.mark.parametrize("length", [4097, 65_536, 1_048_576])
@pytest.mark.parametrize("place", ["query", "cookie"])
def test_F06_length_in_other_places(door, graph, monkeypatch, length, place):
    monkeypatch.setattr(validator, "key_of", lambda _: pytest.fail("it was hashed"))
    token = "a" * length
    where = (
        {"query": f"access_token={token}"} if place == "query" else {"headers": [("Cookie", f"fb={token}")]}
    )
    with make_guard(graph, token_from=WIDE) as guard:
        answer = ask(door(guard), **where)
    assert (answer.status, answer.reason, answer.ran, graph.calls) == (401, "malformed_token", False, [])


@pytest.mark.parametrize(
    "value", ["a=b", f"={TOKEN}", f"{TOKEN}=x", f'token="{TOKEN}"', f"realm={TOKEN}", "a==b", "=", "=="]
)
def test_F11_equals_sign_inside(door, guard, graph, value):
    check_malformed(door(guard, policy=OPEN), graph, f"Bearer {value}")


@pytest.mark.parametrize("token", ["abc=", "abc==", "a.b_c~d+e/f-g===", "0"])
def test_F11_equals_signs_at_the_end(door, guard, graph, token):
    assert door(guard).send(token).status == 200
    assert graph.calls == [token]


@pytest.mark.parametrize(
    "fold", ["Bearer\r\n {0}", "Bearer\r\n\t{0}", "Bearer \r\n {0}", "Bearer\n {0}", "Bearer {0}\r\n x"]
)
def test_F12_obs_fold_that_a_server_lets_through(door, guard, graph, fold):
    check_malformed(door(guard, policy=OPEN), graph, fold.format(TOKEN))


def test_F12_obs_fold_that_hides_a_second_header(door, guard, graph):
    check_malformed(door(guard, policy=OPEN), graph, f"Bearer {TOKEN}\r\n Authorization: Bearer other")


POLLUTION = [
    "&access_token=EVIL",
    "&input_token=EVIL",
    "#",
    "#x",
    "?x=y",
    "%26",
    "%0d%0aX: y",
    "/../me?",
    "\\",
]


@pytest.mark.parametrize("tail", POLLUTION)
def test_F13_parameter_pollution_upstream(door, guard, graph, tail):
    check_malformed(door(guard, policy=OPEN), graph, f"Bearer {TOKEN}{tail}")


@pytest.mark.parametrize("token", ["a+b/c~d.e_f-g==", "a/../../me", "..", "a//b", "+", "-._~"])
@pytest.mark.parametrize("credential_in", ["header", "query"])
def test_F13_what_passes_is_one_value_upstream(door, graph, token, credential_in):
    with make_guard(graph, credential_in=credential_in) as guard:
        assert door(guard).send(token).status == 200
    (request,) = graph.requests
    assert request.url.host == "graph.facebook.com"
    assert request.url.path == "/v26.0/debug_token"
    assert request.url.params.get_list("input_token") == [token]
    expected = {"input_token"} | ({"access_token"} if credential_in == "query" else set())
    assert set(request.url.params) == expected
    query = request.url.query.decode().partition("&")[0]
    assert set(query.partition("=")[2]) <= set(token) - {"+", "="} | set("%0123456789ABCDEF")


NONSENSE = ["=", " ", ".", "a=", "\t", "Bearer ", "a", "%", "%61", "&", ";", "fb=", "a;fb"]


@pytest.mark.parametrize("stuff", NONSENSE, ids=repr)
def test_F15_redos(stuff):
    """64 KiB of nonsense anywhere are read at once: a reader that goes back over it takes minutes."""
    text = stuff * (65_536 // len(stuff))
    wide = TokenSources.parse(WIDE)
    headers = [(AUTH, f"Bearer {text}!"), ("Cookie", text)]
    head = EnvironHead(wsgi_environ(headers=headers, QUERY_STRING=f"{text}&access_token={text}%"))
    started = time.process_time()
    for _ in range(3):
        wide.find(head)
        credentials.from_authorization([text])
        credentials.from_authorization([f"Bearer {text}!"])
        credentials.screen(Secret(text))
    assert time.process_time() - started < 1.0
