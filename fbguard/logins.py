"""The login of a guard's app, to be mounted: for people with a browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from fbguard.core.requirement import Requirement
from fbguard.sessions import EndsSessions

if TYPE_CHECKING:
    from fbguard.login.rules import LoginRules
    from fbguard.login.used import UsedStates
    from fbguard.mounts import MountedASGI, MountedWSGI

_ROUND: Final = 1.0  # seconds of one answer besides what Graph may take


class LogsIn(EndsSessions):
    """The part of a :class:`fbguard.Guard` that logs people in."""

    _states: UsedStates | None = None  # that were used: the same for all logins of this guard

    def login_asgi(
        self, *, after: str = "/", after_logout: str = "/", scopes: Sequence[str] = ()
    ) -> MountedASGI:
        """Return an ASGI app that logs people in by Facebook's dialog; mount it on a public path.

        It belongs where ``redirect_uri`` has its folder: at ``/auth`` for
        ``https://example.com/auth/callback``. GET ``/login?next=/path&scope=a,b&auth_type=...`` sends a
        browser to the dialog; the callback puts the token into the cookie that ``token_from`` names
        (HttpOnly, SameSite=Lax, Secure on https) and goes to ``next``, a path of this site; POST ``/logout``
        from a page of this site ends the session and takes the cookie away. From now on the guard's re-login
        hints lead there.

        ``after`` is the path for those without a ``next``, and ``after_logout`` of a log-out; ``scopes`` are
        asked for in every login. Raises
        TypeError or ValueError naming the option: also without a ``redirect_uri`` of a web page, or a cookie
        in ``token_from``, whose name must begin with ``__Host-`` on https.
        """
        from fbguard.mounts import MountedASGI  # noqa: PLC0415

        return MountedASGI(self._login(after, after_logout, scopes))

    def login_wsgi(
        self, *, after: str = "/", after_logout: str = "/", scopes: Sequence[str] = ()
    ) -> MountedWSGI:
        """Return what :meth:`login_asgi` returns, as a WSGI app."""
        from fbguard.mounts import MountedWSGI  # noqa: PLC0415

        return MountedWSGI(self._login(after, after_logout, scopes))

    def _login(self, after: str, after_logout: str, scopes: Sequence[str]) -> LoginRules:
        # Here: most of it is not even imported where nobody mounts it.
        from fbguard.login.cookies import Cookies  # noqa: PLC0415
        from fbguard.login.gate import Gate  # noqa: PLC0415
        from fbguard.login.places import Places  # noqa: PLC0415
        from fbguard.login.rules import LoginRules  # noqa: PLC0415
        from fbguard.login.used import UsedStates  # noqa: PLC0415

        site = self._validator.site
        places = Places.of(site.redirect_uri)
        cookies = Cookies.of(self.sources.cookie, is_https=places.is_https)
        for name, path in (("after", after), ("after_logout", after_logout)):
            if not isinstance(path, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"{name} must be a str, not {type(path).__name__}")
            if not places.may_follow(path):
                raise ValueError(
                    f"{name} must be a path of this site, such as '/home', but none of the login"
                )
        asked = Requirement(scopes=scopes).scopes
        self._states = self._states or UsedStates()
        self._validator.site = replace(site, login=places.login)
        gate = Gate(
            self._validator,
            self._look_ups,
            self._revoker,
            secrets=self._secrets,
            used=self._states,
            is_open=self._is_open,
            is_ours=self._is_ours,
            redirect_uri=places.redirect_uri,
            deadline=self._deadline,
        )
        return LoginRules(
            gate,
            places,
            cookies,
            after=after,
            after_logout=after_logout,
            scopes=asked,
            deadline=2 * self._deadline + _ROUND,
        )
