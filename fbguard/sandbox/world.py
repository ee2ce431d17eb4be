"""The state of the sandbox: one app, the tokens it issued, its users, its moods, its call log."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from fbguard.sandbox.errors import APP_REMOVED
from fbguard.sandbox.logins import Logins
from fbguard.sandbox.moods import Batching, Failure
from fbguard.sandbox.signing_keys import SigningKeys

if TYPE_CHECKING:
    from fbguard.sandbox.arguments import GranularScopes

# A sandbox may run for weeks; its log must not grow with it.
_MAX_CALLS = 100_000
# No id and no word of Graph's is longer, so a longer segment of a path may be a token.
_MAX_SEGMENT = 64
_GRANTED = "granted"
_DECLINED = "declined"


@dataclass(frozen=True, slots=True)
class App:
    """A Facebook app as its dashboard shows it; the secret stays out of the repr."""

    app_id: str
    name: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """What the sandbox knows of one token; the token itself is not in it. Times in unix seconds."""

    app_id: str
    type: str
    user_id: str | None
    profile_id: str | None
    scopes: tuple[str, ...]
    granular_scopes: GranularScopes | None
    issued_at: int
    expires_at: int  # 0: never
    data_access_expires_at: int  # 0: never
    long_lived: bool
    ended: int | None = None  # the subcode that tells how the session ended

    @property
    def subject(self) -> str:
        """The id that ``/me`` stands for: the page's or the person's; empty for an app token."""
        return self.profile_id or self.user_id or ""

    def covers(self, scope: str, target: str) -> bool:
        """Tell whether the token has a permission for this target."""
        if scope not in self.scopes:
            return False
        if not self.granular_scopes:
            return True
        targets = dict(self.granular_scopes).get(scope, ())
        return targets is None or target in targets

    def without(self, scope: str) -> IssuedToken:
        """Return the same token less one permission."""
        granular = self.granular_scopes
        if granular is not None:
            granular = tuple(pair for pair in granular if pair[0] != scope)
        return replace(
            self, scopes=tuple(name for name in self.scopes if name != scope), granular_scopes=granular
        )

    def pages(self) -> set[str]:
        """Return the ids that the token shows to be pages."""
        named = {
            target
            for scope, targets in self.granular_scopes or ()
            for target in targets or ()
            if scope.startswith("pages_")  # the targets of others may be ad accounts or businesses
        }
        return named if self.profile_id is None else named | {self.profile_id}


@dataclass(frozen=True, slots=True)
class Call:
    """One Graph call that arrived; ``status`` is None when the connection was broken instead."""

    method: str
    path: str
    status: int | None

    @classmethod
    def of(cls, method: str, path: str, status: int | None) -> Call:
        """Build a record; its path is on one line and without anything in it that could be a token."""
        shown = "".join(letter if letter.isprintable() else "?" for letter in path)
        parts = ("***" if len(part) > _MAX_SEGMENT or "|" in part else part for part in shown.split("/"))
        return cls(method, "/".join(parts), status)


class World:
    """All state, behind one lock; records are replaced, never changed, so readers need no copy."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.logins = Logins()
        self.signing_keys = SigningKeys()
        self._lock = threading.Lock()
        self._tokens: dict[str, IssuedToken] = {}
        self._by_user: dict[str, list[str]] = {}
        # What a person answered when an app asked, by app and person: permission to status. It outlives
        # the sessions and ends when the app is removed.
        self._grants: dict[tuple[str, str], dict[str, str]] = {}
        self._session_keys: dict[str, str] = {}
        self._pages: set[str] = set()
        self._held: dict[str, int] = {}
        self._proof_required = False
        self._throttled: int | None = None
        self._failure: Failure | None = None
        self._batching = Batching()
        self._calls: deque[Call] = deque(maxlen=_MAX_CALLS)

    @property
    def proof_required(self) -> bool:
        """Whether the app takes no token of a person or a page without a proof."""
        return self._proof_required

    @property
    def throttled(self) -> int | None:
        """The code that every Graph call is answered with, if any."""
        return self._throttled

    @property
    def batching(self) -> Batching:
        """How batch calls are taken."""
        return self._batching

    def __len__(self) -> int:
        """Return how many tokens were issued."""
        return len(self._tokens)

    def find(self, token: str) -> IssuedToken | None:
        """Return the record of a token that was issued here."""
        return self._tokens.get(token)

    def token_of(self, session_key: str) -> str:
        """Return the token that a session key stands for: itself, if it is none."""
        return self._session_keys.get(session_key, session_key)

    def held(self, user_id: str | None) -> int | None:
        """Return the subcode that bars every session of this user for now."""
        return None if user_id is None else self._held.get(user_id)

    def add(self, token: str, record: IssuedToken) -> None:
        """Take up a token that was just issued."""
        with self._lock:
            self._tokens[token] = record
            self._pages |= record.pages()
            if record.user_id is not None:
                self._by_user.setdefault(record.user_id, []).append(token)
                grants = self._grants.setdefault((record.app_id, record.user_id), {})
                grants |= dict.fromkeys(record.scopes, _GRANTED)

    def add_session_key(self, session_key: str, token: str) -> None:
        """Let a session key stand for a token."""
        with self._lock:
            self._session_keys[session_key] = token

    def expire(self, token: str, now: float) -> None:
        """Let a token's time run out at ``now``, unless it already has."""
        with self._lock:
            record = self._tokens[token]
            until = min(record.expires_at or int(now), int(now))
            self._tokens[token] = replace(record, expires_at=until)

    def end_token(self, token: str, subcode: int) -> None:
        """End one session."""
        with self._lock:
            self._tokens[token] = replace(self._tokens[token], ended=subcode)

    def end_sessions(self, user_id: str, subcode: int) -> None:
        """End every session that this user has now."""
        with self._lock:
            for token in self._by_user[user_id]:
                self._tokens[token] = replace(self._tokens[token], ended=subcode)

    def remove_app(self, user_id: str, app_id: str) -> None:
        """End this user's sessions of one app, and all that it was granted."""
        with self._lock:
            for token in self._by_user[user_id]:
                record = self._tokens[token]
                if record.app_id == app_id:
                    self._tokens[token] = replace(record, ended=APP_REMOVED)
            self._grants.get((app_id, user_id), {}).clear()
        if app_id == self.app.app_id:
            self.logins.void(user_id)

    def grants(self, user_id: str, app_id: str) -> dict[str, str] | None:
        """Return what this user answered an app, permission by permission; None for a stranger."""
        with self._lock:
            grants = self._grants.get((app_id, user_id))
            return None if grants is None else dict(grants)

    def answer(
        self, user_id: str, allowed: tuple[str, ...], declined: tuple[str, ...], *, anew: bool
    ) -> tuple[str, ...]:
        """Note what a person answered our app in the login dialog; return all that it is granted now.

        What was declined before is asked for again only if the app asks ``anew``.
        """
        with self._lock:
            grants = self._grants.setdefault((self.app.app_id, user_id), {})
            for scope in allowed:
                if anew or grants.get(scope) != _DECLINED:
                    grants[scope] = _GRANTED
            for scope in declined:
                grants.setdefault(scope, _DECLINED)
        return self.granted(user_id)

    def granted(self, user_id: str) -> tuple[str, ...]:
        """Return what a person grants our app now."""
        grants = self.grants(user_id, self.app.app_id) or {}
        return tuple(scope for scope, status in grants.items() if status == _GRANTED)

    def decline(self, user_id: str, app_id: str, scope: str) -> None:
        """Take one permission from every token that the app has of this user."""
        with self._lock:
            grants = self._grants.get((app_id, user_id), {})
            if scope in grants:
                grants[scope] = _DECLINED
            for token in self._by_user.get(user_id, ()):
                record = self._tokens[token]
                if record.app_id == app_id:
                    self._tokens[token] = record.without(scope)

    def knows(self, user_id: str) -> bool:
        """Tell whether a token of this user was ever issued."""
        return user_id in self._by_user

    def is_page(self, node: str) -> bool:
        """Tell whether an id is known to be a page's."""
        return node in self._pages

    def hold(self, user_id: str, subcode: int | None) -> None:
        """Bar every session of this user, present and future; None lifts the bar."""
        with self._lock:
            if subcode is None:
                self._held.pop(user_id, None)
            else:
                self._held[user_id] = subcode

    def require_proof(self, required: bool) -> None:
        """Change that setting of the app."""
        with self._lock:
            self._proof_required = required

    def throttle(self, code: int | None) -> None:
        """Answer every Graph call with this code; None ends it."""
        with self._lock:
            self._throttled = code

    def batch(self, batching: Batching) -> None:
        """Take batch calls like this from now on."""
        with self._lock:
            self._batching = batching

    def fail(self, failure: Failure | None) -> None:
        """Answer the next Graph calls with this fault; None ends it."""
        with self._lock:
            self._failure = failure

    def take_failure(self) -> Failure | None:
        """Return the fault that the call at hand meets, and count it."""
        with self._lock:
            failure = self._failure
            if failure is not None and failure.left is not None:
                left = failure.left - 1
                self._failure = replace(failure, left=left) if left else None
            return failure

    def log(self, call: Call) -> None:
        """Write down a call."""
        with self._lock:
            self._calls.append(call)

    def calls(self) -> tuple[Call, ...]:
        """Return the calls so far, oldest first."""
        with self._lock:
            return tuple(self._calls)
