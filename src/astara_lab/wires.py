"""A wire of its own from each orchestrator to each of what it speaks to, so that any of them can be cut or slow.

Inside the pod all of them stand on the same address. What tells their packets apart is the port: orchestrator N asks
for Neutron at port 20000 + 100·N + 1, and a rule in the pod sends that to Neutron's own port. A wire that is cut
drops every packet in both directions, of connections that are there already too, and says nothing to either end.
Needs nftables' redirect and dnat in the output hook (Linux 4.18 for both families' `inet` tables).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable

from astara_lab.places import (
    LOOPBACK,
    MARIADB_PORT,
    NEUTRON_PORT,
    NODE_PORT,
    RABBIT_PORT,
    SECOND_NODE_ADDRESS,
    Seat,
)

TABLE = "astara_lab_wires"
#: What stands at the far end, and the port it really has.
ENDS = {
    "neutron": NEUTRON_PORT,
    "mariadb": MARIADB_PORT,
    "rabbit": RABBIT_PORT,
    "node": NODE_PORT,
    "node-2": NODE_PORT,
}
#: VXLAN's port (RFC 7348 4.1).
_VXLAN_PORT = 4789


def port(seat: Seat, end: str) -> int:
    """Return where orchestrator `seat` finds `end`, a key of ENDS."""
    return 20000 + 100 * seat.number + 1 + list(ENDS).index(end)


def address(end: str) -> str:
    return SECOND_NODE_ADDRESS if end == "node-2" else LOOPBACK


def lay(seats: Iterable[Seat]) -> None:
    """Make every wire, anew if they are there."""
    seats = tuple(seats)
    here = ", ".join(f"{port(seat, end)} : {ENDS[end]}" for seat in seats for end in ENDS if end != "node-2")
    there = ", ".join(str(port(seat, "node-2")) for seat in seats)
    _nft(
        f"""
table inet {TABLE} {{ }}
delete table inet {TABLE}
table inet {TABLE} {{
  map ends {{ type inet_service : inet_service; elements = {{ {here} }} }}
  set cut {{ type inet_service; }}
  chain lead {{
    type nat hook output priority -100;
    ip daddr {SECOND_NODE_ADDRESS} tcp dport {{ {there} }} dnat ip to {SECOND_NODE_ADDRESS}:{NODE_PORT}
    ip daddr {LOOPBACK} tcp dport 20000-20999 redirect to :tcp dport map @ends
  }}
  chain out {{
    type filter hook output priority 10;
    meta l4proto tcp ct original proto-dst @cut drop
  }}
  chain in {{
    type filter hook input priority 10;
    meta l4proto tcp ct original proto-dst @cut drop
  }}
  chain tunnel_out {{ type filter hook output priority 20; }}
  chain tunnel_in {{ type filter hook input priority 20; }}
}}
"""
    )


def cut(seat: Seat, *ends: str) -> None:
    """Drop every packet between an orchestrator and these ends from now on."""
    ports = ", ".join(str(port(seat, end)) for end in ends)
    _nft(f"add element inet {TABLE} cut {{ {ports} }}")


def mend() -> None:
    """Let everything through again."""
    _nft("".join(f"flush {what} inet {TABLE} {name}\n" for what, name in _CUTS))


_CUTS = (("set", "cut"), ("chain", "tunnel_out"), ("chain", "tunnel_in"))


def lead(seat: Seat, end: str, to: int) -> None:
    """Have new connections to `end` arrive at another port of the pod."""
    own = port(seat, end)
    _nft(f"delete element inet {TABLE} ends {{ {own} }}\nadd element inet {TABLE} ends {{ {own} : {to} }}")


def cut_tunnel(vni: int) -> None:
    """Drop what one network sends between the nodes: those packets of VXLAN that carry its identifier (RFC 7348 5)."""
    rules = (f"add rule inet {TABLE} {chain} udp dport {_VXLAN_PORT} @th,96,24 {vni} drop\n" for chain in _TUNNELS)
    _nft("".join(rules))


_TUNNELS = ("tunnel_out", "tunnel_in")


def _nft(script: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=script, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LookupError(f"nft: {done.stderr.strip()}")
