"""The hand: carries a plan out, step by step. A failure stops only what depends on it; no step waits."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never, cast

from astara.contract.agent import StateView
from astara.contract.generation import Generation
from astara.contract.snapshot import ActiveHalf, DhcpPortRequest
from astara.model.boundaries import Clock, InstanceProvider, NeutronApi, SeamlessProvider
from astara.model.errors import Gone, Retry, Stale, Terminal
from astara.model.resource import ObservedInstance, ResourceKey
from astara.planning.backoff import Failure, FailureKind
from astara.planning.steps import (
    AttachPort,
    CreateInstance,
    CutOver,
    DeleteInstance,
    DetachPort,
    EnsurePort,
    FollowActive,
    PushConfig,
    RenewCredential,
    ReportStatus,
    Step,
    depends,
    kind,
    words,
)
from astara.reconcile.boundaries import Metrics, Records
from astara.reconcile.following import Following
from astara.reconcile.statuses import StatusWriter


class Outcome(enum.StrEnum):
    DONE = "done"
    PENDING = "pending"  # made, but its agent does not answer yet: come again
    RETRY = "retry"
    TERMINAL = "terminal"
    STALE = "stale"  # the world is another than the one planned for: look again


@dataclass(frozen=True, slots=True)
class Result:
    """How a plan went. `failure` is the gravest one; `done` are the steps that got through."""

    outcome: Outcome
    failure: Failure | None
    done: tuple[Step, ...]


@dataclass(slots=True)
class _Run:
    """One plan on its way."""

    key: ResourceKey
    generation: Generation
    deadline: float
    may_act: Callable[[], bool]
    made: dict[str, ObservedInstance] = field(default_factory=dict)
    undone: list[Step] = field(default_factory=list)
    done: list[Step] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    pending: bool = False


class Executor:
    """Knows how each step is done; keeps nothing between plans."""

    def __init__(
        self,
        neutron: NeutronApi,
        providers: Mapping[str, InstanceProvider],
        statuses: StatusWriter,
        following: Following,
        records: Records,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._records = records
        self._neutron = neutron
        self._providers = providers
        self._statuses = statuses
        self._following = following
        self._clock = clock
        self._metrics = metrics

    def run(
        self,
        key: ResourceKey,
        steps: Sequence[Step],
        generation: Generation,
        deadline: float,
        may_act: Callable[[], bool] = lambda: True,
    ) -> Result:
        """Carry out; `deadline` is monotonic: no step begins after it, nor once `may_act` says no. Raises nothing."""
        run = _Run(key, generation, deadline, may_act)
        for step in steps:
            if any(depends(step, earlier) for earlier in run.undone):
                run.undone.append(step)
                continue
            if not self._attempt(run, step):
                break
        return Result(_outcome(run), _gravest(run.failures), tuple(run.done))

    def _attempt(self, run: _Run, step: Step) -> bool:
        """Do one step; return whether the following ones may still be tried."""
        began = self._clock.now()
        if began > run.deadline:
            run.failures.append(Failure(FailureKind.RETRY, "the reconcile took too long; going on next time"))
            return False
        if not run.may_act():
            run.failures.append(Failure(FailureKind.STALE, "the resource has another owner, or may have"))
            return False
        outcome = Outcome.DONE
        try:
            outcome = self._do(run, step)
        except Stale as error:
            run.failures.append(Failure(FailureKind.STALE, str(error), error.remedy))
            outcome = Outcome.STALE
        except Gone as error:
            outcome = _when_gone(run, step, error)
        except Retry as error:
            run.failures.append(_failure(FailureKind.RETRY, step, error, error.after_s))
            outcome = Outcome.RETRY
        except Terminal as error:
            run.failures.append(_failure(FailureKind.TERMINAL, step, error, None))
            outcome = Outcome.TERMINAL
        self._metrics.step(kind(step), outcome.value, self._clock.now() - began)
        if outcome is Outcome.DONE:
            run.done.append(step)
        else:
            run.undone.append(step)
        return outcome is not Outcome.STALE

    def _do(self, run: _Run, step: Step) -> Outcome:
        match step:
            case CreateInstance() | RenewCredential() | CutOver():
                self._make(run, step)
            case DeleteInstance(instance=instance):
                self._provider(instance.provider).delete(instance, run.generation)
            case AttachPort(instance=instance, port=port):
                self._provider(instance.provider).attach_port(instance, port, run.generation)
            case DetachPort(instance=instance, port_id=port_id):
                self._provider(instance.provider).detach_port(instance, port_id, run.generation)
            case PushConfig():
                return self._push(run, step)
            case ReportStatus() | FollowActive() | EnsurePort():
                self._tell_neutron(run.generation.term, step)
            case _:
                assert_never(step)
        return Outcome.DONE

    def _tell_neutron(self, term: int, step: ReportStatus | FollowActive | EnsurePort) -> None:
        match step:
            case ReportStatus(report=report):
                self._statuses.report(report, term)
            case FollowActive(router_id=router_id, host=host):
                self._following.follow(ActiveHalf(id=router_id, host=host), term)
            case EnsurePort(network_id=network_id, host=host):
                self._neutron.ensure_dhcp_port(DhcpPortRequest(network_id=network_id, host=host), term)
            case _:
                assert_never(step)

    def _make(self, run: _Run, step: CreateInstance | RenewCredential | CutOver) -> None:
        wanted = step.wanted
        provider = self._provider(wanted.provider)
        if isinstance(step, CutOver):
            seamless = cast(SeamlessProvider, provider)  # planned for those with the capability only
            seamless.cut_over(step.instance or run.made[wanted.slot], run.generation)
            return
        if isinstance(step, RenewCredential):
            # Ports are for a push, which comes after this; another edition or image would be another instance.
            seen = step.instance
            wanted = replace(wanted, ports=seen.ports, edition=seen.edition or None, image=seen.image)
        if isinstance(step, CreateInstance) and "fenced" not in provider.capabilities:
            self._records.claim(run.key, wanted.slot, run.generation.term)
        run.made[wanted.slot] = provider.create(run.key, wanted, run.generation)

    def _push(self, run: _Run, step: PushConfig) -> Outcome:
        instance = step.instance or run.made[step.wanted.slot]
        if not isinstance(instance.state, StateView):
            run.pending = True
            return Outcome.PENDING
        provider = self._provider(instance.provider)
        report = provider.push(instance, run.key.driver, step.wanted.section, run.generation)
        if report.digest != step.wanted.digest:
            raise Terminal(
                f"instance {instance.id} applied {report.digest[:12]} instead of {step.wanted.digest[:12]}",
                "the agent and the orchestrator speak different contracts: upgrade the older one",
            )
        return Outcome.DONE

    def _provider(self, name: str) -> InstanceProvider:
        provider = self._providers.get(name)
        if provider is None:
            known = ", ".join(sorted(self._providers))
            raise Terminal(f"provider {name!r} is not enabled", f"enable it, or wish for one of: {known}")
        return provider


def _when_gone(run: _Run, step: Step, error: Gone) -> Outcome:
    if isinstance(step, DeleteInstance | DetachPort):
        return Outcome.DONE  # absence is success
    run.failures.append(_failure(FailureKind.STALE, step, error, None))
    return Outcome.STALE


def _failure(of: FailureKind, step: Step, error: Retry | Terminal | Gone, after_s: float | None) -> Failure:
    return Failure(of, f"{words(step)}: {error}", error.remedy, after_s)


_GRAVITY = {FailureKind.STALE: 0, FailureKind.TERMINAL: 1, FailureKind.RETRY: 2}


def _gravest(failures: Sequence[Failure]) -> Failure | None:
    return min(failures, key=lambda failure: _GRAVITY[failure.kind], default=None)


def _outcome(run: _Run) -> Outcome:
    worst = _gravest(run.failures)
    if worst is not None:
        return Outcome(worst.kind.value)
    return Outcome.PENDING if run.pending else Outcome.DONE
