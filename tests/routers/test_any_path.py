"""The property, on paths that nobody thought of: if a view runs, its own rule was judged."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.routers.raw import PREFLIGHT, Raw
from tests.routers.sites import KINDS, Site, examine
from tests.routers.views import PATHS


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ROUTERS = {
    router: tuple(name for name in KINDS if name.startswith(router))
    for router in ("starlette", "flask", "django-wsgi", "django-asgi")
}
WORDS = sorted({segment for path in PATHS for segment in path.split("/")})
SEGMENTS = (
    *WORDS,
    "",
    *_words("""
    . .. ... * ~ app apple in here healthx secret. users.json 07 -7 7.0 \uff11
"""),
)
SEPARATORS = _words("""
    // /./ /../ /x/../ %2f %2F %252f \\ %5c /;/ /%2e/ /%2e%2e/ %c0%af %ef%bc%8f ?/ #/
""")
NOISE = _words("""
    %00 %0a %0d %09 %20 + %2e %2E%2e ;v=1 %3bv=1 %c0%ae %ff %ed%a0%80 % %zz %c2%85 %e2%80%a8 %e2%80%8b
    %cc%81 . : , ~ %7f %25 %252e @ %3f %23
""")
PREFIXES = _words("""
    /. /.. / // /public/.. /public/%2e%2e /health /app /apple /app/app /in/here http://other.example \\
    %2f *
""")
SUFFIXES = _words("""
    / // /. /.. /; %2f ? ?/public/x #/public/x /%2e .json %00/public/x
""")
VERBS = (
    "",
    *_words("""
    GET POST HEAD PUT PATCH DELETE OPTIONS TRACE FOO PROPFIND CONNECT get post Post head delete options
"""),
)
HEADERS = (
    (("Host", "x/public?"),),
    (("X-HTTP-Method-Override", "DELETE"), ("X-HTTP-Method", "DELETE"), ("X-Method-Override", "POST")),
    (("X-Original-URL", "/public/x"), ("X-Rewrite-URL", "/public/x"), ("X-Forwarded-Uri", "/public/x")),
    (("X-Forwarded-Prefix", "/app"), ("X-Script-Name", "/app"), ("Script-Name", "/app")),
    (("User-Agent", "kube-probe/1.31"),),
    PREFLIGHT,
    PREFLIGHT[:1],
)
MOUNTS = (
    "/app",
    "/app",
    "/",
    "/app/",
    "/public",
    "/in",
    "/münchen",
    "/admin",
    "/admin/",
    "/pages/42/",
    "/health",
)
WITH_VERBS = ("/notes", "/any", "/hook")


def _misspelled(draw: Any, segment: str) -> str:
    at = draw(st.integers(0, len(segment)))
    match draw(st.integers(0, 6)):
        case 0:
            return quote(segment.upper())
        case 1:
            return "".join(f"%{byte:02X}" for byte in segment.encode())
        case 2:
            return "".join(f"%25{byte:02x}" for byte in segment.encode())
        case 3:
            return quote("".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in segment))
        case 4:
            return draw(st.text(max_size=3).map(lambda text: quote(text, errors="replace"))) + quote(segment)
        case _:
            return quote(segment[:at]) + draw(st.sampled_from(NOISE)) + quote(segment[at:])


@st.composite
def targets(draw: Any) -> str:
    """Give a view's path or a made up one, with at most a few twists, so that many still reach a view."""
    if draw(st.integers(0, 3)):
        segments = draw(st.sampled_from((*PATHS, *WITH_VERBS))).split("/")[1:]
    else:
        segments = draw(st.lists(st.sampled_from(SEGMENTS), max_size=4))
    twists = draw(st.lists(st.integers(0, 5), max_size=3))
    spelled, separators = [quote(segment) for segment in segments], ["/"] * len(segments)
    prefix = suffix = ""
    for twist in twists:
        where = draw(st.integers(0, max(len(segments) - 1, 0)))
        if twist == 0:
            prefix = draw(st.sampled_from(PREFIXES))
        elif twist == 1:
            suffix = draw(st.sampled_from(SUFFIXES))
        elif segments and twist in {2, 3}:
            separators[where] = draw(st.sampled_from(SEPARATORS))
        elif segments:
            spelled[where] = _misspelled(draw, segments[where])
    return prefix + "".join(sum(zip(separators, spelled, strict=True), ())) + suffix


@st.composite
def requests(draw: Any) -> Raw:
    often = st.integers(0, 2).map(bool)
    return Raw(
        target=draw(targets()),
        method="GET" if draw(often) else draw(st.sampled_from(VERBS)),
        headers=() if draw(often) else draw(st.sampled_from(HEADERS)),
        mount="" if draw(often) else draw(st.sampled_from(MOUNTS)),
        reader="h11" if draw(often) else draw(st.sampled_from(("httptools", "outside"))),
    )


def _reach(site: Site, raw: Raw) -> Raw:
    """Return the request as this site can get it: its server was told the mount that Django was."""
    if site.name == "django-asgi-forced":
        return Raw(raw.target, raw.method, raw.headers, "/app", "h11")
    return raw


def _run(sites: dict[str, Site], router: str, examples: int) -> None:
    reached: set[str] = set()

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests())
    def whatever_runs_was_judged(raw: Raw) -> None:
        for name in ROUTERS[router]:
            report = examine(sites[name], _reach(sites[name], raw))
            reached.update(report.ran)
            assert report.violations == []

    whatever_runs_was_judged()
    assert len(reached) >= 12, "the paths reach too few views to prove anything"


@pytest.mark.parametrize("router", ROUTERS)
def test_whatever_runs_was_judged(sites, router):
    _run(sites, router, int(os.environ.get("FBGUARD_EXAMPLES", "500")))
