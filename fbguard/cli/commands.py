"""What can be typed after ``fbguard``. Every command imports what it runs on when it is called."""

from __future__ import annotations

import errno
from typing import Annotated, Final

import typer

import fbguard
from fbguard.core.secret import Secret

_DEFAULT_PORT: Final = 8090

# What several commands take.
_Token = Annotated[
    Secret | None,
    typer.Argument(
        parser=Secret,
        metavar="TOKEN",
        envvar="FBGUARD_TOKEN",
        help="The access token (it stays in the shell's history, so better leave it out), or - for stdin.",
    ),
]
_AppId = Annotated[
    str | None, typer.Option("--app-id", envvar="FBGUARD_APP_ID", help="The Facebook app's id.")
]
_GraphUrl = Annotated[
    str | None,
    typer.Option(
        "--graph-url",
        envvar="FBGUARD_GRAPH_URL",
        help="Whom to ask.",
        show_default="https://graph.facebook.com",
    ),
]
_GraphVersion = Annotated[
    str | None,
    typer.Option(
        "--graph-version", envvar="FBGUARD_GRAPH_VERSION", help="Graph's version.", show_default="v26.0"
    ),
]
_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
_TWO_TOKENS: Final = "one token only, and without white space inside"

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
    `POST /sandbox/METHOD` and keywords as JSON: issue_token, expire, log_out, change_password, remove_app,
    fail, recover, advance and others. docs/index.md lists them all.
    """
    from fbguard.cli.local_facebook import run  # noqa: PLC0415

    try:
        run(port, app_id=app_id, app_secret=app_secret)
    except ValueError as error:  # names the option, never its value
        raise typer.BadParameter(str(error)) from None
    except OSError as error:
        hint = "; --port 0 takes a free one" if error.errno == errno.EADDRINUSE else ""
        typer.echo(f"fbguard: cannot listen on 127.0.0.1:{port}: {error.strerror}{hint}", err=True)
        raise typer.Exit(1) from None


@app.command(
    # Words too many are counted here: the message for them would repeat half of a token.
    context_settings={"allow_extra_args": True},
    epilog="""Examples:

- `fbguard inspect`
- `fbguard inspect --json < token.txt`
- `FBGUARD_GRAPH_URL=http://127.0.0.1:8090 fbguard inspect`

Exit codes: 0 valid for this app, 1 not valid, 2 wrong usage, 3 nobody can tell.
""",
)
def inspect(
    context: typer.Context,
    *,
    token: _Token = None,
    app_id: _AppId = None,
    graph_url: _GraphUrl = None,
    graph_version: _GraphVersion = None,
    as_json: _AsJson = False,
) -> None:
    """Show what Facebook says about an access token, and what a guard makes of it.

    Without TOKEN it is read from standard input, or typed at a prompt that does not show it. The app's
    secret comes from `FBGUARD_APP_SECRET`, or is asked for in the same way. Neither is ever printed.
    """
    from fbguard.cli.asking import WrongUse  # noqa: PLC0415
    from fbguard.cli.inspect import run  # noqa: PLC0415

    if context.args:
        raise typer.BadParameter(_TWO_TOKENS)
    try:
        code = run(token, app_id=app_id, graph_url=graph_url, graph_version=graph_version, as_json=as_json)
    except WrongUse as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(code)


@app.command(
    "expire-session",
    context_settings={"allow_extra_args": True},  # as above
    epilog="""Examples:

- `fbguard expire-session`
- `fbguard expire-session - < token.txt`
- `fbguard expire-session --store`
- `fbguard expire-session --endpoint https://api.example.com/facebook`
- `fbguard expire-session --legacy https://old.example.com/restserver.php --format JSON`

Exit codes: 0 ended, 1 refused, or not known to be ended, 2 wrong usage.
""",
)
def expire_session(
    context: typer.Context,
    *,
    token: _Token = None,
    app_id: _AppId = None,
    graph_url: _GraphUrl = None,
    graph_version: _GraphVersion = None,
    store: Annotated[
        bool,
        typer.Option("--store", help="In the store of FBGUARD_REDIS_URL, so at all workers that share it."),
    ] = False,
    endpoint: Annotated[
        str | None,
        typer.Option("--endpoint", metavar="URL", help="A guard's callbacks, as the app has mounted them."),
    ] = None,
    legacy: Annotated[
        str | None, typer.Option("--legacy", metavar="URL", help="Any server of auth.expireSession.")
    ] = None,
    session_key: Annotated[
        Secret | None,
        typer.Option(
            "--session-key",
            parser=Secret,
            metavar="KEY",
            envvar="FBGUARD_SESSION_KEY",
            help="For these two: the session's key, if it is not the token; - for stdin.",
        ),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option("--format", metavar="XML|JSON", help="For these two: the answer's.", show_default="XML"),
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """End a session: of one token at your guards or a legacy server, or else of the person at Facebook.

    Without `--store`, `--endpoint` and `--legacy` Facebook is asked to take all of the app's permissions of
    this person away (`DELETE /me/permissions`): that ends **every** token of the person for the app, and the
    app must be allowed anew. With the last two the call is signed by the app's secret. Token and secret are
    taken as by `fbguard inspect`, and never printed.
    """
    from fbguard.cli.asking import WrongUse  # noqa: PLC0415
    from fbguard.cli.expire import Options, run  # noqa: PLC0415

    if context.args:
        raise typer.BadParameter(_TWO_TOKENS)
    options = Options(
        app_id=app_id, graph_url=graph_url, graph_version=graph_version,
        in_store=store, endpoint=endpoint, legacy=legacy, session_key=session_key, format=answers,
    )  # fmt: skip
    try:
        code = run(token, options, as_json=as_json)
    except WrongUse as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(code)


@app.command(
    epilog="""Examples:

- `fbguard doctor`
- `fbguard doctor --json`

Exit codes: 0 a guard can work here, 1 it cannot.
"""
)
def doctor(*, as_json: _AsJson = False) -> None:
    """Find out whether a guard can work here, and if not, why.

    Looks at the `FBGUARD_*` variables as `Guard.from_env()` reads them, at Graph (is it reached, does it take
    each app secret, is its clock ours), at the look-up of a token that nobody has issued, and at the shared
    store. Prints no secret. Asks Graph two or three times.
    """
    from fbguard.cli.doctor import run  # noqa: PLC0415

    raise typer.Exit(run(as_json=as_json))


@app.command(
    epilog="""Examples:

- `fbguard explain 190 463`
- `fbguard explain expired`
- `fbguard explain --all`

The exit code is 1 for a code or subcode that is not known.
"""
)
def explain(
    what: Annotated[
        str | None,
        typer.Argument(metavar="CODE|REASON", help="Graph's error code, or a reason of fbguard's."),
    ] = None,
    subcode: Annotated[int | None, typer.Argument(metavar="SUBCODE", help="Graph's error subcode.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Print all of it, as Markdown tables.")] = False,
    as_json: _AsJson = False,
) -> None:
    """Explain an error of Graph's: what happened, what fbguard answers, and what helps."""
    from fbguard.cli.asking import WrongUse  # noqa: PLC0415
    from fbguard.cli.explain import run  # noqa: PLC0415

    try:
        code = run(what, subcode, everything=everything, as_json=as_json)
    except WrongUse as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(code)
