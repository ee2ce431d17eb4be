"""ASGI connections that end with their token: WebSockets, and responses under a live rule.

To the app a cut looks like a client that went away: ``receive`` gives a disconnect, ``send`` raises OSError
(:class:`fbguard.live.Cut`). Until then a connection has no task and no timer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, Final, cast

from fbguard.claims import LIVE, Claims
from fbguard.core.carrier import Carrier
from fbguard.core.errors import Refused
from fbguard.core.reasons import Finding
from fbguard.guard import Guard
from fbguard.live import Breakable, Cut, comes_of_cut, is_cut
from fbguard.marks import Marks

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Early = Callable[[Finding, Guard], Refused]  # of a LiveConnection
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

OUTGOING: Final = "fbguard.outgoing"  # of a scope: its Outgoing
GRACE: Final = 0.25  # seconds that an app has to return after its response was cut

_BEGINNINGS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.close", "websocket.http.response.start"}
)
_ENDS: Final = frozenset({"websocket.close", "websocket.http.response.start"})  # no close may follow
_BODIES: Final = frozenset({"http.response.body", "http.response.zerocopysend"})


class Outgoing:
    """Stands around the server's ``send``: remembers whether the app has answered, and closed a WebSocket.

    Each hit makes one. So it has no ``__init__``, which would take longer than the rest: whoever makes one
    sets ``server``. And apps are given its method: to call an object takes longer.
    """

    server: Send
    started = False
    closed = False
    marks: Marks | None = None  # what it lets the answer tell

    def send(self, message: Message) -> Awaitable[None]:
        """Send."""
        kind = message["type"]
        # Pushes, early hints and debug messages may go before an answer and are none.
        if kind == "http.response.start":
            self.started = True
        elif kind != "http.response.body" and kind in _BEGINNINGS:
            self.started = True
            self.closed = self.closed or kind in _ENDS
        server = self.server
        return server(message)

    def cut(self, finding: Finding) -> None:
        """Let nothing out any more: middleware on the way may take a broken body for one that has ended."""

        async def refuse(_message: Message) -> None:
            raise Cut(finding)

        self.server = refuse


class LiveConnection(Breakable):
    """The ``receive`` and ``send`` of a connection that can be cut; made on its own loop.

    ``early`` makes the refusal for an end before anything is out, by the guard whose token has ended.
    """

    __slots__ = ("_early", "_receive", "_send")

    gone: Message

    def __init__(self, receive: Receive, send: Send, early: Early) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._send = send
        self._early = early

    def refusal(self) -> Refused:
        """Return what refuses a connection that has ended before anything was out."""
        return self._early(cast("Finding", self.finding), cast("Guard", self.ended_by))

    async def receive(self) -> Message:
        """Give what the server gives, and a disconnect after the end."""
        if self.finding is None:
            if self._is_closed:
                return await self._receive()
            try:
                message = await self.wait(self._receive())
            except Cut:
                return dict(self.gone)
            if message["type"] == self.gone["type"]:
                self.unwatch()  # nobody is there any more who could be cut
            return message
        await asyncio.sleep(0)  # an app that asks again and again must not stop the loop
        return dict(self.gone)

    async def send(self, message: Message) -> None:
        """Give the server a message; raises Cut after the end."""
        if self.finding is not None:
            raise Cut(self.finding)
        if self._is_last(message):
            self.unwatch()
        if self._is_closed:
            await self._send(message)
        else:
            await self.wait(self._send(message))

    def _is_last(self, message: Message) -> bool:
        """Tell the message after which nothing can be cut any more; each kind of connection has its own."""
        raise NotImplementedError


def has_door_that_cuts(carrier: Carrier) -> bool:
    """Tell whether a door around cuts this connection anyhow."""
    live = carrier.get(LIVE)
    while isinstance(live, Claims):
        live = live.outer
    return live is not None


class LiveSocket(LiveConnection):
    """A WebSocket that can be cut; ``hang_up`` tells the client, in a task of its own."""

    __slots__ = ("_hang_up", "_hanging_up")

    gone: Message = {"type": "websocket.disconnect", "code": 1008}  # noqa: RUF012 - copied

    def __init__(
        self,
        receive: Receive,
        send: Send,
        early: Early,
        hang_up: Callable[[Refused], Coroutine[Any, Any, None]],
    ) -> None:
        super().__init__(receive, send, early)
        self._hang_up = hang_up
        self._hanging_up: asyncio.Task[None] | None = None

    def _is_last(self, message: Message) -> bool:
        kind = message["type"]
        return kind == "websocket.close" or (
            kind == "websocket.http.response.body" and not message.get("more_body", False)
        )

    def _break_off(self, guard: Guard, finding: Finding) -> None:
        super()._break_off(guard, finding)
        if self.finding is finding and self._hanging_up is None:
            self._hanging_up = asyncio.create_task(self._hang_up(self.refusal()))

    async def run(self, app: ASGIApp, scope: Carrier) -> None:
        """Serve the connection."""
        try:
            await app(scope, self.receive, self.send)
        except (Cut, ExceptionGroup) as error:
            if self.finding is None or not is_cut(error):
                raise  # of a connection inside this one, or the app's own
        finally:
            self.unwatch()
            if self._hanging_up is not None:
                # A server ends the connection when the app returns, with a code of its own.
                await asyncio.wait((self._hanging_up,))
                self._hanging_up = None


class LiveResponse(LiveConnection):
    """A streamed response that can be cut, or refused if it has not begun."""

    __slots__ = ("_has_begun", "_insisted", "_insisting", "_runner")

    gone: Message = {"type": "http.disconnect"}  # noqa: RUF012 - copied

    def __init__(self, receive: Receive, send: Send, early: Early) -> None:
        super().__init__(receive, send, early)
        self._has_begun = False
        self._runner: asyncio.Task[Any] | None = None
        self._insisting: asyncio.TimerHandle | None = None
        self._insisted = False

    def _is_last(self, message: Message) -> bool:
        kind = message["type"]
        if kind in _BEGINNINGS:
            self._has_begun = True
        return kind == "http.response.pathsend" or (kind in _BODIES and not message.get("more_body", False))

    def _break_off(self, guard: Guard, finding: Finding) -> None:
        super()._break_off(guard, finding)
        # Tokens that expire together end by one and the same finding, and only one timer can be taken back.
        if self.finding is finding and self._runner is not None and self._insisting is None:
            self._insisting = asyncio.get_running_loop().call_later(GRACE, self._insist, self._runner)

    def _insist(self, runner: asyncio.Task[Any]) -> None:
        """Cancel an app that waits for something else: no server cuts a response while its app runs."""
        self._insisted = True
        runner.cancel()

    async def run(self, app: ASGIApp, scope: Carrier) -> None:
        """Serve the request; raises for a response that is broken off, however the app ended.

        A server, and middleware around, may take an app that just returns for one that is done.
        """
        self._runner = task = cast("asyncio.Task[Any]", asyncio.current_task())
        before = task.cancelling()
        caught: Exception | None = None
        try:
            await app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self._returned(task, before):
                raise
        except Exception as error:
            self._returned(task, before)
            if self.finding is None or not comes_of_cut(error):
                raise
            caught = None if is_cut(error) else error
        else:
            self._returned(task, before)
        finally:
            self.unwatch()
        if self.finding is not None:
            raise (Cut(self.finding) if self._has_begun else self.refusal()) from caught

    def _returned(self, task: asyncio.Task[Any], before: int) -> bool:
        """Take our cancellation back; return whether it was the only one."""
        self._runner = None
        if self._insisting is not None:
            self._insisting.cancel()
        return self._insisted and task.uncancel() <= before
