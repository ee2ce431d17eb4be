"""Logins: what a person allows an app, and the code that the app gets for it."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field, replace

_LIFETIME = 600  # seconds of a code
_MOST = 10_000  # codes that are remembered; the oldest go first


@dataclass(frozen=True, slots=True)
class Login:
    """What a code stands for; ``until`` is its end in unix seconds."""

    user_id: str
    scopes: tuple[str, ...]
    redirect_uri: str
    until: float
    is_used: bool = field(default=False, compare=False)


class Logins:
    """The codes that are out. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_code: OrderedDict[str, Login] = OrderedDict()

    def add(self, user_id: str, scopes: tuple[str, ...], redirect_uri: str, now: float) -> str:
        """Return a new code."""
        code = "AQ" + secrets.token_urlsafe(96)
        with self._lock:
            self._by_code[code] = Login(user_id, scopes, redirect_uri, now + _LIFETIME)
            if len(self._by_code) > _MOST:
                self._by_code.popitem(last=False)
        return code

    def find(self, code: str) -> Login | None:
        """Return what a code stands for, used or not."""
        return self._by_code.get(code)

    def void(self, user_id: str) -> None:
        """Forget all codes of a person."""
        with self._lock:
            for code in [code for code, login in self._by_code.items() if login.user_id == user_id]:
                del self._by_code[code]

    def use(self, code: str) -> bool:
        """Use a code up; False if somebody was quicker."""
        with self._lock:
            login = self._by_code.get(code)
            if login is None or login.is_used:
                return False
            self._by_code[code] = replace(login, is_used=True)
            return True
