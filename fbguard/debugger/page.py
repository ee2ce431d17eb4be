"""The page of the debugger: a form for a token, and what was found out about the last one. Pure.

Everything that Facebook or a person has written is escaped; the token itself is never on it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Final

from fbguard.core.answers import Answer
from fbguard.core.errors import Refused
from fbguard.core.html import FORM_PAGE_HEADERS, document
from fbguard.debugger.report import Report
from fbguard.debugger.rows import facts, refusal, verdict

_LANGUAGE: Final = "en"
# Not no-referrer: browsers then say of a form that it comes from nowhere (Origin: null).
_HEADERS: Final = (*FORM_PAGE_HEADERS[:2], ("Referrer-Policy", "same-origin"))
_SHOWN_HEADERS: Final = frozenset({"www-authenticate", "retry-after"})
_LET_IN: Final = "<pre><code>HTTP 200: the view runs</code></pre>"
_FORM: Final = (
    '<form method="post" action="/" autocomplete="off">'
    '<p><label>Access token<br><input name="token" type="password" required autofocus size="40" '
    'autocapitalize="none" spellcheck="false"></label></p>'
    '<p><label>Permissions that a route asks for, if any<br><input name="scopes" size="40" value="{scopes}" '
    'placeholder="email pages_show_list" autocapitalize="none" spellcheck="false"></label></p>'
    '<p><button class="button">Debug</button></p></form>'
)


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to show: the report, a route's scopes, and why it refuses the token, if it does."""

    report: Report
    scopes: tuple[str, ...]
    refused: Refused | None


def page(app_id: str, found: Found | None = None, *, wrong: str | None = None, scopes: str = "") -> Answer:
    """Return the page; ``wrong`` is what is the matter with the form, whose ``scopes`` are kept."""
    parts = [
        f"<p>For tokens of the app <code>{escape(app_id)}</code>. Look-ups count against its limits.</p>"
    ]
    if wrong is not None:
        parts.append(f'<p role="alert"><strong>{escape(wrong)}</strong></p>')
    if found is not None:
        parts.append(_shown(found))
    parts.append(_FORM.format(scopes=escape(scopes)))
    title = "Token debugger" if found is None else verdict(found.report)
    return Answer(400 if wrong else 200, list(_HEADERS), document(title, "".join(parts), _LANGUAGE))


def _shown(found: Found) -> str:
    return "".join(
        (
            _table(facts(found.report)),
            _table(refusal(found.report)),
            f"<h2>What a client gets</h2><p>{_route(found.scopes)}</p>",
            _LET_IN if found.refused is None else _answer(found.refused),
        )
    )


def _route(scopes: tuple[str, ...]) -> str:
    if not scopes:
        return "On a route that asks for no permission:"
    return f"On a route with <code>scopes={escape(repr(list(scopes)))}</code>:"


def _answer(refused: Refused) -> str:
    said = refused.answer()
    head = [f"{name}: {value}" for name, value in said.headers if name.lower() in _SHOWN_HEADERS]
    body = json.dumps(json.loads(said.body), indent=2, ensure_ascii=False)
    lines = "\n".join([f"HTTP {said.status}", *head, "", body])
    return f"<pre><code>{escape(lines)}</code></pre>"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    shown = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<dl>{shown}</dl>" if shown else ""
