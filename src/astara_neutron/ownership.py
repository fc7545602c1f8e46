"""Which routers and networks are Astara's."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from neutron.db.models import servicetype
from neutron_lib.plugins import constants as plugin_constants
from neutron_lib.plugins import directory
from oslo_config import cfg

_ASSOCIATION = servicetype.ProviderResourceAssociation.__table__
OUR_PROVIDERS = ("astara_neutron.l3_provider.AstaraL3", "astara_neutron.ovn_provider.AstaraOvn")


def l3_plugin() -> Any:
    """Return Neutron's L3 service plug-in (`router` or `ovn-router`), or None when none is loaded."""
    return directory.get_plugin(plugin_constants.L3)


def provider_names() -> frozenset[str]:
    """Return the names under which the operator configured our L3 providers; empty when they did not."""
    plugin = l3_plugin()
    controller = getattr(plugin, "l3_driver_controller", None)
    if controller is None:
        return frozenset()
    return frozenset(name for name, driver in controller.drivers.items() if _class_path(driver) in OUR_PROVIDERS)


def _class_path(driver: Any) -> str:
    return f"{type(driver).__module__}.{type(driver).__qualname__}"


def our_routers() -> sa.Select[Any]:
    """Return the subquery of the ids of our routers."""
    return sa.select(_ASSOCIATION.c.resource_id).where(_ASSOCIATION.c.provider_name.in_(sorted(provider_names())))


def owned(session: Any, router_ids: Collection[str]) -> set[str]:
    """Return those of `router_ids` that are ours. One query, none for no ids."""
    if not router_ids:
        return set()
    query = our_routers().where(_ASSOCIATION.c.resource_id.in_(sorted(router_ids)))
    return set(session.execute(query).scalars())


def serves_dhcp() -> bool:
    """Return whether Astara serves networks at all: not where OVN answers DHCP by itself."""
    wanted = str(cfg.CONF.astara.dhcp)
    if wanted == "auto":
        return "ovn" not in cfg.CONF.ml2.mechanism_drivers
    return wanted == "all"
