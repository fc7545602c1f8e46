"""The provider of simulated instances: the same contract as every other, at no latency."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from astara.contract.agent import SPARE, ApplyReport, Health, Outcome, PortAttachment
from astara.contract.codec import Wire
from astara.contract.codec import digest as digest_of
from astara.contract.generation import Generation
from astara.model.boundaries import Image, InstanceLister, ProviderListing
from astara.model.errors import Gone, Retry
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey
from astara.providers.memory.cloud import MemoryCloud, Simulated


class MemoryProvider:
    """Implements model.boundaries.InstanceProvider. Several providers may look at one cloud (rival orchestrators).

    With another `name` it makes and reports instances of another body in the same cloud, its `source`.
    """

    name: str = "memory"
    summary = "nothing real: simulated instances in the orchestrator's memory, for tests"

    def __init__(
        self,
        cloud: MemoryCloud | None = None,
        wall: Callable[[], float] = time.time,
        name: str = "memory",
        source: InstanceLister | None = None,
    ) -> None:
        self.name = name
        self.cloud = cloud if cloud is not None else MemoryCloud()
        self.source = self.cloud if source is None else source
        self._wall = wall

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"fenced", "hotplug", "console-log", "adopt", "cut-over"})

    @property
    def hosts(self) -> tuple[str, ...]:
        return self.cloud.hosts

    def image_now(self, host: str, image: str | None) -> Image:
        return Image(digest=self.cloud.image)

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        """Return the instances on hosts that answer; the others are named."""
        listing = self.source.list(key)
        return replace(listing, instances=tuple(one for one in listing.instances if one.provider == self.name))

    def create(self, key: ResourceKey, wanted: DesiredInstance, generation: Generation) -> ObservedInstance:
        """Make the instance of this slot on this host, or find it and make its ports those wished for."""
        cloud = self.cloud
        with cloud.lock, cloud.call("create"):
            cloud.admit(key, wanted.host, generation)
            found = self._of(key, wanted)
            instance = found or self._make(key, wanted)
            self._plug(instance, wanted, is_change=found is not None)
            return cloud.observed(instance)

    def adopt(
        self, spare: ObservedInstance, key: ResourceKey, wanted: DesiredInstance, generation: Generation
    ) -> ObservedInstance:
        """Have a spare become the instance of this slot, unless there is one; raises Gone when it cannot be had."""
        cloud = self.cloud
        with cloud.lock, cloud.call("adopt"):
            cloud.admit(key, wanted.host, generation)
            instance = self._of(key, wanted)
            if instance is None:
                instance = cloud.instances.get(spare.id)
                if instance is None or instance.key.driver != SPARE or instance.host != wanted.host:
                    raise Gone(f"there is no spare {spare.id}", "take another, or create the instance")
                if instance.hung or instance.health is not Health.UNCONFIGURED:
                    raise Gone(f"spare {spare.id} does not answer", "take another, or create the instance")
                cloud.give(instance, key, wanted.slot)
                instance.edition = wanted.edition or ""
                instance.standby = wanted.standby
            self._plug(instance, wanted, is_change=True)
            return cloud.observed(instance)

    def delete(self, instance: ObservedInstance, generation: Generation) -> None:
        """Remove it; absence is success."""
        cloud = self.cloud
        with cloud.lock, cloud.call("delete"):
            found = cloud.instances.get(instance.id)
            if found is None and instance.host in cloud.unreachable:
                raise Retry(f"host {instance.host} does not answer")
            if found is None:
                return
            cloud.admit(found.key, found.host, generation)
            del cloud.instances[found.id]
            cloud.changes += 1

    def attach_port(self, instance: ObservedInstance, port: PortAttachment, generation: Generation) -> ObservedInstance:
        cloud = self.cloud
        with cloud.lock, cloud.call("attach_port"):
            found = self._find(instance, generation)
            if found.ports.get(port.port_id) != port:
                found.ports[port.port_id] = port
                cloud.changes += 1
            return cloud.observed(found)

    def detach_port(self, instance: ObservedInstance, port_id: str, generation: Generation) -> ObservedInstance:
        cloud = self.cloud
        with cloud.lock, cloud.call("detach_port"):
            found = self._find(instance, generation)
            if found.ports.pop(port_id, None) is not None:
                cloud.changes += 1
            return cloud.observed(found)

    def push(self, instance: ObservedInstance, driver: str, section: Wire, generation: Generation) -> ApplyReport:
        """Apply the section; raises Stale, Terminal (refused), Retry (hung, broken), Gone."""
        cloud = self.cloud
        with cloud.lock, cloud.call("push"):
            found = self._find(instance, generation)
            if found.hung or found.health is Health.FAILED:
                raise Retry(f"instance {found.id} does not answer")
            digest = digest_of(section)
            cloud.check(found, digest)
            if found.digest == digest and found.health is Health.HEALTHY:
                found.generation = generation
                return ApplyReport(outcome=Outcome.UNCHANGED, digest=digest, generation=generation)
            self._apply(found, driver, digest, generation)
            return ApplyReport(outcome=Outcome.APPLIED, digest=digest, generation=generation, touched=("memory",))

    def cut_over(self, instance: ObservedInstance, generation: Generation) -> ObservedInstance:
        """Plug it in and its rivals on that host out."""
        cloud = self.cloud
        with cloud.lock, cloud.call("cut_over"):
            found = self._find(instance, generation)
            for rival in cloud.of(found.key):
                if (rival.slot, rival.host) == (found.slot, found.host) and rival.standby is not (rival is not found):
                    rival.standby = rival is not found
                    cloud.changes += 1
            return cloud.observed(found)

    def console_log(self, instance: ObservedInstance) -> str:
        """Say what a simulated console would."""
        with self.cloud.lock:
            found = self.cloud.instances.get(instance.id)
            if found is None:
                raise Gone(f"instance {instance.id} does not exist")
            return f"simulated instance {found.id}: {found.pushes} configurations applied\n"

    def _make(self, key: ResourceKey, wanted: DesiredInstance) -> Simulated:
        cloud = self.cloud
        instance = Simulated(
            id=cloud.next_id(),
            key=key,
            slot=wanted.slot,
            host=wanted.host,
            created_at=self._wall(),
            ports={},
            hung=cloud.boots_slowly,
            image=cloud.image,
            body=self.name,
            image_name=wanted.image,
            standby=wanted.standby,
            edition=wanted.edition or "",
        )
        cloud.add(instance)
        return instance

    def _of(self, key: ResourceKey, wanted: DesiredInstance) -> Simulated | None:
        place = (wanted.slot, wanted.host, self.name, wanted.edition or "")
        same = (i for i in self.cloud.of(key) if (i.slot, i.host, i.body, i.edition) == place)
        return next(same, None)

    def _plug(self, instance: Simulated, wanted: DesiredInstance, *, is_change: bool) -> None:
        ports = {port.port_id: port for port in wanted.ports}
        instance.credential_due = False
        if instance.ports != ports:
            instance.ports = ports
            self.cloud.changes += is_change

    def _find(self, instance: ObservedInstance, generation: Generation) -> Simulated:
        found = self.cloud.instances.get(instance.id)
        if found is None:
            if instance.host in self.cloud.unreachable:
                raise Retry(f"host {instance.host} does not answer")
            raise Gone(f"instance {instance.id} does not exist")
        self.cloud.admit(found.key, found.host, generation)
        return found

    def _apply(self, found: Simulated, driver: str, digest: str, generation: Generation) -> None:
        self.cloud.changes += 1
        found.pushes += 1
        found.driver, found.digest, found.generation = driver, digest, generation
        if not found.stuck:
            found.health, found.deviations, found.last_error = Health.HEALTHY, (), None
