"""``fbguard expire-session``: end a session, at Facebook, at guards, or at a server of the old REST API."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from typing import Final, Literal

from fbguard.cli import asking
from fbguard.cli.guards import one_off_guard
from fbguard.cli.sheet import Sheet
from fbguard.cli.terminal import Terminal
from fbguard.core.credentials import screen
from fbguard.core.errors import OAuthException, Refused, StoreUnavailable
from fbguard.core.reasons import REASONS
from fbguard.core.secret import Secret
from fbguard.legacy import LegacyError, expire_session

Where = Literal["graph", "store", "endpoint", "legacy"]

_PATH: Final = "/restserver.php"
_UNKNOWN: Final = frozenset({1, 2})  # of the REST API: try again; ours if no answer could be read
_AWAY: Final = "unavailable"
_STORE_AWAY: Final = "The store did not do it, or did not say so. Try again."
_AT_STAKE: Final = (
    "Facebook will take all of the app's permissions of this person away: every token of theirs for this app "
    "ends, and they must allow the app anew."
)
_NO_ANSWER: Final = "Graph did not answer, or not so that anybody could tell. Try again."


@dataclass(frozen=True, slots=True)
class Ending:
    """What came of it. ``ended`` is None when it is not known: the call may have had its effect.

    ``code`` and ``subcode`` are Graph's or the REST API's, ``reason`` is a word of fbguard's,
    ``message`` the server's or our own, ``retry_after`` seconds. ``listeners`` is the number of guards
    that were listening to the store, None elsewhere and where nobody can tell.
    """

    where: Where
    ended: bool | None
    code: int | None = None
    subcode: int | None = None
    reason: str | None = None
    message: str | None = None
    retry_after: int | None = None
    listeners: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed, or stands in the environment; None: nothing."""

    app_id: str | None = None
    graph_url: str | None = None
    graph_version: str | None = None
    in_store: bool = False
    store_file: str | None = None
    endpoint: str | None = None
    legacy: str | None = None
    session_key: Secret | None = None
    format: str | None = None
    is_agreed: bool = False


def run(given: Secret | None, options: Options, *, as_json: bool) -> int:
    """End the session of a token, the given one or one that is read or asked for; returns the exit code.

    Raises :class:`fbguard.cli.asking.WrongUse` for options that are wrong or missing.
    """
    _check(options)
    app_id = asking.app_id(options.app_id)
    key = asking.token(options.session_key or given)
    if _is_at_graph(options) and not options.is_agreed and not asking.agreed(_AT_STAKE):
        sys.stderr.write("Nothing was ended.\n")
        return 1
    if options.endpoint is not None:
        base = options.endpoint.rstrip("/").removesuffix(_PATH)
        ending = _call("endpoint", app_id, key, f"{base}{_PATH}", options.format)
    elif options.legacy is not None:
        ending = _call("legacy", app_id, key, options.legacy, options.format)
    elif options.in_store or options.store_file is not None:
        ending = _bury(app_id, key, options)
    else:
        ending = _revoke(app_id, key, options)
    if as_json:
        sys.stdout.write(f"{json.dumps(asdict(ending), indent=2)}\n")
    else:
        _print(ending, Terminal())
    return 0 if ending.ended else 1


def _check(options: Options) -> None:
    places = {
        "--store": options.in_store,
        "--store-file": options.store_file is not None,
        "--endpoint": options.endpoint is not None,
        "--legacy": options.legacy is not None,
    }
    named = [name for name, is_named in places.items() if is_named]
    if len(named) > 1:
        raise asking.WrongUse(f"{' and '.join(named)} are two places: name one")
    if options.endpoint is None and options.legacy is None:
        for name, value in (("--session-key", options.session_key), ("--format", options.format)):
            if value is not None:
                raise asking.WrongUse(f"{name} needs --endpoint or --legacy; elsewhere it is the token")


def _is_at_graph(options: Options) -> bool:
    places = (options.store_file, options.endpoint, options.legacy)
    return not options.in_store and all(one is None for one in places)


def _revoke(app_id: str, token: Secret, options: Options) -> Ending:
    """End all of the person's tokens at Graph."""
    with one_off_guard(
        app_id=app_id, graph_url=options.graph_url, graph_version=options.graph_version
    ) as guard:
        screened = screen(token)
        try:
            if not isinstance(screened, Secret):  # so nobody needs to be asked
                raise guard.refusal(screened)
            guard.expire_session(token.reveal(), upstream="revoke")
        except OAuthException as error:
            # An answer, and it was no; but an outage may come between the deed and the answer.
            ended = None if error.reason == _AWAY else False
            said = (error.code, error.subcode, error.reason, error.message, error.retry_after)
            return Ending("graph", ended, *said)
        except Refused as refused:
            ended = None if refused.reason == _AWAY else False
            detail = _NO_ANSWER if ended is None else REASONS[refused.reason].detail
            said = (refused.code, refused.subcode, refused.reason, detail, refused.retry_after)
            return Ending("graph", ended, *said)
    return Ending("graph", True)


def _bury(app_id: str, token: Secret, options: Options) -> Ending:
    """End the session of one token at all workers that share a store."""
    with one_off_guard(
        in_store=options.in_store,
        store_file=options.store_file,
        app_id=app_id,
        graph_url=options.graph_url,
        graph_version=options.graph_version,
    ) as guard:
        screened = screen(token, id_tokens=True)
        try:
            if not isinstance(screened, Secret):
                raise guard.refusal(screened)
            guard.expire_session(token.reveal())
        except Refused as refused:
            return Ending("store", False, reason=refused.reason, message=REASONS[refused.reason].detail)
        except StoreUnavailable:
            return Ending("store", None, message=_STORE_AWAY)
        health = guard.health().store
    return Ending("store", True, listeners=None if health is None else health.listeners)


def _call(where: Where, app_id: str, key: Secret, url: str, answers: str | None) -> Ending:
    """End a session by the legacy call."""
    secret = asking.signing_secret()
    try:
        expire_session(app_id, secret.reveal(), key.reveal(), url=url, format=answers or "XML")
    except LegacyError as error:
        ended = None if error.code in _UNKNOWN else False
        return Ending(where, ended, error.code, message=error.message)
    except (TypeError, ValueError) as error:  # it names the argument, never its value
        raise asking.WrongUse(str(error)) from None
    return Ending(where, True)


_DONE: Final = {
    "graph": "Ended: Facebook took the app's permissions away, and with them all of this person's tokens",
    "store": "Ended: every worker that shares the store refuses the token from now on",
    "endpoint": "Ended: the guard that answered refuses the token from now on",
    "legacy": "Ended: the server says so",
}
_CACHED: Final = (
    "A guard that has looked such a token up lets it pass until it asks again (ttl); Facebook's "
    "deauthorize callback, where it is mounted, tells it at once."
)


_NOT_THERE: Final = (
    "The URL is where the app mounts callbacks_asgi() or callbacks_wsgi(); its policy must leave that path "
    "public."
)
_NOBODY: Final = (
    "No guard was listening. One that starts later refuses the token, too; but if workers are running, they "
    "have another app id or Graph URL than this command, or another store."
)


_UNHEARD: Final = (
    "Who reads the file nobody can tell: workers that have another app id, Graph URL or secret do not hear "
    "of it."
)


def _note(ending: Ending) -> str | None:
    if ending.where == "graph":
        return _CACHED
    if ending.listeners is None:
        return _UNHEARD if ending.where == "store" else None
    many = "1 guard was" if ending.listeners == 1 else f"{ending.listeners} guards were"
    return (
        f"{many} listening; those that have this app secret refuse it now." if ending.listeners else _NOBODY
    )


def _print(ending: Ending, terminal: Terminal) -> None:
    sheet, signs = Sheet(terminal), terminal.signs
    if ending.ended:
        sheet.headline(signs.good, _DONE[ending.where], "green")
        note = _note(ending)
        if note is not None:
            sheet.gap()
            sheet.row("Note", note)
        return
    if ending.ended is None:
        sheet.headline("?", "Not known to be ended", "magenta")
    else:
        sheet.headline(signs.bad, "Refused, nothing was ended", "red")
    sheet.gap()
    for name, value in _rows(ending):
        if value is not None:
            sheet.row(name, value)
    if ending.where == "endpoint" and ending.ended is None:
        sheet.row("Note", _NOT_THERE)


def _rows(ending: Ending) -> list[tuple[str, str | None]]:
    numbers = [str(number) for number in (ending.code, ending.subcode) if number is not None]
    wait = None if ending.retry_after is None else f"{ending.retry_after} s"
    return [
        ("Error", "/".join(numbers) or None),
        ("Reason", ending.reason),
        ("Message", ending.message),
        ("Retry after", wait),
    ]
