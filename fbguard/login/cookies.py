"""The two cookies of a login: one for the way to Facebook and back, one for the token. Pure.

The first is signed with the app secret, and says when it was written: nobody makes one up, and none is good
for longer than a person takes.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fbguard.core.secret import Secret
from fbguard.login.places import is_of_this_site

STATE_SECONDS: Final = 600  # for which a person may be at Facebook; its codes live as long
_SKEW: Final = 60  # seconds that another host's clock, on which a login began, may be ahead
_MOST_BYTES: Final = 4096  # of a cookie's name and value; browsers drop what is longer
_STATE_BYTES: Final = 32
_VALUE: Final = re.compile(r"([A-Za-z0-9_-]{43})\.([0-9]{1,12})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})")
_PURPOSE: Final = "fbguard login "  # no other text that the app secret signs begins so


@dataclass(frozen=True, slots=True)
class Journey:
    """A login under way: ``state`` is what only this browser knows, ``after`` where it goes in the end.

    ``begun`` is in unix seconds.
    """

    state: Secret
    after: str
    begun: int

    @classmethod
    def begin(cls, after: str, now: float) -> Journey:
        """Return a new one."""
        return cls(Secret(secrets.token_urlsafe(_STATE_BYTES)), after, int(now))

    @classmethod
    def read(cls, cookie: Secret, able: Sequence[Secret], now: float) -> Journey | None:
        """Read a cookie's value, signed by any of the secrets ``able``; None for none of ours, or over."""
        found = _VALUE.fullmatch(cookie.reveal())
        if found is None:
            return None
        signed = cookie.reveal().rpartition(".")[0]
        fits = [hmac.compare_digest(_signature(signed, secret), found[4]) for secret in able]
        if not any(fits):
            return None
        try:
            after = base64.urlsafe_b64decode(found[3] + "=" * (-len(found[3]) % 4)).decode("ascii")
        except (binascii.Error, UnicodeDecodeError):
            return None
        begun = int(found[2])
        is_over = not -_SKEW <= now - begun < STATE_SECONDS
        return None if is_over or not is_of_this_site(after) else cls(Secret(found[1]), after, begun)

    def written(self, secret: Secret) -> Secret:
        """Return it as a cookie's value."""
        after = base64.urlsafe_b64encode(self.after.encode()).rstrip(b"=").decode()
        signed = f"{self.state.reveal()}.{self.begun}.{after}"
        return Secret(f"{signed}.{_signature(signed, secret)}")


def _signature(signed: str, secret: Secret) -> str:
    digest = hmac.digest(secret.reveal().encode(), f"{_PURPOSE}{signed}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class Cookies:
    """How cookies of a site are written (RFC 6265, and its bis for prefixes and SameSite).

    Never for scripts, and Lax: the browser comes back from another site, by a link. On https the names have
    the prefix that keeps other hosts of the domain from planting one.
    """

    token_name: str
    is_https: bool

    @classmethod
    def of(cls, token_name: str | None, *, is_https: bool) -> Cookies:
        """Return those of a site; raises ValueError for a token's cookie that is none, or not safe there."""
        name = token_name or ""
        cookies = cls(name, is_https)
        # Without the prefix another host of the domain can plant one; on http browsers take none with it.
        fits = name.startswith("__Host-") if is_https else not name.startswith("__")
        if not name or not fits or name == cookies.state_name:
            fitting = "cookie:__Host-fb_token" if is_https else "cookie:fb_token"
            raise ValueError(f"token_from: with this redirect_uri a login needs a cookie such as {fitting!r}")
        return cookies

    @property
    def state_name(self) -> str:
        """The name of the cookie for the way."""
        return "__Host-fbguard-login" if self.is_https else "fbguard-login"

    def fits(self, token: Secret) -> bool:
        """Tell whether browsers keep a cookie with this token."""
        return len(self.token_name) + len(token.reveal()) <= _MOST_BYTES

    def of_journey(self, value: Secret) -> Secret:
        """Return the Set-Cookie that a login begins with."""
        return self._cookie(self.state_name, value, STATE_SECONDS)

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
