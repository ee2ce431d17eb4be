"""What is said on the wire, in no protocol's words yet."""

from __future__ import annotations

from dataclasses import dataclass

from fbguard.core.reasons import Action, AuthType


@dataclass(frozen=True, slots=True)
class Relogin:
    """How the person gets back in: the ``relogin`` member of a refusal's body.

    ``url`` is Facebook's login dialog, without ``state`` (whoever follows it adds their own), or the app's
    own login if it has one (``Guard.login_asgi``); None without a ``redirect_uri``. ``scopes`` are what the
    dialog should ask for. ``retry_after`` is seconds. ``message`` is English; the client gets it in its own
    language (:func:`fbguard.core.rendering.render`).
    """

    action: Action
    url: str | None
    auth_type: AuthType | None
    scopes: tuple[str, ...]
    retry_after: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A response in no protocol's words: ``headers`` are (name, value) pairs, ``body`` is bytes."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
