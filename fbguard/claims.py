"""What a response was let in with, by each guard that has judged its request: it ends with the first of them.

Under a live rule, and in a live view, that is noted before an app or a view below lets another guard judge:
what lies in a request are the facts of the last one.
"""

from __future__ import annotations

from threading import RLock
from typing import Final, NamedTuple, Protocol
from weakref import ReferenceType, ref

from fbguard.context import TOKEN, asked_of, demands_of, judge_of, left_in
from fbguard.core.cache import key_of
from fbguard.core.carrier import Carrier
from fbguard.core.errors import Refused
from fbguard.core.reasons import Finding
from fbguard.core.requirement import is_live
from fbguard.core.secret import Secret
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands
from fbguard.guard import Guard

LIVE: Final = "fbguard.live"  # of a request: the Ending of its response, the innermost if there are several


class Claim(NamedTuple):
    """What a connection was opened with, and the guard that let it in."""

    guard: Guard
    token: Secret
    info: TokenInfo


class Ending(Protocol):
    """What ends with tokens."""

    def watch(self, claim: Claim | None, /) -> None:
        """End with this one, too; of one guard and token the last word counts."""


class Claims:
    """The claims of one response, kept until its body begins: not every one is streamed, or read.

    ``guard`` and ``demands`` are those of the door, or view, that makes it live; ``outer`` is what another
    one around it ends.
    """

    __slots__ = ("_bodies", "_claims", "_lock", "demands", "guard", "outer")

    def __init__(self, guard: Guard, demands: Demands = (), outer: Ending | None = None) -> None:
        self.guard = guard
        self.demands = demands
        self.outer = outer
        self._claims: dict[tuple[Guard, bytes], Claim] = {}
        self._bodies: list[ReferenceType[Ending]] = []  # nobody but its server keeps a body alive
        self._lock = RLock()  # a server may read a body on another thread than its view's

    def note(self, claim: Claim | None) -> None:
        """Let the response end with this claim, too; of one guard and token the last one counts."""
        if claim is None:
            return
        with self._lock:
            self._claims[claim.guard, key_of(claim.token)] = claim
            for one in self._bodies:  # their code, too, may have views judge
                body = one()
                if body is not None:
                    body.watch(claim)

    def watch(self, claim: Claim | None, /) -> None:
        """Do so for a view below, and let what is around end with it, too."""
        self.note(claim)
        if self.outer is not None:
            self.outer.watch(claim)

    def begin(self, body: Ending) -> None:
        """Let a body end with them from now on; a rule's and a view's may stand around one another."""
        with self._lock:
            self._bodies = [one for one in self._bodies if one() is not None]
            self._bodies.append(ref(body))
            for claim in self._claims.values():
                body.watch(claim)


def claim_of(carrier: Carrier) -> Claim | None:
    """Return what a request was let in with, None for an anonymous or public one."""
    info = carrier.get(TOKEN)
    _, guard, _, _, token = left_in(carrier)
    if isinstance(guard, Guard) and isinstance(token, Secret) and isinstance(info, TokenInfo):
        return Claim(guard, token, info)
    return None


def make_live(carrier: Carrier, guard: Guard) -> Claims:
    """Note what this guard has let a live response in with, before anything below runs.

    Once for each guard: a view may be judged again and again, for each message or chunk.
    """
    around: Ending | None = carrier.get(LIVE)
    one = around
    while isinstance(one, Claims):
        if one.guard is guard:
            watch_for(carrier)
            return one
        one = one.outer
    demands = (*demands_of(carrier), *asked_of(carrier))
    claims = carrier[LIVE] = Claims(guard, demands, around)
    claims.note(claim_of(carrier))
    return claims


def make_live_by_rule(carrier: Carrier, guard: Guard) -> Claims | None:
    """Do so for a door; None where the rule is not live."""
    return make_live(carrier, guard) if is_live(demands_of(carrier)) else None


def watch_for(carrier: Carrier) -> None:
    """Let what is live around a view end with the facts of its request, too."""
    live: Ending | None = carrier.get(LIVE)
    if live is not None:
        live.watch(claim_of(carrier))


def refusal_at_end(
    carrier: Carrier, door: Guard, demands: Demands, finding: Finding, guard: Guard
) -> Refused:
    """Return the refusal of a token that has ended before anything was out, by the guard that watched it.

    ``demands`` are those of the door. The guard may be an inner door's or a view's, of another app: the
    client must renew that one's token.
    """
    if judge_of(carrier) is guard:
        demands = (*demands_of(carrier), *asked_of(carrier))
    elif guard is not door:
        demands = ()
    return guard.refusal(finding, demands)
