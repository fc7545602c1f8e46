"""ML2/OVN: which chassis get a port of a router. Where another mechanism binds ports, there is nothing here to do.

OVN delivers to the chassis a port is bound to. Of a pair both can be: a port may have a chassis besides its own since
OVN 22.09, and ML2/OVN asks for that with what Nova says of a migration, `migrating_to` in the binding's profile. Then a
fail-over waits for nobody (docs/design/ha.md, "Both chassis").
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from neutron.db import models_v2
from neutron.plugins.ml2 import models as ml2
from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins import directory
from oslo_config import cfg
from oslo_log import log as logging

from astara_neutron import mechanisms

LOG = logging.getLogger(__name__)

BESIDES = "migrating_to"
_PORT = models_v2.Port.__table__
_NETWORK = models_v2.Network.__table__
_BINDING = ml2.PortBinding.__table__
#: Networks of these types cross the tunnels between chassis, so these work.
_TUNNELS = frozenset({"geneve", "vxlan"})
_REQUESTED = "requested-chassis"


def lead(ports: Collection[tuple[str, str]], host: str) -> None:
    """Have OVN deliver to `host` at once; the bindings, which take Neutron a second each, are made to say so after.

    `ports`: id, and the host it is bound to. That one stays the first: were it taken away, the port would be reported
    as down, and Neutron, asked about its status, would write the binding it knows over what is written here. Nothing
    is raised: what this cannot do, the bindings do.
    """
    mechanism = _mechanism()
    if mechanism is None or not ports or not _known_to_ovn(mechanism):
        return
    northbound = mechanism.nb_ovn
    try:
        with northbound.transaction(check_error=True) as transaction:
            for port_id, before in ports:
                asked = {_REQUESTED: f"{before},{host}" if before else host}
                transaction.add(northbound.db_set("Logical_Switch_Port", port_id, options=asked, if_exists=True))
    except Exception:  # ovsdbapp raises what it likes, and without this OVN is told all the same, a second or two later
        LOG.exception("OVN was not told ahead that %s has the active half of a router", host)


def profile_of(session: Any, port_id: str, besides: str | None) -> dict[str, Any] | None:
    """Return the binding profile that lets the chassis `besides` have the port too; None when it is so already."""
    query = (
        sa.select(_BINDING.c.profile, _PORT.c.network_id)
        .join(_PORT, _PORT.c.id == _BINDING.c.port_id)
        .where(_BINDING.c.port_id == port_id, _BINDING.c.status == constants.ACTIVE)
    )
    row = session.execute(query).first()
    if row is None:
        return None
    said: dict[str, Any] = json.loads(row.profile) if row.profile else {}
    wanted = {name: value for name, value in said.items() if name != BESIDES}
    if besides is not None and crossed(session, row.network_id):
        wanted[BESIDES] = besides
    return None if wanted == said else wanted


def shared(session: Any, port_id: str) -> bool:
    """Return whether another chassis has it besides the one it is bound to."""
    query = sa.select(_BINDING.c.profile).where(_BINDING.c.port_id == port_id, _BINDING.c.status == constants.ACTIVE)
    return BESIDES in (session.execute(query).scalar() or "")


def at_creation(session: Any, port: dict[str, Any], besides: str | None) -> None:
    """Put the same into a port that Neutron is about to make."""
    said = port.get(portbindings.PROFILE)
    if besides is not None and crossed(session, port["network_id"]):
        port[portbindings.PROFILE] = {**(said if isinstance(said, dict) else {}), BESIDES: besides}


def offered() -> bool:
    """Return whether a port can have two chassis at all."""
    mechanism = _mechanism()
    return mechanism is not None and _known_to_ovn(mechanism)


def crossed(session: Any, network_id: str) -> bool:
    """Return whether a network's frames may take the tunnels: all to a port with two chassis do, also of a VLAN.

    They must fit, and that there are tunnels at all is certain only where tenants' networks are made of them.
    """
    mechanism, choice = _mechanism(), cfg.CONF.astara.ovn_both_chassis
    if mechanism is None or choice == "never" or not _known_to_ovn(mechanism):
        return False
    if choice == "always":
        return True
    if not _TUNNELS.intersection(directory.get_plugin().type_manager.project_network_types):
        return False
    mtu = session.execute(sa.select(_NETWORK.c.mtu).where(_NETWORK.c.id == network_id)).scalar()
    return bool(mtu and mtu <= _tunnel_mtu())


def _tunnel_mtu() -> int:
    drivers = directory.get_plugin().type_manager.drivers
    return max((int(drivers[name].obj.get_mtu()) for name in _TUNNELS & set(drivers)), default=0)


def _known_to_ovn(mechanism: Any) -> bool:
    """An older OVN takes two names for the name of one chassis, and binds the port nowhere."""
    southbound = mechanism.sb_ovn
    return southbound is not None and southbound.is_col_present("Port_Binding", "additional_chassis")


def _mechanism() -> Any | None:
    found = mechanisms.loaded().get("ovn")
    return None if found is None else found.obj
