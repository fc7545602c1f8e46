"""A second node for profile `neutron`: an Open vSwitch of its own, Neutron's agents or OVN's, and who serves routers.

Both switches join the provider network by a cable. On ML2/OVS networks are VLANs on it. OVN's are tunnels by another
cable; the userspace datapath tunnels only out of a bridge of its own that has the address.
"""

from __future__ import annotations

from pathlib import Path

from astara_lab import ini, second_node, tasks
from astara_lab.places import EXTERNAL_BRIDGE, EXTERNAL_PHYSNET, NODE_PORT
from astara_lab.profiles import daemons
from astara_lab.profiles.astara import BIN, Setting
from astara_lab.profiles.daemons import Switch
from astara_lab.tasks import Task

VLANS = f"{EXTERNAL_PHYSNET}:100:999"
_UNDERLAY = "br-under"
#: Where tunnels begin: at the first node, at the second.
UNDER = tuple(address for _, address in second_node.UNDER)
ADDRESS = second_node.ADDRESS
SWITCH = Switch(second_node.NAME, Path("/run/openvswitch-2"), "-2", second_node.there(), ("wires",))
#: Below the lab's `etc`: read after the first node's, so what they say counts.
AGENT_FILE = "agent-2.ini"


def switch(setting: Setting) -> list[Task]:
    """The wires, the second switch, and the cable between both."""

    def cable() -> None:
        for of, port in ((daemons.FIRST, "wire1"), (SWITCH, "wire2")):
            daemons.vsctl(setting, "--may-exist", "add-port", EXTERNAL_BRIDGE, port, of=of)

    physnets = {EXTERNAL_PHYSNET: EXTERNAL_BRIDGE}
    found = daemons.openvswitch(setting, physnets, SWITCH)
    both = ("openvswitch", "openvswitch-2")
    tunnels = [Task("tunnels", lambda: _underlay(setting), both)] if setting.variant.mech == "ovn" else []
    return [Task("wires", second_node.make), *found, Task("cable", cable, both), *tunnels]


def _underlay(setting: Setting) -> None:
    """A bridge on each switch with the cable and the address that its tunnels begin at."""
    for of, (link, address) in zip((daemons.FIRST, SWITCH), second_node.UNDER, strict=True):
        netdev = ("--", "set", "bridge", _UNDERLAY, "datapath_type=netdev")
        daemons.vsctl(setting, "--may-exist", "add-br", _UNDERLAY, *netdev, of=of)
        daemons.vsctl(setting, "--may-exist", "add-port", _UNDERLAY, link, of=of)
        daemons.command(setting, *of.there, "ip", "address", "replace", f"{address}/30", "dev", _UNDERLAY)
        daemons.command(setting, *of.there, "ip", "link", "set", _UNDERLAY, "up")


def write_files(setting: Setting) -> None:
    lab, trust = setting.lab, setting.trust
    ovsdb = f"unix:{SWITCH.database}"
    own: dict[str, dict[str, ini.Value]] = {
        "DEFAULT": {
            "host": second_node.NAME,
            "state_path": lab.lib / "neutron-2",
            "transport_url": daemons.rabbit_url(setting, second_node.FIRST_ADDRESS),
            "metadata_proxy_socket": lab.lib / "neutron-2/metadata_proxy",
            "ha_confs_path": lab.lib / "neutron-2/ha_confs",
        },
        "ovs": {"ovsdb_connection": ovsdb, "local_ip": second_node.ADDRESS},
        "oslo_concurrency": {"lock_path": lab.lib / "neutron-2/lock"},
    }
    (lab.lib / "neutron-2/lock").mkdir(parents=True, exist_ok=True)
    ini.write(lab.etc / AGENT_FILE, own)
    (lab.etc / AGENT_FILE).chmod(0o600)
    node = dict(second_node.configuration(lab, trust))
    node["ovs"] = {"integration_bridge": daemons.INTEGRATION_BRIDGE, "ovsdb": ovsdb, "netdev": True}
    ini.write(lab.etc / "node-2.conf", node)


def agents(setting: Setting, names: tuple[str, ...], files: dict[str, list[str | Path]]) -> list[Task]:
    """Neutron's agents there; `files` are the options each reads on the first node."""
    found = []
    for name in names:
        program = f"neutron-{name}-agent"
        words = (str(BIN / program), *map(str, files[name]), "--config-file", str(setting.lab.etc / AGENT_FILE))
        spec = setting.spec(f"{program}-2", *second_node.there(*words), env={"OVS_RUNDIR": str(SWITCH.run)})
        needs = ("cable", "neutron-rpc", "neutron")
        found.append(Task(spec.name, tasks.service(setting.lab, setting.control, spec, lambda: True), needs))
    return found


def node_agent(setting: Setting) -> Task:
    """Astara's."""
    words = second_node.there(str(BIN / "astara-node"), "--config-file", str(setting.lab.etc / "node-2.conf"))
    spec = setting.spec("node-2", *words, whole_group=False, env={"OVS_RUNDIR": str(SWITCH.run)})
    ready = tasks.port_open(second_node.ADDRESS, NODE_PORT)
    return Task("node-2", tasks.service(setting.lab, setting.control, spec, ready), ("cable",))


def further_nodes() -> tuple[str, ...]:
    """What the orchestrator is told of it."""
    return (f"{second_node.NAME}=https://{second_node.ADDRESS}:{NODE_PORT}",)


def ml2() -> dict[str, dict[str, ini.Value]]:
    return {"ml2_type_vlan": {"network_vlan_ranges": VLANS}}


def mtus() -> tuple[int, str]:
    """Of the cables, which carry whole frames in tunnels, and of physical networks."""
    return int(second_node.MTU), f"{EXTERNAL_PHYSNET}:1500"
