"""The typed wish -> radvd.conf. Pure: links are named later, when their MAC addresses have been looked up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from astara.appliance.subsystems.radvd.config import AdvertisedLink, Prefix, RadvdConfig

_LINK_NAME = re.compile(r"[0-9A-Za-z._-]{1,15}")
_SMALLEST_MTU = 1280  # RFC 8200 section 5: a smaller one must not be announced


@dataclass(frozen=True, slots=True)
class Rendered:
    """What will be written once the links' names are known."""

    links: tuple[AdvertisedLink, ...]

    def text(self, names: Mapping[str, str]) -> str:
        """Return radvd.conf; `names` maps MAC address -> current link name. A link that is not there is left out."""
        present = sorted((names[link.mac], link) for link in self.links if link.mac in names)
        return "".join(f"{line}\n" for name, link in present for line in _interface(name, link))


def render(config: RadvdConfig) -> Rendered | None:
    """Return what radvd shall read; None when there is nothing to advertise."""
    links = tuple(sorted((link for link in config.links if link.prefixes), key=lambda link: link.mac))
    return Rendered(links) if links else None


def _interface(name: str, link: AdvertisedLink) -> Iterator[str]:
    if not _LINK_NAME.fullmatch(name):
        raise ValueError("link: not a link name")
    yield f"interface {name} {{"
    yield "  AdvSendAdvert on;"
    yield f"  MinRtrAdvInterval {link.min_interval_s};"
    yield f"  MaxRtrAdvInterval {link.max_interval_s};"
    if link.mtu >= _SMALLEST_MTU:
        yield f"  AdvLinkMTU {link.mtu};"
    yield f"  AdvManagedFlag {_switch(link.managed)};"
    yield f"  AdvOtherConfigFlag {_switch(link.other)};"
    for prefix in link.prefixes:
        yield from _prefix(prefix)
    if link.dns_servers:
        yield f"  RDNSS {' '.join(str(server) for server in link.dns_servers)} {{ }};"
    yield "};"


def _prefix(prefix: Prefix) -> Iterator[str]:
    yield f"  prefix {prefix.network} {{"
    yield "    AdvOnLink on;"
    yield f"    AdvAutonomous {_switch(prefix.mode.autonomous)};"
    yield f"    AdvValidLifetime {prefix.valid_lifetime_s};"
    yield f"    AdvPreferredLifetime {prefix.preferred_lifetime_s};"
    # Its last words when it ends: hosts stop using the prefix for new connections.
    yield "    DeprecatePrefix on;"
    yield "  };"


def _switch(value: bool) -> str:
    return "on" if value else "off"
