"""What can be typed after ``fbguard``. Every command imports what it runs on when it is called."""

from __future__ import annotations

from typing import Annotated, Final

import typer

import fbguard

_DEFAULT_PORT: Final = 8090

# Long option names only, and no pretty tracebacks: those print local variables, tokens among them.
app = typer.Typer(
    name="fbguard",
    help="Guards Python web APIs with Facebook access tokens.",
    epilog="Start with: fbguard demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fbguard {fbguard.__version__}")
        raise typer.Exit


@app.callback()
def fbguard_command(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Guards Python web APIs with Facebook access tokens."""
    del version  # its callback has printed and left


@app.command(
    epilog="""Examples:

- `fbguard demo`
- `fbguard demo --serve`
- `fbguard demo > answers.txt`
"""
)
def demo(
    *,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve",
            help="Then leave everything running until Ctrl-C and print curl lines with fresh tokens.",
        ),
    ] = False,
) -> None:
    """Walk two guarded apps through every answer: tokens that pass, and every way they do not.

    Starts a local Facebook, a Starlette app on uvicorn and a Flask app on werkzeug's server, all on free
    ports of 127.0.0.1, sends real requests and compares each answer with what the design promises.
    The exit code is 1 if any differs, else 0.
    """
    from fbguard.cli.demo import run  # noqa: PLC0415

    raise typer.Exit(run(serve=serve))


@app.command(
    epilog="""Examples:

- `fbguard sandbox`
- `fbguard sandbox --port 9000 --app-id 42`
"""
)
def sandbox(
    *,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="The port on 127.0.0.1; 0 takes a free one.")
    ] = _DEFAULT_PORT,
    app_id: Annotated[
        str | None, typer.Option("--app-id", help="The Facebook app's id.", show_default="1234567890")
    ] = None,
    app_secret: Annotated[
        str | None,
        typer.Option("--app-secret", help="The Facebook app's secret.", show_default="a fake one"),
    ] = None,
) -> None:
    """Run a local Facebook until Ctrl-C: it issues access tokens and answers Graph's calls about them.

    Point a guard at it with `FBGUARD_GRAPH_URL`. Let things happen to tokens and people with
    `POST /sandbox/METHOD`: issue_token, expire, log_out, change_password, remove_app, fail, recover
    and the other methods of `fbguard.sandbox.Sandbox`.
    """
    from fbguard.cli.local_facebook import run  # noqa: PLC0415

    try:
        run(port, app_id=app_id, app_secret=app_secret)
    except ValueError as error:  # names the option, never its value
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        typer.echo(f"fbguard: cannot listen on 127.0.0.1:{port}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
