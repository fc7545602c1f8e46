"""A document applied to nobody's instance, and taken away again, before anybody waits for one.

What the first document takes longer than the second is then behind us: modules the kernel loads when a ruleset names
them, programs and libraries read from a packed file system, and, where instructions are translated (TCG), their
translation. Nothing of it is anybody's: addresses are of documentation, links lead nowhere.
"""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from astara.appliance.apply.engine import Engine
from astara.appliance.boundaries import Appliance, Place, Rehearsed
from astara.contract.agent import PortAttachment
from astara.contract.document import document
from astara.contract.generation import ZERO
from astara.host import links, namespaces

_log = structlog.get_logger(__name__)
_MACS = ("02:a5:7a:00:01:01", "02:a5:7a:00:01:02")
_NETWORK = "00000000-0000-0000-0000-000000000000"


def rehearse(engine: Engine, appliances: Mapping[str, Appliance]) -> None:
    """Apply, look at and take away what each driver calls typical. What goes wrong is logged, and costs time only."""
    for appliance in appliances.values():
        if isinstance(appliance, Rehearsed):
            try:
                with _nobodys_place() as place:
                    try:
                        engine.apply(place, document(appliance.name, ZERO, appliance.typical(_MACS)))
                        engine.state(place)
                    finally:
                        engine.remove(place)  # a daemon would stay, and with it in every clone of a template
            except Exception as error:  # noqa: BLE001 - whatever it is, real documents say it to those who sent them
                _log.warning("rehearsal.failed", driver=appliance.name, reason=str(error))


@contextmanager
def _nobodys_place() -> Iterator[Place]:
    """A namespace with a link for each of the MAC addresses, and a directory."""
    own = str(uuid.uuid4())
    inside = namespaces.path_of(own)
    ports = [
        PortAttachment(port_id=str(uuid.uuid4()), network_id=_NETWORK, mac=mac, mtu=1500, attach="nic") for mac in _MACS
    ]
    try:
        namespaces.ensure(own)
        for port in ports:
            links.set_up(links.create_pair(port, inside), port.port_id)
        with tempfile.TemporaryDirectory(prefix="astara-", ignore_cleanup_errors=True) as files:
            yield Place(own, inside, Path(files))
    finally:
        links.remove_many(links.host_name(port.port_id) for port in ports)
        namespaces.remove(own)
