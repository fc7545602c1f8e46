"""One look at one resource: observe -> plan -> apply -> remember. The engine's heart, and its only log line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from astara.contract.agent import StateView
from astara.contract.generation import Generation
from astara.model.boundaries import Clock, InstanceProvider
from astara.model.errors import AstaraError, Retry, Terminal
from astara.model.operator import HistoryLine
from astara.model.resource import DesiredState, ObservedState, ResourceKey
from astara.planning.backoff import Attempts, Failure, FailureKind
from astara.planning.courses import Circumstances
from astara.planning.plan import Plan, noticed, owed, plan
from astara.planning.policy import Policy
from astara.planning.steps import DeleteInstance, Step, Why, words
from astara.reconcile.boundaries import Metrics, Records
from astara.reconcile.brakes import BrakeKeeper
from astara.reconcile.executor import Executor, Outcome, Result
from astara.reconcile.following import Following
from astara.reconcile.holds import Holds
from astara.reconcile.inbox import Work
from astara.reconcile.ledger import Ledger, Look, settles
from astara.reconcile.observer import Observer
from astara.reconcile.share import Share

_log = structlog.get_logger(__name__)
#: How long to wait while we may own a resource and not act on it, in seconds: until the next pass of the membership.
_SUSPENDED_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """A resource observed and planned for, nothing touched. `attempts` has taken note of the look.

    `term`: under which it was looked at, to act; 0: out of curiosity.
    """

    desired: DesiredState
    observed: ObservedState
    attempts: Attempts
    plan: Plan
    term: int = 0

    @property
    def generation(self) -> Generation:
        return Generation(self.term, self.desired.revision)


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans with the engine's present circumstances; used by workers, bulk looks and curious operators."""

    ledger: Ledger
    brake: BrakeKeeper
    clock: Clock
    policy: Policy
    providers: Mapping[str, InstanceProvider]
    following: Following

    def seen(self, key: ResourceKey, desired: DesiredState, observed: ObservedState) -> Seen:
        now = self.clock.now()
        circumstances = Circumstances(
            policy=self.policy,
            braked=self.brake.judged().engaged,
            condemned=self.ledger.condemned(key),
            rigid=frozenset(n for n, p in self.providers.items() if "hotplug" not in p.capabilities),
            seamless=frozenset(n for n, p in self.providers.items() if "cut-over" in p.capabilities),
            follows=self.following.offered,
        )
        attempts = noticed(desired, observed, self.ledger.attempts(key), now, circumstances)
        return Seen(desired, observed, attempts, plan(desired, observed, attempts, now, circumstances))


class Reconciler:
    """Stateless between looks but for the ledger."""

    def __init__(
        self,
        observer: Observer,
        planner: Planner,
        executor: Executor,
        ledger: Ledger,
        holds: Holds,
        records: Records,
        clock: Clock,
        metrics: Metrics,
        *,
        doubt: Callable[[], None],
        share: Share,
        who: str,
        deadline_s: float,
        random_value: Callable[[], float],
    ) -> None:
        self._observer = observer
        self._planner = planner
        self._executor = executor
        self._ledger = ledger
        self._holds = holds
        self._records = records
        self._clock = clock
        self._metrics = metrics
        self._doubt = doubt
        self._share = share
        self._who = who
        self._deadline_s = deadline_s
        self._random_value = random_value

    def look(self, key: ResourceKey) -> Seen:
        """Observe and plan; touches nothing. Raises Retry or Terminal."""
        desired = self._observer.desired(key)
        return self._planner.seen(key, desired, self._observer.observed(key, desired))

    def reconcile(self, work: Work) -> float | None:
        """Do one turn; returns after how many seconds to come again, None: when something happens."""
        began = self._clock.now()
        owned = self._share.ownership
        if work.told:
            self._ledger.nudge(work.key)
        # Before looking: what is seen must be seen under the term that is acted under, or the fence proves nothing.
        term = owned.term(work.key)
        if term is None:
            return self._not_now(work)
        try:
            seen = replace(self.look(work.key), term=term)
        except (Retry, Terminal) as error:
            return self._could_not_look(work, error, began)
        if self._holds.reason(work.key) is not None:
            return self._held(work, seen, began)
        result = self._executor.run(
            work.key,
            seen.plan.steps,
            seen.generation,
            began + self._deadline_s,
            lambda: owned.term(work.key) == term,
        )
        if owned.term(work.key) != term:
            return self._overtaken(work, seen, result, began)
        if result.outcome is Outcome.STALE:
            owned.refused()
        return self._conclude(work, seen, result, began)

    def _overtaken(self, work: Work, seen: Seen, result: Result, began: float) -> float | None:
        """The ring changed while the plan ran: what was seen was another owner's world, if only an earlier self's."""
        self._absolve(work.key, result)
        if seen.plan.steps:
            because = "the ring changed meanwhile"
            self._tell(work, seen, seen.plan.phase.value, "refused", because, result.done, began)
        return self._not_now(work)

    def _not_now(self, work: Work) -> float | None:
        """Leave alone what is another's; come again soon for what is ours while we may not act."""
        if not self._share.takes(work.key):
            self._ledger.forget(work.key)
            return None
        return _SUSPENDED_LOOK_S if self._share.ownership.term(work.key) is None else 0.0

    def _absolve(self, key: ResourceKey, result: Result) -> None:
        deleted = frozenset(step.instance.id for step in result.done if isinstance(step, DeleteInstance))
        self._ledger.absolve(key, deleted)

    def _conclude(self, work: Work, seen: Seen, result: Result, began: float) -> float | None:
        plan, now = seen.plan, self._clock.now()
        attempts = self._attempts_after(seen, result, now)
        self._absolve(work.key, result)
        got_through = result.outcome is Outcome.DONE
        phase = plan.leads_to if got_through and plan.steps else plan.phase
        settled = got_through and plan.requeue_after_s is None and settles(seen.desired, phase)
        because = "" if settled else _because(plan, result)
        answered = any(isinstance(instance.state, StateView) for instance in seen.observed.instances)
        self._ledger.looked(work.key, Look(seen.desired, phase, because, attempts, settled, answered))
        word = _word(result, settled)
        self._tell(work, seen, phase.value, word, because, result.done, began)
        return self._come_again_s(plan, result, attempts, now)

    def _attempts_after(self, seen: Seen, result: Result, now: float) -> Attempts:
        attempts, policy = seen.attempts, self._planner.policy
        if any(isinstance(step, DeleteInstance) and step.why is Why.REPLACED for step in result.done):
            attempts = attempts.rebuilding(now, policy)
        if result.failure is not None:
            undone = owed(step for step in seen.plan.steps if step not in result.done)
            return attempts.failed(result.failure, now, policy.backoff, self._random_value(), undone)
        if result.outcome is Outcome.DONE and seen.plan.acts:
            return attempts.succeeded(now, policy.backoff, self._random_value())
        return attempts

    def _come_again_s(self, plan: Plan, result: Result, attempts: Attempts, now: float) -> float | None:
        policy = self._planner.policy
        match result.outcome:
            case Outcome.DONE:
                return plan.requeue_after_s
            case Outcome.PENDING:
                return policy.silent_look_s
            case _:
                # The look at which the budget is used up only reports ERROR: that must not wait for the delay.
                return 0.0 if attempts.tries == policy.failure_budget else max(0.0, attempts.not_before - now)

    def _could_not_look(self, work: Work, error: AstaraError, began: float) -> float:
        kind = FailureKind.RETRY if isinstance(error, Retry) else FailureKind.TERMINAL
        after_s = error.after_s if isinstance(error, Retry) else None
        failure = Failure(kind, str(error), error.remedy, after_s)
        now = self._clock.now()
        attempts = self._ledger.blind(work.key).failed(failure, now, self._planner.policy.backoff, self._random_value())
        self._ledger.could_not_look(work.key, attempts, f"cannot look: {error}")
        self._doubt()
        _log.warning(
            "reconcile-could-not-look",
            key=str(work.key),
            reasons=work.reasons,
            error=str(error),
            remedy=error.remedy,
            tries=attempts.tries,
            duration_ms=round(1000 * (now - began), 1),
        )
        self._metrics.reconciled(work.key.driver, "unknown", kind.value, now - began)
        return max(0.0, attempts.not_before - now)

    def _held(self, work: Work, seen: Seen, began: float) -> float | None:
        because = f"held: {self._holds.reason(work.key)}"
        look = Look(seen.desired, seen.plan.phase, because, seen.attempts, settled=False, answered=False)
        self._ledger.looked(work.key, look)
        self._tell(work, seen, seen.plan.phase.value, "held", because, (), began)
        return None

    def _tell(
        self, work: Work, seen: Seen, phase: str, outcome: str, because: str, done: tuple[Step, ...], began: float
    ) -> None:
        plan = seen.plan
        duration_s = self._clock.now() - began
        duration_ms = round(1000 * duration_s, 1)
        _log.info(
            "reconciled",
            key=str(work.key),
            reasons=work.reasons,
            phase=plan.phase.value,
            steps=[words(step) for step in plan.steps],
            because=because or plan.because,
            outcome=outcome,
            duration_ms=duration_ms,
        )
        self._metrics.reconciled(work.key.driver, phase, outcome, duration_s)
        if not plan.steps and outcome in ("settled", "held", "progress"):
            return  # history is for what was done, not for looks that found nothing to do
        line = HistoryLine(
            at=self._clock.wall(),
            reason=", ".join(work.reasons),
            phase=plan.phase.value,
            steps=tuple(words(step) for step in done),
            outcome=outcome,
            detail=because or plan.because,
            duration_ms=duration_ms,
            who=self._who,
            generation=str(seen.generation) if done else None,
            undone=tuple(words(step) for step in plan.steps if step not in done),
        )
        self._ledger.append(work.key, line)
        self._records.append(work.key, line)


def _because(plan: Plan, result: Result) -> str:
    if result.failure is None:
        return plan.because
    remedy = f" ({result.failure.remedy})" if result.failure.remedy else ""
    return f"{result.failure.message}{remedy}"


_WORDS = {Outcome.RETRY: "retry", Outcome.TERMINAL: "terminal", Outcome.STALE: "refused"}


def _word(result: Result, settled: bool) -> str:
    return _WORDS.get(result.outcome, "settled" if settled else "progress")
