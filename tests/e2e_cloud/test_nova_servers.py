"""The provider `nova` against a real Nova: servers, ports, faults, quotas. The agent inside is not asked here."""

from __future__ import annotations

import datetime
import functools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from astara.clients.authority import issue, open_authority
from astara.contract.agent import Health, PortAttachment, StateView
from astara.contract.codec import digest
from astara.contract.generation import Generation
from astara.contract.identity import ORCHESTRATOR
from astara.model.errors import Retry, Terminal
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey, Unknown
from astara.providers.nova.agents import Agents
from astara.providers.nova.boundary import NewServer, Server
from astara.providers.nova.options import Choice
from astara.providers.nova.provider import NovaProvider
from astara.providers.nova.sdk import SdkCloud
from astara_lab.waiting import until
from astara_suites.providers import DRIVER, GOOD
from e2e_cloud.conftest import BOOT_S

pytestmark = pytest.mark.e2e

#: The APIs asked share two processors with the machines that boot.
patiently = functools.partial(until, interval_s=0.5)

NOW, LATER = Generation(1, 1), Generation(1, 2)


@dataclass(frozen=True)
class Site:
    """`make` builds a provider; `trace` is everything in the project that a provider may leave behind."""

    connection: Any
    make: Callable[..., NovaProvider]
    port: Callable[[], PortAttachment]

    def trace(self) -> dict[str, set[str]]:
        compute, network = self.connection.compute, self.connection.network
        project = self.connection.current_project_id
        return {
            "servers": {one.id for one in compute.servers()},
            "groups": {one.id for one in compute.server_groups()},
            "ports": {one.id for one in network.ports(project_id=project) if one.description.startswith("astara:")},
        }


@pytest.fixture
def site(connection: Any, cloud: Any, tmp_path: Path) -> Iterator[Site]:
    authority = open_authority(tmp_path, datetime.datetime.now(datetime.UTC))
    ours = issue(authority, "orchestrator", ORCHESTRATOR, (), datetime.datetime.now(datetime.UTC))
    net = cloud.routed("blue", "10.9.6.0/24", is_dhcp_enabled=False)
    made: list[NovaProvider] = []

    def make(choice: dict[str, str] | None = None, kind: type[SdkCloud] = SdkCloud, **rest: Any) -> NovaProvider:
        chosen = {"image": "guest", "flavor": "small", "management_network": "management"} | (choice or {})
        provider = NovaProvider(kind(connection, Choice(**chosen)), Agents(ours, 19801), lambda *_: b"papers", **rest)
        made.append(provider)
        return provider

    def port() -> PortAttachment:
        mac = "fa:16:3e:" + uuid.uuid4().bytes[:3].hex(":")
        return PortAttachment(port_id=str(uuid.uuid4()), mac=mac, network_id=net.id, mtu=net.mtu, attach="ovs")

    found = Site(connection, make, port)
    before = found.trace()
    yield found
    last = make()
    for instance in last.list().instances:
        last.delete(instance, Generation(99, 0))

    def swept() -> bool:
        for provider in (last, *made):
            provider.list()
        return found.trace() == before

    patiently("nothing of ours is left", swept, BOOT_S)
    for provider in made:
        provider.close()


def wanted(*ports: PortAttachment, slot: str = "0") -> DesiredInstance:
    return DesiredInstance(slot, "nova", "lab-node", ports, GOOD, digest(GOOD))


def a_key() -> ResourceKey:
    return ResourceKey(DRIVER, str(uuid.uuid4()))


def only(provider: NovaProvider, key: ResourceKey) -> ObservedInstance:
    (instance,) = provider.list(key).instances
    return instance


def server_of(site: Site, key: ResourceKey) -> Any:
    (server,) = [one for one in site.connection.compute.servers() if one.metadata.get("astara:key") == str(key)]
    return site.connection.compute.get_server(server.id)


def active(site: Site, key: ResourceKey) -> Any:
    return patiently("ACTIVE", lambda: server_of(site, key).status == "ACTIVE" and server_of(site, key), BOOT_S)


def test_a_server_is_found_by_its_metadata_by_a_provider_with_empty_memory(site: Site) -> None:
    key, port = a_key(), site.port()
    made = site.make().create(key, wanted(port), NOW)
    site.connection.compute.update_server(server_of(site, key).id, name="renamed")

    found = only(site.make(), key)

    assert (found.id, found.key, found.slot, found.host, found.ports) == (made.id, key, "0", "lab-node", (port,))


def test_a_booting_server_is_silent_and_one_that_never_answers_is_broken_with_the_reason(site: Site) -> None:
    key = a_key()
    assert site.make().create(key, wanted(), NOW).state is Unknown.UNREACHABLE

    late = only(site.make(boot_deadline_s=0.0), key).state

    assert isinstance(late, StateView)
    assert late.health is Health.FAILED
    assert "never answered" in (late.last_error or "")


def test_ports_are_plugged_into_a_running_server_and_unplugged_again(site: Site) -> None:
    provider, key, first, second = site.make(), a_key(), site.port(), site.port()
    made = provider.create(key, wanted(first), NOW)
    server = active(site, key)
    interfaces = lambda: len(list(site.connection.compute.server_interfaces(server)))  # noqa: E731
    assert interfaces() == 2

    assert set(provider.attach_port(made, second, NOW).ports) == {first, second}
    patiently("three interfaces", lambda: interfaces() == 3, BOOT_S)
    assert provider.detach_port(made, first.port_id, NOW).ports == (second,)
    patiently("two interfaces", lambda: interfaces() == 2, BOOT_S)
    assert only(provider, key).ports == (second,)


class LosesAnswers(SdkCloud):
    """Carries the creation out and loses the answer, once."""

    lost = False

    def create_server(self, new: NewServer) -> Server:
        made = super().create_server(new)
        if not self.lost:
            self.lost = True
            raise Retry("no answer")
        return made


def test_a_lost_answer_after_a_creation_makes_no_double(site: Site) -> None:
    provider, key, port = site.make(kind=LosesAnswers), a_key(), site.port()
    with pytest.raises(Retry):
        provider.create(key, wanted(port), NOW)

    provider.create(key, wanted(port), NOW)

    assert only(provider, key).ports == (port,)


def test_two_slots_share_a_group_that_keeps_them_apart_where_it_can(site: Site) -> None:
    provider, key = site.make(), a_key()
    for slot in ("a", "b"):
        provider.create(key, wanted(slot=slot), NOW)

    (group,) = [one for one in site.connection.compute.server_groups() if key.id in one.name]

    assert len(group.member_ids) == 2
    assert "soft-anti-affinity" in (group.policy or group.policies)


def test_no_valid_host_is_a_reason_and_the_next_try_waits_long(site: Site) -> None:
    nowhere = site.connection.compute.create_flavor(name=f"nowhere-{uuid.uuid4()}", ram=64, vcpus=1, disk=0)
    site.connection.compute.create_flavor_extra_specs(nowhere, {"capabilities:hypervisor_type": "nowhere"})
    try:
        provider, key = site.make({"flavor": nowhere.name}), a_key()
        made = provider.create(key, wanted(), NOW)

        def failed() -> StateView | None:
            state = only(provider, key).state
            return state if isinstance(state, StateView) and state.health is Health.FAILED else None

        assert "No valid host" in (patiently("the fault", failed, BOOT_S).last_error or "")

        provider.delete(made, NOW)
        with pytest.raises(Retry, match="No valid host") as refused:
            provider.create(key, wanted(), NOW)
        assert (refused.value.after_s or 0) > 200
        assert "compute hosts" in refused.value.remedy
    finally:
        site.connection.compute.delete_flavor(nowhere.id)


def test_a_used_up_quota_is_told_from_a_fault_and_leaves_nothing(site: Site) -> None:
    project = site.connection.current_project_id
    before = site.trace()
    site.connection.compute.update_quota_set(project, instances=0)
    try:
        with pytest.raises(Retry, match=r"(?i)quota") as refused:
            site.make().create(a_key(), wanted(site.port()), NOW)
    finally:
        site.connection.compute.revert_quota_set(project)
    assert (refused.value.after_s or 0) > 200
    assert "quota" in refused.value.remedy
    assert site.trace() == before


def test_an_image_that_is_not_there_is_terminal(site: Site) -> None:
    with pytest.raises(Terminal):
        site.make({"image": str(uuid.uuid4())}).create(a_key(), wanted(), NOW)


def test_what_is_somebody_elses_is_neither_seen_nor_touched(site: Site, boot: Callable[..., Any], cloud: Any) -> None:
    """Its name is like ours, and it carries a part of our metadata."""
    net = cloud.routed("red", "10.9.7.0/24")
    other = boot("astara-probe", cloud.network.create_port(network_id=net.id, project_id=cloud.project))
    site.connection.compute.set_server_metadata(other, **{"astara:key": "router/1"})

    assert site.make().list().instances == ()


def test_deleting_is_final_repeatable_and_leaves_no_port(site: Site) -> None:
    provider, key = site.make(), a_key()
    before = site.trace()
    made = provider.create(key, wanted(site.port()), NOW)
    active(site, key)

    for _ in range(2):
        provider.delete(made, LATER)

    assert provider.list(key).instances == ()
    patiently("Nova is done", lambda: site.trace() == before, BOOT_S)


def test_a_server_that_its_hypervisor_lost_is_broken_with_novas_word(site: Site) -> None:
    provider, key = site.make(), a_key()
    provider.create(key, wanted(), NOW)
    server = active(site, key)

    site.connection.compute.stop_server(server)

    def broken() -> str | None:
        state = only(provider, key).state
        return state.last_error if isinstance(state, StateView) else None

    assert "SHUTOFF" in (patiently("the status", broken, BOOT_S) or "")


def test_how_long_nova_takes(site: Site, record_property: Callable[[str, object], None]) -> None:
    """From the request to ACTIVE, which is the floor under every cold start of ours."""
    provider, key = site.make(), a_key()
    begun = time.monotonic()
    provider.create(key, wanted(site.port()), NOW)
    asked = time.monotonic()
    active(site, key)
    record_property("create_s", round(asked - begun, 2))
    record_property("active_s", round(time.monotonic() - begun, 2))
    assert replace(only(provider, key)).slot == "0"
