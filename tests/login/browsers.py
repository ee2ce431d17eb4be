"""A browser that logs in: it keeps cookies, follows links, and does at Facebook what a person does."""

from __future__ import annotations

import asyncio
import io
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fbguard import Guard
from fbguard.sandbox import Sandbox
from tests.support import Answer, call_asgi, call_wsgi, http_scope, wsgi_environ

SITE = "https://api.example.com"
REDIRECT_URI = f"{SITE}/facebook/callback"
COOKIE = "__Host-fb_token"
OWN = (("Origin", SITE), ("Host", "api.example.com"))


def guard_of(sandbox: Sandbox, **options: Any) -> Guard:
    wired = {"redirect_uri": REDIRECT_URI, "token_from": ("header", f"cookie:{COOKIE}")}
    return sandbox.guard(**wired | options)


class Browser:
    """Calls a login in one protocol, as if it were mounted at ``/facebook``."""

    def __init__(self, kind: str, guard: Guard, **options: Any) -> None:
        self.kind = kind
        self.app: Any = guard.login_asgi(**options) if kind == "asgi" else guard.login_wsgi(**options)
        self.jar: dict[str, str] = {}
        self.written: list[str] = []  # all that was ever set

    def ask(self, path: str, method: str = "GET", *headers: tuple[str, str], body: bytes = b"") -> Answer:
        parts = urlsplit(path)
        if self.jar:
            headers = (*headers, ("Cookie", "; ".join(f"{name}={value}" for name, value in self.jar.items())))
        if self.kind == "asgi":
            scope = http_scope(
                f"/facebook{parts.path}",
                method,
                headers,
                query_string=parts.query.encode(),
                root_path="/facebook",
            )
            answer = asyncio.run(call_asgi(self.app, scope, body))
        else:
            environ = wsgi_environ(
                parts.path,
                method,
                [one for one in headers if one[0] != "Content-Type"],
                QUERY_STRING=parts.query,
                SCRIPT_NAME="/facebook",
                REMOTE_ADDR="127.0.0.1",
                CONTENT_TYPE=dict(headers).get("Content-Type", ""),
                CONTENT_LENGTH=str(len(body)),
                **{"wsgi.input": io.BytesIO(body)},
            )
            answer = call_wsgi(self.app, environ)
        for line in answer.all("set-cookie"):
            self._keep(line)
        return answer

    def _keep(self, line: str) -> None:
        self.written.append(line)
        for name, morsel in SimpleCookie(line).items():
            if morsel["max-age"] == "0":
                self.jar.pop(name, None)
            else:
                self.jar[name] = morsel.value

    def log_in(self, sandbox: Sandbox, path: str = "/login", **how: Any) -> Answer:
        """Log in: what the callback answers."""
        return self.ask(self.returning(sandbox, self.ask(path), **how))

    def returning(self, sandbox: Sandbox, sent: Answer, **how: Any) -> str:
        """Do what a person does at the dialog; return the path of the callback with what Facebook adds."""
        assert sent.status == 302
        how = {"user_id": "42"} | how if not how.get("cancel") else how
        to = sandbox.log_in(sent.header("location") or "", **how)
        assert to.startswith(f"{REDIRECT_URI}?")
        return to.removeprefix(f"{SITE}/facebook")


def state_of(sent: Answer) -> str:
    return parse_qs(urlsplit(sent.header("location") or "").query)["state"][0]
