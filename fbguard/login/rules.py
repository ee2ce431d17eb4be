"""What a login does: to Facebook's dialog, back from it, and out again. No protocol yet.

``state`` is random, is known to one browser by a cookie, and works once (RFC 6749 section 10.12): who follows
another one's link back is not logged in as that other one.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import unquote

from fbguard.core.answers import Answer
from fbguard.core.credentials import MAX_LENGTH, screen
from fbguard.core.errors import Refused, StoreUnavailable
from fbguard.core.reasons import Finding, may_pass
from fbguard.core.secret import Secret
from fbguard.core.served import (
    FORM,
    Head,
    Request,
    Setting,
    finished,
    plain,
    too_large,
    unavailable,
)
from fbguard.core.sources import cookies_of
from fbguard.facebook.debug_token import UNAVAILABLE
from fbguard.login.cookies import Cookies, Journey
from fbguard.login.gate import Gate
from fbguard.login.parameters import given_in, scopes_in
from fbguard.login.places import LOGIN, LOGOUT, Places

_LOG: Final = logging.getLogger("fbguard")

_FOUND: Final = 302
_SEE_OTHER: Final = 303
_MOST_COOKIES: Final = 4  # of the token's name: ours, and what other hosts of the domain have planted
_AUTH_TYPES: Final = frozenset({None, "rerequest", "reauthenticate", "reauthorize"})
_LONGEST_FORM: Final = 4096  # bytes
_DENIED: Final = "access_denied"  # RFC 6749 section 4.1.2.1
_ERRORS: Final = ("error", "error_code")  # what the dialog comes back with instead of a code


_NO_LOGIN: Final = Finding(
    "invalid_request",
    detail="A login takes 'next', a path of this site but none of the login itself, 'scope' and 'auth_type' "
    "(rerequest, reauthenticate or reauthorize), each once.",
)
_NO_CODE: Final = Finding("invalid_request", detail="The callback takes one 'code' from Facebook.")
_NO_LOGOUT: Final = Finding(
    "invalid_request", detail="A log-out takes 'next', a path of this site but none of the login itself."
)
_OTHER_SITE: Final = Finding(
    "invalid_request",
    detail="A log-out must come from a page of this site: Sec-Fetch-Site or Origin must say so.",
)
_NO_JOURNEY: Final = Finding(
    "missing_token",
    detail="This way back from Facebook belongs to no login that was begun in this browser, at this host, "
    "within ten minutes.",
)
_USED: Final = Finding("missing_token", detail="This way back from Facebook was used before.")
_CAME_WITHOUT: Final = Finding("missing_token", detail="Facebook's dialog sent an error instead of a code.")


class LoginRules:
    """Answers ``/login``, the callback and ``/logout``.

    ``after`` is the path to which people go who did not say where, ``after_logout`` that of a log-out;
    ``scopes`` are asked for in each login; ``deadline`` is the seconds that one answer takes at most.
    """

    def __init__(
        self,
        gate: Gate,
        places: Places,
        cookies: Cookies,
        *,
        after: str,
        after_logout: str,
        scopes: tuple[str, ...],
        deadline: float,
    ) -> None:
        self._gate = gate
        self._places = places
        self._cookies = cookies
        self._after = after
        self._after_logout = after_logout
        self._is_placed = False  # somebody has begun a login: then it was looked where
        self._scopes = scopes
        self.deadline = deadline
        self._routes: Mapping[str, tuple[str, Callable[[Request], Awaitable[Answer]]]] = {
            LOGIN: ("GET", self._begin),
            places.callback: ("GET", self._finish),
            LOGOUT: ("POST", self._log_out),
        }

    def admit(self, request: Request) -> Answer | int:
        """Return how many bytes of a form are read; or the answer that refuses it by its head."""
        found = self._handler(request)
        if isinstance(found, Answer):
            return finished(found)
        return _LONGEST_FORM if request.path == LOGOUT and request.media_types == [FORM] else 0

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
        return handler if self._gate.is_open() else unavailable()

    async def _begin(self, request: Request) -> Answer:
        """Send the browser to Facebook's dialog."""
        self._look_where(request.root)
        given = given_in(request, "scope", "auth_type", "next")
        after = None if given is None else self._place(given["next"] or self._after)
        scopes = None if given is None else scopes_in(given["scope"])
        if given is None or after is None or scopes is None or given["auth_type"] not in _AUTH_TYPES:
            return _refused(request, self._gate.refusal(_NO_LOGIN))
        journey = Journey.begin(after, self._gate.now())
        asked = tuple(dict.fromkeys((*self._scopes, *scopes)))
        return _sent(
            _FOUND,
            self._gate.dialog(asked, given["auth_type"], journey.state),
            self._cookies.of_journey(journey.written(self._gate.secrets[0])),
        )

    def _look_where(self, root: str) -> None:
        """Tell of a mount to which nobody comes back. A proxy may put something before it, or take it off."""
        folder = unquote(self._places.folder)
        if not self._is_placed and not folder.endswith(root) and not (folder and root.endswith(folder)):
            _LOG.warning(
                "a login is mounted elsewhere than redirect_uri says: Facebook sends people to %s%s",
                self._places.folder,
                self._places.callback,
            )
        self._is_placed = True

    async def _finish(self, request: Request) -> Answer:
        """Let in who comes back from the dialog with the state of this very browser."""
        journey = self._journey(request)
        if journey is None:
            return _refused(request, self._gate.refusal(_NO_JOURNEY))
        if not self._gate.used.take(journey.state):
            return _refused(request, self._gate.refusal(_USED), back=journey.after)
        try:
            code = self._code(request)
        except Refused as refused:
            return _refused(request, refused, self._cookies.without_journey(), back=journey.after)
        try:
            token = await self._gate.exchange(code, Head(request))
        except Refused as refused:
            if not may_pass(refused.reason):
                return _refused(request, refused, self._cookies.without_journey(), back=journey.after)
            self._gate.used.give_back(journey.state)  # the code may still be good: who asks again is heard
            return _refused(request, refused)
        except BaseException:
            self._gate.used.give_back(journey.state)
            raise
        return await self._let_in(request, token, journey)

    async def _let_in(self, request: Request, token: Secret, journey: Journey) -> Answer:
        """Give a browser the token for its code, which is spent by now."""
        ended = self._cookies.without_journey()
        try:
            info = await self._gate.facts(token)
            if not self._cookies.fits(token):
                raise self._gate.refusal(UNAVAILABLE)
        except Refused as refused:
            return _refused(request, refused, ended, back=journey.after)
        # Unknown facts are found out when the token comes: each request is judged.
        ends = 0 if info is None else info.expires
        seconds = max(int(ends - self._gate.now()), 0) if ends else None
        return _sent(
            _SEE_OTHER,
            Secret(self._places.absolute(journey.after)),
            self._cookies.of_token(token, seconds),
            ended,
        )

    def _journey(self, request: Request) -> Journey | None:
        """Return the login that this browser is back from; None if it has begun none, or another one."""
        cookies = cookies_of(request.all("cookie"), self._cookies.state_name)
        journey = (
            Journey.read(cookies[0], self._gate.secrets, self._gate.now()) if len(cookies) == 1 else None
        )
        given = given_in(request, "state")
        state = Secret((None if given is None else given["state"]) or "")
        if journey is None or not hmac.compare_digest(
            journey.state.reveal().encode(), state.reveal().encode("utf-8", "replace")
        ):
            return None
        return journey

    def _code(self, request: Request) -> Secret:
        """Return Facebook's code; raises Refused for what it has sent instead."""
        given = given_in(request, "code", *_ERRORS)
        if given is None:
            raise self._gate.refusal(_NO_CODE)
        if given["error"] == _DENIED:
            raise self._gate.refusal(Finding("not_authorized"))
        if any(given[name] is not None for name in _ERRORS):
            _LOG.debug("Facebook's login dialog sent a person back with an error")
            raise self._gate.refusal(_CAME_WITHOUT)  # not "later": this address stays what it is
        code = Secret(given["code"] or "")
        if not 0 < len(code.reveal()) <= MAX_LENGTH:
            raise self._gate.refusal(_NO_CODE)
        return code

    async def _log_out(self, request: Request) -> Answer:
        """End the sessions of the tokens that this browser has, and take them away."""
        if len(request.body) > _LONGEST_FORM:
            return too_large()
        if not self._is_own(request):
            return _refused(request, self._gate.refusal(_OTHER_SITE))
        given = given_in(request, "next")
        after = None if given is None else self._place(given["next"] or self._after_logout)
        if after is None:
            return _refused(request, self._gate.refusal(_NO_LOGOUT))
        cookies = cookies_of(request.all("cookie"), self._cookies.token_name)
        tokens = [one for one in cookies if isinstance(screen(one, id_tokens=True), Secret)]
        ends = (self._gate.expire(token, Head(request)) for token in tokens[:_MOST_COOKIES])
        for failure in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(failure, Refused):
                return _refused(request, failure)
            if isinstance(failure, StoreUnavailable):  # the cookie stays, so that it can be ended everywhere
                return unavailable()
            if failure is not None:
                raise failure
        return _sent(_SEE_OTHER, Secret(self._places.absolute(after)), self._cookies.without_token())

    def _place(self, path: str) -> str | None:
        """Return where a browser is to go in the end; None for what is no such place."""
        return path if self._places.may_follow(path) else None

    def _is_own(self, request: Request) -> bool:
        """Tell a form of this site from one of another: by what browsers say, and no script can."""
        said = request.all("sec-fetch-site")
        if said:
            return said == ["same-origin"]
        return [one.lower() for one in request.all("origin")] == [self._places.origin.lower()]


def _refused(request: Request, refused: Refused, *cookies: Secret, back: str | None = None) -> Answer:
    said = refused.answer(
        accept=", ".join(request.all("accept")),
        language=", ".join(request.all("accept-language")),
        back=back,
        method=request.method,
    )
    return Setting(said.status, said.headers, said.body, cookies)


def _sent(status: int, to: Secret, *cookies: Secret) -> Answer:
    """Send a browser on; the address that it comes from, which may hold a code, goes to nobody."""
    headers = [
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Location", to.reveal()),
        ("Referrer-Policy", "no-referrer"),
    ]
    return Setting(status, headers, b"", cookies)
