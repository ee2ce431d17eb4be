"""A Facebook that runs on your machine.

``Sandbox`` issues access tokens and answers Graph's own calls about them, over an httpx transport
(no socket) or a loopback server, with the shapes, codes and messages of the real platform. What
happens to tokens in life - expiry, log-out, a new password, an outage - is one method call here.

The floors of the package, from the ground: ``clock``, ``wire`` (a request and a reply) and
``arguments``; ``errors`` (Facebook's words); ``world`` (the state); ``tokens``; ``access``
(who calls) and ``fields`` (what is told); one module per kind of endpoint; ``graph`` (the pure
function from request to reply); ``sandbox`` (the controls). Two carriers stand on top: ``transport``
and ``server`` with its ``control`` interface.
"""

from fbguard.sandbox.sandbox import Sandbox
from fbguard.sandbox.world import Call

__all__ = ["Call", "Sandbox"]
