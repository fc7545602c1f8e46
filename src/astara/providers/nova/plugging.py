"""The ports of a server: made, plugged, and told to its agent, until they are those wished for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog
from msgspec.structs import replace

from astara.clients.appliance import NodeClient
from astara.contract.agent import Credential, InstanceSpec, Key, PortAttachment
from astara.contract.generation import Generation
from astara.model.errors import AstaraError, Retry
from astara.providers.nova.boundary import Cloud, Nic, Server
from astara.providers.nova.marks import NicMark, nic_mark

_log = structlog.get_logger(__name__)


class Plugging:
    """`pool` makes several ports at once."""

    def __init__(self, cloud: Cloud, pool: ThreadPoolExecutor) -> None:
        self._cloud = cloud
        self._pool = pool

    def align(self, server: Server, nics: Sequence[Nic], ports: Iterable[PortAttachment]) -> tuple[Nic, ...]:
        """Have the server carry exactly these ports; return its NICs then."""
        wished = {port.port_id: port for port in ports}
        if server.building:
            return _as_born(server, nics, wished)
        kept: list[Nic] = []
        for nic in nics:
            carried = nic.mark.carried()
            if carried is None or wished.get(carried.port_id) == carried:
                kept.append(nic)
                continue
            self._cloud.unplug(server.id, nic.id)
            self._cloud.delete_nic(nic.id)
        there = {port.port_id for port in carried_by(kept)}
        missing = [nic_mark(server.mark.instance, port) for port_id, port in wished.items() if port_id not in there]
        kept += self.make(missing)
        for nic in kept:
            if nic.server_id != server.id:
                self._plug(server, nic)
        return tuple(kept)

    def make(self, wanted: Sequence[NicMark]) -> list[Nic]:
        """Make all of them, or none. Raises what making one raises."""
        asked = [self._pool.submit(self._cloud.create_nic, mark) for mark in wanted]
        made, failed = [], []
        for one in asked:
            try:
                made.append(one.result())
            except AstaraError as error:
                failed.append(error)
        if failed:
            self.forsake(made)
            raise failed[0]
        return made

    def forsake(self, nics: Iterable[Nic]) -> None:
        for nic in nics:
            _log.info("nova.port-deleted", port=nic.id, instance=nic.mark.instance)
            self._cloud.delete_nic(nic.id)

    def _plug(self, server: Server, nic: Nic) -> None:
        try:
            self._cloud.plug(server.id, nic.id)
        except AstaraError as error:
            if not may_have_been_done(error):
                self._cloud.delete_nic(nic.id)
            raise


def introduce(
    agent: NodeClient,
    server: Server,
    nics: Sequence[Nic],
    generation: Generation,
    credential: Credential | None = None,
) -> None:
    """Tell the agent which of its interfaces are which ports; it finds them by the MAC addresses Nova gave them."""
    mark = server.mark
    carried = [(nic.mark.carried(), nic.mac) for nic in nics]
    agent.put_instance(
        InstanceSpec(
            id=mark.instance,
            key=Key(driver=mark.key.driver, id=mark.key.id),
            slot=mark.slot,
            generation=generation,
            ports=tuple(replace(port, attach="nic", nic=mac) for port, mac in carried if port is not None),
            labels=mark.labels(),
            credential=credential,
        )
    )


def of(server: Server, nics: Iterable[Nic]) -> tuple[Nic, ...]:
    return tuple(nic for nic in nics if nic.mark.instance == server.mark.instance)


def carried_by(nics: Iterable[Nic]) -> tuple[PortAttachment, ...]:
    return tuple(port for nic in nics if (port := nic.mark.carried()) is not None)


def may_have_been_done(error: AstaraError) -> bool:
    """An answer that was lost says nothing about what was done: what was made for it must stay."""
    return isinstance(error, Retry) and error.after_s is None


def _as_born(server: Server, nics: Sequence[Nic], wished: Mapping[str, PortAttachment]) -> tuple[Nic, ...]:
    """Nova changes nothing on a server it is making, which has the ports it was asked for with."""
    if {port.port_id: port for port in carried_by(nics)} != wished:
        raise Retry(f"server {server.id} is still being made; its ports change when it is ACTIVE")
    return tuple(nics)
