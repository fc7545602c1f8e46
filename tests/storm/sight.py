"""What the kernel has: namespaces, links, addresses, routes, rules, processes. Read with iproute2 and nft, by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import msgspec

NETNS = Path("/run/netns")
_INSTANCE = re.compile(r"astara-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_DAEMONS = ("dnsmasq", "radvd", "keepalived", "conntrackd")
_PROTOCOL = "91"
_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class SeenLink:
    name: str
    mac: str
    mtu: int
    up: bool
    addresses: frozenset[str]
    unusable: frozenset[str] = frozenset()  # addresses that failed duplicate address detection, or are still in it


@dataclass(frozen=True, slots=True)
class SeenNamespace:
    """`routes`: (destination, next hop); `maps` and `daemons` as found."""

    name: str
    links: tuple[SeenLink, ...]
    routes: frozenset[tuple[str, str]] = frozenset()
    floating: frozenset[tuple[str, str]] = frozenset()
    forwards: frozenset[tuple[str, str, int, str, int]] = frozenset()
    forwarding: bool = False  # the ruleset lets anything through at all
    daemons: tuple[str, ...] = ()
    inode: int = 0  # what tells it from a later one of its name
    host: str = ""

    @property
    def macs(self) -> frozenset[str]:
        return frozenset(link.mac for link in self.links)


@dataclass(frozen=True, slots=True)
class Sight:
    """`plugs`: host end -> its bridge or switch; `stray_daemons`: those in no namespace of an instance."""

    namespaces: tuple[SeenNamespace, ...] = ()
    plugs: Mapping[str, str] = field(default_factory=dict)
    bridges: frozenset[str] = frozenset()
    stray_daemons: tuple[str, ...] = ()


def instances() -> tuple[str, ...]:
    """Return the names of the namespaces that look like an instance's."""
    return tuple(sorted(entry.name for entry in NETNS.iterdir() if _INSTANCE.fullmatch(entry.name)))


def look(ovsdb: Path | None = None, host: str = "") -> Sight:
    """Read everything now, on the node called `host`. A namespace that vanishes meanwhile is left out."""
    names = instances()
    inodes = {name: (NETNS / name).stat().st_ino for name in names if (NETNS / name).exists()}
    daemons = _daemons()
    found = [
        _namespace(name, host, inodes[name], [d for d, _, inode in daemons if inode == inodes[name]]) for name in inodes
    ]
    homes = set(inodes.values())
    links = json.loads(_run("ip", "-json", "link") or "[]")
    plugs = {link["ifname"]: link.get("master", "") for link in links if re.match(r"av(?![lx])", link["ifname"])}
    return Sight(
        namespaces=tuple(namespace for namespace in found if namespace is not None),
        plugs=plugs | _switched(ovsdb),
        bridges=frozenset(link["ifname"] for link in links if link["ifname"].startswith("abr")),
        stray_daemons=tuple(f"{name} (pid {pid})" for name, pid, inode in daemons if inode not in homes),
    )


def _namespace(name: str, host: str, inode: int, daemons: Iterable[str]) -> SeenNamespace | None:
    shown = _run("ip", "-json", "-n", name, "address")
    if shown is None:
        return None
    routes = [_run("ip", "-json", "-n", name, version, "route", "show", "table", "all") for version in ("-4", "-6")]
    table = json.loads(_run("ip", "netns", "exec", name, "nft", "-j", "list", "table", "inet", "astara") or "{}")
    contents = elements(table)
    return SeenNamespace(
        name=name,
        links=links_of(json.loads(shown or "[]")),
        routes=frozenset(route for text in routes for route in routes_of(json.loads(text or "[]"))),
        floating=frozenset((key[0], value[0]) for key, value in contents.get("floating_to_fixed", ())),
        forwards=frozenset(
            (key[0], str(key[1]), int(key[2]), value[0], int(value[1]))
            for key, value in contents.get("forward_port", ())
        ),
        forwarding=bool(contents.get("internal")),
        daemons=tuple(daemons),
        inode=inode,
        host=host,
    )


def links_of(shown: Iterable[Mapping[str, Any]]) -> tuple[SeenLink, ...]:
    """Read `ip -json address`; the loopback and link-local addresses are left out."""
    found = []
    for link in shown:
        if link.get("link_type") != "ether":
            continue
        addresses = [a for a in link.get("addr_info", ()) if a and a["scope"] != "link"]
        named = {_address(a): a for a in addresses}
        found.append(
            SeenLink(
                name=link["ifname"],
                mac=link["address"],
                mtu=link["mtu"],
                up="UP" in link["flags"],
                addresses=frozenset(named),
                unusable=frozenset(text for text, a in named.items() if a.get("dadfailed") or a.get("tentative")),
            )
        )
    return tuple(found)


def _address(shown: Mapping[str, Any]) -> str:
    return str(ip_interface(f"{shown['local']}/{shown['prefixlen']}"))


def routes_of(shown: Iterable[Mapping[str, Any]]) -> Iterable[tuple[str, str]]:
    """Read `ip -json route`: the routes with our protocol number and a next hop."""
    for route in shown:
        hop = route.get("gateway") or (route.get("via") or {}).get("host")
        if hop and str(route.get("protocol")) == _PROTOCOL:
            yield _destination(route["dst"], hop), hop


def _destination(text: str, hop: str) -> str:
    if text == "default":
        return "::/0" if ":" in hop else "0.0.0.0/0"
    return str(ip_network(text))


def elements(table: Mapping[str, Any]) -> dict[str, list[tuple[list[Any], list[Any]]]]:
    """Read `nft -j list table`: (key, value) of every set and map, each as a list of its parts."""
    found: dict[str, list[tuple[list[Any], list[Any]]]] = {}
    for item in table.get("nftables", ()):
        for kind in ("set", "map"):
            if kind in item:
                members = item[kind].get("elem", ())
                found[item[kind]["name"]] = [_element(member, is_map=kind == "map") for member in members]
    return found


def _element(member: Any, *, is_map: bool) -> tuple[list[Any], list[Any]]:
    key, value = member if is_map else (member, [])
    return _parts(key), _parts(value)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict) and "elem" in value:
        value = value["elem"]["val"]
    if isinstance(value, dict) and "concat" in value:
        return list(value["concat"])
    return value if isinstance(value, list) else [value]


def _switched(ovsdb: Path | None) -> dict[str, str]:
    """Return the ports of the integration bridge that are links of instances."""
    if ovsdb is None:
        return {}
    listed = (_run("ovs-vsctl", f"--db=unix:{ovsdb}", "--timeout=10", "list-ports", "br-int") or "").split()
    return {name: "br-int" for name in listed if name.startswith("av")}


def _daemons() -> list[tuple[str, int, int]]:
    """Return (program, pid, inode of its network namespace) of every daemon of ours in the pod."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                program = (entry / "comm").read_text().strip()
                if program in _DAEMONS:
                    found.append((program, int(entry.name), (entry / "ns/net").stat().st_ino))
            except OSError:
                continue  # it ended
    return found


def _run(*argv: str) -> str | None:
    """Return what a command said, None when it failed."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    return done.stdout if done.returncode == 0 else None


def main() -> None:
    """`python -m storm.sight HOST`: what there is on the node this runs on, as JSON."""
    print(msgspec.json.encode(look(host=sys.argv[1])).decode())


if __name__ == "__main__":
    main()
