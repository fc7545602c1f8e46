"""In what body a resource runs: the driver's wish, an operator's word over it, and what can be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from astara.model.resource import DesiredState, Present


@dataclass(frozen=True, slots=True)
class Offers:
    """What can be made where.

    `installed` and `enabled` are names of providers; `obstacles` says of an enabled one why it can make nothing yet,
    and what to do. `on_hosts` holds, for hosts that said so, the bodies each can make; the names in `by_host` are
    judged by it.
    """

    installed: frozenset[str]
    enabled: frozenset[str]
    obstacles: Mapping[str, str] = field(default_factory=dict)
    by_host: frozenset[str] = frozenset()
    on_hosts: Mapping[str, frozenset[str]] = field(default_factory=dict)


def housed(desired: DesiredState, chosen: str | None, offers: Offers) -> DesiredState:
    """Put an operator's choice of body into the wish; with a body that cannot be had the resource waits and says why.

    What runs meanwhile goes on running: a resource that waits keeps its instances.
    """
    if not isinstance(desired, Present):
        return desired
    instances = desired.instances
    if chosen is not None:
        # An image belongs to the kind it was named for.
        instances = tuple(
            one if one.provider == chosen else replace(one, provider=chosen, image=None) for one in instances
        )
    objections = [objection(wanted.provider, wanted.host, offers) for wanted in instances]
    reasons = list(dict.fromkeys(filter(None, objections)))
    if not reasons:
        return desired if instances is desired.instances else replace(desired, instances=instances)
    unmet = "; ".join(filter(None, (desired.unmet, *reasons)))
    return replace(desired, instances=(), unmet=unmet)


def objection(body: str, host: str | None, offers: Offers) -> str | None:
    """Say why `body` cannot be had (on `host`), and what to do about it; None when it can, or nothing is known."""
    if body not in offers.enabled:
        enabled = ", ".join(sorted(offers.enabled))
        if body in offers.installed:
            return f"body {body!r} is not enabled: add it to [services] providers, or choose one of: {enabled}"
        return f"body {body!r} is not known: choose one of: {enabled}, in the flavor's metainfo or by `astara move`"
    if body in offers.obstacles:
        return f"body {body!r} cannot be made yet: {offers.obstacles[body]}"
    if body not in offers.by_host or not offers.on_hosts:
        return None
    if host is None:
        return None if _hosts_with(body, offers) else f"no node offers body {body!r}: {_on_a_node(body)}"
    if host not in offers.on_hosts or body in offers.on_hosts[host]:
        return None
    others = ", ".join(_hosts_with(body, offers)) or "no node"
    has = ", ".join(sorted(offers.on_hosts[host]))
    return f"node {host} offers {has}, not body {body!r} ({others} does): {_on_a_node(body)}, or choose another body"


def _hosts_with(body: str, offers: Offers) -> list[str]:
    return sorted(host for host, bodies in offers.on_hosts.items() if body in bodies)


def _on_a_node(body: str) -> str:
    return f"see body.unavailable for {body} in the log of astara-node there, install what it names and restart it"
