"""What a network instance lets in: its services, and nothing through. Pure and the same for every network."""

from __future__ import annotations

from astara.appliance.subsystems.nftables.config import Element, LinkOf, Ruleset

_SERVED = "served"

# Closed both ways unless the link is in `served`, which is empty while the network is administratively down.
# ICMPv6: echo, neighbour discovery and multicast listener discovery (RFC 4890 4.4.1).
STRUCTURE = """
  set served { type ifname; }
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    iifname != @served drop
    ct state vmap { established : accept, related : accept, invalid : drop }
    udp dport { 53, 67, 547 } accept
    tcp dport 53 accept
    ip daddr 169.254.169.254 tcp dport 80 accept
    ip6 daddr fe80::a9fe:a9fe tcp dport 80 accept
    icmp type echo-request accept
    icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept
    icmpv6 type { mld-listener-query, mld-listener-report, mld2-listener-report } accept
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


def ruleset(mac: str, *, enabled: bool) -> Ruleset:
    """Return the filter of one network instance whose link has `mac`."""
    served = frozenset({Element((LinkOf(mac),))}) if enabled else frozenset()
    return Ruleset(STRUCTURE, {_SERVED: served})
