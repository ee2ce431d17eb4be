"""A call of Facebook's old REST API: its parameters and its signature, for Auth.expireSession. Pure.

The signature is an MD5 over ``name=value`` of all parameters, with nothing in between (Facebook Developer
Wiki, "How Facebook Authenticates Your Application"). So ``a=1&b=2`` and ``a=1b=2`` are signed alike, and
one signature would be good for both (Flickr's API was forged that way in 2009). What is read here can be
split in one way only: the list of names is fixed, none of them is the end of another one, and no value
may hold ``=``. That follows from the grammars below; keep it true when one changes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from fbguard.core.secret import Secret

UNKNOWN: Final = 1
UNAVAILABLE: Final = 2
NO_SUCH_METHOD: Final = 3
BAD_PARAMETER: Final = 100
BAD_API_KEY: Final = 101
BAD_SESSION: Final = 102
BAD_CALL_ID: Final = 103
BAD_SIGNATURE: Final = 104

# In the words of the wiki's page of the method, the others in those of its list of all codes.
MESSAGES: Final[Mapping[int, str]] = {
    UNKNOWN: "An unknown error occurred. Please resubmit the request.",
    UNAVAILABLE: "The service is not available at this time.",
    NO_SUCH_METHOD: "Unknown method",
    BAD_PARAMETER: "Invalid parameter",
    BAD_API_KEY: "The API key submitted is not associated with any known application.",
    BAD_SESSION: "Session key invalid or no longer valid",
    BAD_CALL_ID: "The submitted call_id was not greater than the previous call_id for this session.",
    BAD_SIGNATURE: "Incorrect signature.",
}

METHOD: Final = "auth.expireSession"
VERSION: Final = "1.0"
SIG: Final = "sig"

_MAX_FIELDS: Final = 50
_MAX_BODY: Final = 65_536  # bytes
_FORM: Final = "application/x-www-form-urlencoded"
# Of the JSONP name; what is longer or has other letters can be a program (Rosetta Flash, CVE-2014-4671).
_CALLBACK: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.]{0,63}")
# Opaque: 24 hex digits, "-" and more, or dots and commas; an access token may stand here, too.
_SESSION_KEY: Final = re.compile(r"[!-<>-~]{1,4096}")
_OLD_SHAPES: Final = re.compile(r"[0-9a-f]{24}-.*|.*\.[0-9]+\.[0-9]+-[0-9]+")


@dataclass(frozen=True, slots=True)
class _Parameter:
    grammar: re.Pattern[str]
    code: int  # of the answer to a value that is wrong, or missing
    required: bool = True
    shown: bool = True  # whether an error may repeat it


# In the order in which they are looked at. `callback` has an answer of its own.
_PARAMETERS: Final[Mapping[str, _Parameter]] = {
    "method": _Parameter(re.compile(r"(?:facebook\.)?auth\.expireSession"), NO_SUCH_METHOD),
    "v": _Parameter(re.compile(r"1\.0"), BAD_PARAMETER),
    "format": _Parameter(re.compile(r"(?i:xml|json)"), BAD_PARAMETER, required=False),
    "ss": _Parameter(re.compile(r"1"), BAD_PARAMETER, required=False),
    "call_id": _Parameter(re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,20})?"), BAD_PARAMETER, required=False),
    "callback": _Parameter(_CALLBACK, BAD_PARAMETER, required=False, shown=False),
    "api_key": _Parameter(re.compile(r"[A-Za-z0-9._-]{1,64}"), BAD_API_KEY, shown=False),
    SIG: _Parameter(re.compile(r"[0-9a-f]{32}"), BAD_SIGNATURE, shown=False),
    "session_key": _Parameter(_SESSION_KEY, BAD_SESSION, shown=False),
}


def sign(parameters: Mapping[str, Secret], secret: Secret) -> str:
    """Return the signature of a call: 32 lower-case hex digits. A ``sig`` among the parameters is left out.

    ``secret`` is the app's, or with ``ss=1`` the session's own.
    """
    # MD5 is what the dialect has; a Python that may not use it for security must still speak it.
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(parameters):  # code points stand in the order of their UTF-8 bytes
        if name != SIG:
            digest.update(f"{name}={parameters[name].reveal()}".encode())
    digest.update(secret.reveal().encode())
    return digest.hexdigest()


def has_old_shape(session_key: Secret) -> bool:
    """Tell a session key in one of Facebook's shapes of 2009 from what may be an access token."""
    return _OLD_SHAPES.fullmatch(session_key.reveal()) is not None


def is_session_key(session_key: Secret) -> bool:
    """Tell whether a call can carry this session key, so that its signature means one thing only."""
    return _SESSION_KEY.fullmatch(session_key.reveal()) is not None


@dataclass(frozen=True, slots=True)
class Call:
    """What a request asks for; of all its parameters those with a name of the list.

    ``is_whole`` is False if there were others, or one came twice, or the body was no form: then nobody
    can say what was signed. ``in_body`` are the names that the body brought.
    """

    parameters: Mapping[str, Secret] = field(default_factory=dict[str, Secret])
    in_body: frozenset[str] = frozenset()
    is_whole: bool = False

    @classmethod
    def of(cls, query: Iterable[tuple[str, Secret]], body: Iterable[tuple[str, Secret]]) -> Call:
        """Put the parameters of query and body together: clients spread them, and sign the union."""
        from_body = list(body)
        pairs = [*query, *from_body]
        known = {name: value for name, value in pairs if name in _PARAMETERS}
        return cls(known, frozenset(name for name, _ in from_body), len(known) == len(pairs))

    @property
    def fault(self) -> int | None:
        """The error code of the first parameter that is missing or not as it should be, or None."""
        for name, parameter in _PARAMETERS.items():
            if name in self.parameters:
                if not self._is_well_formed(name):
                    return parameter.code
            elif parameter.required:
                return parameter.code
        return None

    @property
    def callback(self) -> str | None:
        """The function that the answer is to be passed to, if its name is harmless."""
        return self.parameters["callback"].reveal() if self._is_well_formed("callback") else None

    @property
    def has_bad_callback(self) -> bool:
        """Whether there is a ``callback`` that must not be repeated."""
        return "callback" in self.parameters and not self._is_well_formed("callback")

    @property
    def is_json(self) -> bool:
        """Whether the answer is to be JSON; else it is XML."""
        return self._is_well_formed("format") and self.parameters["format"].reveal().lower() == "json"

    def echo(self) -> list[tuple[str, str]]:
        """Return the parameters for an error to repeat; what is secret, or may be, as ``***``."""
        return [
            (name, value.reveal() if _PARAMETERS[name].shown and self._is_well_formed(name) else "***")
            for name, value in self.parameters.items()
        ]

    def _is_well_formed(self, name: str) -> bool:
        value = self.parameters.get(name)
        return value is not None and _PARAMETERS[name].grammar.fullmatch(value.reveal()) is not None


def read_call(query: str, body: bytes, content_type: str = "") -> Call:
    """Read a request: its raw query, its body and the type of that. Never raises."""
    try:
        return Call.of(_pairs(query), _pairs(_form(body, content_type)))
    except ValueError:  # too many fields, or bytes that are no text
        return Call()


def _form(body: bytes, content_type: str) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if body and (len(body) > _MAX_BODY or kind not in {"", _FORM}):
        raise ValueError("no form")
    return body.decode("ascii")


def _pairs(encoded: str) -> list[tuple[str, Secret]]:
    fields = parse_qsl(encoded, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    return [(name, Secret(value)) for name, value in fields]
