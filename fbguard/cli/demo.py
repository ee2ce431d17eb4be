"""``fbguard demo``: a local Facebook, two guarded apps, and every answer, over real sockets."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import fbguard
from fbguard.cli import curl, tour
from fbguard.cli.apps import flask_app, starlette_app
from fbguard.cli.compare import Outcome, play
from fbguard.cli.servers import serve_asgi, serve_wsgi
from fbguard.cli.show import DemoScreen
from fbguard.cli.terminal import Terminal
from fbguard.cli.waiting import stop_signals
from fbguard.guard import Guard
from fbguard.sandbox import Sandbox

# Where Facebook's login dialog would send people back to; it makes the hints' addresses complete.
_REDIRECT_URI: Final = "https://app.example/facebook/return"
_DEADLINE: Final = 8.0  # seconds
_IN_FULL: Final = "rule: scope missing"


@dataclass(frozen=True, slots=True)
class Stage:
    """All that runs: the local Facebook, and the apps by name."""

    sandbox: Sandbox
    graph_url: str
    apps: tuple[tuple[str, str], ...]


@contextmanager
def stage() -> Generator[Stage]:
    """Run the local Facebook and both apps, each behind a guard of its own, while the block runs."""
    sandbox = Sandbox()
    with ExitStack() as running:
        graph_url = running.enter_context(sandbox.serve())

        def guard() -> Guard:
            # transport=None: over a socket, as in production. The demo judges answers, not speed: so the
            # deadline is long enough for a machine that is busy with other things.
            return running.enter_context(
                sandbox.guard(
                    graph_url=graph_url, transport=None, redirect_uri=_REDIRECT_URI, deadline=_DEADLINE
                )
            )

        page_token = sandbox.issue_token(type="PAGE", profile_id=tour.PAGE_ID)
        sandbox.expire(page_token)
        page = (tour.PAGE_ID, page_token)
        apps = (
            ("Starlette", running.enter_context(serve_asgi(starlette_app(guard(), *page)))),
            ("Flask", running.enter_context(serve_wsgi(flask_app(guard(), *page)))),
        )
        yield Stage(sandbox, graph_url, apps)


def run(*, serve: bool) -> int:
    """Play the tour and print it; with ``serve`` stay up until a stop signal. Returns the exit code."""
    if not serve:
        with stage() as playing:
            return _tour(playing, Terminal())
    with stop_signals() as stop, stage() as playing:
        terminal = Terminal()
        code = _tour(playing, terminal)
        _print_examples(playing, terminal)
        stop.wait()
        terminal.line()
        terminal.line("Stopped.")
        return code


def _tour(playing: Stage, terminal: Terminal) -> int:
    screen = DemoScreen(terminal)
    screen.heading(f"fbguard {fbguard.__version__} demo", _what_runs(playing))
    played: list[tuple[str, list[Outcome]]] = []
    for name, url in playing.apps:
        screen.app(name, url)
        played.append((name, list(_play(screen, url, playing.sandbox))))
    outcomes = [outcome for _, by_app in played for outcome in by_app]
    for outcome in outcomes:
        if outcome.step.name == _IN_FULL:
            screen.in_full(outcome)
            break
    screen.summary(played)
    return int(any(outcome.differences for outcome in outcomes))


def _play(screen: DemoScreen, url: str, sandbox: Sandbox) -> Iterable[Outcome]:
    for chapter in tour.TOUR:
        screen.chapter(chapter.title)
        for step in chapter.steps:
            outcome = play(step, url, sandbox)
            screen.outcome(outcome)
            yield outcome


def _what_runs(playing: Stage) -> list[tuple[str, str, str]]:
    described = {
        "Starlette": f"starlette {version('starlette')} on uvicorn {version('uvicorn')}",
        "Flask": f"flask {version('flask')} on werkzeug {version('werkzeug')}",
    }
    return [
        ("Facebook", "the sandbox, a Facebook on this machine", playing.graph_url),
        *((name, described[name], url) for name, url in playing.apps),
    ]


def _print_examples(playing: Stage, terminal: Terminal) -> None:
    terminal.line()
    terminal.line(("Everything stays up until Ctrl-C. Copy and paste:", "bold"))
    for example in (
        *curl.app_examples(playing.apps, playing.sandbox),
        *curl.log_out_examples(playing.apps, playing.sandbox),
        *curl.control_examples(playing.graph_url, playing.sandbox, playing.apps),
    ):
        terminal.line()
        terminal.line((f"# {example.comment}", "green"))
        terminal.line(example.command)
    terminal.line()
