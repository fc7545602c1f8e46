"""Collects what others recorded: node agents' logs, the orchestrators' audit and rings, and what is left at the end."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from astara.admin.client import OperatorClient
from astara_lab import second_node
from astara_lab.places import LOOPBACK, MARIADB_PORT, NODE_NAME, Lab, Seat
from astara_lab.profiles import daemons, neutron
from astara_lab.trust import trust_of
from chaos.history import Act, Audit, Entry, Instance, Leftover, Ring

NODES = {NODE_NAME: "node", second_node.NAME: "node-2"}
_ACTS = {"act.let-in": True, "act.refused": False}


def acts(lab: Lab) -> Iterator[Act]:
    """What each node agent let in and refused, in its own order: that of its log."""
    for node, service in NODES.items():
        for line in (lab.log / f"{service}.log").read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, AttributeError):
                found = act_of(node, json.loads(line))
                if found is not None:
                    yield found


def act_of(node: str, said: dict[str, Any]) -> Act | None:
    """Read one line of a node agent's log; None: it is of something else."""
    if said.get("event") not in _ACTS:
        return None
    term, _, revision = said["generation"].partition(".")
    let_in = _ACTS[said["event"]]
    return Act(node, said["instance"], said["act"], (int(term), int(revision)), let_in, bool(said["spare"]))


def records(lab: Lab) -> Iterator[Entry]:
    """The audit's lines that say a generation, and every ring."""
    password = trust_of(lab).password
    url = f"mysql+pymysql://{daemons.USER}:{password}@{LOOPBACK}:{MARIADB_PORT}/{neutron.RECORDS}?charset=utf8mb4"
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            for key, line in connection.execute(sa.text("SELECT `key`, line FROM history ORDER BY id")):
                found = audit_of(key, json.loads(line))
                if found is not None:
                    yield found
            for row in connection.execute(sa.text("SELECT epoch, follows, members, why FROM rings ORDER BY epoch")):
                members = tuple(member["name"] for member in json.loads(row.members))
                yield Ring(row.epoch, row.follows, members, row.why)
    finally:
        engine.dispose()


def audit_of(key: str, said: dict[str, Any]) -> Audit | None:
    if not key or not said.get("generation"):
        return None
    term = int(said["generation"].partition(".")[0])
    return Audit(key, said["who"], term, said["outcome"], len(said["steps"]), len(said.get("undone", ())))


def instances(seat: Seat, when: str) -> Iterator[Instance]:
    """What the node agents keep, as they say themselves."""
    for line in OperatorClient(seat.admin_socket, timeout_s=10.0).instances():
        yield Instance(line.id, line.resource, line.slot, line.host, when)


def leftovers(lab: Lab, kept: set[str]) -> Iterator[Leftover]:
    """Records of a node agent that are of no instance. `kept`: the instances there are."""
    for service in NODES.values():
        place = Path(lab.lib / service / "instances")
        for entry in sorted(place.iterdir()) if place.is_dir() else ():
            if (entry / "instance.json").exists() and entry.name not in kept:
                yield Leftover(service, f"a record of instance {entry.name}, which is not there")
