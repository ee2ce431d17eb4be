"""``/{user}/permissions``: what a person granted to an app, and taking it away again."""

from __future__ import annotations

from fbguard.sandbox.access import current, identified
from fbguard.sandbox.errors import no_such_field, no_such_node
from fbguard.sandbox.wire import Reply, Request, json_reply
from fbguard.sandbox.world import App, World


def permissions(
    world: World, request: Request, now: float, *, user: str, permission: str | None = None
) -> Reply:
    """Answer with the status of every permission that was asked for, or of one."""
    app_id, user_id = _whose(world, request, now, user)
    grants = world.grants(user_id, app_id) or {}
    return json_reply(
        {
            "data": [
                {"permission": name, "status": status}
                for name, status in grants.items()
                if permission is None or name == permission
            ]
        }
    )


def revoke(world: World, request: Request, now: float, *, user: str, permission: str | None = None) -> Reply:
    """Take one permission away, or without one the whole app: that ends all its tokens of the person.

    The user permissions reference gives the answer as ``true``, also where there was nothing to take.
    """
    app_id, user_id = _whose(world, request, now, user)
    if permission is None:
        world.remove_app(user_id, app_id)
    else:
        world.decline(user_id, app_id, permission)
    return json_reply(True)


def _whose(world: World, request: Request, now: float, user: str) -> tuple[str, str]:
    """Return the app and the person that a call is about: a token's own, or any person of an app's."""
    who = current(world, request, now) if user == "me" else identified(world, request, now)
    if isinstance(who, App) or not who.subject:
        user_id = user
    elif user not in {"me", who.subject}:
        raise no_such_node(request.method, user)
    elif who.type == "PAGE":
        raise no_such_field("permissions", "Page")
    else:
        user_id = who.subject
    if world.grants(user_id, who.app_id) is None:
        raise no_such_node(request.method, user)
    return who.app_id, user_id
