"""What differs between the wanted routes and rules and the kernel's, as requests. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from astara.appliance.subsystems.routes.config import RouteConfig, RoutesConfig, RuleConfig
from astara.appliance.system import fib
from astara.appliance.system.fib import Hop, Route, Rule
from astara.appliance.system.netlink import Request
from astara.appliance.system.rtnetlink import Link


@dataclass(slots=True)
class Changes:
    details: list[str] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def add(self, detail: str, request: Request) -> None:
        self.details.append(detail)
        self.requests.append(request)


def changes(config: RoutesConfig, links: Mapping[str, Link], routes: Sequence[Route], rules: Sequence[Rule]) -> Changes:
    """Compare what is wanted with what carries our protocol number; nothing else is looked at.

    Rules that say where to look are added after the routes they lead to, and removed before them. So a table that
    becomes another link's is never asked for the one it belonged to.
    """
    plan = Changes()
    wanted_rules = {_rule(rule, links) for rule in config.rules}
    for rule in sorted(set(rules) - wanted_rules, key=_rule_order):
        plan.add(f"rule {rule.priority} (IPv{rule.version}) is not wanted", fib.delete_rule(rule))
    _routes(plan, [_route(route, links) for route in config.routes], routes)
    for rule in sorted(wanted_rules - set(rules), key=_rule_order):
        plan.add(f"rule {rule.priority} (IPv{rule.version}) is missing", fib.add_rule(rule))
    return plan


def _routes(plan: Changes, wanted: Sequence[Route], found: Sequence[Route]) -> None:
    there = {_key(route): route for route in found}
    for route in wanted:
        seen = there.pop(_key(route), None)
        if seen is None:
            plan.add(f"route to {route.destination} is missing", fib.add_route(route))
        elif not _same(route, seen):
            if seen.destination.version == 6:  # IPv6 replaces one hop of several, not the set
                plan.requests.append(fib.delete_route(seen))
            plan.add(f"route to {route.destination} goes elsewhere", fib.add_route(route))
    for route in there.values():
        plan.add(f"route to {route.destination} is not wanted", fib.delete_route(route))


def _key(route: Route) -> tuple[object, int, int]:
    return route.destination, route.metric, route.table


def _same(wanted: Route, seen: Route) -> bool:
    """A wanted hop without a link fits any link; the onlink flag says how to add, not what it is."""
    if len(wanted.hops) != len(seen.hops):
        return False
    there = {hop.gateway: hop.index for hop in seen.hops}
    return all(hop.gateway in there and hop.index in (0, there[hop.gateway]) for hop in wanted.hops)


def _route(route: RouteConfig, links: Mapping[str, Link]) -> Route:
    hops = tuple(Hop(hop.gateway, links[hop.mac].index if hop.mac is not None else 0, hop.onlink) for hop in route.hops)
    return Route(route.destination, hops, route.metric, route.table)


def _rule(rule: RuleConfig, links: Mapping[str, Link]) -> Rule:
    name = links[rule.mac].name if rule.mac is not None else ""
    return Rule(rule.version, rule.priority, rule.table, rule.source, rule.mark, rule.mask, rule.suppress_up_to, name)


def _rule_order(rule: Rule) -> tuple[int, int, int, str, str]:
    return rule.version, rule.priority, rule.table, str(rule.source), rule.link
