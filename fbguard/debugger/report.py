"""What there is to say about one token: the verdict and the facts, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from fbguard.core.credentials import is_id_token
from fbguard.core.errors import Refused
from fbguard.core.limited_login import LIMITED_LOGIN
from fbguard.core.reasons import REASONS, TRANSIENT_CODES
from fbguard.core.requirement import Requirement
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.debugger.moments import iso
from fbguard.guard import Guard

Targets = tuple[str, ...] | Literal["all"]

_DONT_KNOW: Final = 503
# The judge looks at the type after everything that makes a token good or bad, so whoever is refused
# for it holds a living token of this app.
_OTHER_KIND: Final = "wrong_token_type"
# Without what verifies ID tokens: nothing was said about this one.
_NOT_READ: Final = "limited_login"
_NO_TIME: Final = "not said"
#: What an operator does about a credential that Graph refuses.
MEND_THE_APP: Final = (
    "Compare the app's id and secret with its dashboard; if they belong together, see there whether the app "
    "is disabled or restricted."
)
_USER_TOKEN: Final = Requirement()
_ID_TOKEN: Final = Requirement(token_types=[LIMITED_LOGIN])


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A token's facts (None: nothing is known), and why the guard refuses it (None: it does not).

    ``app_id`` is the app that asked, ``asked`` the address that it asked, ``now`` when, in seconds.
    """

    info: TokenInfo | None
    refused: Refused | None
    app_id: str
    asked: str
    now: float

    @property
    def valid(self) -> bool | None:
        """Whether the token is valid for this app; None when nobody can tell."""
        if self.refused is None or self.refused.reason == _OTHER_KIND:
            return True
        return None if self.refused.status == _DONT_KNOW or self.refused.reason == _NOT_READ else False

    @property
    def owner(self) -> str | None:
        """The id of the app that the token was issued to."""
        return (self.info.app_id or None) if self.info else None

    @property
    def is_this_app(self) -> bool | None:
        """Whether the token was issued to the app that asked; None when nobody said."""
        if self.refused is not None and self.refused.reason == "wrong_app":
            return False
        return None if self.owner is None else self.owner == self.app_id

    @property
    def reads(self) -> bool:
        """Whether Graph told more about the token than that it is none."""
        return self.info is not None and bool(self.info.app_id or self.info.type or self.info.scopes)

    @property
    def targets(self) -> Mapping[str, Targets | None] | None:
        """Scope -> the objects it was granted for, None where it is not listed beside others.

        None in place of all that: Graph made no difference between objects.
        """
        if self.info is None or not self.info.granular_scopes:
            return None
        granted = self.info.granular_scopes
        names = sorted({*granted, *self.info.scopes})
        return {name: _targets(granted[name]) if name in granted else None for name in names}

    @property
    def data_access_lapsed(self) -> bool:
        """Whether the app may not read the person's data any more."""
        return self.info is not None and 0 < self.info.data_access_expires <= self.now

    def notes(self) -> Iterator[str]:
        """Give what a developer should know besides."""
        if self.refused is not None and (note := self._note(self.refused)):
            yield note
        if self.refused is None and self.info is not None and self.info.type == LIMITED_LOGIN:
            yield _other_kind(self.info)
        if self.valid and self.data_access_lapsed:
            row = REASONS["data_access_expired"]
            yield f"Routes that ask for scopes answer {row.status} {row.name}: {row.detail}"

    def _note(self, refused: Refused) -> str | None:
        if refused.reason == _NOT_READ:
            return "It is an ID token of Limited Login, which needs fbguard[jwt] to be verified."
        if refused.reason == _OTHER_KIND and self.info is not None:
            return _other_kind(self.info)
        if refused.reason == "wrong_app":
            return "Only the app that it was issued to can inspect it."
        if refused.reason == "malformed_token":
            return REASONS[refused.reason].detail
        if _is_the_apps_fault(refused):
            return (
                "Graph refused the call itself, not the token: perhaps the app id and the secret do not"
                " belong together."
            )
        if refused.reason == "unavailable" and refused.code is None:
            return f"{self.asked} gave no answer in time, or none that could be read."
        return None

    @property
    def to_do(self) -> str | None:
        """What helps: the sentence for the person; for the operator, of what only an operator can mend."""
        if self.refused is None or self.valid:
            return None
        return MEND_THE_APP if _is_the_apps_fault(self.refused) else self.refused.relogin.message

    @property
    def more(self) -> str | None:
        """The command that tells more about the refusal."""
        if self.refused is None:
            return None
        if self.refused.subcode is not None:
            return f"fbguard explain {self.refused.code} {self.refused.subcode}"
        return f"fbguard explain {self.refused.reason}"

    def expires(self) -> str | None:
        """Return the words for an end of the token's that is no date."""
        if self.info is None or self.info.expires:
            return None
        return "never" if self.info.error is None else _NO_TIME

    def as_json(self) -> dict[str, object]:
        """Return all of it for programs; null where nothing was said."""
        info, refused = self.info, self.refused
        facts = info if info is not None and self.reads else None
        return {
            "valid": self.valid,
            "application": (facts.application or None) if facts else None,
            "app_id": self.owner,
            "is_this_app": self.is_this_app,
            "user_id": facts.user_id if facts else None,
            "profile_id": facts.profile_id if facts else None,
            "type": (facts.type or None) if facts else None,
            "is_valid": facts.is_valid if facts else None,
            "issued_at": iso(facts.issued_at) if facts else None,
            "expires_at": iso(facts.expires_at) if facts else None,
            "data_access_expires_at": iso(facts.data_access_expires_at) if facts else None,
            "scopes": sorted(facts.scopes) if facts else None,
            "granular_scopes": self.targets,
            "fingerprint": (info.fingerprint or None) if info else None,
            "code": refused.code if refused else None,
            "subcode": refused.subcode if refused else None,
            "reason": refused.reason if refused else None,
            "status": refused.status if refused else None,
            "action": refused.relogin.action if refused else None,
            "auth_type": refused.relogin.auth_type if refused else None,
            "retry_after": refused.retry_after if refused else None,
            "message": refused.relogin.message if refused else None,
            "notes": list(self.notes()),
        }


def need_for(token: Secret) -> Requirement:
    """Return what a token is judged by when it is looked at for its own sake."""
    return _ID_TOKEN if is_id_token(token) else _USER_TOKEN


def report_of(guard: Guard, token: Secret, refused: Refused | None) -> Report:
    """Return the report about a token that the guard has just judged by :func:`need_for`."""
    return Report(
        info=guard.peek(token.reveal()),
        refused=refused,
        app_id=guard.app_id,
        asked=guard.jwks_url if is_id_token(token) else guard.graph_url,
        now=guard.now(),
    )


def _other_kind(info: TokenInfo) -> str:
    return f"Only routes with token_types={[info.type]!r} take it; all others refuse it."


def _is_the_apps_fault(refused: Refused) -> bool:
    """Tell a credential, or an app, that Graph does not take from all that a token's owner can mend."""
    return refused.reason == "misconfigured" or _blames_the_call(refused)


def _blames_the_call(refused: Refused) -> bool:
    """Tell an error of Graph's about our own call from an outage."""
    return refused.reason == "unavailable" and refused.code not in {None, *TRANSIENT_CODES}


def _targets(ids: tuple[str, ...] | None) -> Targets:
    return "all" if ids is None else ids
