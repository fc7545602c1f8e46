"""The nodes as the orchestrator knows them: asked now and then, and announced to Neutron, which places by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import structlog

from astara.clients.appliance import NodeSight
from astara.contract.codec import SUPPORTED_VERSIONS
from astara.model.boundaries import Clock, NeutronApi
from astara.model.errors import AstaraError
from astara.model.operator import NodeLine
from astara.planning.housing import NodeStand
from astara.reconcile.boundaries import Metrics, NoMetrics

_log = structlog.get_logger(__name__)
#: What ends a dispute about nodes.
SAME_NODES = "list the same node agents under [nodes] of every orchestrator, or stop the one that is not of this cloud"


class Agents(Protocol):
    """The node agents (clients.nodes.NodeFleet)."""

    @property
    def hosts(self) -> Sequence[str]: ...

    def node(self, host: str) -> NodeSight: ...


class NodeDirectory:
    """Asks every node about itself; one that does not answer is a line too, never an exception. `urls` by name.

    `places`: hosts without a node agent that instances can be put on all the same, with the bodies to be had there.
    """

    def __init__(
        self, agents: Agents | None, urls: Mapping[str, str], places: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self._agents = agents
        self._urls = urls
        asked = frozenset(agents.hosts) if agents is not None else frozenset()
        self._places = tuple(
            NodeLine(name=host, url="", reachable=True, bodies=dict.fromkeys(bodies, ()))
            for host, bodies in sorted((places or {}).items())
            if host not in asked
        )

    def nodes(self) -> tuple[NodeLine, ...]:
        """Ask all at once."""
        if self._agents is None or not self._agents.hosts:
            return self._places
        with ThreadPoolExecutor(min(32, len(self._agents.hosts)), thread_name_prefix="node-views") as pool:
            return (*pool.map(self._line, sorted(self._agents.hosts)), *self._places)

    def _line(self, host: str) -> NodeLine:
        assert self._agents is not None
        url = self._urls.get(host, "")
        try:
            sight = self._agents.node(host)
        except AstaraError as error:
            return NodeLine(name=host, url=url, reachable=False, error=f"{error} ({error.remedy})")
        view = sight.view
        if SUPPORTED_VERSIONS.isdisjoint(view.contracts):
            spoken = ", ".join(map(str, view.contracts))
            error_text = f"its agent {view.agent_version} speaks contract {spoken} only: upgrade the older side"
            return NodeLine(name=host, url=url, reachable=False, agent_version=view.agent_version, error=error_text)
        return NodeLine(
            name=host,
            url=url,
            reachable=True,
            agent_version=view.agent_version,
            instances=view.instances,
            clock_ahead_s=sight.clock_ahead_s,
            certificate_expires_at=sight.certificate_expires_at,
            bodies=view.bodies,
            digests=view.digests,
        )


@dataclass(frozen=True, slots=True)
class NodeWatchOptions:
    """Seconds. A node silent for less than `grace_s` keeps getting new work: a restart of its agent is no loss."""

    ask_every_s: float = 10.0
    grace_s: float = 30.0
    #: Each time Neutron also binds what could not be bound before: how long a layer-2 agent's absence is felt after it.
    announce_every_s: float = 60.0
    retry_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Announcement:
    """What Neutron was told, and when (monotonic)."""

    nodes: tuple[tuple[str, bool], ...]
    at: float


def judged(
    lines: Sequence[NodeLine],
    last_seen: dict[str, float],
    now: float,
    grace_s: float,
    drained: Collection[str] = (),
) -> tuple[tuple[str, bool], ...]:
    """Return each node with whether it may get new work; `last_seen` maps names to when they last answered."""
    never = float("-inf")
    return tuple(
        (
            line.name,
            line.name not in drained and (line.reachable or now - last_seen.get(line.name, never) < grace_s),
        )
        for line in sorted(lines, key=lambda line: line.name)
    )


class NodeWatch:
    """Asks the nodes and keeps Neutron informed, in a thread of its own. Neutron being away is waited for.

    `on_bodies`: a node offers other bodies. `tell`: in words, what Neutron was told anew.
    """

    def __init__(
        self,
        directory: NodeDirectory,
        neutron: NeutronApi,
        clock: Clock,
        options: NodeWatchOptions,
        metrics: Metrics | None = None,
        on_bodies: Callable[[str], None] = lambda host: None,
        announces: Callable[[], bool] = lambda: True,
        tell: Callable[[str], None] = lambda what: None,
        drained: Callable[[], Collection[str]] = tuple,
    ) -> None:
        """`announces`: whether this is the orchestrator that tells Neutron; `drained`: nodes that get nothing new."""
        self._announces = announces
        self._metrics = metrics or NoMetrics()
        self._on_bodies = on_bodies
        self._tell = tell
        self._directory = directory
        self._neutron = neutron
        self._clock = clock
        self._options = options
        self._lines: tuple[NodeLine, ...] = ()
        self._bodies: dict[str, frozenset[str]] = {}
        self._last_seen: dict[str, float] = {}
        self._changed_at = 0.0  # when a node last came or went (monotonic)
        self._told: Announcement | None = None
        self._disputed: tuple[str, ...] = ()
        self._drained = drained
        self._silent_since: dict[str, float] = {}
        self._woken = threading.Event()
        self._looked = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nodes", daemon=True)

    def lines(self) -> tuple[NodeLine, ...]:
        """Return what the nodes said last."""
        return self._lines

    def stands(self) -> tuple[NodeStand, ...]:
        """Return how each node stands, from memory.

        Silence counts from a node's last word, but no further back than it was asked: who was frozen heard none.
        An agent that answers, and speaks no contract of ours, is not silent; nothing can be made there.
        """
        now, drained = self._clock.now(), self._drained()
        return tuple(
            NodeStand(
                line.name,
                max(0.001, now - self._silent_since[line.name]) if line.name in self._silent_since else 0.0,
                line.name in drained,
                self._bodies.get(line.name) if line.reachable or line.name in self._silent_since else frozenset(),
            )
            for line in self._lines
        )

    @property
    def disputed(self) -> tuple[str, ...]:
        """Nodes that another orchestrator announces and our last announcement made unavailable.

        The first one may withdraw nodes that were taken out of the configuration; later ones only what others said.
        """
        return self._disputed

    def bodies(self) -> dict[str, frozenset[str]]:
        """Return the bodies each node said it can make, for nodes that ever answered."""
        return dict(self._bodies)

    def start(self) -> None:
        """Ask and announce from now on."""
        self._thread.start()

    def first_look(self, within_s: float) -> bool:
        """Wait until the nodes were asked and Neutron was told, or did not answer; False when that takes longer."""
        return self._looked.wait(within_s)

    def wake(self) -> None:
        """Ask and announce now."""
        self._woken.set()

    def stop(self) -> None:
        """Ask no more; nothing when it never began."""
        self._stopping.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping.is_set():
            self._woken.wait(wait_s)
            self._woken.clear()
            if self._stopping.is_set():
                return
            try:
                wait_s = self.look()
            except Exception:  # noqa: BLE001 - without this thread no node is ever announced again; logged with its traceback
                _log.exception("nodes.look-crashed")
                self._metrics.crashed("nodes")
                wait_s = self._options.ask_every_s
            self._looked.set()

    def look(self) -> float:
        """Ask all nodes once and tell Neutron what changed; returns the seconds until the next look."""
        before = {line.name: line for line in self._lines}
        self._lines = tuple(self._directory.nodes())
        now = self._clock.now()
        self._last_seen.update((line.name, now) for line in self._lines if line.reachable)
        silent = {line.name for line in self._lines if not line.reachable and line.agent_version is None}
        asked = now - 2 * self._options.ask_every_s
        self._silent_since = {
            name: self._silent_since.get(name, max(asked, self._last_seen.get(name, now))) for name in silent
        }
        for line in self._lines:
            self._note(line, before.get(line.name), now)
        self._learn_bodies()
        try:
            told = judged(self._lines, self._last_seen, now, self._options.grace_s, self._drained())
            self._announce(told, now)
        except AstaraError as error:
            _log.warning("nodes.not-announced", error=str(error), remedy=error.remedy)
            return self._options.retry_s
        # A node that is not there yet is about to be: at a start everything starts at once. One that stays away is not.
        complete = all(line.reachable for line in self._lines)
        soon = not complete and now - self._changed_at < self._options.grace_s
        return self._options.retry_s if soon else self._options.ask_every_s

    def _learn_bodies(self) -> None:
        """Remember what each node can make, also while it is silent; tell who waits for a body that came or went."""
        for line in self._lines:
            if line.bodies is None:
                continue
            known, self._bodies[line.name] = self._bodies.get(line.name), frozenset(line.bodies)
            if known not in (None, self._bodies[line.name]):
                _log.info("node.bodies", node=line.name, bodies=sorted(line.bodies))
                self._on_bodies(line.name)

    def _note(self, line: NodeLine, was: NodeLine | None, now: float) -> None:
        if was is not None and line.reachable == was.reachable:
            return
        self._changed_at = now
        _log.info("node.reachable" if line.reachable else "node.unreachable", node=line.name, error=line.error)

    def _announce(self, nodes: tuple[tuple[str, bool], ...], now: float) -> None:
        if not self._announces():
            self._told, self._disputed = None, ()
            return
        told = self._told
        if told is not None and told.nodes == nodes and now - told.at < self._options.announce_every_s:
            return
        withdrawn = self._neutron.announce_nodes(nodes)
        self._told = Announcement(nodes, now)
        if news := [node for node in nodes if told is None or node not in told.nodes]:
            said = ", ".join(f"{name} {'available' if available else 'unavailable'}" for name, available in news)
            self._tell(f"announce {said}")
        self._disputed = () if told is None else withdrawn
        if self._disputed:
            _log.warning("nodes.disputed", nodes=self._disputed, remedy=SAME_NODES)
        elif withdrawn:
            _log.info("nodes.withdrawn", nodes=withdrawn)
