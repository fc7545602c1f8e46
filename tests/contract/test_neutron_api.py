"""The contract of model.boundaries.NeutronApi, for every implementation.

Each implementation brings a *seat*: something that acts as tenants do, and the API that tells of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from astara.clients.keystone import Anonymous
from astara.clients.neutron import NeutronClient, NeutronOptions
from astara.contract.snapshot import ActiveHalf, DhcpPortRequest, StatusItem, StatusReport
from astara.model.boundaries import NeutronApi
from astara.model.errors import Gone, Retry, Stale, Terminal
from support.builders import resources
from support.fakes.neutron import FakeNeutron
from support.neutron.cloud import Cloud


class Seat(Protocol):
    """What tenants and administrators can do; ids are Neutron's."""

    api: NeutronApi

    def make_router(self, name: str) -> str: ...

    def change_router(self, identifier: str) -> None:
        """Change anything about it that an instance must know."""

    def delete_router(self, identifier: str) -> None: ...

    def make_network(self, name: str) -> str: ...

    def delete_network(self, identifier: str) -> None: ...

    def ask_under(self, term: int) -> None:
        """Ask anything, as an orchestrator that knows this term."""


@dataclass
class FakeSeat:
    api: FakeNeutron
    changed: int = 0

    def make_router(self, name: str) -> str:
        self.api.put_router(resources.router(name, name=name))
        return name

    def change_router(self, identifier: str) -> None:
        self.changed += 1
        self.api.put_router(resources.router(identifier, routes=(f"10.{self.changed}.0.0/16",)))

    def delete_router(self, identifier: str) -> None:
        self.api.delete_router(identifier)

    def make_network(self, name: str) -> str:
        self.api.put_network(resources.network(name))
        return name

    def delete_network(self, identifier: str) -> None:
        self.api.delete_network(identifier)

    def ask_under(self, term: int) -> None:
        self.api.hear(term)


@dataclass
class RealSeat:
    """A real Neutron with our plug-in, through the orchestrator's own client."""

    api: NeutronApi
    cloud: Cloud
    routers: set[str] = field(default_factory=set)
    networks: set[str] = field(default_factory=set)
    changed: int = 0

    def make_router(self, name: str) -> str:
        identifier = str(self.cloud.make("router", name=name)["id"])
        self.routers.add(identifier)
        return identifier

    def change_router(self, identifier: str) -> None:
        """Neutron journals only what an instance must know: a new interface is."""
        self.changed += 1
        network, [subnet] = self.cloud.network(f"10.{self.changed}.0.0/24")
        self.networks.add(network["id"])
        self.cloud.call("PUT", f"/routers/{identifier}/add_router_interface", {"subnet_id": subnet["id"]})

    def delete_router(self, identifier: str) -> None:
        for port in self.cloud.call("GET", "/ports", params={"device_id": identifier})["ports"]:
            path = f"/routers/{identifier}/remove_router_interface"
            self.cloud.call("PUT", path, {"port_id": port["id"]})
        self.cloud.call("DELETE", f"/routers/{identifier}")
        self.routers -= {identifier}

    def make_network(self, name: str) -> str:
        network, _ = self.cloud.network("10.200.0.0/24", name=name)
        self.networks.add(network["id"])
        return str(network["id"])

    def delete_network(self, identifier: str) -> None:
        self.cloud.call("DELETE", f"/networks/{identifier}")
        self.networks -= {identifier}

    def ask_under(self, term: int) -> None:
        client = NeutronClient(NeutronOptions(url=self.cloud.url), Anonymous(), term=lambda: term)
        client.changes(0)
        client.close()

    def clear(self) -> None:
        """Remove what this seat made, and nothing of anybody else's."""
        for identifier in tuple(self.routers):
            self.delete_router(identifier)
        for identifier in tuple(self.networks):
            for port in self.cloud.call("GET", "/ports", params={"network_id": identifier})["ports"]:
                self.cloud.call("DELETE", f"/ports/{port['id']}")
            self.delete_network(identifier)


#: No term at all: nobody's words are older.
NOTHING_SAID = 0
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(params=["fake", pytest.param("neutron", marks=pytest.mark.neutron)])
def seat(request: pytest.FixtureRequest) -> Iterator[Seat]:
    if request.param == "fake":
        yield FakeSeat(FakeNeutron())
        return
    cloud = request.getfixturevalue("cloud")
    client = NeutronClient(NeutronOptions(url=cloud.url), Anonymous())
    real = RealSeat(client, cloud)
    yield real
    real.clear()
    client.close()


def test_what_is_asked_for_is_answered_and_what_does_not_exist_is_left_out(seat):
    one, two = seat.make_router("one"), seat.make_router("two")
    page = seat.api.routers(ids=[one, NOBODY])
    assert [found.id for found in page.routers] == [one]
    assert page.next is None
    assert {found.id for found in seat.api.routers(ids=[one, two]).routers} == {one, two}


def test_pages_cover_everything_once(seat):
    made = {seat.make_router(f"router-{number}") for number in range(5)}
    found: list[str] = []
    marker = None
    while True:
        page = seat.api.routers(marker=marker, limit=2)
        assert len(page.routers) <= 2
        found += [item.id for item in page.routers]
        marker = page.next
        if marker is None:
            break
    assert len(found) == len(set(found))
    assert made <= set(found)


def test_networks_are_read_the_same_way(seat):
    one = seat.make_network("one")
    assert [found.id for found in seat.api.networks(ids=[one, NOBODY]).networks] == [one]
    seat.delete_network(one)
    assert seat.api.networks(ids=[one]).networks == ()


def test_the_revision_never_goes_back_and_moves_with_every_change(seat):
    one = seat.make_router("one")
    revisions = [seat.api.routers(ids=[one]).revision]
    for deed in (lambda: seat.change_router(one), lambda: seat.make_router("two"), lambda: seat.delete_router(one)):
        deed()
        revisions.append(seat.api.routers(ids=[one]).revision)
    assert revisions == sorted(set(revisions))


def test_the_journal_names_what_changed_since_also_deletions(seat):
    one, two = seat.make_router("one"), seat.make_router("two")
    since = seat.api.changes(0).revision
    seat.change_router(one)
    seat.delete_router(two)
    page = seat.api.changes(since)
    newer = {(change.kind, change.id) for change in page.changes if change.revision > since}
    assert newer >= {("router", one), ("router", two)}  # and whatever else changed with them
    assert not page.truncated
    assert page.revision >= max(change.revision for change in page.changes)


def test_a_quiet_journal_stays_quiet(seat):
    seat.make_router("one")
    since = seat.api.changes(0).revision
    page = seat.api.changes(since)
    assert page.revision == since
    assert not [change for change in page.changes if change.revision > since]


def test_a_revision_from_another_life_is_told_to_look_at_everything(seat):
    seat.make_router("one")
    assert seat.api.changes(seat.api.changes(0).revision + 1_000_000).truncated


def test_a_reported_status_is_shown_and_moves_nothing(seat):
    one = seat.make_router("one")
    before = seat.api.changes(0).revision
    for status in ("DOWN", "ACTIVE", "ERROR", "ACTIVE"):
        seat.api.report_status(StatusReport(routers=(StatusItem(id=one, status=status),)), NOTHING_SAID)
        assert seat.api.routers(ids=[one]).routers[0].status == status
    assert seat.api.changes(before).revision == before


def test_a_status_of_something_gone_is_no_error_and_keeps_nobody_else_from_being_told(seat):
    one = seat.make_router("one")
    items = (StatusItem(id=NOBODY, status="ACTIVE"), StatusItem(id=one, status="ERROR"))
    seat.api.report_status(StatusReport(routers=items, ports=items[:1], floating_ips=items[:1]), NOTHING_SAID)
    assert seat.api.routers(ids=[one]).routers[0].status == "ERROR"


def test_an_announcement_names_the_nodes_it_withdraws_once(seat):
    seat.api.announce_nodes([("node-a", True), ("node-b", True), ("node-c", False)])
    assert seat.api.announce_nodes([("node-a", True)]) == ("node-b",)
    assert seat.api.announce_nodes([("node-a", True)]) == ()
    assert seat.api.announce_nodes([("node-a", True), ("node-b", True)]) == ()


def test_a_router_and_a_network_are_served_from_where_they_are_placed(seat):
    seat.api.announce_nodes([("node-a", True), ("node-b", True)])
    router, network = seat.make_router("one"), seat.make_network("one")
    for host in ("node-a", "node-b", "node-b"):
        seat.api.place((("router", router, host), ("network", network, host)), NOTHING_SAID)
        assert seat.api.routers(ids=[router]).routers[0].host == host
        assert seat.api.networks(ids=[network]).networks[0].host == host
    with pytest.raises(Retry, match="nowhere"):
        seat.api.place((("router", router, "node-a"), ("router", router, "nowhere")), NOTHING_SAID)
    assert seat.api.routers(ids=[router]).routers[0].host == "node-b", "all of it or nothing"
    seat.api.announce_nodes([("node-a", True)])


def test_a_dhcp_port_is_made_once_and_is_part_of_the_network(seat):
    seat.api.announce_nodes([("node-a", True), ("node-b", True)])
    one = seat.make_network("one")
    first = seat.api.ensure_dhcp_port(DhcpPortRequest(network_id=one, host="node-a"), NOTHING_SAID)
    second = seat.api.ensure_dhcp_port(DhcpPortRequest(network_id=one, host="node-a"), NOTHING_SAID)
    assert first.id == second.id
    assert first.host == "node-a"
    assert first.id in {port.id for port in seat.api.networks(ids=[one]).networks[0].ports}


def test_a_dhcp_port_of_a_network_that_is_gone_is_refused(seat):
    with pytest.raises((Gone, Terminal)):
        seat.api.ensure_dhcp_port(DhcpPortRequest(network_id=NOBODY, host="h1"), NOTHING_SAID)


def test_what_is_no_pair_follows_nobody(seat):
    one = seat.make_router("one")
    for identifier in (one, NOBODY):
        with pytest.raises((Gone, Terminal)):
            seat.api.follow_active(ActiveHalf(id=identifier, host="node-a"), NOTHING_SAID)


def test_what_was_decided_under_an_older_term_than_somebody_asked_under_is_refused(seat):
    seat.api.announce_nodes([("node-a", True)])
    one, network = seat.make_router("one"), seat.make_network("one")
    down = StatusReport(routers=(StatusItem(id=one, status="DOWN"),))
    error = StatusReport(routers=(StatusItem(id=one, status="ERROR"),))
    seat.api.report_status(error, 7)
    seat.ask_under(9)
    with pytest.raises(Stale, match="older than 9"):
        seat.api.report_status(down, 8)
    with pytest.raises(Stale, match="older than 9"):
        seat.api.ensure_dhcp_port(DhcpPortRequest(network_id=network, host="node-a"), 8)
    with pytest.raises(Stale, match="older than 9"):
        seat.api.place((("router", one, "node-a"),), 8)
    with pytest.raises(Stale, match="older than 9"):
        seat.api.follow_active(ActiveHalf(id=one, host="node-a"), 8)
    assert seat.api.routers(ids=[one]).routers[0].status == "ERROR"
    seat.ask_under(3)  # an older one that only asks is answered, and takes nothing back
    with pytest.raises(Stale):
        seat.api.report_status(down, 8)
    seat.api.report_status(down, 9)
    assert seat.api.routers(ids=[one]).routers[0].status == "DOWN"
