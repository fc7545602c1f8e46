"""Profile `neutron`: every process of a real Neutron, with RabbitMQ, MariaDB, and Open vSwitch or OVN.

No L3 or DHCP agent: Astara stands in their place. With `l3_agent` they run and Astara does not, to measure against.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import httpx
import kombu

from astara_lab import configuration, ini, tasks
from astara_lab.configuration import PRIVSEP_CONTEXTS, NeutronChoice
from astara_lab.neutron_api import NeutronRefused, neutron_of
from astara_lab.places import LOOPBACK, NEUTRON_URL, OVSDB_SOCKET, Lab
from astara_lab.profiles import daemons, second_host
from astara_lab.profiles.astara import BIN, Setting, astara_tasks, environment
from astara_lab.tasks import BringUpError, Task

FLAVOR = "astara"
#: The orchestrator's own database.
RECORDS = "astara"
OVN_PROVIDER = "astara_neutron.ovn_provider.AstaraOvn"

Options: TypeAlias = dict[str, dict[str, ini.Value]]

_API_THREADS = 4
_PLUGINS = "port_forwarding,qos,segments,trunk,revisions,timestamp,tag"


def plan(setting: Setting) -> list[Task]:
    return planned(setting, choose(setting))


def planned(
    setting: Setting,
    choice: NeutronChoice,
    orchestrator: ini.Sections | None = None,
    databases: Sequence[str] = ("neutron",),
) -> list[Task]:
    """The tasks of a Neutron so chosen, and of Astara beside it; writes their configuration files.

    `orchestrator`: astara.conf, if it says more than where Neutron and the broker are.
    """
    _write_files(setting, choice, orchestrator)
    ovn = setting.variant.mech == "ovn"
    found = [
        daemons.rabbit(setting),
        daemons.mariadb(setting, (*databases, RECORDS)),
        *daemons.openvswitch(setting, choice.physnets),
        *(second_host.switch(setting) if setting.variant.nodes > 1 else ()),
        *(daemons.ovn(setting, second_host.UNDER[0] if setting.variant.nodes > 1 else LOOPBACK) if ovn else ()),
        Task("database", migrate(setting), ("mariadb",)),
        *_servers(setting),
        *(_ovn_finish(setting) if ovn else _layer_two_agent(setting)),
    ]
    second = setting.variant.nodes > 1
    if second:
        found += _second_layer_two(setting)
    if setting.variant.l3_agent:
        return found + _reference_agents(setting)
    found += [second_host.node_agent(setting)] if second else []
    found.append(Task("records", records(setting), ("mariadb",)))
    return found + astara_tasks(setting, node_after=("openvswitch",), orchestrator_after=("records",))


def _second_layer_two(setting: Setting) -> list[Task]:
    if setting.variant.mech == "ovn":
        return [daemons.chassis(setting, second_host.SWITCH, second_host.UNDER[1])]
    there = ("openvswitch", "l3") if setting.variant.l3_agent else ("openvswitch",)
    return second_host.agents(setting, there, {one: _files(setting, _INI[one]) for one in there})


def choose(setting: Setting) -> NeutronChoice:
    ovn = setting.variant.mech == "ovn"
    if ovn and setting.variant.l3_agent:
        raise BringUpError("OVN has no L3 agent: choose --mech ovs for it")
    ours = "" if setting.variant.l3_agent else ",astara"
    provider = f"L3_ROUTER_NAT:astara:{OVN_PROVIDER}" if ovn else configuration.ASTARA_PROVIDER
    router = "ovn-router" if ovn else "router,conntrack_helper,ndp_proxy"
    return NeutronChoice(
        transport_url=daemons.rabbit_url(setting),
        database_url=daemons.database_url(setting),
        notify_driver="messagingv2",
        mechanism_drivers="ovn" if ovn else "openvswitch",
        tenant_network_type="geneve" if ovn else ("vlan" if setting.variant.nodes > 1 else "vxlan"),
        service_plugins=f"{router},{_PLUGINS}{ours}",
        service_providers=() if setting.variant.l3_agent else (provider,),
        further={
            "oslo_messaging_rabbit": {"rabbit_quorum_queue": False, "heartbeat_in_pthread": True},
            **_merged(_REFERENCE_OPTIONS if setting.variant.l3_agent else ASTARA_OPTIONS, _underlay_mtu(setting)),
            **_privsep(setting),
        },
    )


def _underlay_mtu(setting: Setting) -> Options:
    """Tunnels between two nodes of a lab on OVN carry whole frames of the networks outside."""
    if setting.variant.mech != "ovn" or setting.variant.nodes == 1:
        return {}
    underlay, outside = second_host.mtus()
    return {"DEFAULT": {"global_physnet_mtu": underlay}, "ml2": {"physical_network_mtus": outside}}


def _merged(one: Options, other: Options) -> Options:
    return {name: {**one.get(name, {}), **other.get(name, {})} for name in (*one, *other)}


_REFERENCE_OPTIONS: dict[str, dict[str, ini.Value]] = {"DEFAULT": {"dhcp_agents_per_network": 1}}
# With the broker away Neutron would hold back its answers: for ever for a notification, which we can do without,
# and for a message to DHCP agents, which there are none of.
ASTARA_OPTIONS: dict[str, dict[str, ini.Value]] = {
    "DEFAULT": {"dhcp_agent_notification": False},
    "oslo_messaging_notifications": {"retry": 0},
}


def _privsep(setting: Setting) -> dict[str, dict[str, ini.Value]]:
    if setting.variant.privsep_threads is None:
        return {}
    return {f"privsep{context}": {"thread_pool_size": setting.variant.privsep_threads} for context in PRIVSEP_CONTEXTS}


def _write_files(setting: Setting, choice: NeutronChoice, orchestrator: ini.Sections | None) -> None:
    lab, trust = setting.lab, setting.trust
    (lab.lib / "neutron/lock").mkdir(parents=True, exist_ok=True)
    ini.write(lab.etc / "neutron.conf", configuration.neutron(lab, trust, choice))
    (lab.etc / "neutron.conf").chmod(0o600)
    ini.write(lab.etc / "ml2.ini", configuration.ml2(choice) | _type_options(setting))
    ini.write(lab.etc / "ovs_agent.ini", _ovs_agent(choice.physnets))
    ini.write(lab.etc / "l3_agent.ini", _agent({"agent_mode": "legacy"}, "port_forwarding,conntrack_helper,ndp_proxy"))
    ini.write(lab.etc / "dhcp_agent.ini", _agent({"enable_isolated_metadata": True}))
    feed = configuration.orchestrator(
        lab,
        trust,
        feeds="rabbit",
        body=setting.variant.body,
        network_body=setting.variant.of_networks,
        transport_url=choice.transport_url,
        further_nodes=second_host.further_nodes() if setting.variant.nodes > 1 else (),
    )
    if setting.variant.nodes > 1:
        second_host.write_files(setting)
    records: ini.Sections = {"database": {"connection": daemons.database_url(setting, RECORDS)}}
    ini.write(lab.etc / "astara.conf", {**(orchestrator or feed), **records})
    (lab.etc / "astara.conf").chmod(0o600)
    ini.write(lab.etc / "node.conf", configuration.node(lab, trust, ovs=True))
    (lab.etc / "uwsgi.ini").write_text(configuration.neutron_server(_API_THREADS, setting.variant.api_processes))


def _type_options(setting: Setting) -> dict[str, dict[str, ini.Value]]:
    if setting.variant.mech == "ovn":
        run = daemons.OVN_RUN
        return {
            "ml2_type_geneve": {"vni_ranges": "1:5000", "max_header_size": 38},
            "ovn": {
                "ovn_nb_connection": f"unix:{run}/nb.sock",
                "ovn_sb_connection": f"unix:{run}/sb.sock",
                "ovn_metadata_enabled": False,
            },
        }
    if setting.variant.nodes > 1:
        return second_host.ml2()
    return {"ml2_type_vxlan": {"vni_ranges": "1:5000", "vxlan_group": "239.1.1.1"}}


_INI = {"openvswitch": "ovs_agent.ini", "l3": "l3_agent.ini"}
_OVS: dict[str, ini.Value] = {
    "integration_bridge": daemons.INTEGRATION_BRIDGE,
    "datapath_type": "netdev",
    "ovsdb_connection": f"unix:{OVSDB_SOCKET}",
}


def _ovs_agent(physnets: Mapping[str, str]) -> dict[str, dict[str, ini.Value]]:
    """Without a firewall driver: security groups are enforced in the OVN variant only."""
    mappings = ",".join(f"{physnet}:{bridge}" for physnet, bridge in physnets.items())
    own: dict[str, ini.Value] = {"local_ip": LOOPBACK, "bridge_mappings": mappings, "of_listen_port": 16633}
    return {
        "ovs": {**_OVS, **own},
        "agent": {"tunnel_types": "vxlan", "root_helper": ""},
        "securitygroup": {"firewall_driver": "noop"},
    }


def _agent(own: dict[str, ini.Value], extensions: str = "") -> dict[str, dict[str, ini.Value]]:
    return {
        "DEFAULT": {"interface_driver": "openvswitch", "ovs_use_veth": True, **own},
        "ovs": dict(_OVS),
        "agent": {"root_helper": "", "extensions": extensions},
    }


def migrate(setting: Setting) -> Callable[[], None]:
    """Neutron's and the plug-in's migrations; what is there is kept."""
    return _upgrade(setting, "database", BIN / "neutron-db-manage", *_files(setting), "upgrade", "heads")


def records(setting: Setting) -> Callable[[], None]:
    """The orchestrator's own; what is there is kept."""
    return _upgrade(
        setting, "records", BIN / "astara", "db", "upgrade", "--config-file", setting.lab.etc / "astara.conf"
    )


def _upgrade(setting: Setting, name: str, program: Path, *words: str | Path) -> Callable[[], None]:
    log = setting.lab.log / f"{name}.log"

    def work() -> None:
        with log.open("ab") as output:
            done = subprocess.run(
                [program, *words], stdout=output, stderr=output, check=False, env=environment(setting.lab)
            )
        if done.returncode != 0:
            raise BringUpError(f"{program.name} ended with {done.returncode}\n{tasks.tail(setting.lab, name)}")

    return work


def _files(setting: Setting, *further: str) -> list[str | Path]:
    return [
        word for name in ("neutron.conf", "ml2.ini", *further) for word in ("--config-file", setting.lab.etc / name)
    ]


def _servers(setting: Setting) -> list[Task]:
    """The API, the RPC server, the periodic workers; on OVN its maintenance worker too."""
    lab, control = setting.lab, setting.control
    config = {"OS_NEUTRON_CONFIG_DIR": str(lab.etc), "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2.ini"}
    api = setting.spec("neutron", BIN / "pyuwsgi", "--ini", lab.etc / "uwsgi.ini", env=config)
    rpc = setting.spec("neutron-rpc", BIN / "neutron-rpc-server", *_files(setting))
    periodic = setting.spec("neutron-periodic", BIN / "neutron-periodic-workers", *_files(setting))
    queues = ("q-plugin", "q-reports-plugin", *(() if setting.variant.mech == "ovn" else ("q-l3-plugin",)))
    base = ("database", "rabbit")
    needs = (*base, "ovn-northd", "ovn-controller") if setting.variant.mech == "ovn" else base
    consumes = _consumed(daemons.rabbit_url(setting), queues)
    found = [
        Task("neutron", tasks.service(lab, control, api, tasks.http_answers(NEUTRON_URL)), needs),
        Task("neutron-rpc", tasks.service(lab, control, rpc, consumes), needs),
        # Nobody waits for these two: what they do, they do later.
        Task("neutron-periodic", tasks.service(lab, control, periodic, lambda: True), ("neutron",)),
    ]
    if setting.variant.mech == "ovn":
        worker = setting.spec("neutron-ovn-maintenance", BIN / "neutron-ovn-maintenance-worker", *_files(setting))
        found.append(Task(worker.name, tasks.service(lab, control, worker, lambda: True), ("neutron",)))
    return found


def _layer_two_agent(setting: Setting) -> list[Task]:
    agent = setting.spec("neutron-ovs-agent", BIN / "neutron-openvswitch-agent", *_files(setting, "ovs_agent.ini"))
    ready = _alive(setting.lab, "neutron-openvswitch-agent")
    # An agent that calls before the RPC server listens loses its call and waits for a whole minute.
    needs = ("openvswitch", "neutron-rpc", "neutron")
    return [Task(agent.name, tasks.service(setting.lab, setting.control, agent, ready), needs)]


def _reference_agents(setting: Setting) -> list[Task]:
    found = []
    for name in ("l3", "dhcp"):
        spec = setting.spec(
            f"neutron-{name}-agent", BIN / f"neutron-{name}-agent", *_files(setting, f"{name}_agent.ini")
        )
        ready = _alive(setting.lab, f"neutron-{name}-agent")
        found.append(Task(spec.name, tasks.service(setting.lab, setting.control, spec, ready), ("neutron-ovs-agent",)))
    return found


def _ovn_finish(setting: Setting) -> list[Task]:
    """A flavor for Astara's routers, since OVN's own provider stays the default."""

    def flavor() -> None:
        api = neutron_of(setting.lab)
        if api.list("flavors", name=FLAVOR):
            return
        profile = api.create_as("service_profiles", "service_profile", {"driver": OVN_PROVIDER, "metainfo": "{}"})
        made = api.create("flavors", {"name": FLAVOR, "service_type": "L3_ROUTER_NAT"})
        api.create_as(f"flavors/{made['id']}/service_profiles", "service_profile", {"id": profile["id"]})

    return [Task("flavor", flavor, ("neutron",))]


def _consumed(url: str, queues: tuple[str, ...]) -> Callable[[], bool]:
    """Ready when somebody consumes each of the queues."""

    def look() -> bool:
        try:
            with kombu.Connection("amqp" + url.removeprefix("rabbit") + "/", connect_timeout=2) as connection:
                return all(
                    connection.channel().queue_declare(queue=name, passive=True).consumer_count for name in queues
                )
        except Exception:  # noqa: BLE001 - no broker or no queue yet; the error's class depends on the transport
            return False

    return look


def _alive(lab: Lab, binary: str) -> Callable[[], bool]:
    def look() -> bool:
        try:
            return any(agent["alive"] for agent in neutron_of(lab, 10.0).list("agents", binary=binary))
        except (NeutronRefused, httpx.HTTPError):
            return False

    return look
