"""ML2 mechanism driver for clouds in which a network is a Linux bridge on one node.

It binds any port at once, to the bridge of the port's network. Nothing reports wiring back, so a port is
ACTIVE as soon as it is bound; whoever plugs the other end owns the truth about it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from neutron_lib import constants
from neutron_lib import context as neutron_context
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api
from oslo_config import cfg
from oslo_log import log as logging

from astara_neutron import nodes, options, qos_driver

LOG = logging.getLogger(__name__)


def bridge_name(network_id: str) -> str:
    """Return the bridge of a network: what the node agent's attachment kind `bridge` makes (15 characters at most)."""
    return f"abr{network_id[:11]}"


class BridgeMechanismDriver(api.MechanismDriver):
    """Binds vnic_type normal on networks of any type; `[astara] bind_hosts` says on which hosts."""

    network_types: ClassVar[frozenset[str]] = frozenset(
        {
            constants.TYPE_LOCAL,
            constants.TYPE_FLAT,
            constants.TYPE_VLAN,
            constants.TYPE_VXLAN,
            constants.TYPE_GRE,
            constants.TYPE_GENEVE,
        }
    )

    def initialize(self) -> None:
        options.register()
        qos_driver.register()

    @property
    def connectivity(self) -> str:
        return str(portbindings.CONNECTIVITY_L2)

    def bind_port(self, context: Any) -> None:
        """ML2 calls this outside any transaction; not binding leaves the port to the next driver."""
        vnic_type = context.current.get(portbindings.VNIC_TYPE, portbindings.VNIC_NORMAL)
        if vnic_type != portbindings.VNIC_NORMAL or not self._serves(context.host):
            return
        for segment in context.segments_to_bind:
            if segment[api.NETWORK_TYPE] in self.network_types:
                details = {
                    portbindings.CAP_PORT_FILTER: False,
                    portbindings.VIF_DETAILS_BRIDGE_NAME: bridge_name(context.current["network_id"]),
                    portbindings.VIF_DETAILS_CONNECTIVITY: self.connectivity,
                }
                context.set_binding(
                    segment[api.ID], portbindings.VIF_TYPE_BRIDGE, details, status=constants.PORT_STATUS_ACTIVE
                )
                return

    def _serves(self, host: str) -> bool:
        if cfg.CONF.astara.bind_hosts == "any":
            return True
        known = host in nodes.known(neutron_context.get_admin_context())
        if not known:
            LOG.info("astara_bridge leaves a port unbound: host %(host)s is not an announced node", {"host": host})
        return known
