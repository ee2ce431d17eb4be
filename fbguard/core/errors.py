"""The exceptions users meet.

Exception
├── Refused          the one answer for "no" and "don't know": 400, 401, 403, 429 or 503
├── OAuthException   what Graph said when a view called it
└── StoreUnavailable the shared store is away: what was asked for took effect in this process only
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

from fbguard.core import messages
from fbguard.core.answers import Answer, Relogin
from fbguard.core.reasons import REASONS, Finding, classify_call_error, row_of
from fbguard.core.rendering import render

Category = Literal["login_recoverable", "transient", "other"]

_POLICY_BLOCK = 368  # "blocked for abuse": we wait, but no retry of the app's helps
_UNAUTHORIZED = 401
_SAFE = frozenset({"GET", "HEAD"})
_WRONG_APP = "wrong_app"  # a #100, which is no matter of logging in to the mobile SDKs


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not a fault of the program
    """This request may not pass, or nobody can tell whether it may. Holds no token.

    ``status`` is the HTTP status; ``reason`` one of the names of
    :data:`fbguard.core.reasons.REASONS`; ``code`` and ``subcode`` are what Graph said (None when it
    said nothing); ``relogin`` tells how the person gets back in; ``retry_after`` is whole seconds
    or None; ``challenge`` is the value of ``WWW-Authenticate`` or None. ``leads_back`` tells that
    ``relogin.url`` is the app's own login, which takes a ``next``.
    """

    def __init__(
        self,
        finding: Finding,
        relogin: Relogin,
        challenge: str | None = None,
        *,
        leads_back: bool = False,
    ) -> None:
        super().__init__(finding, relogin, challenge)
        self._leads_back = leads_back
        self._reason = row_of(finding)
        self.status = self._reason.status
        self.reason = finding.reason
        self.code = finding.code
        self.subcode = finding.subcode
        self.relogin = relogin
        self.retry_after = relogin.retry_after
        self.challenge = challenge

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self._reason.detail}"

    def is_at_login(self, path: str) -> bool:
        """Tell whether this percent-encoded path is where a login of the app's own begins."""
        url = self.relogin.url if self._leads_back else None
        return url is not None and unquote(urlsplit(url).path) == unquote(path)

    def answer(
        self,
        accept: str | None = None,
        language: str | None = None,
        *,
        back: str | None = None,
        method: str = "GET",
    ) -> Answer:
        """Return the refusal as status, headers and body, rendered for one request.

        ``accept`` and ``language`` are the values of the request's Accept and Accept-Language
        headers. A browser that follows a link (``Accept: text/html``) gets a page, everybody else the
        problem body (RFC 9457). ``back`` is the percent-encoded path that the browser asked for: the page's
        button comes back to it, if the app has a login of its own. ``method`` is the request's: a link, which
        is a GET, tries nothing else again.
        """
        return render(
            self._reason,
            code=self.code,
            subcode=self.subcode,
            relogin=self.relogin,
            challenge=self.challenge,
            accept=accept,
            language=language,
            back=back if self._leads_back else None,
            is_safe=method in _SAFE,
        )


class OAuthException(Exception):  # noqa: N818 - the name that Graph gives it
    """What Graph said instead of doing what a view asked (Graph API, "Handling errors").

    :func:`fbguard.raise_for_graph_error` raises it; code of the application may, too. Let it leave the
    view: if it is about the token of this request, the client gets the answer of :attr:`reason`, 401
    with a re-login hint for a dead token, and what was known of the token is forgotten. Else it is an
    exception of the application like any other.

    ``message`` is for developers, ``user_title`` and ``user_message`` are for the person, in the
    language of the call; ``code``, ``subcode`` and ``type`` are None or empty where Graph said none;
    ``error_data`` is a mapping or a str; ``retry_after`` is the seconds that Graph's usage headers
    ask for. ``token_fingerprint`` names the token of the call, as
    :attr:`fbguard.TokenInfo.fingerprint` does: None stands for this request's token, "" for none or
    another one. Holds no token. Raises TypeError for a code that is no int.
    """

    #: SHA-256 digest of the call's token, where the fingerprint cannot be made: in a thread of one's own.
    token_key: bytes | None = None

    def __init__(
        self,
        message: str,
        *,
        type: str = "OAuthException",  # noqa: A002 - Graph's word
        code: int | None = None,
        subcode: int | None = None,
        user_title: str | None = None,
        user_message: str | None = None,
        error_data: Mapping[str, Any] | str | None = None,
        is_transient: bool = False,
        fbtrace_id: str | None = None,
        retry_after: int | None = None,
        token_fingerprint: str | None = None,
    ) -> None:
        super().__init__(message)
        for number in (code, subcode):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int)):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError("code and subcode are int or None")
        self.message = message
        self.type = type
        self.code = code
        self.subcode = subcode
        self.user_title = user_title
        self.user_message = user_message
        self.error_data = error_data
        self.is_transient = is_transient
        self.fbtrace_id = fbtrace_id
        self.retry_after = retry_after
        self.token_fingerprint = token_fingerprint

    @property
    def reason(self) -> str | None:
        """Of :data:`fbguard.core.reasons.REASONS`; None for what is the application's own matter."""
        return classify_call_error(self.code, self.subcode, self.message, transient=self.is_transient)

    @property
    def category(self) -> Category:
        """What helps: a login, time, or neither, in the three words of Facebook's mobile SDKs.

        Their lists are short (102, 190, 412; 2, 4, 9, 17, 341); the codes that this package knows beyond
        them are sorted in, too.
        """
        reason = self.reason
        if reason in {"throttled", "unavailable"}:
            return "transient" if self.is_transient or self.code != _POLICY_BLOCK else "other"
        if reason is None or reason == _WRONG_APP or REASONS[reason].status != _UNAUTHORIZED:
            return "other"
        return "login_recoverable"

    def recovery_message(self, language: str | None = None) -> str | None:
        """Return what the person can do, None if nothing; ``language`` is a value of Accept-Language."""
        reason = self.reason
        return None if reason is None else messages.message(reason, messages.choose(language))

    def __str__(self) -> str:
        numbers = "/".join(str(number) for number in (self.code, self.subcode) if number is not None)
        return f"{self.type or 'Graph error'}{f' {numbers}' if numbers else ''}: {self.message}"


class StoreUnavailable(Exception):  # noqa: N818 - as its neighbours
    """The shared store is away: what was asked for took effect in this process only."""

    def __str__(self) -> str:
        return super().__str__() or "the store is away: this took effect in this process only"
