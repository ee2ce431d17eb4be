"""``fbguard debugger``: a page on this machine that shows what a token is worth."""

from __future__ import annotations

from fbguard.cli import asking
from fbguard.cli.guards import one_off_guard
from fbguard.cli.terminal import Terminal
from fbguard.cli.waiting import stop_signals
from fbguard.debugger.server import serving


def run(port: int, *, app_id: str | None, graph_url: str | None, graph_version: str | None) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C or SIGTERM; options that are None have the guard's defaults.

    Raises :class:`fbguard.cli.asking.WrongUse` for options that are wrong or missing, OSError for a port that
    cannot be had.
    """
    app_id = asking.app_id(app_id)
    with (
        one_off_guard(
            id_tokens=True, app_id=app_id, graph_url=graph_url, graph_version=graph_version
        ) as guard,
        stop_signals() as stop,
        serving(guard, port) as url,
    ):
        terminal = Terminal()
        terminal.line(("The token debugger", "bold"), " is at ", (url, "cyan"), f", for the app {app_id}")
        terminal.line("It asks Facebook about each token that is typed there, and shows it to nobody else.")
        terminal.line()
        terminal.line("Ctrl-C stops it.")
        stop.wait()
        terminal.line("Stopped.")
