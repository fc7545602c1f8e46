"""Which node serves which router or network, and Neutron's port bindings that follow from it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from neutron.db import models_v2
from neutron.plugins.ml2 import models as ml2
from neutron_lib import constants
from neutron_lib import exceptions as n_exc
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory
from oslo_db import exception as db_exc
from oslo_log import log as logging

from astara_neutron import chassis, journal, models, nodes, ownership
from astara_neutron.models import KIND_ROUTER, KIND_SECOND
from astara_neutron.watch import ROUTER_OWNERS

LOG = logging.getLogger(__name__)
Waiting = TypeVar("Waiting")

_PLACEMENTS = models.AstaraPlacement.__table__
_PORT = models_v2.Port.__table__
_BINDING = ml2.PortBinding.__table__
NOT_BOUND = (portbindings.VIF_TYPE_UNBOUND, portbindings.VIF_TYPE_BINDING_FAILED)
#: Ports bound by one announcement of nodes; the next one goes on. Binding is a few ms to some 100 ms for each.
REBIND_AT_ONCE = 100


class NotOurs(n_exc.NotFound):
    """HTTP 404."""

    message = "router %(router_id)s does not exist or is not served by Astara"


def placed(session: Any, kind: str, resource_id: str) -> str | None:
    """Return the host a resource was placed on."""
    query = sa.select(_PLACEMENTS.c.host).where(_PLACEMENTS.c.kind == kind, _PLACEMENTS.c.resource_id == resource_id)
    host: str | None = session.execute(query).scalar()
    return host


def place(context: Any, kind: str, resource_id: str) -> str | None:
    """Return the host of a resource, choosing and storing one at the first time; None while no node is available."""
    with db_api.CONTEXT_READER.using(context):
        host = placed(context.session, kind, resource_id)
    if host:
        return host
    host = nodes.choose(resource_id, nodes.available(context))
    if host:
        store(context, kind, resource_id, host, replace=False)
    return host


def store(context: Any, kind: str, resource_id: str, host: str, *, replace: bool) -> None:
    """Remember the host of a resource; without `replace`, whoever was first stays."""
    row = {"kind": kind, "resource_id": resource_id}
    with db_api.CONTEXT_WRITER.using(context):
        before = placed(context.session, kind, resource_id)
        if before == host or (before and not replace):
            return
        if before:
            where = (_PLACEMENTS.c.kind == kind) & (_PLACEMENTS.c.resource_id == resource_id)
            context.session.execute(sa.update(_PLACEMENTS).where(where).values(host=host))
        else:
            try:
                with db_api.CONTEXT_WRITER.savepoint.using(context):
                    context.session.execute(sa.insert(_PLACEMENTS).values(host=host, **row))
            except db_exc.DBDuplicateEntry:
                return  # another call placed it at the same moment: by the same hash on the same node
        journal.mark(context.session, [(KIND_ROUTER if kind == KIND_SECOND else kind, resource_id)])


def forget(context: Any, kind: str, resource_id: str) -> None:
    """Drop the placement of a deleted resource, in the transaction that deletes it."""
    with db_api.CONTEXT_WRITER.using(context):
        where = (_PLACEMENTS.c.kind == kind) & (_PLACEMENTS.c.resource_id == resource_id)
        context.session.execute(sa.delete(_PLACEMENTS).where(where))


def bind_at_creation(context: Any, port: dict[str, Any]) -> None:
    """Put the host into a port that Neutron is about to make for one of our routers: it is then made bound."""
    host = port.get(portbindings.HOST_ID)
    # An attribute the caller left out is a sentinel object here, and true.
    if port.get("device_owner") not in ROUTER_OWNERS or (isinstance(host, str) and host):
        return
    router_id = port["device_id"]
    with db_api.CONTEXT_READER.using(context):
        ours = ownership.owned(context.session, [router_id])
    if ours:
        chosen = place(context, KIND_ROUTER, router_id)
        if chosen:
            port[portbindings.HOST_ID] = chosen
            with db_api.CONTEXT_READER.using(context):
                chassis.at_creation(context.session, port, _other_half(context.session, router_id, chosen))


def bind_attached(context: Any, router_id: str, port_ids: Iterable[str]) -> None:
    """Bind ports a user made and attached to one of our routers by their id: they were made before we knew."""
    with db_api.CONTEXT_READER.using(context):
        if not ownership.owned(context.session, [router_id]):
            return
    host = place(context, KIND_ROUTER, router_id)
    if host:
        for port_id in unbound(context, _PORT.c.id.in_(list(port_ids))):
            bind(context, port_id, host)


def bind(context: Any, port_id: str, host: str) -> None:
    """Bind one port; one that is deleted meanwhile is no error. What both halves of a pair can have, both get."""
    wish: dict[str, Any] = {portbindings.HOST_ID: host}
    with db_api.CONTEXT_READER.using(context):
        router_id = context.session.execute(
            sa.select(_PORT.c.device_id).where(_PORT.c.id == port_id, _PORT.c.device_owner.in_(ROUTER_OWNERS))
        ).scalar()
        if router_id is not None:
            profile = chassis.profile_of(context.session, port_id, _other_half(context.session, router_id, host))
            wish |= {} if profile is None else {portbindings.PROFILE: profile}
    try:
        directory.get_plugin().update_port(context.elevated(), port_id, {"port": wish})
    except n_exc.PortNotFound:
        LOG.debug("Port %s was deleted before it was bound", port_id)


def share(context: Any, router_id: str) -> None:
    """Have the ports of a router, bound as they are, on the node of its other half too, or no longer. Idempotent."""
    with db_api.CONTEXT_READER.using(context):
        query = (
            sa.select(_PORT.c.id, _BINDING.c.host)
            .join(_BINDING, (_BINDING.c.port_id == _PORT.c.id) & (_BINDING.c.status == constants.ACTIVE))
            .where(_PORT.c.device_id == router_id, _PORT.c.device_owner.in_(ROUTER_OWNERS), _BINDING.c.host != "")
            .order_by(_PORT.c.id)
        )
        bound = [(row.id, row.host) for row in context.session.execute(query)]
        halves = _halves(context.session, router_id)
        differ = [
            (port_id, host)
            for port_id, host in bound
            if chassis.profile_of(context.session, port_id, _beside(halves, host)) is not None
        ]
    for port_id, host in differ:
        bind(context, port_id, host)


def _other_half(session: Any, router_id: str, host: str) -> str | None:
    """Return the node of the half that is not on `host`; None when there are no two."""
    return _beside(_halves(session, router_id), host)


def _halves(session: Any, router_id: str) -> set[str | None]:
    return {placed(session, kind, router_id) for kind in (KIND_ROUTER, KIND_SECOND)}


def _beside(halves: set[str | None], host: str) -> str | None:
    if None in halves or host not in halves or len(halves) < 2:
        return None
    return next(iter(halves - {host}))


def bind_what_waits(context: Any) -> tuple[int, int]:
    """Bind our routers' ports that have no working binding. Return how many are bound now and how many are left."""
    owners = _PORT.c.device_owner.in_(ROUTER_OWNERS) & _PORT.c.device_id.in_(ownership.our_routers())
    waiting = unbound(context, owners)
    if not waiting:
        return 0, 0
    for port_id in portion(waiting):
        router_id = _router_of(context, port_id)
        host = place(context, KIND_ROUTER, router_id) if router_id else None
        if host:
            bind(context, port_id, host)
    left = len(unbound(context, owners))
    return max(0, len(waiting) - left), left


def portion(waiting: Sequence[Waiting]) -> list[Waiting]:
    """Return what one announcement tries, at random: those that fail again and again must not keep the rest waiting."""
    return random.sample(waiting, min(REBIND_AT_ONCE, len(waiting)))


def _router_of(context: Any, port_id: str) -> str | None:
    with db_api.CONTEXT_READER.using(context):
        router_id: str | None = context.session.execute(
            sa.select(_PORT.c.device_id).where(_PORT.c.id == port_id)
        ).scalar()
    return router_id


def move_router(context: Any, router_id: str, host: str) -> None:
    """Serve a router from another node from now on: its ports are bound there. Of a pair the first half moves.

    Raises:
        NotOurs: (404)
    """
    with db_api.CONTEXT_READER.using(context):
        if not ownership.owned(context.session, [router_id]):
            raise NotOurs(router_id=router_id)
        query = sa.select(_PORT.c.id).where(_PORT.c.device_owner.in_(ROUTER_OWNERS), _PORT.c.device_id == router_id)
        second = placed(context.session, KIND_SECOND, router_id)
        if second == host:
            return  # one half of the pair is there, and two never are
        if second is not None:
            # They are where the active half is, and stay there if that is the other one.
            bound = sa.select(_BINDING.c.port_id).where(
                _BINDING.c.host == second, _BINDING.c.status == constants.ACTIVE
            )
            query = query.where(_PORT.c.id.not_in(bound))
        ports = list(context.session.execute(query.order_by(_PORT.c.id)).scalars())
    store(context, KIND_ROUTER, router_id, host, replace=True)
    for port_id in ports:
        bind(context, port_id, host)


def unbound(context: Any, which: sa.ColumnElement[bool]) -> list[str]:
    """Return the ids of the ports among `which` that have no working binding."""
    with db_api.CONTEXT_READER.using(context):
        query = (
            sa.select(_PORT.c.id)
            .join(_BINDING, _BINDING.c.port_id == _PORT.c.id)
            .where(which, _BINDING.c.status == constants.ACTIVE, _BINDING.c.vif_type.in_(NOT_BOUND))
            .order_by(_PORT.c.id)
        )
        return list(context.session.execute(query).scalars())
