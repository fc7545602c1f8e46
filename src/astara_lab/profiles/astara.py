"""Astara itself in a lab: the node agent, the orchestrator, and what stands in for Nova's metadata service."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from astara_lab import bodies, tasks
from astara_lab.control import Control
from astara_lab.places import (
    LOOPBACK,
    METADATA_PORT,
    NODE_PORT,
    POD_TEMPORARY,
    Lab,
    Seat,
    client_environment,
)
from astara_lab.supervised import Spec
from astara_lab.tasks import Task
from astara_lab.trust import Trust
from astara_lab.variant import Variant
from astara_lab.waiting import until

BIN = Path(sys.prefix) / "bin"


@dataclass(frozen=True)
class Setting:
    """What every profile's tasks are made from."""

    lab: Lab
    control: Control
    trust: Trust
    variant: Variant

    def spec(self, name: str, *argv: str | Path, env: dict[str, str] | None = None, whole_group: bool = True) -> Spec:
        return Spec(
            name=name,
            argv=tuple(str(word) for word in argv),
            env=environment(self.lab) | (env or {}),
            log=str(self.lab.log / f"{name}.log"),
            restart=self.variant.supervise,
            whole_group=whole_group,
        )


def environment(lab: Lab) -> dict[str, str]:
    """A clean one: nothing of the caller's reaches a service, but the paths of programs."""
    return client_environment(lab) | {
        "PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(lab.lib),
        "TMPDIR": POD_TEMPORARY,  # Neutron leaves files there that are named by process id: each pod needs its own
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        **{name: os.environ[name] for name in ("TZ", "PYTHONPATH") if name in os.environ},
    }


def restarted(control: Control, name: str, within_s: float = 60.0) -> None:
    """Restart a service and wait for its successor; call it inside the pod.

    Whoever asks an orchestrator right after its restart must not be answered by the one that is just ending.

    Raises:
        PodError: no such service. NotInTime: the successor does not run, or does not answer.
    """
    before = control.state(name)
    control.change("restart", name)

    def successor() -> bool:
        now = control.state(name)
        return now is not None and now.pid is not None and (before is None or now.pid != before.pid)

    until(f"{name} runs again", successor, within_s)
    if name in _READY:
        until(f"{name} answers again", _READY[name], within_s)


_MOST_ORCHESTRATORS = 9
_READY = {
    "node": tasks.port_open(LOOPBACK, NODE_PORT),
    **{seat.name: tasks.unix_answers(seat.admin_socket) for seat in map(Seat, range(1, _MOST_ORCHESTRATORS + 1))},
}


def astara_tasks(
    setting: Setting,
    *,
    node_after: tuple[str, ...] = (),
    orchestrator_after: tuple[str, ...] = (),
    before: Callable[[Seat], tuple[str | Path, ...]] = lambda seat: (),
) -> list[Task]:
    """They need nothing of Neutron to start: each waits for its peers by itself.

    `before` is what an orchestrator is started by, if not by itself.
    """
    lab, control = setting.lab, setting.control
    prepared = bodies.tasks_of(lab, setting.variant)
    python = (sys.executable, "-m")
    two_nodes = setting.variant.nodes > 1 or lab.profile == "cluster"
    everywhere = ("0.0.0.0",) if two_nodes else ()  # of the pod's own network
    metadata = setting.spec("metadata", *python, "astara_lab.metadata", setting.trust.metadata_secret, *everywhere)
    node = setting.spec("node", BIN / "astara-node", "--config-file", lab.etc / "node.conf", whole_group=False)

    def orchestrator(seat: Seat) -> Task:
        program = (*before(seat), BIN / "astara-orchestrator", "--config-file", lab.etc / seat.config)
        spec = setting.spec(seat.name, *program)
        return Task(seat.name, tasks.service(lab, control, spec, _READY[seat.name]), orchestrator_after)

    return [
        *prepared,
        Task("node", tasks.service(lab, control, node, _READY["node"]), (*node_after, *(one.name for one in prepared))),
        *bodies.template(lab, setting.variant),
        *map(orchestrator, setting.variant.seats),
        Task("metadata", tasks.service(lab, control, metadata, tasks.port_open(LOOPBACK, METADATA_PORT))),
    ]
