"""A node dies for good: what was on it serves on the other one, and when it comes back nothing runs twice.

It runs inside a lab of two nodes that are given up soon: `make cluster`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from astara.model.operator import AuditQuery, InstanceLine, NodeDetail
from astara_lab import second_node
from astara_lab.conversation import conversation
from astara_lab.demo.wounds import netns_of
from astara_lab.hosts import Host, OutsideHost
from astara_lab.places import NODE_NAME, SECOND_NODE_NAME
from astara_lab.profiles.astara import restarted
from astara_lab.waiting import until
from e2e_cluster.members import SEATS, Members

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
OUTSIDE = "198.51.100.1"
AGENT = "node-2"


class Nodes:
    """Both nodes, as an operator sees them and as they are."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._operator = members.ask(SEATS[0].name)

    def of(self, *keys: str) -> list[InstanceLine]:
        return [line for line in self._operator.instances() if line.resource in keys]

    def well_on(self, host: str, *keys: str) -> bool:
        """Whether each has one instance, which is there and healthy."""
        found = [(line.resource, line.host, line.health) for line in self.of(*keys)]
        return sorted(found) == sorted((key, host, "healthy") for key in keys)

    def roles(self, key: str) -> dict[str, str | None]:
        """The halves of a pair by host."""
        return {line.host: line.role for line in self.of(key) if line.health == "healthy"}

    def second(self) -> NodeDetail:
        return next(node for node in self._operator.nodes() if node.name == SECOND_NODE_NAME)

    def namespaces(self) -> set[str]:
        """What is really there on the second one."""
        found = second_node.on(SECOND_NODE_NAME, "ls", "/run/netns").split()
        return {name for name in found if name.startswith(netns_of(""))}

    def known(self) -> set[str]:
        """What the orchestrator says is there."""
        return {netns_of(line.id) for line in self._operator.instances() if line.host == SECOND_NODE_NAME}

    def only_the_second_gets_new_work(self, make: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """Have something made there; nothing moves back by itself."""
        self._operator.drain(NODE_NAME, "a test")
        try:
            until("Neutron to be told", lambda: self._told() == "unavailable", 15.0)
            keys = make()
            until("all there", lambda: self.well_on(SECOND_NODE_NAME, *keys), 30.0)
        finally:
            self._operator.undrain(NODE_NAME)
        until("Neutron to be told again", lambda: self._told() == "available", 15.0)
        return keys

    def _told(self) -> str:
        lines = [line for line in self._operator.audit(AuditQuery(limit=1000)) if line.reason == "nodes"]
        steps = [step for line in lines for step in line.steps if f"{NODE_NAME} " in step]
        return steps[-1].rpartition(" ")[2] if steps else ""

    def kill_the_second(self) -> None:
        """Its agent and everything of its instances at once; nobody starts anything there again."""
        self._members.kill_for_good(AGENT)
        for name in self.namespaces():
            second_node.kill_instance(SECOND_NODE_NAME, name)

    def bring_the_second_back(self) -> None:
        restarted(self._members.control, AGENT)


def test_what_was_on_a_node_that_dies_serves_on_the_other_and_when_it_comes_back_nothing_runs_twice(
    members: Members, cloud: Any, hosts: Callable[..., Host], outside: OutsideHost, capsys: Any
) -> None:
    nodes = Nodes(members)
    made: dict[str, Any] = {}

    def on_the_second() -> tuple[str, ...]:
        made["router"] = cloud.router("single")
        made["network"] = cloud.routed("n", "10.9.1.0/24", router=made["router"])
        return f"router/{made['router'].id}", f"network/{made['network'].id}"

    lodgers = nodes.only_the_second_gets_new_work(on_the_second)
    pair = cloud.router("pair", is_ha=True)
    beside = cloud.routed("p", "10.9.2.0/24", router=pair)
    halves = f"router/{pair.id}"
    guest, other = hosts("a", made["network"]), hosts("b", beside)
    for host in (guest, other):
        until("the way out", lambda host=host: host.ping(OUTSIDE) is not None, 20.0)
    until("two halves, one of them active", lambda: _whole(nodes.roles(halves)), 30.0)
    if nodes.roles(halves)[SECOND_NODE_NAME] != "active":
        [active] = [line for line in nodes.of(halves) if line.host == NODE_NAME]
        second_node.kill_instance(NODE_NAME, netns_of(active.id))
    until("it is the half there that serves", lambda: _whole(nodes.roles(halves), SECOND_NODE_NAME), 30.0)

    with conversation(other.netns, outside.netns, OUTSIDE, 7013) as said:
        until("the connection", lambda: said.tcp_answers > 50, 10.0)
        nodes.kill_the_second()
        died = time.monotonic()
        steady = said.tcp_answers + 200
        until("it goes on through the other half", lambda: said.tcp_broken or said.tcp_answers > steady, 20.0)
        went_on = time.monotonic()
        until("what was there alone is made elsewhere", lambda: nodes.well_on(NODE_NAME, *lodgers), 40.0)
        moved_s = time.monotonic() - died
        assert guest.ping(OUTSIDE) is not None
        served_s = time.monotonic() - died
        assert hosts("c", made["network"]).ping(OUTSIDE) is not None, "it has its lease from the network's new instance"
        until("whoever is asked knows that it is given up", lambda: nodes.second().given_up, 15.0)
        assert nodes.roles(halves) == {NODE_NAME: "active"}

        nodes.bring_the_second_back()
        until("it answers", lambda: nodes.second().reachable, 30.0)
        until("the pair is whole", lambda: _whole(nodes.roles(halves)), 40.0)
        until("nothing is left there of what was moved", lambda: nodes.well_on(NODE_NAME, *lodgers), 30.0)
        until("nor anything nobody knows of", lambda: nodes.namespaces() == nodes.known(), 20.0)
        until("it is not given up any more", lambda: not nodes.second().given_up, 10.0)
        assert said.tcp_broken is None
    echoes = guest.run(["ping", "-n", "-c", "20", "-i", "0.05", OUTSIDE]).stdout
    assert "DUP!" not in echoes
    assert " 0% packet loss" in echoes
    times = sorted(at for at in said.answered.values() if died - 1.0 <= at <= went_on)
    gap_s = max(later - earlier for earlier, later in pairwise(times))
    with capsys.disabled():
        print(
            f"\nthe pair was silent for {gap_s * 1000:.0f} ms, its connection lives; what was alone was made elsewhere "
            f"{moved_s:.1f} s after the node had died, and answered after {served_s:.1f} s"
        )


def _whole(roles: dict[str, str | None], active: str = "") -> bool:
    one_each = sorted(role or "" for role in roles.values()) == ["active", "standby"] and len(roles) == 2
    return one_each and (not active or roles[active] == "active")
