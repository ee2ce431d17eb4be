"""A refusal as the wire sees it: status, headers, body; no protocol yet."""

from __future__ import annotations

import json
from dataclasses import dataclass

from fbguard.core import messages
from fbguard.core.reasons import Action, AuthType, Reason


@dataclass(frozen=True, slots=True)
class Relogin:
    """How the person gets back in: the ``relogin`` member of a refusal's body.

    ``url`` is Facebook's login dialog, without ``state`` (whoever follows it adds their own);
    None without a ``redirect_uri``. ``scopes`` are what the dialog should ask for. ``retry_after``
    is seconds. ``message`` is English; :func:`problem` chooses the client's language.
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


def problem(
    reason: Reason,
    *,
    code: int | None,
    subcode: int | None,
    relogin: Relogin,
    challenge: str | None,
    language: str | None,
) -> Answer:
    """Render a refusal as ``application/problem+json`` (RFC 9457).

    ``challenge`` is the value of ``WWW-Authenticate`` or None; ``language`` is the request's
    Accept-Language. All members are always there; what is unknown is null.
    """
    tag = messages.choose(language)
    body = json.dumps({
        "type": f"urn:fbguard:reason:{reason.name}",
        "title": reason.title,
        "status": reason.status,
        "detail": reason.detail,
        "reason": reason.name,
        "code": code,
        "subcode": subcode,
        "relogin": {
            "action": relogin.action,
            "url": relogin.url,
            "auth_type": relogin.auth_type,
            "scopes": list(relogin.scopes),
            "retry_after": relogin.retry_after,
            "message": messages.message(reason.name, tag),
        },
    }).encode()  # fmt: skip
    headers = [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Content-Language", tag),
        ("Cache-Control", "no-store"),
        ("Vary", "Authorization, Accept, Accept-Language"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if challenge is not None:
        headers.append(("WWW-Authenticate", challenge))
    if relogin.retry_after is not None:
        headers.append(("Retry-After", str(relogin.retry_after)))
    return Answer(reason.status, headers, body)
