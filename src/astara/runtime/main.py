"""astara-orchestrator: starts the parts in order, waits for a signal, stops them in reverse."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from astara.admin.server import AdminServer
from astara.clients.neutron import NeutronClient
from astara.clients.node_feed import Feed
from astara.cluster.membership import Membership
from astara.contract.agent import SPARE
from astara.ending import Ending
from astara.installed import own_version
from astara.model.errors import BadConfiguration
from astara.model.operator import ORCHESTRATOR, CheckLine, ClusterView, HistoryLine
from astara.model.resource import ResourceKey
from astara.pool.service import Pool
from astara.reconcile.clock import SystemClock
from astara.reconcile.engine import Engine
from astara.reconcile.evacuation import NODES, Evacuation
from astara.reconcile.upgrading import Upgrading
from astara.records import database
from astara.records.store import StoredRecords
from astara.runtime import cluster, doctor, logs, wiring
from astara.runtime.metrics import MetricsServer, OrchestratorMetrics
from astara.runtime.nodes import NodeDirectory, NodeWatch, NodeWatchOptions
from astara.runtime.operator import Parts, RunningOperator
from astara.runtime.options import Options, load
from astara.runtime.rolling import Rolling
from astara.runtime.turns import Turns

_log = structlog.get_logger(__name__)
#: How long running reconciles may take to end after SIGTERM, in seconds.
DRAIN_S = 10.0
#: How long the first look waits for the nodes to be announced; a Neutron that is away is not waited for.
ANNOUNCE_FIRST_S = 2.0
#: How long the first look waits for a place in the ring; without one, nothing is ours until there is.
JOIN_FIRST_S = 3.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns 2 for a bad configuration, with the reason and remedy on stderr."""
    try:
        options = load(sys.argv[1:] if arguments is None else arguments)
        logs.configure(debug=options.debug)
        orchestrator = Orchestrator(options)
        orchestrator.run()
    except BadConfiguration as error:
        sys.stderr.write(f"astara-orchestrator: {error}\n  remedy: {error.remedy}\n")
        return 2
    return 0


class Orchestrator:
    """The running parts. Neutron, the broker or a node being away stops none of them from starting.

    Raises:
        BadConfiguration: at construction or `start`, naming the option and the remedy.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._who = f"{ORCHESTRATOR} {options.name}"
        clock = SystemClock()
        self._metrics = OrchestratorMetrics()
        located = database.locate(options.connection, _made(options.state_dir))
        self._records = StoredRecords(located, clock.wall, options.keep)
        self._records.open()
        self._member = cluster.join(options.cluster, options.name, self._records, clock, self._metrics.crashed)
        term = lambda: self._member.epoch  # noqa: E731
        self._neutron = NeutronClient(options.neutron, options.credentials, self._metrics.neutron_call, term)
        self._agents = wiring.fleet(options, term)
        made = self._made = wiring.providers(options, self._agents, term)
        keeps = lambda host: self._member.owns(cluster.spares_of(host))  # noqa: E731
        self._pool = Pool(
            made, options.pool, clock, self._metrics, keeps, lambda key, what: self._tell("pool", what, key)
        )
        drivers = wiring.drivers(options)
        self.engine = Engine(
            neutron=self._neutron,
            drivers=drivers,
            providers=self._pool.providers,
            records=self._records,
            clock=clock,
            ownership=self._member,
            options=options.engine,
            metrics=self._metrics,
            who=self._who,
            upgrades=self._records.upgrades,
            offers=lambda: wiring.offers(options, made, self._watch.bodies()),
        )
        self._feeds = wiring.feeds(options, clock, self._metrics)
        urls = {node.name: node.url for node in options.nodes}
        directory = NodeDirectory(self._agents, urls, wiring.places(made.values()))
        self._watch = NodeWatch(
            directory,
            self._neutron,
            clock,
            NodeWatchOptions(),
            self._metrics,
            self._offer_changed,
            announces=lambda: self._member.owns(NODES),
            tell=lambda what: self._tell("nodes", what),
            drained=lambda: self._evacuation.drained(),
        )
        self._evacuation = Evacuation(
            self.engine,
            self._neutron,
            clock,
            options.healing,
            self._watch.stands,
            lambda key, what: self._tell("nodes", what, key),
        )
        upgrading = Upgrading(self.engine, clock, options.upgrade_budget, self._who)
        self._turns = (
            Turns("evacuation", self._evacuation.look, self._metrics.crashed),
            Turns("upgrade", upgrading.look, self._metrics.crashed),
        )
        rolling = Rolling(
            self.engine,
            self._evacuation,
            self._watch.lines,
            self._owner_of,
            f"an operator at {options.name}",
            self._said,
        )
        self.operator = RunningOperator(
            Parts(
                engine=self.engine,
                feeds=self._feeds,
                providers=self._pool.providers,
                drivers=tuple(drivers),
                nodes=self._watch.lines,
                trouble=lambda: self._neutron.trouble,
                checks=lambda: self._examined(directory),
                pool=self._pool.lines,
                records=self._records.standing,
                started_at=clock.wall(),
                cluster=self._cluster_view,
                rolling=rolling,
                membership=lambda: cluster.in_words(self._member),
            )
        )
        self._metrics.observe_state(
            wiring.state(
                self.engine,
                self._feeds,
                self._watch,
                self._pool.lines,
                self._member,
                self._records.standing,
                lambda: doctor.own_certificates(options.identity),
                lambda: self._evacuation.brake,
            )
        )
        self._admin = AdminServer(self.operator, options.admin_socket, self.engine.witness)
        self._metrics_server = MetricsServer(self._metrics, options.metrics_listen) if options.metrics_listen else None
        self._changes: Feed | None = None

    def run(self) -> None:
        """Start, wait for a signal, stop."""
        ending = Ending()
        try:
            self.start()  # what began to listen before another part failed would keep the process from ending
            ending.wait()
        finally:
            self.stop()

    def start(self) -> None:
        """Start. Feeds come before the first full look, so that nothing falls between the two."""
        _log.info("orchestrator.starting", version=own_version(), term=self.engine.term, name=self._options.name)
        self._admin.claim()
        if self._metrics_server is not None:
            self._metrics_server.start()
        for feed in self._feeds:
            feed.start(self.engine)
        self._join()
        # Neutron places by what is announced: said before the first look, the look finds everything placed.
        self._watch.start()
        self._watch.first_look(within_s=ANNOUNCE_FIRST_S)
        self._pool.start(busy=lambda: self.engine.inbox.working > 0)
        self.engine.start()
        if self._agents is not None:
            self._changes = self._agents.watch(self._node_changed, self._metrics.crashed)
        wiring.follow(self._made.values(), self._instance_changed)
        for turns in self._turns:
            turns.start()
        # Last: whoever finds the socket finds a running orchestrator behind it.
        self._admin.start()
        self._tell("start", f"started with term {self.engine.term}, version {own_version()}")
        _log.info("orchestrator.started")

    def stop(self) -> None:
        """Take in no more, let running reconciles end, close."""
        _log.info("orchestrator.stopping")
        if isinstance(self._member, Membership):
            self._member.leave()  # first: others take over at once; what runs here stops before its next step
        # Those that listen end after half a second each, when they next look up: all at once, and beside the others.
        stops = [feed.stop for feed in self._feeds]
        if self._metrics_server is not None:
            stops.append(self._metrics_server.stop)
        with ThreadPoolExecutor(thread_name_prefix="stop") as beside:
            ended = [beside.submit(stop) for stop in stops]
            drained = self._stop_working()
        for one in ended:
            one.result()
        if self._agents is not None:
            self._agents.close()
        wiring.close(self._made.values())
        self._neutron.close()
        _log.info("orchestrator.stopped", drained=drained)

    def _stop_working(self) -> bool:
        """Stop what acts, and last what is written down. Says whether every reconcile came to its end."""
        if self._changes is not None:
            self._changes.stop()
        self._watch.stop()
        for turns in self._turns:
            turns.stop()
        drained = self.engine.stop(DRAIN_S)
        self._pool.stop()
        self._admin.stop()  # before the records: an operator's last word is kept too
        self._tell("stop", "stopped" if drained else "stopped, with reconciles under way")
        if isinstance(self._member, Membership):
            self._member.stop()
        self._records.close()
        return drained

    def _tell(self, reason: str, step: str, key: ResourceKey | None = None) -> None:
        """Leave a line in the audit of what the engine does not do itself."""
        line = HistoryLine(at=time.time(), reason=reason, phase="", steps=(step,), outcome="done", who=self._who)
        self.engine.witness(key, line)

    def _join(self) -> None:
        """Be one of the ring before the first look, if the group and the database answer soon."""
        if isinstance(self._member, Membership):
            self._member.moved = self._ring_changed
            self._member.start()
            self._member.first_look(within_s=JOIN_FIRST_S)

    def _ring_changed(self) -> None:
        self.engine.ring_changed()
        self._pool.wake()
        if (ring := self._member.standing().ring) is not None:
            names = ", ".join(sorted(member.name for member in ring.members)) or "nobody"
            self._tell("ring", f"follow ring {ring.epoch} of {names}")

    def _owner_of(self, key: ResourceKey) -> str | None:
        return cluster.owner_of(self._member, key)

    def _said(self) -> None:
        """An operator said something of nodes or upgrades: see to it now."""
        self._watch.wake()
        for turns in self._turns:
            turns.wake()

    def _cluster_view(self, without: str | None, of: ResourceKey | None) -> ClusterView:
        keys = {*self.engine.ledger.known(), *self.engine.share.elsewhere()}
        return cluster.view(self._member, self._records.rings, keys, without, of)

    def _examined(self, directory: NodeDirectory) -> list[CheckLine]:
        asked = doctor.examine(
            self._options,
            self._neutron,
            self._feeds,
            directory.nodes,
            lambda: self._watch.disputed,
            lambda: self._neutron.plugin_version,
        )
        shared = cluster.checks(self._member, shared_database=self._options.connection is not None)
        records = doctor.of_records(self._records.standing(), self._records.trouble())
        clouds = wiring.checks(self._made.values())
        return [*asked, records, *shared, *clouds, *doctor.of_pool(self._pool.lines())]

    def _offer_changed(self, host: str) -> None:
        self.engine.resync(f"node {host} offers other bodies")

    def _instance_changed(self, key: ResourceKey, reason: str) -> None:
        if key.driver == SPARE:
            self._pool.wake()
        else:
            self.engine.instance_changed(key, reason)

    def _node_changed(self, host: str, keys: tuple[ResourceKey, ...] | None) -> None:
        if keys is None or any(key.driver == SPARE for key in keys):
            self._pool.wake()
        if keys is None:
            self.engine.resync(f"node {host} is here (again)")
            return
        for key in keys:
            self.engine.instance_changed(key, f"node {host}")


def _made(state_dir: Path) -> Path:
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise BadConfiguration(
            f"[DEFAULT] state_dir={state_dir}: {error.strerror}", "name a directory this process may write to"
        ) from None
    return state_dir


if __name__ == "__main__":
    sys.exit(main())
