"""What every provider of instances promises the engine (model.boundaries.InstanceProvider).

    from astara_suites.providers import InstanceProviderSuite, World

    class TestMine(InstanceProviderSuite):
        @pytest.fixture
        def world(self) -> World: ...

Instances are configured with a `ProbeSection`; the words "bad" must be refused like a wrong document, with "bad word".
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, replace
from typing import cast

import pytest

from astara.contract.agent import SPARE, Health, Outcome, PortAttachment, StateView
from astara.contract.codec import Wire, digest
from astara.contract.generation import ZERO, Generation
from astara.model.boundaries import AdoptingProvider, InstanceProvider
from astara.model.errors import Gone, Retry, Stale, Terminal
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey


class ProbeSection(Wire, frozen=True):
    """The simplest thing an instance can be configured with."""

    words: str = "hello"


DRIVER = "probe"
GOOD, OTHER, REFUSED = ProbeSection(), ProbeSection(words="other"), ProbeSection(words="bad")
OLD, NOW, NEXT = Generation(1, 5), Generation(2, 1), Generation(2, 2)


@dataclass(frozen=True)
class World:
    """A provider, a host that works, and one that does not answer."""

    provider: InstanceProvider
    host: str
    silent_host: str


def port() -> PortAttachment:
    """A port of its own on a network of its own."""
    return PortAttachment(
        port_id=str(uuid.uuid4()), mac="fa:16:3e:" + os.urandom(3).hex(":"), network_id=str(uuid.uuid4())
    )


def a_key() -> ResourceKey:
    return ResourceKey(DRIVER, str(uuid.uuid4()))


def wanted(world: World, slot: str = "0", host: str | None = None) -> DesiredInstance:
    return DesiredInstance(slot, world.provider.name, host or world.host, (port(),), GOOD, digest(GOOD))


def made(world: World, key: ResourceKey) -> ObservedInstance:
    return world.provider.create(key, wanted(world), NOW)


def seen(world: World, key: ResourceKey) -> ObservedInstance:
    (instance,) = world.provider.list(key).instances
    return instance


def state(world: World, key: ResourceKey) -> StateView:
    found = seen(world, key).state
    assert isinstance(found, StateView)
    return found


class InstanceProviderSuite:
    """Inherit it and yield a `World` from the fixture `world`, fresh or shared by all tests."""

    def test_creating_twice_makes_one(self, world: World) -> None:
        key, wish = a_key(), wanted(world)
        first = world.provider.create(key, wish, NOW)
        second = world.provider.create(key, wish, NOW)
        assert first.id == second.id == seen(world, key).id
        assert seen(world, key).ports == wish.ports

    def test_creating_again_makes_the_ports_those_wished_for(self, world: World) -> None:
        key, wish = a_key(), wanted(world)
        first = world.provider.create(key, wish, NOW)
        second = world.provider.create(key, replace(wish, ports=()), NOW)
        assert first.id == second.id == seen(world, key).id
        assert seen(world, key).ports == ()

    def test_two_slots_are_two_instances(self, world: World) -> None:
        key = a_key()
        for slot in ("a", "b"):
            world.provider.create(key, wanted(world, slot), NOW)
        assert {instance.slot for instance in world.provider.list(key).instances} == {"a", "b"}

    def test_an_instance_says_whose_it_is_where_it_is_and_that_it_has_no_configuration_yet(self, world: World) -> None:
        key = a_key()
        made(world, key)
        instance = seen(world, key)
        assert (instance.key, instance.slot, instance.host, instance.provider) == (
            key,
            "0",
            world.host,
            world.provider.name,
        )
        assert state(world, key).health is Health.UNCONFIGURED
        assert instance.created_at > 0

    def test_a_listing_of_one_key_holds_that_key_only_and_the_bulk_listing_all(self, world: World) -> None:
        one, another = a_key(), a_key()
        made(world, one)
        made(world, another)
        assert {instance.key for instance in world.provider.list(one).instances} == {one}
        assert {one, another} <= {instance.key for instance in world.provider.list().instances}

    def test_a_silent_host_is_named_and_does_not_hide_the_others(self, world: World) -> None:
        key = a_key()
        made(world, key)
        listing = world.provider.list()
        assert listing.unreachable_hosts == {world.silent_host}
        assert key in {instance.key for instance in listing.instances}

    def test_creating_on_a_silent_host_says_try_again(self, world: World) -> None:
        with pytest.raises(Retry):
            world.provider.create(a_key(), wanted(world, host=world.silent_host), NOW)

    def test_deleting_is_final_and_may_be_repeated(self, world: World) -> None:
        key = a_key()
        instance = made(world, key)
        world.provider.delete(instance, NOW)
        world.provider.delete(instance, NOW)
        assert world.provider.list(key).instances == ()

    def test_ports_come_and_go_and_both_may_be_repeated(self, world: World) -> None:
        key, extra = a_key(), port()
        instance = made(world, key)
        for _ in range(2):
            attached = world.provider.attach_port(instance, extra, NOW)
        assert extra in attached.ports
        assert len(seen(world, key).ports) == 2
        for _ in range(2):
            detached = world.provider.detach_port(instance, extra.port_id, NOW)
        assert detached.ports == instance.ports == seen(world, key).ports

    def test_a_push_is_seen_in_the_next_listing(self, world: World) -> None:
        key = a_key()
        report = world.provider.push(made(world, key), DRIVER, GOOD, NEXT)
        assert (report.outcome, report.digest, report.generation) == (Outcome.APPLIED, digest(GOOD), NEXT)
        found = state(world, key)
        assert (found.health, found.digest, found.driver, found.generation) == (
            Health.HEALTHY,
            digest(GOOD),
            DRIVER,
            NEXT,
        )

    def test_pushing_the_same_again_touches_nothing(self, world: World) -> None:
        instance = made(world, a_key())
        world.provider.push(instance, DRIVER, GOOD, NOW)
        again = world.provider.push(instance, DRIVER, GOOD, NEXT)
        assert (again.outcome, again.touched) == (Outcome.UNCHANGED, ())

    def test_a_refused_configuration_leaves_what_runs(self, world: World) -> None:
        key = a_key()
        instance = made(world, key)
        world.provider.push(instance, DRIVER, GOOD, NOW)
        with pytest.raises(Terminal, match="bad word"):
            world.provider.push(instance, DRIVER, REFUSED, NOW)
        assert (state(world, key).health, state(world, key).digest) == (Health.HEALTHY, digest(GOOD))

    def test_an_older_generation_changes_nothing(self, world: World) -> None:
        key = a_key()
        instance = made(world, key)
        world.provider.push(instance, DRIVER, GOOD, NOW)
        before = seen(world, key)
        with pytest.raises(Stale):
            world.provider.create(key, wanted(world), OLD)
        with pytest.raises(Stale):
            world.provider.attach_port(instance, port(), OLD)
        with pytest.raises(Stale):
            world.provider.detach_port(instance, instance.ports[0].port_id, OLD)
        with pytest.raises(Stale):
            world.provider.push(instance, DRIVER, OTHER, OLD)
        with pytest.raises(Stale):
            world.provider.delete(instance, OLD)
        assert seen(world, key) == before

    def test_a_push_raises_the_fence_for_everything_else(self, world: World) -> None:
        instance = made(world, a_key())
        world.provider.push(instance, DRIVER, GOOD, NEXT)
        with pytest.raises(Stale):
            world.provider.delete(instance, NOW)

    def test_a_late_create_of_an_older_owner_does_not_bring_a_deleted_instance_back(self, world: World) -> None:
        key = a_key()
        world.provider.delete(made(world, key), NOW)
        with pytest.raises(Stale):
            world.provider.create(key, wanted(world), OLD)
        assert world.provider.list(key).instances == ()

    def test_a_deleted_instance_can_be_made_again_and_starts_without_configuration(self, world: World) -> None:
        key = a_key()
        instance = made(world, key)
        world.provider.push(instance, DRIVER, GOOD, NOW)
        world.provider.delete(instance, NOW)
        made(world, key)
        assert state(world, key).health is Health.UNCONFIGURED

    def test_acting_on_what_is_gone_says_gone(self, world: World) -> None:
        instance = made(world, a_key())
        world.provider.delete(instance, NOW)
        with pytest.raises(Gone):
            world.provider.push(instance, DRIVER, GOOD, NOW)
        with pytest.raises(Gone):
            world.provider.attach_port(instance, port(), NOW)
        with pytest.raises(Gone):
            world.provider.detach_port(instance, instance.ports[0].port_id, NOW)
        with pytest.raises(Gone):
            world.provider.console_log(instance)

    def test_a_provider_with_a_console_has_words(self, world: World) -> None:
        instance = made(world, a_key())
        assert isinstance(world.provider.console_log(instance), str)


def spare_of(world: World) -> tuple[AdoptingProvider, ObservedInstance]:
    """Make a spare; skips the test for a provider that has none."""
    if "adopt" not in world.provider.capabilities:
        pytest.skip("this provider keeps no spares")
    provider = cast(AdoptingProvider, world.provider)
    wish = replace(wanted(world, slot=str(uuid.uuid4())), ports=())
    return provider, provider.create(ResourceKey(SPARE, "0"), wish, ZERO)


def spares(world: World) -> set[str]:
    return {instance.slot for instance in world.provider.list(ResourceKey(SPARE, "0")).instances}


class AdoptionSuite:
    """For providers that say "adopt" (model.boundaries.AdoptingProvider); like `InstanceProviderSuite`."""

    def test_an_adopted_spare_is_the_resources_instance(self, world: World) -> None:
        provider, spare = spare_of(world)
        key, wish = a_key(), wanted(world)
        adopted = provider.adopt(spare, key, wish, NOW)
        assert adopted == seen(world, key)
        assert (adopted.key, adopted.slot, adopted.host, adopted.ports) == (key, "0", world.host, wish.ports)
        assert state(world, key).health is Health.UNCONFIGURED
        assert spare.slot not in spares(world)

    def test_an_adopted_spare_is_configured_and_deleted_like_any_other(self, world: World) -> None:
        provider, spare = spare_of(world)
        key = a_key()
        adopted = provider.adopt(spare, key, wanted(world), NOW)
        assert provider.push(adopted, DRIVER, GOOD, NEXT).outcome is Outcome.APPLIED
        assert state(world, key).health is Health.HEALTHY
        provider.delete(adopted, NEXT)
        provider.delete(adopted, NEXT)
        assert world.provider.list(key).instances == ()
        assert spare.slot not in spares(world)

    def test_a_repeated_claim_is_one_whether_by_adopt_or_by_create(self, world: World) -> None:
        provider, spare = spare_of(world)
        _, another = spare_of(world)
        key, wish = a_key(), wanted(world)
        first = provider.adopt(spare, key, wish, NOW)
        repeated = [provider.adopt(spare, key, wish, NOW), provider.create(key, wish, NOW)]
        repeated.append(provider.adopt(another, key, wish, NOW))
        assert {instance.id for instance in repeated} == {first.id} == {seen(world, key).id}
        assert another.slot in spares(world)

    def test_of_two_that_want_one_spare_one_gets_it(self, world: World) -> None:
        provider, spare = spare_of(world)
        one, another = a_key(), a_key()
        provider.adopt(spare, one, wanted(world), NOW)
        with pytest.raises(Gone):
            provider.adopt(spare, another, wanted(world), NOW)
        assert seen(world, one).slot == "0"
        assert world.provider.list(another).instances == ()

    def test_a_spare_that_is_gone_cannot_be_had_nor_can_what_is_no_spare(self, world: World) -> None:
        provider, spare = spare_of(world)
        provider.delete(spare, ZERO)
        somebodys = made(world, a_key())
        for each in (spare, somebodys):
            with pytest.raises(Gone):
                provider.adopt(each, a_key(), wanted(world), NOW)

    def test_what_the_pool_does_to_a_spare_is_refused_once_it_is_somebodys(self, world: World) -> None:
        provider, spare = spare_of(world)
        key = a_key()
        provider.adopt(spare, key, wanted(world), NOW)
        with pytest.raises(Stale):
            provider.delete(spare, ZERO)
        assert seen(world, key).slot == "0"

    def test_an_older_owner_gets_no_spare_for_what_a_newer_deleted(self, world: World) -> None:
        provider, spare = spare_of(world)
        key = a_key()
        provider.delete(provider.adopt(spare, key, wanted(world), NOW), NOW)
        _, another = spare_of(world)
        with pytest.raises(Stale):
            provider.adopt(another, key, wanted(world), OLD)
        assert world.provider.list(key).instances == ()
        assert another.slot in spares(world)
