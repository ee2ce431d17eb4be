"""What the sandbox signs as Facebook, read by the readers of a guard's callbacks and by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fbguard.core.secret import Secret
from fbguard.facebook import signed_request, webhook
from fbguard.facebook.signed_request import BadSignedRequest
from fbguard.sandbox import Sandbox
from fbguard.sandbox.control import control
from fbguard.sandbox.wire import Request

OTHER = "0f" * 16


def read(sandbox: Sandbox, text: str, secret: str | None = None) -> signed_request.SignedRequest:
    return signed_request.read(text, [Secret(secret or sandbox.app_secret)], sandbox.clock.time())


def test_a_signed_request_is_read_as_facebooks() -> None:
    sandbox = Sandbox()
    said = read(sandbox, sandbox.signed_request("42"))
    assert (said.user_id, said.issued_at) == ("42", pytest.approx(sandbox.clock.time(), abs=60))
    with pytest.raises(BadSignedRequest, match="signature"):
        read(sandbox, sandbox.signed_request("42"), OTHER)


def test_fields_are_added_replaced_and_left_out() -> None:
    sandbox = Sandbox()
    assert read(sandbox, sandbox.signed_request("42", expires=7)).payload["expires"] == 7
    with pytest.raises(BadSignedRequest, match="too old"):
        read(sandbox, sandbox.signed_request("42", issued_at=1))
    with pytest.raises(BadSignedRequest, match="issued_at"):
        read(sandbox, sandbox.signed_request("42", issued_at=None))


def test_it_is_issued_by_the_sandboxs_clock() -> None:
    sandbox = Sandbox()
    text = sandbox.signed_request("42")
    sandbox.clock.advance(signed_request.MAX_AGE + 2)
    with pytest.raises(BadSignedRequest, match="too old"):
        read(sandbox, text)
    assert read(sandbox, sandbox.signed_request("42")).user_id == "42"


def test_an_event_names_the_person_and_is_signed_as_it_stands() -> None:
    sandbox = Sandbox()
    event = sandbox.permissions_event("42")
    body = event["body"].encode()
    signature = webhook.signature([event["headers"]["X-Hub-Signature-256"]])
    assert signature is not None
    assert signed_request.is_signed([Secret(sandbox.app_secret)], body, signature)
    assert not signed_request.is_signed([Secret(sandbox.app_secret)], body + b" ", signature)
    assert webhook.read(body) == webhook.Event(("42",))


@pytest.mark.parametrize("bad", ["", "4 2", "me", None, 42])
def test_a_person_is_named_by_an_id(bad: Any) -> None:
    sandbox = Sandbox()
    for make in (sandbox.signed_request, sandbox.permissions_event):
        with pytest.raises((TypeError, ValueError), match="user_id"):
            make(bad)


@pytest.mark.parametrize("bad", [float("nan"), {1}, b"x"])
def test_what_json_cannot_say_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Sandbox().signed_request("42", extra=bad)


def test_both_are_there_for_other_programs() -> None:
    sandbox = Sandbox()

    def ask(method: str) -> Any:
        reply = control(sandbox, Request.of("POST", f"/sandbox/{method}", body=b'{"user_id": "42"}'))
        assert reply.status == 200
        return json.loads(reply.body)["result"]

    assert read(sandbox, ask("signed_request")).user_id == "42"
    assert ask("permissions_event")["headers"]["X-Hub-Signature-256"].startswith("sha256=")
