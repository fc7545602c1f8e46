"""Profile `embedded`: one Neutron process without broker or database server, and Astara. Below 1 GB, up in seconds."""

from __future__ import annotations

from astara_lab import bodies, configuration, ini, neutron_db, second_node, tasks
from astara_lab.places import NEUTRON_URL, NODE_PORT
from astara_lab.profiles.astara import BIN, Setting, astara_tasks
from astara_lab.tasks import Task

_API_THREADS = 8


def plan(setting: Setting) -> list[Task]:
    """Everything in parallel: nothing here needs another to be ready, only Neutron needs its database."""
    _write_files(setting)
    lab = setting.lab
    api = setting.spec(
        "neutron",
        BIN / "pyuwsgi",
        "--ini",
        lab.etc / "uwsgi.ini",
        env={"OS_NEUTRON_CONFIG_DIR": str(lab.etc), "OS_NEUTRON_CONFIG_FILES": "neutron.conf;ml2.ini"},
    )

    def database() -> None:
        neutron_db.place(lab.lib / "neutron.sqlite", lab.cache, lab.log / "database.log")

    return [
        Task("database", database),
        Task("neutron", tasks.service(lab, setting.control, api, tasks.http_answers(NEUTRON_URL)), ("database",)),
        *(node_2_tasks(setting) if setting.variant.nodes > 1 else []),
        *astara_tasks(setting, node_after=("wires",) if setting.variant.nodes > 1 else ()),
    ]


def node_2_tasks(setting: Setting, after: tuple[str, ...] = ()) -> list[Task]:
    """The second node: its wires, and its agent."""
    agent = second_node.there(str(BIN / "astara-node"), "--config-file", str(setting.lab.etc / "node-2.conf"))
    spec = setting.spec("node-2", *agent, whole_group=False)
    ready = tasks.port_open(second_node.ADDRESS, NODE_PORT)
    images = [one.name for one in bodies.tasks_of(setting.lab, setting.variant)]
    return [
        Task("wires", second_node.make, after),
        Task("node-2", tasks.service(setting.lab, setting.control, spec, ready), ("wires", *images)),
    ]


def _write_files(setting: Setting) -> None:
    lab, trust = setting.lab, setting.trust
    variant = setting.variant
    choice = configuration.embedded_neutron(lab, variant.seats, nodes=variant.nodes)
    (lab.lib / "neutron/lock").mkdir(parents=True, exist_ok=True)
    ini.write(lab.etc / "neutron.conf", configuration.neutron(lab, trust, choice))
    ini.write(lab.etc / "ml2.ini", configuration.ml2(choice))
    further = (f"{second_node.NAME}=https://{second_node.ADDRESS}:{NODE_PORT}",) if variant.nodes > 1 else ()
    for seat in variant.seats:
        orchestrator = configuration.orchestrator(
            lab,
            trust,
            feeds="http",
            body=variant.body,
            network_body=variant.of_networks,
            seat=seat,
            shared=variant.orchestrators > 1,
            further_nodes=further,
            node_patience_s=variant.node_patience_s,
        )
        ini.write(lab.etc / seat.config, orchestrator)
    node = dict(configuration.node(lab, trust, ovs=False))
    if variant.nodes > 1:
        node["bridge"] = second_node.bridge_section(second_node.FIRST_ADDRESS, second_node.ADDRESS, second_node.WIRE)
        ini.write(lab.etc / "node-2.conf", second_node.configuration(lab, trust))
    ini.write(lab.etc / "node.conf", node)
    (lab.etc / "uwsgi.ini").write_text(configuration.neutron_server(_API_THREADS))
