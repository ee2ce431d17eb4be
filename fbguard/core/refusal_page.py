"""A refusal for the person in front of a browser: who gets a page, and what it shows. Pure."""

from __future__ import annotations

import re
from html import escape
from typing import Final
from urllib.parse import urlencode

from fbguard.core import messages
from fbguard.core.answers import Relogin
from fbguard.core.html import document
from fbguard.core.reasons import Reason

_PAGE: Final = "text/html"
_JSON: Final = re.compile(r"application/json|text/json|application/[^/]*\+json")
# What Java's HttpURLConnection sends for programs that ask for nothing: no browser has sent it for long.
_OF_JAVA: Final = "text/html, image/gif, image/jpeg, *"
_NEAR_PROBLEM: Final = ("application/*", "*/*")
_WEIGHT: Final = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")  # RFC 9110 section 12.4.2
_MAX_HEADER: Final = 1000  # characters that are read; browsers send fewer than two hundred


def prefers_page(accept: str | None) -> bool:
    """Tell by an Accept header whether a page is wanted: HTML must be named, and JSON not as much.

    Browsers that follow a link name ``text/html``; what programs send by default (``*/*``, or JSON
    first) does not, or not before JSON. Elements whose weight does not parse are passed over.
    """
    if accept is not None and accept.startswith(_OF_JAVA):
        return False
    weights: dict[str, float] = {}
    for element in (accept or "")[:_MAX_HEADER].split(","):
        media, *parameters = (part.strip(" \t").lower() for part in element.split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        if _WEIGHT.fullmatch(weight):
            weights.setdefault(media, float(weight))
    html = weights.get(_PAGE, 0.0)
    named = [weight for media, weight in weights.items() if _JSON.fullmatch(media)]
    if named:
        return html > max(named)
    near = next((weights[name] for name in _NEAR_PROBLEM if name in weights), 0.0)
    return html > 0 and html >= near


def page(
    reason: Reason,
    *,
    code: int | None,
    subcode: int | None,
    relogin: Relogin,
    language: str,
    back: str | None = None,
    is_safe: bool = True,
) -> bytes:
    """Return the page of a refusal: a sentence and a button for the person, the rest for developers.

    ``language`` is the tag of a catalogue. The button leads to ``relogin.url``, or asks again where
    waiting helps and the request ``is_safe`` to ask again by a link; there is none where neither would do
    anything. ``back`` is a path to which a login leads in the end.
    """
    labels = messages.labels(language)
    address = _address(relogin, back, is_safe=is_safe)
    button = ""
    if address is not None:
        button = f'<p><a class="button" href="{escape(address)}">{escape(labels[relogin.action])}</a></p>'
    facts = [
        ("reason", reason.name),
        ("status", str(reason.status)),
        ("code", _text(code)),
        ("subcode", _text(subcode)),
        ("auth_type", relogin.auth_type or ""),
        ("scopes", " ".join(relogin.scopes)),
        ("retry_after", _text(relogin.retry_after)),
    ]
    rows = "".join(f"<dt>{name}</dt><dd><code>{escape(text)}</code></dd>" for name, text in facts if text)
    told = f"<p>{escape(reason.detail)}</p><dl>{rows}</dl>"
    return document(
        messages.message(reason.name, language),
        f"{button}<details><summary>{escape(labels['developers'])}</summary>"
        f'<div lang="{messages.DEFAULT_LANGUAGE}">{told}</div></details>',
        language,
    )


def _address(relogin: Relogin, back: str | None, *, is_safe: bool) -> str | None:
    if relogin.action == "wait":
        return "" if is_safe else None
    if back is None or relogin.url is None or relogin.action != "login":
        return relogin.url
    return f"{relogin.url}{'&' if '?' in relogin.url else '?'}{urlencode({'next': back})}"


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
