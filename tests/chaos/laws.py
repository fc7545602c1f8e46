"""The laws, each a pure function of the history: what it says was broken, in words; and how much there was to judge.

A law that had nothing to judge is broken too: nothing was recorded, so nothing is proven.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chaos.history import Act, Audit, Body, Fault, Flow, History, Instance, Leftover, Ring, World, of
from storm.compare import differences_on

#: A busy machine's allowance included: docs/design/ha.md promises about one.
_DEAF_SILENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One law's verdict. `judged`: how many things of `of_what` it looked at."""

    law: str
    judged: int
    of_what: str
    broken: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.judged > 0 and not self.broken


@dataclass(frozen=True, slots=True)
class _Law:
    name: str
    of_what: str
    judged: Callable[[History], int]
    broken: Callable[[History], Iterator[str]]


def judge(history: History) -> tuple[Finding, ...]:
    """Hold every law against a history."""
    return tuple(Finding(law.name, law.judged(history), law.of_what, tuple(law.broken(history))) for law in _LAWS)


# -- one owner


def _older_acts(history: History) -> Iterator[str]:
    """No place lets in an act under an older term after one under a newer one had been let in there."""
    newest: dict[tuple[str, str], Act] = {}
    for act in _acts(history):
        place = (act.node, act.instance)
        before = newest.get(place)
        if before is not None and act.generation[0] < before.generation[0]:
            yield (
                f"{act.node} let in {act.act} of instance {act.instance} under term {act.generation[0]} "
                f"after {before.act} under {before.generation[0]}"
            )
        else:
            newest[place] = act


def _acts(history: History) -> tuple[Act, ...]:
    return tuple(act for act in of(Act, history) if act.let_in and not act.spare and act.act != "look")


def _shared_terms(history: History) -> Iterator[str]:
    """Under one term one orchestrator acts on a resource, and no other."""
    actors: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in of(Audit, history):
        if line.steps:
            actors[line.key, line.term].add(line.who)
    for (key, term), who in actors.items():
        if len(who) > 1:
            yield f"{' and '.join(sorted(who))} acted on {key} under term {term}"


def _split_rings(history: History) -> Iterator[str]:
    """Every ring has one predecessor and one successor, and epochs only grow."""
    rings = of(Ring, history)
    for epoch, count in Counter(ring.epoch for ring in rings).items():
        if count > 1:
            yield f"{count} rings of epoch {epoch}"
    for follows, count in Counter(ring.follows for ring in rings).items():
        if count > 1:
            yield f"{count} rings follow epoch {follows}"
    yield from (f"ring {r.epoch} follows the newer {r.follows}" for r in rings if r.follows >= r.epoch)


# -- nothing lost, double, orphaned


def _lost_wishes(history: History) -> Iterator[str]:
    for world in of(World, history):
        if world.when == "rest":
            yield from differences_on(world.wish, world.nodes)


def _double(history: History) -> Iterator[str]:
    counted = Counter((line.when, line.key, line.slot) for line in of(Instance, history))
    for (when, key, slot), count in counted.items():
        if count > 1:
            yield f"{when}: {count} instances of {key} slot {slot}"
    for world in of(World, history):
        macs = Counter((n.host, mac) for seen in world.nodes.values() for n in seen.namespaces for mac in n.macs)
        yield from (
            f"{world.when}: {mac} is in {count} namespaces of {host}"
            for (host, mac), count in macs.items()
            if count > 1
        )


def _orphans(history: History) -> Iterator[str]:
    for world in of(World, history):
        if world.when == "cleared":
            yield from differences_on(world.wish, world.nodes)
    yield from (f"{one.where}: {one.what}" for one in of(Leftover, history))
    for world in of(World, history):
        wished = {f"router/{router.id}" for router in world.wish.routers}
        wished |= {f"network/{service.network_id}" for service in world.wish.services}
        for one in of(Instance, history):
            if one.when == world.when and one.key not in wished:
                yield f"{one.when}: {one.node} keeps {one.id} of {one.key}, which nobody wishes"


# -- packets


def _flows(history: History, through: str) -> tuple[Flow, ...]:
    return tuple(flow for flow in of(Flow, history) if flow.through == through)


def _lost_packets(history: History) -> Iterator[str]:
    for flow in _flows(history, "single"):
        if flow.broken:
            yield f"{flow.name}: the connection ended: {flow.broken}"
        elif flow.lost_at:
            moments = ", ".join(f"{at:.1f} s" for at in flow.lost_at[:8])
            yield f"{flow.name}: {len(flow.lost_at)} of {flow.sent} lost, at {moments}"
        elif not flow.answered:
            yield f"{flow.name}: nothing was ever answered"


def _replaced(history: History) -> Iterator[str]:
    for body in of(Body, history):
        if body.after != body.before:
            yield f"{body.name} is {'gone' if body.after is None else 'another one'}"


def _broken_connections(history: History) -> Iterator[str]:
    for flow in _flows(history, "pair"):
        if flow.kind != "fresh" and (why := _how_it_died(flow)):
            yield f"{flow.name}: {why}"


def _how_it_died(flow: Flow) -> str:
    """Say why a connection lives no more, "" while it does. One without TCP ends without a word: nothing answers."""
    if flow.broken:
        return flow.broken
    if not flow.answered:
        return "nothing was ever answered"
    unanswered = [at for at in flow.lost_at if flow.heard_s is not None and at > flow.heard_s]
    return f"nothing was answered any more after {flow.heard_s:.1f} s" if unanswered else ""


def _silent_while_deaf(history: History) -> Iterator[str]:
    """Of halves that do not hear each other one stands back within about a second; the other one serves."""
    cuts = [(f.at_s, f.over_s) for f in of(Fault, history) if f.kind == "cut" and f.target.startswith("half")]
    for flow in _flows(history, "pair"):
        for at, seconds in flow.silences:
            if seconds >= _DEAF_SILENCE_S and any(begin <= at < end for begin, end in cuts):
                yield f"{flow.name}: {seconds:.1f} s without an answer from {at:.1f} s on, its halves were deaf"


def _unbroken(history: History) -> Iterator[str]:
    """A fault that did not come about proves nothing."""
    yield from (f"{fault.kind} of {fault.target}: {fault.failed}" for fault in of(Fault, history) if fault.failed)


_LAWS = (
    _Law("one owner: no act under an older term after a newer", "acts let in", lambda h: len(_acts(h)), _older_acts),
    _Law(
        "one owner: under one term one orchestrator acts on a resource",
        "lines of audit",
        lambda h: sum(line.steps > 0 for line in of(Audit, h)),
        _shared_terms,
    ),
    _Law("one owner: rings follow each other", "rings", lambda h: len(of(Ring, h)), _split_rings),
    _Law(
        "no wish lost: the world is Neutron's wish, statuses too",
        "routers and networks",
        lambda h: sum(len(w.wish.routers) + len(w.wish.services) for w in of(World, h) if w.when == "rest"),
        _lost_wishes,
    ),
    _Law("nothing double", "instances", lambda h: len(of(Instance, h)), _double),
    _Law(
        "nothing orphaned: deleted is gone",
        "namespaces that may stay",
        lambda h: sum(len(s.namespaces) for w in of(World, h) if w.when == "cleared" for s in w.nodes.values()),
        _orphans,
    ),
    _Law(
        "untouched routers lost no packet",
        "packets",
        lambda h: sum(flow.sent for flow in _flows(h, "single")),
        _lost_packets,
    ),
    _Law("untouched routers are the same", "namespaces", lambda h: len(of(Body, h)), _replaced),
    _Law(
        "connections through pairs lived",
        "connections",
        lambda h: sum(flow.kind != "fresh" for flow in _flows(h, "pair")),
        _broken_connections,
    ),
    _Law(
        f"paths through pairs whose halves do not hear each other are never silent for {_DEAF_SILENCE_S:.0f} s",
        "paths",
        lambda h: len(_flows(h, "pair")),
        _silent_while_deaf,
    ),
    _Law("every fault came about", "faults", lambda h: len(of(Fault, h)), _unbroken),
)
