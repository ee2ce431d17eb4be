"""What stands in front of every command: the program itself, and the options that several take."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

import fbguard
from fbguard.core.secret import Secret

# What several commands take.
Token = Annotated[
    Secret | None,
    typer.Argument(
        parser=Secret,
        metavar="TOKEN",
        envvar="FBGUARD_TOKEN",
        help="The access token (it stays in the shell's history, so better leave it out), or - for stdin.",
    ),
]
AppId = Annotated[
    str | None, typer.Option("--app-id", envvar="FBGUARD_APP_ID", help="The Facebook app's id.")
]
GraphUrl = Annotated[
    str | None,
    typer.Option(
        "--graph-url",
        envvar="FBGUARD_GRAPH_URL",
        help="Whom to ask.",
        show_default="https://graph.facebook.com",
    ),
]
GraphVersion = Annotated[
    str | None,
    typer.Option(
        "--graph-version", envvar="FBGUARD_GRAPH_VERSION", help="Graph's version.", show_default="v26.0"
    ),
]
StoreFile = Annotated[
    str | None,
    typer.Option(
        "--store-file", metavar="PATH", help="The file that the workers of this host share (SQLiteStore)."
    ),
]
PORT_HELP: Final = "The port on 127.0.0.1; 0 takes a free one."
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
TWO_TOKENS: Final = "one token only, and without white space inside"


class _Program(TyperGroup):
    """Shows no type beside flags: newer typer writes one there, as if they took a value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the program's own options."""
        return _without_types(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, None for a name of none."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types(command.get_params(ctx))  # --help, too, which is kept from then on
        return command


def _without_types(params: list[Any]) -> list[Any]:
    for one in params:
        if getattr(one, "is_flag", False):
            one.metavar = ""
    return params


# Long option names only, and no pretty tracebacks: those print local variables, tokens among them.
app = typer.Typer(
    name="fbguard",
    cls=_Program,
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


@contextmanager
def listening_on(port: int) -> Generator[None]:
    """Tell of a port that cannot be had, with exit code 1."""
    try:
        yield
    except OSError as error:
        hint = "; --port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
        typer.echo(f"fbguard: cannot listen on 127.0.0.1:{port}: {error.strerror}{hint}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def wrong_use() -> Generator[None]:
    """Tell of a WrongUse as typer tells of wrong options, with exit code 2."""
    from fbguard.cli.asking import WrongUse  # noqa: PLC0415

    try:
        yield
    except WrongUse as error:
        raise typer.BadParameter(str(error)) from None
