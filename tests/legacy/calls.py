"""Calls of the legacy endpoint, signed as clients of 2009 did it, and what they end."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from fbguard.core.answers import Answer
from fbguard.core.secret import Secret
from fbguard.legacy.endpoint import LegacyEndpoint
from fbguard.legacy.sessions import SessionRegistry

API_KEY = "0123456789abcdef0123456789abcdef"
SECRET = "fedcba9876543210fedcba9876543210"
OLDER = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
SESSION_SECRET = "00112233445566778899aabbccddeeff"
KEY = "3a1f00c0ffee5eed12345678-1337"
TOKEN = "EAABcanaryToken0123456789abcdefghijklmnopqrstuvwxyz"
FORM = {"content-type": "application/x-www-form-urlencoded"}
ENDED = (
    '<?xml version="1.0" encoding="UTF-8"?> <auth_expireSession_response'
    ' xmlns="http://api.facebook.com/1.0/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xsi:schemaLocation="http://api.facebook.com/1.0/http://api.facebook.com/1.0/facebook.xsd">'
    "1</auth_expireSession_response>"
)  # the example of the method's page, letter by letter


@dataclass(frozen=True)
class Request:
    method: str = "POST"
    query: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


class FakeSessions:
    """Writes down what was ended; raises what ``fault`` says instead."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.fault: Exception | None = None

    async def expire(self, token: Secret) -> None:
        await asyncio.sleep(0)  # as to a store: others get their turn
        if self.fault is not None:
            raise self.fault
        self.ended.append(token.reveal())


def signature(parameters: Mapping[str, str], secret: str) -> str:
    """Sign as the wiki says, not as the package does."""
    text = "".join(f"{key}={parameters[key]}" for key in sorted(parameters, key=str.encode) if key != "sig")
    return hashlib.md5((text + secret).encode()).hexdigest()


def parameters(secret: str = SECRET, /, **changes: str | None) -> dict[str, str]:
    """Return the parameters of a good call, with changes that are signed, too; None takes one out."""
    plain = {"method": "auth.expireSession", "api_key": API_KEY, "session_key": KEY, "v": "1.0"}
    chosen = {key: value for key, value in (plain | changes).items() if value is not None}
    return {"sig": signature(chosen, secret), **chosen}


def post(sent: Mapping[str, str]) -> Request:
    return Request("POST", "", FORM, urlencode(sent).encode())


def get(sent: Mapping[str, str]) -> Request:
    return Request("GET", urlencode(sent))


class Service:
    """An endpoint of one app in which one session is registered."""

    def __init__(self) -> None:
        self.sessions = FakeSessions()
        self.registry = SessionRegistry()
        self.registry.register(Secret(KEY), Secret(TOKEN), Secret(SESSION_SECRET))
        self.endpoint = LegacyEndpoint(API_KEY, [Secret(SECRET), Secret(OLDER)], self.sessions, self.registry)

    @property
    def ended(self) -> list[str]:
        return self.sessions.ended

    def ask(self, request: Request) -> Answer:
        return asyncio.run(self.endpoint(request))

    def post(self, secret: str = SECRET, /, **changes: str | None) -> Answer:
        return self.ask(post(parameters(secret, **changes)))

    def code(self, request: Request) -> int:
        """Return the error code of the answer, 0 for success; which is what every answer has to be."""
        return code_of(self.ask(request))


def code_of(answer: Answer) -> int:
    assert answer.status == 200
    text = answer.body.decode()
    if text == ENDED:
        return 0
    return int(text.partition("<error_code>")[2].partition("</error_code>")[0])
