"""Metadata for guests of a machine: the node takes their questions aside before they reach the machine.

Everything that comes in at a port's veth is redirected to the machine's tap. What is said to the metadata service is
not: it goes to the stack of the instance's namespace on the node, where the node's proxy listens as for any instance.
So the machine neither answers nor sees it; whose question it is, the node reads off the frame as it came from the
network. The machine goes on answering who has the address (ARP, neighbour discovery): its MAC address is the veth's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from astara.appliance.boundaries import Place, Subsystem, SubsystemError
from astara.appliance.subsystems.metadata.config import METADATA_V4, METADATA_V6, MetadataConfig
from astara.appliance.system import fib, netns, rtnetlink, sysctl, tc
from astara.appliance.system.netlink import Netlink
from astara.appliance.system.tc import Pass, Word
from astara.contract.agent import Deviation

_ALL_BITS = 0xFFFFFFFF
_V4, _ARP, _V6 = 0x0800, 0x0806, 0x86DD
_TCP, _ICMPV6 = 6, 58
_NEIGHBOUR_ADVERTISEMENT = 136
_ARP_REPLY = 2
#: Offsets in bytes: RFC 791 (protocol at 9, destination at 16), RFC 8200 (next header at 6, destination at 24, 40 bytes
#: in all), RFC 826 for Ethernet and IPv4 (operation at 6, target's address at 24).
_TO_V4 = Word(16, _ALL_BITS, int(METADATA_V4))
_TO_V6 = tuple(
    Word(24 + at, _ALL_BITS, int.from_bytes(METADATA_V6.packed[at : at + 4], "big")) for at in range(0, 16, 4)
)
_PASSES = (
    Pass(1, _V4, (Word(8, 0x00FF0000, _TCP << 16), _TO_V4)),
    Pass(2, _V6, (Word(4, 0x0000FF00, _TCP << 8), *_TO_V6)),
    # Who a guest is on the link: answers to what the node itself asks on behalf of the proxy's.
    Pass(3, _ARP, (Word(4, 0x0000FFFF, _ARP_REPLY), Word(24, _ALL_BITS, int(METADATA_V4)))),
    Pass(4, _V6, (Word(4, 0x0000FF00, _ICMPV6 << 8), Word(40, 0xFF000000, _NEIGHBOUR_ADVERTISEMENT << 24), *_TO_V6)),
)
_ADDRESSES = (ipaddress.IPv4Interface(METADATA_V4), ipaddress.IPv6Interface((METADATA_V6, 64)))
_EVERYBODY = ipaddress.IPv4Network("0.0.0.0/0")
_METRIC = 1
#: The node must not be somebody on the tenants' link: no address but the service's, nothing learnt, nothing asked.
_SETTINGS = (
    ("ipv4/conf/{}/arp_ignore", "8"),
    ("ipv6/conf/{}/addr_gen_mode", "1"),
    ("ipv6/conf/{}/accept_ra", "0"),
    ("ipv6/conf/{}/dad_transmits", "0"),
    ("ipv6/conf/{}/router_solicitations", "0"),
    ("ipv6/conf/{}/disable_ipv6", "0"),
    ("ipv4/ip_forward", "0"),  # a new namespace has what the node has
    ("ipv6/conf/all/forwarding", "0"),
)


class TakenAside:
    """The node's metadata subsystem, for places whose links lead to a machine."""

    def __init__(self, served: Subsystem) -> None:
        self.name = served.name
        self._served = served

    def render(self, place: Place, config: MetadataConfig) -> MetadataConfig:
        """Return `config`."""
        return config

    def check(self, place: Place, rendered: MetadataConfig) -> None:
        self._served.check(place, rendered)

    def apply(self, place: Place, rendered: MetadataConfig, previous: MetadataConfig | None) -> bool:
        """Raises SubsystemError(phase="apply")."""
        try:
            opened = _open(place, rendered.mac)
        except (OSError, LookupError) as error:
            raise SubsystemError(self.name, "apply", str(error), remedy="push again") from error
        return self._served.apply(place, rendered, previous) or opened

    def read_back(self, place: Place, rendered: MetadataConfig) -> Sequence[Deviation]:
        found = list(self._served.read_back(place, rendered))
        if not _is_open(place, rendered.mac):
            found.append(Deviation(subsystem=self.name, detail="guests' questions are not taken aside"))
        return found

    def remove(self, place: Place) -> None:
        """The link goes with the instance; until then what comes in finds nobody listening."""
        self._served.remove(place)


def _open(place: Place, mac: str) -> bool:
    """Return whether anything was missing. Raises OSError, LookupError."""
    with netns.entered(place.netns), Netlink() as kernel:
        link = _link(kernel, mac)
        if _missing(kernel, link.index):
            with sysctl.Settings() as settings:
                for setting, value in _SETTINGS:
                    settings.write(setting.format(link.name), value)
            kernel.do([rtnetlink.add_address(link.index, address) for address in _ADDRESSES])
            kernel.attempt([fib.add_route(_way_back(link.index))])
            kernel.attempt([tc.delete_ingress_filters(link.index, one) for one in _PASSES])
            kernel.do([tc.add_pass(link.index, one) for one in _PASSES])
            return True
    return False


def _is_open(place: Place, mac: str) -> bool:
    try:
        with netns.entered(place.netns), Netlink() as kernel:
            return not _missing(kernel, _link(kernel, mac).index)
    except (OSError, LookupError):
        return False


def _missing(kernel: Netlink, index: int) -> bool:
    there = {address.interface for address in rtnetlink.addresses(kernel) if address.index == index}
    if not there.issuperset(_ADDRESSES) or tc.passes(kernel, index) != frozenset(_PASSES):
        return True
    return _way_back(index) not in fib.routes(kernel)


def _way_back(index: int) -> fib.Route:
    """Whoever may ask is on the link."""
    return fib.Route(_EVERYBODY, (fib.Hop(None, index),), _METRIC)


def _link(kernel: Netlink, mac: str) -> rtnetlink.Link:
    found = rtnetlink.by_mac(rtnetlink.links(kernel)).get(mac)
    if found is None:
        raise LookupError("no link has the MAC address metadata is served on")
    return found
