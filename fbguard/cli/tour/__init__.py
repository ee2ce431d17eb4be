"""The demo's tour as data: what is asked, with which token, and which answer the design promises.

The expectations are written out here and never computed by the code under test. Every step stands
alone: it logs a person in, lets happen what its ``event`` and its ``caller`` say, and asks once.
"""

from __future__ import annotations

from fbguard.cli.steps import Chapter
from fbguard.cli.tour.ends import SESSIONS_THAT_END
from fbguard.cli.tour.graph import DONT_KNOW, IN_A_VIEW
from fbguard.cli.tour.promises import OTHER_APP_ID, PAGE_ID
from fbguard.cli.tour.tokens import LET_IN, NOT_THIS_TOKEN, SESSION_OVER, UNASKED

__all__ = [
    "DONT_KNOW",
    "IN_A_VIEW",
    "LET_IN",
    "NOT_THIS_TOKEN",
    "OTHER_APP_ID",
    "PAGE_ID",
    "SESSIONS_THAT_END",
    "SESSION_OVER",
    "TOUR",
    "UNASKED",
]

TOUR: tuple[Chapter, ...] = (
    LET_IN,
    UNASKED,
    SESSION_OVER,
    NOT_THIS_TOKEN,
    DONT_KNOW,
    IN_A_VIEW,
    SESSIONS_THAT_END,
)
