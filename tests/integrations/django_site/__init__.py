"""A Django site whose settings each test overrides, through both of Django's handlers."""

from __future__ import annotations

import asyncio
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.urls import set_script_prefix

from tests.support import Answer, Headers, call_asgi, call_wsgi, http_scope, wsgi_environ

GUARDING = "fbguard.integrations.django.FBTokenMiddleware"
SERVERS = ("wsgi", "asgi")


class Site:
    """What a server talks to: made of the settings of the moment; ``around`` puts a door around it."""

    def __init__(self, server: str, around: Any = None) -> None:
        self.server = server
        app = WSGIHandler() if server == "wsgi" else ASGIHandler()
        self.app = app if around is None else around(app)

    def send(
        self,
        path: str = "/",
        token: str | None = None,
        method: str = "GET",
        headers: Headers = (),
        **more: Any,
    ) -> Answer:
        sent = [*headers] if token is None else [("Authorization", f"Bearer {token}"), *headers]
        try:
            if self.server == "wsgi":
                return call_wsgi(self.app, wsgi_environ(path, method, sent, **more))
            return asyncio.run(call_asgi(self.app, http_scope(path, method, sent, **more)))
        finally:
            set_script_prefix("/")

    def send_many(self, count: int, path: str, token: str | None, **more: Any) -> set[int]:
        """Send one request after the other, in one loop; return the statuses."""
        if self.server == "wsgi":
            return {self.send(path, token, **more).status for _ in range(count)}
        sent = [] if token is None else [("Authorization", f"Bearer {token}")]

        async def all_of_them() -> set[int]:
            return {
                (await call_asgi(self.app, http_scope(path, headers=sent, **more))).status
                for _ in range(count)
            }

        return asyncio.run(all_of_them())


def options(sandbox: Any, **more: Any) -> dict[str, Any]:
    """Return ``settings.FBGUARD`` for a local Facebook."""
    wired = {"app_id": sandbox.app_id, "app_secret": sandbox.app_secret}
    return wired | {"transport": sandbox.transport, "clock": sandbox.clock} | more
