"""Sessions that end: by the app, by Facebook's callbacks, by legacy clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from fbguard.core import background, credentials, settings
from fbguard.core.cache import FactCache, key_of
from fbguard.core.errors import Refused, StoreUnavailable
from fbguard.core.lookups import LookUps
from fbguard.core.reasons import Finding, may_pass
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.legacy.sessions import SessionRegistry
from fbguard.revocation.live import LiveConnections, Watch
from fbguard.revocation.revoker import Revoker
from fbguard.stores.news import News
from fbguard.verdicts import Verdicts

if TYPE_CHECKING:
    from fbguard.mounts import MountedASGI, MountedWSGI
    from fbguard.revocation.callbacks import Callbacks
    from fbguard.revocation.live import End

Upstream = Literal["revoke"] | None

_SPREADING = 2.0  # seconds; the store is given one
_ME = "me"  # in Graph's paths


class EndsSessions(Verdicts):
    """The part of a :class:`fbguard.Guard` that ends sessions."""

    app_id: str
    live: LiveConnections
    _secrets: Sequence[Secret]
    _registry: SessionRegistry
    _cache: FactCache
    _look_ups: LookUps

    def expire_session(self, token: str, *, upstream: Upstream = None) -> None:
        """End the session of a token: when this returns, the token is refused (``session_invalidated``).

        That is today's ``Auth.expireSession``: look-ups under way and open connections learn of it, too.
        With ``upstream="revoke"`` Facebook is asked to take the app's permissions away, which ends every
        token of that person for the app (``DELETE /{user}/permissions``). If it does not, the token is
        refused here all the same, and what Graph said is raised: OAuthException, or Refused (503) when it
        did not say. For a token of Limited Login, which Graph does not know, that is Refused (401). With the
        shared store away it is refused here, and StoreUnavailable is raised. Raises TypeError for what is no
        str, ValueError for another ``upstream``, RuntimeError once the guard is closed.
        """
        given = credentials.boxed(token)
        del token
        if not self._may_end(given, upstream):
            return
        user, news = self._user_of(given), self._revoker.expire_here(given)
        if upstream is None:
            self._spread(news)
        else:
            self._wait(self._end_everywhere(given, user, news))

    async def aexpire_session(self, token: str, *, upstream: Upstream = None) -> None:
        """Do what :meth:`expire_session` does, awaiting."""
        given = credentials.boxed(token)
        del token
        if not self._may_end(given, upstream):
            return
        user, news = self._user_of(given), self._revoker.expire_here(given)
        if upstream is None:
            await self._revoker.spread(news)
        else:
            await self._end_everywhere(given, user, news)

    def forget_user(self, user_id: str) -> None:
        """Have every token of a user looked up anew, look-ups under way included.

        Raises TypeError for what is no str, RuntimeError once the guard is closed.
        """
        user = _user(user_id)
        self._refuse_closed()
        self._spread(self._revoker.forget_user_here(user))

    async def aforget_user(self, user_id: str) -> None:
        """Do what :meth:`forget_user` does, awaiting."""
        user = _user(user_id)
        self._refuse_closed()
        await self._revoker.forget_user(user)

    def register_session(self, token: str, session_key: str, secret: str | None = None) -> None:
        """Let a legacy client end this token's session by ``session_key``, its secret or the app's signing.

        For ``/restserver.php`` of :meth:`callbacks_asgi`; in this process only. Raises TypeError for what is
        no str, ValueError for a key that is empty, longer than 256 characters, or holds white space, ``=`` or
        what is not printable ASCII, and for such a secret.
        """
        given, key = credentials.boxed(token), credentials.boxed(session_key)
        its_secret = None if secret is None else credentials.boxed(secret)
        del token, session_key, secret
        for option, value in (("token", given), ("session_key", key), ("secret", its_secret)):
            if value is not None:
                _check(option, value)
        self._registry.register(key, given, its_secret)

    def callbacks_asgi(
        self,
        verify_token: str | None = None,
        *,
        delete: Callable[[str, str], object] | None = None,
        status_url: str | None = None,
    ) -> MountedASGI:
        """Return an ASGI app for what Facebook and legacy clients call; mount it on a public path.

        ``/deauthorize`` and ``/data-deletion`` refuse the user's tokens up to then, ``/webhook`` has them
        looked up anew, ``/restserver.php`` is ``Auth.expireSession`` of 2009. ``verify_token`` is that of the
        dashboard's webhook form (None: the handshake is 403). ``delete(user_id, confirmation_code)`` is the
        app's own deletion, plain or async, and may be called twice. ``status_url`` is the public address of
        ``/data-deletion``, if a proxy hides it. Raises TypeError or ValueError naming the option.
        """
        from fbguard.mounts import MountedASGI  # noqa: PLC0415

        boxed = settings.boxed(verify_token)
        del verify_token
        return MountedASGI(self._callbacks(boxed, delete, status_url))

    def callbacks_wsgi(
        self,
        verify_token: str | None = None,
        *,
        delete: Callable[[str, str], object] | None = None,
        status_url: str | None = None,
    ) -> MountedWSGI:
        """Return what :meth:`callbacks_asgi` returns, as a WSGI app."""
        from fbguard.mounts import MountedWSGI  # noqa: PLC0415

        boxed = settings.boxed(verify_token)
        del verify_token
        return MountedWSGI(self._callbacks(boxed, delete, status_url))

    def _callbacks(
        self, verify_token: Any, delete: Callable[[str, str], object] | None, status_url: str | None
    ) -> Callbacks:
        # Here: what nobody mounts is not even imported.
        from fbguard.legacy.endpoint import LegacyEndpoint  # noqa: PLC0415
        from fbguard.revocation.callbacks import Callbacks  # noqa: PLC0415

        sessions = _Sessions(self._revoker, self._refuse_closed)
        return Callbacks(
            sessions,
            self._secrets,
            now=self.now,
            verify_token=verify_token,
            delete=delete,
            status_url=status_url,
            endpoint=LegacyEndpoint(
                self.app_id,
                self._secrets,
                sessions,
                self._registry,
                self._is_ours,
                id_tokens=self.sources.id_tokens,
            ),
        )

    async def _is_ours(self, token: Secret) -> bool | None:
        """Tell whether this is a token of the app, alive or not; None if nobody can tell."""
        if self._revoker.is_ended(token):
            return True
        if not self._is_open():
            return None
        found = await self._look_ups.find(token, None)
        if not isinstance(found, Finding):
            return found.info.app_id == self.app_id
        if self._revoker.is_ended(token):  # the store knew
            return True
        return None if may_pass(found.reason) else False

    def watch(self, token: Secret, info: TokenInfo, end: End) -> Watch:
        """Watch an open connection: ``end`` is called, on any thread, when its token expires or is ended."""
        watch = self.live.watch(key_of(token), info, end)
        try:
            self._validator.refuse_ended(token, info, ())
        except Refused as refused:  # between the verdict and here
            watch.end(Finding(refused.reason))
        return watch

    def _may_end(self, token: Secret, upstream: object) -> bool:
        """Check the arguments; tell whether the token can be one at all, or is refused anyway."""
        _check("token", token)
        if upstream not in {None, "revoke"}:
            raise ValueError('upstream must be None or "revoke"')
        self._refuse_closed()
        found = credentials.screen(token, id_tokens=True)  # other guards of the store may take such tokens
        if isinstance(found, Finding) and upstream is not None:
            raise self.refusal(found)
        return not isinstance(found, Finding)

    def _spread(self, news: News) -> None:
        if self._revoker.shared is None:
            return
        try:
            background.submit(self._revoker.spread(news)).result(_SPREADING)
        except TimeoutError:  # it goes on without us
            raise StoreUnavailable from None

    async def _end_everywhere(self, token: Secret, user: str, news: News) -> None:
        """End a session in the store and at Facebook; raises the last that went wrong, at the end."""
        try:
            await self._revoker.spread(news)
        finally:
            await self._revoke(token, user)

    def _user_of(self, token: Secret) -> str:
        """Return whose token it is, in the words of Graph's paths."""
        known = self._cache.peek(key_of(token))
        return _ME if known is None or known.user_id is None else known.user_id

    async def _revoke(self, token: Secret, user: str) -> None:
        try:
            async with asyncio.timeout(self._deadline):
                failure = await self._look_ups.revoke(token, user)
        except TimeoutError:
            failure = Finding("unavailable", retry_after=1)
        if isinstance(failure, Finding):
            raise self.refusal(failure)
        if failure is not None:
            raise failure
        user_id = await self._look_ups.user_of(token) if user == _ME else user
        if user_id is not None:
            await self._revoker.all_ended(user_id)


class _Sessions:
    """What callbacks end sessions by while the guard is open; after that they answer: come again."""

    def __init__(self, revoker: Revoker, refuse_closed: Callable[[], None]) -> None:
        self._revoker = revoker
        self._refuse_closed = refuse_closed

    async def expire(self, token: Secret) -> None:
        """End the session of a token."""
        self._refuse_closed()
        await self._revoker.expire(token)

    async def end_user(self, user_id: str, at: float) -> None:
        """Refuse a user's tokens up to ``at``."""
        self._refuse_closed()
        await self._revoker.end_user(user_id, at)

    async def forget_user(self, user_id: str) -> None:
        """Have every token of a user looked up anew."""
        self._refuse_closed()
        await self._revoker.forget_user(user_id)


def _check(option: str, given: Secret) -> None:
    if not isinstance(given.reveal(), str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{option} must be a str")


def _user(user_id: object) -> str:
    if not isinstance(user_id, str):
        raise TypeError("user_id must be a str")
    user_id.encode()  # UnicodeEncodeError, a ValueError: no store could keep it
    return user_id
