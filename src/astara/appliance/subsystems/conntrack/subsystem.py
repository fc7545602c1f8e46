"""The conntrack subsystem: what was translated by a binding that is gone is ended.

The table belongs to the tenants' traffic, not to us, so there is nothing to keep equal; what read-back looks for is
connections that no binding of today could have made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems.conntrack.config import (
    Binding,
    ConntrackConfig,
    FloatingBinding,
    ForwardBinding,
)
from astara.appliance.system import ctnetlink, netlink, netns
from astara.appliance.system.ctnetlink import Connection
from astara.appliance.system.netlink import Netlink
from astara.contract.agent import Deviation


class ConntrackSubsystem:
    """Rendered form: the config itself."""

    name = "conntrack"

    def render(self, place: Place, config: ConntrackConfig) -> ConntrackConfig:
        return config

    def check(self, place: Place, rendered: ConntrackConfig) -> None:
        """Nothing can be refused."""

    def apply(self, place: Place, rendered: ConntrackConfig, previous: ConntrackConfig | None) -> bool:
        """End what came by bindings of `previous` that are gone; nftables has stopped making new ones before."""
        gone = previous.bindings - rendered.bindings if previous is not None else frozenset()
        if not gone:
            return False
        try:
            with netns.entered(place.netns), Netlink(netlink.NETFILTER) as kernel:
                return ctnetlink.end(kernel, _made_by(kernel, gone)) > 0
        except OSError as error:
            raise SubsystemError(self.name, "apply", error.strerror or str(error)) from error

    def read_back(self, place: Place, rendered: ConntrackConfig) -> Sequence[Deviation]:
        return []

    def remove(self, place: Place) -> None:
        """The connections go with the namespace; an appliance of its own keeps its table."""


def _made_by(kernel: Netlink, gone: Iterable[Binding]) -> list[Connection]:
    found: dict[bytes, Connection] = {}
    for binding in gone:
        for connection in _connections(kernel, binding):
            found[connection.key] = connection
    return list(found.values())


def _connections(kernel: Netlink, binding: Binding) -> list[Connection]:
    if isinstance(binding, FloatingBinding):
        inbound = ctnetlink.towards(kernel, binding.floating)
        outbound = ctnetlink.answered_at(kernel, binding.floating)
        return [connection for connection in inbound if connection.reply.source == binding.fixed] + [
            connection for connection in outbound if connection.original.source == binding.fixed
        ]
    if isinstance(binding, ForwardBinding):
        return [
            connection for connection in ctnetlink.towards(kernel, binding.floating) if _came_by(connection, binding)
        ]
    translated = ctnetlink.answered_at(kernel, binding.address)
    return [connection for connection in translated if connection.original.source != binding.address]


def _came_by(connection: Connection, binding: ForwardBinding) -> bool:
    return (
        connection.original.protocol == binding.protocol
        and binding.first <= connection.original.destination_port <= binding.last
        and connection.reply.source == binding.internal
    )
