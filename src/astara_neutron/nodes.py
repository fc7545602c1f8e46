"""The nodes the orchestrator announced, and the choice among them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from neutron_lib.db import api as db_api

from astara.contract.snapshot import NodeReport
from astara_neutron import models

_NODES = models.AstaraNode.__table__


def choose(resource_id: str, hosts: Iterable[str]) -> str | None:
    """Return the host with the highest rendezvous weight for this resource, or None without hosts.

    Spreads resources evenly, and adding or losing a host moves only what must move (Thaler and Ravishankar,
    "A Name-Based Mapping Scheme for Rendezvous", 1996).
    """
    return max(hosts, key=lambda host: (_weight(resource_id, host), host), default=None)


def _weight(resource_id: str, host: str) -> bytes:
    return hashlib.sha256(f"{resource_id}\0{host}".encode()).digest()


def known(context: Any) -> dict[str, bool]:
    """Return every announced node with whether it is available. One query."""
    with db_api.CONTEXT_READER.using(context):
        rows = context.session.execute(sa.select(_NODES.c.host, _NODES.c.available)).all()
    return {host: bool(available) for host, available in rows}


def available(context: Any) -> list[str]:
    """Return the nodes on which something new may be placed."""
    return [host for host, is_available in known(context).items() if is_available]


def announce(context: Any, report: NodeReport) -> tuple[bool, list[str]]:
    """Store the report as the whole truth: a node it does not name is unavailable.

    Return whether anything changed, and the nodes that were available and are not named.
    """
    wanted = {item.host: item.available for item in report.nodes}
    with db_api.CONTEXT_WRITER.using(context):
        before = known(context)
        missing = {host: False for host, is_available in before.items() if is_available and host not in wanted}
        changes = {host: state for host, state in {**wanted, **missing}.items() if before.get(host) != state}
        for host, state in changes.items():
            if host in before:
                context.session.execute(sa.update(_NODES).where(_NODES.c.host == host).values(available=state))
            else:
                context.session.execute(sa.insert(_NODES).values(host=host, available=state))
    return bool(changes), sorted(missing)
