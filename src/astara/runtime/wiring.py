"""Who is connected to whom. The only room that knows everyone; it decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric

from astara.clients.appliance import NodeEndpoint
from astara.clients.issuing import Papers, open_issuer
from astara.clients.nodes import NodeFleet, NodeInstances
from astara.cluster.membership import Membership
from astara.intake.http_feed import HttpFeed, HttpFeedOptions
from astara.intake.rabbit_feed import RabbitFeed, RabbitFeedOptions
from astara.model.boundaries import Clock, Driver, InstanceProvider
from astara.model.errors import BadConfiguration
from astara.model.operator import CheckLine, NodeLine, PoolLine
from astara.model.resource import ResourceKey
from astara.planning.bodies import Offers
from astara.reconcile.engine import Engine
from astara.records.store import RecordsStanding
from astara.runtime import plugins
from astara.runtime.cluster import Alone, gauges
from astara.runtime.metrics import OrchestratorMetrics, gauge
from astara.runtime.nodes import NodeWatch
from astara.runtime.operator import CountingFeed
from astara.runtime.options import Options


def drivers(options: Options) -> dict[str, Driver]:
    """Load the enabled drivers; raises BadConfiguration for an unknown one."""
    if not options.drivers:
        raise BadConfiguration("[services] drivers is empty", "enable at least one, e.g. router,network")
    return {
        name: plugins.load(plugins.DRIVERS, name, "[services] drivers")(options.driver_options)
        for name in options.drivers
    }


def fleet(options: Options, term: Callable[[], int]) -> NodeFleet | None:
    """Return the node agents of the deployment, for every provider that works by them; None when there are none.

    `term` returns the greatest term we know: every request to an agent says it.
    """
    if options.identity is None or not options.nodes:
        return None
    endpoints = {node.name: NodeEndpoint(node.name, node.url) for node in options.nodes}
    return NodeFleet(endpoints, options.identity, papers=papers(options), term=term)


def papers(options: Options) -> Papers | None:
    """Return who issues to instances with an agent of their own; None when nobody does."""
    return None if options.ca_dir is None else Papers(open_issuer(options.ca_dir), options.credential_days)


def providers(options: Options, nodes: NodeFleet | None, term: Callable[[], int]) -> dict[str, InstanceProvider]:
    """Load the enabled providers; raises BadConfiguration for an unknown one. `term` as `fleet`'s.

    With nodes, everything they can make comes too: an instance of a kind that is enabled no more is still taken away.
    """
    made = {name: _provider(name, options, nodes, term) for name in options.providers}
    if nodes is not None:
        made |= {name: maker(nodes) for name, maker in _on_nodes().items() if name not in made}
    return made


def _on_nodes() -> dict[str, Callable[[NodeFleet], InstanceProvider]]:
    makers = {name: getattr(maker, "on_nodes", None) for name, maker in plugins.loadable(plugins.PROVIDERS).items()}
    return {name: maker for name, maker in makers.items() if maker is not None}


def _provider(name: str, options: Options, nodes: NodeFleet | None, term: Callable[[], int]) -> InstanceProvider:
    maker = plugins.load(plugins.PROVIDERS, name, "[services] default_provider, providers")
    on_nodes: Callable[[NodeFleet], InstanceProvider] | None = getattr(maker, "on_nodes", None)
    settings = options.provider_settings.get(name, {})
    with_agents: Callable[..., InstanceProvider] | None = getattr(maker, "with_agents", None)
    if with_agents is not None:
        if options.identity is None:
            raise BadConfiguration("[nodes] cert_file is not set", f"the agents in {name} instances ask for it")
        return with_agents(settings, options.identity, papers(options), term)
    if on_nodes is None:
        return _provider_of_others(name, maker, settings)
    if nodes is None:
        raise BadConfiguration("[nodes] node is not set", "name a node agent: node=NAME=https://ADDRESS:19801")
    return on_nodes(nodes)


def _provider_of_others(name: str, maker: Any, settings: Mapping[str, str]) -> InstanceProvider:
    """Make a provider by its class method `configured`, or, when it has none, without arguments."""
    configured = getattr(maker, "configured", None)
    if configured is None and settings:
        raise BadConfiguration(f"[provider:{name}] is not read by this provider", "remove the section")
    made: InstanceProvider = maker() if configured is None else configured(settings)
    return made


def offers(options: Options, made: Mapping[str, InstanceProvider], on_hosts: Mapping[str, frozenset[str]]) -> Offers:
    """Return which bodies can be had; `on_hosts` is what the node agents said."""
    obstacles = {name: getattr(provider, "obstacle", None) for name, provider in made.items()}
    return Offers(
        installed=frozenset(made),
        enabled=frozenset(options.providers),
        obstacles={name: why for name, why in obstacles.items() if why is not None},
        by_host=frozenset(name for name, provider in made.items() if isinstance(provider, NodeInstances)),
        on_hosts=on_hosts,
    )


def places(made: Iterable[InstanceProvider]) -> dict[str, tuple[str, ...]]:
    """Return the hosts that providers serve without a node agent there, each with the bodies to be had."""
    found: dict[str, tuple[str, ...]] = {}
    for provider in made:
        for host in getattr(provider, "places", ()):
            found[host] = (*found.get(host, ()), provider.name)
    return found


def follow(made: Iterable[InstanceProvider], on_change: Callable[[ResourceKey, str], None]) -> None:
    """Have the providers that notice changes by themselves say so from now on."""
    for provider in made:
        begin: Callable[[Callable[[ResourceKey, str], None]], None] | None = getattr(provider, "follow", None)
        if begin is not None:
            begin(on_change)


def checks(made: Iterable[InstanceProvider]) -> Iterable[CheckLine]:
    """Return what the doctor is told by providers that look at what they need by themselves."""
    for provider in made:
        examine: Callable[[], Iterable[CheckLine]] | None = getattr(provider, "checks", None)
        if examine is not None:
            yield from examine()


def close(made: Iterable[InstanceProvider]) -> None:
    """End what providers have running."""
    for provider in made:
        end: Callable[[], None] | None = getattr(provider, "close", None)
        if end is not None:
            end()


def feeds(options: Options, clock: Clock, metrics: OrchestratorMetrics) -> list[CountingFeed]:
    """Make the enabled feeds; none is started."""
    return [_feed(feed, clock, metrics) for feed in options.feeds]


def _feed(options: HttpFeedOptions | RabbitFeedOptions, clock: Clock, metrics: OrchestratorMetrics) -> CountingFeed:
    match options:
        case HttpFeedOptions():
            return HttpFeed(options, clock, metrics)
        case RabbitFeedOptions():
            return RabbitFeed(options, clock, metrics)


def state(
    engine: Engine,
    feeds: Iterable[CountingFeed],
    watch: NodeWatch,
    pool: Callable[[], Iterable[PoolLine]],
    member: Membership | Alone,
    records: Callable[[], RecordsStanding],
    certificates: Callable[[], Mapping[str, float]],
    node_brake: Callable[[], str],
) -> Callable[[], Iterable[Metric]]:
    """Return what a scrape reads: counts from memory, nobody is asked. `node_brake`: why no node is given up."""

    def read() -> Iterable[Metric]:
        yield gauge("astara_resources", "Resources by phase", _by_label(engine.ledger.phases()), "phase")
        yield gauge("astara_queue_depth", "Resources waiting for a look", {(): float(engine.inbox.depth)})
        yield gauge("astara_working", "Resources being looked at", {(): float(engine.inbox.working)})
        braked = engine.brake().engaged or bool(node_brake())
        yield gauge("astara_brake_engaged", "1 while mass rebuilds or moves are held back", {(): float(braked)})
        yield from _of_nodes(watch.lines(), certificates())
        disputed = float(len(watch.disputed))
        yield gauge("astara_nodes_disputed", "Nodes announced by another orchestrator only", {(): disputed})
        connected = {feed.name: float(feed.connected()) for feed in feeds}
        yield gauge("astara_feed_connected", "1 while the feed is connected", _by_label(connected), "feed")
        yield from gauges(member, len(engine.share.elsewhere()))
        kept = records()
        yield gauge("astara_records_failing", "1 while the database fails", {(): float(kept.trouble is not None)})
        yield gauge("astara_records_lines_waiting", "Lines of the audit not written yet", {(): float(kept.waiting)})
        yield gauge("astara_records_lines_lost", "Lines of the audit lost since the start", {(): float(kept.lost)})
        yield gauge("astara_pool_spares", "Warm instances, and how many are wanted", _spares(pool()), "kind", "is")

    return read


def _of_nodes(nodes: Iterable[NodeLine], own: Mapping[str, float]) -> Iterable[Metric]:
    """`own`: when certificates end that are not a node's."""
    nodes = tuple(nodes)
    reachable = {line.name: float(line.reachable) for line in nodes}
    yield gauge("astara_node_reachable", "1 while the node agent answers", _by_label(reachable), "node")
    ahead = {line.name: line.clock_ahead_s for line in nodes if line.clock_ahead_s is not None}
    yield gauge("astara_node_clock_ahead_seconds", "A node's clock against ours", _by_label(ahead), "node")
    ends = {line.name: line.certificate_expires_at for line in nodes if line.certificate_expires_at is not None}
    text = "Wall seconds at which a certificate ends: orchestrator, authority, or a node's"
    yield gauge("astara_certificate_ends_at_seconds", text, _by_label({**ends, **own}), "of")


def _spares(lines: Iterable[PoolLine]) -> dict[tuple[str, ...], float]:
    counts: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        counts[line.provider, "ready"] += line.ready
        counts[line.provider, "coming"] += line.coming
        counts[line.provider, "wanted"] += line.wanted
    return {labels: float(count) for labels, count in counts.items()}


def _by_label(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(label,): float(value) for label, value in values.items()}
