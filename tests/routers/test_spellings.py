"""A corpus of spellings against every router: if a view runs, its own rule was judged."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from urllib.parse import quote

import pytest

from fbguard import heads
from fbguard.core import policy
from tests.routers.raw import Raw
from tests.routers.sites import Site, examine, open_sites
from tests.routers.spellings import SPELLINGS, Spelling, spell
from tests.routers.views import CANONICAL, PATHS, VERBS_OF, VIEWS

# Django's ASGI handler takes a thread for every request, so it gets a path of each kind.
FEW = ("/", "/admin/users", "/items/7", "/public/style.css", "/files/a/b.txt", "/münchen")


def _requests(site: Site, spelling: Spelling, paths: tuple[str, ...]) -> Iterator[Raw]:
    for path, mount in zip(paths, cycle(site.kind.mounts), strict=False):
        target, headers = spell(spelling, path)
        for method in ("GET", "POST") if path in {"/notes", "/hook", "/any"} else ("GET",):
            yield Raw(target, method, headers, mount)
            if site.kind.is_asgi and ("://" in target or "#" in target):
                yield Raw(target, method, headers, mount, "httptools")
            if site.kind.is_asgi and mount:
                yield Raw(target, method, headers, mount, "outside")


def _violations(site: Site, spelling: Spelling, paths: tuple[str, ...] | None = None) -> list[str]:
    if paths is None:
        paths = FEW if "django-asgi" in site.name else PATHS
    requests = dict.fromkeys(_requests(site, spelling, paths))
    return [violation for raw in requests for violation in examine(site, raw).violations]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: f"{spelling.row}-{spelling.what}")
def test_no_spelling_passes_a_rule_by(site: Site, spelling: Spelling):
    assert _violations(site, spelling) == []


def test_every_row_has_its_own_id():
    assert len({spelling.row for spelling in SPELLINGS}) == len(SPELLINGS) >= 60


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_reached(site: Site, view: str):
    method, path = VERBS_OF.get(view) or ("GET", CANONICAL[view])
    for mount in site.kind.mounts:
        report = examine(site, Raw(quote(site.canonical(path)), method, mount=mount))
        assert (report.ran, report.violations) == ({view}, [])


def _any_text(path: str) -> bool:
    return True


def _path_of_target(head: object) -> str:
    scope = getattr(head, "_scope", None)
    return head._environ["RAW_URI"].partition("?")[0] if scope is None else scope["raw_path"].decode()


def _starts_like(rule: policy.Rule, segments: tuple[str, ...]) -> dict[str, str] | None:
    prefix = rule.path.partition("{")[0]
    return {} if ("/" + "/".join(segments)).startswith(prefix) else None


@pytest.mark.parametrize(
    ("where", "name", "mistake"),
    [
        (policy, "is_plain", _any_text),
        (heads.ScopeHead, "path", property(_path_of_target)),
        (heads.EnvironHead, "path", property(_path_of_target)),
        (policy.Rule, "params_of", _starts_like),
    ],
    ids=["paths that are not plain", "raw path, ASGI", "raw path, WSGI", "startswith"],
)
def test_the_corpus_notices_a_guard_that_reads_otherwise(monkeypatch, where, name, mistake):
    monkeypatch.setattr(where, name, mistake)
    with open_sites() as sites:
        assert any(
            _violations(site, spelling, ("/admin", "/items/7", "/files/a/b.txt"))
            for site in sites.values()
            for spelling in SPELLINGS
        )
