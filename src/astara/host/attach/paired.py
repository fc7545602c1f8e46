"""Kinds of a node as plugs: a veth pair for each port, its outer end connected by the kind."""

from __future__ import annotations

from pathlib import Path

from astara.contract.agent import PortAttachment
from astara.host import links
from astara.host.attach.boundary import Attachment


class Paired:
    """Makes the pair, leaves the rest to the kind. The pair is removed by who unplugs (many at once are cheaper)."""

    def __init__(self, kind: Attachment) -> None:
        self._kind = kind

    def prepare(self) -> None:
        self._kind.prepare()

    def tend(self) -> None:
        self._kind.tend()

    def plug(self, port: PortAttachment, inside: Path | None, macs: frozenset[str]) -> None:
        assert inside is not None  # an agent that plugs into its own namespace has no kinds of a node
        link = links.find(links.host_name(port.port_id)) if port.mac in macs else None
        if link is None or (link.ours and link.owner != port.port_id):
            link = links.create_pair(port, inside)
        self._kind.plug(port, link, inside)

    def unplug(self, port: PortAttachment, inside: Path | None) -> None:
        self._kind.unplug(port)

    def in_place(self, port: PortAttachment) -> bool:
        return self._kind.in_place(port)
