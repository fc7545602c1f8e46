"""Instances that are virtual machines on nodes with a node agent, without Nova."""

from __future__ import annotations

from astara.clients.nodes import NodeFleet, NodeInstances


class MicrovmProvider(NodeInstances):
    """Implements `model.boundaries.InstanceProvider` over node agents; `host/bodies/microvm` is its other end."""

    name = "microvm"
    summary = "virtual machines run by QEMU, made by the node agents listed under [nodes]"

    @classmethod
    def on_nodes(cls, fleet: NodeFleet) -> MicrovmProvider:
        """Make it with the node agents all providers of this kind share."""
        return cls(fleet)
