"""Batch calls: every item as if it had come alone, and a whole that is refused before any of it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest

from fbguard.sandbox import Call, Sandbox
from fbguard.sandbox.batch import MAX_ITEMS
from fbguard.sandbox.control import control
from fbguard.sandbox.graph import answer
from fbguard.sandbox.wire import Reply, Request
from fbguard.sandbox.world import App, IssuedToken, World

from .conftest import Graph, assert_method_error, assert_top_level
from .test_proof import MISSING, WRONG, prove

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
NOW = 1_700_000_000.0
CREDENTIAL = "1234567890|secret"
NO_CAPABILITY = "(#3) Application does not have the capability to make this API call."
NO_ARRAY = "(#100) Param batch must be a JSON-encoded array of requests"
TOKEN_REQUIRED = "An access token is required to request this resource."


def get(target: str, **more: object) -> dict[str, object]:
    return {"method": "GET", "relative_url": target, **more}


def inspection(token: str) -> dict[str, object]:
    return get("debug_token?" + urlencode({"input_token": token}))


def post(graph: Graph, items: object, path: str = "/v26.0/", **fields: str) -> httpx.Response:
    """Send a batch as the app, its credential in the form."""
    batch = items if isinstance(items, str) else json.dumps(items)
    form = {"access_token": graph.credential, "batch": batch} | fields
    return graph.send("POST", path, FORM, urlencode(form).encode())


def ask(graph: Graph, items: object, path: str = "/v26.0/", **fields: str) -> list[Any]:
    answered = post(graph, items, path, **fields)
    assert answered.status_code == 200, answered.text
    assert answered.headers["content-type"] == "application/json; charset=UTF-8"
    body: list[Any] = answered.json()
    assert isinstance(body, list)
    return body


def bodies(answers: list[Any]) -> list[Any]:
    return [json.loads(item["body"]) for item in answers]


def named(item: Mapping[str, Any]) -> dict[str, str]:
    return {header["name"]: header["value"] for header in item["headers"]}


def refused(answered: httpx.Response, message: str, code: int = 100) -> None:
    assert_top_level(answered, code, message)


# -- parity with single calls --------------------------------------------------------------------------


def issued(**changes: Any) -> IssuedToken:
    facts: dict[str, Any] = {
        "app_id": "1234567890",
        "type": "USER",
        "user_id": "42",
        "profile_id": None,
        "scopes": ("email",),
        "granular_scopes": None,
        "issued_at": int(NOW) - 60,
        "expires_at": int(NOW) + 60,
        "data_access_expires_at": 0,
        "long_lived": False,
    }
    return IssuedToken(**(facts | changes))


@pytest.fixture
def world() -> World:
    world = World(App("1234567890", "name", "secret"))
    world.add("EAAvalid", issued())
    world.add("EAAexpired", issued(expires_at=int(NOW) - 1))
    world.add("EAArevoked", issued(ended=466))
    world.add("EAAforeign", issued(app_id="999"))
    return world


def alone(world: World, target: str, method: str = "GET", token: str = CREDENTIAL) -> Reply:
    return answer(world, Request.of(method, target, [("Authorization", f"Bearer {token}")]), NOW)


def batched(world: World, items: object, path: str = "/", **fields: str) -> Reply:
    form = {"access_token": CREDENTIAL, "batch": json.dumps(items)} | fields
    return answer(world, Request.of("POST", path, FORM.items(), urlencode(form).encode()), NOW)


@pytest.mark.parametrize(
    "token",
    ["EAAvalid", "EAAexpired", "EAArevoked", "EAAforeign", "garbage", "EAA" + "x" * 60, "", "ä&=#%\n"],
)
@pytest.mark.parametrize("prefix", ["", "/", "v26.0/", "/v25.0/"])
def test_an_inspection_in_a_batch_is_the_inspection_alone(world: World, token: str, prefix: str) -> None:
    target = f"{prefix}debug_token?{urlencode({'input_token': token})}"
    single = alone(world, f"/{target.lstrip('/')}")
    reply = batched(world, [get(target)])
    assert reply.status == 200
    (item,) = json.loads(reply.body)
    assert list(item) == ["code", "headers", "body"]
    assert item["code"] == single.status
    assert item["body"] == single.body.decode()
    assert [(header["name"], header["value"]) for header in item["headers"]] == list(single.headers)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/me"),
        ("GET", "/me?fields=nonsense"),
        ("GET", "/app?fields=id"),
        ("GET", "/nobody"),
        ("GET", "/me/permissions"),
        ("GET", "/"),
        ("GET", ""),
        ("PUT", "/me"),
        ("POST", "/"),
        ("post", "/me"),
        ("GET", "//me#x"),
        ("GET", "https://graph.facebook.com/me"),
    ],
)
def test_every_call_in_a_batch_is_the_call_alone(world: World, method: str, target: str) -> None:
    single = alone(world, f"/{target.lstrip('/')}", method, "EAAvalid")
    reply = batched(world, [{"method": method, "relative_url": target}], access_token="EAAvalid")
    (item,) = json.loads(reply.body)
    assert (item["code"], item["body"]) == (single.status, single.body.decode())


def test_it_is_a_pure_function(world: World) -> None:
    items = [get("me"), get("debug_token?input_token=EAAvalid")]
    assert batched(world, items) == batched(world, items)


# -- order, versions, the ways in ------------------------------------------------------------------------


def test_answers_come_in_the_order_of_the_request(graph: Graph) -> None:
    tokens = [graph.sandbox.issue_token(user_id=str(number)) for number in range(100, 100 + MAX_ITEMS)]
    random.Random(5).shuffle(tokens)
    answers = ask(graph, [inspection(token) for token in tokens])
    assert [item["code"] for item in answers] == [200] * MAX_ITEMS
    users = [body["data"]["user_id"] for body in bodies(answers)]
    assert users == [graph.inspect(token)["user_id"] for token in tokens]


def test_a_bad_item_spoils_no_other(graph: Graph) -> None:
    good, foreign = graph.sandbox.issue_token(), graph.sandbox.issue_token(app_id="999")
    answers = ask(graph, [inspection(good), inspection(foreign), get("nobody"), inspection("x"), get("app")])
    assert [item["code"] for item in answers] == [200, 400, 404, 200, 200]
    challenge = named(answers[1])["WWW-Authenticate"]
    assert challenge.startswith('OAuth "Facebook Platform" "invalid_request" "(#100) The App_id')
    assert "WWW-Authenticate" not in named(answers[0])
    told = bodies(answers)
    assert told[0]["data"]["is_valid"] is True
    assert told[1]["error"]["code"] == 100
    assert told[3]["data"]["is_valid"] is False
    assert told[4]["id"] == graph.sandbox.app_id


@pytest.mark.parametrize("path", ["/", "/v26.0", "/v26.0/", "/v19.0/", "/me", "/me/", "/v26.0/me", "/?x=y"])
def test_the_ways_in(graph: Graph, path: str) -> None:
    (item,) = ask(graph, [get("app?fields=id")], path)
    assert item["code"] == 200
    assert json.loads(item["body"]) == {"id": graph.sandbox.app_id}


def test_an_item_without_a_version_gets_that_of_the_batch(graph: Graph) -> None:
    items = [get("app"), get("v21.0/app")]
    versions = [named(item)["Facebook-API-Version"] for item in ask(graph, items, "/v19.0/")]
    assert versions == ["v19.0", "v21.0"]
    assert named(ask(graph, items, "/")[0])["Facebook-API-Version"] == "v26.0"


def test_batch_and_token_may_stand_elsewhere(graph: Graph) -> None:
    query = urlencode({"batch": json.dumps([get("app?fields=id")])})
    answered = graph.send("POST", f"/?{query}", graph.sandbox.bearer(graph.credential))
    assert [item["code"] for item in answered.json()] == [200]


@pytest.mark.parametrize("path", ["/", "/me"])
def test_without_a_batch_it_is_no_batch_call(quick: Graph, path: str) -> None:
    answered = quick.send("POST", path, quick.sandbox.bearer(quick.credential))
    assert answered.status_code == 400
    assert answered.json()["error"]["message"].startswith("Unsupported post request.")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("DELETE", "/"), ("POST", "/app"), ("POST", "/v26.0/42")]
)
def test_only_a_post_to_the_root_or_me_is_a_batch_call(quick: Graph, method: str, path: str) -> None:
    query = urlencode({"batch": json.dumps([get("app")])})
    answered = quick.send(method, f"{path}?{query}", quick.sandbox.bearer(quick.credential))
    assert not isinstance(answered.json(), list)


# -- tokens and proofs -------------------------------------------------------------------------------


def test_an_items_own_token_wins(graph: Graph) -> None:
    one, two, three = (graph.sandbox.issue_token(user_id=user) for user in ("11", "22", "33"))
    items = [
        get("me?fields=id"),
        get(f"me?fields=id&access_token={two}"),
        get("me?fields=id", body=f"access_token={three}"),
        get("me?fields=id&access_token="),
        get("me?fields=id", body="access_token="),
    ]
    for fields in ({"access_token": one}, {"access_token": two}):
        users = [body["id"] for body in bodies(ask(graph, items, **fields))]
        outer = "11" if fields["access_token"] == one else "22"
        assert users == [outer, "22", "33", outer, outer]


def test_the_token_of_the_header_is_for_the_items_too(graph: Graph) -> None:
    token = graph.sandbox.issue_token(user_id="11")
    form = urlencode({"batch": json.dumps([get("me?fields=id")])}).encode()
    answered = graph.send("POST", "/", FORM | graph.sandbox.bearer(token), form)
    assert bodies(answered.json()) == [{"id": "11"}]


def test_an_items_authorization_line_is_not_looked_at(quick: Graph) -> None:
    one, two = (quick.sandbox.issue_token(user_id=user) for user in ("11", "22"))
    items = [get("me?fields=id", headers=[f"Authorization: Bearer {two}"])]
    assert bodies(ask(quick, items, access_token=one)) == [{"id": "11"}]


def test_an_items_dead_token_is_that_items_own_trouble(quick: Graph) -> None:
    dead = quick.sandbox.issue_token()
    quick.sandbox.invalidate(dead)
    answers = ask(quick, [get(f"me?access_token={dead}"), get("app")])
    assert [item["code"] for item in answers] == [400, 200]
    assert bodies(answers)[0]["error"]["error_subcode"] == 466
    assert "invalid_token" in named(answers[0])["WWW-Authenticate"]


def test_the_batch_needs_a_token_even_if_every_item_has_one(graph: Graph) -> None:
    items = [get(f"app?access_token={quote(graph.credential)}")]
    form = urlencode({"batch": json.dumps(items)}).encode()
    refused(graph.send("POST", "/", FORM, form), TOKEN_REQUIRED, 104)


def test_a_bad_token_of_the_batch_refuses_it(graph: Graph) -> None:
    expired = graph.sandbox.issue_token(expires_in=-60)
    wrong = post(graph, [get("app")], access_token=f"{graph.sandbox.app_id}|wrong")
    refused(wrong, "Invalid OAuth access token signature.", 190)
    dead = post(graph, [get("app")], access_token=expired)
    assert dead.status_code == 400
    assert dead.json()["error"]["error_subcode"] == 463


def test_a_proof_of_the_batch_holds_for_the_items_that_use_its_token(quick: Graph) -> None:
    quick.sandbox.require_proof()
    one, two = (quick.sandbox.issue_token(user_id=user) for user in ("11", "22"))
    own = urlencode({"access_token": two} | prove(quick, two))
    items = [
        get("me"),
        get(f"me?access_token={two}"),
        get(f"me?{own}"),
        get("me?appsecret_proof=x"),
    ]
    now = int(quick.sandbox.clock.time())
    for proof in (prove(quick, one), prove(quick, one, now)):
        answers = ask(quick, items, access_token=one, **proof)
        assert [item["code"] for item in answers] == [200, 400, 200, 400]
        told = bodies(answers)
        assert (told[1]["error"]["message"], told[3]["error"]["message"]) == (MISSING, WRONG)
    untimed = urlencode(prove(quick, one))
    answers = ask(quick, [get(f"me?{untimed}")], access_token=one, **prove(quick, one, now))
    assert [item["code"] for item in answers] == [200]
    assert_method_error(post(quick, items, access_token=one), MISSING)
    assert_method_error(post(quick, items, access_token=one, appsecret_proof="x"), WRONG)


# -- items --------------------------------------------------------------------------------------------


def test_items_change_the_state_in_their_order(graph: Graph) -> None:
    token = graph.sandbox.issue_token(user_id="42", scopes=["email"])
    items = [
        get("me/permissions"),
        {"method": "DELETE", "relative_url": "me/permissions/email"},
        get("me/permissions"),
        {"method": "DELETE", "relative_url": "/v26.0/me/permissions"},
        get("me"),
    ]
    answers = ask(graph, items, access_token=token)
    assert [item["code"] for item in answers] == [200, 200, 200, 200, 400]
    assert answers[1]["body"] == "true"
    told = bodies(answers)
    assert [body["data"][0]["status"] for body in (told[0], told[2])] == ["granted", "declined"]
    assert told[4]["error"]["error_subcode"] == 458


def test_a_post_item_has_its_fields_in_the_body(graph: Graph) -> None:
    sandbox = graph.sandbox
    fields = {
        "client_id": sandbox.app_id,
        "client_secret": sandbox.app_secret,
        "grant_type": "client_credentials",
    }
    item = {"method": "POST", "relative_url": "oauth/access_token", "body": urlencode(fields)}
    plain = item | {"headers": ["content-type: text/plain", "X-A:b", "nonsense", 7, ""]}
    answers = ask(graph, [item, plain])
    assert bodies(answers)[0]["token_type"] == "bearer"
    assert answers[1]["code"] == 400


def test_without_headers(graph: Graph) -> None:
    for sent in ("false", "False", "0"):
        answers = ask(graph, [get("app"), get("nobody")], include_headers=sent)
        assert [list(item) for item in answers] == [["code", "body"]] * 2
    for sent in ("true", "1", ""):
        (item,) = ask(graph, [get("app")], include_headers=sent)
        assert list(item) == ["code", "headers", "body"]


def test_a_success_may_be_left_out(graph: Graph) -> None:
    silent, loud = {"omit_response_on_success": True}, {"omit_response_on_success": False}
    items = [
        get("app", **silent),
        get("app", **loud),
        get("nobody", **silent),
        get("app", name="one", body=None),
    ]
    answers = ask(graph, items)
    assert answers[0] is None
    assert [item["code"] for item in answers[1:]] == [200, 404, 200]


# -- a whole that is refused --------------------------------------------------------------------------


NO_BATCHES: list[tuple[object, str]] = [
    ("", NO_ARRAY),
    ("nonsense", NO_ARRAY),
    ("[" * 100_000, NO_ARRAY),
    ("{}", NO_ARRAY),
    ("null", NO_ARRAY),
    ('"x"', NO_ARRAY),
    ("[]", "(#100) Param batch must hold at least one request"),
    (
        [get("app")] * (MAX_ITEMS + 1),
        "(#100) Too many requests in batch message. Maximum batch size is 50",
    ),
    ([get("app"), "x"], "(#100) Param batch[1] must be an object"),
    ([None], "(#100) Param batch[0] must be an object"),
    ([[]], "(#100) Param batch[0] must be an object"),
    ([{}], "(#100) Param batch[0][method] must be a string"),
    ([{"method": 1, "relative_url": "app"}], "(#100) Param batch[0][method] must be a string"),
    ([{"method": "GET"}], "(#100) Param batch[0][relative_url] must be a string"),
    ([get("app", body={})], "(#100) Param batch[0][body] must be a string"),
]


@pytest.mark.parametrize(("items", "message"), NO_BATCHES)
def test_what_is_no_batch(graph: Graph, items: object, message: str) -> None:
    refused(post(graph, items), message)


@pytest.mark.parametrize("target", ["", "/", "v26.0/", "me", "/v26.0/me/"])
@pytest.mark.parametrize("carrier", ["query", "body"])
def test_a_batch_inside_a_batch(quick: Graph, target: str, carrier: str) -> None:
    inner = urlencode({"batch": json.dumps([get("app")])})
    item = {"method": "post", "relative_url": target}
    item |= {"relative_url": f"{target}?{inner}"} if carrier == "query" else {"body": inner}
    refused(post(quick, [get("app"), item]), "(#100) Param batch[1] must not be a batch itself")


def test_a_refused_batch_has_changed_nothing(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    leave = {"method": "DELETE", "relative_url": "me/permissions"}
    nested = {"method": "POST", "relative_url": "/", "body": "batch=[]"}
    for items in ([leave, None], [leave, {}], [leave, nested], [leave] * (MAX_ITEMS + 1)):
        assert post(quick, items, access_token=token).status_code == 400
    quick.sandbox.batch(allowed=False)
    assert post(quick, [leave], access_token=token).status_code == 400
    assert quick.inspect(token)["is_valid"] is True


def test_that_a_token_is_dead_is_told_before_what_is_wrong_with_the_batch(quick: Graph) -> None:
    quick.sandbox.batch(allowed=False)
    answered = post(quick, "nonsense", access_token="garbage")
    assert answered.json()["error"]["code"] == 190
    refused(post(quick, "nonsense"), NO_CAPABILITY, 3)


def _random_json(source: random.Random, depth: int = 0) -> Any:
    words = [
        "GET",
        "POST",
        "me",
        "/?batch=[]",
        "debug_token?input_token=%ff",
        "\ud800",
        "\x00",
        "a:b",
        "%",
        "",
    ]
    leaves: list[Any] = [None, True, -1, 1e300, float("nan"), 10**400, *words, *words]
    kind = source.random()
    if depth > 2 or kind < 0.5:
        return source.choice(leaves)
    if kind < 0.6:
        return [_random_json(source, depth + 1) for _ in range(source.randrange(4))]
    keys = ["method", "relative_url", "headers", "body", "name", "omit_response_on_success"]
    chosen = {key: _random_json(source, depth + 1) for key in source.sample(keys, source.randrange(7))}
    return {"method": "GET", "relative_url": source.choice(words)} | chosen


def test_whatever_comes_the_answer_is_graphs(world: World) -> None:
    source = random.Random(2026)
    seen = {200: 0, 400: 0}
    for _ in range(3_000):
        items = [_random_json(source) for _ in range(source.randrange(1, 3))]
        reply = batched(world, items)
        seen[reply.status] += 1
        told = json.loads(reply.body)
        assert len(told) == len(items) if reply.status == 200 else told["error"]["code"] == 100
    assert min(seen.values()) > 100


# -- the platform's moods ---------------------------------------------------------------------------------


def test_an_app_that_may_not_batch(graph: Graph) -> None:
    token = graph.sandbox.issue_token()
    graph.sandbox.batch(allowed=False)
    for _ in range(2):
        refused(post(graph, [inspection(token)]), NO_CAPABILITY, 3)
    assert graph.inspect(token)["is_valid"] is True  # single calls are not concerned
    graph.sandbox.batch()
    assert len(ask(graph, [inspection(token)])) == 1
    graph.sandbox.batch(allowed=False)
    graph.sandbox.recover()
    assert len(ask(graph, [inspection(token)])) == 1


def test_items_that_are_not_finished_in_time(graph: Graph) -> None:
    graph.sandbox.batch(unfinished=2)
    for count in range(1, 5):
        answers = ask(graph, [get("app")] * count)
        missing = min(2, count)
        assert [item is None for item in answers] == [False] * (count - missing) + [True] * missing
    graph.sandbox.recover()
    assert None not in ask(graph, [get("app")] * 3)


def test_an_item_that_is_not_finished_has_changed_nothing(quick: Graph) -> None:
    token = quick.sandbox.issue_token()
    quick.sandbox.batch(unfinished=1)
    leave = {"method": "DELETE", "relative_url": "me/permissions"}
    assert ask(quick, [leave], access_token=token) == [None]
    assert quick.inspect(token)["is_valid"] is True


def test_faults_and_limits_meet_the_batch_as_any_call(graph: Graph) -> None:
    graph.sandbox.throttle(4)
    limited = post(graph, [get("app")])
    assert limited.status_code == 400
    assert limited.json()["error"]["code"] == 4
    graph.sandbox.throttle(None)
    graph.sandbox.fail(503, "<html>", times=1)
    assert post(graph, [get("app")] * 3).status_code == 503
    graph.sandbox.fail(drop=True, times=1)
    with pytest.raises(httpx.RemoteProtocolError):
        post(graph, [get("app")])
    assert len(ask(graph, [get("app")] * 3)) == 3  # one call counts once, whatever is in it


def test_a_batch_is_one_call_of_the_log(graph: Graph) -> None:
    token = graph.sandbox.issue_token()
    ask(graph, [inspection(token), get("nobody"), get(f"{token}/x")])
    ask(graph, [get("app")], "/me")
    post(graph, "nonsense", "/")
    assert graph.sandbox.calls == (
        Call("POST", "/v26.0/", 200),
        Call("POST", "/me", 200),
        Call("POST", "/", 400),
    )
    assert token not in repr(graph.sandbox.calls)


def test_the_control_api(quick: Graph) -> None:
    def change(**keywords: Any) -> tuple[int, Any]:
        request = Request("POST", "/sandbox/batch", body=json.dumps(keywords).encode())
        reply = control(quick.sandbox, request)
        return reply.status, json.loads(reply.body)

    assert change(allowed=False) == (200, {"result": None})
    refused(post(quick, [get("app")]), NO_CAPABILITY, 3)
    assert change(unfinished=1) == (200, {"result": None})
    assert ask(quick, [get("app")]) == [None]
    assert change() == (200, {"result": None})
    assert ask(quick, [get("app")]) != [None]
    for wrong in ({"allowed": 1}, {"unfinished": -1}, {"nonsense": 1}):
        status, body = change(**wrong)
        assert (status, list(body)) == (400, ["error"])
        assert next(iter(wrong)) in body["error"]


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"allowed": 1}, TypeError),
        ({"allowed": None}, TypeError),
        ({"unfinished": -1}, ValueError),
        ({"unfinished": 51}, ValueError),
        ({"unfinished": True}, TypeError),
        ({"unfinished": 1.0}, TypeError),
    ],
)
def test_wrong_options(sandbox: Sandbox, options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind, match=next(iter(options))):
        sandbox.batch(**options)
