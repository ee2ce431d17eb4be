"""Who calls the demo's apps when a session ends: the person's client, Facebook, a client of 2009."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import urlencode, urlsplit

from fbguard.cli.steps import Login, bearer
from fbguard.cli.walk import ask
from fbguard.legacy import LegacyError, expire_session
from fbguard.sandbox import Sandbox
from fbguard.sandbox.wire import Request

MOUNT: Final = "/facebook"  # below it are the apps' callbacks
_TIMEOUT: Final = 10.0  # seconds
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}


def log_out(url: str, _sandbox: Sandbox, login: Login) -> None:
    """Let the person's client log out of the app."""
    ask(url, "/log-out", bearer(login), "POST")


def deauthorize(url: str, sandbox: Sandbox, login: Login) -> None:
    """Let the person remove the app in Facebook's settings, and Facebook say so."""
    sandbox.remove_app(login.user_id)
    said = urlencode({"signed_request": sandbox.signed_request(login.user_id)})
    _post(f"{url}{MOUNT}/deauthorize", said, _FORM)


def take_email(url: str, sandbox: Sandbox, login: Login) -> None:
    """Let the person take one permission back on Facebook, and Facebook say so."""
    headers = sandbox.bearer(login.token).items()
    sandbox.handle(Request.of("DELETE", f"/{login.user_id}/permissions/email", headers))
    event = sandbox.permissions_event(login.user_id)
    _post(f"{url}{MOUNT}/webhook", event["body"], event["headers"])


def legacy_client(url: str, sandbox: Sandbox, login: Login) -> None:
    """Let a client of the old REST API end the session; if that is refused, the token goes on passing."""
    with suppress(LegacyError):
        expire_session(sandbox.app_id, sandbox.app_secret, login.token, url=f"{url}{MOUNT}/restserver.php")


def _post(url: str, body: str, headers: Mapping[str, str]) -> None:
    """Send one POST; whatever the answer is, the request that counts shows what came of it."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT)
    try:
        connection.request("POST", parts.path, body, dict(headers))
        connection.getresponse().read()
    finally:
        connection.close()
