"""How an upgrade goes on: what is verified, what is begun next, when it waits, and when it stops by itself. Pure.

The planner keeps the halves of a pair apart (`courses`); here whole resources are begun, never more at once than the
budget allows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from astara.model.resource import ResourceKey
from astara.model.upgrade import Item, Stage, State, Upgrade


@dataclass(frozen=True, slots=True)
class Budget:
    """How many resources may be in work at once: on each node, and everywhere."""

    per_node: int = 1
    in_total: int = 4


@dataclass(frozen=True, slots=True)
class Probe:
    """How one resource does. `verified`: as wished, of the new edition alone. `ill`: worse than before, lastingly."""

    verified: bool = False
    ill: bool = False
    because: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be recorded. `state` and `why`: None when it goes on. `soak_until`: wall seconds, from now on."""

    done: tuple[ResourceKey, ...] = ()
    begin: tuple[ResourceKey, ...] = ()
    state: State | None = None
    why: str = ""
    soak_until: float | None = None

    @property
    def empty(self) -> bool:
        return self == Decision()


WELL = Probe()


def canary_size(canary: str, total: int) -> int:
    """Return how many resources "5%" or "3" are, at least one; raises ValueError naming the forms."""
    text = canary.strip()
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdigit() and int(number) > 0) or (text != number and int(number) > 100):
        raise ValueError(f"{canary!r} is no canary: write a number of resources, or 1% to 100%")
    return max(1, math.ceil(total * int(number) / 100)) if text != number else int(number)


def decide(
    upgrade: Upgrade,
    items: Sequence[Item],
    probes: Mapping[ResourceKey, Probe],
    now: float,
    budget: Budget,
    waits: str = "",
) -> Decision:
    """Say what to do next. `items` in the order they are begun; `waits`: why nothing may be begun now, if so."""
    done = tuple(item.key for item in items if item.stage is Stage.WORK and probes.get(item.key, WELL).verified)
    if upgrade.state.over:
        return Decision(done=done)
    if upgrade.state is State.RUNNING and (why := _worse(upgrade, items, probes, now)):
        return Decision(done=done, state=State.STOPPED, why=why)
    finished = sum(item.stage is Stage.DONE for item in items) + len(done)
    if finished == len(items) and upgrade.state is not State.STOPPED:
        return _at_the_end(upgrade, done, len(items), now)
    if upgrade.state is not State.RUNNING or waits:
        return Decision(done=done)
    first = canary_size(upgrade.wish.canary, len(items))
    if finished >= first and upgrade.soaked_at is None:
        return Decision(done=done, soak_until=now + upgrade.wish.soak_s)
    if upgrade.soaked_at is not None and now < upgrade.soaked_at:
        return Decision(done=done)
    most = len(items) if upgrade.soaked_at is not None else first
    return Decision(done=done, begin=tuple(_affordable(items, done, most, budget)))


def _at_the_end(upgrade: Upgrade, done: tuple[ResourceKey, ...], total: int, now: float) -> Decision:
    """What was upgraded last is watched as long as the canary was."""
    if total and upgrade.soaked_at is None:
        return Decision(done=done, soak_until=now + upgrade.wish.soak_s)
    if done or (upgrade.soaked_at is not None and now < upgrade.soaked_at):
        return Decision(done=done)
    return Decision(state=State.DONE, why=f"{total} upgraded" if total else "nothing runs anything else")


def _worse(upgrade: Upgrade, items: Iterable[Item], probes: Mapping[ResourceKey, Probe], now: float) -> str:
    """Say what got worse by more than what was ill before anything was touched; empty when nothing did."""
    begun = [item for item in items if item.stage is not Stage.WAITING]
    ill: list[str] = []
    for item in begun:
        probe = probes.get(item.key, WELL)
        late = item.stage is Stage.WORK and not probe.verified and now - item.since > upgrade.wish.deadline_s
        if probe.ill or late:
            words = probe.because or "no reason known"
            ill.append(f"{item.key}: {f'not verified within {upgrade.wish.deadline_s:.0f} s: ' if late else ''}{words}")
    allowed = math.floor(upgrade.baseline * len(begun))
    if len(ill) <= allowed:
        return ""
    before = f" ({upgrade.baseline:.0%} were ill before)" if upgrade.baseline else ""
    return f"{len(ill)} of {len(begun)} upgraded got worse{before}: {'; '.join(ill[:3])}"


def _affordable(
    items: Sequence[Item], done: Collection[ResourceKey], most: int, budget: Budget
) -> Iterable[ResourceKey]:
    """Return what may be begun beside what is in work; `most`: so many may have been begun in all."""
    busy: Counter[str] = Counter()
    working = begun = 0
    for item in items:
        begun += item.stage is not Stage.WAITING
        if item.stage is Stage.WORK and item.key not in done:
            working += 1
            busy.update(item.hosts)
    for item in items:
        if working >= budget.in_total or begun >= most:
            return
        if item.stage is not Stage.WAITING or any(busy[host] >= budget.per_node for host in item.hosts):
            continue
        working, begun = working + 1, begun + 1
        busy.update(item.hosts)
        yield item.key
