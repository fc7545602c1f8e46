"""Layer 2 by Open vSwitch: the port appears on the integration bridge as a virtual machine's would.

`external_ids:iface-id` is what neutron-openvswitch-agent and ovn-controller look for; either then connects it.
Recognised by `external_ids:astara-port`; nothing else in the database is ever touched.

A port without a tag is a trunk of every VLAN, hence of every tenant's network, until neutron-openvswitch-agent gives
it one. So it begins in VLAN 4095, as with Neutron's own agents (ovs_lib._set_port_dead, Launchpad 1767422, 1930414).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astara.appliance.system import netns
from astara.contract.agent import PortAttachment
from astara.host import checksums, links
from astara.host.attach import ovsdb
from astara.host.attach.boundary import AttachRefused
from astara.host.attach.bridge import guard_node, guarded
from astara.host.attach.ovsdb import OvsdbError
from astara.host.links import Link, LinkError
from astara.host.options import NodeOptions

_MARK = "astara-port"
_LINK_MARK = "astara-ifindex"
_READY_MS = 5000
_DEAD_VLAN = {"tag": 4095, "vlan_mode": "trunk", "trunks": 4095}


#: What layer-2 agents give a port: Neutron's its VLAN and how it came to it, its limits; ovn-controller nothing.
_PORT_COLUMNS = ("tag", "vlan_mode", "trunks", "other_config", "qos")
_INTERFACE_COLUMNS = ("ingress_policing_rate", "ingress_policing_burst")


@dataclass(frozen=True, slots=True)
class _Wiring:
    """Columns of the rows of one port and its interface, as the database gives them."""

    port: dict[str, Any]
    interface: dict[str, Any]


class OvsAttachment:
    """Kind `ovs`."""

    kind = "ovs"

    def __init__(self, options: NodeOptions) -> None:
        self._bridge = options.ovs.integration_bridge
        self._remote = options.ovs.ovsdb
        self._userspace = options.ovs.netdev

    def prepare(self) -> None:
        """Nothing: a node without Open vSwitch starts too, and refuses ports of this kind when they come."""

    def tend(self) -> None:
        """Nothing of ours belongs to the whole node."""

    def plug(self, port: PortAttachment, host_link: Link, inside: Path) -> None:
        if not guarded():
            guard_node()
        self._complete_checksums(port, host_link, inside)
        links.set_up(host_link, port.port_id)
        wanted = _identifiers(port, host_link)
        found = self._interface(host_link.name)
        if found is not None and found.get(_LINK_MARK) != wanted[_LINK_MARK]:
            self._remove(host_link.name)  # it refers to an earlier link of that name
            found = None
        if found is None:
            self._add(host_link.name, wanted)
        elif not wanted.items() <= found.items():
            self._correct(host_link.name, found | wanted)

    def replace(self, port: PortAttachment, exchange: Callable[[], Link], inside: Path) -> None:
        """What the layer-2 agent gave the port goes over to the other link: it would be deaf until the agent comes."""
        name = links.host_name(port.port_id)
        wiring = self._wiring(name)
        self._remove(name)
        link = exchange()
        self._complete_checksums(port, link, inside)
        links.set_up(link, port.port_id)
        self._add(name, _identifiers(port, link), wiring)

    def unplug(self, port: PortAttachment) -> None:
        self._remove(links.host_name(port.port_id))

    def in_place(self, port: PortAttachment) -> bool:
        link = links.find(links.host_name(port.port_id))
        if link is None or not link.up or link.owner != port.port_id:
            return False
        # What others note there is theirs: ovn-controller that it has installed the port, each time it gets it.
        return _identifiers(port, link).items() <= (self._interface(link.name) or {}).items()

    def _interface(self, name: str) -> dict[str, str] | None:
        """Return the external ids of the interface of that name, None when there is none."""
        rows = self._ask(ovsdb.select("Interface", [["name", "==", name]], ["external_ids"]))[0]["rows"]
        return ovsdb.from_map(rows[0]["external_ids"]) if rows else None

    def _wiring(self, name: str) -> _Wiring | None:
        """Return what the port of that name has been given, None when there is none."""
        where = [["name", "==", name]]
        ports, interfaces = self._ask(
            ovsdb.select("Port", where, _PORT_COLUMNS),
            ovsdb.select("Interface", where, [*_INTERFACE_COLUMNS, "ofport"]),
        )
        if not ports["rows"] or not interfaces["rows"]:
            return None
        interface = dict(interfaces["rows"][0])
        number = interface.pop("ofport")
        if isinstance(number, int) and number > 0:
            interface["ofport_request"] = number  # flows of the agent's may say it
        return _Wiring(ports["rows"][0], interface)

    def _datapath(self) -> str:
        where = [["name", "==", self._bridge]]
        return str(self._only(self._ask(ovsdb.select("Bridge", where, ["datapath_type"]))[0])["datapath_type"])

    def _only(self, bridges: dict[str, Any]) -> dict[str, Any]:
        """Return our bridge's row; raises AttachRefused when there is none."""
        if not bridges["rows"]:
            raise AttachRefused(
                "attach",
                f"there is no bridge {self._bridge} in Open vSwitch on this node",
                "start the layer-2 agent (neutron-openvswitch-agent or ovn-controller), or correct [ovs] in node.conf",
            )
        row: dict[str, Any] = bridges["rows"][0]
        return row

    def _complete_checksums(self, port: PortAttachment, host_link: Link, inside: Path) -> None:
        """The userspace datapath forwards frames as they are: a checksum left to hardware would never be made."""
        if not self._userspace and self._datapath() != "netdev":
            return
        checksums.complete(host_link.name)
        with netns.entered(inside):
            checksums.complete(links.inner_name(port.port_id))

    def _add(self, name: str, external_ids: dict[str, str], wiring: _Wiring | None = None) -> None:
        """Put the link on the bridge, once the switch has let go of an earlier one of that name.

        With `wiring` it is connected as that one was; without, it waits for the layer-2 agent.

        Were both changes one to ovs-vswitchd, it would keep the socket it has: that of a device which is gone.
        """
        where = [["name", "==", self._bridge]]
        bridges, switches = self._ask(
            ovsdb.select("Bridge", where, ["fail_mode"]),
            ovsdb.select("Open_vSwitch", [], ["external_ids", "next_cfg"]),
        )
        switch = switches["rows"][0]
        if wiring is None:
            wiring = _Wiring(_DEAD_VLAN if _awaits_tag(self._only(bridges), switch["external_ids"]) else {}, {})
        interface = {"name": name, "external_ids": ovsdb.as_map(external_ids), **wiring.interface}
        self._ask(
            ovsdb.wait_until_some("Open_vSwitch", [["cur_cfg", ">=", switch["next_cfg"]]], "cur_cfg", _READY_MS),
            ovsdb.insert("Interface", interface, "interface"),
            ovsdb.insert("Port", {"name": name, "interfaces": ["named-uuid", "interface"], **wiring.port}, "port"),
            ovsdb.mutate("Bridge", [["name", "==", self._bridge]], "ports", "insert", ["named-uuid", "port"]),
            ovsdb.mutate("Open_vSwitch", [], "next_cfg", "+=", 1),
        )
        where = [["name", "==", name]]
        rows = self._ask(
            ovsdb.wait_until_set("Interface", where, "ofport", _READY_MS),
            ovsdb.select("Interface", where, ["ofport", "error"]),
        )[1]["rows"]
        if not rows or rows[0]["ofport"] == -1:
            reason = rows[0]["error"] if rows else "it was removed at once"
            raise LinkError(f"{name}: Open vSwitch cannot use it: {reason}")

    def _correct(self, name: str, external_ids: dict[str, str]) -> None:
        where = [["name", "==", name]]
        self._ask(
            {"op": "update", "table": "Interface", "where": where, "row": {"external_ids": ovsdb.as_map(external_ids)}}
        )

    def _remove(self, name: str) -> None:
        """Take our port off every bridge; the rows go with the reference."""
        try:
            interface = self._interface(name)
        except LinkError:
            if links.find(name) is None:
                return  # no database and no link: nothing of ours is left
            raise
        if interface is None or _MARK not in interface:
            return
        for row in self._ask(ovsdb.select("Port", [["name", "==", name]], ["_uuid"]))[0]["rows"]:
            where = [["ports", "includes", row["_uuid"]]]
            self._ask(
                ovsdb.mutate("Bridge", where, "ports", "delete", row["_uuid"]),
                ovsdb.mutate("Open_vSwitch", [], "next_cfg", "+=", 1),
            )

    def _ask(self, *operations: ovsdb.Operation) -> list[dict[str, Any]]:
        try:
            return ovsdb.transact(self._remote, operations)
        except OvsdbError as error:
            raise LinkError(f"Open vSwitch: {error}") from error


def _awaits_tag(bridge: dict[str, Any], external_ids: list[Any]) -> bool:
    """Say whether somebody gives this bridge's ports their VLAN: the Neutron agent does, which makes it `secure`.

    ovn-controller makes it so too and gives none: it forwards by flows of its own from port to port.
    """
    return bridge["fail_mode"] == "secure" and not any(
        name.startswith("ovn-remote") for name in ovsdb.from_map(external_ids)
    )


def _identifiers(port: PortAttachment, host_link: Link) -> dict[str, str]:
    return {
        "iface-id": port.port_id,
        "attached-mac": port.mac,
        "iface-status": "active",
        _MARK: port.port_id,
        _LINK_MARK: str(host_link.index),
    }
