"""HA networks, one per project, over which the halves of its pairs speak, and the ports on them.

Neutron's own kind, made by the L3 plug-in where it has them. OVN's has none: there they are made here, with the same
names and rows (neutron/db/l3_hamode_db.py).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from neutron.db import models_v2
from neutron.db.models import l3ha
from neutron.objects import base as objects
from neutron.objects import l3_hamode, router
from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib import exceptions as n_exc
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory, utils
from oslo_config import cfg
from oslo_log import log as logging

from astara_neutron import ownership

LOG = logging.getLogger(__name__)

OWNER = constants.DEVICE_OWNER_ROUTER_HA_INTF
_PORT = models_v2.Port.__table__
_NETWORK = l3ha.L3HARouterNetwork.__table__
#: Where Neutron's own L3 plug-in is not loaded, its option is not registered.
_CIDR = "169.254.192.0/18"


def make_ports(router_id: str, project_id: str, count: int) -> None:
    """Make ports for the halves of a router, and the project's network before its first."""
    plugin, context = ownership.l3_plugin(), neutron_context.get_admin_context()
    theirs = hasattr(plugin, "add_ha_port")
    network_id = _network_of(context, project_id)
    if network_id is None:
        network_id = _their_network(plugin, project_id) if theirs else _own_network(context, project_id)
    for _ in range(count):
        if theirs:
            plugin.add_ha_port(context, router_id, network_id, project_id)
        else:
            _own_port(context, router_id, network_id, project_id)


def router_gone(router_id: str, project_id: str) -> None:
    """Delete what Neutron leaves: ports of a pair that is none by its attribute, the network after the last pair."""
    context = neutron_context.get_admin_context()
    delete_ports(context, _ports_of(context, router_id))
    network_id = _network_of(context, project_id) if project_id else None
    if network_id is not None:
        try:
            directory.get_plugin().delete_network(context, network_id)
        except (n_exc.NetworkInUse, n_exc.NetworkNotFound):
            LOG.debug("HA network %s has other pairs, or is gone", network_id)


def _ports_of(context: Any, router_id: str) -> list[str]:
    with db_api.CONTEXT_READER.using(context):
        query = sa.select(_PORT.c.id).where(_PORT.c.device_id == router_id, _PORT.c.device_owner == OWNER)
        return list(context.session.execute(query.order_by(_PORT.c.id)).scalars())


def delete_ports(context: Any, port_ids: Iterable[str]) -> None:
    """Absence is success: another process may do the same."""
    for port_id in port_ids:
        with contextlib.suppress(n_exc.PortNotFound):
            directory.get_plugin().delete_port(context.elevated(), port_id, l3_port_check=False)


def _network_of(context: Any, project_id: str) -> str | None:
    with db_api.CONTEXT_READER.using(context):
        query = sa.select(_NETWORK.c.network_id).where(_NETWORK.c.project_id == project_id)
        found: str | None = context.session.execute(query).scalar()
    return found


def _their_network(plugin: Any, project_id: str) -> str:
    # In a context of its own: Neutron writes the project into the one it is given.
    return str(plugin._create_ha_network(neutron_context.get_admin_context(), project_id).network_id)


def _own_network(context: Any, project_id: str) -> str:
    """Of two made at the same moment one stays: the row of a project is unique."""
    core = directory.get_plugin()
    name = constants.HA_NETWORK_NAME % project_id
    wish = {"name": name, "project_id": "", "shared": False, "admin_state_up": True}
    network_id = str(utils.create_network(core, context, {"network": wish})["id"])
    try:
        subnet = {
            "network_id": network_id,
            "project_id": "",
            "name": constants.HA_SUBNET_NAME % project_id,
            "ip_version": 4,
            "cidr": cfg.CONF.l3_ha_net_cidr if "l3_ha_net_cidr" in cfg.CONF else _CIDR,
            "enable_dhcp": False,
            "gateway_ip": None,
        }
        utils.create_subnet(core, context, {"subnet": subnet})
        l3_hamode.L3HARouterNetwork(context, project_id=project_id, network_id=network_id).create()
    except Exception as error:
        core.delete_network(context, network_id)
        other = _network_of(context, project_id)
        if isinstance(error, objects.NeutronDbObjectDuplicateEntry) and other is not None:
            return other
        raise
    return network_id


def _own_port(context: Any, router_id: str, network_id: str, project_id: str) -> None:
    wish = {
        "project_id": "",
        "network_id": network_id,
        "admin_state_up": True,
        "device_id": router_id,
        "device_owner": OWNER,
        "name": constants.HA_PORT_NAME % project_id,
    }
    port_id = utils.create_port(directory.get_plugin(), context, {"port": wish})["id"]
    try:
        router.RouterPort(context, port_id=port_id, router_id=router_id, port_type=OWNER).create()
    except Exception:
        delete_ports(context, [port_id])
        raise
