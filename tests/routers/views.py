"""The views that every site has, each with a scope of its own, and the policy that asks for it."""

from __future__ import annotations

from fbguard import Policy, Requirement, Rule

DEFAULT = "v.default"

# The view, and the scope without which it must never run; None: it is public.
VIEWS: dict[str, str | None] = {
    "home": "v.home",
    "admin": "v.admin",
    "users": "v.users",
    "health": None,
    "healthz": "v.healthz",
    "new_item": "v.new_item",
    "item": "v.item",
    "posts": "v.posts",
    "secret": "v.secret",
    "public": None,
    "files": "v.files",
    "read_notes": None,
    "add_note": "v.add_note",
    "drop_notes": "v.drop_notes",
    "read_any": None,
    "any": "v.any",
    "open_hook": None,
    "hook": "v.hook",
    "shop": "v.shop",
    "order": "v.order",
    "tenant": "v.tenant",
    "munich": "v.munich",
    "blank": "v.blank",
    "slug": DEFAULT,  # which no rule matches
}

# One request for each view.
CANONICAL = {
    "home": "/",
    "admin": "/admin",
    "users": "/admin/users",
    "health": "/health",
    "healthz": "/healthz-admin",
    "new_item": "/items/new",
    "item": "/items/7",
    "posts": "/pages/42/posts",
    "secret": "/public/secret",
    "public": "/public/style.css",
    "files": "/files/a/b.txt",
    "read_notes": "/notes",
    "read_any": "/any",
    "open_hook": "/hook",
    "shop": "/shop",
    "order": "/shop/orders/9",
    "tenant": "/t/acme/info",
    "munich": "/münchen",
    "blank": "/a b",
    "slug": "/elsewhere",
}
VERBS_OF = {
    "add_note": ("POST", "/notes"),
    "drop_notes": ("DELETE", "/notes"),
    "any": ("PUT", "/any"),
    "hook": ("POST", "/hook"),
}
PATHS = tuple(CANONICAL.values())


def _rule(path: str, view: str, *methods: str) -> Rule:
    return Rule(path, scopes=[f"v.{view}"], methods=methods or None)


RULES = (
    _rule("/", "home"),
    _rule("/admin", "admin"),
    _rule("/admin/users", "users"),
    Rule("/health", public=True),
    _rule("/healthz-admin", "healthz"),
    _rule("/items/new", "new_item"),
    _rule("/items/{id}", "item"),
    _rule("/pages/{page_id}/posts", "posts"),
    Rule("/public", scopes=[DEFAULT]),  # the slug's: {rest:path} matches no segment too
    _rule("/public/secret", "secret"),
    Rule("/public/{rest:path}", public=True),
    Rule("/files", scopes=[DEFAULT]),
    _rule("/files/{rest:path}", "files"),
    Rule("/notes", methods=["GET"], public=True),
    _rule("/notes", "add_note", "POST"),
    _rule("/notes", "drop_notes", "DELETE"),
    Rule("/any", methods=["GET"], public=True),
    _rule("/any", "any", "POST"),
    _rule("/hook", "hook", "POST"),
    Rule("/hook", public=True),
    _rule("/shop", "shop"),
    _rule("/shop/orders/{number}", "order"),
    _rule("/t/{tenant}/info", "tenant"),
    _rule("/münchen", "munich"),
    _rule("/a b", "blank"),
)
POLICY = Policy(*RULES, default=Requirement(scopes=[DEFAULT]))

RAN: list[str] = []  # the views that ran, in order


def ran(view: str) -> None:
    assert view in VIEWS
    RAN.append(view)


def of_any(method: str) -> str:
    """Name the view behind ``/any``, which takes every verb and only reads for two of them."""
    return "read_any" if method in {"GET", "HEAD"} else "any"


def of_hook(method: str) -> str:
    """Name the view behind ``/hook``, where only POST does something."""
    return "hook" if method == "POST" else "open_hook"
