"""ML2/OVS without l2population: layer 2 learns where the active half is, and its agents wire a port on every node it is
plugged on. A binding that says so then is for those who read it.

Bound anew by ML2, a port is unbound for some 0.3 s. neutron-openvswitch-agent looks every two seconds, and a port it
finds unbound it puts into no network at all until it looks again: of both halves.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from neutron.plugins.ml2 import models as ml2
from neutron_lib import constants
from neutron_lib.db import api as db_api
from oslo_db import exception as db_exc
from oslo_log import log as logging

from astara_neutron import journal, mechanisms
from astara_neutron.models import KIND_ROUTER

LOG = logging.getLogger(__name__)

_BINDING = ml2.PortBinding.__table__
_LEVEL = ml2.PortBindingLevel.__table__
_DRIVER, _DELIVERS_BY_BINDING = "openvswitch", "l2population"


def ports(session: Any, port_ids: Collection[str]) -> list[str]:
    """Return those among `port_ids` that need not be bound anew to be somewhere else."""
    loaded = mechanisms.loaded()
    if _DRIVER not in loaded or _DELIVERS_BY_BINDING in loaded or not port_ids:
        return []
    levels = sa.select(_LEVEL.c.port_id, _LEVEL.c.driver).where(_LEVEL.c.port_id.in_(list(port_ids)))
    drivers: dict[str, set[str]] = {}
    for row in session.execute(levels):
        drivers.setdefault(row.port_id, set()).add(row.driver)
    return sorted(port_id for port_id, by in drivers.items() if by == {_DRIVER})


def move(context: Any, router_id: str, port_ids: Collection[str], host: str) -> bool:
    """Have the bindings of `port_ids` say `host`; False when that cannot be, and nothing has changed."""
    try:
        with db_api.CONTEXT_WRITER.using(context):
            for table in (_BINDING, _LEVEL):
                where = table.c.port_id.in_(list(port_ids))
                if table is _BINDING:
                    where &= table.c.status == constants.ACTIVE
                context.session.execute(sa.update(table).where(where).values(host=host))
            journal.mark(context.session, [(KIND_ROUTER, router_id)])
    except db_exc.DBDuplicateEntry:
        LOG.info("Ports of router %s have bindings on several hosts, and are bound anew", router_id)
        return False
    return True
