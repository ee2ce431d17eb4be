"""fbguard: guards Python web APIs with Facebook access tokens.

Doors are imported by name: ``fbguard.asgi``, ``fbguard.wsgi``.
"""

from fbguard.context import current_token
from fbguard.core.errors import Refused
from fbguard.core.policy import Policy, Rule
from fbguard.core.requirement import Requirement
from fbguard.core.token import TokenInfo
from fbguard.decorator import require_fb_token
from fbguard.guard import Guard

__version__ = "0.1.0"

__all__ = [
    "Guard",
    "Policy",
    "Refused",
    "Requirement",
    "Rule",
    "TokenInfo",
    "current_token",
    "require_fb_token",
]
