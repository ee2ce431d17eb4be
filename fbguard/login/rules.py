"""What a login does: to Facebook's dialog, back from it, and out again. No protocol yet.

``state`` is random, is known to one browser by a cookie, and works once (RFC 6749 section 10.12): who follows
another one's link back is not logged in as that other one.
"""

from __future__ import annotations

import hmac
import logging
import re
import threading
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Final

from cachetools import LRUCache

from fbguard.core.answers import Answer
from fbguard.core.credentials import AMBIGUOUS, MAX_LENGTH, MISSING
from fbguard.core.errors import Refused, StoreUnavailable
from fbguard.core.reasons import Finding
from fbguard.core.secret import Secret
from fbguard.core.served import Head, Request, Setting, finished, only, plain, unavailable
from fbguard.core.sources import is_same_origin
from fbguard.core.token import TokenInfo
from fbguard.login.cookies import Cookies, Journey, cookie_of
from fbguard.login.gate import Gate
from fbguard.login.places import LOGIN, LOGOUT, Places, is_of_this_site

_LOG: Final = logging.getLogger("fbguard")

_FOUND: Final = 302
_SEE_OTHER: Final = 303
_DONT_KNOW: Final = frozenset({429, 503})
_USED: Final = 10_000  # states that are remembered, of which a browser knows each for ten minutes
_SCOPE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x5b\x5d-\x7e]{1,100}")  # RFC 6749 section 3.3, no comma
_MOST_SCOPES: Final = 50
_AUTH_TYPES: Final = frozenset({"rerequest", "reauthenticate", "reauthorize"})
_DENIED: Final = "access_denied"
_ERROR: Final = re.compile(r"[a-z_]{1,40}")  # RFC 6749 section 4.1.2.1


class LoginRules:
    """Answers ``/login``, the callback and ``/logout``.

    ``after`` is the path to which people go who did not say where; ``scopes`` are asked for in each login;
    ``deadline`` is the seconds that one answer takes at most.
    """

    def __init__(
        self,
        gate: Gate,
        places: Places,
        cookies: Cookies,
        *,
        after: str,
        scopes: tuple[str, ...],
        deadline: float,
    ) -> None:
        self._gate = gate
        self._places = places
        self._cookies = cookies
        self._after = after
        self._scopes = scopes
        self.deadline = deadline
        self._used = _Used()
        self._routes: Mapping[str, tuple[str, Callable[[Request], Awaitable[Answer]]]] = {
            LOGIN: ("GET", self._begin),
            places.callback: ("GET", self._finish),
            LOGOUT: ("POST", self._log_out),
        }

    def admit(self, request: Request) -> Answer | int:
        """Return 0, no bytes of any body are read; or the answer that refuses it by its head."""
        found = self._handler(request)
        return finished(found) if isinstance(found, Answer) else 0

    async def answer(self, request: Request) -> Answer:
        """Do what is asked for and say so."""
        found = self._handler(request)
        return finished(found if isinstance(found, Answer) else await found(request))

    def _handler(self, request: Request) -> Callable[[Request], Awaitable[Answer]] | Answer:
        route = self._routes.get(request.path)
        if route is None:
            return plain(404, "There is nothing here.")
        method, handler = route
        if request.method != method:  # not HEAD: a login is no thing to look at
            return plain(405, "This method is not for here.", ("Allow", method))
        return handler

    async def _begin(self, request: Request) -> Answer:
        """Send the browser to Facebook's dialog."""
        asked = _names(request)
        auth_type, after = _given(request, "auth_type"), _given(request, "next")
        if asked is None or not (auth_type is None or auth_type in _AUTH_TYPES):
            return self._refused(request, self._gate.refusal(AMBIGUOUS))
        if not (after is None or is_of_this_site(after)):
            return self._refused(request, self._gate.refusal(AMBIGUOUS))
        journey = Journey.begin(after or self._after)
        scopes = tuple(dict.fromkeys((*self._scopes, *asked)))
        to = self._gate.dialog(scopes, auth_type, journey.state)
        return _sent(_FOUND, to, self._cookies.of_journey(journey))

    async def _finish(self, request: Request) -> Answer:
        """Let in who comes back from the dialog with the state of this very browser."""
        journey = self._journey(request)
        if journey is None or not self._used.take(journey.state):
            return self._refused(request, self._gate.refusal(MISSING))
        ended = self._cookies.without_journey()
        try:
            token, info = await self._exchanged(request)
        except Refused as refused:
            if refused.status in _DONT_KNOW:
                self._used.give_back(journey.state)  # the code may still be good: who asks again is heard
                return self._refused(request, refused)
            return self._refused(request, refused, ended)
        except BaseException:
            self._used.give_back(journey.state)
            raise
        seconds = max(int(info.expires - self._gate.now()), 0) if info.expires else None
        return _sent(
            _SEE_OTHER,
            self._places.absolute(journey.after),
            self._cookies.of_token(token, seconds),
            ended,
        )

    def _journey(self, request: Request) -> Journey | None:
        """Return the login that this browser is back from; None if it has begun none, or another one."""
        cookie = cookie_of(request.all("cookie"), self._cookies.state_name)
        journey = None if cookie is None else Journey.read(cookie)
        state = Secret(_given(request, "state") or "")
        if journey is None or not hmac.compare_digest(
            journey.state.reveal().encode(), state.reveal().encode("utf-8", "replace")
        ):
            return None
        return journey

    async def _exchanged(self, request: Request) -> tuple[Secret, TokenInfo]:
        error = _given(request, "error")
        if error == _DENIED:
            raise self._gate.refusal(Finding("not_authorized"))
        if error is not None:
            named = error if _ERROR.fullmatch(error) else "something else"
            _LOG.warning("Facebook's login dialog sent a person back with an error: %s", named)
            raise self._gate.refusal(Finding("unavailable", retry_after=1))
        code = Secret(_given(request, "code") or "")
        if not 0 < len(code.reveal()) <= MAX_LENGTH:
            raise self._gate.refusal(AMBIGUOUS)
        return await self._gate.let_in(code, Head(request))

    async def _log_out(self, request: Request) -> Answer:
        """End the session of the token that this browser has, and take it away."""
        after = _given(request, "next")
        head = Head(request)
        if not is_same_origin(head) or not (after is None or is_of_this_site(after)):
            return self._refused(request, self._gate.refusal(AMBIGUOUS))
        token = self._gate.sources.find(head)
        if isinstance(token, Secret):
            try:
                await self._gate.expire(token)
            except StoreUnavailable:  # refused here; the cookie stays, so that it can be ended everywhere
                return unavailable()
        return _sent(_SEE_OTHER, self._places.absolute(after or self._after), self._cookies.without_token())

    @staticmethod
    def _refused(request: Request, refused: Refused, *cookies: Secret) -> Answer:
        said = refused.answer(
            accept=", ".join(request.all("accept")), language=", ".join(request.all("accept-language"))
        )
        return Setting(said.status, said.headers, said.body, cookies)


class _Used:
    """States that have done their work. Safe for threads."""

    def __init__(self) -> None:
        self._states: MutableMapping[bytes, bool] = LRUCache(_USED)
        self._lock = threading.Lock()

    def take(self, state: Secret) -> bool:
        """Use a state; False if it was used before."""
        with self._lock:
            if state.digest() in self._states:
                return False
            self._states[state.digest()] = True
            return True

    def give_back(self, state: Secret) -> None:
        """Have it that the state was not used."""
        with self._lock:
            self._states.pop(state.digest(), None)


def _given(request: Request, name: str) -> str | None:
    """Return the one value of a parameter; None if it is empty, is not there or is there twice."""
    return only(request.query, name) or None


def _names(request: Request) -> tuple[str, ...] | None:
    """Return the scopes that a login asks for; None if they are none."""
    text = _given(request, "scope") or ""
    names = tuple(name for name in re.split(r"[ ,]+", text) if name)
    return names if len(names) <= _MOST_SCOPES and all(map(_SCOPE.fullmatch, names)) else None


def _sent(status: int, to: str, *cookies: Secret) -> Answer:
    """Send a browser on; the address that it comes from, which may hold a code, goes to nobody."""
    headers = [("Location", to), ("Referrer-Policy", "no-referrer")]
    return Setting(status, headers, b"", cookies)
