"""Which requests the debugger answers, and how. No protocol yet.

It is for the person at this machine. So it answers under the machine's own names only (another site's name
that leads here is a trick, DNS rebinding), and takes tokens from its own page only.
"""

from __future__ import annotations

import re
from typing import Final

from fbguard.core.answers import Answer
from fbguard.core.errors import Refused
from fbguard.core.requirement import Requirement
from fbguard.core.secret import Secret
from fbguard.core.served import Head, Request, exceeds, finished, only, plain, too_large
from fbguard.core.sources import is_same_origin
from fbguard.debugger.page import Found, page
from fbguard.debugger.report import need_for, report_of
from fbguard.guard import Guard

_CAP: Final = 16 * 1024  # bytes of a form
_PATH: Final = "/"


class DebuggerRules:
    """Rules of the debugger's one page; ``names`` are the Hosts that it has.

    The guard asks Facebook anew for each form that is sent.
    """

    deadline = 60.0  # seconds, for a person who waits; the guard's own is shorter

    def __init__(self, guard: Guard, names: frozenset[str]) -> None:
        self._guard = guard
        self._names = names

    def admit(self, request: Request) -> Answer | int:
        """Return how many bytes of body to read at most; or the answer that refuses a request by its head."""
        refused = self._refused(request)
        if refused is not None:
            return finished(refused)
        return _CAP if request.method == "POST" else 0

    async def answer(self, request: Request) -> Answer:
        """Show the page, and what the token of a form is worth."""
        refused = self._refused(request)
        if refused is not None:
            return finished(refused)
        if request.method != "POST":
            return finished(page(self._guard.app_id))
        if len(request.body) > _CAP:
            return finished(too_large())
        return finished(await self._debug(request))

    def _refused(self, request: Request) -> Answer | None:
        if [name.lower() for name in request.all("host")] not in ([name] for name in self._names):
            return plain(421, "This is a debugger for the machine that it runs on.")
        if request.path != _PATH:
            return plain(404, "There is nothing here.")
        if request.method not in {"GET", "HEAD", "POST"}:
            return plain(405, "This method is not for here.", ("Allow", "GET, HEAD, POST"))
        if request.method == "POST":
            if not is_same_origin(Head(request)):
                return plain(403, "This form is not of this page.")
            if any(exceeds(value, _CAP) for value in request.all("content-length")):
                return too_large()
        return None

    async def _debug(self, request: Request) -> Answer:
        form = request.body.decode("latin-1")
        token = Secret((only(form, "token") or "").strip())
        asked = only(form, "scopes") or ""
        if not token.reveal():
            return page(self._guard.app_id, wrong="Give a token.", scopes=asked)
        try:
            need = Requirement(scopes=tuple(filter(None, re.split(r"[\s,]+", asked))))
        except ValueError:
            return page(self._guard.app_id, wrong="These are no names of permissions.", scopes=asked)
        self._guard.forget(token)
        report = report_of(self._guard, token, await self._refusal(token, need_for(token)))
        refused = await self._refusal(token, need)
        return page(self._guard.app_id, Found(report, need.scopes, refused), scopes=asked)

    async def _refusal(self, token: Secret, need: Requirement) -> Refused | None:
        try:
            await self._guard.acheck(token.reveal(), need)
        except Refused as refused:
            return refused
        return None
