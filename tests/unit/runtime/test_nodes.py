from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from astara.clients.appliance import NodeSight
from astara.contract.agent import NodeView
from astara.model.errors import Retry
from astara.model.operator import NodeLine
from astara.runtime.nodes import NodeDirectory, NodeWatch, NodeWatchOptions, judged
from support.segment import eventually


def line(name: str, *, reachable: bool) -> NodeLine:
    return NodeLine(name=name, url=f"https://{name}", reachable=reachable)


@dataclass
class Clock:
    time: float = 1000.0

    def now(self) -> float:
        return self.time

    def wall(self) -> float:
        return self.time


@dataclass
class Agents:
    """Node agents reduced to what they say of themselves."""

    away: set[str] = field(default_factory=set)
    contracts: tuple[int, ...] = (1,)
    hosts: Sequence[str] = ("n2", "n1")
    bodies: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"namespace": ()})

    def node(self, host: str) -> NodeSight:
        if host in self.away:
            raise Retry(f"node {host} cannot be reached", "start astara-node there")
        view = NodeView(
            name=host,
            agent_version="0.1.0",
            contracts=self.contracts,
            attach_kinds=("bridge",),
            drivers=("router",),
            started_at=0.0,
            instances=3,
            boot_id="b",
            bodies=self.bodies,
        )
        return NodeSight(view, clock_ahead_s=-7.0, certificate_expires_at=1e9)


@dataclass
class Neutron:
    """The one call of Neutron's that announces nodes."""

    announced: list[tuple[tuple[str, bool], ...]] = field(default_factory=list)
    away: bool = False
    withdrawn: tuple[str, ...] = ()

    def announce_nodes(self, hosts: Sequence[tuple[str, bool]]) -> tuple[str, ...]:
        if self.away:
            raise Retry("Neutron does not answer", "start it")
        self.announced.append(tuple(hosts))
        return self.withdrawn


def watch(agents: Agents, neutron: Neutron, clock: Clock) -> NodeWatch:
    directory = NodeDirectory(agents, {"n1": "https://n1", "n2": "https://n2"})
    return NodeWatch(directory, neutron, clock, NodeWatchOptions())  # type: ignore[arg-type]  # one method is enough


def test_a_node_that_never_answered_gets_no_work() -> None:
    assert judged([line("n1", reachable=False)], {}, 100.0, 30.0) == (("n1", False),)


def test_a_node_that_was_silent_for_a_moment_keeps_its_work() -> None:
    """An agent that restarts is no reason to place everything elsewhere."""
    silent = [line("n1", reachable=False)]
    assert judged(silent, {"n1": 100.0}, 129.0, 30.0) == (("n1", True),)
    assert judged(silent, {"n1": 100.0}, 130.0, 30.0) == (("n1", False),)


def test_neutron_is_told_once_and_again_only_when_something_changed_or_after_a_long_time() -> None:
    agents, neutron, clock = Agents(), Neutron(), Clock()
    nodes = watch(agents, neutron, clock)
    nodes.look()
    nodes.look()
    assert neutron.announced == [(("n1", True), ("n2", True))]
    agents.away.add("n2")
    clock.time += 31
    nodes.look()
    assert neutron.announced[-1] == (("n1", True), ("n2", False))
    clock.time += 301
    nodes.look()
    assert len(neutron.announced) == 3


def test_a_neutron_that_is_away_is_asked_again_soon_and_told_in_the_end() -> None:
    neutron, clock = Neutron(away=True), Clock()
    nodes = watch(Agents(), neutron, clock)
    assert nodes.look() < NodeWatchOptions().ask_every_s
    neutron.away = False
    nodes.look()
    assert neutron.announced == [(("n1", True), ("n2", True))]


def test_a_node_that_is_away_is_asked_for_often_at_first_and_then_no_more_than_the_others() -> None:
    """One dead node among hundreds must not have all of them asked every second for ever."""
    agents, clock, options = Agents(away={"n2"}), Clock(), NodeWatchOptions()
    nodes = watch(agents, Neutron(), clock)
    assert nodes.look() == options.retry_s
    clock.time += options.grace_s
    assert nodes.look() == options.ask_every_s
    agents.away = {"n1"}
    assert nodes.look() == options.retry_s


def test_nodes_of_another_orchestrator_are_disputed_until_it_is_silent_and_removed_ones_never() -> None:
    neutron, clock = Neutron(withdrawn=("n9",)), Clock()
    nodes = watch(Agents(), neutron, clock)
    nodes.look()
    assert nodes.disputed == ()
    clock.time += 61
    nodes.look()
    assert nodes.disputed == ("n9",)
    neutron.withdrawn = ()
    clock.time += 61
    nodes.look()
    assert nodes.disputed == ()


def test_a_node_that_does_not_answer_is_a_line_with_its_remedy() -> None:
    first, second = NodeDirectory(Agents(away={"n1"}), {"n1": "https://n1"}).nodes()
    assert (first.name, first.reachable) == ("n1", False)
    assert "start astara-node there" in (first.error or "")
    assert (second.name, second.reachable, second.instances) == ("n2", True, 3)
    assert (second.clock_ahead_s, second.certificate_expires_at) == (-7.0, 1e9)


def test_an_agent_of_another_contract_is_named_and_gets_no_work() -> None:
    """Big-bang upgrades: which side is too old must be visible."""
    for found in NodeDirectory(Agents(contracts=(99,)), {}).nodes():
        assert not found.reachable
        assert "contract 99" in (found.error or "")


def test_the_watch_outlives_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    """Its thread ended with the first surprise (no file descriptor left): nodes were never announced again."""
    neutron = Neutron()

    class Surprised(Agents):
        surprises = 1

        def node(self, host: str) -> NodeSight:
            if self.surprises:
                self.surprises -= 1
                raise RuntimeError("can't start new thread")
            return super().node(host)

    directory = NodeDirectory(Surprised(hosts=("n1",)), {})
    nodes = NodeWatch(directory, neutron, Clock(), NodeWatchOptions(ask_every_s=0.01))  # type: ignore[arg-type]
    nodes.start()
    announced = eventually(lambda: neutron.announced)
    nodes.stop()
    assert announced == [(("n1", True),)]
    assert "nodes.look-crashed" in capsys.readouterr().out


def test_a_body_that_comes_or_goes_is_told_once_and_a_silent_node_keeps_what_it_said() -> None:
    """Resources wait for a body; they must hear when Podman was installed."""
    agents, told = Agents(), list[str]()
    directory = NodeDirectory(agents, {})
    nodes = NodeWatch(directory, Neutron(), Clock(), NodeWatchOptions(), on_bodies=told.append)  # type: ignore[arg-type]
    nodes.look()
    assert (told, nodes.bodies()["n1"]) == ([], frozenset({"namespace"}))
    agents.bodies = {"namespace": (), "container": ("frr",)}
    agents.away.add("n2")
    nodes.look()
    nodes.look()
    assert told == ["n1"]
    assert nodes.bodies() == {"n1": frozenset({"namespace", "container"}), "n2": frozenset({"namespace"})}


def test_a_host_that_a_provider_serves_without_a_node_agent_is_a_node_that_offers_that_body() -> None:
    directory = NodeDirectory(None, {}, {"compute-1": ("nova",)})
    assert [(one.name, one.reachable, one.bodies) for one in directory.nodes()] == [("compute-1", True, {"nova": ()})]


def test_a_host_with_a_node_agent_is_known_by_what_its_agent_says() -> None:
    directory = NodeDirectory(Agents(), {}, {"n1": ("nova",), "compute-1": ("nova",)})
    bodies = {one.name: set(one.bodies or ()) for one in directory.nodes()}
    assert bodies == {"n1": {"namespace"}, "n2": {"namespace"}, "compute-1": {"nova"}}


def test_of_several_orchestrators_one_announces_and_its_successor_does_at_once() -> None:
    agents, neutron, clock = Agents(), Neutron(withdrawn=("n9",)), Clock()
    directory = NodeDirectory(agents, {"n1": "https://n1", "n2": "https://n2"})
    mine = [False]
    nodes = NodeWatch(directory, neutron, clock, NodeWatchOptions(), announces=lambda: mine[0])  # type: ignore[arg-type]
    nodes.look()
    assert neutron.announced == []
    assert [line.name for line in nodes.lines()] == ["n1", "n2"]  # it knows them all the same
    mine[0] = True
    nodes.look()
    assert neutron.announced == [(("n1", True), ("n2", True))]
    assert nodes.disputed == ()  # the first announcement may withdraw what another's configuration had
    mine[0] = False
    nodes.look()
    assert len(neutron.announced) == 1


def test_a_drained_node_is_announced_unavailable_and_its_stand_says_so() -> None:
    agents, neutron, clock, drained = Agents(), Neutron(), Clock(), {"n2"}
    directory = NodeDirectory(agents, {})
    nodes = NodeWatch(directory, neutron, clock, NodeWatchOptions(), drained=lambda: drained)  # type: ignore[arg-type]
    nodes.look()
    assert neutron.announced == [(("n1", True), ("n2", False))]
    assert [(one.name, one.drained, one.silent_s) for one in nodes.stands()] == [("n1", False, 0.0), ("n2", True, 0.0)]
    drained.clear()
    nodes.look()
    assert neutron.announced[-1] == (("n1", True), ("n2", True))


def test_how_long_a_node_has_been_silent_counts_from_its_last_word_or_from_the_start() -> None:
    agents, clock = Agents(away={"n2"}), Clock()
    nodes = watch(agents, Neutron(), clock)
    nodes.look()
    clock.time += 20
    agents.away.add("n1")
    nodes.look()
    clock.time += 5
    assert {one.name: one.silent_s for one in nodes.stands()} == {"n1": 25.0, "n2": 25.0}


def test_one_that_was_frozen_itself_gives_no_node_up_because_it_has_heard_nothing_for_long() -> None:
    agents, clock = Agents(), Clock()
    nodes = watch(agents, Neutron(), clock)
    nodes.look()
    clock.time += 1000
    agents.away.add("n1")
    nodes.look()
    assert max(one.silent_s for one in nodes.stands()) <= 2 * NodeWatchOptions().ask_every_s


def test_an_agent_that_answers_in_a_contract_of_its_own_is_not_silent_and_takes_nothing() -> None:
    agents, clock = Agents(), Clock()
    nodes = watch(agents, Neutron(), clock)
    nodes.look()
    agents.contracts = (99,)
    clock.time += 1000
    nodes.look()
    assert [(one.silent_s, one.bodies) for one in nodes.stands()] == [(0.0, frozenset())] * 2
