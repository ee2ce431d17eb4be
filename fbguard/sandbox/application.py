"""``GET /{app_id}`` and ``GET /app``: the app's own node."""

from __future__ import annotations

from fbguard.sandbox.access import identified
from fbguard.sandbox.fields import answer_with
from fbguard.sandbox.wire import Reply, Request
from fbguard.sandbox.world import IssuedToken, World


def application(world: World, request: Request, now: float) -> Reply:
    """Answer with the fields asked for; ``id`` comes with every answer, as on any node of Graph.

    ``/app`` names the app of the calling token, which for a token of another app is that one.
    """
    who = identified(world, request, now)
    app_id, name = world.app.app_id, world.app.name
    if request.path.rstrip("/").endswith("/app") and isinstance(who, IssuedToken) and who.app_id != app_id:
        app_id, name = who.app_id, f"App {who.app_id}"
    link = f"https://www.facebook.com/games/?app_id={app_id}"
    node = {"category": "Utilities", "link": link, "name": name, "id": app_id}
    return answer_with(node, "Application", request)
