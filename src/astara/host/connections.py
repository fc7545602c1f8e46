"""The connections that cross an instance: told to the one that takes its place, wherever each of them tracks."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import structlog

from astara.appliance.api import refusals
from astara.appliance.api.refusals import Refusal
from astara.appliance.boundaries import Place
from astara.appliance.system import ctnetlink, netns
from astara.appliance.system.ctnetlink import Direction, Tcp, Tracked
from astara.appliance.system.netlink import NETFILTER, Netlink, NetlinkError
from astara.contract.agent import Connection, TcpTracking, Way
from astara.host.bodies.boundary import Tracking

_log = structlog.get_logger(__name__)


class InNamespace:
    """Connections are tracked by this kernel, in the place's namespace."""

    def tracked(self, place: Place) -> Sequence[Connection]:
        try:
            with netns.entered(place.netns), Netlink(NETFILTER) as kernel:
                return [_told(one) for one in ctnetlink.tracked(kernel)]
        except (NetlinkError, netns.NetnsGone) as error:
            raise refusals.apply_failed(f"connections cannot be listed: {error}", "see the agent's log") from None

    def restore(self, place: Place, connections: Sequence[Connection]) -> int:
        try:
            wanted = [_meant(one) for one in connections]
        except ValueError as error:
            raise refusals.invalid("$.connections", str(error), "send addresses") from None
        try:
            with netns.entered(place.netns), Netlink(NETFILTER) as kernel:
                return ctnetlink.restore(kernel, wanted)
        except (NetlinkError, netns.NetnsGone) as error:
            raise refusals.apply_failed(f"connections cannot be made known: {error}", "see the agent's log") from None


class HandOver:
    """From one instance to another, as often as it is asked: what was told already is not told again."""

    def __init__(self, source: tuple[Tracking, Place], target: tuple[Tracking, Place]) -> None:
        self._from, self._source = source
        self._to, self._target = target
        self._told: set[tuple[int, Way, int]] = set()
        self._log = _log.bind(source=self._source.instance_id, target=self._target.instance_id)

    def __call__(self) -> None:
        """What cannot be handed over is logged: connections that are not translated go on without it."""
        try:
            found = [one for one in self._from.tracked(self._source) if _which(one) not in self._told]
            made = self._to.restore(self._target, found) if found else 0
        except Refusal as error:
            self._log.warning("connections.not_handed_over", reason=str(error))
            return
        self._told.update(_which(one) for one in found)
        self._log.info("connections.handed_over", found=len(found), made=made)


def _which(one: Connection) -> tuple[int, Way, int]:
    return one.protocol, one.original, one.zone


def _told(one: Tracked) -> Connection:
    return Connection(
        protocol=one.original.protocol,
        original=_way(one.original),
        reply=_way(one.reply),
        status=one.status,
        timeout_s=one.timeout_s,
        mark=one.mark,
        zone=one.zone,
        labels=one.labels,
        tcp=None if one.tcp is None else _tcp_told(one.tcp),
    )


def _tcp_told(one: Tcp) -> TcpTracking:
    return TcpTracking(
        state=one.state,
        scale_original=one.scale_original,
        scale_reply=one.scale_reply,
        flags_original=one.flags_original,
        flags_reply=one.flags_reply,
    )


def _meant(one: Connection) -> Tracked:
    """Raises ValueError."""
    return Tracked(
        original=_direction(one.original, one.protocol),
        reply=_direction(one.reply, one.protocol),
        status=_within(one.status, 32),
        timeout_s=_within(one.timeout_s, 31),
        mark=_within(one.mark, 32),
        zone=_within(one.zone, 16),
        labels=one.labels[:_LABEL_BYTES],
        tcp=None if one.tcp is None else _tcp_meant(one.tcp),
    )


_LABEL_BYTES = 16


def _tcp_meant(one: TcpTracking) -> Tcp:
    numbers = (one.state, one.scale_original, one.scale_reply, one.flags_original, one.flags_reply)
    return Tcp(*(_within(number, 8) for number in numbers))


def _way(one: Direction) -> Way:
    return Way(
        source=str(one.source),
        destination=str(one.destination),
        source_port=one.source_port,
        destination_port=one.destination_port,
    )


def _direction(way: Way, protocol: int) -> Direction:
    source, destination = ip_address(way.source), ip_address(way.destination)
    if source.version != destination.version:
        raise ValueError("a connection of two IP versions")
    ports = _within(way.source_port, 16), _within(way.destination_port, 16)
    return Direction(source, destination, _within(protocol, 8), *ports)


def _within(number: int, bits: int) -> int:
    if not 0 <= number < 1 << bits:
        raise ValueError(f"{number} is not a number of {bits} bits")
    return number
