"""Graph as a pure function: from the state, a request and the time to a reply.

No I/O, no sleep and no clock in here; carriers do all three. The only calls that change the
state are those of a login, those that take permissions away and those that end a session.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from functools import partial

from fbguard.sandbox.application import application
from fbguard.sandbox.batch import batch
from fbguard.sandbox.debug_token import debug_token
from fbguard.sandbox.dialog import PATH as DIALOG
from fbguard.sandbox.dialog import dialog
from fbguard.sandbox.errors import GRAPH_METHOD, GraphError, no_such_node, throttled
from fbguard.sandbox.limited_login import PATH as JWKS
from fbguard.sandbox.limited_login import jwks
from fbguard.sandbox.moods import Failure
from fbguard.sandbox.nodes import me, node
from fbguard.sandbox.oauth import access_token
from fbguard.sandbox.permissions import permissions, revoke
from fbguard.sandbox.restserver import PATH, restserver
from fbguard.sandbox.wire import Outcome, Reply, Request, json_reply
from fbguard.sandbox.world import World

Endpoint = Callable[[World, Request, float], Reply]

_VERSION = re.compile(r"/(v[0-9]{1,3}\.[0-9]{1,3})(?=/|$)")
_UNVERSIONED = "v26.0"


def respond(world: World, request: Request, now: float, failure: Failure | None = None) -> Outcome:
    """Return what happens to a call that meets this fault, or none."""
    if failure is None:
        return Outcome(answer(world, request, now))
    if failure.drop:
        return Outcome(None, failure.delay)
    if failure.status is None:
        reply = answer(world, request, now)
        return Outcome(Reply(reply.status, reply.headers + failure.headers, reply.body), failure.delay)
    named = {name.lower() for name, _ in failure.headers}
    kind = () if "content-type" in named or not failure.body else (("Content-Type", _guess(failure.body)),)
    return Outcome(Reply(failure.status, kind + failure.headers, failure.body), failure.delay)


def answer(world: World, request: Request, now: float, unversioned: str = _UNVERSIONED) -> Reply:
    """Return Graph's reply to ``request`` at ``now`` (unix seconds), with or without a ``/vN.N`` in front.

    ``unversioned`` is the version that serves a call without one. The old REST API, the login dialog and
    the keys of Limited Login, which on Facebook are on hosts of their own, answer at their own paths.
    """
    found = _VERSION.match(request.path)
    version = found[1] if found else unversioned
    path = request.path[found.end() :] if found else request.path
    if path == PATH and request.method in {"GET", "POST"}:
        return restserver(world, request, now)
    if path == DIALOG and request.method in {"GET", "HEAD", "POST"}:
        return dialog(world, request, now)
    if path.rstrip("/") == JWKS and request.method in {"GET", "HEAD"}:
        return jwks(world, request, now)
    trace = _trace_id(request, now)
    try:
        if world.throttled is not None:
            raise throttled(world.throttled, world.app.app_id)
        reply = _endpoint(world, request, path, version)(world, request, now)
    except GraphError as error:
        reply = json_reply(error.body(trace), error.status, error.challenge() + error.headers)
    common = (
        ("Facebook-API-Version", version),
        ("X-FB-Trace-ID", trace),
        ("Cache-Control", "private, no-cache, no-store, must-revalidate"),
    )
    return Reply(reply.status, reply.headers + common, reply.body)


def is_dialog(path: str) -> bool:
    """Tell whether a path is the login dialog's, in any version."""
    found = _VERSION.match(path)
    return path[found.end() if found else 0 :] == DIALOG


def _endpoint(world: World, request: Request, path: str, version: str) -> Endpoint:
    """Return the endpoint of a call, its path without the version, or raise what Graph says of it."""
    method = "GET" if request.method == "HEAD" else request.method
    segments = [segment for segment in path.split("/") if segment]
    match method, segments:
        case "POST", [] | ["me"] if request.param("batch") is not None:
            return partial(batch, single=partial(answer, unversioned=version))
        case "GET", ["debug_token"]:
            return debug_token
        case "GET" | "POST", ["oauth", "access_token"]:
            return access_token
        case "GET", ["app"]:
            return application
        case "GET", [node_id] if node_id == world.app.app_id:
            return application
        case "GET", ["me"]:
            return me
        case "GET", [node_id] if node_id.isdecimal():
            return partial(node, node_id=node_id)
        case "GET" | "DELETE", [user, "permissions", *only] if _is_user(user) and len(only) <= 1:
            endpoint = permissions if method == "GET" else revoke
            return partial(endpoint, user=user, permission=only[0] if only else None)
        case _:
            raise _no_such(method, segments)


def _is_user(segment: str) -> bool:
    return segment == "me" or segment.isdecimal()


def _no_such(method: str, segments: list[str]) -> GraphError:
    """Return the error for a path that leads nowhere: a node, an alias or an edge that is not there."""
    match segments:
        case []:
            return GraphError(f"Unsupported {method.lower()} request.", 100, kind=GRAPH_METHOD)
        case [alias] if method == "GET" and not alias.isdecimal():
            message = f"(#803) Some of the aliases you requested do not exist: {alias}"
            return GraphError(message, 803, status=404)
        case [node_id]:
            return no_such_node(method, node_id)
        case _:
            return GraphError(f"Unknown path components: /{'/'.join(segments[1:])}", 2500)


def _trace_id(request: Request, now: float) -> str:
    """Return a support id in the shape of Facebook's, computed from nothing secret."""
    digest = hashlib.sha256(f"{request.method} {request.path} {now!r}".encode("utf-8", "replace")).digest()
    return "A" + base64.urlsafe_b64encode(digest)[:22].decode()


def _guess(body: bytes) -> str:
    """Return the media type of a faked body: Graph sends JSON, what stands before it sends pages."""
    json_like = body.lstrip()[:1] in {b"{", b"["}
    return "application/json; charset=UTF-8" if json_like else "text/html; charset=utf-8"
