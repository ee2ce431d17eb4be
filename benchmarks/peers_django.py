"""Authlib and django-oauth-toolkit's introspecting resource server in Django, and fbguard there."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import secrets
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from benchmarks.hit import POLICY
from benchmarks.peers_bare import authlib_validator
from benchmarks.peers_mcp import introspected
from benchmarks.requests import PATH
from benchmarks.world import BODIES, DAY, NEEDED, USER, Grant, Row, World
from fbguard import current_token
from fbguard.wsgi import FBTokenMiddleware

DJANGO: Final = "Django app"

_TOOLKIT: Final = "oauth2_provider"
_QUIET: Final = ("django", _TOOLKIT, "urllib3")  # they would print every refusal of the checks

View = Callable[[HttpRequest], HttpResponse]


def _setup() -> None:
    """Configure Django, once, for all rows: no middleware, a database in memory for the one that needs it."""
    if settings.configured:
        return
    has_toolkit = importlib.util.find_spec(_TOOLKIT) is not None
    apps = ["django.contrib.contenttypes", "django.contrib.auth", _TOOLKIT] if has_toolkit else []
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY=secrets.token_hex(),
        USE_TZ=True,
        MIDDLEWARE=[],
        ROOT_URLCONF="",  # each site has its own
        INSTALLED_APPS=apps,
        DATABASES={
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "CONN_MAX_AGE": None}
        },
        LOGGING_CONFIG=None,
        OAUTH2_PROVIDER={"SCOPES": dict.fromkeys(NEEDED, "")},
    )
    for name in _QUIET:
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    django.setup()


def _site(view: View) -> WSGIHandler:
    """Return a site with one view, whichever other sites there are."""
    _setup()
    patterns: tuple[URLPattern, ...] = (path(PATH.removeprefix("/"), view),)
    handler = WSGIHandler()
    handler.request_class = type("Request", (WSGIRequest,), {"urlconf": patterns})
    return handler


def _answer(user_id: str) -> HttpResponse:
    return HttpResponse(BODIES[user_id], content_type="application/json")


def bare(_world: World) -> Row:
    def hello(_request: HttpRequest) -> HttpResponse:
        return _answer(USER)

    return Row(protocol="WSGI", app=_site(hello), base=None, guards=False)


def door(world: World) -> Row:
    def hello(_request: HttpRequest) -> HttpResponse:
        return _answer(current_token(required=True).user_id or "")

    return Row(protocol="WSGI", app=FBTokenMiddleware(_site(hello), world.guard, policy=POLICY), base=DJANGO)


def authlib(world: World) -> Row:
    _setup()
    module: Any = importlib.import_module("authlib.integrations.django_oauth2")
    protector = module.ResourceProtector()
    protector.register_token_validator(authlib_validator(world))

    def hello(request: Any) -> HttpResponse:
        return _answer(request.oauth_token.user_id)

    guarded: View = protector([" ".join(NEEDED)])(hello)
    return Row(protocol="WSGI", app=_site(guarded), base=DJANGO)


def toolkit(world: World) -> Row:
    """Build the resource server; its cache, a table, is filled by its own first look-up."""
    importlib.import_module(_TOOLKIT)
    _setup()
    call_command("migrate", verbosity=0)
    url = world.stack.enter_context(_introspection(world.grants))
    module: Any = importlib.import_module(f"{_TOOLKIT}.settings")
    options = module.oauth2_settings
    options.RESOURCE_SERVER_INTROSPECTION_URL = url
    options.RESOURCE_SERVER_AUTH_TOKEN = "secret"
    options.RESOURCE_SERVER_TOKEN_CACHING_SECONDS = int(DAY)
    decorators: Any = importlib.import_module(f"{_TOOLKIT}.decorators")

    def hello(request: Any) -> HttpResponse:
        return _answer(request.resource_owner.username)

    guarded: View = decorators.protected_resource(scopes=list(NEEDED))(hello)
    return Row(protocol="WSGI", app=_site(guarded), base=DJANGO)


@contextmanager
def _introspection(grants: dict[str, Grant]) -> Generator[str]:
    """Serve introspection on loopback; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"]))
            said = introspected(grants, form)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/introspect"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


PEERS: Final = {
    DJANGO: bare,
    "Django fbguard": door,
    "Django Authlib ResourceProtector": authlib,
    "django-oauth-toolkit introspection, cached": toolkit,
}
