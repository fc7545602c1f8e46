"""Routers that run as two instances on two nodes (docs/design/ha.md): where, and the ports through which they speak.

The HA network is Neutron's own kind: one per project, made with its first such router and deleted after the last.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from neutron.db import models_v2
from neutron.db.models import flavor, l3, l3_attrs
from neutron.plugins.ml2 import models as ml2
from neutron_lib import constants
from neutron_lib import exceptions as n_exc
from neutron_lib.db import api as db_api
from oslo_log import log as logging

from astara.contract.snapshot import ActiveHalf
from astara_neutron import chassis, ha_networks, learning, nodes, ownership, placement
from astara_neutron.models import KIND_ROUTER, KIND_SECOND
from astara_neutron.snapshot.routers import parse_metainfo
from astara_neutron.watch import ROUTER_OWNERS

LOG = logging.getLogger(__name__)

OWNER = ha_networks.OWNER
_ROUTER = l3.Router.__table__
_EXTRA = l3_attrs.RouterExtraAttributes.__table__
_PORT = models_v2.Port.__table__
_BINDING = ml2.PortBinding.__table__
_PROFILE = flavor.ServiceProfile.__table__
_PROFILE_BINDING = flavor.FlavorServiceProfileBinding.__table__
_SIZE = 2


class NotAPair(n_exc.NotFound):
    """HTTP 404."""

    message = "router %(router_id)s is not a pair of Astara's with a half on node %(host)s"


class NotBound(n_exc.ServiceUnavailable):
    """HTTP 503: the same call may work later."""

    message = "port %(port_id)s cannot be bound to node %(host)s: see which layer-2 agent or chassis lives there"


def wanted(session: Any, router_ids: Collection[str] | None = None) -> dict[str, str]:
    """Return router id -> project id of those that are ours and shall be pairs, of all or of `router_ids`."""
    query = (
        sa.select(_ROUTER.c.id, _ROUTER.c.project_id, _EXTRA.c.ha, _PROFILE.c.metainfo)
        .select_from(_ROUTER)
        .outerjoin(_EXTRA, _EXTRA.c.router_id == _ROUTER.c.id)
        .outerjoin(_PROFILE_BINDING, _PROFILE_BINDING.c.flavor_id == _ROUTER.c.flavor_id)
        .outerjoin(_PROFILE, _PROFILE.c.id == _PROFILE_BINDING.c.service_profile_id)
        .where(_ROUTER.c.id.in_(ownership.our_routers()))
    )
    if router_ids is not None:
        query = query.where(_ROUTER.c.id.in_(sorted(router_ids)))
    rows = session.execute(query).all()
    return {row.id: row.project_id for row in rows if row.ha or parse_metainfo(row.metainfo).get("ha") == "true"}


def complete(context: Any, router_id: str) -> None:
    """Place both halves, make their ports and bind them, as far as there are nodes. Idempotent.

    A router that shall be none (any more) loses what it had as one.
    """
    with db_api.CONTEXT_READER.using(context):
        project = wanted(context.session, [router_id]).get(router_id)
        ports = _ports(context.session, router_id)
    if project is None:
        if ports:
            _dissolve(context, router_id, list(ports))
        return
    if len(ports) < _SIZE:
        ha_networks.make_ports(router_id, project, _SIZE - len(ports))
        with db_api.CONTEXT_READER.using(context):
            ports = _ports(context.session, router_id)
    for port_id in _surplus(ports):
        ha_networks.delete_ports(context, [port_id])
        del ports[port_id]
    for port_id, host in zip(sorted(ports), _place(context, router_id), strict=False):
        if host is not None and ports[port_id] != host:
            placement.bind(context, port_id, host)
    placement.share(context, router_id)


def move_second(context: Any, router_id: str, host: str) -> None:
    """Have slot 1 of a pair on another node, never on that of slot 0; of a router that is no pair there is none.

    Slot 0 serves meanwhile, so the router's ports are bound there; they follow the active half again afterwards.

    Raises:
        NotOurs: (404)
        NotBound: (503) nothing has moved.
    """
    with db_api.CONTEXT_READER.using(context):
        if not ownership.owned(context.session, [router_id]):
            raise placement.NotOurs(router_id=router_id)
        paired = router_id in wanted(context.session, [router_id])
        first = placement.placed(context.session, KIND_ROUTER, router_id)
    if paired and first is not None and first != host:
        # Before anything else: bound to a node without a half, the ports would be taken from both halves.
        follow(context, ActiveHalf(id=router_id, host=first))
        placement.store(context, KIND_SECOND, router_id, host, replace=True)
        complete(context, router_id)


def _surplus(ports: dict[str, str]) -> list[str]:
    """Return those beyond two: whoever made the pair and whoever completed it at the same time each made some.

    All of them choose alike, whoever sees all: what is bound stays, and of what is not what has the smallest id.
    """
    return sorted(ports, key=lambda port_id: (not ports[port_id], port_id))[_SIZE:]


def complete_what_waits(context: Any) -> None:
    """Go on with pairs that lack a port, or a bound one: there was no second node. So with those that have three."""
    with db_api.CONTEXT_READER.using(context):
        every = wanted(context.session)
        bound = (
            sa.select(_PORT.c.device_id, sa.func.count())
            .join(_BINDING, _BINDING.c.port_id == _PORT.c.id)
            .where(_PORT.c.device_owner == OWNER, _BINDING.c.status == constants.ACTIVE)
            .where(_BINDING.c.vif_type.not_in(placement.NOT_BOUND))
            .group_by(_PORT.c.device_id)
        )
        have = sa.select(_PORT.c.device_id, sa.func.count()).where(_PORT.c.device_owner == OWNER)
        exact = {row[0] for row in context.session.execute(have.group_by(_PORT.c.device_id)) if row[1] == _SIZE}
        whole = {row[0] for row in context.session.execute(bound) if row[1] >= _SIZE} & exact
    for router_id in placement.portion(sorted(set(every) - whole)):
        complete(context, router_id)
    if chassis.offered():
        # Pairs of before an upgrade, of before a choice of the operator's.
        for router_id in placement.portion(sorted(whole & set(every))):
            placement.share(context, router_id)


def follow(context: Any, half: ActiveHalf) -> int:
    """Bind the router's ports where its active half is; returns how many were bound elsewhere.

    Layer 2 that delivers by port binding leads to the active half only so. A port that cannot be bound there is bound
    where it was: without a binding, both halves would lose it.

    Raises:
        NotAPair: (404) it is not ours, or has no half there.
        NotBound: (503) names the port; what could be bound is.
    """
    with db_api.CONTEXT_READER.using(context):
        hosts = [placement.placed(context.session, kind, half.id) for kind in (KIND_ROUTER, KIND_SECOND)]
        if half.host not in hosts or half.id not in wanted(context.session, [half.id]):
            raise NotAPair(router_id=half.id, host=half.host)
        elsewhere = _bound_elsewhere(context.session, half)
        learned = learning.ports(context.session, [port_id for port_id, _ in elsewhere])
        led = [(port_id, before) for port_id, before in elsewhere if not chassis.shared(context.session, port_id)]
    anew = elsewhere
    if learned and learning.move(context, half.id, learned, half.host):
        anew = [(port_id, before) for port_id, before in elsewhere if port_id not in learned]
    chassis.lead(led, half.host)
    failed = [port_id for port_id, before in anew if not _rebind(context, port_id, half.host, before)]
    if failed:
        raise NotBound(port_id=failed[0], host=half.host)
    return len(elsewhere)


def _bound_elsewhere(session: Any, half: ActiveHalf) -> list[tuple[str, str]]:
    """Return (port id, host) of the router's ports that are bound to another node."""
    query = (
        sa.select(_PORT.c.id, _BINDING.c.host)
        .join(_BINDING, (_BINDING.c.port_id == _PORT.c.id) & (_BINDING.c.status == constants.ACTIVE))
        .where(_PORT.c.device_id == half.id, _PORT.c.device_owner.in_(ROUTER_OWNERS), _BINDING.c.host != half.host)
        .order_by(_PORT.c.id)
    )
    return [(row.id, row.host) for row in session.execute(query)]


def _rebind(context: Any, port_id: str, host: str, before: str) -> bool:
    placement.bind(context, port_id, host)
    if not placement.unbound(context, _PORT.c.id == port_id):
        return True
    LOG.error("Port %s cannot be bound to %s, where its router's active half is", port_id, host)
    if before:
        placement.bind(context, port_id, before)
    return False


def _ports(session: Any, router_id: str) -> dict[str, str]:
    """Return port id -> host of the halves' ports, in the order of slots."""
    query = (
        sa.select(_PORT.c.id, _BINDING.c.host)
        .outerjoin(_BINDING, (_BINDING.c.port_id == _PORT.c.id) & (_BINDING.c.status == constants.ACTIVE))
        .where(_PORT.c.device_id == router_id, _PORT.c.device_owner == OWNER)
        .order_by(_PORT.c.id)
    )
    return {row.id: row.host or "" for row in session.execute(query)}


def _place(context: Any, router_id: str) -> tuple[str | None, str | None]:
    """Return the nodes of slots 0 and 1, choosing what is missing; never one node for both."""
    first = placement.place(context, KIND_ROUTER, router_id)
    with db_api.CONTEXT_READER.using(context):
        second = placement.placed(context.session, KIND_SECOND, router_id)
    if first is not None and second in (None, first):
        second = nodes.choose(router_id, [host for host in nodes.available(context) if host != first])
        if second is not None:
            placement.store(context, KIND_SECOND, router_id, second, replace=True)
    return first, second


def _dissolve(context: Any, router_id: str, port_ids: list[str]) -> None:
    placement.forget(context, KIND_SECOND, router_id)
    placement.share(context, router_id)
    ha_networks.delete_ports(context, port_ids)
