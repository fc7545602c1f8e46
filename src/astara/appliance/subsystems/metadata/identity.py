"""Who is asking: from where a connection comes, never from what it says.

The source address names the port, because addresses are unique in a network and the layer below drops what a port
sends under an address that is not its own (port security). A link-local IPv6 source has no entry in Neutron; there
the port is the one whose MAC address the kernel's neighbour table has for the source: the kernel learned it to be
able to answer, and it also holds for hosts whose link-local address is not made from their MAC address (RFC 7217).
If that address is made from *another* known port's MAC address (RFC 4291 appendix A), the caller is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType

from astara.appliance.subsystems.metadata.config import Identity

_LINK_LOCAL = 0xFE80 << 112


@dataclass(frozen=True, slots=True)
class Directory:
    """The identities of one network, by address and by MAC address."""

    by_address: Mapping[IPv4Address | IPv6Address, Identity]
    by_mac: Mapping[str, Identity]
    by_link_local: Mapping[IPv6Address, Identity]

    @classmethod
    def of(cls, identities: tuple[Identity, ...]) -> Directory:
        return cls(
            MappingProxyType({address: who for who in identities for address in who.addresses}),
            MappingProxyType({who.mac: who for who in identities}),
            MappingProxyType({link_local(who.mac): who for who in identities}),
        )

    def identify(self, source: IPv4Address | IPv6Address, source_mac: str | None) -> Identity | None:
        """Return who `source` is, None for a stranger. `source_mac` counts for a link-local source only."""
        if not source.is_link_local:
            return self.by_address.get(source)
        found = self.by_mac.get(source_mac or "")
        claimed = self.by_link_local.get(source) if isinstance(source, IPv6Address) else None
        if claimed is not None and claimed != found:
            return None
        return found


def link_local(mac: str) -> IPv6Address:
    """Return the link-local address made from a MAC address (modified EUI-64, RFC 4291 appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes([octets[0] ^ 0x02]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return IPv6Address(_LINK_LOCAL | int.from_bytes(interface, "big"))
