"""Who may ask the metadata service of one instance, and as whom they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

#: The subsystem's.
NAME = "metadata"
#: Where guests ask; fixed by Nova and cloud-init.
METADATA_V4 = IPv4Address("169.254.169.254")
METADATA_V6 = IPv6Address("fe80::a9fe:a9fe")
METADATA_PORT = 80


@dataclass(frozen=True, slots=True)
class Identity:
    """One server's port: the only source of the identity that is signed towards Nova. `mac` is lower case."""

    mac: str
    addresses: tuple[IPv4Address | IPv6Address, ...]
    instance_id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class MetadataConfig:
    """The metadata service on one link, found by `mac`. Listens on METADATA_V4 and on METADATA_V6%link.

    The addresses themselves are the links subsystem's affair.
    """

    mac: str
    identities: tuple[Identity, ...] = ()
