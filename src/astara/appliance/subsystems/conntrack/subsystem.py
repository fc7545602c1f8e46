"""The conntrack subsystem: what was translated by a binding that is gone is ended.

The table belongs to the tenants' traffic, not to us, so there is nothing to keep equal; what read-back looks for is
connections that no binding of today could have made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems.conntrack.config import (
    Binding,
    ConntrackConfig,
    FloatingBinding,
    ForwardBinding,
    SourceBinding,
)
from astara.appliance.system import ctnetlink, netlink, netns, sysctl
from astara.appliance.system.ctnetlink import Connection
from astara.appliance.system.netlink import Netlink
from astara.contract.agent import Deviation

_FEW = 20_000
_ICMP = 1


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
                if sysctl.read("netfilter/nf_conntrack_count") == "0":
                    return False
                return ctnetlink.end(kernel, _made_by(kernel, gone)) > 0
        except OSError as error:
            raise SubsystemError(self.name, "apply", error.strerror or str(error)) from error

    def read_back(self, place: Place, rendered: ConntrackConfig) -> Sequence[Deviation]:
        return []

    def remove(self, place: Place) -> None:
        """The connections go with the namespace; an appliance of its own keeps its table."""


def _made_by(kernel: Netlink, gone: frozenset[Binding]) -> list[Connection]:
    """Every dump walks the whole machine's table, 5 to 20 ms: one for all unless this namespace has very many."""
    count = int(sysctl.read("netfilter/nf_conntrack_count") or 0)
    if len(gone) > 1 or count <= _FEW:
        connections = ctnetlink.translated(kernel)
    else:
        ((binding),) = gone
        connections = _connections_at(kernel, binding)
    floating = {binding.floating: binding for binding in gone if isinstance(binding, FloatingBinding)}
    sources = {binding.address for binding in gone if isinstance(binding, SourceBinding)}
    forwards: dict[IPv4Address, list[ForwardBinding]] = defaultdict(list)
    for binding in gone:
        if isinstance(binding, ForwardBinding):
            forwards[binding.floating].append(binding)
    return [
        connection
        for connection in connections
        if _came_by_floating(connection, floating)
        or connection.reply.destination in sources
        or any(_came_by(connection, binding) for binding in forwards[connection.original.destination])
    ]


def _connections_at(kernel: Netlink, binding: Binding) -> list[Connection]:
    """Return connections that may have been made by one binding, filtered by the kernel."""
    if isinstance(binding, SourceBinding):
        return ctnetlink.answered_at(kernel, binding.address)
    found = ctnetlink.towards(kernel, binding.floating)
    if isinstance(binding, FloatingBinding):
        found += ctnetlink.answered_at(kernel, binding.floating)
    return found


def _came_by_floating(connection: Connection, floating: Mapping[IPv4Address, FloatingBinding]) -> bool:
    inbound = floating.get(connection.original.destination)
    outbound = floating.get(connection.reply.destination)
    return (inbound is not None and connection.reply.source == inbound.fixed) or (
        outbound is not None and connection.original.source == outbound.fixed
    )


def _came_by(connection: Connection, binding: ForwardBinding) -> bool:
    return (
        connection.original.protocol == binding.protocol
        and connection.reply.source == binding.internal
        and (binding.protocol == _ICMP or binding.first <= connection.original.destination_port <= binding.last)
    )
