"""What one event loop has for the guard's calls of Facebook."""

from __future__ import annotations

import math

from fbguard.core.loops import SharedTask
from fbguard.facebook.graph import Client
from fbguard.facebook.line import Line


class Connection:
    """What one event loop has for its calls: a client, the line of those who wait, what they wait for.

    ``keys_tried`` is when it last asked for the keys of ID tokens, in monotonic seconds.
    """

    def __init__(self, client: Client, line: Line | None) -> None:
        self.client = client
        self.line = line
        self.probe = SharedTask()
        self.keys = SharedTask()
        self.keys_tried = -math.inf

    async def aclose(self) -> None:
        """End the calls and close the connections."""
        if self.line is not None:
            await self.line.aclose()
        await self.probe.aclose()
        await self.keys.aclose()
        await self.client.aclose()

    def abandon(self) -> None:
        """Forget all of it in a forked child."""
        if self.line is not None:
            self.line.abandon()
        self.probe.abandon()
        self.keys.abandon()
        self.client.abandon()
