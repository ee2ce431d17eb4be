"""What both doors do with a request before the app sees it: everything but waiting and speaking."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from importlib import import_module
from sys import modules
from typing import Final, NamedTuple, Protocol, cast

from fbguard.core import preflight
from fbguard.core.credentials import AMBIGUOUS
from fbguard.core.limited_login import LIMITED_LOGIN
from fbguard.core.policy import Policy
from fbguard.core.secret import Secret
from fbguard.core.sources import RequestHead
from fbguard.core.token import TokenInfo
from fbguard.core.validator import Demands
from fbguard.guard import Guard


class Head(RequestHead, Protocol):
    """A request in a door's hand: what the rules read, and the path the app routes on."""

    @property
    def path(self) -> str:
        """The decoded path below the app's mount; with U+FFFD where it could not be decoded."""
        ...


class Way(Enum):
    """How a request goes in, once it may."""

    PLAIN = "the app's answer goes out untouched"
    MARKED = "a token may come by cookie or query, for the door or a view: shared caches must be told"
    PREFLIGHT = "a CORS preflight, let in only to be answered"


class Approach(NamedTuple):
    """What is clear before any waiting; a Secret as ``verdict`` must be settled for the demands.

    ``token`` is what the request carries, None if nobody looked at it.
    """

    way: Way
    demands: Demands = ()
    verdict: TokenInfo | Secret | None = None
    token: Secret | None = None


logger = logging.getLogger("fbguard")

# No browser sends one with a preflight; an app behind the door might run another verb for it.
_OVERRIDE_HEADERS: Final = ("x-http-method-override", "x-http-method", "x-method-override")
_DEEPEST: Final = 32  # wrappers around an app; more of them are a circle
_MOST: Final = 1000  # objects behind one door that are looked at


def approach(guard: Guard, policy: Policy | None, head: Head) -> Approach:
    """Match, find the credential and judge what is known; raises Refused."""
    way = Way.MARKED if guard.sources.need_marks or guard.sources.websocket else Way.PLAIN
    if policy is None:
        return Approach(way)
    match = policy.match(head.path, head.method)
    if match is None:
        raise guard.refusal(AMBIGUOUS)
    if match.public:
        return Approach(way)
    found = guard.sources.find(head)
    if found is None and match.preflight and _is_preflight(head):
        return Approach(Way.PREFLIGHT)
    verdict = guard.consider(match.demands, found, head)
    return Approach(way, match.demands, verdict, found if isinstance(found, Secret) else None)


def known_to(
    guard: Guard, policy: Policy | None
) -> Mapping[str, Mapping[str, tuple[frozenset[str], Demands]]]:
    """Return :attr:`Policy.short`; nothing where requests need a longer look.

    That is a token that may stand elsewhere than in the header, or a response that ends with its token.
    """
    if policy is None or policy.has_live or not guard.sources.header_only:
        return {}
    return policy.short


def looks_at_nothing(guard: Guard, policy: Policy | None) -> bool:
    """Tell a door that leaves all to the views, and has no answer of theirs to mark."""
    return policy is None and guard.sources.header_only


def _is_preflight(head: Head) -> bool:
    return (
        not head.is_websocket
        and not any(map(head.header, _OVERRIDE_HEADERS))
        and preflight.is_preflight(
            head.method,
            origin=bool(head.header("origin")),
            request_method=bool(head.header("access-control-request-method")),
        )
    )


def log_failed_preflight(error: Exception) -> None:
    """Tell of an app that failed at a preflight: the client gets the 401, and no server hears of it."""
    logger.error("the app failed at a preflight: %s", type(error).__name__, exc_info=error)


def check_door(guard: object, policy: object) -> None:
    """Raise TypeError for what a door cannot be built of, ValueError for a rule that nobody could meet."""
    if not isinstance(guard, Guard):
        raise TypeError("guard must be a Guard")
    if not (policy is None or isinstance(policy, Policy)):
        raise TypeError("policy must be a Policy or None")
    tell_of_unreached(policy)
    if policy is None or guard.sources.id_tokens:
        return
    if any(
        set(one.token_types) == {LIMITED_LOGIN} and not one.optional
        for one in (policy.default, *(rule.requirement for rule in policy.rules))
    ):
        raise ValueError("a rule takes tokens of Limited Login only: that needs a Guard(limited_login=True)")


def tell_of_unreached(policy: Policy | None) -> None:
    """Tell whoever starts the app of rules without effect: something may be less guarded than it seems."""
    for rule, judge in () if policy is None else policy.unreached:
        logger.warning("the rule %r judges nothing that it names: %r stands before it", rule.path, judge.path)


def behind(app: object) -> Iterator[object]:
    """Give what stands behind a door: the app, and what it wraps by the custom of ``self.app``.

    Of a bound method, such as Flask's ``app.wsgi_app``, the object it belongs to.
    """
    for _ in range(_DEEPEST):
        if app is None:
            return
        yield (owner := getattr(app, "__self__", app))
        app = getattr(owner, "app", None)


# Frameworks by the name of their module, with what only their module has.
_TAUGHT: Final = {"falcon": "App", "litestar": "Litestar", "quart": "Quart"}


def is_loaded(framework: str) -> bool:
    """Tell whether Falcon, Litestar or Quart is loaded: the framework, not just a module of that name."""
    return getattr(modules.get(framework), _TAUGHT[framework], None) is not None


def teach_known(app: object) -> str | None:
    """Tell an app of Falcon, Litestar or Quart what our exceptions are; return whose it is, None for others.

    By name, and only where they are loaded: doors stand below the integrations, and import no framework.
    """
    for name in _TAUGHT:
        if is_loaded(name) and import_module(f"fbguard.integrations.{name}").teach(app):
            return name
    return None


def mounted(app: object) -> Iterator[object]:
    """Give what is mounted behind a door at its construction, and what those wrap and mount.

    By the customs of Starlette (``routes`` that have an ``app``) and of werkzeug's
    DispatcherMiddleware (``mounts``). Not what :func:`behind` gives.
    """
    known: dict[int, object] = {id(one): one for one in behind(app)}
    waiting = [mount for one in known.values() for mount in _mounts(one)]
    while waiting and len(known) < _MOST:
        for one in behind(waiting.pop()):
            if id(one) in known:
                break
            known[id(one)] = one
            yield one
            waiting.extend(_mounts(one))


def _mounts(app: object) -> Iterator[object]:
    routes: object = getattr(app, "routes", None)
    if isinstance(routes, list | tuple):
        for route in cast("Iterable[object]", routes):
            router: object = getattr(route, "original_router", None)  # FastAPI's include_router()
            if router is not None:
                yield router
            elif hasattr(route, "routes"):  # a Mount or a Host; of a Route, `app` is its endpoint
                yield route
    mounts: object = getattr(app, "mounts", None)
    if isinstance(mounts, Mapping):
        yield from cast("Mapping[object, object]", mounts).values()


def root_path_of(app: object) -> str | None:
    """Return the root_path of an ASGI framework's app; Flask's and Quart's of that name is a directory."""
    found: object = getattr(app, "root_path", None)
    is_directory = hasattr(app, "wsgi_app") or hasattr(app, "asgi_app")
    return found if isinstance(found, str) and not is_directory else None


def refuse_root_path(mounted_app: object) -> None:
    """Raise ValueError for an app, mounted behind a door, that puts a root_path of its own into the scope."""
    found = root_path_of(mounted_app)
    if found:
        raise ValueError(
            f"a mounted app has root_path={found!r} of its own: guard and router would read one path two "
            "ways; put the door inside that app, with its app.add_middleware(...)"
        )
