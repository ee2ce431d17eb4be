"""The controls: issue tokens, let things happen to them, break the platform, look at the calls."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from fbguard.sandbox import arguments, errors, tokens
from fbguard.sandbox.batch import MAX_ITEMS
from fbguard.sandbox.callbacks import SignsCallbacks
from fbguard.sandbox.clock import SandboxClock
from fbguard.sandbox.dialog import answered
from fbguard.sandbox.graph import is_dialog, respond
from fbguard.sandbox.limited_login import IssuesIdTokens
from fbguard.sandbox.moods import Batching, Failure
from fbguard.sandbox.restserver import mint_session_key
from fbguard.sandbox.world import App, Call, IssuedToken, World

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from fbguard.guard import Guard
    from fbguard.sandbox.transport import SandboxTransport
    from fbguard.sandbox.wire import Outcome, Request

_DAY = 86_400
_SHORT_LIVED = 2 * 3_600  # of longer ones only Facebook tells `issued_at`
_MAX_DELAY = 3_600.0


class Sandbox(SignsCallbacks, IssuesIdTokens):
    """A Facebook with one app, for tests, demos and development; it never leaves this machine.

    ``transport`` is an httpx transport for both colours and needs no socket; ``serve()`` answers on
    loopback. All of it may be used from many threads and event loops at once. Wrong arguments are a
    TypeError or ValueError that names the option and repeats no token.
    """

    def __init__(
        self,
        app_id: str = "1234567890",
        app_secret: str = "0123456789abcdef0123456789abcdef",  # noqa: S107 - guards nothing real
        app_name: str = "fbguard sandbox",
    ) -> None:
        self._world = World(
            App(
                arguments.digits("app_id", app_id),
                arguments.text("app_name", app_name),
                arguments.secret("app_secret", app_secret),
            )
        )
        self._clock = SandboxClock()
        self._transport: SandboxTransport | None = None

    def __repr__(self) -> str:
        return f"Sandbox(app_id={self.app_id!r}, tokens={len(self._world)})"

    @property
    def app_id(self) -> str:
        """The id of the sandbox's app."""
        return self._world.app.app_id

    @property
    def app_secret(self) -> str:
        """The app's secret: what a guard of this sandbox needs, and worth nothing elsewhere."""
        return self._world.app.secret

    @property
    def clock(self) -> SandboxClock:
        """The sandbox's time; ``clock.advance(seconds)`` moves it on."""
        return self._clock

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every Graph call so far, oldest first: method, path and status; never a query or a token."""
        return self._world.calls()

    # -- tokens -------------------------------------------------------------------------------

    def issue_token(
        self,
        *,
        user_id: str | None = None,
        scopes: Iterable[str] = ("public_profile",),
        granular_scopes: Mapping[str, Sequence[str] | None] | Sequence[Mapping[str, object]] | None = None,
        expires_in: float | None = 3600,
        type: str = "USER",  # noqa: A002 - Graph's own name for it
        profile_id: str | None = None,
        data_access_expires_in: float | None = 90 * _DAY,
        app_id: str | None = None,
    ) -> str:
        """Log a person in and return the access token that the app gets.

        Times are seconds from now, cut to whole unix seconds; None or 0 is never, a negative one past.
        ``user_id`` is a new numeric id unless given. ``type`` is USER, PAGE, SYSTEM_USER or APP; a PAGE
        token has a ``profile_id``; an APP token has neither user nor scopes nor times.
        ``granular_scopes`` maps a scope to its target ids (None: all targets), or is Graph's list of
        ``{"scope": ..., "target_ids": [...]}``; None leaves the key out. With another ``app_id`` the
        token belongs to that app.
        """
        arguments.check_type(type, user_id, profile_id, granular_scopes)
        owner = self.app_id if app_id is None else arguments.digits("app_id", app_id)
        now = self._clock.time()
        record = IssuedToken(
            app_id=owner,
            type=type,
            user_id=None if type == "APP" else _id("user_id", user_id),
            profile_id=_id("profile_id", profile_id) if type == "PAGE" else None,
            scopes=arguments.scope_names("scopes", () if type == "APP" else scopes),
            granular_scopes=arguments.granular("granular_scopes", granular_scopes),
            issued_at=int(now),
            expires_at=arguments.moment("expires_in", expires_in, now),
            data_access_expires_at=arguments.moment("data_access_expires_in", data_access_expires_in, now),
            long_lived=not expires_in or expires_in > _SHORT_LIVED,
        )
        token = tokens.mint_app_token(owner) if type == "APP" else tokens.mint()
        self._world.add(token, record)
        return token

    def bearer(self, token: str) -> dict[str, str]:
        """Return the request header that carries ``token``, as a mapping."""
        return {"Authorization": f"Bearer {arguments.text('token', token)}"}

    def expire(self, token: str) -> None:
        """Let the token's time run out now (subcode 463)."""
        if self._issued(token).type == "APP":
            raise ValueError("token: an app token never expires")
        self._world.expire(token, self._clock.time())

    def invalidate(self, token: str) -> None:
        """End the token's session as an API call does (subcode 466)."""
        self._issued(token)
        self._world.end_token(token, errors.INVALIDATED)

    def session_key(self, token: str) -> str:
        """Return a new session key for the token's session, for a client of the old REST API."""
        user_id = self._issued(token).user_id
        if user_id is None:
            raise ValueError("token: an app token has no session")
        key = mint_session_key(user_id)
        self._world.add_session_key(key, token)
        return key

    def log_in(
        self, url: str, *, user_id: str | None = None, decline: Iterable[str] = (), cancel: bool = False
    ) -> str:
        """Answer the login dialog at ``url`` as a person; return the address that the browser is sent to.

        ``url`` is ``relogin.url`` of a refusal, or an app's own, with its ``state``. ``decline`` are
        permissions that the person keeps back. ValueError tells why there is no such dialog.
        """
        declined = arguments.scope_names("decline", decline)
        decision = None if arguments.flag("cancel", cancel) else _id("user_id", user_id)
        return answered(self.handle, arguments.text("url", url), decision, declined)

    # -- people: what they do ends the tokens issued to them so far ----------------------------

    def log_out(self, user_id: str) -> None:
        """Let the person log out of Facebook (subcode 467)."""
        self._world.end_sessions(self._person(user_id), errors.LOGGED_OUT)

    def change_password(self, user_id: str) -> None:
        """Let the person change the password, or Facebook reset the session (subcode 460)."""
        self._world.end_sessions(self._person(user_id), errors.PASSWORD_CHANGED)

    def remove_app(self, user_id: str) -> None:
        """Let the person remove the app in Facebook's settings (subcode 458)."""
        self._world.remove_app(self._person(user_id), self.app_id)

    def checkpoint(self, user_id: str) -> None:
        """Hold the account back until it is checked (459): no token of it works until ``restore``."""
        self._world.hold(arguments.digits("user_id", user_id), errors.CHECKPOINT)

    def unconfirm(self, user_id: str) -> None:
        """Make the account an unconfirmed one (464): no token of it works until ``restore``."""
        self._world.hold(arguments.digits("user_id", user_id), errors.UNCONFIRMED)

    def restore(self, user_id: str) -> None:
        """End ``checkpoint`` and ``unconfirm``: the person has settled it on facebook.com."""
        self._world.hold(arguments.digits("user_id", user_id), None)

    # -- the app's settings and the platform's moods --------------------------------------------

    def require_proof(self, required: bool = True) -> None:
        """Switch "Require App Secret": people's and pages' tokens then need an ``appsecret_proof``."""
        self._world.require_proof(arguments.flag("required", required))

    def throttle(self, code: int | None) -> None:
        """Answer every Graph call with this error until ``throttle(None)`` or ``recover()``.

        The limits are 4, 9, 17, 32, 341, 368, 613 and 80000 to 80014; 1 and 2, with which Graph asks
        for patience in an outage, are taken too. Anything else is a ValueError.
        """
        if code is not None and arguments.integer("code", code, 0) not in errors.THROTTLE_CODES:
            raise ValueError("code must be 1, 2, 4, 9, 17, 32, 341, 368, 613 or 80000 to 80014")
        self._world.throttle(code)

    def fail(
        self,
        status: int | None = 500,
        body: bytes | str = b"",
        delay: float = 0.0,
        drop: bool = False,
        times: int | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer the next ``times`` Graph calls (None: all until ``recover``) with this instead.

        ``status`` 200 with a ``body`` serves a hostile reply; ``status=None`` gives the true answer,
        only late or with ``headers`` added. ``delay`` is in real seconds, up to an hour. ``drop`` breaks
        the connection without an answer. ``times=0`` ends an earlier ``fail``.
        """
        count = None if times is None else arguments.integer("times", times, 0)
        failure = Failure(
            status=None if status is None else arguments.integer("status", status, 200, 599),
            body=arguments.octets("body", body),
            headers=arguments.header_fields("headers", headers),
            delay=arguments.number("delay", delay, 0.0, _MAX_DELAY),
            drop=arguments.flag("drop", drop),
            left=count,
        )
        self._world.fail(None if count == 0 else failure)

    def batch(self, *, allowed: bool = True, unfinished: int = 0) -> None:
        """Change how Graph takes batch calls, until the next change or ``recover``.

        ``allowed=False`` refuses them (code 3). The last ``unfinished`` items of each, 0 to 50, are
        not done in time: they change nothing, and their answer is null.
        """
        checked = arguments.integer("unfinished", unfinished, 0, MAX_ITEMS)
        self._world.batch(Batching(arguments.flag("allowed", allowed), checked))

    def recover(self) -> None:
        """End ``throttle``, ``fail`` and ``batch``; what happened to tokens and people stays."""
        self._world.throttle(None)
        self._world.fail(None)
        self._world.batch(Batching())

    # -- ways in -----------------------------------------------------------------------------------

    def handle(self, request: Request) -> Outcome:
        """Answer one Graph call and write it down; a carrier then waits, and sends the reply or none."""
        # The dialog is not Graph's: a fault of Graph's neither breaks it nor is used up by it.
        failure = None if is_dialog(request.path) else self._world.take_failure()
        outcome = respond(self._world, request, self._clock.time(), failure)
        status = None if outcome.reply is None else outcome.reply.status
        self._world.log(Call.of(request.method, request.path, status))
        return outcome

    @property
    def transport(self) -> SandboxTransport:
        """An httpx transport, sync and async, that answers any URL from this sandbox."""
        if self._transport is None:
            # Here, so that a sandbox that is only served works without httpx being imported.
            from fbguard.sandbox.transport import SandboxTransport  # noqa: PLC0415

            self._transport = SandboxTransport(self.handle)
        return self._transport

    def guard(self, **overrides: Any) -> Guard:
        """Return a ``fbguard.Guard`` wired to this sandbox: ids, transport, clock; options as usual."""
        # Here, so that the sandbox can be used, and tested, without a guard.
        from fbguard.guard import Guard  # noqa: PLC0415

        wired: dict[str, Any] = {
            "app_id": self.app_id,
            "app_secret": self.app_secret,
            "transport": self.transport,
            "clock": self.clock,
        }
        return Guard(**(wired | overrides))

    @contextlib.contextmanager
    def serve(self, port: int = 0) -> Generator[str]:
        """Serve Graph and the control API on loopback while the block runs; yields the URL.

        Port 0 takes a free one. A port that is taken is an OSError.
        """
        from fbguard.sandbox.server import SandboxServer  # noqa: PLC0415 - not needed by most tests

        with SandboxServer(self, port) as server, server.running():
            yield server.url

    def _issued(self, token: str) -> IssuedToken:
        record = self._world.find(arguments.text("token", token))
        if record is None:
            raise ValueError("token was not issued by this sandbox")
        return record

    def _person(self, user_id: str) -> str:
        if not self._world.knows(arguments.digits("user_id", user_id)):
            raise ValueError("user_id has no token of this sandbox")
        return user_id


def _id(name: str, given: str | None) -> str:
    """Return the id that was given, or a new one."""
    return tokens.mint_id() if given is None else arguments.digits(name, given)
