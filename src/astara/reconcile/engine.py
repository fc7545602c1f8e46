"""The whole engine, wired. This file is the signature the runtime codes against."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

from astara.model.boundaries import Clock, Driver, Event, InstanceProvider, NeutronApi
from astara.model.operator import HistoryLine
from astara.model.resource import DesiredState, ObservedInstance, ObservedState, ResourceKey
from astara.reconcile.boundaries import Metrics, NoMetrics, Records
from astara.reconcile.options import EngineOptions


class Engine:
    """Keeps every resource of the enabled drivers as Neutron wishes it. Implements EventSink.

    The constructor does no I/O. `drivers` and `providers` are keyed by name. `term` comes from
    `Records.next_term()`; it fences off whoever had a smaller one.
    """

    def __init__(
        self,
        *,
        neutron: NeutronApi,
        drivers: Mapping[str, Driver],
        providers: Mapping[str, InstanceProvider],
        records: Records,
        clock: Clock,
        term: int,
        options: EngineOptions | None = None,
        metrics: Metrics | None = None,
        random_value: Callable[[], float] = random.random,
    ) -> None:
        self.options = options or EngineOptions()
        self.metrics = metrics or NoMetrics()

    # life
    def start(self) -> None:
        """Start the workers and the resync thread; the first full look follows at once."""

    def stop(self, drain_s: float = 10.0) -> bool:
        """Take no new work, let running reconciles end; True when all ended within `drain_s`."""
        return True

    # EventSink, and the providers' own change feeds
    def notify(self, event: Event) -> None:
        """Mark every resource the event concerns for another look. Never blocks, never raises."""

    def resync(self, reason: str) -> None:
        """Look at everything again through bulk calls (a feed was interrupted, a node agent restarted)."""

    def instance_changed(self, key: ResourceKey, reason: str = "instance") -> None:
        """A provider saw this resource's instance change by itself: look again."""

    # what an operator may ask; see also `ledger` (lines of every resource) and `brake`
    def look(self, key: ResourceKey | None) -> int:
        """Queue one resource (also an unknown one), or all; forgets their back-off. Returns how many were queued."""
        return 0

    def inspect(self, key: ResourceKey) -> Inspection:
        """Observe now and say what would be done; touches nothing. Raises Gone when nobody knows the resource."""
        raise NotImplementedError

    def history(self, key: ResourceKey) -> tuple[HistoryLine, ...]:
        """What was done about this resource, oldest first."""
        return ()

    def hold(self, key: ResourceKey, reason: str) -> None:
        """Take our hands off a resource; durable."""

    def release(self, key: ResourceKey) -> None:
        """Give it back and look at it at once."""

    def rebuild(self, key: ResourceKey) -> None:
        """Replace every instance of a resource, one at a time; raises Gone when it has none."""

    def release_brake(self) -> None:
        """The operator says: those instances are really dead."""


class Inspection:
    """One resource, looked at now: `plan` is what would be done."""

    desired: DesiredState
    observed: ObservedState
    instances: tuple[ObservedInstance, ...]
    steps: tuple[str, ...]
