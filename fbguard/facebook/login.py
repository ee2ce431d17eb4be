"""The address of Facebook's login dialog."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlencode

from fbguard.core.reasons import AuthType


def dialog_url(
    base: str,
    version: str,
    *,
    client_id: str,
    redirect_uri: str,
    scopes: Sequence[str] = (),
    auth_type: AuthType | None = None,
) -> str:
    """Return ``{base}/{version}/dialog/oauth?…`` (Facebook Login, manual flow).

    It carries no ``state``: whoever follows it adds their own. ``auth_type`` is left out when None,
    ``scope`` when there are no scopes.
    """
    query = {"client_id": client_id, "redirect_uri": redirect_uri}
    if scopes:
        query["scope"] = ",".join(scopes)
    if auth_type is not None:
        query["auth_type"] = auth_type
    return f"{base}/{version}/dialog/oauth?{urlencode(query)}"
