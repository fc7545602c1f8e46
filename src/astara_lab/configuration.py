"""The configuration files of what a lab runs, profile by profile."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from astara_lab import bodies, ini
from astara_lab.ini import Sections
from astara_lab.places import (
    BODIES,
    EXTERNAL_BRIDGE,
    EXTERNAL_PHYSNET,
    LOOPBACK,
    METADATA_PORT,
    NEUTRON_PORT,
    NEUTRON_URL,
    NODE_NAME,
    NODE_PORT,
    OVSDB_SOCKET,
    Lab,
    Seat,
)
from astara_lab.trust import Trust

#: Names the instances' DNS answers for: HOST.astara.lab. Neutron must have another one than its default for that.
DNS_DOMAIN = "astara.lab"

#: Neutron's agents have several privileged helpers, each with a section of its own.
PRIVSEP_CONTEXTS = ("", "_dhcp_release", "_ovs_vsctl", "_namespace", "_conntrack", "_link")

ASTARA_PROVIDER = "L3_ROUTER_NAT:astara:astara_neutron.l3_provider.AstaraL3"

ROUTER_PLUGINS = "port_forwarding,qos,conntrack_helper,ndp_proxy,revisions,timestamp,tag"


@dataclass(frozen=True)
class NeutronChoice:
    """In what the Neutron of one profile differs from that of another."""

    transport_url: str
    database_url: str
    notify_driver: str
    mechanism_drivers: str
    tenant_network_type: str
    service_plugins: str
    service_providers: tuple[str, ...]
    further: Sections
    notify_urls: tuple[str, ...] = (Seat().notify_url,)
    physnets: Mapping[str, str] = field(default_factory=lambda: {EXTERNAL_PHYSNET: EXTERNAL_BRIDGE})  # name: bridge


def neutron(lab: Lab, trust: Trust, choice: NeutronChoice) -> Sections:
    """neutron.conf: without Keystone, without quotas, everything on loopback."""
    privsep = {"helper_command": f"{sys.prefix}/bin/privsep-helper --config-file {lab.etc / 'neutron.conf'}"}
    sections: dict[str, dict[str, ini.Value]] = {
        "DEFAULT": {
            "auth_strategy": "noauth",
            "host": NODE_NAME,
            "core_plugin": "ml2",
            "service_plugins": choice.service_plugins,
            "transport_url": choice.transport_url,
            "state_path": lab.lib / "neutron",
            "api_paste_config": Path(sys.prefix) / "etc/neutron/api-paste.ini",
            "dns_domain": f"{DNS_DOMAIN}.",
            "api_workers": 1,
            "rpc_workers": 1,
            "rpc_state_report_workers": 0,
            "notify_nova_on_port_status_changes": False,
            "notify_nova_on_port_data_changes": False,
            "use_stderr": True,
        },
        "database": {"connection": choice.database_url, "sqlite_synchronous": False, "max_retries": -1},
        "oslo_concurrency": {"lock_path": lab.lib / "neutron/lock"},
        "oslo_messaging_notifications": {"driver": choice.notify_driver, "topics": "notifications"},
        "agent": {"root_helper": "", "report_interval": 15},
        "service_providers": {"service_provider": choice.service_providers},
        "astara": {
            "notify_url": ",".join(choice.notify_urls),
            "notify_secret_file": trust.notify_secret,
        },
        "quotas": {
            f"quota_{name}": -1
            for name in ("network", "subnet", "port", "router", "floatingip", "security_group", "security_group_rule")
        },
    }
    for context in PRIVSEP_CONTEXTS:
        sections[f"privsep{context}"] = dict(privsep)
    for section, options in choice.further.items():
        sections.setdefault(section, {}).update(options)
    return sections


def ml2(choice: NeutronChoice) -> dict[str, dict[str, ini.Value]]:
    return {
        "ml2": {
            "type_drivers": f"flat,{choice.tenant_network_type}",
            "tenant_network_types": choice.tenant_network_type,
            "mechanism_drivers": choice.mechanism_drivers,
            "extension_drivers": "port_security,qos,dns_domain_keywords",
        },
        "ml2_type_flat": {"flat_networks": ",".join(choice.physnets)},
        "ml2_type_vxlan": {"vni_ranges": "1:1000"},
        "securitygroup": {"enable_security_group": True},
    }


def embedded_neutron(lab: Lab, seats: Sequence[Seat], *, nodes: int = 1) -> NeutronChoice:
    """One process: SQLite, no broker, notifications by HTTP to each of `seats`, ports bound by our mechanism driver.

    Networks of more nodes than one span them by VXLAN.
    """
    return NeutronChoice(
        transport_url="fake:/",
        database_url=f"sqlite:///{lab.lib / 'neutron.sqlite'}?timeout=30",
        notify_driver="astara_http",
        mechanism_drivers="astara_bridge",
        tenant_network_type="vxlan" if nodes > 1 else "local",
        service_plugins=f"router,astara,{ROUTER_PLUGINS}",
        service_providers=(ASTARA_PROVIDER,),
        further={"DEFAULT": {"dhcp_agent_notification": False}},
        notify_urls=tuple(seat.notify_url for seat in seats),
    )


def neutron_server(threads: int, processes: int = 1) -> str:
    """uWSGI's ini of Neutron's API."""
    return api_server("astara_lab.neutron_app", NEUTRON_PORT, threads, processes)


def api_server(module: str, port: int, threads: int, processes: int = 1) -> str:
    """uWSGI's ini of one API. Without the Connection header it resets a client's second request on one connection.

    Several processes need a master above them, or the first is both a worker and the one that is told to end.
    """
    return f"""[uwsgi]
module = {module}:application
http-socket = {LOOPBACK}:{port}
processes = {processes}
master = {str(processes > 1).lower()}
threads = {threads}
enable-threads = true
lazy-apps = true
need-app = true
single-interpreter = true
buffer-size = 65535
die-on-term = true
disable-logging = true
add-header = Connection: close
"""


def orchestrator(
    lab: Lab,
    trust: Trust,
    *,
    feeds: str,
    body: str,
    network_body: str = "namespace",
    transport_url: str = "",
    seat: Seat | None = None,
    shared: bool = False,
    further_nodes: tuple[str, ...] = (),
    node_patience_s: int | None = None,
) -> Sections:
    """astara.conf; `body` is that of routers, `network_body` of what serves DHCP, DNS and metadata.

    `seat`: of which orchestrator, None: of the only one. `shared`: it is one of several. `node_patience_s`: after so
    long without an answer a node is given up, None: as by default.
    """
    seat = seat or Seat()
    several: Sections = {
        "database": {"connection": f"sqlite:///{lab.lib / 'orchestrators.sqlite'}"},
        "cluster": {"coordination_url": "database"},
    }
    intake: dict[str, ini.Value] = {
        "feeds": feeds,
        "http_listen": f"{LOOPBACK}:{seat.intake_port}",
        "http_secret_file": trust.notify_secret,
    }
    if transport_url:
        intake.update({"transport_url": transport_url, "topics": "notifications", "exchange": "neutron"})
    return {
        "DEFAULT": {"name": seat.name, "state_dir": lab.lib / seat.name},
        "neutron": {"url": NEUTRON_URL, "auth_type": "none"},
        "intake": intake,
        "nodes": {
            "node": [f"{NODE_NAME}=https://{LOOPBACK}:{NODE_PORT}", *further_nodes],
            "ca_file": trust.tls / "ca.crt",
            "cert_file": trust.tls / "orchestrator.crt",
            "key_file": trust.tls / "orchestrator.key",
        },
        "identity": {"ca_dir": trust.tls / "instances"},
        "services": {
            "drivers": "router,network",
            "default_provider": body,
            "network_provider": network_body,
            "providers": ",".join(BODIES),
            "domain": DNS_DOMAIN,
        },
        "admin": {"socket": seat.admin_socket},
        "metrics": {"listen": f"{LOOPBACK}:{seat.metrics_port}"},
        # Two processors have better to do than to start machines that nobody has asked for.
        **({"pool": {"microvm": 0}} if body == "microvm" else {}),
        **({} if node_patience_s is None else {"healing": {"node_patience_s": node_patience_s}}),
        **(several if shared else {}),
    }


def node(lab: Lab, trust: Trust, *, ovs: bool) -> Sections:
    """node.conf."""
    sections: dict[str, Mapping[str, ini.Value]] = {
        "DEFAULT": {
            "name": NODE_NAME,
            "state_dir": lab.lib / "node",
            "listen": f"{LOOPBACK}:{NODE_PORT}",
            "ca_file": trust.tls / "ca.crt",
            "cert_file": trust.tls / "node.crt",
            "key_file": trust.tls / "node.key",
        },
        "metadata": {
            "nova_url": f"http://{LOOPBACK}:{METADATA_PORT}",
            "shared_secret_file": trust.metadata_secret,
        },
        **bodies.node_sections(lab),
    }
    if ovs:
        sections["ovs"] = {"integration_bridge": "br-int", "ovsdb": f"unix:{OVSDB_SOCKET}", "netdev": True}
    return sections
