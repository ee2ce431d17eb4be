"""The little API that every framework serves: what its routes require, and what its views say.

``sites`` has it once for each framework. Its apps differ in who decides: under ``RULES`` the door
does; under ``VIEWS`` it leaves to the views what a requirement is asked for, and guards the rest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fbguard import Policy, Requirement, Rule, TokenInfo, current_token

#: What a route requires besides a token of a person: the keywords of Requirement.
REQUIRED: dict[str, Any] = {
    "email": {"scopes": ["email"]},
    "pages": {"scopes": ["pages_manage_posts"], "target": "page_id"},
    "either": {"any_scope": ["pages_show_list", "business_management"]},
    "optional": {"optional": True},
    "machine": {"token_types": ("PAGE",)},
    "limited": {"token_types": ("USER", "LIMITED_LOGIN"), "scopes": ["email"]},
    "wide": {"token_types": ("USER", "LIMITED_LOGIN"), "scopes": ["email", "pages_show_list"]},
    "soon": {"min_remaining": 7200},
    "fresh": {"max_login_age": 3600},
    "report": {"scopes": ["email"]},  # POST only
}
PAGE = "/pages/{page_id}"
_PATHS = {name: f"/{name}" for name in REQUIRED} | {"pages": PAGE}

_PUBLIC = [Rule(f"/{name}", public=True) for name in ("health", "refuse", "log")]
_REPORT = Rule("/report", methods=["POST"], **REQUIRED["report"])
_DECIDED = [name for name in REQUIRED if name != "report"]

RULES = Policy(*_PUBLIC, _REPORT, *(Rule(_PATHS[name], **REQUIRED[name]) for name in _DECIDED))
VIEWS = Policy(*_PUBLIC, _REPORT, *(Rule(_PATHS[name], public=True) for name in _DECIDED))
OWN = Requirement(scopes=["email"])  # what the view of /refuse asks the guard about by itself

SPOOFED = "666"  # an identity that no token has


def said(view: str, carried: TokenInfo | None) -> dict[str, Any]:
    """Return what a view answers; ``carried`` is what its framework's own request says."""
    return {"view": view, "user": user_of(current_token()), "carried": user_of(carried)}


def user_of(info: TokenInfo | None) -> str | None:
    return None if info is None else info.user_id


def encoded(answer: Mapping[str, Any]) -> bytes:
    return json.dumps(answer).encode()


def before_stream() -> bytes:
    """Return the first part of a streamed answer, made in the view."""
    return f'{{"view": "stream", "user": {json.dumps(user_of(current_token()))}'.encode()


def in_stream() -> bytes:
    """Return the second part, made while the body is read."""
    return f', "carried": {json.dumps(user_of(current_token()))}}}'.encode()


def bearer(value: str | None) -> str | None:
    """Return the token of an Authorization header, as a view that trusts its clients would."""
    return None if value is None else value.removeprefix("Bearer ")


@dataclass(frozen=True)
class App:
    """One app; ``asgi`` is its protocol, ``door`` whether a door guards what routes nowhere."""

    name: str
    target: str  # module:attribute
    asgi: bool
    door: bool = True


APPS = [
    App("asgi", "plain_asgi:app", asgi=True),
    App("starlette-around", "starlette_site:around", asgi=True),
    App("starlette-stack", "starlette_site:stacked", asgi=True),
    App("starlette-twice", "starlette_site:twice", asgi=True),
    App("fastapi", "fastapi_site:app", asgi=True, door=False),
    App("fastapi-door", "fastapi_site:guarded", asgi=True),
    App("django-asgi", "django_site:asgi_app", asgi=True),
    App("wsgi", "plain_wsgi:app", asgi=False),
    App("flask", "flask_site:app", asgi=False),
    App("flask-door", "flask_site:guarded", asgi=False),
    App("django-wsgi", "django_site:wsgi_app", asgi=False),
]
