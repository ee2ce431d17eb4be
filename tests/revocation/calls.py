"""Facebook's half: signed calls, and sessions that remember what was asked of them."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import io
import json
from typing import Any
from urllib.parse import urlencode

from fbguard.core.answers import Answer
from fbguard.core.secret import Secret
from fbguard.core.served import Request
from fbguard.mounts import MountedASGI, MountedWSGI
from fbguard.revocation.callbacks import Callbacks
from tests.support import NOW, SECRET, call_asgi, call_wsgi, http_scope, wsgi_environ

VERIFY_TOKEN = "correct horse"
FORM = ("content-type", "application/x-www-form-urlencoded")
JSON = ("content-type", "application/json")
HOST = ("host", "api.example.com")


class FakeSessions:
    """Records each effect once it is stored; ``lost`` is what it raises instead, for one user or for all."""

    def __init__(self) -> None:
        self.ended: list[tuple[str, float]] = []
        self.forgotten: list[str] = []
        self.lost: BaseException | None = None
        self.lost_for: set[str] | None = None
        self.under_way = 0
        self.most = 0
        self.loops: list[asyncio.AbstractEventLoop] = []
        self.hangs = False

    @property
    def effects(self) -> int:
        return len(self.ended) + len(self.forgotten)

    async def end_user(self, user_id: str, at: float) -> None:
        await self._stored(user_id)
        self.ended.append((user_id, at))

    async def forget_user(self, user_id: str) -> None:
        await self._stored(user_id)
        self.forgotten.append(user_id)

    async def _stored(self, user_id: str) -> None:
        self.loops.append(asyncio.get_running_loop())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(0)  # as with a store on a network
            if self.hangs:
                await asyncio.Event().wait()
            if self.lost is not None and (self.lost_for is None or user_id in self.lost_for):
                raise self.lost
        finally:
            self.under_way -= 1


def make_callbacks(sessions: FakeSessions | None = None, **options: Any) -> Callbacks:
    secrets = [Secret(secret) for secret in options.pop("secrets", [SECRET])]
    wired: dict[str, Any] = {"now": lambda: float(NOW), "verify_token": VERIFY_TOKEN}
    return Callbacks(sessions or FakeSessions(), secrets, **(wired | options))


# -- what Facebook sends -----------------------------------------------------------------------------------


def signed_request(secret: str = SECRET, **changes: object) -> str:
    payload = {"algorithm": "HMAC-SHA256", "issued_at": NOW, "user_id": "1001"} | changes
    text = _encoded(json.dumps({key: value for key, value in payload.items() if value is not ...}).encode())
    return f"{_encoded(hmac.digest(secret.encode(), text.encode(), hashlib.sha256))}.{text}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def form(signed: str | None = None, **changes: object) -> bytes:
    return urlencode({"signed_request": signed_request(**changes) if signed is None else signed}).encode()


def posted(path: str, body: bytes, *headers: tuple[str, str], **more: Any) -> Request:
    kept = [pair for pair in (FORM, HOST) if pair[0] not in {name for name, _ in headers}]
    return Request("POST", path, headers=[*kept, *headers], body=body, **more)


def event_body(*users: str, about: str = "permissions") -> bytes:
    entries = [
        {"id": user, "uid": user, "time": NOW, "changes": [{"field": "email", "value": {"verb": "revoked"}}]}
        for user in users
    ]
    return json.dumps({"object": about, "entry": entries}).encode()


def hub_signature(body: bytes, secret: str = SECRET, algorithm: str = "sha256") -> str:
    return f"{algorithm}={hmac.new(secret.encode(), body, algorithm).hexdigest()}"


def event(body: bytes, *headers: tuple[str, str], signature: str | None = None) -> Request:
    signature = hub_signature(body) if signature is None else signature
    return Request(
        "POST", "/webhook", headers=[JSON, ("x-hub-signature-256", signature), *headers], body=body
    )


def handshake(**changes: str) -> Request:
    fields = {"mode": "subscribe", "challenge": "1158201444", "verify_token": VERIFY_TOKEN} | changes
    return Request("GET", "/webhook", urlencode({f"hub.{name}": value for name, value in fields.items()}))


def answer(callbacks: Callbacks, request: Request) -> Answer:
    """Answer one request on a loop of its own."""
    with asyncio.Runner() as runner:
        return runner.run(callbacks.answer(request))


def header(answer: Answer, name: str) -> str | None:
    values = [value for key, value in answer.headers if key.lower() == name.lower()]
    assert len(values) < 2, f"{name} is there twice"
    return values[0] if values else None


# -- through a mount ---------------------------------------------------------------------------------------


class Mount:
    """The callbacks in one protocol, and one way to call them."""

    def __init__(self, kind: str, sessions: FakeSessions, **options: Any) -> None:
        self.kind = kind
        callbacks = make_callbacks(sessions, **options)
        self.app: Any = MountedASGI(callbacks) if kind == "asgi" else MountedWSGI(callbacks)

    def call(self, method, path, body=b"", *headers, query="", pieces=1, length=True, root="", scheme="http"):
        if self.kind == "wsgi":
            return self._call_wsgi(method, path, body, headers, query, length, root, scheme)
        size = max(1, -(-len(body) // pieces))
        parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
        messages = [
            {"type": "http.request", "body": part, "more_body": index < len(parts) - 1}
            for index, part in enumerate(parts)
        ]
        if length:
            headers = [*headers, ("content-length", str(len(body)))]
        scope = http_scope(
            root + path, method, headers, query_string=query.encode("latin-1"), root_path=root, scheme=scheme
        )
        return asyncio.run(send(self.app, scope, messages))

    def _call_wsgi(self, method, path, body, headers, query, length, root, scheme):
        more: dict[str, Any] = (
            {"CONTENT_LENGTH": str(len(body))} if length else {"wsgi.input_terminated": True}
        )
        for name, value in headers:
            if name == "content-type":
                more["CONTENT_TYPE"] = value
        environ = wsgi_environ(
            path, method, [pair for pair in headers if pair[0] != "content-type"],
            QUERY_STRING=query, SCRIPT_NAME=root,
            **{"wsgi.input": io.BytesIO(body), "wsgi.url_scheme": scheme}, **more,
        )  # fmt: skip
        return call_wsgi(self.app, environ)

    def deauthorize(self, **changes):
        return self.call("POST", "/deauthorize", form(**changes), FORM, HOST)

    def event(self, body, *headers, **how):
        return self.call(
            "POST", "/webhook", body, JSON, ("x-hub-signature-256", hub_signature(body)), *headers, **how
        )


async def send(app, scope, messages):
    """Call an ASGI app whose client sends these messages, then leaves."""
    sent: list[dict[str, Any]] = []
    waiting = iter([*messages, {"type": "http.disconnect"}])

    async def receive():
        return next(waiting)

    async def record(message):
        sent.append(message)

    await app(scope, receive, record)
    if not sent:
        return None

    async def replay(_scope, _receive, send_):
        for message in sent:
            await send_(message)

    return await call_asgi(replay, scope)
