"""The port from which Astara serves a network's DHCP, DNS and metadata."""

from __future__ import annotations

import contextlib
from typing import Any

import sqlalchemy as sa
from neutron.common import utils as neutron_utils
from neutron.db import models_v2
from neutron_lib import constants
from neutron_lib import exceptions as n_exc
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import api as db_api
from neutron_lib.plugins import directory
from neutron_lib.plugins import utils as plugin_utils

from astara.contract.snapshot import DhcpPortReply, DhcpPortRequest
from astara_neutron import placement
from astara_neutron.models import KIND_NETWORK
from astara_neutron.snapshot.ports import read_ports

_NETWORK = models_v2.Network.__table__
_SUBNET = models_v2.Subnet.__table__
_PORT = models_v2.Port.__table__


class NothingToServe(n_exc.Conflict):
    """HTTP 409: the orchestrator looks again and finds that there is nothing to serve."""

    message = "network %(network_id)s has no subnet with DHCP; nothing to do"


def ensure(context: Any, request: DhcpPortRequest) -> DhcpPortReply:
    """Make the DHCP port of a network on a host, or mend the one there is; asking twice changes nothing.

    It has one address in each subnet with DHCP, IPv6 included, and the device id of the reference DHCP agent,
    so that agent can take it over.

    Raises:
        NetworkNotFound: (404)
        NothingToServe: (409) no subnet with DHCP, or none any more.
        IpAddressGenerationFailure: (409) a subnet has no address left.
    """
    subnets = _dhcp_subnets(context, request.network_id)
    if not subnets:
        raise NothingToServe(network_id=request.network_id)
    with db_api.CONTEXT_READER.using(context):
        before = placement.placed(context.session, KIND_NETWORK, request.network_id)
    port_id = _existing(context, request, before)
    if port_id is None:
        port_id = _create(context, request, subnets)
    else:
        _mend(context, port_id, request, subnets)
    placement.store(context, KIND_NETWORK, request.network_id, request.host, replace=True)
    if release(context, request.network_id):
        raise NothingToServe(network_id=request.network_id)  # switched off while the port was being made
    with db_api.CONTEXT_READER.using(context):
        port = read_ports(context.session, _PORT.c.id == port_id).get(port_id)
    if port is None:
        raise n_exc.PortNotFound(port_id=port_id)
    return DhcpPortReply(port=port)


def release(context: Any, network_id: str) -> int:
    """Delete our port of a network on which DHCP is switched off everywhere; return how many there were.

    As the reference agent does (release_dhcp_port). Ports of other device ids are not ours.
    """
    return _release(context, _PORT.c.network_id == network_id)


def release_unneeded(context: Any) -> int:
    """Do so for every network: a process that ended between the change and `release` left one behind."""
    return _release(context, sa.true())


def _release(context: Any, where: Any) -> int:
    served = sa.select(_SUBNET.c.network_id).where(_SUBNET.c.enable_dhcp.is_(True))
    query = sa.select(_PORT.c.id, _PORT.c.network_id, _PORT.c.device_id).where(
        where, _PORT.c.device_owner == constants.DEVICE_OWNER_DHCP, _PORT.c.network_id.not_in(served)
    )
    with db_api.CONTEXT_READER.using(context):
        found = context.session.execute(query.order_by(_PORT.c.id)).all()
        hosts = {port.network_id: placement.placed(context.session, KIND_NETWORK, port.network_id) for port in found}
    ours = [
        port.id
        for port in found
        if (host := hosts[port.network_id]) and port.device_id == device_id(port.network_id, host)
    ]
    for port_id in ours:
        with contextlib.suppress(n_exc.PortNotFound):
            directory.get_plugin().delete_port(context.elevated(), port_id)
    return len(ours)


def device_id(network_id: str, host: str) -> str:
    """Return the reference formula: dhcp<uuid5 of the short host name>-<network id>."""
    return str(neutron_utils.get_dhcp_agent_device_id(network_id, host))


def _dhcp_subnets(context: Any, network_id: str) -> list[str]:
    with db_api.CONTEXT_READER.using(context):
        session = context.session
        if session.execute(sa.select(_NETWORK.c.id).where(_NETWORK.c.id == network_id)).scalar() is None:
            raise n_exc.NetworkNotFound(net_id=network_id)
        query = sa.select(_SUBNET.c.id).where(_SUBNET.c.network_id == network_id, _SUBNET.c.enable_dhcp.is_(True))
        return list(session.execute(query.order_by(_SUBNET.c.ip_version, _SUBNET.c.id)).scalars())


def _existing(context: Any, request: DhcpPortRequest, before: str | None) -> str | None:
    """Return the network's DHCP port on this host, else the one it had on its previous host, else a reserved one."""
    wanted = [device_id(request.network_id, request.host)]
    if before and before != request.host:
        wanted.append(device_id(request.network_id, before))
    wanted.append(constants.DEVICE_ID_RESERVED_DHCP_PORT)
    with db_api.CONTEXT_READER.using(context):
        query = sa.select(_PORT.c.device_id, _PORT.c.id).where(
            _PORT.c.network_id == request.network_id,
            _PORT.c.device_owner == constants.DEVICE_OWNER_DHCP,
            _PORT.c.device_id.in_(wanted),
        )
        found: dict[str, str] = {row.device_id: row.id for row in context.session.execute(query.order_by(_PORT.c.id))}
    return next((found[name] for name in wanted if name in found), None)


def _create(context: Any, request: DhcpPortRequest, subnets: list[str]) -> str:
    with db_api.CONTEXT_READER.using(context):
        query = sa.select(_NETWORK.c.project_id).where(_NETWORK.c.id == request.network_id)
        project_id = context.session.execute(query).scalar()
    port = {
        "tenant_id": project_id,
        "name": "",
        "network_id": request.network_id,
        "admin_state_up": True,
        "device_owner": constants.DEVICE_OWNER_DHCP,
        "device_id": device_id(request.network_id, request.host),
        "fixed_ips": [{"subnet_id": subnet_id} for subnet_id in subnets],
        portbindings.HOST_ID: request.host,
    }
    created = plugin_utils.create_port(directory.get_plugin(), context, {"port": port})
    return str(created["id"])


def _mend(context: Any, port_id: str, request: DhcpPortRequest, subnets: list[str]) -> None:
    with db_api.CONTEXT_READER.using(context):
        port = read_ports(context.session, _PORT.c.id == port_id).get(port_id)
    if port is None:
        return
    kept = [address for address in port.fixed_ips if address.subnet_id in subnets]
    missing = [subnet_id for subnet_id in subnets if subnet_id not in {address.subnet_id for address in kept}]
    update: dict[str, Any] = {}
    if missing or len(kept) != len(port.fixed_ips):
        update["fixed_ips"] = [
            *({"subnet_id": address.subnet_id, "ip_address": address.ip_address} for address in kept),
            *({"subnet_id": subnet_id} for subnet_id in missing),
        ]
    if port.device_id != device_id(request.network_id, request.host):
        update["device_id"] = device_id(request.network_id, request.host)
    if port.host != request.host or port.vif_type in placement.NOT_BOUND:
        update[portbindings.HOST_ID] = request.host
    if not port.admin_state_up:
        update["admin_state_up"] = True
    if update:
        directory.get_plugin().update_port(context, port_id, {"port": update})


def bind_what_waits(context: Any) -> tuple[int, int]:
    """Bind our ports that have no working binding: their node's layer-2 agent was away when they were made.

    Return how many are bound now and how many are left.
    """
    waiting = placement.unbound(context, _PORT.c.device_owner == constants.DEVICE_OWNER_DHCP)
    with db_api.CONTEXT_READER.using(context):
        query = sa.select(_PORT.c.id, _PORT.c.network_id, _PORT.c.device_id).where(_PORT.c.id.in_(waiting))
        found = context.session.execute(query.order_by(_PORT.c.id)).all()
        hosts = {port.network_id: placement.placed(context.session, KIND_NETWORK, port.network_id) for port in found}
    ours = [
        (port.id, host)
        for port in found
        if (host := hosts[port.network_id]) and port.device_id == device_id(port.network_id, host)
    ]
    if not ours:
        return 0, 0
    for port_id, host in placement.portion(ours):
        placement.bind(context, port_id, host)
    left = len(placement.unbound(context, _PORT.c.id.in_([port_id for port_id, _ in ours])))
    return len(ours) - left, left


def exists(context: Any, network_id: str) -> bool:
    """Return whether a network has a DHCP port on the node it is placed on."""
    with db_api.CONTEXT_READER.using(context):
        host = placement.placed(context.session, KIND_NETWORK, network_id)
    return host is not None and _existing(context, DhcpPortRequest(network_id=network_id, host=host), None) is not None


def require_network(context: Any, network_id: str) -> None:
    """Raise NetworkNotFound (404) for a network that does not exist."""
    _dhcp_subnets(context, network_id)
