"""Who may use the extension: administrators and services (Neutron's `role:service`), nobody else by default."""

from __future__ import annotations

from neutron_lib.policy import rules
from oslo_policy import policy

READ = "get_astara"
WRITE = "update_astara"

RULES = [
    policy.DocumentedRuleDefault(
        name=READ,
        check_str=rules.ADMIN_OR_SERVICE,
        scope_types=["project"],
        description="Read everything about routers and networks of all projects, and the change journal",
        operations=[
            {"method": "GET", "path": "/astara/{routers,networks,changes}"},
            {"method": "POST", "path": "/astara/{routers,networks}"},
        ],
    ),
    policy.DocumentedRuleDefault(
        name=WRITE,
        check_str=rules.ADMIN_OR_SERVICE,
        scope_types=["project"],
        description="Report status and nodes, make DHCP ports, move routers and networks to another node",
        operations=[{"method": "PUT", "path": "/astara/{status,active,nodes,dhcp_ports,placements}"}],
    ),
]


def list_rules() -> list[policy.DocumentedRuleDefault]:
    """Entry point `neutron.policies`."""
    return RULES
