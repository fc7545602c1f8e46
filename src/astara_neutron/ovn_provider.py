"""The L3 service provider for clouds on ML2/OVN: flavored routers are Astara's, all others stay OVN's.

[service_providers]
service_provider = L3_ROUTER_NAT:astara:astara_neutron.ovn_provider.AstaraOvn
"""

from __future__ import annotations

from typing import Any

from neutron.services.l3_router.service_providers import base
from neutron.services.ovn_l3.service_providers import user_defined


class AstaraOvn(user_defined.UserDefined):
    """OVN's own idea of a router that somebody else implements, under our name.

    UserDefined derives the identity it compares service profiles with from *its* module, so a subclass
    would never recognise its routers. None of its handlers is overridden here: an override would have to be
    registered again (`registry.has_registry_receivers`) or it is silently not called.
    """

    ha_support = base.UNSUPPORTED

    def __init__(self, l3_plugin: Any) -> None:
        super().__init__(l3_plugin)
        self._user_defined_provider = f"{__name__}.{type(self).__name__}"
