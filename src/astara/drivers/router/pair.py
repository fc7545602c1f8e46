"""One half of a highly available router: gate, election, connections (docs/design/ha.md). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astara.appliance.subsystems.conntrackd.config import ConntrackdConfig
from astara.appliance.subsystems.gate.config import GateConfig
from astara.appliance.subsystems.keepalived.config import KeepalivedConfig, Marker, Nexthop
from astara.appliance.subsystems.links.config import LinkConfig
from astara.appliance.subsystems.sysctl.config import SysctlConfig
from astara.contract.codec import ContractError
from astara.drivers.router.parsed import Half, Router

#: Of the network of a half's markers; the last ones are for the halves themselves.
_MARKERS = 250
#: The kernel counts in ticks and reads back what it counted: a whole number of them at 100, 250, 300 and 1000 Hz.
_ARP_RETRY_MS = 20


def pair_configs(half: Half, router: Router) -> Mapping[str, Any]:
    """Return subsystem name -> config. Raises ContractError naming the field."""
    sides = [*router.internal, *(gateway.side for gateway in router.gateways)]
    if len(sides) > _MARKERS:
        raise ContractError("$.internal", f"more than {_MARKERS} links on a pair", "use another router")
    macs = tuple(sorted(side.mac for side in sides))
    gate = GateConfig(half.mac, macs, half.advert_ms, yields=half.address.ip < half.peer)
    markers = tuple(Marker(mac, gate.announced.network_address + 1 + index) for index, mac in enumerate(macs))
    nexthops = tuple(Nexthop(gateway.side.mac, hop) for gateway in router.gateways for hop in gateway.nexthops)
    return {
        "gate": gate,
        "conntrackd": ConntrackdConfig(half.mac, half.address.ip, half.peer),
        "keepalived": KeepalivedConfig(half.mac, half.address.ip, half.peer, half.advert_ms, markers, nexthops),
    }


def heart_link(half: Half) -> LinkConfig:
    """Return the link the halves share: IPv4 only, whatever the tenants speak.

    The other half is not asked for its MAC address: while nobody answers, the kernel would send no advertisement, and
    the gate opens with those that are sent.
    """
    known = ((half.peer, half.peer_mac),) if half.peer_mac is not None else ()
    return LinkConfig(half.mac, half.mtu, (half.address,), ipv6=False, arp_retry_ms=_ARP_RETRY_MS, neighbours=known)


def strict(settings: SysctlConfig) -> SysctlConfig:
    """Take no packet in the middle of a connection for a new one: it would be translated to another port.

    But ask of none to fit what was seen last: the other half may have forwarded meanwhile without telling.
    """
    own = ("netfilter/nf_conntrack_tcp_loose", "0"), ("netfilter/nf_conntrack_tcp_be_liberal", "1")
    return SysctlConfig((*settings.settings, *own))
