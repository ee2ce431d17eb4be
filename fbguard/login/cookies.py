"""The two cookies of a login: one for the way to Facebook and back, one for the token. Pure."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fbguard.core.secret import Secret
from fbguard.login.places import is_of_this_site

STATE_SECONDS: Final = 600  # for which a person may be at Facebook; its codes live as long
_STATE_BYTES: Final = 32
_STATE: Final = re.compile(r"([A-Za-z0-9_-]{43})\.([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class Journey:
    """A login under way: ``state`` is what only this browser knows, ``after`` where it goes in the end."""

    state: Secret
    after: str

    @classmethod
    def begin(cls, after: str) -> Journey:
        """Return a new one."""
        return cls(Secret(secrets.token_urlsafe(_STATE_BYTES)), after)

    @classmethod
    def read(cls, cookie: Secret) -> Journey | None:
        """Read a cookie's value; None for one that is none of ours."""
        found = _STATE.fullmatch(cookie.reveal())
        if found is None:
            return None
        try:
            after = base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4)).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            return None
        # A browser's cookies are not only ours to write: what is no path of this site leads nowhere.
        return cls(Secret(found[1]), after) if is_of_this_site(after) else None

    def written(self) -> Secret:
        """Return it as a cookie's value."""
        after = base64.urlsafe_b64encode(self.after.encode()).rstrip(b"=").decode()
        return Secret(f"{self.state.reveal()}.{after}")


@dataclass(frozen=True, slots=True)
class Cookies:
    """How cookies of a site are written (RFC 6265, and "Cookies: HTTP State Management Mechanism", the bis).

    Never for scripts, and Lax: the browser comes back from another site, by a link. On https the name of
    the way's cookie has the prefix that keeps subdomains from planting one.
    """

    token_name: str
    is_https: bool

    @property
    def state_name(self) -> str:
        """The name of the cookie for the way."""
        return "__Host-fbguard-login" if self.is_https else "fbguard-login"

    def of_journey(self, journey: Journey) -> Secret:
        """Return the Set-Cookie that a login begins with."""
        return self._cookie(self.state_name, journey.written(), STATE_SECONDS)

    def without_journey(self) -> Secret:
        """Return the Set-Cookie that ends the way."""
        return self._cookie(self.state_name, Secret(""), 0)

    def of_token(self, token: Secret, seconds: int | None) -> Secret:
        """Return the Set-Cookie of a token that lives so long; None: until the browser is closed."""
        return self._cookie(self.token_name, token, seconds)

    def without_token(self) -> Secret:
        """Return the Set-Cookie that takes the token away."""
        return self._cookie(self.token_name, Secret(""), 0)

    def _cookie(self, name: str, value: Secret, seconds: int | None) -> Secret:
        age = "" if seconds is None else f"; Max-Age={seconds}"
        secure = "; Secure" if self.is_https else ""
        return Secret(f"{name}={value.reveal()}; Path=/; HttpOnly; SameSite=Lax{secure}{age}")


def cookie_of(headers: Iterable[str], name: str) -> Secret | None:
    """Return the one cookie of this name in a request's Cookie headers; None for none or several."""
    pairs = [pair.partition("=") for value in headers for pair in value.split(";")]
    found = [Secret(value.strip(" \t")) for key, _, value in pairs if key.strip(" \t") == name]
    return found[0] if len(found) == 1 else None
