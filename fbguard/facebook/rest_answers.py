"""The answers of Facebook's old REST API: XML, JSON, and either of them as JSONP; both ways. Pure.

XML as in the example of the wiki's page of Auth.expireSession, errors as its client libraries describe
them. Clients go by the presence of ``error_code``, not by the HTTP status, which is 200 for errors, too.
"""

from __future__ import annotations

import codecs
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NoReturn, cast
from xml.parsers import expat

from fbguard.core.answers import Answer
from fbguard.facebook.rest import MESSAGES, UNAVAILABLE, UNKNOWN, Call

MAX_ANSWER: Final = 65_536  # bytes

_OK: Final = 200
_SERVER_ERROR: Final = 500
_ROOT: Final = "auth_expireSession_response"
_ERROR: Final = "error_response"
_CODE: Final = re.compile(r"[0-9]{1,9}")
# That the two addresses of schemaLocation stand without a space is the example's own slip; clients of
# the time were written against it.
_OPENING: Final = (
    '<?xml version="1.0" encoding="UTF-8"?> <{root} xmlns="http://api.facebook.com/1.0/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    ' xsi:schemaLocation="http://api.facebook.com/1.0/http://api.facebook.com/1.0/facebook.xsd">'
)
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


# -- writing -------------------------------------------------------------------------------------------


def success(call: Call) -> Answer:
    """Return the answer that the session is ended: ``1`` in XML, ``true`` in JSON."""
    return _answer(call, _OK, _OPENING.format(root=_ROOT) + f"1</{_ROOT}>", json_value=True)


def failure(call: Call, code: int, status: int = _OK, message: str | None = None) -> Answer:
    """Return an error; ``message`` is the dialect's own unless given. It repeats no secret of the call."""
    text = MESSAGES.get(code, MESSAGES[UNKNOWN]) if message is None else message
    arguments = call.echo()
    document = (
        _OPENING.format(root=_ERROR)
        + f"<error_code>{code}</error_code><error_msg>{xml_text(text)}</error_msg>"
        + '<request_args list="true">'
        + "".join(
            f"<arg><key>{xml_text(name)}</key><value>{xml_text(value)}</value></arg>"
            for name, value in arguments
        )
        + f"</request_args></{_ERROR}>"
    )
    value = {
        "error_code": code,
        "error_msg": text,
        "request_args": [{"key": name, "value": value} for name, value in arguments],
    }
    return _answer(call, status, document, json_value=value)


def xml_text(text: str) -> str:
    """Return a text as XML can hold it: markup escaped, letters that XML does not have replaced."""
    return html.escape(_NOT_XML.sub("\ufffd", text))


def _answer(call: Call, status: int, document: str, json_value: object) -> Answer:
    kind = "application/json" if call.is_json else "text/xml"
    text = json.dumps(json_value) if call.is_json else document
    if call.callback is not None:
        kind = "application/javascript"
        # JSON is written in ASCII, so that U+2028 ends no line of the script; "<" ends no script element.
        passed = (text if call.is_json else json.dumps(text)).replace("<", "\\u003c")
        # The comment keeps the answer from being anything else than JavaScript: a Flash file, say.
        text = f"/**/{call.callback}({passed});"
    body = text.encode()
    headers = [
        ("Content-Type", f"{kind}; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return Answer(status, headers, body)


# -- reading -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a session is not known to be ended: an error of the API's, in its own words."""

    code: int
    message: str


UNREADABLE: Final = Failure(UNKNOWN, "the answer could not be read")
NO_ANSWER: Final = Failure(UNAVAILABLE, "the server did not answer")
BROKEN_SERVER: Final = Failure(UNAVAILABLE, "the server answered with a fault of its own")


class _Unreadable(Exception):  # noqa: N818 - never leaves this module
    """The body is no answer of this API."""


def failure_in(status: int, body: bytes | None) -> Failure | None:
    """Read an answer, XML or JSON whichever was asked for; None for "the session is ended".

    ``body`` is None if it was too long. An error counts with any HTTP status, success only with 200.
    What cannot be read is code 2 if the status is one of a broken server, else code 1.
    """
    try:
        found = _read(b"" if body is None else body)
    except (_Unreadable, expat.ExpatError, ValueError, RecursionError):
        return BROKEN_SERVER if status >= _SERVER_ERROR else UNREADABLE
    return UNREADABLE if found is None and status != _OK else found


def _read(body: bytes) -> Failure | None:
    text = body.removeprefix(codecs.BOM_UTF8).strip()
    return _read_xml(text) if text.startswith(b"<") else _read_json(text)


def _read_json(body: bytes) -> Failure | None:
    value: object = json.loads(body.decode(), object_pairs_hook=_once)
    if value is True or (type(value) is int and value == 1):
        return None
    if not isinstance(value, dict):
        raise _Unreadable
    fields = cast("Mapping[str, object]", value)
    code = fields.get("error_code")
    if isinstance(code, bool) or not isinstance(code, int | str):
        raise _Unreadable
    message = fields.get("error_msg")
    return _failure(str(code), message if isinstance(message, str) else "")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) < len(pairs):
        raise _Unreadable
    return dict(pairs)


def _read_xml(body: bytes) -> Failure | None:
    texts = _Texts()
    # What the document says of its encoding would choose a codec of Python's; the API has one.
    parser = expat.ParserCreate("UTF-8", " ")
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.StartElementHandler = texts.start
    parser.EndElementHandler = texts.end
    parser.CharacterDataHandler = texts.data
    parser.Parse(body, True)
    if texts.of.get((_ROOT,), "").strip() == "1":
        return None
    code = texts.of.get((_ERROR, "error_code"))
    if code is None:
        raise _Unreadable
    return _failure(code.strip(), texts.of.get((_ERROR, "error_msg"), ""))


def _refuse_doctype(_name: str, _system: str | None, _public: str | None, _subset: bool) -> NoReturn:
    raise _Unreadable  # entities that grow, files and addresses to be read: all of it starts here


def _failure(code: str, message: str) -> Failure:
    if not _CODE.fullmatch(code):
        raise _Unreadable
    return Failure(int(code), message)


class _Texts:
    """The text of the root and of each of its children, by local names: toolkits changed the namespace."""

    def __init__(self) -> None:
        self.of: dict[tuple[str, ...], str] = {}
        self._open: list[str] = []

    def start(self, name: str, _attributes: Mapping[str, str]) -> None:
        self._open.append(name.rpartition(" ")[2])
        if len(self._open) <= 2:  # noqa: PLR2004 - the root and its children
            if tuple(self._open) in self.of:
                raise _Unreadable  # twice: which one counts?
            self.of[tuple(self._open)] = ""

    def end(self, _name: str) -> None:
        self._open.pop()

    def data(self, text: str) -> None:
        if len(self._open) <= 2:  # noqa: PLR2004 - as above
            self.of[tuple(self._open)] += text
