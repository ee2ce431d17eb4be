"""Pages for people, which load nothing and run nothing. Pure."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Final

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1.125rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:40rem;padding:0 1rem}"
    "h1{font-size:1.75rem;line-height:1.25}"
    "code{overflow-wrap:anywhere}"
    ".button{background:#0a66d8;border:0;border-radius:.5rem;color:#fff;display:inline-block;font:inherit;"
    "padding:.625rem 1.25rem;text-decoration:none}"
    ".plain{background:#e4e6eb;color:#1c1e21}"
    "input{font:inherit}"
    "fieldset{border:.0625rem solid #8a8d91;border-radius:.5rem}"
    ".button:focus-visible{outline:.1875rem solid;outline-offset:.1875rem}"
    "details{font-size:.875rem;margin-top:2rem}"
    "dl{display:grid;gap:.25rem 1rem;grid-template-columns:max-content 1fr}"
    "dd{margin:0;overflow-wrap:anywhere}"
    "pre{white-space:pre-wrap}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"
)

#: Headers of a page with a form, which may lead anywhere.
FORM_PAGE_HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", _POLICY),
    ("Referrer-Policy", "no-referrer"),
)
#: Headers of every other page: nothing but its own style may be used, no other page may show it in a
#: frame, and no link gives its address away, which may hold a token.
PAGE_HEADERS: Final = (
    FORM_PAGE_HEADERS[0],
    ("Content-Security-Policy", f"{_POLICY}; form-action 'none'"),
    FORM_PAGE_HEADERS[2],
)


def document(title: str, content: str, language: str) -> bytes:
    """Return a page; ``title`` and ``language`` are text, ``content`` is HTML that follows the heading."""
    heading = escape(title)
    return (
        f'<!doctype html><html lang="{escape(language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="robots" content="noindex">'
        f"<title>{heading}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{heading}</h1>{content}</main></body></html>\n"
    ).encode()
