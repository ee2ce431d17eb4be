"""The commands about tokens."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from fbguard.cli.program import (
    PORT_HELP,
    TWO_TOKENS,
    AppId,
    AsJson,
    GraphUrl,
    GraphVersion,
    StoreFile,
    Token,
    app,
    listening_on,
    wrong_use,
)
from fbguard.core.secret import Secret

_DEBUGGER_PORT: Final = 8091


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
    token: Token = None,
    app_id: AppId = None,
    graph_url: GraphUrl = None,
    graph_version: GraphVersion = None,
    as_json: AsJson = False,
) -> None:
    """Show what Facebook says about an access token, and what a guard makes of it.

    Without TOKEN it is read from standard input, or typed at a prompt that does not show it. The app's
    secret comes from `FBGUARD_APP_SECRET`, or is asked for in the same way. Neither is ever printed.
    """
    from fbguard.cli.inspect import run  # noqa: PLC0415

    if context.args:
        raise typer.BadParameter(TWO_TOKENS)
    with wrong_use():
        code = run(token, app_id=app_id, graph_url=graph_url, graph_version=graph_version, as_json=as_json)
    raise typer.Exit(code)


@app.command(
    epilog="""Examples:

- `fbguard debugger`
- `fbguard debugger --port 0 --app-id 1234567890`
"""
)
def debugger(
    *,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help=PORT_HELP)] = _DEBUGGER_PORT,
    app_id: AppId = None,
    graph_url: GraphUrl = None,
    graph_version: GraphVersion = None,
) -> None:
    """Show in a browser what tokens are worth, until Ctrl-C: a page on this machine, and for it only.

    Beside what Facebook says about a token it shows what a client of yours would get on a route that asks
    for permissions. Tokens are typed into the page and appear nowhere else: in no address, no log, not on the
    page itself. The app's secret is taken as by `fbguard inspect`.
    """
    from fbguard.cli.debugger import run  # noqa: PLC0415

    with wrong_use(), listening_on(port):
        run(port, app_id=app_id, graph_url=graph_url, graph_version=graph_version)


@app.command(
    epilog="""Examples:

- `fbguard audit tokens.txt`
- `fbguard audit users.csv --column access_token --rate 5`
- `psql -Atc 'select token from logins' | fbguard audit - --json`

Exit codes: 0 all are valid, 1 some are not, 2 wrong usage, 3 of some nobody can tell.
"""
)
def audit(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A token on each line; - for stdin.")],
    *,
    column: Annotated[
        str | None, typer.Option("--column", help="The file is CSV, and this the column of the tokens.")
    ] = None,
    rate: Annotated[
        float, typer.Option("--rate", min=0.5, help="Calls of Graph in a second, at most.")
    ] = 10.0,
    app_id: AppId = None,
    graph_url: GraphUrl = None,
    graph_version: GraphVersion = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object for each token, and nothing else.")
    ] = False,
) -> None:
    """Look every stored token of a file up: how many are valid, and why the others are not.

    Each look-up counts against the limits of your app, so mind the rate. Where Graph throttles, it waits as
    long as Graph asks for. Tokens are never printed: lines and fingerprints tell which is which. The app's
    secret is taken as by `fbguard inspect`.
    """
    from fbguard.cli.audit import run  # noqa: PLC0415

    with wrong_use():
        code = run(
            file, column=column, rate=rate, app_id=app_id,
            graph_url=graph_url, graph_version=graph_version, as_json=as_json,
        )  # fmt: skip
    raise typer.Exit(code)


@app.command(
    "expire-session",
    context_settings={"allow_extra_args": True},  # as above
    epilog="""Examples:

- `fbguard expire-session`
- `fbguard expire-session --yes`
- `fbguard expire-session - < token.txt`
- `fbguard expire-session --store`
- `fbguard expire-session --store-file /var/lib/myapp/fbguard.db`
- `fbguard expire-session --endpoint https://api.example.com/facebook`
- `fbguard expire-session --legacy https://old.example.com/restserver.php --format JSON`

Exit codes: 0 ended, 1 refused, or not known to be ended, 2 wrong usage.
""",
)
def expire_session(
    context: typer.Context,
    *,
    token: Token = None,
    app_id: AppId = None,
    graph_url: GraphUrl = None,
    graph_version: GraphVersion = None,
    store: Annotated[
        bool,
        typer.Option("--store", help="In the store of FBGUARD_REDIS_URL, so at all workers that share it."),
    ] = False,
    store_file: StoreFile = None,
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
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask whether all tokens of the person are to end.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End a session: of one token at your guards or a legacy server, or else of the person at Facebook.

    Without a place (`--store`, `--store-file`, `--endpoint`, `--legacy`) Facebook is asked to take all of the
    app's permissions of this person away (`DELETE /me/permissions`): that ends **every** token of the person
    for the app, and the app must be allowed anew. At a terminal it asks before. With the last two the call is
    signed by the app's secret. Token and secret are taken as by `fbguard inspect`, and never printed.
    """
    from fbguard.cli.expire import Options, run  # noqa: PLC0415

    if context.args:
        raise typer.BadParameter(TWO_TOKENS)
    options = Options(
        app_id=app_id, graph_url=graph_url, graph_version=graph_version,
        in_store=store, store_file=store_file, endpoint=endpoint, legacy=legacy,
        session_key=session_key, format=answers, is_agreed=yes,
    )  # fmt: skip
    with wrong_use():
        code = run(token, options, as_json=as_json)
    raise typer.Exit(code)
