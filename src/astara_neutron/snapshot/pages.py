"""Pages of the snapshot API: which ids, then everything about them, with the revision read first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neutron_lib.db import api as db_api

from astara.contract.snapshot import NetworkPage, RouterPage, RouterSnapshot
from astara_neutron import journal
from astara_neutron.snapshot import networks, routers


@dataclass(frozen=True, slots=True)
class Selection:
    """Either these ids, all in one page, or the page of `limit` after `marker`."""

    ids: tuple[str, ...] | None = None
    marker: str | None = None
    limit: int = 200

    def following(self, page: Sequence[str]) -> str | None:
        """Return the marker of the next page, None after the last one."""
        return page[-1] if self.ids is None and len(page) == self.limit else None


def router_page(context: Any, selection: Selection) -> RouterPage:
    """Answer GET /v2.0/astara/routers."""
    with db_api.CONTEXT_READER.using(context):
        # Before the data: a change between the two is then looked at again, never missed.
        revision = journal.revision(context.session)
        ids = selection.ids
        if ids is None:
            ids = tuple(routers.page_ids(context.session, selection.marker, selection.limit))
        found = routers.read_routers(context, ids)
        touched = {network for router in found for network in _networks_of(router)}
        around = networks.read_networks(context, touched, with_ports=False)
    return RouterPage(revision=revision, routers=found, networks=around, next=selection.following(ids))


def network_page(context: Any, selection: Selection) -> NetworkPage:
    """Answer GET /v2.0/astara/networks."""
    with db_api.CONTEXT_READER.using(context):
        revision = journal.revision(context.session)
        ids = selection.ids
        if ids is None:
            ids = tuple(networks.page_ids(context.session, selection.marker, selection.limit))
        found = networks.read_networks(context, ids, with_ports=True)
    return NetworkPage(revision=revision, networks=found, next=selection.following(ids))


def _networks_of(router: RouterSnapshot) -> set[str]:
    ports = [*(gateway.port for gateway in router.gateways), *router.interfaces]
    ports += [member.port for member in router.members]
    return {port.network_id for port in ports} | {ip.floating_network_id for ip in router.floating_ips}
