"""A router's packet filter and address translation: the structure of table inet astara. Pure.

The text is the same for every router; what differs between routers is in the sets and maps:

    internal, external   links this router forwards between (both empty while it is administratively down)
    scope_v4, scope_v6   link -> the number of its address scope, 0 for none
    within_v4, within_v6 link . number of its address scope
    translating          external links where IPv4 of other address scopes leaves translated (SNAT on)
    plain                external link . number of its IPv4 address scope, when it has one: not translated there
    floating_host        external link . fixed address that has a floating one there
    inside_v4, inside_v6     prefix that lies inside: no packet comes in by an external link from such a source
    reachable_v6         IPv6 prefix that may be reached from every external link
    reachable_v6_from    external link . IPv6 prefix that may be reached from there, where links differ in it
    arriving             external link . address that is translated when it comes in there
    floating_to_fixed, forward_port, forward_span, forward_icmp      destination translation
    fixed_to_floating    external link . fixed address -> source for what leaves there
    hairpin_source       fixed address -> source when it visits a floating address from inside
    gateway_source       link -> source for everything else (internal links: for hairpins)
    halves               link . address of the other half of a pair
    link_mark, fixed_mark    which gateway a connection belongs to, when there are several
"""

from __future__ import annotations

from functools import lru_cache

from astara.appliance.subsystems.conntrack.config import CLOSED_MARK
from astara.appliance.subsystems.conntrackd.config import PORT as SYNC_PORT

_SETS = """
  set internal { type ifname; }
  set external { type ifname; }
  map scope_v4 { type ifname : mark; }
  map scope_v6 { type ifname : mark; }
  set within_v4 { type ifname . mark; }
  set within_v6 { type ifname . mark; }
  set translating { type ifname; }
  set plain { type ifname . mark; }
  set floating_host { type ifname . ipv4_addr; }
  set inside_v4 { type ipv4_addr; flags interval; }
  set inside_v6 { type ipv6_addr; flags interval; }
  set reachable_v6 { type ipv6_addr; flags interval; }
  set reachable_v6_from { type ifname . ipv6_addr; flags interval; }
  set arriving { type ifname . ipv4_addr; }
  map floating_to_fixed { type ipv4_addr : ipv4_addr; }
  map forward_port { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map forward_span { type ipv4_addr . inet_proto . inet_service : ipv4_addr; flags interval; }
  map forward_icmp { type ipv4_addr : ipv4_addr; }
  map fixed_to_floating { type ifname . ipv4_addr : ipv4_addr; }
  map hairpin_source { type ipv4_addr : ipv4_addr; }
  map gateway_source { type ifname : ipv4_addr; }
  set halves { type ifname . ipv4_addr; }
  map link_mark { type ifname : mark; }
  map fixed_mark { type ipv4_addr : mark; }
"""

# A source that belongs inside cannot come from outside.
# Questions for metadata are turned round, and answered past us: tracked, their second packet would be invalid.
_EARLY = """
  chain early {
    type filter hook prerouting priority -300; policy accept;
    iifname @external ip saddr @inside_v4 drop
    iifname @external ip6 saddr @inside_v6 drop
    ip daddr 169.254.169.254 tcp dport 80 iifname @internal notrack
  }
"""

# After connection tracking (-200), before routing: replies leave through the gateway their connection came in by,
# and a host with a floating address leaves where that address is.
_MARK = """
  chain steer {
    type filter hook prerouting priority -150; policy accept;
    ct state new iifname @external ct mark set iifname map @link_mark
    ct state new iifname @internal ct mark set ip saddr map @fixed_mark
    iifname @internal ct mark != 0 meta mark set ct mark
{helpers}
  }
"""

_TRANSLATE = """
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    iifname @internal jump destination
    iifname . ip daddr @arriving jump destination
  }
  chain destination {
    dnat ip to ip daddr map @floating_to_fixed
    meta l4proto { tcp, udp, sctp, dccp } dnat ip to ip daddr . meta l4proto . th dport map @forward_port
    meta l4proto { tcp, udp, sctp, dccp } dnat ip to ip daddr . meta l4proto . th dport map @forward_span
    icmp type echo-request dnat ip to ip daddr map @forward_icmp
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    iifname != @internal accept
    snat ip to oifname . ip saddr map @fixed_to_floating
    oifname . meta mark @plain accept
    oifname @external snat ip to oifname map @gateway_source fully-random
    oifname @internal ct status dnat jump hairpin
  }
  chain hairpin {
    snat ip to ip saddr map @hairpin_source
    snat ip to oifname map @gateway_source
    masquerade
  }
"""

# Once a packet is routed its mark is free: it says from which address scope it comes.
# What is established was allowed when it began; what is allowed no more is ended by the conntrack subsystem.
# Link-local destinations do not leave (RFC 3927 7): behind the gateway 169.254.169.254 is the metadata service of
# whatever this cloud runs on, and our translated packets would be answered with that machine's credentials.
# Questions for metadata are let through where a route says that the address is on link: those of routing.py say so,
# each for the link a question came in by. What a tenant's extra routes lead to is behind a next hop.
# Neighbour discovery (RFC 4890 4.4.1) and echo; everything else addressed to the router itself is refused silently.
_FILTER = """
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    iifname . ip saddr @halves jump to_half
    ct state vmap { established : accept, related : accept, invalid : drop }
    iifname @internal jump to_router
    iifname @external jump to_router
  }
  chain to_router {
    icmp type echo-request accept
    icmpv6 type { echo-request, nd-neighbor-solicit, nd-neighbor-advert } accept
    icmpv6 type { mld-listener-query, mld-listener-report, mld2-listener-report } accept
    iifname @internal icmpv6 type nd-router-solicit ip6 hoplimit 255 accept
  }
  chain to_half {
    ip protocol 112 accept
    udp dport {sync} accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct mark & {closed} != 0 drop
    meta nfproto ipv4 meta mark set iifname map @scope_v4
    meta nfproto ipv6 meta mark set iifname map @scope_v6
    iifname @internal oifname @internal jump inside
    iifname @internal oifname @external jump inside
    iifname @external oifname @internal jump inward
  }
  chain inside {
    ip daddr 169.254.169.254 tcp dport 80 rt ip nexthop 169.254.169.254 oifname @internal accept
    ip daddr 169.254.169.254 drop
    ct state invalid drop
    oifname @external ip daddr 169.254.0.0/16 drop
    ct state { established, related } accept
    ct status dnat accept
    meta nfproto ipv4 oifname . meta mark @within_v4 accept
    meta nfproto ipv6 oifname . meta mark @within_v6 accept
    meta nfproto ipv4 oifname @translating accept
    oifname . ip saddr @floating_host accept
  }
  chain inward {
    ct state vmap { established : accept, related : accept, invalid : drop }
    ct status dnat accept
    ip6 daddr @reachable_v6 accept
    iifname . ip6 daddr @reachable_v6_from accept
    meta nfproto ipv4 oifname . meta mark @within_v4 accept
  }
"""


@lru_cache(maxsize=64)
def structure(helpers: tuple[tuple[str, str, int], ...] = ()) -> str:
    """Return the body of table inet astara, one text for all routers alike.

    `helpers`: (helper, protocol, port) triples; all from closed sets.

    Raises ValueError for a helper or protocol whose name is not a plain word.
    """
    for helper, protocol, _ in helpers:
        if not (helper.replace("-", "").isalnum() and helper.isascii() and protocol.isalpha()):
            raise ValueError("not a plain word")
    objects = "\n".join(
        f"  {helper_object(helper, protocol)}"
        for helper, protocol in sorted({(helper, protocol) for helper, protocol, _ in helpers})
    )
    rules = "\n".join(
        f'    ct state new {protocol} dport {port:d} ct helper set "{_name(helper, protocol)}"'
        for helper, protocol, port in sorted(helpers)
    )
    return (
        _SETS
        + objects
        + _EARLY
        + _MARK.replace("{helpers}", rules)
        + _TRANSLATE
        + _FILTER.replace("{closed}", hex(CLOSED_MARK)).replace("{sync}", str(SYNC_PORT))
    )


def helper_object(helper: str, protocol: str) -> str:
    """Return the declaration of one conntrack helper; it loads on its own where the kernel has that helper."""
    return f'ct helper {_name(helper, protocol)} {{ type "{helper}" protocol {protocol}; }}'


def _name(helper: str, protocol: str) -> str:
    return f"{helper}-{protocol}"
