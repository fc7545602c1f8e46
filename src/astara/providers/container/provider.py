"""Instances that are containers on nodes with a node agent."""

from __future__ import annotations

from astara.clients.nodes import NodeFleet, NodeInstances


class ContainerProvider(NodeInstances):
    """Implements `model.boundaries.InstanceProvider` over node agents; `host/bodies/container` is its other end."""

    name = "container"
    summary = "containers run by Podman, made by the node agents listed under [nodes]"

    @classmethod
    def on_nodes(cls, fleet: NodeFleet) -> ContainerProvider:
        """Make it with the node agents all providers of this kind share."""
        return cls(fleet)
