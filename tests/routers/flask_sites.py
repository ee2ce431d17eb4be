"""Werkzeug's router, as Flask sets it up, behind the WSGI door."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, request
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from fbguard import Guard
from fbguard.wsgi import FBTokenMiddleware
from tests.routers.views import POLICY, of_any, of_hook, ran

EVERY_VERB = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO", "PROPFIND", ""]


def _view(name: str) -> Any:
    def view(**params: object) -> str:
        ran(name)
        return f"body of {name}"

    return view


def _any() -> str:
    ran(of_any(request.method))
    return "body of any"


def _hook() -> str:
    ran(of_hook(request.method))
    return "body of hook"


def _shop(end: str) -> Blueprint:
    shop = Blueprint("shop", __name__)
    shop.add_url_rule(f"/orders/<int:number>{end}", "order", _view("order"))
    return shop


def _site(end: str, *, strict_slashes: bool = True, merge_slashes: bool = True, shop: bool = True) -> Flask:
    """Return the site; ``end`` is "/" for routes that are written with a trailing slash."""
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = strict_slashes
    app.url_map.merge_slashes = merge_slashes
    add = app.add_url_rule
    add("/", "home", _view("home"))
    add(f"/admin{end}", "admin", _view("admin"))
    add(f"/admin/users{end}", "users", _view("users"))
    add(f"/health{end}", "health", _view("health"))
    add(f"/healthz-admin{end}", "healthz", _view("healthz"))
    add(f"/items/new{end}", "new_item", _view("new_item"))
    add(f"/items/<int:id>{end}", "item", _view("item"))
    add(f"/pages/<page_id>/posts{end}", "posts", _view("posts"))
    add(f"/public/secret{end}", "secret", _view("secret"))
    add("/public/<path:rest>", "public", _view("public"))
    add("/files/<path:rest>", "files", _view("files"))
    add(f"/notes{end}", "read_notes", _view("read_notes"))
    add(f"/notes{end}", "add_note", _view("add_note"), methods=["POST"])
    add(f"/notes{end}", "drop_notes", _view("drop_notes"), methods=["DELETE"])
    add(f"/any{end}", "any", _any, methods=EVERY_VERB, provide_automatic_options=False)
    add(f"/hook{end}", "hook", _hook, methods=EVERY_VERB, provide_automatic_options=False)
    add(f"/t/<any(acme, initech):tenant>/info{end}", "tenant", _view("tenant"))
    add(f"/münchen{end}", "munich", _view("munich"))
    add(f"/a b{end}", "blank", _view("blank"))
    add(f"/<slug>{end}", "slug", _view("slug"))
    if shop:
        add(f"/shop{end}", "shop", _view("shop"))
        app.register_blueprint(_shop(end), url_prefix="/shop")
    return app


def strict(guard: Guard) -> Any:
    return FBTokenMiddleware(_site(""), guard, policy=POLICY)


def strict_with_trailing_slashes(guard: Guard) -> Any:
    return FBTokenMiddleware(_site("/"), guard, policy=POLICY)


def loose(guard: Guard) -> Any:
    site = _site("/", strict_slashes=False, merge_slashes=False)
    site.wsgi_app = FBTokenMiddleware(site.wsgi_app, guard, policy=POLICY)  # type: ignore[method-assign]
    return site


def below_a_dispatcher(guard: Guard) -> Any:
    return DispatcherMiddleware(NotFound(), {"/app": strict(guard)})


def around_a_dispatcher(guard: Guard) -> Any:
    shop = Flask("shop", static_folder=None)
    shop.add_url_rule("/", "shop", _view("shop"))
    shop.register_blueprint(_shop(""), name="orders")
    return FBTokenMiddleware(
        DispatcherMiddleware(_site("", shop=False), {"/shop": shop}), guard, policy=POLICY
    )
