"""What each slot of a resource does now: its row of the lifecycle, its deadline, its budget, its turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from msgspec import structs

from astara.contract.agent import Health, Role
from astara.model.resource import DesiredInstance, ObservedInstance
from astara.planning.backoff import Attempts, rebuild_allowed_at
from astara.planning.classify import Phase, Slot, made_otherwise, ports_changed
from astara.planning.lifecycle import LIFECYCLE, Action, Wish
from astara.planning.policy import Policy
from astara.planning.steps import (
    AttachPort,
    CreateInstance,
    CutOver,
    DeleteInstance,
    DetachPort,
    PushConfig,
    RenewCredential,
    Step,
    Why,
)

_SERVING = (Phase.CONFIGURED, Phase.OUTDATED, Phase.DEGRADED, Phase.EXPIRING)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else bears on a plan. `condemned` are ids of instances an operator wants replaced.

    `rigid` names providers that cannot plug ports into a living instance. `follows`: Neutron can be asked to bind a
    pair's ports where its active half is.
    """

    policy: Policy = field(default_factory=Policy)
    braked: bool = False
    condemned: frozenset[str] = frozenset()
    rigid: frozenset[str] = frozenset()
    #: Providers whose instances can be on one host beside each other with the same ports: one of them is standby.
    seamless: frozenset[str] = frozenset()
    follows: bool = True


@dataclass(frozen=True, slots=True)
class Course:
    """One slot's action now; `note` says why it is not what the lifecycle asks for."""

    slot: Slot
    action: Action
    look_again_s: float | None = None
    note: str = ""
    seamless: frozenset[str] = frozenset()
    #: An operator named this very instance.
    bidden: bool = False

    @property
    def _beside(self) -> bool:
        """Return whether it is made while those that have its ports go on."""
        # Half of a pair is made when the one before it is gone: two would speak under one address to the other half.
        rivals = self.slot.rivals if not self.slot.paired else ()
        return bool(rivals) and {self.slot.wanted.provider, *(one.provider for one in rivals)} <= self.seamless

    @property
    def wanted(self) -> DesiredInstance:
        """What is made now."""
        return replace(self.slot.wanted, standby=self._beside)

    @property
    def leaving(self) -> tuple[ObservedInstance, ...]:
        """Those that must be gone before it can be made."""
        return () if self._beside else self.slot.rivals

    @property
    def ends(self) -> bool:
        """Return whether it begins by ending a half of a pair that may serve: on another node, or in another body."""
        return self.action is Action.BUILD and self.slot.paired and bool(self.leaving)

    @property
    def serves(self) -> bool:
        """Return whether something of this slot serves until this course is taken."""
        if self.slot.phase in _SERVING:
            return True
        return any(one.health in (Health.HEALTHY, Health.DEGRADED) for one in self.slot.rivals)

    @property
    def willing(self) -> bool:
        """Return whether what it ends serves as well as ever: upgrades and moves may wait for a better moment."""
        if self.ends:
            return not all(_lost(one) for one in self.slot.rivals)
        return self.action is Action.REPLACE and self.slot.phase is Phase.OUTDATED and not self.bidden

    @property
    def completes(self) -> bool:
        """Return whether the slot is configured once this course's steps succeeded."""
        if self.slot.phase is Phase.CONFIGURED and self.action is Action.NOTHING:
            return not self.note
        return self.action in (Action.BUILD, Action.CONFIGURE, Action.REPLACE, Action.CUT_OVER)


def courses(slots: Sequence[Slot], attempts: Attempts, now: float, circumstances: Circumstances) -> tuple[Course, ...]:
    """Decide for every slot; at most one is replaced at a time (W10)."""
    policy = circumstances.policy
    alone = [_permitted(_course(slot, attempts, now, circumstances), attempts, now, circumstances) for slot in slots]
    return tuple(replace(course, seamless=circumstances.seamless) for course in _in_turn(alone, policy))


def seconds(policy: Policy, name: str) -> float:
    """Read a time of the policy that the lifecycle table names."""
    value = getattr(policy, name)
    assert isinstance(value, float)
    return value


def _course(slot: Slot, attempts: Attempts, now: float, circumstances: Circumstances) -> Course:
    policy = circumstances.policy
    transition = LIFECYCLE[Wish.PRESENT, slot.phase]
    if slot.seen is not None and slot.seen.id in circumstances.condemned and slot.phase is not Phase.UNREACHABLE:
        return Course(slot, Action.REPLACE, note=f"{slot.wanted.slot}: the operator wants it rebuilt", bidden=True)
    look_again_s = None if transition.look_again is None else seconds(policy, transition.look_again)
    if transition.deadline is not None and transition.then is not None:
        remaining_s = attempts.since + seconds(policy, transition.deadline) - now
        if remaining_s <= 0:
            return Course(slot, transition.then)
        look_again_s = min(remaining_s, look_again_s or remaining_s)
    if transition.does is Action.CONFIGURE and (why := _must_be_made_anew(slot, circumstances.rigid)) is not None:
        return Course(slot, Action.REPLACE, note=f"{slot.wanted.slot}: {why}")
    return Course(slot, transition.does, look_again_s)


def _must_be_made_anew(slot: Slot, rigid: frozenset[str]) -> str | None:
    seen = slot.seen
    if seen is None:
        return None
    if (why := made_otherwise(slot.wanted, seen)) is not None:
        return why
    if seen.provider in rigid and ports_changed(slot.wanted.ports, seen.ports):
        return "its ports cannot be changed while it lives"
    return None


def _permitted(course: Course, attempts: Attempts, now: float, circumstances: Circumstances) -> Course:
    """Hold a replacement back while the brake is on or its budget is used up; the operator's word overrides both."""
    slot = course.slot
    if course.action is not Action.REPLACE or (slot.seen is not None and slot.seen.id in circumstances.condemned):
        return course
    # What can still be configured is configured while its replacement has to wait (W7).
    meanwhile = Action.CONFIGURE if slot.phase is Phase.DEGRADED else Action.NOTHING
    if circumstances.braked:
        look_again_s = circumstances.policy.unreachable_look_s
        return Course(slot, meanwhile, look_again_s, f"{slot.wanted.slot}: not replaced, the brake is on")
    wait_s = rebuild_allowed_at(attempts, now, circumstances.policy) - now
    if wait_s > 0:
        note = f"{slot.wanted.slot}: replaced {len(attempts.rebuilds)} times lately, again in {wait_s:.0f} s"
        return Course(slot, meanwhile, wait_s, note)
    return course


def _in_turn(alone: Sequence[Course], policy: Policy) -> Iterator[Course]:
    """Let nobody be replaced while another one that could serve instead is not back yet; who stands by goes first."""
    alone = sorted(alone, key=lambda course: _active(course.slot))
    building = any(course.slot.phase in (Phase.ABSENT, Phase.UNCONFIGURED) and not course.ends for course in alone)
    serving = any(course.serves for course in alone)
    taken = building and serving
    for course in alone:
        ends = course.action is Action.REPLACE or course.ends
        if ends and (taken or (course.willing and not _others_serve(course, alone))):
            note = f"{course.slot.wanted.slot}: replaced when the others are back"
            yield replace(course, action=Action.NOTHING, look_again_s=policy.silent_look_s, note=note)
            continue
        taken = taken or ends
        yield course


def _lost(instance: ObservedInstance) -> bool:
    """Return whether there is nothing to lose with it; one that says nothing may serve all the same."""
    return instance.health in (Health.FAILED, Health.UNCONFIGURED)


def _others_serve(course: Course, all_of_them: Sequence[Course]) -> bool:
    return all(one.serves for one in all_of_them if one.slot is not course.slot)


def _active(slot: Slot) -> bool:
    found = (*slot.rivals, *((slot.seen,) if slot.seen is not None else ()))
    return any(one.role is Role.ACTIVE for one in found)


def steps_of(course: Course) -> Iterator[Step]:
    """Build the steps of one slot."""
    slot = course.slot
    match course.action:
        case Action.NOTHING | Action.REMOVE | Action.ASK_FOR_PORT:
            return
        case Action.BUILD:
            yield from (DeleteInstance(rival, Why.MOVED) for rival in course.leaving)
            yield from _make(course.wanted, tuple(rival.id for rival in course.leaving))
        case Action.REPLACE:
            assert slot.seen is not None
            yield DeleteInstance(slot.seen, Why.REPLACED)
            yield from _make(course.wanted, (slot.seen.id,))
        case Action.CUT_OVER:
            yield CutOver(slot.wanted, slot.seen)
        case Action.RENEW:
            assert slot.seen is not None
            yield RenewCredential(slot.wanted, slot.seen)
        case Action.CONFIGURE:
            assert slot.seen is not None
            yield from _configure(slot, slot.seen)
        case _:
            assert_never(course.action)


def _make(wanted: DesiredInstance, replaces: tuple[str, ...]) -> Iterator[Step]:
    yield CreateInstance(wanted, replaces)
    yield PushConfig(wanted, None)
    if wanted.standby:
        yield CutOver(wanted, None)


def _configure(slot: Slot, seen: ObservedInstance) -> Iterator[Step]:
    """Attach before the push, which names the new links; detach after it, when nothing names the old ones."""
    have = {port.port_id: port for port in seen.ports}
    want = {port.port_id: port for port in slot.wanted.ports}
    for port_id, port in want.items():
        old = have.get(port_id)
        if old == port:
            continue
        if old is not None and structs.replace(old, mtu=port.mtu) != port:
            yield DetachPort(seen, port_id)  # plugged elsewhere or with another MAC, it is another link
        yield AttachPort(seen, port)
    yield PushConfig(slot.wanted, seen)
    if seen.standby:
        yield CutOver(slot.wanted, seen)
    for port_id in have:
        if port_id not in want:
            yield DetachPort(seen, port_id)
