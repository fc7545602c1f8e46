"""The conntrack subsystem: what was translated by a binding that is gone is ended, and so is what is routed no more.

The table belongs to the tenants' traffic, not to us, so there is nothing to keep equal; what read-back looks for is
connections that no binding of today could have made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems.conntrack.config import (
    CLOSED_MARK,
    Binding,
    ConntrackConfig,
    FloatingBinding,
    ForwardBinding,
    Routed,
    SourceBinding,
)
from astara.appliance.system import ctnetlink, netlink, netns, sysctl
from astara.appliance.system.ctnetlink import Connection, IPAddress
from astara.appliance.system.netlink import Netlink
from astara.contract.agent import Deviation

_FEW = 20_000
_ICMP, _TCP = 1, 6


class ConntrackSubsystem:
    """Rendered form: the config itself."""

    name = "conntrack"

    def render(self, place: Place, config: ConntrackConfig) -> ConntrackConfig:
        return config

    def check(self, place: Place, rendered: ConntrackConfig) -> None:
        """Nothing can be refused."""

    def apply(self, place: Place, rendered: ConntrackConfig, previous: ConntrackConfig | None) -> bool:
        """End what `previous` allowed and `rendered` does not; nftables has stopped making new ones before."""
        if previous is None:
            return False
        gone = previous.bindings - rendered.bindings
        narrower = not rendered.routed.covers(previous.routed)
        if not gone and not narrower:
            return False
        try:
            with netns.entered(place.netns), Netlink(netlink.NETFILTER) as kernel:
                if sysctl.read("netfilter/nf_conntrack_count") == "0":
                    return False
                ended = ctnetlink.end(kernel, _made_by(kernel, gone)) if gone else 0
                if narrower:
                    ended += _end_unrouted(kernel, previous.routed, rendered.routed)
                return ended > 0
        except OSError as error:
            raise SubsystemError(self.name, "apply", error.strerror or str(error)) from error

    def read_back(self, place: Place, rendered: ConntrackConfig) -> Sequence[Deviation]:
        return []

    def remove(self, place: Place) -> None:
        """The connections go with the namespace; an appliance of its own keeps its table."""


def _end_unrouted(kernel: Netlink, before: Routed, now: Routed) -> int:
    """End untranslated connections that could be opened before and cannot now.

    TCP whose other end might open it is closed instead: it would, with its next packet. Of other protocols
    that end may speak as it likes; it asks anew.
    """
    ending: list[Connection] = []
    closing: list[Connection] = []
    for connection in ctnetlink.everything(kernel):
        source, destination = connection.original.source, connection.original.destination
        if connection.translated or not before.allows(source, destination) or now.allows(source, destination):
            continue
        answerable = connection.original.protocol == _TCP and now.allows(destination, source)
        (closing if answerable else ending).append(connection)
    return ctnetlink.end(kernel, ending) + ctnetlink.close(kernel, closing, CLOSED_MARK)


def _made_by(kernel: Netlink, gone: frozenset[Binding]) -> list[Connection]:
    """Every dump walks the whole machine's table, 5 to 20 ms: one for all unless this namespace has very many."""
    count = int(sysctl.read("netfilter/nf_conntrack_count") or 0)
    if len(gone) > 1 or count <= _FEW:
        connections = ctnetlink.translated(kernel)
    else:
        ((binding),) = gone
        connections = _connections_at(kernel, binding)
    floating: dict[IPAddress, FloatingBinding] = {
        binding.floating: binding for binding in gone if isinstance(binding, FloatingBinding)
    }
    sources = {binding.address for binding in gone if isinstance(binding, SourceBinding)}
    forwards: dict[IPAddress, list[ForwardBinding]] = defaultdict(list)
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


def _came_by_floating(connection: Connection, floating: Mapping[IPAddress, FloatingBinding]) -> bool:
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
