"""Writes what runs into Neutron: statuses of routers, ports and floating IPs, and only those that differ."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from neutron.db import models_v2
from neutron.db.models import l3
from neutron_lib import constants
from neutron_lib import exceptions as n_exc
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory

from astara.contract.snapshot import StatusItem, StatusReport
from astara_neutron import ownership, recorder

_ROUTER = l3.Router.__table__
_PORT = models_v2.Port.__table__
_FLOATING_IP = l3.FloatingIP.__table__
#: What a report may speak of: one that has left its router since the orchestrator looked is DOWN, see `release`.
_SERVED_IP = sa.select(_FLOATING_IP).where(_FLOATING_IP.c.router_id.is_not(None)).subquery()

#: What a router of ours that does not run shows. Neutron's routers know no DOWN (neutron_lib.constants
#: VALID_ROUTER_STATUS): with it in the column Neutron's own reads of the router fail, on ML2/OVN at its next port.
ROUTER_DOWN = constants.ROUTER_STATUS_ALLOCATING

ALLOWED = frozenset({"ACTIVE", "DOWN", "ERROR"})


def begin(context: Any, router: Any) -> None:
    """Let a router of ours begin as what it is, in the transaction that makes it: Neutron would call it ACTIVE."""
    if ownership.owned(context.session, [router.id]):
        router.status = ROUTER_DOWN


def release(context: Any, floating_ip_id: str, before: str | None, after: str | None) -> None:
    """Let a floating IP that leaves router `before`, one of ours, be DOWN until its next router says that it works.

    Neutron leaves the word to the agent that served it last; ours may be away, and nobody asks it afterwards.
    """
    if before is None or before == after or not ownership.owned(context.session, [before]):
        return
    row = sa.update(_FLOATING_IP).where(_FLOATING_IP.c.id == floating_ip_id, _FLOATING_IP.c.status != "DOWN")
    context.session.execute(row.values(status="DOWN"))


def release_forwarded(context: Any, floating_ip_id: str, before: str | None) -> None:
    """As `release`, after a port forwarding over router `before` was deleted: with the last one the router goes."""
    with db_api.CONTEXT_WRITER.using(context):
        after = context.session.execute(
            sa.select(_FLOATING_IP.c.router_id).where(_FLOATING_IP.c.id == floating_ip_id)
        ).scalar()
        release(context, floating_ip_id, before, after)


def write(context: Any, report: StatusReport) -> int:
    """Write the statuses that differ and return their number. What was deleted meanwhile is left out quietly.

    Three queries find what differs; when nothing does, nothing is written and nobody is notified.
    """
    with recorder.status_writes_of_our_own():
        return (
            _write_routers(context, _differing(context, _ROUTER, _in_neutrons_words(report.routers)))
            + _write_ports(context, _differing(context, _PORT, report.ports))
            + _write_floating_ips(context, _differing(context, _SERVED_IP, report.floating_ips))
        )


def _in_neutrons_words(routers: Iterable[StatusItem]) -> list[StatusItem]:
    return [StatusItem(item.id, ROUTER_DOWN) if item.status == "DOWN" else item for item in routers]


def _differing(context: Any, table: Any, items: Iterable[StatusItem]) -> dict[str, str]:
    wanted = {item.id: item.status for item in items}
    if not wanted:
        return {}
    with db_api.CONTEXT_READER.using(context):
        rows = context.session.execute(
            sa.select(table.c.id, table.c.status).where(table.c.id.in_(sorted(wanted)))
        ).all()
    return {row.id: wanted[row.id] for row in rows if row.status != wanted[row.id]}


def _write_routers(context: Any, statuses: dict[str, str]) -> int:
    """Neutron has no call for this; the column alone is written, the revision number stays."""
    by_status: dict[str, list[str]] = defaultdict(list)
    for router_id, status in sorted(statuses.items()):
        by_status[status].append(router_id)
    for status, router_ids in by_status.items():
        with db_api.CONTEXT_WRITER.using(context):
            context.session.execute(sa.update(_ROUTER).where(_ROUTER.c.id.in_(router_ids)).values(status=status))
    return len(statuses)


def _write_ports(context: Any, statuses: dict[str, str]) -> int:
    if statuses:
        directory.get_plugin().update_port_statuses(context, statuses)
    return len(statuses)


def _write_floating_ips(context: Any, statuses: dict[str, str]) -> int:
    for floating_ip_id, status in sorted(statuses.items()):
        # Deleted since we looked: nothing is left to say about it.
        with contextlib.suppress(n_exc.ObjectNotFound):
            ownership.l3_plugin().update_floatingip_status(context, floating_ip_id, status)
    return len(statuses)
