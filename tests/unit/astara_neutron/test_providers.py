from __future__ import annotations

from types import SimpleNamespace

import pytest

from astara_neutron import ownership
from astara_neutron.l3_provider import AstaraL3
from astara_neutron.ovn_provider import AstaraOvn


class Flavors:
    """Neutron's flavor plug-in, as far as UserDefined asks it."""

    def __init__(self, driver: str) -> None:
        self.driver = driver

    def get_flavor(self, context, flavor_id):
        return {"id": flavor_id}

    def get_flavor_next_provider(self, context, flavor_id):
        return [{"driver": self.driver}]


@pytest.mark.parametrize(
    ("driver", "ours"),
    [
        ("astara_neutron.ovn_provider.AstaraOvn", True),
        ("neutron.services.ovn_l3.service_providers.user_defined.UserDefined", False),
    ],
)
def test_the_provider_on_ovn_recognises_its_own_flavor(driver, ours):
    provider = AstaraOvn(None)
    provider._flavor_plugin_ref = Flavors(driver)
    assert provider._is_user_defined_provider(None, {"flavor_id": "f"}) is ours


def test_ovns_handlers_still_hear_neutrons_events_in_our_subclass():
    from neutron_lib.callbacks import events, registry, resources

    provider = AstaraOvn(None)
    priorities = registry._get_callback_manager()._callbacks[resources.ROUTER][events.AFTER_CREATE]
    heard = [callback for priority in priorities for callback in priority.pri_callbacks.values()]
    assert provider._process_router_create in heard
    registry.unsubscribe_all(provider._process_router_create)


def test_neither_provider_wants_neutrons_agent_scheduler():
    assert not AstaraL3(None).use_integrated_agent_scheduler
    assert not AstaraOvn(None).use_integrated_agent_scheduler


def test_our_providers_are_found_under_whatever_name_the_operator_gave_them(monkeypatch):
    drivers = {"mine": AstaraL3(None), "single_node": object()}
    plugin = SimpleNamespace(l3_driver_controller=SimpleNamespace(drivers=drivers))
    monkeypatch.setattr(ownership, "l3_plugin", lambda: plugin)
    assert ownership.provider_names() == {"mine"}
    monkeypatch.setattr(ownership, "l3_plugin", lambda: None)
    assert ownership.provider_names() == frozenset()


def test_the_class_paths_operators_write_are_the_ones_we_look_for():
    for provider in (AstaraL3, AstaraOvn):
        assert f"{provider.__module__}.{provider.__qualname__}" in ownership.OUR_PROVIDERS
