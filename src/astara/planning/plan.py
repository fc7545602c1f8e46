"""`plan`: wish, sight and memory in, steps out. Pure: the same values give the same plan, and it touches nothing.

It is asked by the engine before acting, by the operator out of curiosity, and by a bulk look that only
wants to know whether there is anything to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from astara.model.resource import DesiredState, ObservedInstance, ObservedState, PortNeeded, Present, StatusTargets
from astara.planning.backoff import SETTLED, Attempts
from astara.planning.classify import Finding, Phase, classify
from astara.planning.courses import Circumstances, Course, courses, seconds, steps_of
from astara.planning.lifecycle import LIFECYCLE, Action, Shows, wish_of
from astara.planning.policy import Policy
from astara.planning.status import following, in_discord, once_reported, report, verdict
from astara.planning.steps import DeleteInstance, EnsurePort, ReportStatus, Step, Why, words

NORMAL = Circumstances()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now.

    `requeue_after_s`: when to look again if all goes well; None: when something happens. `status`: what
    Neutron shall show, None when that is left as it is. `leads_to`: the phase once every step succeeded.
    """

    phase: Phase
    steps: tuple[Step, ...]
    requeue_after_s: float | None
    status: str | None
    because: str
    leads_to: Phase

    @property
    def idle(self) -> bool:
        """Return whether there is nothing to do and nothing to wait for."""
        return not self.steps and self.requeue_after_s is None

    @property
    def rebuilds(self) -> bool:
        """Return whether an instance is replaced."""
        return any(isinstance(step, DeleteInstance) and step.why is Why.REPLACED for step in self.steps)

    @property
    def acts(self) -> bool:
        """Return whether anything but a status is touched."""
        return any(not isinstance(step, ReportStatus) for step in self.steps)


def plan(
    desired: DesiredState,
    observed: ObservedState,
    attempts: Attempts,
    now: float,
    circumstances: Circumstances = NORMAL,
) -> Plan:
    """Decide. `now` is monotonic seconds, on the same clock as the times in `attempts`.

    `attempts` must have taken note of this look already: see `noticed`.
    """
    finding = classify(desired, observed)
    held_back_s = max(0.0, attempts.not_before - now)
    steps: tuple[Step, ...]
    match desired:
        case Present() if finding.phase is not Phase.WAITING:
            return _present(desired, observed, finding, attempts, now, circumstances)
        case Present():
            steps = tuple(_first_report(desired, verdict(finding, observed, attempts, now, circumstances.policy)))
        case PortNeeded():
            steps = () if held_back_s else (EnsurePort(desired.network_id, desired.host),)
        case _:
            steps = () if held_back_s else tuple(_removals(finding.surplus, observed, Why.UNWANTED))
    transition = LIFECYCLE[wish_of(desired), finding.phase]
    return Plan(
        phase=finding.phase,
        steps=steps,
        requeue_after_s=held_back_s or _look_again_s(finding, observed, circumstances.policy, desired),
        status=None,
        because=_with_tries(finding.because, attempts),
        leads_to=finding.phase if held_back_s else transition.leads_to,
    )


def noticed(
    desired: DesiredState,
    observed: ObservedState,
    attempts: Attempts,
    now: float,
    circumstances: Circumstances = NORMAL,
) -> Attempts:
    """Return the memory after this look, to be handed to `plan` and kept."""
    phase, wish = classify(desired, observed).phase, fingerprint(desired)
    owing = False
    if attempts.may_owe(phase, wish):
        left = owed(plan(desired, observed, attempts.eager(), now, circumstances).steps)
        # A remembered wish does not say what Neutron shows: of reports nothing can be known then.
        remembered = isinstance(desired, Present) and desired.status == StatusTargets()
        owing = set(left) <= set(attempts.owed) if remembered else left == attempts.owed
    return attempts.noticed(phase, wish, now, owing=owing)


def owed(undone: Iterable[Step]) -> tuple[str, ...]:
    """Say what is left to do, to be told apart from what is left another time."""
    return tuple(words(step) for step in undone)


def fingerprint(desired: DesiredState) -> str:
    """Name the wish: tries count for one wish only. Revisions are no part of it."""
    match desired:
        case Present(instances=instances):
            return " ".join(
                f"{wanted.slot}@{wanted.host}/{wanted.provider}#{wanted.edition or ''}:{wanted.image or ''}"
                f":{wanted.digest[:16]}:{hash(wanted.ports):x}"
                for wanted in instances
            )
        case PortNeeded(network_id=network_id, host=host):
            return f"port {network_id}@{host}"
        case _:
            return "absent"


def _present(
    desired: Present,
    observed: ObservedState,
    finding: Finding,
    attempts: Attempts,
    now: float,
    circumstances: Circumstances,
) -> Plan:
    policy = circumstances.policy
    held_back_s = max(0.0, attempts.not_before - now)
    chosen = courses(finding.slots, attempts, now, circumstances)
    complete = not held_back_s and all(course.completes for course in chosen)
    acting = [] if held_back_s else [step for course in chosen for step in steps_of(course)]
    if complete:
        gone = [step.instance for step in acting if isinstance(step, DeleteInstance)]
        acting += _removals(tuple(one for one in finding.surplus if one not in gone), observed, Why.SURPLUS)
    shows = verdict(finding, observed, attempts, now, policy)
    follow = following(desired.binding, finding) if circumstances.follows and not held_back_s else ()
    # What is said of one that is not as wished does not wait: that its tries are used up, for one.
    first = [] if held_back_s and finding.phase in SETTLED else _first_report(desired, shows)
    last = _last_report(desired, first) if complete and acting and shows is not Shows.ACTIVE else []
    look_again_s = _sooner(_courses_look_s(chosen), _left_behind_s(finding, observed, policy))
    if desired.unmet is not None:
        look_again_s = _sooner(look_again_s, policy.waiting_look_s)
    if circumstances.follows and in_discord(desired.binding, finding):
        look_again_s = _sooner(look_again_s, policy.discord_look_s)
    notes = "; ".join(filter(None, (finding.because, *(course.note for course in chosen))))
    return Plan(
        phase=finding.phase,
        steps=(*follow, *first, *acting, *last),
        requeue_after_s=held_back_s or look_again_s,
        status=Shows.ACTIVE.value if complete else (None if shows is Shows.KEEP else shows.value),
        because=_with_tries(notes, attempts),
        leads_to=Phase.CONFIGURED if complete else finding.phase,
    )


def _removals(surplus: tuple[ObservedInstance, ...], observed: ObservedState, why: Why) -> Iterator[Step]:
    # A host that does not answer is left alone: its instance is found again when it does.
    for instance in surplus:
        if instance.host not in observed.unreachable_hosts:
            yield DeleteInstance(instance, why)


def _first_report(desired: Present, shows: Shows) -> list[ReportStatus]:
    wanted = report(desired.status, shows)
    return [] if wanted is None else [ReportStatus(wanted, serving=False)]


def _last_report(desired: Present, first: list[ReportStatus]) -> list[ReportStatus]:
    shown = once_reported(desired.status, first[0].report) if first else desired.status
    wanted = report(shown, Shows.ACTIVE)
    return [] if wanted is None else [ReportStatus(wanted, serving=True)]


def _look_again_s(finding: Finding, observed: ObservedState, policy: Policy, desired: DesiredState) -> float | None:
    transition = LIFECYCLE[wish_of(desired), finding.phase]
    if transition.does is Action.ASK_FOR_PORT:
        return 0.0  # the port is there now: look again with it
    if transition.look_again is not None:
        return seconds(policy, transition.look_again)
    return _left_behind_s(finding, observed, policy)


def _left_behind_s(finding: Finding, observed: ObservedState, policy: Policy) -> float | None:
    left = any(instance.host in observed.unreachable_hosts for instance in finding.surplus)
    return policy.unreachable_look_s if left else None


def _courses_look_s(chosen: tuple[Course, ...]) -> float | None:
    return min((course.look_again_s for course in chosen if course.look_again_s is not None), default=None)


def _sooner(one_s: float | None, other_s: float | None) -> float | None:
    if one_s is None or other_s is None:
        return other_s if one_s is None else one_s
    return min(one_s, other_s)


def _with_tries(because: str, attempts: Attempts) -> str:
    if attempts.last is not None:
        remedy = f" ({attempts.last.remedy})" if attempts.last.remedy else ""
        return "; ".join(filter(None, (because, f"try {attempts.tries} failed: {attempts.last.message}{remedy}")))
    if attempts.tries > 1 and because:
        return f"{because}; still so after {attempts.tries} tries"
    return because
