"""``GET /me`` and ``GET /{id}``: the person or the page behind a token, and pages that it may read."""

from __future__ import annotations

from fbguard.sandbox.access import current, identified
from fbguard.sandbox.errors import GraphError, no_such_node
from fbguard.sandbox.fields import answer_with
from fbguard.sandbox.wire import Reply, Request
from fbguard.sandbox.world import App, IssuedToken, World

_READ_PAGE = "pages_read_engagement"
_MAY_NOT_READ = (
    f"(#10) This endpoint requires the '{_READ_PAGE}' permission or the 'Page Public Content Access' feature."
    " Refer to https://developers.facebook.com/docs/apps/review/login-permissions#manage-pages and"
    " https://developers.facebook.com/docs/apps/review/feature#reference-PAGES_ACCESS for details."
)

# Fields of the Graph API reference that apps often ask for; nobody in the sandbox has a value for them.
_UNTOLD = {
    "User": frozenset(
        {
            "about",
            "age_range",
            "birthday",
            "email",
            "first_name",
            "gender",
            "hometown",
            "last_name",
            "link",
            "location",
            "middle_name",
            "name_format",
            "picture",
            "short_name",
        }
    ),
    "Page": frozenset({"about", "category", "fan_count", "followers_count", "link", "picture", "username"}),
}


def me(world: World, request: Request, now: float) -> Reply:
    """Answer with the person, or for a page's token the page, that the token acts for."""
    return _own(current(world, request, now), request)


def node(world: World, request: Request, now: float, *, node_id: str) -> Reply:
    """Answer with the caller's own node, or with a page that its permissions cover.

    To a token everybody else is not there: people who are not its own cannot be told from ids that
    do not exist. A page is public, so that a missing permission can be named.
    """
    who = identified(world, request, now)
    if isinstance(who, IssuedToken) and node_id == who.subject:
        return _own(who, request)
    if not world.is_page(node_id):
        raise no_such_node("GET", node_id)
    if not _may_read(who, node_id):
        raise GraphError(_MAY_NOT_READ, 10, status=403)
    return _profile("Page", node_id, request)


def _may_read(who: App | IssuedToken, page: str) -> bool:
    """Tell whether a caller may read this page, which is not its own."""
    return isinstance(who, IssuedToken) and who.type != "PAGE" and who.covers(_READ_PAGE, page)


def _own(who: IssuedToken, request: Request) -> Reply:
    return _profile("Page" if who.type == "PAGE" else "User", who.subject, request)


def _profile(kind: str, node_id: str, request: Request) -> Reply:
    return answer_with({"name": f"{kind} {node_id}", "id": node_id}, kind, request, _UNTOLD[kind])
