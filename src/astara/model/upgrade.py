"""A rolling upgrade: what every resource of a kind shall be made anew from, how far it has come, and why it stands."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from astara.contract.codec import Wire
from astara.model.resource import ResourceKey


class State(enum.StrEnum):
    RUNNING = "running"
    PAUSED = "paused"  # an operator's word: nothing new is begun
    STOPPED = "stopped"  # by itself, because a probe got worse
    ABORTED = "aborted"  # for good; what was begun is finished
    DONE = "done"

    @property
    def over(self) -> bool:
        return self in (State.ABORTED, State.DONE)


class Stage(enum.StrEnum):
    """Where one resource stands."""

    WAITING = "waiting"
    WORK = "in work"
    DONE = "done"


class UpgradeWish(Wire, frozen=True):
    """What an operator asks for. `image` None: everything of that kind is made anew from what its node has.

    `canary`: how many are upgraded first, "5%" or "3"; then their probes are watched for `soak_s` seconds. A resource
    that is not verified `deadline_s` after it was begun stops the upgrade.
    """

    kind: str  # a provider's name
    image: str | None = None  # its name at the nodes
    digest: str | None = None  # of its content
    canary: str = "1"
    soak_s: float = 60.0
    deadline_s: float = 300.0
    back_of: int | None = None  # the upgrade whose resources go back to what they were made from


class Upgrade(Wire, frozen=True):
    """One upgrade as it is recorded. `baseline`: what part of its resources was ill before; times are wall seconds."""

    number: int
    wish: UpgradeWish
    state: State
    by: str
    at: float
    why: str = ""
    term: int = 0
    collected: bool = False  # which resources it concerns is known
    baseline: float = 0.0
    soaked_at: float | None = None  # until then the canary is watched

    @property
    def edition(self) -> str:
        """Say which no other upgrade is: records that were lost or put back count from a smaller number again."""
        return f"{self.number}-{self.at:.0f}"


@dataclass(frozen=True, slots=True)
class Item:
    """One resource of an upgrade. `hosts`: where its instances are; `since`: in this stage, wall seconds.

    `image` is what it is made from now, `before` what it was made from: names, None where there are no images.
    """

    key: ResourceKey
    stage: Stage
    hosts: frozenset[str]
    since: float
    image: str | None = None
    before: str | None = None


@dataclass(frozen=True, slots=True)
class Edition:
    """What an upgrade wishes of a resource, while that is of `kind`."""

    kind: str
    number: str
    image: str | None = None
