"""Any provider that adopts, with spares in front: `create` takes a warm instance when there is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import structlog

from astara.contract.agent import ApplyReport, PortAttachment
from astara.contract.codec import Wire
from astara.contract.generation import Generation
from astara.model.boundaries import AdoptingProvider, InstanceLister, ProviderListing, SeamlessProvider
from astara.model.errors import AstaraError, Gone, Stale
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey
from astara.pool.boundaries import PoolMetrics
from astara.pool.deficit import Shelf
from astara.pool.stock import Stock

_log = structlog.get_logger(__name__)


class WarmProvider:
    """Implements model.boundaries.InstanceProvider. Spares are in its listings, under keys of the driver `spare`.

    `wake` is called after every request, and must not block.
    """

    def __init__(
        self, provider: AdoptingProvider, stock: Stock, wake: Callable[[], None], metrics: PoolMetrics
    ) -> None:
        self.name = provider.name
        self.summary = provider.summary
        self.source: InstanceLister = getattr(provider, "source", provider)
        self._provider = provider
        self._stock = stock
        self._wake = wake
        self._metrics = metrics

    @property
    def capabilities(self) -> frozenset[str]:
        return self._provider.capabilities - {"adopt"}

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        return self._provider.list(key)

    def create(self, key: ResourceKey, wanted: DesiredInstance, generation: Generation) -> ObservedInstance:
        """Have a spare adopted, or make an instance at once; idempotent by (key, slot) either way."""
        capabilities = self._provider.capabilities
        nics = 0 if "hotplug" in capabilities else len(wanted.ports)
        host = self._provider.hosts[0] if "anywhere" in capabilities else wanted.host
        shelf = Shelf(self.name, host, wanted.image, nics)
        if "instant" in capabilities or self._stock.size(shelf) is None:
            return self._provider.create(key, wanted, generation)
        self._stock.requested(shelf)
        try:
            with self._stock.working(host):
                warm = self._warm(shelf, key, wanted, generation)
                self._stock.served(shelf, warm=warm is not None)
                self._metrics.pool_request(self.name, "miss" if warm is None else "hit")
                return warm or self._provider.create(key, wanted, generation)
        finally:
            self._wake()

    def delete(self, instance: ObservedInstance, generation: Generation) -> None:
        self._provider.delete(instance, generation)

    def attach_port(self, instance: ObservedInstance, port: PortAttachment, generation: Generation) -> ObservedInstance:
        return self._provider.attach_port(instance, port, generation)

    def detach_port(self, instance: ObservedInstance, port_id: str, generation: Generation) -> ObservedInstance:
        return self._provider.detach_port(instance, port_id, generation)

    def push(self, instance: ObservedInstance, driver: str, section: Wire, generation: Generation) -> ApplyReport:
        return self._provider.push(instance, driver, section, generation)

    def cut_over(self, instance: ObservedInstance, generation: Generation) -> ObservedInstance:
        """Only asked of who says "cut-over"."""
        return cast(SeamlessProvider, self._provider).cut_over(instance, generation)

    def console_log(self, instance: ObservedInstance) -> str:
        return self._provider.console_log(instance)

    def _warm(
        self, shelf: Shelf, key: ResourceKey, wanted: DesiredInstance, generation: Generation
    ) -> ObservedInstance | None:
        while (spare := self._stock.take(shelf)) is not None:
            try:
                return self._provider.adopt(spare, key, wanted, generation)
            except Stale:
                raise
            except Gone as error:
                _log.info("spare.lost", spare=spare.id, resource=str(key), reason=str(error))
            except AstaraError as error:
                # A host that is away, an impossible wish: `create` says so, or finds that only the answer was lost.
                _log.warning("spare.not-adopted", spare=spare.id, resource=str(key), reason=str(error))
                return None
        return None
