"""The errors of Graph calls, in every shape that Graph and what stands before it have sent."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from types import MappingProxyType
from typing import Any

import httpx
import pytest

from fbguard import OAuthException, raise_for_graph_error
from fbguard.context import inject
from fbguard.core.carrier import entered
from fbguard.core.secret import Secret
from fbguard.facebook.graph_error import read_error
from tests.support import SECRET, TOKEN, http_scope
from tests.threats.canaries import shown_exception, shown_locals

ME = "https://graph.facebook.com/v26.0/me"
STRANGE = "strange-0123456789.token/of~no+known-shape="
APP_TOKEN = f"1234567890|{SECRET}"
EXPIRED = {
    "message": "Error validating access token: Session is over.",
    "type": "OAuthException",
    "code": 190,
    "error_subcode": 463,
    "fbtrace_id": "AbC",
}
BUSINESS = "X-Business-Use-Case-Usage"
FIVE_MINUTES = json.dumps({"1001": [{"type": "pages", "estimated_time_to_regain_access": 5}]})


def response(
    body: object, status: int = 400, token: str | None = TOKEN, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Return an answer of Graph's to a call with this token; bytes are the body as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = httpx.Request("GET", ME, headers=sent)
    return httpx.Response(status, content=content, headers=headers, request=request)


def raised(answer: object, **more: Any) -> OAuthException:
    with pytest.raises(OAuthException) as caught:
        raise_for_graph_error(answer, **more)
    return caught.value


def numbers(error: OAuthException) -> tuple[object, ...]:
    return error.code, error.subcode, error.reason


@pytest.fixture(params=["response", "decoded", "batch item"])
def say(request) -> Callable[[object], object]:
    """Give what makes an answer of a body, in each of the ways Graph's answers come to a view."""
    return {
        "response": response,
        "decoded": lambda body: body,
        "batch item": lambda body: {"code": 400, "headers": [], "body": json.dumps(body)},
    }[request.param]


# -- the fields ----------------------------------------------------------------------------------------


def test_every_field_of_the_envelope(say):
    body = EXPIRED | {
        "error_user_title": "Session abgelaufen",
        "error_user_msg": "Bitte melde dich an.",
        "error_data": {"blame_field_specs": [["x"]]},
        "is_transient": False,
    }
    error = raised(say({"error": body}))
    assert error.message == "Error validating access token: Session is over."
    assert error.type == "OAuthException"
    assert numbers(error) == (190, 463, "expired")
    assert error.user_title == "Session abgelaufen"
    assert error.user_message == "Bitte melde dich an."
    assert error.error_data == {"blame_field_specs": [["x"]]}
    assert error.is_transient is False
    assert error.fbtrace_id == "AbC"
    assert error.retry_after is None


@pytest.mark.parametrize("error", [{}, {"code": None}, {"message": None}, {"x": 1}], ids=repr)
def test_an_error_that_says_nothing(say, error):
    said = raised(say({"error": error}))
    assert (said.message, said.type, *numbers(said)) == ("", "", None, None, None)
    assert (said.user_title, said.user_message, said.error_data, said.fbtrace_id) == (None,) * 4
    assert said.is_transient is False
    assert str(said) == "Graph error: "


@pytest.mark.parametrize(
    ("data", "read"),
    [
        ({"blame_field_specs": [["a", 1, None, True]]}, {"blame_field_specs": [["a", 1, None, True]]}),
        ('{"checkpoint_flow_id": "1", "n": 0}', {"checkpoint_flow_id": "1", "n": 0}),
        ("https://www.facebook.com/checkpoint/", "https://www.facebook.com/checkpoint/"),
        ('{"broken": ', '{"broken": '),
        ("[1, 2]", "[1, 2]"),
        ("null", "null"),
        ("ü €", "ü €"),
        ({"ü": "€\n"}, {"ü": "€\n"}),
        ({}, {}),
        ("", None),
        (None, None),
        (5, None),
        (True, None),
        ([1, 2], None),
    ],
    ids=repr,
)
def test_error_data_of_every_kind(say, data, read):
    error = raised(say({"error": EXPIRED | {"error_data": data}}))
    assert error.error_data == read
    assert numbers(error) == (190, 463, "expired")


def test_error_data_that_is_a_mapping_of_another_kind():
    data = MappingProxyType({"checkpoint_flow_id": "1"})
    error = raised({"error": EXPIRED | {"error_data": data}})
    assert (error.code, error.error_data) == (190, {"checkpoint_flow_id": "1"})


@pytest.mark.parametrize(
    ("code", "read"),
    [
        ("190", 190),
        (190, 190),
        (190.0, 190),
        ("460", 460),
        (460.0, 460),
        ("-2", -2),
        ("-1", None),
        (-1, None),
    ],
)
def test_numbers_in_strings(say, code, read):
    error = raised(say({"error": {"message": "x", "code": code, "error_subcode": code}}))
    assert (error.code, error.subcode) == (read, read)


@pytest.mark.parametrize("none", [0, "0", 0.0])
def test_subcode_0_is_none(say, none):
    error = raised(say({"error": {"message": "x", "code": none, "error_subcode": none}}))
    assert (error.code, error.subcode) == (0, None)


@pytest.mark.parametrize("none", [None, -1, "-1"])
def test_where_the_sdks_put_no_code_the_message_decides(say, none):
    error = {"message": "Session has expired at unix time 1.", "code": none, "error_subcode": none}
    assert numbers(raised(say({"error": error}))) == (None, None, "expired")
    assert numbers(raised(say({"error": error | {"code": 190}}))) == (190, None, "expired")


def test_an_invalid_token_without_a_code(say):
    error = {"message": "Invalid OAuth access token.", "type": "OAuthException"}
    assert numbers(raised(say({"error": error}))) == (None, None, "invalid_token")
    assert numbers(raised(say({"error": error | {"code": -1}}))) == (None, None, "invalid_token")
    assert numbers(raised(say({"error": error | {"code": 100}}))) == (100, None, None)


@pytest.mark.parametrize(
    "junk",
    [True, False, None, 190.5, [190], {"code": 190}, "", " 190", "190 ", "190.0", "٣", "1" * 5000, "x"],
)
def test_what_is_no_number(say, junk):
    error = raised(say({"error": {"message": "x", "code": junk, "error_subcode": junk}}))
    assert numbers(error) == (None, None, None)


def test_a_boolean_is_not_code_1(say):
    assert raised(say({"error": {"message": "x", "code": True}})).reason is None
    assert raised(say({"error": {"message": "x", "code": 1}})).reason == "unavailable"


@pytest.mark.parametrize("junk", [5, True, ["x"], {"a": "b"}, None], ids=repr)
def test_texts_of_another_type(say, junk):
    names = ("message", "type", "error_user_title", "error_user_msg", "fbtrace_id")
    error = raised(say({"error": dict.fromkeys(names, junk) | {"code": 190, "error_subcode": 463}}))
    assert (error.message, error.type) == ("", "")
    assert (error.user_title, error.user_message, error.fbtrace_id) == (None, None, None)
    assert numbers(error) == (190, 463, "expired")


@pytest.mark.parametrize("value", ["true", 1, "1", [True], None, False])
def test_only_true_is_transient(say, value):
    assert raised(say({"error": EXPIRED | {"is_transient": value}})).reason == "expired"
    assert raised(say({"error": EXPIRED | {"is_transient": True}})).reason == "unavailable"


def test_the_subcode_in_the_spelling_of_debug_token(say):
    error = {"message": "x", "code": 190, "subcode": 460}
    assert numbers(raised(say({"error": error}))) == (190, 460, "password_changed")
    for none in (None, 0, "", -1):
        assert numbers(raised(say({"error": error | {"error_subcode": none}})))[1] == 460
    assert numbers(raised(say({"error": error | {"error_subcode": 463}})))[1] == 463


# -- other shapes --------------------------------------------------------------------------------------


def test_the_legacy_top_level(say):
    body = {
        "error_code": 190,
        "error_msg": "Error validating access token.",
        "error_subcode": 463,
        "error_reason": "x",
        "error_data": '{"a": 1}',
        "error_user_msg": "Bitte.",
    }
    error = raised(say(body))
    assert numbers(error) == (190, 463, "expired")
    assert (error.message, error.type) == ("Error validating access token.", "OAuthException")
    assert (error.error_data, error.user_message) == ({"a": 1}, "Bitte.")


def test_the_legacy_top_level_on_http_200():
    """The REST API answered 200 whatever happened."""
    error = raised(
        response({"error_code": "102", "error_msg": "Session key invalid or no longer valid"}, 200)
    )
    assert numbers(error) == (102, None, "invalid_token")


def test_the_legacy_top_level_with_half_of_it(say):
    assert numbers(raised(say({"error_code": 190}))) == (190, None, "invalid_token")
    said = raised(say({"error_code": None, "error_msg": "Session has expired"}))
    assert numbers(said) == (None, None, "expired")


@pytest.mark.parametrize("code", [0, "0", 0.0, None, False, ""])
@pytest.mark.parametrize("more", [{}, {"error_msg": None}, {"error_msg": ""}], ids=repr)
def test_error_code_0_of_a_success(code, more):
    body = {"id": "1", "error_code": code, **more}
    for answer in (body, response(body, 200), {"code": 200, "headers": [], "body": json.dumps(body)}):
        assert raise_for_graph_error(answer) is answer


def test_a_bare_error(say):
    body = {"code": 190, "message": "Some words.", "error_subcode": 467, "type": "OAuthException"}
    assert numbers(raised(say(body))) == (190, 467, "logged_out")


def test_a_bare_code_keeps_its_number_when_the_call_has_failed():
    """PHP's SDK takes these, too."""
    assert numbers(raised(response({"code": 190, "error_subcode": 463}, 400))) == (190, 463, "expired")


def test_the_error_of_the_login_endpoints(say):
    error = raised(say({"error": "invalid_grant", "error_description": "Some words."}))
    assert (error.type, error.message, *numbers(error)) == ("invalid_grant", "Some words.", None, None, None)
    error = raised(say({"error": "temporarily_unavailable"}))
    assert (error.type, error.message) == ("temporarily_unavailable", "temporarily_unavailable")


@pytest.mark.parametrize(
    "body",
    [
        {"id": "1", "message": "Hello, world"},
        {"id": "1", "code": 190},
        {"id": "1", "message": "Hello", "code": "SUMMER10"},
        {"id": "1", "message": "Session has expired", "code": 190},
        {"message": "Session has expired", "code": 190, "error_subcode": 463},
        {"id": "1", "error": None},
        {"id": "1", "error": ""},
        {"id": "1", "type": "OAuthException", "is_transient": True},
        {"id": "1", "error_subcode": 463, "error_user_msg": "x"},
        {"id": "1", "code": 404, "body": "Hello"},
        {"id": "1", "code": 500, "body": '{"error": {"code": 190}}'},
        {"data": [{"error": {"code": 190}}]},
        {"data": {"error": {"code": 190, "subcode": 463}, "is_valid": False}},
        {"data": []},
        {"success": True},
        {},
        [],
        [{"error": {"code": 190}}],
        True,
        False,
        None,
        5,
        0,
        1.5,
        "text",
    ],
    ids=repr,
)
def test_successes_that_look_like_errors(body):
    """What Graph sends with HTTP 200 is no error for having a field of a name."""
    answer = response(body, 200)
    assert raise_for_graph_error(answer) is answer


@pytest.mark.parametrize(
    "body",
    [
        {"id": "1", "message": "Session has expired"},
        {"id": "1", "code": 190},
        {"id": "1", "message": "Hello", "code": "SUMMER10"},
        {"id": "1", "message": "Hello", "code": True},
        {"id": "1", "message": ["x"], "code": 190},
        {"id": "1", "error": None},
        {"data": []},
        {},
        [],
        [{"error": {"code": 190}}],
        [{"code": 400, "body": "{}"}],
        True,
        False,
        None,
        5,
        1.5,
    ],
    ids=repr,
)
def test_decoded_successes(body):
    assert raise_for_graph_error(body) is body


def test_success_without_a_body():
    for answer in (response(b"", 200), response(b"", 204), response(b"", 304), response(b"<html>", 200)):
        assert raise_for_graph_error(answer) is answer


# -- answers without an error in them ------------------------------------------------------------------


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"", b"null", b"[]", b"{}", b'{"data": []}'])
@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_a_broken_gateway_is_no_answer(body, status):
    error = raised(response(body, status))
    assert (error.is_transient, error.reason, error.category) == (True, "unavailable", "transient")
    assert (error.code, error.subcode, error.type) == (None, None, "")
    assert str(status) in error.message


@pytest.mark.parametrize(
    "body", [b"<html>Not Found</html>", b"", b"null", b"[]", b"{}", b'"Session has expired"']
)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 499])
def test_a_client_error_without_an_error_is_the_applications_own(body, status):
    error = raised(response(body, status))
    assert (error.is_transient, error.reason, error.category) == (False, None, "other")
    assert (error.code, error.subcode, error.type) == (None, None, "")
    assert str(status) in error.message


def test_a_body_of_html_is_not_quoted():
    assert "html" not in raised(response(b"<html>" + TOKEN.encode(), 404)).message


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"error":' * 100_000,
        b'{"error": {"code": 190, "error_data": ' + b"[" * 100_000,
        b"\xff\xfe\xfa",
        b'{"error": {"code": 190}',
        b'{"error": {"code": ' + b"1" * 5000 + b"}}",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_bodies_that_nobody_can_read(body):
    error = raised(response(body, 400))
    assert (error.reason, error.code) == (None, None)
    assert raised(response(body, 500)).reason == "unavailable"


@pytest.mark.parametrize("depth", [100, 500, 900, 950, 990, 2000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_error_data_as_deep_as_it_may_be(depth, opening):
    """However deep: what is said of the token is heard."""
    text = opening * depth + "1" + ("]" if opening == "[" else "}") * depth
    error = raised({"error": EXPIRED | {"error_data": text}})
    assert numbers(error) == (190, 463, "expired")


@pytest.mark.parametrize("depth", [100, 300, 900, 2000, 50_000])
def test_error_data_as_deep_as_a_decoder_gave_it(depth):
    data: dict[str, object] = {}
    for _ in range(depth):
        data = {"a": data}
    assert numbers(raised({"error": EXPIRED | {"error_data": data}})) == (190, 463, "expired")


@pytest.mark.parametrize("code", [200, None])
@pytest.mark.parametrize("depth", [10, 2000, 50_000])
def test_batch_items_in_batch_items(depth, code):
    body: object = {"id": "1"}
    for _ in range(depth):
        body = {"code": code, "body": body}
    assert raise_for_graph_error(body) is body


# -- batch items -----------------------------------------------------------------------------------------


def item(body: object, code: object = 400, **headers: str) -> dict[str, object]:
    pairs = [{"name": name.replace("_", "-"), "value": value} for name, value in headers.items()]
    return {"code": code, "headers": pairs, "body": body}


def test_an_item_that_failed():
    error = raised(item(json.dumps({"error": EXPIRED}), 403))
    assert numbers(error) == (190, 463, "expired")
    assert error.fbtrace_id == "AbC"


def test_an_item_is_read_alone():
    items = [item('{"id": "1"}', 200), item(json.dumps({"error": EXPIRED}))]
    assert raise_for_graph_error(items) is items
    assert raise_for_graph_error(items[0]) is items[0]
    assert raised(items[1]).reason == "expired"


@pytest.mark.parametrize(
    "body", ['{"id": "1", "message": "x", "code": 190}', "true", "null", "[]", "5", '"x"']
)
def test_items_that_succeeded(body):
    one = item(body, 200)
    assert raise_for_graph_error(one) is one


def test_an_item_that_was_not_finished():
    assert raise_for_graph_error(None) is None


@pytest.mark.parametrize("body", [None, "", "{", "<html>", "[" * 100_000, b"\xff", 5, True])
def test_an_item_with_a_broken_body_is_known_by_its_code(body):
    assert raise_for_graph_error(one := item(body, 200)) is one
    assert raised(item(body, 500)).reason == "unavailable"
    assert raised(item(body, "502")).reason == "unavailable"
    assert raised(item(body, 404)).reason is None


def test_an_item_whose_body_is_decoded_already():
    assert raised(item({"error": EXPIRED})).reason == "expired"


def test_an_item_without_headers():
    assert raised({"code": 400, "body": json.dumps({"error": EXPIRED})}).reason == "expired"


@pytest.mark.parametrize("name", [BUSINESS, BUSINESS.lower(), BUSINESS.upper()])
def test_the_usage_headers_of_an_item(name):
    body = json.dumps({"error": {"message": "x", "code": 80001}})
    headers = [{"name": "Content-Type", "value": "text/javascript"}, {"name": name, "value": FIVE_MINUTES}]
    error = raised({"code": 400, "headers": headers, "body": body})
    assert (error.reason, error.retry_after) == ("throttled", 300)


@pytest.mark.parametrize(
    "headers",
    [None, {}, {BUSINESS: FIVE_MINUTES}, "x", 5, [None], [[BUSINESS, FIVE_MINUTES]], [{"name": 5}], [{}]],
    ids=repr,
)
def test_headers_of_an_item_in_another_form(headers):
    error = raised({"code": 400, "headers": headers, "body": '{"error": {"code": 4}}'})
    assert (error.reason, error.retry_after) == ("throttled", None)


def test_the_usage_headers_of_a_response():
    answer = response({"error": {"code": 80001, "message": "x"}}, headers={BUSINESS: FIVE_MINUTES})
    assert raised(answer).retry_after == 300
    account = {"X-Ad-Account-Usage": '{"acc_id_util_pct": 100, "reset_time_duration": 17}'}
    assert raised(response({"error": {"code": 17}}, headers=account)).retry_after == 17
    assert raised(response({"error": {"code": 17}})).retry_after is None


def test_a_fingerprint_goes_into_the_exception_as_it_is():
    for fingerprint in (None, "", "0123456789ab"):
        error = read_error({"error": EXPIRED}, fingerprint=fingerprint)
        assert error is not None
        assert error.token_fingerprint == fingerprint
        inside = read_error(item(json.dumps({"error": EXPIRED})), fingerprint=fingerprint)
        assert inside is not None
        assert inside.token_fingerprint == fingerprint


# -- Graph quotes tokens ---------------------------------------------------------------------------------


def quoting(token: str) -> Iterator[tuple[str, dict[str, object]]]:
    """Give bodies that quote a token in every text they have."""
    quote = f"Malformed access token {token}"
    for name in ("message", "error_user_title", "error_user_msg", "type", "fbtrace_id", "error_data"):
        yield name, {"error": EXPIRED | {name: quote}}
        yield f"{name} alone", {"error": EXPIRED | {name: token}}
    for label, words in {
        "quoted": f'access token "{token}"',
        "in brackets": f"({token})",
        "behind a new line": f"\n{token}",
        "behind a letter": f"ü{token}",
        "before a backslash": f"a\t{token}\\",
        "alone": token,
    }.items():
        yield f"in data, {label}", {"error": EXPIRED | {"error_data": {"a": [{"b": words}]}}}
        yield f"in data as text, {label}", {"error": EXPIRED | {"error_data": json.dumps({"a": words})}}
    yield "key of data", {"error": EXPIRED | {"error_data": {token: 1}}}
    yield "legacy", {"error_code": 190, "error_msg": quote, "error_data": {"a": token}}
    yield "bare", {"code": 190, "message": quote}
    yield "login", {"error": token, "error_description": quote}


QUOTES = [name for name, _ in quoting(TOKEN)]


def caught_here(answer: object, **more: Any) -> OAuthException:
    try:
        raise_for_graph_error(answer, **more)
    except OAuthException as exc:
        return exc
    raise AssertionError("it did not raise")


def leaks(error: OAuthException, token: str) -> list[str]:
    shown = {
        "str": str(error),
        "repr": repr(error),
        "args": repr(error.args),
        "vars": repr(vars(error)),
        "traceback": "".join(traceback.format_exception(error)),
        "locals": shown_locals(traceback.walk_tb(error.__traceback__)),
        "everything": shown_exception(error),
    }
    assert "raise_for_graph_error" in shown["locals"]
    return [name for name, text in shown.items() if token in text or token[3:-3] in text]


@pytest.mark.parametrize("name", QUOTES)
@pytest.mark.parametrize("token", [TOKEN, STRANGE, APP_TOKEN], ids=["user", "strange", "app"])
def test_the_token_of_the_call_is_hidden_wherever_graph_quotes_it(name, token):
    body = dict(quoting(token))[name]
    assert leaks(caught_here(response(body, token=token)), token) == []


@pytest.mark.parametrize("name", QUOTES)
@pytest.mark.parametrize("token", [TOKEN, APP_TOKEN], ids=["user", "app"])
def test_what_looks_like_a_token_is_hidden_whoever_has_sent_it(name, token):
    body = dict(quoting(token))[name]
    for answer in (response(body, token=None), body, item(json.dumps(body))):
        assert leaks(caught_here(answer), token) == []


@pytest.mark.parametrize("name", QUOTES)
def test_the_token_that_was_named_is_hidden(name):
    body = dict(quoting(STRANGE))[name]
    for answer in (response(body), body, item(json.dumps(body))):
        assert leaks(caught_here(answer, token=STRANGE), STRANGE) == []


@pytest.mark.parametrize("name", QUOTES)
def test_the_token_of_the_request_is_hidden_in_a_decoded_body(guard, name):
    """A body alone is about this request's token, whatever that looks like."""
    scope = http_scope()
    inject(scope, guard, guard.check(TOKEN), token=Secret(STRANGE))
    body = dict(quoting(STRANGE))[name]
    with entered(scope):
        for answer in (body, item(json.dumps(body))):
            assert leaks(caught_here(answer), STRANGE) == []


def test_what_is_hidden_is_still_understood():
    for token in (TOKEN, STRANGE):
        error = raised(
            response({"error": {"message": f"Malformed access token {token}", "code": 190}}, token=token)
        )
        assert (error.message, error.reason) == ("Malformed access token ***", "malformed_token")


def test_words_that_are_no_token_stay():
    texts = [
        "Invalid OAuth access token - Cannot parse access token",
        "An active access token must be used to query information about the current user.",
        "The access token could not be decrypted",
        "Error validating access token: Session has expired on Friday, 12-Aug-22 05:00:00 PDT.",
        "(#200) Requires pages_manage_posts permission to manage the object",
        "Unsupported get request. Object with ID '1234567890123456' does not exist",
    ]
    for text in texts:
        assert raised(response({"error": {"message": text, "code": 190}})).message == text


@pytest.mark.parametrize(
    "answer", [response({"error": EXPIRED}), {"error": EXPIRED}], ids=["response", "decoded"]
)
def test_an_empty_token_does_not_garble_the_message(answer):
    assert raised(answer, token="").message == EXPIRED["message"]


def test_no_exception_hangs_on_the_exception():
    """What the decoder said holds the body."""
    for body in (b"<html>", b"\xff", b'{"error": {"code": 190, "error_data": "{"}}'):
        error = raised(response(body, 400))
        assert error.__cause__ is None
        assert error.__context__ is None
