"""Verbs: whatever spelling of a verb makes a view run, that view's own rule was judged."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.routers.raw import PREFLIGHT, Raw
from tests.routers.sites import Site, examine

PATHS = (
    "/",
    "/health",
    "/admin/users",
    "/items/7",
    "/files/a/b.txt",
    "/shop/orders/9",
    "/notes",
    "/any",
    "/hook",
)
PLAIN = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
STRANGE = (
    "TRACE",
    "CONNECT",
    "FOO",
    "PROPFIND",
    "QUERY",
    "",
    "*",
    "GET ",
    "get",
    "Get",
    "head",
    "post",
    "pOsT",
    "delete",
    "options",
    "foo",
)
OVERRIDES = (
    (),
    (("X-HTTP-Method-Override", "POST"),),
    (("X-HTTP-Method-Override", "GET"), ("X-HTTP-Method", "GET"), ("X-Method-Override", "GET")),
    PREFLIGHT,
)


@pytest.mark.parametrize("method", [*PLAIN, *STRANGE], ids=repr)
def test_no_verb_passes_a_rule_by(site: Site, method: str):
    for path in PATHS:
        for headers in OVERRIDES if path in {"/notes", "/any", "/hook"} else OVERRIDES[:1]:
            assert examine(site, Raw(quote(site.canonical(path)), method, headers)).violations == []
