"""What Facebook calls when a person leaves: deauthorize, data deletion, the webhook. No protocol yet.

Every effect is in the store before the answer says so, and an effect that could not be had is answered
with 503 (500 where the app's own code failed): Facebook then delivers again.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote

from fbguard.core import settings
from fbguard.core.answers import Answer
from fbguard.core.secret import Secret
from fbguard.core.served import (
    FORM,
    Request,
    exceeds,
    finished,
    forbidden,
    only,
    plain,
    too_large,
    unavailable,
)
from fbguard.core.signing import Signer
from fbguard.facebook import signed_request, webhook
from fbguard.facebook.signed_request import BadSignedRequest, SignedRequest
from fbguard.revocation import deletion

_LOG: Final = logging.getLogger("fbguard")

DEADLINE: Final = 10.0  # seconds for one call of Facebook's; how long it waits itself is not documented
_AT_ONCE: Final = 50  # users of one event whose facts are forgotten side by side

# Bytes. A form is one signed_request, percent-encoded. An event is up to 1000 entries of 100 to 400 bytes.
_FORM_CAP: Final = 16 * 1024
_EVENT_CAP: Final = 1024 * 1024
_ENDPOINT_CAP: Final = 64 * 1024

_DELETION: Final = "/data-deletion"
_HOST: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class Sessions(Protocol):
    """As much as the callbacks need of what ends sessions; the effect is stored when they return."""

    async def end_user(self, user_id: str, at: float) -> None:
        """Refuse the user's tokens that were issued at or before ``at``, in Unix seconds."""
        ...

    async def forget_user(self, user_id: str) -> None:
        """Have the user's tokens looked up anew."""
        ...


class _Handling(NamedTuple):
    handler: Callable[[Request], Awaitable[Answer]]
    cap: int = 0  # bytes of body that are read
    content_type: str | None = None  # None: any


class Callbacks:
    """Answers Facebook's callbacks: :meth:`admit` says how much of a body to read, :meth:`answer` the rest.

    ``now`` gives Unix seconds. ``verify_token`` is what the dashboard's form for webhooks asks for; None
    refuses the handshake. ``delete(user_id, confirmation_code)`` is the app's own deletion, a plain
    function (called in a thread) or an async one; Facebook may send a request twice, so it may be called
    twice, with the same code. ``status_url`` is where :meth:`answer` is reached as ``/data-deletion``, if
    the request does not tell. ``endpoint`` serves ``/restserver.php``. Raises TypeError or ValueError
    naming the option.
    """

    def __init__(
        self,
        sessions: Sessions,
        secrets: Sequence[Secret],
        *,
        now: Callable[[], float],
        verify_token: str | None = None,
        delete: Callable[[str, str], object] | None = None,
        status_url: str | None = None,
        endpoint: Callable[[Request], Awaitable[Answer]] | None = None,
        deadline: float = DEADLINE,
    ) -> None:
        self._verify_token = _checked_verify_token(settings.boxed(verify_token))
        del verify_token
        for effect in ("end_user", "forget_user"):
            _check_callable(f"sessions.{effect}", getattr(sessions, effect, None))
        _check_callable("now", now)
        for option, value in (("delete", delete), ("endpoint", endpoint)):
            if value is not None:
                _check_callable(option, value)
        self._sessions = sessions
        self._secrets = settings.app_secrets(tuple(secrets))
        self._name = Signer(self._secrets[0]).fingerprint
        self._now = now
        self._delete = delete
        self._status_url = None if status_url is None else settings.base_url("status_url", status_url)
        self.deadline = settings.seconds("deadline", deadline)
        self._routes = self._table(endpoint)

    def _table(
        self, endpoint: Callable[[Request], Awaitable[Answer]] | None
    ) -> dict[str, Mapping[str, _Handling]]:
        table: dict[str, Mapping[str, _Handling]] = {
            "/deauthorize": {"POST": _Handling(self._deauthorize, _FORM_CAP, FORM)},
            _DELETION: {
                "GET": _Handling(self._show_status),
                "POST": _Handling(self._delete_data, _FORM_CAP, FORM),
            },
            "/webhook": {"GET": _Handling(self._shake_hands), "POST": _Handling(self._heed, _EVENT_CAP)},
        }
        if endpoint is not None:
            table["/restserver.php"] = {
                "GET": _Handling(endpoint),
                "POST": _Handling(endpoint, _ENDPOINT_CAP),
            }
        return table

    def admit(self, request: Request) -> Answer | int:
        """Return how many bytes of body to read at most, before it is read; or the answer that refuses it."""
        handling = self._handling(request)
        return finished(handling) if isinstance(handling, Answer) else handling.cap

    async def answer(self, request: Request) -> Answer:
        """Have the effect of a request and say so. Raises only what ``endpoint`` raises."""
        handling = self._handling(request)
        if isinstance(handling, Answer):
            return finished(handling)
        if len(request.body) > handling.cap > 0:
            return finished(too_large())
        try:
            async with asyncio.timeout(self.deadline):
                return finished(await handling.handler(request))
        except TimeoutError:
            return finished(unavailable())

    def _handling(self, request: Request) -> _Handling | Answer:
        """Return what handles a request, by its head alone; or the answer that refuses it."""
        route = self._routes.get(request.path)
        if route is None and request.path.startswith(f"{_DELETION}/"):
            route = {"GET": _Handling(self._show_status)}
        if route is None:
            return plain(404, "There is nothing here.")
        handling = route.get("GET" if request.method == "HEAD" else request.method)
        if handling is None:
            allowed = ", ".join([*route, *(["HEAD"] if "GET" in route else [])])
            return plain(405, "This method is not for here.", ("Allow", allowed))
        return _refusal_of_body(request, handling) or handling

    async def _deauthorize(self, request: Request) -> Answer:
        said = self._read(request)
        if isinstance(said, Answer):
            return said
        return await self._end(said, "removed the app") or plain(200, "OK")

    async def _delete_data(self, request: Request) -> Answer:
        said = self._read(request)
        if isinstance(said, Answer):
            return said
        address = self._address(request)
        if address is None:
            return plain(400, "The Host header is none; set status_url.")
        code = deletion.code_for(self._secrets[0], said.user_id, said.issued_at)
        failed = await self._end(said, "asked for deletion") or await self._delete_by_app(said.user_id, code)
        if failed is not None:
            return failed
        body = json.dumps({"url": f"{address}/{code}", "confirmation_code": code})
        return Answer(200, [("Content-Type", "application/json")], body.encode())

    async def _show_status(self, request: Request) -> Answer:
        code = request.path.removeprefix(_DELETION).removeprefix("/")
        if not code:
            code = only(request.query, "code") or ""
        return deletion.page(code, deletion.moment_of(self._secrets, code))

    async def _shake_hands(self, request: Request) -> Answer:
        said = webhook.challenge(request.query, self._verify_token)
        return forbidden() if said is None else plain(200, said, newline="")

    async def _heed(self, request: Request) -> Answer:
        signature = webhook.signature(request.all("x-hub-signature-256"))
        if signature is None or not signed_request.is_signed(self._secrets, request.body, signature):
            return forbidden()
        event = webhook.read(request.body)
        if event is None:
            return plain(400, "This is no event.")
        if event.unread:
            _LOG.info("%d entries of a webhook event could not be read", event.unread)
        failures = await self._forget(event.user_ids)
        if failures:
            return _lost(failures[0])
        if event.user_ids:
            _LOG.info("Facebook reports changed permissions of %d users", len(event.user_ids))
        return plain(200, "OK")

    async def _forget(self, users: Sequence[str]) -> list[BaseException]:
        """Forget every user, whatever becomes of the others."""
        results: list[BaseException | None] = []
        for start in range(0, len(users), _AT_ONCE):
            some = users[start : start + _AT_ONCE]
            results += await asyncio.gather(*map(self._sessions.forget_user, some), return_exceptions=True)
        return [result for result in results if result is not None]

    def _read(self, request: Request) -> SignedRequest | Answer:
        text = only(request.body.decode("latin-1"), "signed_request")
        if text is None:
            return plain(400, "Send one signed_request.")
        try:
            said = signed_request.read(text, self._secrets, self._now())
        except BadSignedRequest as bad:
            _LOG.debug("a signed_request is refused: %s", bad)
            return forbidden()
        # With a code it is that of a login, which the JavaScript SDK keeps in a cookie of the app's site: who
        # stole that must not be able to delete the account.
        return forbidden() if "code" in said.payload else said

    async def _end(self, said: SignedRequest, what: str) -> Answer | None:
        """End the user's sessions as of that moment: not one of a later login. None if it is done."""
        try:
            await self._sessions.end_user(said.user_id, float(said.issued_at))
        except Exception as error:  # noqa: BLE001 - whatever the store has, Facebook is to come again
            return _lost(error)
        _LOG.info("user %s %s: the sessions until then are over", self._named(said.user_id), what)
        return None

    async def _delete_by_app(self, user_id: str, code: str) -> Answer | None:
        """Call the app's own deletion; None if it is done."""
        delete = self._delete
        if delete is None:
            return None
        try:
            is_async = inspect.iscoroutinefunction(delete)
            result = delete(user_id, code) if is_async else await asyncio.to_thread(delete, user_id, code)
            if inspect.isawaitable(result):
                await result
        except Exception:  # noqa: BLE001 - it is the app's own code
            _LOG.exception("the data of user %s are not deleted: delete() failed", self._named(user_id))
            return plain(500, "The deletion failed. Send this again.")
        return None

    def _named(self, user_id: str) -> str:
        """Return a short name of a user for logs: equal on all workers, and no id."""
        return self._name(Secret(f"user {user_id}"))

    def _address(self, request: Request) -> str | None:
        """Return where the status page is, as the client came; None if its Host header is no host."""
        if self._status_url is not None:
            return self._status_url
        hosts = request.all("host")
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            return None
        return f"{request.scheme}://{hosts[0]}{quote(request.root, errors='replace')}{_DELETION}"


def _refusal_of_body(request: Request, handling: _Handling) -> Answer | None:
    """Return what refuses a body by its headers, before a byte of it is read; None if nothing does."""
    if not handling.cap:
        return None
    if request.all("content-encoding"):
        return plain(415, "Send the body as it is, without a Content-Encoding.")
    if handling.content_type is not None and request.media_types != [handling.content_type]:
        return plain(415, f"Send {handling.content_type}.")
    if any(exceeds(value, handling.cap) for value in request.all("content-length")):
        return too_large()
    return None


def _checked_verify_token(value: object) -> Secret | None:
    if value is not None and not isinstance(value, Secret):
        raise TypeError(f"verify_token must be a str, not {type(value).__name__}")
    if value is not None and not value.reveal().strip():
        raise ValueError("verify_token must not be blank; None refuses the handshake")
    return value


def _check_callable(option: str, value: object) -> None:
    if not callable(value):
        raise TypeError(f"{option} must be callable, not {type(value).__name__}")


def _lost(error: BaseException) -> Answer:
    # The type alone: a store's message may hold its address, with its password.
    _LOG.warning(
        "a callback of Facebook's could not be stored (%s): it is to come again", type(error).__name__
    )
    return unavailable()
