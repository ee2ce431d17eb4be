"""Every way through the doors, with canaries in all places of a request, and what it left anywhere."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from fbguard import Policy, Refused, Requirement, Rule, current_token
from tests.conftest import Door
from tests.support import (
    APP_ID,
    OTHER_APP,
    FakeClock,
    FakeGraph,
    Reply,
    dead,
    envelope,
    facts,
    make_guard,
    valid,
)
from tests.threats.canaries import CANARIES, leaks, shown_exception, shown_locals
from tests.threats.requests import WIDE, ask, bearer, cookie

ECHO, URL = CANARIES["echo"], f"https://graph.facebook.com/debug_token?access_token={APP_ID}%7C"
SECRETS = [CANARIES["app secret"], CANARIES["older app secret"]]


def echoing(reply: Reply) -> Reply:
    """Return what Graph says with the canary in every text of it."""
    said = json.loads(reply.body)
    echo = {"error_user_msg": ECHO, "error_user_title": ECHO, "type": ECHO, "fbtrace_id": ECHO}
    for part in (said.get("error"), said.get("data", {}).get("error")):
        if isinstance(part, dict):
            part.update(echo, message=f"{part.get('message')} {ECHO}")
    if "data" in said:
        said["data"]["metadata"] = {"sso": ECHO}
    headers = (*reply.headers, ("X-Echo", ECHO), ("WWW-Authenticate", ECHO), ("Set-Cookie", f"a={ECHO}"))
    return replace(reply, body=json.dumps(said).encode(), headers=headers)


OUTCOMES: dict[str, Reply | type[Exception]] = {
    "valid": echoing(valid()),
    "page": echoing(valid(type="PAGE", profile_id="7")),
    "expired": echoing(dead(190, 463)),
    "no subcode": echoing(dead(190)),
    "not valid": echoing(valid(is_valid=False)),
    "another app": echoing(OTHER_APP),
    "another app id": echoing(valid(app_id="999")),
    "lapsed": echoing(valid(data_access_expires_at=1)),
    "our credential": echoing(envelope(190, 463)),
    "throttled": echoing(envelope(4)),
    "outage": Reply(ECHO.encode(), 500),
    "garbage": Reply(f'{{"data": "{ECHO}'.encode()),
    "too long": Reply(ECHO.encode() * 1000),
    "duplicate": Reply(f'{{"{ECHO}": 1, "{ECHO}": 2}}'.encode()),
    "odd": Reply(json.dumps({"data": facts(expires_at=ECHO)}).encode()),
    "no UTF-8": Reply(b"\xff" + ECHO.encode()),
    "gzip": Reply(ECHO.encode(), headers=(("Content-Encoding", f"gzip{ECHO}"),)),
    "redirect": Reply(b"", 302, (("Location", f"https://x.example/{CANARIES['redirect']}"),)),
    "network": httpx.ConnectError,
    "time": httpx.ReadTimeout,
    "protocol": httpx.RemoteProtocolError,
    "bug": RuntimeError,
    "operating system": OSError,
}

RULES = Policy(
    Rule("/public/{rest:path}", public=True),
    Rule("/optional/{rest:path}", optional=True),
    Rule("/scoped/{rest:path}", scopes=["ads_read"]),
    Rule("/fresh/{rest:path}", max_login_age=60),
    default=Requirement(token_types=["USER", "PAGE"]),
)
# {rest:path} is a path parameter, which a target is judged by: so only these paths carry the canary.
PATH = f"/x/{CANARIES['path']}"

NOISE = [
    ("Referer", f"https://api.example/?access_token={CANARIES['referer']}"),
    ("X-Access-Token", CANARIES["other header"]),
    ("User-Agent", CANARIES["other header"]),
    ("Accept-Language", f"id, {CANARIES['other header']};q=0.5"),
    ("Accept", f"text/html, {CANARIES['other header']}"),
    ("Proxy-Authorization", f"Bearer {CANARIES['other header']}"),
]
PREFLIGHT = [("Origin", "https://a"), ("Access-Control-Request-Method", CANARIES["other header"])]
USER, QUERY = bearer(CANARIES["user token"]), f"access_token={CANARIES['query token']}"

REQUESTS: list[dict[str, Any]] = [
    {"headers": [USER]},
    {"headers": [USER], "method": "HEAD"},
    {"headers": [USER], "path": "/scoped"},
    {"headers": [USER], "path": "/fresh"},
    {"headers": [USER], "path": f"/a//{CANARIES['path']}"},
    {"headers": [USER], "path": f"/a\n{CANARIES['path']}"},
    {"headers": [bearer(CANARIES["dead token"])]},
    {"headers": [bearer(CANARIES["page token"])]},
    {"headers": [bearer(CANARIES["page token"])], "path": "/optional"},
    {"headers": [bearer(CANARIES["app token"])]},
    {"headers": [bearer(CANARIES["oidc token"])]},
    {"headers": [bearer(CANARIES["malformed token"])]},
    {"headers": [bearer(CANARIES["long token"])]},
    {"headers": [bearer(f"{CANARIES['malformed token']}\xe9\r\n")]},
    {"headers": [("Authorization", f"Basic {CANARIES['token of another scheme']}")]},
    {"headers": [("Authorization", CANARIES["token of another scheme"])]},
    {"headers": [("Authorization", f"\x1b{CANARIES['malformed token']}")]},
    {"headers": [USER, bearer(CANARIES["second token"])]},
    {"headers": [bearer(f"{CANARIES['user token']}, Bearer {CANARIES['second token']}")]},
    {"query": QUERY},
    {"query": f"{QUERY}&access_token={CANARIES['second token']}"},
    {"query": f"access_token={CANARIES['malformed token']}%ff"},
    {"query": QUERY, "headers": [USER]},
    {"query": "a&" * 1500 + QUERY},
    {"headers": [cookie(CANARIES["cookie token"])]},
    {"headers": [cookie(CANARIES["cookie token"])], "method": "POST"},
    {"headers": [cookie(f"{CANARIES['cookie token']}|x")]},
    {"headers": [cookie(CANARIES["cookie token"])], "query": QUERY},
    {"query": QUERY, "path": "/public"},
    {"path": "/optional"},
    {"headers": PREFLIGHT, "method": "OPTIONS"},
    {"headers": [("Authorization", f"Basic {CANARIES['second token']}"), *PREFLIGHT], "method": "OPTIONS"},
]


@dataclass
class Spy:
    """Looks at our frames wherever code of others gets to run inside of them."""

    shown: list[str] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    def look(self) -> None:
        self.shown.append(shown_locals(traceback.walk_stack(sys._getframe())))

    def look_from_the_view(self) -> None:
        self.look()
        info = current_token()
        self.shown.append(f"{info} {info!r} {[getattr(info, name) for name in dir(info)] if info else ''}")


class Hostile(FakeGraph):
    """Says one thing whatever it is asked, and looks around while it is asked."""

    def __init__(self, outcome: Reply | type[Exception], spy: Spy) -> None:
        super().__init__()
        self._outcome, self._spy = outcome, spy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._spy.look()
        if isinstance(self._outcome, Reply):
            self.default = self._outcome
            return await super().handle_async_request(request)
        self.calls.append(request.url.params["input_token"])
        cause = ValueError(f"{request.url} {request.headers} {CANARIES['exception']}")
        raise self._outcome(f"{URL}{SECRETS[0]} {CANARIES['exception']} {request.url}") from cause


@contextmanager
def spied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spy]:
    """Look at every refusal at the moment it is answered, with all frames behind it."""
    spy = Spy()
    answer = Refused.answer

    def looked_at(self: Refused, *args: Any, **kwargs: Any) -> Any:
        spy.shown.append(shown_exception(self))
        spy.look()
        return answer(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Refused, "answer", looked_at)
        yield spy


def sweep(door: Callable[..., Door], spy: Spy, outcome: str, place: str) -> dict[str, set[str]]:
    """Send every request to a door before a Graph that says one thing; return what leaked, by channel."""
    graph = Hostile(OUTCOMES[outcome], spy)
    replies: list[str] = []
    options: dict[str, Any] = {
        "token_from": WIDE,
        "credential_in": place,
        "redirect_uri": "https://app.example/",
    }
    with make_guard(graph, FakeClock(), app_secret=SECRETS, **options) as guard:
        behind = door(guard, policy=RULES, act=spy.look_from_the_view)
        for request in REQUESTS:
            for _ in range(2):
                given = {"path": PATH, **request, "headers": [*NOISE, *request.get("headers", [])]}
                answer = ask(behind, **given)
                spy.statuses.add(answer.status)
                replies.append(f"{answer.status} {answer.headers} {answer.body!r} {answer.messages}")
        assert graph.calls
        inside = [vars(part) for part in vars(guard).values() if hasattr(part, "__dict__")]
        spy.shown.append(f"{guard} {guard!r} {vars(guard)} {inside}")
    found = {"replies": leaks("\n".join(replies)), "locals": leaks("\n".join(spy.shown))}
    return {channel: names for channel, names in found.items() if names}
