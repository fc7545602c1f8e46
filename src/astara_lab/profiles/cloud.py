"""Profile `cloud`: a whole OpenStack with real machines: profile `neutron` with Keystone, Glance, Placement and Nova.

Astara's orchestrator is a service user of Keystone's; Nova's own metadata service stands where the other profiles
have a stand-in for it. With an appliance image routers of the flavor `nova` are servers of Nova's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from astara_lab import cloud_configuration, configuration, keystone
from astara_lab.ini import Sections
from astara_lab.neutron_api import neutron_of
from astara_lab.places import (
    BODIES,
    EXTERNAL_BRIDGE,
    EXTERNAL_PHYSNET,
    MANAGEMENT_ADDRESS,
    MANAGEMENT_BRIDGE,
    MANAGEMENT_CIDR,
    MANAGEMENT_PHYSNET,
)
from astara_lab.profiles import daemons, guests, neutron, openstack
from astara_lab.profiles.astara import Setting
from astara_lab.tasks import BringUpError, Task

#: Neutron's router flavor whose routers are servers of Nova's.
NOVA_FLAVOR = "nova"

_POOL = {"allocation_pools": [{"start": "192.0.2.10", "end": "192.0.2.250"}]}

#: The stand-in for Nova's metadata service, and what must not ask Neutron before there are tokens.
_LEFT_OUT = "metadata"
_NEEDS_A_TOKEN = ("neutron-ovs-agent", "orchestrator")


def plan(setting: Setting) -> list[Task]:
    if setting.variant.mech != "ovs" or setting.variant.l3_agent:
        raise BringUpError("profile cloud knows Open vSwitch and Astara only; choose profile neutron for the others")
    base = openstack.ground(setting)
    setting.lab.clouds.touch(mode=0o600)
    setting.lab.clouds.write_text(keystone.clouds_yaml(base.password))
    choice = dataclasses.replace(
        neutron.choose(setting),
        physnets={EXTERNAL_PHYSNET: EXTERNAL_BRIDGE, MANAGEMENT_PHYSNET: MANAGEMENT_BRIDGE},
    )
    choice = dataclasses.replace(
        choice, further=_merged(choice.further, cloud_configuration.neutron_of_the_cloud(base))
    )
    return [
        *_told(neutron.planned(setting, choice, _orchestrator(setting, base), ("neutron", *openstack.DATABASES))),
        *openstack.openstack(setting),
        Task("management", _management(setting), ("openvswitch", "neutron", "catalogue")),
        *guests.guests(setting),
        *(_routers_in_nova(setting) if setting.variant.image is not None else ()),
    ]


def _merged(first: Sections, second: Sections) -> Sections:
    return {name: {**first.get(name, {}), **second.get(name, {})} for name in (*first, *second)}


def _told(planned: Iterable[Task]) -> list[Task]:
    return [
        dataclasses.replace(task, after=(*task.after, "catalogue")) if task.name in _NEEDS_A_TOKEN else task
        for task in planned
        if task.name != _LEFT_OUT
    ]


def _orchestrator(setting: Setting, base: cloud_configuration.Ground) -> Sections:
    """astara.conf: what it always is, and who we are."""
    plain = configuration.orchestrator(
        setting.lab,
        setting.trust,
        feeds="rabbit",
        body=setting.variant.body,
        network_body=setting.variant.of_networks,
        transport_url=base.transport_url,
    )
    ours: Sections = {"neutron": base.user("astara")}
    return _merged(plain, ours if setting.variant.image is None else {**ours, **_nova_provider(base)})


def _nova_provider(base: cloud_configuration.Ground) -> Sections:
    """The switch of this lab is one in user space, so appliances complete checksums."""
    return {
        "services": {"providers": ",".join((*BODIES, "nova"))},
        "provider:nova": base.user("astara")
        | {
            "region_name": keystone.REGION,
            "image": guests.APPLIANCE,
            "flavor": guests.APPLIANCE,
            "management_network": MANAGEMENT_PHYSNET,
            "completes_checksums": True,
        },
    }


def _routers_in_nova(setting: Setting) -> list[Task]:
    def flavor() -> None:
        api = neutron_of(setting.lab)
        if api.list("flavors", name=NOVA_FLAVOR):
            return
        wish = {"driver": configuration.ASTARA_PROVIDER.rpartition(":")[2], "metainfo": '{"body": "nova"}'}
        profile = api.create_as("service_profiles", "service_profile", wish)
        made = api.create("flavors", {"name": NOVA_FLAVOR, "service_type": "L3_ROUTER_NAT"})
        api.create_as(f"flavors/{made['id']}/service_profiles", "service_profile", {"id": profile["id"]})

    return [Task("router-flavor", flavor, ("neutron", "catalogue")), *guests.appliance(setting)]


def _management(setting: Setting) -> Callable[[], None]:
    """The network on which the orchestrator reaches Nova's machines, and the lab's own end of it.

    Without DHCP and without a gateway: nothing leads anywhere else.
    """
    length = MANAGEMENT_CIDR.partition("/")[2]

    def work() -> None:
        words = ("address", "replace", f"{MANAGEMENT_ADDRESS}/{length}", "dev", MANAGEMENT_BRIDGE)
        daemons.command(setting, "ip", *words)
        neutron_api = neutron_of(setting.lab)
        if not neutron_api.list("networks", name=MANAGEMENT_PHYSNET):
            body = {
                "name": MANAGEMENT_PHYSNET,
                "provider:network_type": "flat",
                "provider:physical_network": MANAGEMENT_PHYSNET,
            }
            made = neutron_api.create("networks", body)
            subnet = {"network_id": made["id"], "ip_version": 4, "cidr": MANAGEMENT_CIDR}
            neutron_api.create("subnets", subnet | {"enable_dhcp": False, "gateway_ip": None, **_POOL})

    return work
