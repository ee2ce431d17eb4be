"""Limited Login: its ID tokens, and where their keys are published. Needs ``fbguard[jwt]``."""

from __future__ import annotations

import secrets
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from fbguard.sandbox import arguments, tokens
from fbguard.sandbox.wire import json_reply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fbguard.sandbox.clock import SandboxClock
    from fbguard.sandbox.wire import Reply, Request
    from fbguard.sandbox.world import World

PATH: Final = "/.well-known/oauth/openid/jwks"

_CENTURY: Final = 100 * 365 * 86_400  # seconds
_ISSUER: Final = "https://www.facebook.com"
# What a permission of Limited Login puts into the token.
_CLAIMS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType({
    "public_profile": {
        "name": "Alex Example",
        "given_name": "Alex",
        "family_name": "Example",
        "picture": "https://platform-lookaside.fbsbx.com/platform/profilepic/",
    },
    "email": {"email": "alex@example.com"},
    "user_friends": {"user_friends": []},
    "user_birthday": {"user_birthday": "01/02/1990"},
    "user_age_range": {"user_age_range": {"min": 21}},
    "user_hometown": {"user_hometown": {"id": "110000000000001", "name": "Bandung"}},
    "user_location": {"user_location": {"id": "110000000000002", "name": "Jakarta"}},
    "user_gender": {"user_gender": "female"},
    "user_link": {"user_link": "https://www.facebook.com"},
})  # fmt: skip


def jwks(world: World, _request: Request, _now: float) -> Reply:
    """Answer with the keys of now."""
    return json_reply({"keys": world.signing_keys.published()})


class IssuesIdTokens:
    """The part of a :class:`fbguard.sandbox.Sandbox` that is Limited Login."""

    _world: World
    _clock: SandboxClock

    def issue_id_token(
        self,
        *,
        user_id: str | None = None,
        permissions: Iterable[str] = ("public_profile", "email"),
        expires_in: float = 3600,
        nonce: str | None = None,
        app_id: str | None = None,
        claims: Mapping[str, object] | None = None,
    ) -> str:
        """Log a person in with Limited Login and return the ID token that the app gets.

        ``permissions`` are those of Limited Login: each puts its claims in. ``expires_in`` is seconds from
        now, a negative one past; ``user_id`` and ``nonce`` are new ones unless given. With another ``app_id``
        the token is that app's. ``claims`` are put in last; one that is None is left out. ImportError without
        joserfc.
        """
        granted = arguments.scope_names("permissions", permissions)
        if unknown := [name for name in granted if name not in _CLAIMS]:
            raise ValueError(f"permissions: Limited Login has no {', '.join(unknown)}")
        now = int(self._clock.time())
        content: dict[str, object] = {
            "iss": _ISSUER,
            "aud": self._world.app.app_id if app_id is None else arguments.digits("app_id", app_id),
            "sub": tokens.mint_id() if user_id is None else arguments.digits("user_id", user_id),
            "iat": now,
            "exp": now + int(arguments.number("expires_in", expires_in, -_CENTURY, _CENTURY)),
            "jti": secrets.token_hex(16),
            "nonce": secrets.token_hex(16) if nonce is None else arguments.text("nonce", nonce),
        }
        for name in granted:
            content |= _CLAIMS[name]
        content |= arguments.members("claims", claims)
        given = {name: value for name, value in content.items() if value is not None}
        return self._world.signing_keys.sign(given)

    def rotate_signing_keys(self, *, keep_old: bool = True) -> None:
        """Sign ID tokens with a new key; ``keep_old=False`` ends those under the old ones."""
        self._world.signing_keys.rotate(keep_old=arguments.flag("keep_old", keep_old))
