"""Where the login is, by the ``redirect_uri`` alone, and where it may send a browser. Pure.

Nothing of a request says where the app is: neither Host nor a forwarded header may lead a person away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlencode, urlsplit

from fbguard.core import settings
from fbguard.core.rule import is_plain
from fbguard.core.sources import without_port

LOGIN: Final = "/login"
LOGOUT: Final = "/logout"

_NAME: Final = re.compile(r"[A-Za-z0-9._~-]+")
_VISIBLE: Final = re.compile(r"/[!-\[\]-~]*")  # no backslash, which browsers take for a slash
_LONGEST: Final = 1024  # characters: it travels in a cookie
_PATH_ENDS: Final = re.compile(r"[?#]")


@dataclass(frozen=True, slots=True)
class Places:
    """The addresses of a login; ``callback`` is a path below the mount, like LOGIN and LOGOUT.

    ``origin`` is scheme and host as browsers write it, ``folder`` the path of the mount, ``address`` where a
    login begins.
    """

    redirect_uri: str
    origin: str
    folder: str
    address: str
    callback: str
    is_https: bool

    @classmethod
    def of(cls, redirect_uri: str | None) -> Places:
        """Read a guard's ``redirect_uri``; raises ValueError for one to which no browser can come back."""
        if redirect_uri is None:
            raise ValueError("a login needs Guard(redirect_uri=...), to which Facebook sends people back")
        parts = urlsplit(settings.url("redirect_uri", redirect_uri))
        folder, _, name = parts.path.rpartition("/")
        is_taken = f"/{name}" in {LOGIN, LOGOUT}
        if not _NAME.fullmatch(name) or is_taken or not is_plain(unquote(parts.path)):
            raise ValueError(
                "redirect_uri must end in a name for the callback, such as "
                f"https://example.com/auth/callback, and neither in {LOGIN} nor in {LOGOUT}"
            )
        origin = f"{parts.scheme}://{without_port(parts.netloc.removesuffix(':'), parts.scheme)}"
        address = f"{origin}{folder}{LOGIN}"
        return cls(redirect_uri, origin, folder, address, f"/{name}", parts.scheme == "https")

    def login(self, scopes: tuple[str, ...], auth_type: str | None) -> str:
        """Return the address at which a person begins to log in."""
        query = {"scope": ",".join(scopes)} if scopes else {}
        if auth_type is not None:
            query["auth_type"] = auth_type
        return f"{self.address}?{urlencode(query)}" if query else self.address

    def may_follow(self, path: str) -> bool:
        """Tell a path to which a login may lead in the end: of this site, and none of the login itself."""
        own = {unquote(f"{self.folder}{one}") for one in (LOGIN, LOGOUT, self.callback)}
        return is_of_this_site(path) and unquote(_plain_part(path)).removesuffix("/") not in own

    def absolute(self, path: str) -> str:
        """Return the address of a path of this site."""
        return f"{self.origin}{path}"


def is_of_this_site(path: str) -> bool:
    """Tell a path of one's own site, with or without query and fragment, from whatever else ``next`` may say.

    What a browser, a proxy or a router might read in another way is none.
    """
    if len(path) > _LONGEST or not _VISIBLE.fullmatch(path):
        return False
    return is_plain(unquote(_plain_part(path)))


def _plain_part(path: str) -> str:
    """Return it without query and fragment."""
    return _PATH_ENDS.split(path, maxsplit=1)[0]
