"""What a network instance lets in: its services, and nothing through. Pure and the same for every network."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from astara.appliance.subsystems.nftables.config import Element, LinkOf, Ruleset

# Closed both ways unless the link is in `served`, which is empty while the network is administratively down.
# DNS is for the network's own subnets and for private addresses behind its routers: on a network that is reachable
# from everywhere it would lend itself to amplification by forged questions.
# Ports one by one: the kernel keeps a set of them as a bitmap of 32 KiB.
# ICMPv6: echo, neighbour discovery and multicast listener discovery (RFC 4890 4.4.1).
STRUCTURE = """
  set served { type ifname; }
  set near_v4 { type ipv4_addr; flags interval; }
  set near_v6 { type ipv6_addr; flags interval; }
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    iifname != @served drop
    ct state vmap { established : accept, related : accept, invalid : drop }
    udp dport 67 accept
    udp dport 547 accept
    udp dport 53 jump asked
    tcp dport 53 jump asked
    ip daddr 169.254.169.254 tcp dport 80 accept
    ip6 daddr fe80::a9fe:a9fe tcp dport 80 accept
    icmp type echo-request accept
    icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept
    icmpv6 type { mld-listener-query, mld-listener-report, mld2-listener-report } accept
  }
  chain asked {
    ip saddr @near_v4 accept
    ip6 saddr @near_v6 accept
    ip saddr 10.0.0.0/8 accept
    ip saddr 172.16.0.0/12 accept
    ip saddr 192.168.0.0/16 accept
    ip saddr 100.64.0.0/10 accept
    ip6 saddr fc00::/7 accept
    ip6 saddr fe80::/10 accept
    drop
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
  }
  chain output {
    type filter hook output priority 0; policy drop;
    oifname "lo" accept
    oifname @served accept
  }
"""


def ruleset(mac: str, near: Iterable[IPv4Network | IPv6Network], *, enabled: bool) -> Ruleset:
    """Return the filter of one network instance whose link has `mac`; `near` are the network's subnets."""
    if not enabled:
        return Ruleset(STRUCTURE, {"served": frozenset(), "near_v4": frozenset(), "near_v6": frozenset()})
    link, subnets = LinkOf(mac), list(near)
    v4 = collapse_addresses(subnet for subnet in subnets if isinstance(subnet, IPv4Network))
    v6 = collapse_addresses(subnet for subnet in subnets if isinstance(subnet, IPv6Network))
    return Ruleset(
        STRUCTURE,
        {
            "served": frozenset({Element((link,))}),
            "near_v4": frozenset(Element((subnet,)) for subnet in v4),
            "near_v6": frozenset(Element((subnet,)) for subnet in v6),
        },
    )
