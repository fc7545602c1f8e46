"""The L3 service provider: says which routers are Astara's, and keeps Neutron's L3 agent scheduler off them.

    [service_providers]
    service_provider = L3_ROUTER_NAT:astara:astara_neutron.l3_provider.AstaraL3

Alone it is asked before Neutron's built-in providers and takes every router. With a line ending in
`:default` beside it (Neutron's own SingleNodeDriver, say) it takes only routers of a flavor whose service
profile names this class.
"""

from __future__ import annotations

from neutron.services.l3_router.service_providers import base


class AstaraL3(base.L3ServiceProvider):
    """Serves centralized routers, single ones and pairs (`--ha`); `--distributed` is refused or left to others."""

    use_integrated_agent_scheduler = False
    ha_support = base.OPTIONAL
    distributed_support = base.UNSUPPORTED
