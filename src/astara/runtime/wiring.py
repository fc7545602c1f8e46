"""Who is connected to whom. The only room that knows everyone; it decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric

from astara.clients.appliance import NodeEndpoint
from astara.intake.http_feed import HttpFeed, HttpFeedOptions
from astara.intake.rabbit_feed import RabbitFeed, RabbitFeedOptions
from astara.model.boundaries import Clock, Driver, InstanceProvider
from astara.model.errors import BadConfiguration
from astara.model.operator import NodeLine
from astara.providers.namespace.provider import NamespaceProvider
from astara.reconcile.engine import Engine
from astara.runtime import plugins
from astara.runtime.metrics import OrchestratorMetrics, gauge
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


def providers(options: Options) -> dict[str, InstanceProvider]:
    """Load the enabled providers; raises BadConfiguration for an unknown one."""
    return {name: _provider(name, options) for name in options.providers}


def _provider(name: str, options: Options) -> InstanceProvider:
    maker = plugins.load(plugins.PROVIDERS, name, "[services] default_provider, providers")
    if maker is not NamespaceProvider:
        return _provider_of_others(name, maker, options.provider_settings.get(name, {}))
    if options.identity is None:
        raise BadConfiguration("[nodes] node is not set", "name a node agent: node=NAME=https://ADDRESS:19801")
    return NamespaceProvider({node.name: NodeEndpoint(node.name, node.url) for node in options.nodes}, options.identity)


def _provider_of_others(name: str, maker: Any, settings: Mapping[str, str]) -> InstanceProvider:
    """Make a provider by its class method `configured`, or, when it has none, without arguments."""
    configured = getattr(maker, "configured", None)
    if configured is None and settings:
        raise BadConfiguration(f"[provider:{name}] is not read by this provider", "remove the section")
    made: InstanceProvider = maker() if configured is None else configured(settings)
    return made


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
    engine: Engine, feeds: Iterable[CountingFeed], nodes: Callable[[], Iterable[NodeLine]]
) -> Callable[[], Iterable[Metric]]:
    """Return what a scrape reads: counts from memory, nobody is asked."""

    def read() -> Iterable[Metric]:
        yield gauge("astara_resources", "Resources by phase", _by_label(engine.ledger.phases()), "phase")
        yield gauge("astara_queue_depth", "Resources waiting for a look", {(): float(engine.inbox.depth)})
        yield gauge("astara_working", "Resources being looked at", {(): float(engine.inbox.working)})
        yield gauge("astara_brake_engaged", "1 while mass rebuilds are held back", {(): float(engine.brake().engaged)})
        reachable = {line.name: float(line.reachable) for line in nodes()}
        yield gauge("astara_node_reachable", "1 while the node agent answers", _by_label(reachable), "node")
        connected = {feed.name: float(feed.connected()) for feed in feeds}
        yield gauge("astara_feed_connected", "1 while the feed is connected", _by_label(connected), "feed")

    return read


def _by_label(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(label,): float(value) for label, value in values.items()}
