"""Kinds of a node as plugs: a veth pair for each port, its outer end connected by the kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from astara.contract.agent import PortAttachment
from astara.host import links
from astara.host.attach.boundary import Attachment, Replacing, Sharing
from astara.host.links import Link, LinkError

#: The name of a link for the moment between two others.
_LEAVING = links.HOST_PREFIX + "o"


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

    def stand_by(self, port: PortAttachment, inside: Path, macs: frozenset[str]) -> None:
        name = links.standby_name(port.port_id)
        link = links.find(name) if port.mac in macs else None
        links.set_up(link or links.create_pair(port, inside, name), port.port_id)

    def standing_by(self, port: PortAttachment) -> bool:
        link = links.find(links.standby_name(port.port_id))
        return link is not None and link.up and link.master is None and link.owner == port.port_id

    def leave(self, ports: Sequence[PortAttachment]) -> None:
        links.remove_many(links.standby_name(port.port_id) for port in ports)

    def join(self, port: PortAttachment) -> None:
        link = links.find(links.standby_name(port.port_id))
        if link is not None and isinstance(self._kind, Sharing):
            self._kind.join(port, link)

    def take_over(self, port: PortAttachment, inside: Path) -> None:
        """Both ends of both pairs stay up: the inside notices nothing."""
        ours, own = links.outer_ends(inside).get(port.mac), links.host_name(port.port_id)
        old, new = links.find(own), links.find(links.standby_name(port.port_id))
        if ours is not None and old is not None and old.index == ours:
            return
        if new is None or new.index != ours:
            raise LinkError(f"port {port.port_id}: no link of this instance stands by")
        if isinstance(self._kind, Replacing):
            self._kind.replace(port, partial(_exchange, port, old, new), inside)
            return
        if not isinstance(self._kind, Sharing):
            self._kind.unplug(port)
        elif old is not None:
            links.release(old)
        self._kind.plug(port, _exchange(port, old, new), inside)

    def in_place(self, port: PortAttachment) -> bool:
        return self._kind.in_place(port)


def _exchange(port: PortAttachment, old: Link | None, new: Link) -> Link:
    """Have the links exchange their names; returns the one that has the port's own by then. Raises LinkError."""
    own = links.host_name(port.port_id)
    if old is not None:
        links.rename(old, _LEAVING + port.port_id[:11])
    links.rename(new, own)
    if old is not None:
        links.rename(old, links.standby_name(port.port_id))
    return replace(new, name=own)
