"""Tells Neutron's QoS plug-in what is limited on ports that `astara_bridge` binds.

Without a driver for vif_type *bridge* Neutron refuses every policy on such a port. Astara's instances enforce
bandwidth limits on routers' ports. A tenant's port on a bridge is limited by nobody, and a policy on it is
refused rather than accepted and ignored.
"""

from __future__ import annotations

from typing import Any

from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.db import constants as db_constants
from neutron_lib.services.qos import base
from neutron_lib.services.qos import constants as qos

_KBPS = {"type:range": [0, db_constants.DB_INTEGER_MAX_VALUE]}
SUPPORTED = {
    qos.RULE_TYPE_BANDWIDTH_LIMIT: {
        qos.MAX_KBPS: _KBPS,
        qos.MAX_BURST: _KBPS,
        qos.DIRECTION: {"type:values": constants.VALID_DIRECTIONS},
    }
}


class BridgeQosDriver(base.DriverBase):
    """Bandwidth limits, both directions, on ports of routers."""

    def validate_rule_for_port(self, context: Any, rule: Any, port: Any) -> bool:
        """Return whether the rule would be enforced on this port."""
        return str(port.device_owner).startswith(constants.DEVICE_OWNER_NETWORK_PREFIX)


_driver: BridgeQosDriver | None = None


def register() -> None:
    """Make the driver, once per process; the QoS plug-in finds it when it starts, after ML2."""
    global _driver
    if _driver is None:
        _driver = BridgeQosDriver(
            name="astara_bridge",
            vif_types=[portbindings.VIF_TYPE_BRIDGE],
            vnic_types=[portbindings.VNIC_NORMAL],
            supported_rules=SUPPORTED,
        )
