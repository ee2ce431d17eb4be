"""From a finding to the refusal: the Bearer challenge and the re-login hint. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fbguard.core import messages
from fbguard.core.answers import Relogin
from fbguard.core.errors import Refused
from fbguard.core.reasons import Finding, Reason, row_of
from fbguard.facebook.login import dialog_url

_UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Site:
    """What a refusal needs to know of the guard's configuration.

    ``login`` returns the address of the app's own login for scopes and an auth_type, where it has one: then
    people go there and not straight to Facebook's dialog.
    """

    app_id: str
    realm: str
    dialog_url: str
    graph_version: str
    redirect_uri: str | None
    login: Callable[[tuple[str, ...], str | None], str] | None = None


def refuse(finding: Finding, site: Site, scopes: tuple[str, ...] = ()) -> Refused:
    """Return the exception for a finding; ``scopes`` are what the route asks for in a new login."""
    reason = row_of(finding)
    relogin = Relogin(
        action=reason.action,
        url=_url(reason, site, asked := _asked(reason, finding, scopes)),
        auth_type=reason.auth_type,
        scopes=asked,
        retry_after=finding.retry_after,
        message=messages.message(reason.name, messages.DEFAULT_LANGUAGE),
    )
    return Refused(finding, relogin, _challenge(reason, finding, site), leads_back=site.login is not None)


def _asked(reason: Reason, finding: Finding, scopes: tuple[str, ...]) -> tuple[str, ...]:
    if reason.action != "login":
        return ()
    return scopes if finding.missing is None else finding.missing


def _url(reason: Reason, site: Site, scopes: tuple[str, ...]) -> str | None:
    if site.redirect_uri is None:
        return None
    if reason.action == "visit_facebook":
        return f"{site.dialog_url}/"
    if reason.action != "login":
        return None
    if site.login is not None:
        return site.login(scopes, reason.auth_type)
    return dialog_url(
        site.dialog_url,
        site.graph_version,
        client_id=site.app_id,
        redirect_uri=site.redirect_uri,
        scopes=scopes,
        auth_type=reason.auth_type,
    )


def _challenge(reason: Reason, finding: Finding, site: Site) -> str | None:
    """Return the value of ``WWW-Authenticate``: static text and checked configuration only.

    RFC 6750 section 3; a request without a credential gets the bare challenge (section 3.1);
    ``max_age`` is RFC 9470 section 3. None for "don't know": a new token would not help.
    """
    parts = [f'realm="{site.realm}"']
    if reason.error is None:
        return f"Bearer {parts[0]}" if reason.status == _UNAUTHORIZED else None
    parts.append(f'error="{reason.error}"')
    parts.append(f'error_description="{reason.detail}"')
    if finding.required:
        parts.append(f'scope="{" ".join(finding.required)}"')
    if finding.max_age is not None:
        parts.append(f'max_age="{finding.max_age}"')
    parts.append(f'relogin="{reason.action}"')
    return f"Bearer {', '.join(parts)}"
