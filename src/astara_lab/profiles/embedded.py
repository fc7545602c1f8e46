"""Profile `embedded`: one Neutron process without broker or database server, and Astara. Below 1 GB, up in seconds."""

from __future__ import annotations

from astara_lab import configuration, ini, neutron_db, tasks
from astara_lab.places import NEUTRON_URL
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
        *astara_tasks(setting),
    ]


def _write_files(setting: Setting) -> None:
    lab, trust = setting.lab, setting.trust
    choice = configuration.embedded_neutron(lab, setting.variant.seats)
    (lab.lib / "neutron/lock").mkdir(parents=True, exist_ok=True)
    ini.write(lab.etc / "neutron.conf", configuration.neutron(lab, trust, choice))
    ini.write(lab.etc / "ml2.ini", configuration.ml2(choice))
    variant = setting.variant
    for seat in variant.seats:
        orchestrator = configuration.orchestrator(
            lab,
            trust,
            feeds="http",
            body=variant.body,
            network_body=variant.of_networks,
            seat=seat,
            shared=variant.orchestrators > 1,
        )
        ini.write(lab.etc / seat.config, orchestrator)
    ini.write(lab.etc / "node.conf", configuration.node(lab, trust, ovs=False, image=variant.image))
    (lab.etc / "uwsgi.ini").write_text(configuration.neutron_server(_API_THREADS))
