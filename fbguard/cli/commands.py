"""What can be typed after ``fbguard``. Every command imports what it runs on when it is called.

The commands about tokens are in :mod:`fbguard.cli.token_commands`.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from fbguard.cli.program import PORT_HELP, AsJson, StoreFile, app, listening_on, wrong_use

__all__ = ["app", "demo", "doctor", "explain", "routes", "sandbox", "token_commands"]

_DEFAULT_PORT: Final = 8090


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
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help=PORT_HELP)] = _DEFAULT_PORT,
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
    fail, recover, advance and others. `python -m pydoc fbguard.sandbox.Sandbox` tells of them all.
    """
    from fbguard.cli.local_facebook import run  # noqa: PLC0415

    with listening_on(port):
        try:
            run(port, app_id=app_id, app_secret=app_secret)
        except ValueError as error:  # names the option, never its value
            raise typer.BadParameter(str(error)) from None


@app.command(
    epilog="""Examples:

- `fbguard doctor`
- `fbguard doctor --json`

Exit codes: 0 a guard can work here, 1 something is to be mended.
"""
)
def doctor(*, store_file: StoreFile = None, as_json: AsJson = False) -> None:
    """Find out whether a guard can work here, and if not, why.

    Looks at the `FBGUARD_*` variables as `Guard.from_env()` reads them, at Graph (is it reached, does it take
    each app secret, is its clock ours), at the look-up of a token that nobody has issued, and at the shared
    store, of `FBGUARD_REDIS_URL` or `--store-file`. Prints no secret. Asks Graph two or three times.
    """
    from fbguard.cli.doctor import run  # noqa: PLC0415

    with wrong_use():
        code = run(as_json=as_json, store_file=store_file)
    raise typer.Exit(code)


@app.command(
    epilog="""Examples:

- `fbguard routes mysite.main:app`
- `fbguard routes 'mysite:create_app()' --fail-on-open --public /health --public '/static/{rest:path}'`
- `DJANGO_SETTINGS_MODULE=mysite.settings fbguard routes mysite.wsgi:application`

Exit codes: 0, 1 a route is open and `--fail-on-open` was given, 2 wrong usage.
"""
)
def routes(
    target: Annotated[
        str,
        typer.Argument(metavar="MODULE:APP", help="The app as servers name it; MODULE:FACTORY() is called."),
    ],
    *,
    public: Annotated[
        list[str] | None,
        typer.Option(
            "--public", metavar="PATH", help="What is meant to be open, as in a Rule; again for more."
        ),
    ] = None,
    fail_on_open: Annotated[
        bool, typer.Option("--fail-on-open", help="Fail if nothing guards a route and no rule says so.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List every route of an app and what guards it: doors, rules, decorators, dependencies.

    Loads the app (Starlette, FastAPI, Flask or Django, and what is mounted in it) and looks; sends it no
    request. **open** is a route that nothing guards and that no rule makes public. Guards that are not
    fbguard's, such as `@requires`, are not seen.
    """
    from fbguard.cli.routes import run  # noqa: PLC0415

    with wrong_use():
        code = run(target, public=public or (), fail_on_open=fail_on_open, as_json=as_json)
    raise typer.Exit(code)


@app.command(
    epilog="""Examples:

- `fbguard explain 190 463`, or `fbguard explain 190/463`
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
    as_json: AsJson = False,
) -> None:
    """Explain an error of Graph's: what happened, what fbguard answers, and what helps."""
    from fbguard.cli.explain import run  # noqa: PLC0415

    with wrong_use():
        code = run(what, subcode, everything=everything, as_json=as_json)
    raise typer.Exit(code)


from fbguard.cli import token_commands  # noqa: E402 - here, so that --help begins with the demo
