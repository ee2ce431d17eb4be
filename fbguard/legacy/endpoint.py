"""The server's side of Auth.expireSession: a call that is signed as in 2009 ends a session of today."""

from __future__ import annotations

import hmac
import logging
import secrets as randomness
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from fbguard.core.answers import Answer
from fbguard.core.credentials import screen
from fbguard.core.errors import StoreUnavailable
from fbguard.core.secret import Secret
from fbguard.facebook import rest
from fbguard.facebook.rest import Call
from fbguard.facebook.rest_answers import failure, success
from fbguard.legacy.sessions import CallOrder, Session, SessionRegistry

logger = logging.getLogger("fbguard")

_VERBS: Final = ("GET", "POST")
_BAD_REQUEST: Final = 400
_WRONG_VERB: Final = 405


class Request(Protocol):
    """What the endpoint reads of a request: the query as it was sent, header names in lower case."""

    @property
    def method(self) -> str: ...  # noqa: D102 - HTTP's own words
    @property
    def query(self) -> str: ...  # noqa: D102
    @property
    def headers(self) -> Mapping[str, str] | Sequence[tuple[str, str]]: ...  # noqa: D102
    @property
    def body(self) -> bytes: ...  # noqa: D102


class Sessions(Protocol):
    """What ends sessions."""

    async def expire(self, token: Secret) -> None:
        """End the session of a token; done when it returns. Raises StoreUnavailable."""
        ...


class LegacyEndpoint:
    """Answers ``/restserver.php``: ends the session of a call's ``session_key``, and nothing else.

    ``secrets`` are the app's: any of them may have signed. A session key stands for the token it was
    registered with; without that an access token is its own session key, where no log writes it down: in
    the body of a POST. With ``ss=1`` the session's own secret has signed, which opens that session only.

    What is looked at, in this order, with the error code that ends it; HTTP's status is 200 for all of them
    but two:

    - the verb: 405, since HEAD and its like must change nothing;
    - the names, each from the list and once, and a body that is a form: 104;
    - ``callback``: 400, with an answer that does not repeat it;
    - the values, one by one: ``method`` 3, ``v``, ``format``, ``ss`` and ``call_id`` 100, ``api_key`` 101,
      ``sig`` 104, ``session_key`` 102;
    - ``api_key`` against the app's id: 101; the signature: 104. Both are always computed;
    - whether the session is registered, or its key is a token of this app's: 102, or 2 if nobody can tell
      (``is_ours`` gives None). Only who signed well can ask;
    - ``call_id``, if there is one, against the session's last one: 103;
    - the effect: 2 if the store is away, 1 if anything else fails. Such a call may be sent again as it is.

    A call about a session that is ended already is answered like the first one. Facebook would say 102; but
    ending what is ended is no fault, not every worker knows of it, and to a client that missed the first
    answer every error means that the session may be alive.
    """

    def __init__(
        self,
        app_id: str,
        secrets: Sequence[Secret],
        sessions: Sessions,
        registry: SessionRegistry,
        is_ours: Callable[[Secret], Awaitable[bool | None]] | None = None,
        *,
        id_tokens: bool = False,
    ) -> None:
        self._app_id = app_id
        self._secrets = tuple(secrets)
        self._sessions = sessions
        self._registry = registry
        self._is_ours = is_ours
        self._id_tokens = id_tokens
        self._order = CallOrder()
        self._nobodys = Secret(randomness.token_hex(16))

    async def __call__(self, request: Request) -> Answer:
        """Answer one request; the effect comes before the answer."""
        if request.method not in _VERBS:
            answer = failure(Call(), rest.NO_SUCH_METHOD, _WRONG_VERB)
            answer.headers.append(("Allow", ", ".join(_VERBS)))
            return answer
        call = rest.read_call(request.query, request.body, dict(request.headers).get("content-type", ""))
        if not call.is_whole:
            return failure(call, rest.BAD_SIGNATURE)
        if call.has_bad_callback:
            return failure(call, rest.BAD_PARAMETER, _BAD_REQUEST)
        code = call.fault or await self._run(call, is_post=request.method == "POST")
        return success(call) if code is None else failure(call, code)

    async def _run(self, call: Call, *, is_post: bool) -> int | None:
        """Do what a well-formed call asks for; return the code of what stands against it."""
        key = call.parameters["session_key"]
        session = self._registry.find(key)
        is_ours = hmac.compare_digest(call.parameters["api_key"].reveal().encode(), self._app_id.encode())
        is_signed = self._is_signed(call, session)
        if not is_ours:
            return rest.BAD_API_KEY
        if not is_signed:
            return rest.BAD_SIGNATURE
        in_the_open = not is_post or "session_key" not in call.in_body
        if session is not None:
            return await self._end(call, key, session.token)
        token = None if in_the_open else self._as_token(key)
        # What is nobody's token ends nothing, and must not be told that it did.
        is_token = token is not None and (self._is_ours is None or await self._is_ours(token))
        if token is None or is_token is False:
            return rest.BAD_SESSION
        return rest.UNAVAILABLE if is_token is None else await self._end(call, key, token)

    def _as_token(self, key: Secret) -> Secret | None:
        """Return a session key that may be an access token.

        Not one in a shape of Facebook's session keys: its registration is lost, or was made in another
        process. To take it for a token would end nothing and say that it did.
        """
        screened = screen(key, id_tokens=self._id_tokens)
        return None if not isinstance(screened, Secret) or rest.has_old_shape(key) else screened

    def _is_signed(self, call: Call, session: Session | None) -> bool:
        able = self._secrets
        if "ss" in call.parameters:
            own = session.secret if session is not None else None
            able = (self._nobodys if own is None else own,)
        given = call.parameters[rest.SIG]
        # All of them are tried, so that the time tells nothing of which one it was.
        fits = [hmac.compare_digest(rest.sign(call.parameters, secret), given.reveal()) for secret in able]
        return any(fits)

    async def _end(self, call: Call, key: Secret, token: Secret) -> int | None:
        call_id = call.parameters.get("call_id")
        signature = call.parameters[rest.SIG]
        if call_id is not None and not self._order.allows(key, call_id.reveal(), signature, token):
            return rest.BAD_CALL_ID
        try:
            await self._sessions.expire(token)
        except StoreUnavailable:
            return rest.UNAVAILABLE
        except Exception as exc:  # noqa: BLE001 - the dialect has a word for it
            # Without its text, which may quote the token.
            logger.warning("a legacy call could not end a session: %s", type(exc).__name__)
            return rest.UNKNOWN
        if call_id is not None:
            self._order.note(key, call_id.reveal(), signature, token)
        return None
