"""The only thing remembered about a resource between two looks: what was tried, and when to dare again."""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from astara.planning.classify import Phase
from astara.planning.policy import BackoffPolicy, Policy


class FailureKind(enum.StrEnum):
    RETRY = "retry"  # away or busy: try the same again
    TERMINAL = "terminal"  # refused: only a changed wish or installation helps
    STALE = "stale"  # somebody newer was here


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a plan did not get through. `after_s` is what the other side asked for, if it did."""

    kind: FailureKind
    message: str
    remedy: str = ""
    after_s: float | None = None


SETTLED = (Phase.CONFIGURED, Phase.GONE)


@dataclass(frozen=True, slots=True)
class Attempts:
    """What was tried for one wish since the resource was last seen settled. Times are monotonic seconds.

    A plan that got through but is followed by a look that finds the resource unsettled still was fruitless:
    it counts as a try and delays the next one, so that nothing loops hot (W6). A new wish has no tries: a
    corrected configuration is tried at once. Losing this memory is harmless: deadlines start again.

    What fails without unsettling the resource (a status that cannot be written, ports that cannot be bound where the
    active half is) counts like any other try for as long as the very same is left to do: `owed`, in words.
    """

    wish: str = ""
    tries: int = 0
    last: Failure | None = None
    not_before: float = 0.0
    phase: Phase | None = None
    since: float = 0.0
    rebuilds: tuple[float, ...] = ()
    tried_at: float = 0.0
    owed: tuple[str, ...] = ()

    def noticed(self, phase: Phase, wish: str, now: float, *, owing: bool = False) -> Attempts:
        """Take note of a look. `owing`: it is settled, and what failed is still to be done: see `may_owe`."""
        known = self
        if wish != self.wish:
            known = replace(self, wish=wish, tries=0, last=None, not_before=0.0)
        if phase is not known.phase:
            known = replace(known, phase=phase, since=now)
        if phase in SETTLED and (known.tries or known.last) and not owing:
            known = replace(known, tries=0, last=None, not_before=0.0, owed=())
        return known

    def may_owe(self, phase: Phase, wish: str) -> bool:
        """Return whether what is left to do decides if the tries still count."""
        return self.last is not None and phase in SETTLED and (phase, wish) == (self.phase, self.wish)

    def failed(
        self, failure: Failure, now: float, policy: BackoffPolicy, random_value: float, owed: tuple[str, ...] = ()
    ) -> Attempts:
        """Count one more try that failed; `random_value` in [0, 1) spreads the delay. `owed`: what was not done."""
        delay = delay_s(self.tries, failure, policy, random_value)
        return replace(self, tries=self.tries + 1, last=failure, not_before=now + delay, tried_at=now, owed=owed)

    def succeeded(self, now: float, policy: BackoffPolicy, random_value: float) -> Attempts:
        """Count a plan that got through; only a look can tell whether it helped. The first repetition is free."""
        delay = delay_s(self.tries - 1, _FRUITLESS, policy, random_value) if self.tries else 0.0
        return replace(self, tries=self.tries + 1, last=None, not_before=now + delay)

    def eager(self) -> Attempts:
        """The operator, or a host that came back, says: try now."""
        return replace(self, tries=0, not_before=0.0, rebuilds=())

    def nudged(self, now: float, policy: BackoffPolicy) -> Attempts:
        """Something was said of the resource: what failed while it is settled need not wait any longer.

        A try that fails is itself heard of (ports are bound and bound back, and the journal tells of that two polls
        later): what is heard that soon is taken for its echo, or each try would bring the next one.
        """
        if self.last is None or self.phase not in SETTLED:
            return self
        if now < self.tried_at + max(policy.echo_s, self.last.after_s or 0.0):
            return self
        return replace(self, not_before=min(self.not_before, now))

    def rebuilding(self, now: float, policy: Policy) -> Attempts:
        """An instance is being replaced now; its successor gets a whole deadline of its own."""
        recent = tuple(at for at in self.rebuilds if at > now - policy.rebuild_window_s)
        return replace(self, rebuilds=(*recent, now), phase=None, since=now)

    def memorable(self, now: float, policy: Policy) -> bool:
        """Return whether forgetting this would change a later decision."""
        recent = any(at > now - policy.rebuild_window_s for at in self.rebuilds)
        return bool(self.tries or recent or self.phase not in (*SETTLED, None))


_FRUITLESS = Failure(FailureKind.RETRY, "")


def delay_s(tries_before: int, failure: Failure, policy: BackoffPolicy, random_value: float) -> float:
    """Exponential, capped, at most `jitter` shorter; what the other side asked for is never undercut."""
    patient = failure.kind is FailureKind.TERMINAL
    first = policy.terminal_first_s if patient else policy.first_s
    cap = policy.terminal_cap_s if patient else policy.retry_cap_s
    # The exponent is bounded so that a resource failing for months cannot overflow.
    full = min(cap, first * policy.factor ** min(tries_before, 32))
    return max(full * (1.0 - policy.jitter * random_value), failure.after_s or 0.0)


def rebuild_allowed_at(attempts: Attempts, now: float, policy: Policy) -> float:
    """Return the monotonic time from which an instance may be replaced again; the past means now.

    The first replacement is free, the following back off (W9), and a window holds only so many.
    """
    recent = [at for at in attempts.rebuilds if at > now - policy.rebuild_window_s]
    if not recent:
        return now
    if len(recent) >= policy.rebuild_budget:
        return recent[-policy.rebuild_budget] + policy.rebuild_window_s
    spacing = policy.rebuild_spacing_s * policy.backoff.factor ** (len(recent) - 1)
    return recent[-1] + min(spacing, policy.backoff.terminal_cap_s)
