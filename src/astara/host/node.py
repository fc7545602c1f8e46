"""All instances of one node: the registry, adoption after a restart, and what belongs to nobody."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from msgspec.structs import replace

from astara.appliance.api import refusals
from astara.appliance.system import netns
from astara.contract.agent import InstanceList, InstanceSpec, InstanceView
from astara.contract.generation import Generation
from astara.host import links
from astara.host.changes import Changes
from astara.host.floor import Floor
from astara.host.instance import Instance
from astara.host.surroundings import Surroundings

_log = structlog.get_logger(__name__)
_ADOPTION_PATIENCE_S = 30.0
_TOMBSTONE_LIFE_S = 3600.0
#: How long a machine has to say who is active.
_ROLE_S = 1.0


@dataclass(frozen=True, slots=True)
class Adoption:
    """What a start found: `mended` needed a repair, `failed` is left to the sweep."""

    found: int
    mended: int
    failed: int
    orphans: int
    seconds: float


class Node:
    """Its lock guards the registry only; all work happens under the turn of one instance."""

    def __init__(self, around: Surroundings, changes: Changes) -> None:
        self._around = around
        self._mutex = threading.Lock()
        self._instances: dict[str, Instance] = {}
        self._users: Counter[str] = Counter()
        #: What adopted instances are known as, and what they were born as.
        self._born_as: dict[str, str] = {}
        self._adopted = threading.Event()
        self.changes = changes

    @property
    def floor(self) -> Floor:
        """The greatest term heard of."""
        return self._around.floor

    # Requests

    def put(self, spec: InstanceSpec) -> InstanceView:
        if self._around.solitary and any(one.id != spec.id for one in self.instances()):
            raise refusals.invalid("$.id", "this agent serves one instance, and has it", "use that instance's id")
        with self._held(spec.id) as instance:
            if instance.record is not None and spec.adopt not in (None, instance.id):
                # A claim repeated with another spare, whose credential this is: the instance is not that one.
                return instance.put(replace(spec, credential=None, labels=instance.record.labels))
            if spec.adopt is None or instance.exists:
                return instance.put(spec)
            instance.refuse_older(spec.generation)
            return self._hand_over(spec, spec.adopt)

    def delete(self, instance_id: str, generation: Generation) -> None:
        """Absence is success."""
        with self._held(instance_id) as instance:
            record = instance.record
            instance.delete(generation)
        if record is not None:
            self.changes.forget(record.key)

    def cut_over(self, instance_id: str, generation: Generation) -> InstanceView:
        """Have the ports of an instance lead to it, whoever had them; raises Refusal."""
        taker = self.get(instance_id)
        rivals = taker.rivals(self.instances())
        with ExitStack() as turns:
            for one in sorted((taker, *rivals), key=lambda one: one.id):  # everybody in one order: nobody deadlocks
                turns.enter_context(one.turn)
            return taker.take_over(generation, [one for one in rivals if one.exists])

    def overtaken(self, instance_id: str, term: int) -> None:
        """Tell of a change that was let in under `term` and was at work while a newer one was heard of.

        Whoever looked meanwhile has seen what was before it: it looks again, as after any change of the node's own.
        """
        if 0 < term < self._around.floor.term:
            instance = self.find(instance_id)
            record = None if instance is None else instance.record
            if record is not None and not record.spare:
                self.changes.publish(record.key)

    def get(self, instance_id: str) -> Instance:
        """Return an instance that exists; raises Refusal (404)."""
        instance = self.find(instance_id)
        if instance is None:
            raise refusals.not_found(f"instance {instance_id}", "create it first")
        return instance

    def find(self, instance_id: str) -> Instance | None:
        """Return an instance that exists, or None."""
        with self._mutex:
            instance = self._instances.get(self._born_as.get(instance_id, instance_id))
        return instance if instance is not None and instance.exists else None

    def listing(self, driver: str | None = None, identifier: str | None = None) -> InstanceList:
        """Every instance, with read-backs that nothing was heard to have outdated."""
        self.wait_adopted(_ADOPTION_PATIENCE_S)
        cursor = self.changes.cursor
        wanted = [one for one in self.instances() if _matches(one, driver, identifier)]
        # Who asks for one resource wants to know who is active now; of all that would take too long.
        within_s = _ROLE_S if identifier is not None else 0.0
        views = (instance.recent_view(within_s) for instance in wanted)
        return InstanceList(instances=tuple(view for view in views if view is not None), cursor=cursor)

    def instances(self) -> list[Instance]:
        with self._mutex:
            return [instance for instance in self._instances.values() if instance.exists]

    def count(self) -> int:
        return len(self.instances())

    # Start

    def load(self) -> None:
        """Read the records; nothing is touched yet."""
        for record in self._around.records.load():
            self._instances[record.id] = Instance(record.id, self._around, record)
            if record.known_as is not None:
                self._born_as[record.known_as] = record.id

    def adopt(self, threads: int) -> Adoption:
        """Verify every recorded instance in parallel, rebuild what is gone, clear what belongs to nobody."""
        began = time.monotonic()
        instances = self.instances()
        try:
            with ThreadPoolExecutor(threads, thread_name_prefix="adopt") as pool:
                outcomes = list(pool.map(self._adopt, instances))
        finally:
            self._adopted.set()
        orphans = self._clear_orphans()
        self._around.records.purge_tombstones(self._around.wall() - _TOMBSTONE_LIFE_S)
        return Adoption(
            found=len(instances),
            mended=outcomes.count("mended"),
            failed=outcomes.count("failed"),
            orphans=orphans,
            seconds=round(time.monotonic() - began, 3),
        )

    def wait_adopted(self, timeout_s: float) -> None:
        """Raises Refusal (503) when the start takes longer than that."""
        if not self._adopted.wait(timeout_s):
            raise refusals.unavailable("the agent is still looking at what it found at its start", "ask again")

    def _adopt(self, instance: Instance) -> str:
        tombstone = self._around.records.tombstone(instance.id)
        try:
            record = instance.record
            if record is not None and tombstone is not None and tombstone.generation >= record.generation:
                instance.clear_orphan()  # its deletion was interrupted
                return "mended"
            return "mended" if instance.verify() else "kept"
        except Exception as error:  # noqa: BLE001  # one instance must not keep the others from being adopted
            _log.warning("instance.adoption_failed", instance=instance.id, reason=str(error))
            instance.failed(str(error))
            return "failed"

    def _clear_orphans(self) -> int:
        known = {instance.id for instance in self.instances()}
        present = self._around.dwellings.ids_present() | self._around.records.directories()
        strays = present.union(*(body.strays() for body in self._around.bodies.values())) - known
        for stray in sorted(strays):
            self._clear_stray(stray)
        return len(strays) + self._clear_links()

    def _clear_stray(self, instance_id: str) -> None:
        with self._leased(instance_id) as instance:
            if instance.exists:
                return  # created while we looked
            try:
                path = self._around.dwellings.path_of(instance_id)
                if path is not None:
                    end_processes_inside(path)
                instance.clear_orphan()
                _log.info("orphan.cleared", instance=instance_id)
            except Exception as error:  # noqa: BLE001  # it is tried again at the next start
                _log.warning("orphan.stays", instance=instance_id, reason=str(error))

    def _clear_links(self) -> int:
        """Remove host-side links of ours that belong to no recorded port."""
        before = [link for link in links.every() if link.ours and link.name.startswith(links.HOST_PREFIX)]
        ports = {port.port_id for one in self.instances() if one.record is not None for port in one.record.ports}
        strays = [link for link in before if link.kind == "veth" and link.owner not in ports]
        for link in strays:
            links.remove(link.name)
            _log.info("orphan.link_removed", link=link.name, port=link.owner)
        return len(strays)

    def _hand_over(self, spec: InstanceSpec, spare_id: str) -> InstanceView:
        """Have the spare become what `spec` names. The caller holds the turn of that id."""
        spare = self.find(spare_id)
        if spare is None:
            raise refusals.not_found(f"spare {spare_id}", "take another, or create the instance")
        with spare.turn:
            view = spare.adopt(spec)
            with self._mutex:
                self._born_as[spec.id] = spare.id
        _log.info("spare.adopted", instance=spec.id, born_as=spare.id, key=f"{spec.key.driver}/{spec.key.id}")
        return view

    @contextmanager
    def _held(self, instance_id: str) -> Iterator[Instance]:
        """Hold the turn of whoever is known by that id: while we waited for it, a spare may have become it."""
        while True:
            with self._leased(instance_id) as instance, instance.turn:
                with self._mutex:
                    born_as = self._born_as.get(instance_id, instance_id)
                if born_as == instance.id:
                    yield instance
                    return

    @contextmanager
    def _leased(self, instance_id: str) -> Iterator[Instance]:
        """Hold the one object of an id, whether the instance exists or not.

        It leaves the registry with the last who holds it, so that a creation that waits behind a deletion does not
        go on with an object nobody else can find.
        """
        with self._mutex:
            own = self._born_as.get(instance_id, instance_id)
            instance = self._instances.setdefault(own, Instance(own, self._around))
            self._users[own] += 1
        try:
            yield instance
        finally:
            with self._mutex:
                self._users[own] -= 1
                if self._users[own] == 0:
                    del self._users[own]
                    if not instance.exists:
                        self._instances.pop(own, None)
                        self._born_as = {known: born for known, born in self._born_as.items() if born != own}


def _matches(instance: Instance, driver: str | None, identifier: str | None) -> bool:
    record = instance.record
    if record is None:
        return False
    return (driver is None or record.key.driver == driver) and (identifier is None or record.key.id == identifier)


def end_processes_inside(path: Path) -> None:
    """Kill what still runs in the namespace of an instance nobody knows: it would keep the namespace alive.

    Raises OSError when the path leads to the agent's own namespace (`ip netns attach` by hand): all of the node
    lives there.
    """
    try:
        wanted = netns.inode(path)
    except netns.NetnsGone:
        return
    if wanted == netns.inode(None):
        raise OSError(errno.EBUSY, "leads to the node's own namespace", str(path))
    for pid in _pids():
        try:
            if Path(f"/proc/{pid}/ns/net").stat().st_ino == wanted:
                os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue


def _pids() -> Iterable[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
