"""The simulated substrate: hosts, instances, fences, and the faults one can inject.

It outlives the provider objects that look at it, as a real cloud outlives a restarted orchestrator.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from astara.contract.agent import SPARE, Deviation, Health, PortAttachment, StateView
from astara.contract.generation import ZERO, Generation
from astara.model.boundaries import ProviderListing
from astara.model.errors import Retry, Stale, Terminal
from astara.model.resource import ObservedInstance, ResourceKey, Unknown


@dataclass(slots=True)
class Simulated:
    """One instance. `hung`: it runs, its agent does not answer. `stuck`: no push can mend it."""

    id: str
    key: ResourceKey
    slot: str
    host: str
    created_at: float
    ports: dict[str, PortAttachment]
    body: str = "memory"
    image_name: str | None = None
    edition: str = ""
    credential_due: bool = False
    standby: bool = False
    health: Health = Health.UNCONFIGURED
    driver: str | None = None
    digest: str | None = None
    generation: Generation | None = None
    deviations: tuple[Deviation, ...] = ()
    last_error: str | None = None
    hung: bool = False
    stuck: bool = False
    pushes: int = 0
    image: str | None = None


@dataclass(slots=True)
class Fault:
    """Raised by the next call of `operation`; `after`: its effect took place, only the answer is lost."""

    operation: str
    error: Exception
    after: bool


@dataclass(slots=True)
class MemoryCloud:
    """Everything simulated. Methods named after faults are for tests and demonstrations; all are thread-safe.

    `watch` is told ("before" or "after", operation) around every change, so that a test can pull the plug there.
    `changes` counts every change made to an instance; `calls` every call by operation.
    """

    instances: dict[str, Simulated] = field(default_factory=dict)
    fences: dict[ResourceKey, Generation] = field(default_factory=dict)
    unreachable: set[str] = field(default_factory=set)
    #: The greatest term heard, by the hosts that did not hear it.
    heard: dict[frozenset[str], int] = field(default_factory=dict)
    #: Section digests every instance refuses, with what its daemon says.
    refused: dict[str, str] = field(default_factory=dict)
    #: Where spares can be made, and what new instances are made from.
    hosts: tuple[str, ...] = ()
    image: str | None = None
    #: New instances are silent until `answers` is called for them.
    boots_slowly: bool = False
    faults: deque[Fault] = field(default_factory=deque)
    calls: dict[str, int] = field(default_factory=dict)
    changes: int = 0
    watch: Callable[[str, str], None] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: dict[ResourceKey, list[str]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    # Faults

    def inject(self, operation: str, error: Exception | None = None, *, after: bool = False) -> None:
        """Have the next `operation` fail: before its effect, or `after` it, with only the answer lost."""
        with self.lock:
            self.faults.append(Fault(operation, error or Retry(f"injected into {operation}"), after))

    def hang(self, instance: str) -> None:
        with self.lock:
            self.instances[instance].hung = True

    def answers(self, instance: str) -> None:
        with self.lock:
            self.instances[instance].hung = False

    def fail(self, instance: str, error: str = "namespace is gone") -> None:
        with self.lock:
            broken = self.instances[instance]
            broken.health, broken.last_error = Health.FAILED, error

    def degrade(self, instance: str, detail: str = "rule missing", *, stuck: bool = False) -> None:
        """Let read-back differ from what was applied; `stuck`: pushing again does not mend it."""
        with self.lock:
            ill = self.instances[instance]
            ill.health, ill.stuck = Health.DEGRADED, stuck
            ill.deviations = (Deviation(subsystem="nftables", detail=detail),)

    def drift(self, instance: str) -> None:
        """Let it run another configuration than the one pushed last."""
        with self.lock:
            self.instances[instance].digest = "drifted"

    def lose(self, instance: str) -> None:
        """Let it vanish, as when its node reboots."""
        with self.lock:
            del self.instances[instance]

    # What the provider does

    def hear(self, term: int) -> None:
        """Somebody who looks says under which term: every host that answers refuses older ones from now on."""
        with self.lock:
            deaf = frozenset(self.unreachable)
            self.heard[deaf] = max(term, self.heard.get(deaf, 0))

    def floor(self, host: str) -> int:
        """Return the greatest term a host has heard."""
        return max((term for deaf, term in self.heard.items() if host not in deaf), default=0)

    def next_id(self) -> str:
        return f"memory-{next(self._numbers):08d}"

    def of(self, key: ResourceKey) -> list[Simulated]:
        with self.lock:
            found = (self.instances.get(identifier) for identifier in self._ids.get(key, ()))
            return [instance for instance in found if instance is not None and instance.key == key]

    def add(self, instance: Simulated) -> None:
        self.instances[instance.id] = instance
        # Ids are never reused, so those of the gone may go the next time somebody looks at the resource.
        self._ids[instance.key] = [i for i in self._ids.get(instance.key, ()) if i in self.instances] + [instance.id]
        self.changes += 1

    def give(self, spare: Simulated, key: ResourceKey, slot: str) -> None:
        """Have a spare belong to a resource."""
        spare.key, spare.slot = key, slot
        self.add(spare)

    def admit(self, key: ResourceKey, host: str, generation: Generation) -> None:
        """Let a change through, or not: an unreachable host cannot judge, an older generation is refused."""
        if host in self.unreachable:
            raise Retry(f"host {host} does not answer", f"check the node agent on {host}")
        if generation.term < self.floor(host) and key.driver != SPARE:
            raise Stale(
                f"term {generation.term} is older than {self.floor(host)}, which {host} has heard of", "look again"
            )
        fence = self.fences.get(key, ZERO)
        if generation < fence:
            raise Stale(f"generation {generation} is older than {fence}", "look again; another orchestrator was here")
        self.fences[key] = generation

    def check(self, instance: Simulated, digest: str) -> None:
        """Refuse what the daemon would refuse."""
        if (words := self.refused.get(digest)) is not None:
            instance.last_error = words
            raise Terminal(f"$.section: {words}", "change the resource so that its configuration is valid")

    def observed(self, instance: Simulated) -> ObservedInstance:
        state = Unknown.UNREACHABLE if instance.hung else _state(instance)
        return ObservedInstance(
            id=instance.id,
            slot=instance.slot,
            provider=instance.body,
            host=instance.host,
            ports=tuple(instance.ports.values()),
            state=state,
            created_at=instance.created_at,
            key=instance.key,
            image=instance.image_name,
            image_digest=instance.image,
            credential_due=instance.credential_due,
            standby=instance.standby,
            edition=instance.edition,
        )

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        """Return the instances of every body on hosts that answer; the others are named."""
        with self.lock, self.call("list" if key is None else "list-one"):
            found = self.instances.values() if key is None else self.of(key)
            return ProviderListing(
                tuple(self.observed(one) for one in found if one.host not in self.unreachable),
                frozenset(self.unreachable),
            )

    @contextmanager
    def call(self, operation: str) -> Iterator[None]:
        """Count a call, and have it fail when a fault lies in wait for it."""
        fault = self.begin(operation)
        yield
        self.end(operation, fault)

    def begin(self, operation: str) -> Fault | None:
        """Count a call and raise its fault, or hand it back to be raised after the effect."""
        self.calls[operation] = self.calls.get(operation, 0) + 1
        if self.watch is not None:
            self.watch("before", operation)
        for fault in self.faults:
            if fault.operation == operation:
                self.faults.remove(fault)
                if not fault.after:
                    raise fault.error
                return fault
        return None

    def end(self, operation: str, fault: Fault | None) -> None:
        if self.watch is not None:
            self.watch("after", operation)
        if fault is not None:
            raise fault.error


def _state(instance: Simulated) -> StateView:
    return StateView(
        health=instance.health,
        generation=instance.generation,
        driver=instance.driver,
        digest=instance.digest,
        deviations=instance.deviations,
        last_error=instance.last_error,
    )
