"""Every site: a real router behind a door. One way to send a request to it, and what must hold then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from django.test import override_settings

from fbguard import Guard
from tests.routers import django_sites, flask_sites, starlette_sites
from tests.routers.raw import Raw, to_environ, to_scope
from tests.routers.views import CANONICAL, RAN, VIEWS
from tests.support import Answer, FakeClock, FakeGraph, call_asgi, call_wsgi, make_guard, valid

GUARDED = ("home", "admin", "users", "healthz", "item", "posts", "files", "order", "tenant", "munich")
NOBODY = {400, 401}

EVERYTHING = "EAABeverything0123456789"
_SCOPES = sorted({scope for scope in VIEWS.values() if scope is not None})


def lacking(view: str) -> str:
    """Return a token that has every scope but the view's own."""
    return f"EAABlacking0{view}"


def _graph() -> FakeGraph:
    graph = FakeGraph()
    graph.default = RuntimeError("no such token")
    graph.replies[EVERYTHING] = valid(scopes=_SCOPES)
    for view, own in VIEWS.items():
        graph.replies[lacking(view)] = valid(scopes=[scope for scope in _SCOPES if scope != own])
    return graph


@dataclass(frozen=True)
class Sent:
    answer: Answer
    ran: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """How a site is made. ``prefix`` is where another app has mounted it, ``forced`` Django's setting."""

    make: Callable[[Guard], Any]
    is_asgi: bool
    prefix: str = ""
    mounts: tuple[str, ...] = ("", "/app")
    forced: str | None = None


KINDS = {
    "starlette": Kind(starlette_sites.redirecting, True),
    "starlette-no-redirects": Kind(starlette_sites.not_redirecting, True),
    "starlette-in-the-stack": Kind(starlette_sites.inside_the_stack, True),
    "starlette-mounted": Kind(starlette_sites.below_a_mount, True, "/app"),
    "starlette-mounted-parameter": Kind(starlette_sites.below_a_mount_with_a_parameter, True, "/in/here"),
    "flask-strict": Kind(flask_sites.strict, False),
    "flask-strict-slashed": Kind(flask_sites.strict_with_trailing_slashes, False),
    "flask-loose": Kind(flask_sites.loose, False),
    "flask-dispatched": Kind(flask_sites.below_a_dispatcher, False, "/app"),
    "flask-dispatching": Kind(flask_sites.around_a_dispatcher, False),
    "django-wsgi-slashed": Kind(django_sites.wsgi_appending_slashes, False),
    "django-wsgi": Kind(django_sites.wsgi_bare, False),
    "django-wsgi-forced": Kind(django_sites.wsgi_bare, False, forced="/app"),
    "django-asgi-slashed": Kind(django_sites.asgi_appending_slashes, True),
    "django-asgi": Kind(django_sites.asgi_bare, True),
    "django-asgi-forced": Kind(django_sites.asgi_bare, True, mounts=("/app",), forced="/app"),
}


class Site:
    """One kind of site, in use."""

    def __init__(self, name: str, guard: Guard, runner: asyncio.Runner) -> None:
        self.name = name
        self.kind = KINDS[name]
        self.app = self.kind.make(guard)
        self.runner = runner

    def send(self, raw: Raw, token: str | None = None) -> Sent:
        raw = raw.below(self.kind.prefix)
        RAN.clear()
        forced = self.kind.forced
        with nullcontext() if forced is None else override_settings(FORCE_SCRIPT_NAME=forced):
            if self.kind.is_asgi:
                answer = self.runner.run(call_asgi(self.app, to_scope(raw, token)))
            else:
                answer = call_wsgi(self.app, to_environ(raw, token))
        return Sent(answer, tuple(RAN))

    def canonical(self, view_path: str) -> str:
        """Return the path as this site's own routes are written."""
        slashed = self.name.endswith("slashed") or (self.name, view_path) == ("flask-dispatching", "/shop")
        return f"{view_path}/" if slashed and not view_path.endswith("/") else view_path


@dataclass
class Report:
    """What a request made run for a token with every scope, and the rules that were passed by."""

    ran: set[str]
    to_nobody: Sent
    violations: list[str] = field(default_factory=list)


def examine(site: Site, raw: Raw) -> Report:
    """Hold a request against the property: a view ran, so its own rule was judged.

    With a token that has every scope it shows which views it makes run; each of them must stay shut
    for the token that lacks only this view's scope, and for nobody, unless it is public.
    """
    report = Report(set(site.send(raw, EVERYTHING).ran), site.send(raw))
    for view in sorted(report.ran):
        if VIEWS[view] is not None and view in site.send(raw, lacking(view)).ran:
            report.violations.append(f"{site.name}: {view} ran without its scope: {raw}")
    sent = report.to_nobody
    guarded = [view for view in sent.ran if VIEWS[view] is not None]
    if guarded and not raw.is_preflight:  # which goes in, but only to be answered
        report.violations.append(f"{site.name}: {guarded} ran for nobody: {raw}")
    if guarded and sent.answer.status < 400 and sent.answer.body:
        report.violations.append(f"{site.name}: a body of {guarded} came out: {raw}")
    return report


def path_of(site: Site, view: str) -> str:
    return quote(site.canonical(CANONICAL[view]))


def refused(site: Site, raw: Raw) -> Sent:
    """Send it without a token: no view runs, and the door says so, not the router."""
    report = examine(site, raw)
    sent = report.to_nobody
    assert (sent.ran, sent.answer.status in NOBODY, report.violations) == ((), True, []), raw
    return sent


@contextmanager
def open_sites() -> Iterator[dict[str, Site]]:
    django = override_settings(ALLOWED_HOSTS=["*"], APPEND_SLASH=True, FORCE_SCRIPT_NAME=None, DEBUG=False)
    with django, make_guard(_graph(), FakeClock()) as guard, asyncio.Runner() as runner:
        yield {name: Site(name, guard, runner) for name in KINDS}
