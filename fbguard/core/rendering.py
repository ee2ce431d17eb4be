"""A refusal as the wire sees it: status, headers, and the body that the client prefers. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from fbguard.core import messages
from fbguard.core.answers import Answer, Relogin
from fbguard.core.html import PAGE_HEADERS
from fbguard.core.reasons import Reason
from fbguard.core.refusal_page import page, prefers_page

_PROBLEM_HEADERS: Final = (("Content-Type", "application/problem+json"),)


def render(
    reason: Reason,
    *,
    code: int | None,
    subcode: int | None,
    relogin: Relogin,
    challenge: str | None,
    accept: str | None,
    language: str | None,
    back: str | None = None,
    is_safe: bool = True,
) -> Answer:
    """Render a refusal as ``application/problem+json`` (RFC 9457), or as a page for a browser.

    ``challenge`` is the value of ``WWW-Authenticate`` or None; ``accept`` and ``language`` are the
    request's Accept and Accept-Language; ``back`` is where the page's login leads in the end;
    ``is_safe`` tells that a link to the same address does the same. Status and challenge are the same for
    both kinds of body.
    """
    tag = messages.choose(language)
    if prefers_page(accept):
        kind: Sequence[tuple[str, str]] = PAGE_HEADERS
        body = page(
            reason, code=code, subcode=subcode, relogin=relogin, language=tag, back=back, is_safe=is_safe
        )
    else:
        kind = _PROBLEM_HEADERS
        body = json.dumps(problem(reason, code=code, subcode=subcode, relogin=relogin, language=tag)).encode()
    headers = [
        *kind,
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


def problem(
    reason: Reason, *, code: int | None, subcode: int | None, relogin: Relogin, language: str
) -> dict[str, object]:
    """Return the members of a problem body; all are always there, what is unknown is None."""
    return {
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
            "message": messages.message(reason.name, language),
        },
    }
