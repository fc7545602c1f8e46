"""How an upgrade goes on: what is verified, what is begun next, when it waits, and when it stops by itself. Pure.

The planner keeps the halves of a pair apart (`courses`); here whole resources are begun, never more at once than the
budget allows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from astara.model.resource import ResourceKey
from astara.model.upgrade import Item, Stage, State, Upgrade


@dataclass(frozen=True, slots=True)
class Budget:
    """How many resources may be in work at once: on each node, and everywhere."""

    per_node: int = 1
    in_total: int = 4


@dataclass(frozen=True, slots=True)
class Probe:
    """How one resource does. `verified`: as wished, of the new edition alone. `ill`: worse than before, lastingly.

    `doubtful`: not well at this moment; `unseen`: its node does not answer; `held`: an operator's, not ours to judge.
    """

    verified: bool = False
    ill: bool = False
    doubtful: bool = False
    unseen: bool = False
    held: bool = False
    because: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be recorded. `state` and `why`: None when it goes on. `soak_until`: wall seconds, from now on.

    `struck`: no longer of the upgrade.
    """

    done: tuple[ResourceKey, ...] = ()
    struck: tuple[ResourceKey, ...] = ()
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


def in_turn(items: Iterable[Item]) -> list[Item]:
    """Return them in the order in which they are begun: one of each service, the commonest first, and so on.

    An image that is good for networks may be bad for routers: a canary of two has both.
    """
    by_driver: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: str(item.key)):
        by_driver.setdefault(item.key.driver, []).append(item)
    rows = zip_longest(*sorted(by_driver.values(), key=len, reverse=True))
    return [item for row in rows for item in row if item is not None]


def decide(
    upgrade: Upgrade,
    items: Sequence[Item],
    probes: Mapping[ResourceKey, Probe],
    now: float,
    budget: Budget,
    waits: str = "",
    besides: Collection[Item] = (),
) -> Decision:
    """Say what to do next. `items` in the order they are begun; `waits`: why nothing may be begun now, if so.

    `besides`: what is still in work of an upgrade before; the budget is for both.
    """
    done = tuple(item.key for item in items if item.stage is Stage.WORK and probes.get(item.key, WELL).verified)
    if upgrade.state is not State.RUNNING:
        return Decision(done=done)
    struck = tuple(item.key for item in items if item.stage is not Stage.DONE and probes.get(item.key, WELL).held)
    items = [item for item in items if item.key not in struck]
    stand = _stand(upgrade, items, probes, now)
    if stand.worse:
        return Decision(done, struck, state=State.STOPPED, why=stand.worse)
    finished = sum(item.stage is Stage.DONE for item in items) + len(done) + len(stand.late)
    if finished == len(items):
        return _at_the_end(upgrade, Decision(done, struck), stand, items, now)
    first = canary_size(upgrade.wish.canary, len(items))
    if finished >= first and upgrade.soaked_at is None:
        return Decision(done, struck, soak_until=now + upgrade.wish.soak_s)
    soaking = upgrade.soaked_at is not None and now < upgrade.soaked_at
    if waits or soaking or stand.doubtful or (stand.unseen and stand.begun <= first):
        return Decision(done, struck)
    most = len(items) if upgrade.soaked_at is not None else first
    settled = {*done, *stand.late}
    return Decision(done, struck, begin=tuple(_affordable(items, settled, most, budget, besides)))


@dataclass(frozen=True, slots=True)
class _Stand:
    """How all that was begun does. `late`: what did not get well in time, and holds up nobody any more."""

    begun: int
    worse: str
    doubtful: bool
    unseen: bool
    late: frozenset[ResourceKey]


def _stand(upgrade: Upgrade, items: Sequence[Item], probes: Mapping[ResourceKey, Probe], now: float) -> _Stand:
    """Judge by what was ill before anything was touched."""
    begun = [(item, probes.get(item.key, WELL)) for item in items if item.stage is not Stage.WAITING]
    late = frozenset(
        item.key
        for item, probe in begun
        if item.stage is Stage.WORK and not probe.verified and now - item.since > upgrade.wish.deadline_s
    )
    ill = [(item, probe) for item, probe in begun if probe.ill or item.key in late]
    doubtful = sum(probe.doubtful for item, probe in begun if item.key not in late and not probe.ill)
    allowed = math.floor(upgrade.baseline * len(begun))
    return _Stand(
        begun=len(begun),
        worse=_worse(upgrade, ill, late, len(begun)) if len(ill) > allowed else "",
        # Among many there is always one that is about to be mended.
        doubtful=doubtful > 0 and len(ill) + doubtful > allowed + len(begun) // 100,
        unseen=any(probe.unseen for _, probe in begun),
        late=late,
    )


def _at_the_end(upgrade: Upgrade, noted: Decision, stand: _Stand, items: Sequence[Item], now: float) -> Decision:
    """What was upgraded last is watched as long as the canary was."""
    last = now if noted.done else max((item.since for item in items if item.stage is Stage.DONE), default=now)
    until = last + upgrade.wish.soak_s
    if items and (upgrade.soaked_at is None or upgrade.soaked_at < until):
        return replace(noted, soak_until=until)
    soaking = upgrade.soaked_at is not None and now < upgrade.soaked_at
    if not noted.empty or soaking or stand.doubtful:
        return noted
    rest = f"{len(stand.late)} did not get well in time, as before" if stand.late else ""
    words = ", ".join(filter(None, (f"{len(items) - len(stand.late)} upgraded", rest)))
    return Decision(state=State.DONE, why=words if items else "nothing runs anything else")


def _worse(upgrade: Upgrade, ill: Iterable[tuple[Item, Probe]], late: Collection[ResourceKey], begun: int) -> str:
    said = []
    for item, probe in ill:
        missed = f"not verified within {upgrade.wish.deadline_s:.0f} s: " if item.key in late else ""
        said.append(f"{item.key}: {missed}{probe.because or 'no reason known'}")
    before = f" ({upgrade.baseline:.0%} were ill before)" if upgrade.baseline else ""
    return f"{len(said)} of {begun} upgraded got worse{before}: {'; '.join(said[:3])}"


def _affordable(
    items: Sequence[Item], settled: Collection[ResourceKey], most: int, budget: Budget, besides: Collection[Item]
) -> Iterable[ResourceKey]:
    """Return what may be begun beside what is in work and not settled; `most`: so many may have been begun in all."""
    begun = sum(item.stage is not Stage.WAITING for item in items)
    mine = {item.key: item.hosts for item in items if item.stage is not Stage.WAITING}
    working = {item.key for item in items if item.stage is Stage.WORK and item.key not in settled}
    # What is in work already, for an upgrade before, may be begun for this one: that is no more in work than there was.
    others = {item.key: item.hosts for item in besides if item.key not in mine}
    busy = Counter(host for hosts in (*(mine[key] for key in working), *others.values()) for host in hosts)
    count = len(working) + len(others)
    for item in items:
        if begun >= most:
            return
        if item.stage is not Stage.WAITING:
            continue
        if item.key not in others:
            if count >= budget.in_total or any(busy[host] >= budget.per_node for host in item.hosts):
                continue
            count += 1
            busy.update(item.hosts)
        begun += 1
        yield item.key
