"""Every number the planning room decides by, in one frozen place, handed in."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """Delays between failing attempts: `first_s * factor**n`, capped, spread by `jitter` (0.2 = up to 20 % less)."""

    first_s: float = 1.0
    factor: float = 2.0
    retry_cap_s: float = 60.0
    #: A refusal that only a changed wish or installation can cure is tried far less often.
    terminal_first_s: float = 15.0
    terminal_cap_s: float = 600.0
    jitter: float = 0.2
    #: What is heard of a settled resource this soon after a try that failed may be the try's own doing.
    echo_s: float = 12.0


@dataclass(frozen=True, slots=True)
class BrakePolicy:
    """Engage when at least `at_least` instances and more than `fraction` of all fell silent within `window_s`."""

    fraction: float = 0.3
    at_least: int = 5
    window_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Deadlines and budgets. Each one is the way out of a state that could otherwise last for ever."""

    #: Tries without success after which Neutron shows ERROR. Trying goes on, at the capped delay.
    failure_budget: int = 5
    #: An instance whose agent says nothing (booting, or hung) is replaced after this long.
    silent_deadline_s: float = 180.0
    #: An instance that stays degraded although it was configured again is replaced after this long.
    degraded_deadline_s: float = 300.0
    #: At most this many replacements of one resource's instances within the window.
    rebuild_budget: int = 5
    rebuild_window_s: float = 3600.0
    #: Between the first and the second replacement; doubles with each further one.
    rebuild_spacing_s: float = 5.0
    #: How soon to look again at a booting or silent instance, at an unreachable host, at an unmet wish.
    silent_look_s: float = 5.0
    unreachable_look_s: float = 120.0
    waiting_look_s: float = 600.0
    #: At a pair of which both halves say to be active: none of its ports follows anybody, and no event tells who stays.
    discord_look_s: float = 2.0
    backoff: BackoffPolicy = field(default_factory=BackoffPolicy)
    brake: BrakePolicy = field(default_factory=BrakePolicy)
