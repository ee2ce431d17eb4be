"""A guard's numbers for OpenTelemetry: ``Guard(on_event=Metrics())``. Needs ``fbguard[otel]``.

Attributes have no more values than there are answers, reasons and kinds of events: no token, no fingerprint
and no user is one. Traces need nothing: a guard's calls of Graph are in none, for their URL holds a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final
from weakref import ref

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter

from fbguard.events import Event, GraphStateChanged, TokenLookedUp

if TYPE_CHECKING:
    from fbguard.core.health import Health
    from fbguard.guard import Guard

# Seconds: a look-up takes tens of milliseconds, and three seconds at most as shipped.
_BOUNDARIES: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0)
_ANSWER, _REASON, _EVENT = "fbguard.answer", "fbguard.reason", "fbguard.event"


class Metrics:
    """What ``on_event`` calls, and where :meth:`watch` shows how guards are.

    ``meter_provider`` is that of the process if None. ``attributes`` go with every number: guards of several
    apps are told apart by them, with a Metrics for each.

    ``fbguard.look_up.duration`` is a histogram (seconds) of look-ups by ``fbguard.answer`` (yes, no, unknown)
    and ``fbguard.reason``; ``fbguard.events`` counts all else of :mod:`fbguard.events` by ``fbguard.event``,
    its name. Gauges are ``fbguard.tokens.cached``, ``fbguard.graph.calls`` (slots in use) and
    ``fbguard.degraded``: 1 from a don't-know to the next answer of Graph.
    """

    def __init__(
        self, meter_provider: MeterProvider | None = None, *, attributes: Mapping[str, str] | None = None
    ) -> None:
        self._meter = get_meter("fbguard", meter_provider=meter_provider)
        self._attributes = dict(attributes or {})
        self._is_watching = False
        self._look_ups = self._meter.create_histogram(
            "fbguard.look_up.duration",
            unit="s",
            description="Tokens that had to be looked up, and how long that took.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._events = self._meter.create_counter(
            "fbguard.events", unit="{event}", description="What else has happened to guards."
        )

    def __call__(self, event: Event) -> None:
        """Count an event; safe for threads."""
        if isinstance(event, TokenLookedUp):
            about: dict[str, str] = {_ANSWER: event.answer}
            if event.reason is not None:
                about[_REASON] = event.reason
            self._look_ups.record(event.seconds, self._attributes | about)
            return
        about = {_EVENT: type(event).__name__}
        if isinstance(event, GraphStateChanged):
            about[_REASON] = event.reason or "ok"
        self._events.add(1, self._attributes | about)

    def watch(self, guard: Guard) -> None:
        """Show how a guard is whenever numbers are collected, for as long as it lives.

        Raises RuntimeError for another one: their numbers could not be told apart.
        """
        if self._is_watching:
            raise RuntimeError("these Metrics show a guard already; another one needs a Metrics of its own")
        self._is_watching = True
        self._show(guard, "fbguard.tokens.cached", "{token}", "Facts about tokens that are kept.", _cached)
        self._show(guard, "fbguard.graph.calls", "{call}", "Calls of Graph under way.", _in_flight)
        self._show(guard, "fbguard.degraded", "1", "1 while Graph gives no answers, 0 else.", _degraded)

    def _show(self, guard: Guard, name: str, unit: str, what: str, read: Callable[[Health], int]) -> None:
        # A meter keeps what it calls: not the guard, too.
        kept, attributes = ref(guard), self._attributes

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            found = kept()
            return () if found is None else (Observation(read(found.health()), attributes),)

        self._meter.create_observable_gauge(name, [observe], unit=unit, description=what)


def _cached(health: Health) -> int:
    return health.cached


def _in_flight(health: Health) -> int:
    return health.in_flight


def _degraded(health: Health) -> int:
    return int(health.status != "ok")
