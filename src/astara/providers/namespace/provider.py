"""Instances that are network namespaces on nodes with a node agent."""

from __future__ import annotations

from astara.clients.nodes import NodeFleet, NodeInstances


class NamespaceProvider(NodeInstances):
    """Implements `model.boundaries.InstanceProvider` over node agents; `host/bodies/namespace` is its other end."""

    name = "namespace"
    has_agent = False
    summary = "network namespaces, made by the node agents listed under [nodes]"

    @classmethod
    def on_nodes(cls, fleet: NodeFleet) -> NamespaceProvider:
        """Make it with the node agents all providers of this kind share."""
        return cls(fleet)
