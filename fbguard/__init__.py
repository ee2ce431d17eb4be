"""fbguard: guards Python web APIs with Facebook access tokens.

Doors are imported by name: ``fbguard.asgi``, ``fbguard.wsgi``.
"""

from typing import TYPE_CHECKING

from fbguard.context import current_token
from fbguard.core.errors import OAuthException, Refused
from fbguard.core.policy import Policy
from fbguard.core.requirement import Requirement
from fbguard.core.rule import Rule
from fbguard.core.token import TokenInfo
from fbguard.decorator import require_fb_token
from fbguard.guard import Guard

if TYPE_CHECKING:
    from fbguard.facebook.auth import GraphAuth, raise_for_graph_error

__version__ = "0.1.0"

__all__ = [
    "GraphAuth",
    "Guard",
    "OAuthException",
    "Policy",
    "Refused",
    "Requirement",
    "Rule",
    "TokenInfo",
    "current_token",
    "raise_for_graph_error",
    "require_fb_token",
]


def __getattr__(name: str) -> object:
    """Import what needs the HTTP client when it is asked for: importing fbguard stays quick."""
    if name in {"GraphAuth", "raise_for_graph_error"}:
        from fbguard.facebook import auth  # noqa: PLC0415

        return getattr(auth, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
