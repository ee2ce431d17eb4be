"""What Facebook posts to an app's callbacks, signed by the sandbox's secret; whoever has it sends it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, TypedDict

from fbguard.sandbox import arguments

if TYPE_CHECKING:
    from fbguard.sandbox.clock import SandboxClock
    from fbguard.sandbox.world import World


class Event(TypedDict):
    """An event as it is posted to ``/webhook``: ``headers`` hold the signature of exactly this ``body``."""

    body: str
    headers: dict[str, str]


class SignsCallbacks:
    """The part of a :class:`fbguard.sandbox.Sandbox` that speaks as Facebook to an app."""

    _world: World
    _clock: SandboxClock

    def signed_request(self, user_id: str, **fields: object) -> str:
        """Return what Facebook posts to the deauthorize and the data deletion callback about a person.

        It goes as the form field ``signed_request``. ``fields`` are members of its JSON, such as
        ``issued_at`` (unix seconds, now unless given); one that is None is left out.
        """
        members: dict[str, object] = {
            "algorithm": "HMAC-SHA256",
            "issued_at": int(self._clock.time()),
            "user_id": arguments.digits("user_id", user_id),
        }
        members |= fields
        payload = _encoded(_json({name: value for name, value in members.items() if value is not None}))
        return f"{_encoded(self._mac(payload.encode()))}.{payload}"

    def permissions_event(self, user_id: str, field: str = "email", verb: str = "revoked") -> Event:
        """Return the webhook event that a person granted or revoked a permission.

        It says so and changes nothing: what the person's tokens may do is for other methods.
        """
        user = arguments.digits("user_id", user_id)
        nobody: list[str] = []
        change = {
            "field": arguments.text("field", field),
            "value": {"verb": arguments.text("verb", verb), "target_ids": nobody},
        }
        entry = {"id": user, "uid": user, "time": int(self._clock.time()), "changes": [change]}
        body = _json({"object": "permissions", "entry": [entry]})
        headers = {
            "Content-Type": "application/json",
            "X-Hub-Signature-256": f"sha256={self._mac(body).hex()}",
        }
        return Event(body=body.decode(), headers=headers)

    def _mac(self, message: bytes) -> bytes:
        return hmac.digest(self._world.app.secret.encode(), message, hashlib.sha256)


def _json(value: object) -> bytes:
    try:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise ValueError("the fields must be what JSON can say") from None  # and repeat no value


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
