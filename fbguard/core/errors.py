"""The exceptions users meet.

Exception
└── Refused     the one answer for "no" and "don't know": 400, 401, 403, 429 or 503
"""

from __future__ import annotations

from fbguard.core.answers import Answer, Relogin, problem
from fbguard.core.reasons import REASONS, Finding


class Refused(Exception):  # noqa: N818 - a refusal is an answer, not a fault of the program
    """This request may not pass, or nobody can tell whether it may. Holds no token.

    ``status`` is the HTTP status; ``reason`` one of the names of
    :data:`fbguard.core.reasons.REASONS`; ``code`` and ``subcode`` are what Graph said (None when it
    said nothing); ``relogin`` tells how the person gets back in; ``retry_after`` is whole seconds
    or None; ``challenge`` is the value of ``WWW-Authenticate`` or None.
    """

    def __init__(self, finding: Finding, relogin: Relogin, challenge: str | None = None) -> None:
        super().__init__(finding, relogin, challenge)
        self._reason = REASONS[finding.reason]
        self.status = self._reason.status
        self.reason = finding.reason
        self.code = finding.code
        self.subcode = finding.subcode
        self.relogin = relogin
        self.retry_after = relogin.retry_after
        self.challenge = challenge

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self._reason.detail}"

    def answer(self, accept: str | None = None, language: str | None = None) -> Answer:
        """Return the refusal as status, headers and body, rendered for one request.

        ``accept`` and ``language`` are the values of the request's Accept and Accept-Language
        headers. Every client gets the problem body (RFC 9457) today, whatever it accepts.
        """
        del accept  # a page for browser navigations will read it
        return problem(
            self._reason,
            code=self.code,
            subcode=self.subcode,
            relogin=self.relogin,
            challenge=self.challenge,
            language=language,
        )
