"""What is particular to simulated instances; the contract itself is tests/contract/test_instance_provider.py."""

from __future__ import annotations

import pytest

from astara.contract.agent import Health, Outcome
from astara.contract.generation import Generation
from astara.model.errors import Gone, Retry, Stale, Terminal
from astara.model.resource import Unknown
from astara.providers.memory.cloud import MemoryCloud
from astara.providers.memory.provider import MemoryProvider
from support.builders.resources import KEY, port, wanted
from support.fakes.drivers import Section

G1, G2 = Generation(1, 1), Generation(1, 2)
SECTION = Section(name="blue")


@pytest.fixture
def provider() -> MemoryProvider:
    return MemoryProvider(MemoryCloud())


def test_asking_twice_makes_one_with_the_ports_asked_for_last(provider):
    first = provider.create(KEY, wanted(ports=(port("p1"),)), G1)
    second = provider.create(KEY, wanted(ports=(port("p2"),)), G1)
    assert first.id == second.id
    assert {p.port_id for p in second.ports} == {"p2"}
    assert provider.create(KEY, wanted("b"), G1).id != first.id
    assert first.key == KEY


def test_an_older_generation_is_refused_also_after_the_deletion(provider):
    instance = provider.create(KEY, wanted(), G2)
    provider.delete(instance, G2)
    for old in (lambda: provider.create(KEY, wanted(), G1),):
        with pytest.raises(Stale):
            old()
    assert not provider.cloud.instances


def test_pushing_the_same_again_touches_nothing(provider):
    instance = provider.create(KEY, wanted(), G1)
    assert provider.push(instance, "router", SECTION, G1).outcome is Outcome.APPLIED
    assert provider.push(instance, "router", SECTION, G2).outcome is Outcome.UNCHANGED
    assert provider.cloud.instances[instance.id].pushes == 1


def test_what_is_gone_is_gone_and_deleting_it_succeeds(provider):
    instance = provider.create(KEY, wanted(), G1)
    provider.delete(instance, G1)
    provider.delete(instance, G1)
    with pytest.raises(Gone):
        provider.push(instance, "router", SECTION, G1)
    with pytest.raises(Gone):
        provider.console_log(instance)


def test_an_unreachable_host_is_named_and_its_instances_are_not_listed(provider):
    instance = provider.create(KEY, wanted(), G1)
    provider.cloud.unreachable.add("h1")
    listing = provider.list()
    assert listing.instances == ()
    assert listing.unreachable_hosts == {"h1"}
    with pytest.raises(Retry):
        provider.delete(instance, G1)
    assert instance.id in provider.cloud.instances


def test_faults_strike_before_the_effect_or_lose_only_the_answer(provider):
    provider.cloud.inject("create")
    with pytest.raises(Retry):
        provider.create(KEY, wanted(), G1)
    assert not provider.cloud.instances
    provider.cloud.inject("create", after=True)
    with pytest.raises(Retry):
        provider.create(KEY, wanted(), G1)
    assert len(provider.cloud.instances) == 1


def test_hanging_failing_degrading_refusing(provider):
    instance = provider.create(KEY, wanted(), G1)
    provider.cloud.hang(instance.id)
    assert provider.list(KEY).instances[0].state is Unknown.UNREACHABLE
    with pytest.raises(Retry):
        provider.push(instance, "router", SECTION, G1)
    provider.cloud.answers(instance.id)
    provider.cloud.degrade(instance.id)
    assert provider.list(KEY).instances[0].state.health is Health.DEGRADED
    digest = provider.push(instance, "router", SECTION, G1).digest
    assert provider.list(KEY).instances[0].state.health is Health.HEALTHY
    provider.cloud.refused[digest] = "bad line"
    with pytest.raises(Terminal, match="bad line"):
        provider.push(instance, "router", SECTION, G1)
