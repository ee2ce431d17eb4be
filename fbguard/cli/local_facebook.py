"""``fbguard sandbox``: the local Facebook on a port, and what to do with it."""

from __future__ import annotations

from fbguard.cli import curl
from fbguard.cli.terminal import Terminal
from fbguard.cli.waiting import stop_signals
from fbguard.sandbox import Sandbox
from fbguard.sandbox.limited_login import PATH as JWKS


def run(port: int, *, app_id: str | None = None, app_secret: str | None = None) -> None:
    """Serve the local Facebook on 127.0.0.1 until Ctrl-C or SIGTERM; None means the sandbox's defaults.

    Raises ValueError for ids and secrets that cannot be, OSError for a port that cannot be had.
    """
    given = {"app_id": app_id, "app_secret": app_secret}
    sandbox = Sandbox(**{name: value for name, value in given.items() if value is not None})
    with stop_signals() as stop, sandbox.serve(port) as url:
        terminal = Terminal()
        # The default secret is made up; one that somebody chose may be used elsewhere too.
        _print_help(terminal, sandbox, url, show_secret=app_secret is None)
        stop.wait()
        terminal.line("Stopped.")


def _print_help(terminal: Terminal, sandbox: Sandbox, url: str, *, show_secret: bool) -> None:
    secret = sandbox.app_secret if show_secret else "$FBGUARD_APP_SECRET"
    token = sandbox.issue_token(scopes=["public_profile", "email"], expires_in=None)
    terminal.line(("A local Facebook", "bold"), " at ", (url, "cyan"), ", app id ", (sandbox.app_id, "cyan"))
    _print_block(
        terminal,
        "Point a guard at it (Guard.from_env)",
        f"export FBGUARD_GRAPH_URL={url}",
        f"export FBGUARD_DIALOG_URL={url}",
        f"export FBGUARD_JWKS_URL={url}{JWKS}/",
        f"export FBGUARD_APP_ID={sandbox.app_id}",
        f"export FBGUARD_APP_SECRET={secret if show_secret else '...'}",
    )
    _print_block(
        terminal,
        "A token that it has issued, by the name that the documentation uses",
        f"export TOKEN={token}",
    )
    _print_block(terminal, "Ask fbguard what it is worth", 'echo "$TOKEN" | fbguard inspect')
    _print_block(
        terminal, "Issue another token", curl.control(url, "issue_token", scopes=["public_profile", "email"])
    )
    _print_block(
        terminal,
        "Ask what a token is worth, as a guard does",
        curl.debug_token(url, token, f"{sandbox.app_id}|{secret}"),
    )
    _print_block(terminal, "Let something happen to it", curl.control(url, "expire", token=token))
    terminal.line()
    terminal.line("Ctrl-C stops it.")


def _print_block(terminal: Terminal, comment: str, *commands: str) -> None:
    terminal.line()
    terminal.line((f"# {comment}", "green"))
    for command in commands:
        terminal.line(command)
