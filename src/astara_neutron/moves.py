"""What the orchestrator tells about nodes, and where it wants its resources."""

from __future__ import annotations

from typing import Any

from neutron_lib import exceptions as n_exc
from neutron_lib.db import api as db_api

from astara.contract.snapshot import DhcpPortRequest, NodeReport, PlacementItem, PlacementReport
from astara_neutron import dhcp_ports, journal, nodes, ownership, pairs, placement
from astara_neutron.models import KIND_NETWORK, KIND_ROUTER, KIND_SECOND


class UnknownNode(n_exc.Conflict):
    """HTTP 409: a placement on a node nobody announced."""

    message = "%(field)s: %(host)s is not an announced node; announce it with PUT /v2.0/astara/nodes first"


class UnknownKind(n_exc.BadRequest):
    """HTTP 400."""

    message = "%(field)s: must be router, router/1 or network"


def announce(context: Any, report: NodeReport) -> dict[str, Any]:
    """Take the list of nodes as it now is, and bind what had to wait for one.

    Returns how many ports were bound now and how many still wait; call again to go on with those. `withdrawn`, when
    there are any: nodes somebody had announced and this report does not name.
    """
    with db_api.CONTEXT_WRITER.using(context):
        changed, withdrawn = nodes.announce(context, report)
        if changed:
            # Networks without a DHCP port yet are placed by hash over the nodes: any may have moved.
            journal.mark_everything(context.session)
    if ownership.serves_dhcp():
        dhcp_ports.release_unneeded(context)
    # An orchestrator of an earlier version understands the answer as long as nothing is withdrawn.
    said = {"withdrawn": withdrawn} if withdrawn else {}
    if not nodes.available(context):
        return {"bound": 0, "waiting": 0, **said}
    pairs.complete_what_waits(context)
    counts = [placement.bind_what_waits(context)]
    if ownership.serves_dhcp():
        counts.append(dhcp_ports.bind_what_waits(context))
    return {"bound": sum(bound for bound, _ in counts), "waiting": sum(waiting for _, waiting in counts), **said}


def move(context: Any, report: PlacementReport) -> dict[str, int]:
    """Move routers and networks to other nodes; nothing is moved when one of the items cannot be.

    Raises:
        UnknownKind: (400) names the item.
        UnknownNode: (409) names the item.
        NotFound: (404) no such router of ours, no such network.
    """
    known = nodes.known(context)
    for index, item in enumerate(report.placements):
        if item.kind not in (KIND_ROUTER, KIND_SECOND, KIND_NETWORK):
            raise UnknownKind(field=f"$.placements[{index}].kind")
        if item.host not in known:
            raise UnknownNode(field=f"$.placements[{index}].host", host=item.host)
    for item in report.placements:
        _move(context, item)
    return {"moved": len(report.placements)}


def _move(context: Any, item: PlacementItem) -> None:
    if item.kind == KIND_ROUTER:
        placement.move_router(context, item.id, item.host)
        pairs.complete(context, item.id)
    elif item.kind == KIND_SECOND:
        pairs.move_second(context, item.id, item.host)
    elif dhcp_ports.exists(context, item.id):
        dhcp_ports.ensure(context, DhcpPortRequest(network_id=item.id, host=item.host))
    else:
        dhcp_ports.require_network(context, item.id)
        placement.store(context, KIND_NETWORK, item.id, item.host, replace=True)
