"""Profile `cluster`: several orchestrators on RabbitMQ and MariaDB, two nodes, networks on Linux bridges.

What everything is shown on that has to do with more than one of something: pairs of routers, work that is shared, and
what fails between the parts. Each orchestrator has wires of its own (wires.py), each node and each orchestrator a small
disk of its own, and each orchestrator a wall clock of its own.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from astara_lab import configuration, ini, second_node, tasks, wires
from astara_lab.places import NEUTRON_URL, NODE_NAME, Lab, Seat
from astara_lab.profiles import daemons, embedded, neutron
from astara_lab.profiles.astara import BIN, Setting, astara_tasks
from astara_lab.tasks import Task

DISK = "48m"
_API_THREADS = 8


def plan(setting: Setting) -> list[Task]:
    """Everything waits for the wires and disks, and those who keep something in MariaDB for that."""
    _write_files(setting)
    lab = setting.lab
    config = {"OS_NEUTRON_CONFIG_DIR": str(lab.etc), "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2.ini"}
    api = setting.spec("neutron", BIN / "pyuwsgi", "--ini", lab.etc / "uwsgi.ini", env=config)

    def places() -> None:
        wires.lay(setting.variant.seats)
        _disks(lab, setting.variant.seats)

    return [
        Task("places", places),
        daemons.rabbit(setting),
        daemons.mariadb(setting, ("neutron", neutron.RECORDS)),
        Task("database", neutron.migrate(setting), ("mariadb",)),
        Task("records", neutron.records(setting), ("mariadb",)),
        Task(
            "neutron",
            tasks.service(lab, setting.control, api, tasks.http_answers(NEUTRON_URL)),
            ("database", "rabbit"),
        ),
        *embedded.node_2_tasks(setting, after=("places",)),
        *astara_tasks(
            setting,
            node_after=("places", "wires"),
            orchestrator_after=("places", "records"),
            before=lambda seat: (sys.executable, "-m", "astara_lab.clocked", clock_file(lab, seat)),
        ),
    ]


def clock_file(lab: Lab, seat: Seat) -> Path:
    """Holds by how many seconds an orchestrator's clock is ahead (clocked.py)."""
    return lab.run / f"{seat.name}.clock"


def disks(lab: Lab, seats: tuple[Seat, ...]) -> dict[str, Path]:
    """Who has a disk of its own, and where: nodes by the names of their services, orchestrators by theirs."""
    return {name: lab.lib / name for name in ("node", "node-2", *(seat.name for seat in seats))}


def _disks(lab: Lab, seats: tuple[Seat, ...]) -> None:
    """Small file systems of their own, that one may be full without the others."""
    for place in disks(lab, seats).values():
        place.mkdir(parents=True, exist_ok=True)
        if not place.is_mount():
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,size={DISK}", "disk", place], check=True)


def _write_files(setting: Setting) -> None:
    lab, trust, variant = setting.lab, setting.trust, setting.variant
    choice = configuration.NeutronChoice(
        transport_url=daemons.rabbit_url(setting),
        database_url=daemons.database_url(setting),
        notify_driver="messagingv2",
        mechanism_drivers="astara_bridge",
        tenant_network_type="vxlan",
        service_plugins=f"router,astara,{configuration.ROUTER_PLUGINS}",
        service_providers=(configuration.ASTARA_PROVIDER,),
        further={
            "oslo_messaging_rabbit": {"rabbit_quorum_queue": False, "heartbeat_in_pthread": True},
            **neutron.ASTARA_OPTIONS,
        },
        notify_urls=(),
    )
    (lab.lib / "neutron/lock").mkdir(parents=True, exist_ok=True)
    ini.write(lab.etc / "neutron.conf", configuration.neutron(lab, trust, choice))
    (lab.etc / "neutron.conf").chmod(0o600)
    ini.write(lab.etc / "ml2.ini", configuration.ml2(choice))
    (lab.etc / "uwsgi.ini").write_text(configuration.neutron_server(_API_THREADS, variant.api_processes))
    for seat in variant.seats:
        ini.write(lab.etc / seat.config, _orchestrator(setting, seat))
        (lab.etc / seat.config).chmod(0o600)
    node = dict(configuration.node(lab, trust, ovs=False))
    node["bridge"] = second_node.bridge_section(second_node.FIRST_ADDRESS, second_node.ADDRESS, second_node.WIRE)
    ini.write(lab.etc / "node.conf", node)
    ini.write(lab.etc / "node-2.conf", second_node.configuration(lab, trust))


def _orchestrator(setting: Setting, seat: Seat) -> ini.Sections:
    """It knows everybody by the far end of its own wires."""

    def at(url: str, end: str) -> str:
        return url.replace(f":{wires.ENDS[end]}", f":{wires.port(seat, end)}")

    found = configuration.orchestrator(
        setting.lab,
        setting.trust,
        feeds="rabbit",
        body=setting.variant.body,
        network_body=setting.variant.of_networks,
        transport_url=at(daemons.rabbit_url(setting), "rabbit"),
        seat=seat,
        shared=True,
        node_patience_s=setting.variant.node_patience_s,
    )
    sections = {name: dict(options) for name, options in found.items()}
    sections["database"]["connection"] = at(daemons.database_url(setting, neutron.RECORDS), "mariadb")
    sections["neutron"]["url"] = at(NEUTRON_URL, "neutron")
    sections["nodes"]["node"] = [
        f"{name}=https://{wires.address(end)}:{wires.port(seat, end)}"
        for name, end in ((NODE_NAME, "node"), (second_node.NAME, "node-2"))
    ]
    return sections
