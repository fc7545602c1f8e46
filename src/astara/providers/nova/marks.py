"""How what is ours in Nova and Neutron says so: metadata and tags of servers, descriptions of ports.

Never names: anybody may give those. What does not carry our marks whole is somebody else's, and is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from astara.contract.agent import InstanceView, PortAttachment
from astara.model.resource import ResourceKey

#: Every server of ours carries it: Nova filters by tag, not by metadata.
TAG = "astara"
_PREFIX = "astara:"
_MOST_TAG = 60


@dataclass(frozen=True, slots=True)
class Mark:
    """What a server's metadata says: whose it is, the id its agent's certificate is for, and what was asked for."""

    instance: str
    key: ResourceKey
    slot: str
    host: str
    image: str | None = None

    def metadata(self) -> dict[str, str]:
        """Return the server's metadata; values of at most 255 characters."""
        said = {"instance": self.instance, "key": str(self.key), "slot": self.slot, "host": self.host}
        if self.image is not None:
            said["image"] = self.image
        return {f"{_PREFIX}{name}": value for name, value in said.items()}

    def labels(self) -> dict[str, str]:
        """Return what the agent is told of it beside key and slot."""
        return {f"{_PREFIX}host": self.host}


def mark_told(view: InstanceView, own: Mark) -> Mark | None:
    """Return whose instance its agent says it is; None when it was not told where. `own` is what its server says."""
    host = view.labels.get(f"{_PREFIX}host")
    if host is None:
        return None
    return Mark(view.id, ResourceKey(view.key.driver, view.key.id), view.slot, host, own.image)


def mark_in(metadata: Mapping[str, str]) -> Mark | None:
    """Return the mark a server carries; None for a server that is not ours."""
    said = {name.removeprefix(_PREFIX): value for name, value in metadata.items() if name.startswith(_PREFIX)}
    try:
        key = ResourceKey.parse(said["key"])
        return Mark(said["instance"], key, said["slot"], said["host"], said.get("image"))
    except (KeyError, ValueError):
        return None


def tags(key: ResourceKey) -> list[str]:
    return [TAG, key_tag(key)]


def key_tag(key: ResourceKey) -> str:
    """Return the tag of one resource's servers. Tags hold neither "/" nor ","; and at most 60 characters."""
    return f"{_PREFIX}{key.driver}:{key.id}"[:_MOST_TAG]


class NicMark(msgspec.Struct, frozen=True, array_like=True):
    """What a port of ours says in its description (at most 255 characters): which instance's, and what it carries.

    All but `instance` are a PortAttachment's; a port without them is the instance's management port.
    """

    instance: str
    port_id: str | None = None
    mac: str = ""
    network_id: str = ""
    mtu: int = 1500
    attach: str = ""
    network_type: str | None = None
    physical_network: str | None = None
    segmentation_id: int | None = None

    def description(self) -> str:
        return _PREFIX + msgspec.json.encode(self).decode()

    def carried(self) -> PortAttachment | None:
        """Return the port it stands for; None for the management port."""
        if self.port_id is None:
            return None
        return PortAttachment(
            port_id=self.port_id,
            mac=self.mac,
            network_id=self.network_id,
            mtu=self.mtu,
            attach=self.attach,
            network_type=self.network_type,
            physical_network=self.physical_network,
            segmentation_id=self.segmentation_id,
        )


def nic_mark(instance: str, port: PortAttachment) -> NicMark:
    return NicMark(
        instance,
        port.port_id,
        port.mac,
        port.network_id,
        port.mtu,
        port.attach,
        port.network_type,
        port.physical_network,
        port.segmentation_id,
    )


def nic_mark_in(description: str) -> NicMark | None:
    """Return the mark a port carries; None for a port that is not ours."""
    if not description.startswith(_PREFIX):
        return None
    try:
        return msgspec.json.decode(description.removeprefix(_PREFIX), type=NicMark)
    except msgspec.MsgspecError:
        return None
