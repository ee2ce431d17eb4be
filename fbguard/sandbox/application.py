"""``GET /{app_id}`` and ``GET /app``: the app's own node."""

from __future__ import annotations

from fbguard.sandbox.access import caller
from fbguard.sandbox.errors import GraphError
from fbguard.sandbox.wire import Reply, Request, json_reply
from fbguard.sandbox.world import IssuedToken, World

_NO_TOKEN = "An access token is required to request this resource."  # noqa: S105 - a message


def application(world: World, request: Request, now: float) -> Reply:
    """Answer with the fields asked for; ``id`` comes with every answer, as on any node of Graph.

    ``/app`` names the app of the calling token, which for a token of another app is that one.
    """
    who = caller(world, request, now)
    if who is None:
        raise GraphError(_NO_TOKEN, 104)
    app_id, name = world.app.app_id, world.app.name
    if request.path.rstrip("/").endswith("/app") and isinstance(who, IssuedToken) and who.app_id != app_id:
        app_id, name = who.app_id, f"App {who.app_id}"
    link = f"https://www.facebook.com/games/?app_id={app_id}"
    node = {"category": "Utilities", "link": link, "name": name, "id": app_id}
    asked = request.param("fields")
    if not asked:
        return json_reply(node)
    fields = [field.strip() for field in asked.split(",") if field.strip()]
    for field in fields:
        if field not in node:
            raise GraphError(
                f"(#100) Tried accessing nonexisting field ({field}) on node type (Application)", 100
            )
    return json_reply({field: node[field] for field in fields} | {"id": app_id})
