"""fastmcp's introspecting verifier with its cache, behind the MCP SDK's bearer middleware."""

from __future__ import annotations

import importlib
import json
import time
from typing import Any, Final
from urllib.parse import parse_qs

from benchmarks.peers_bare import ASGI
from benchmarks.sides import asgi_app
from benchmarks.world import DAY, NEEDED, USER, Grant, Row, World

_NAMES: Final = ("fastmcp.server.auth.providers.introspection", "mcp.server.auth.middleware.bearer_auth")


def introspected(grants: dict[str, Grant], form: bytes) -> bytes:
    """Answer an introspection request (RFC 7662) about a token."""
    token = parse_qs(form.decode())["token"][0]
    grant = grants.get(token)
    if grant is None:
        return b'{"active": false}'
    said = {
        "active": True,
        "client_id": "benchmark",
        "username": grant.user_id,
        "sub": grant.user_id,
        "scope": " ".join(sorted(grant.scopes)),
        "exp": int(time.time() + DAY),
    }
    return json.dumps(said).encode()


def fastmcp(world: World) -> Row:
    introspection, bearer = (importlib.import_module(name) for name in _NAMES)
    middleware: Any = importlib.import_module("starlette.middleware.authentication")
    httpx2: Any = importlib.import_module("httpx2")

    def answer(request: Any) -> Any:
        return httpx2.Response(200, content=introspected(world.grants, request.content))

    verifier = introspection.IntrospectionTokenVerifier(
        introspection_url="https://login.example.com/introspect",
        client_id="benchmark",
        client_secret="secret",
        cache_ttl_seconds=int(DAY),
        http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(answer)),
    )
    guarded = bearer.RequireAuthMiddleware(asgi_app, required_scopes=list(NEEDED))
    app = middleware.AuthenticationMiddleware(guarded, backend=bearer.BearerAuthBackend(verifier))
    return Row(protocol="ASGI", app=app, base=ASGI, proof=_has_user)


def _has_user(carrier: dict[str, Any]) -> bool:
    return getattr(getattr(carrier.get("user"), "access_token", None), "subject", None) == USER


PEERS: Final = {"ASGI fastmcp introspection, cached": fastmcp}
