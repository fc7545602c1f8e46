"""World -> Phase: where a resource stands, derived each time from wish and sight, never stored."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import assert_never

from astara.contract.agent import Health, PortAttachment, Role, StateView
from astara.model.resource import (
    Absent,
    DesiredInstance,
    DesiredState,
    ObservedInstance,
    ObservedState,
    PortNeeded,
    Present,
)


class Phase(enum.StrEnum):
    """Where a slot, and by its worst slot a resource, stands. Order: the worst first."""

    PORTLESS = "portless"  # Neutron has no service port for it yet
    WAITING = "waiting"  # something in Neutron is missing before there can be an instance
    FAILED = "failed"  # the agent says the instance is broken beyond configuring
    ABSENT = "absent"  # wanted, the host answered, and there is none
    UNREACHABLE = "unreachable"  # the host did not answer: nothing is known, so nothing is done
    EXPIRING = "expiring"  # what it shows its peers ends soon: it gets another credential before anything else
    SILENT = "silent"  # the instance is there, its agent says nothing: booting or hung, a deadline tells
    UNCONFIGURED = "unconfigured"  # the agent answers; nothing was applied yet
    DEGRADED = "degraded"  # the wished configuration, but read-back differs from it
    OUTDATED = "outdated"  # runs another configuration or other ports than wished
    STANDBY = "standby"  # everything as wished, but its ports are another instance's still
    SURPLUS = "surplus"  # everything wanted is configured, but more exists than is wanted
    CONFIGURED = "configured"  # exactly as wished
    GONE = "gone"  # nothing wanted, nothing there


_ORDER = {phase: rank for rank, phase in enumerate(Phase)}
# When one slot has several instances the best stays; ties go to the oldest, so that everybody picks the same.
_KEEP = {
    phase: rank
    for rank, phase in enumerate(
        (
            Phase.CONFIGURED,
            Phase.STANDBY,
            Phase.EXPIRING,
            Phase.DEGRADED,
            Phase.OUTDATED,
            Phase.UNCONFIGURED,
            Phase.SILENT,
            Phase.UNREACHABLE,
            Phase.FAILED,
        )
    )
}


@dataclass(frozen=True, slots=True)
class Slot:
    """One wanted instance beside what was found for it.

    `rivals` have what is its own: on its host in another body or, where it is the only one, of another edition; of half
    of a pair also those that were left on another host, since both would speak under one address. `paired`: others
    can serve in its place.
    """

    wanted: DesiredInstance
    seen: ObservedInstance | None
    phase: Phase
    because: str
    rivals: tuple[ObservedInstance, ...] = ()
    paired: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """The whole resource: its phase, its slots, and instances nobody wants (any more)."""

    phase: Phase
    because: str
    slots: tuple[Slot, ...] = ()
    surplus: tuple[ObservedInstance, ...] = ()


def classify(desired: DesiredState, observed: ObservedState) -> Finding:
    """Compare wish and sight; pure and total."""
    match desired:
        case PortNeeded():
            return Finding(Phase.PORTLESS, f"network {desired.network_id} has no service port on {desired.host}")
        case Absent():
            return _absent(observed)
        case Present():
            return _present(desired, observed)
        case _:
            assert_never(desired)


def _absent(observed: ObservedState) -> Finding:
    if any(instance.host not in observed.unreachable_hosts for instance in observed.instances):
        return Finding(Phase.SURPLUS, "the resource is gone, instances remain", surplus=observed.instances)
    if observed.unreachable_hosts:
        hosts = ", ".join(sorted(observed.unreachable_hosts))
        because = f"the resource is gone; {hosts} did not answer and may still hold an instance"
        return Finding(Phase.UNREACHABLE, because, surplus=observed.instances)
    return Finding(Phase.GONE, "the resource is gone and so is every instance")


def _present(desired: Present, observed: ObservedState) -> Finding:
    paired = len(desired.instances) > 1
    slots = tuple(_slot(wanted, observed, paired=paired) for wanted in desired.instances)
    taken = {_identity(slot.seen) for slot in slots if slot.seen is not None}
    surplus = tuple(instance for instance in observed.instances if _identity(instance) not in taken)
    if desired.unmet is not None and not slots:
        return Finding(Phase.WAITING, desired.unmet, (), surplus)
    unsettled = [slot for slot in slots if slot.phase is not Phase.CONFIGURED]
    if unsettled:
        worst = min(unsettled, key=lambda slot: _ORDER[slot.phase])
        parts = [desired.unmet or "", *(f"{slot.wanted.slot}: {slot.because}" for slot in unsettled)]
        because = "; ".join(filter(None, parts))
        return Finding(worst.phase, because, slots, surplus)
    if surplus:
        where = ", ".join(f"{instance.id} on {instance.host}" for instance in surplus)
        return Finding(Phase.SURPLUS, f"not wanted: {where}", slots, surplus)
    # With `unmet` it is configured as far as it can be; the reason stays in sight.
    return Finding(Phase.CONFIGURED, desired.unmet or _discord(slots), slots)


def _discord(slots: tuple[Slot, ...]) -> str:
    """Say what is wrong between halves that are each as wished; they settle it themselves, or their network is cut."""
    roles = [slot.seen.role for slot in slots if slot.seen is not None]
    if len(roles) < 2 or None in roles:
        return ""
    hosts = " and ".join(slot.wanted.host for slot in slots)
    if roles.count(Role.ACTIVE) > 1:
        return f"both halves are active: {hosts} do not hear each other on the HA network, see its ports"
    if Role.YIELDING in roles:
        back = slots[roles.index(Role.YIELDING)].wanted.host
        return (
            f"{hosts} do not hear each other on the HA network, see its ports: "
            f"the half on {back} stands back, it sees the other one active on a tenant's network"
        )
    return "" if Role.ACTIVE in roles else f"no half is active yet ({hosts})"


def _identity(instance: ObservedInstance) -> tuple[str, str, str]:
    # A provider may derive ids from resource and slot: during a move both hosts then have one of that id.
    return instance.provider, instance.host, instance.id


def _slot(wanted: DesiredInstance, observed: ObservedState, *, paired: bool) -> Slot:
    own = [instance for instance in observed.instances if instance.slot == wanted.slot]
    rivals = tuple(instance for instance in own if _rivals(wanted, instance, observed.unreachable_hosts, paired=paired))
    judged = [
        (instance, *_judge(wanted, instance, observed.unreachable_hosts))
        for instance in own
        if (instance.provider, instance.host) == (wanted.provider, wanted.host) and instance not in rivals
    ]
    if judged:
        seen, phase, because = min(judged, key=lambda found: (_KEEP[found[1]], found[0].created_at, found[0].id))
        return Slot(wanted, seen, phase, because, rivals, paired)
    if wanted.host in observed.unreachable_hosts:
        return Slot(wanted, None, Phase.UNREACHABLE, f"host {wanted.host} does not answer", rivals, paired)
    because = f"no instance on {wanted.host}"
    if old := [one for one in rivals if one.host == wanted.host and other_edition(wanted, one)]:
        because = f"edition {wanted.edition} is made beside {_edition(old[0])}"
    return Slot(wanted, None, Phase.ABSENT, because, rivals, paired)


def _rivals(wanted: DesiredInstance, other: ObservedInstance, unreachable: frozenset[str], *, paired: bool) -> bool:
    if other.host != wanted.host:
        return paired and other.host not in unreachable
    return other.provider != wanted.provider or (not paired and other_edition(wanted, other))


def _judge(wanted: DesiredInstance, seen: ObservedInstance, unreachable: frozenset[str]) -> tuple[Phase, str]:
    if seen.host in unreachable:
        return Phase.UNREACHABLE, f"host {seen.host} does not answer"
    if seen.credential_due:
        return Phase.EXPIRING, "its credential ends soon, or has ended"
    if not isinstance(seen.state, StateView):
        return Phase.SILENT, "the instance's agent does not answer"
    return _judge_state(wanted, seen, seen.state)


def _judge_state(wanted: DesiredInstance, seen: ObservedInstance, state: StateView) -> tuple[Phase, str]:
    if state.health is Health.FAILED:
        return Phase.FAILED, state.last_error or "the agent reports the instance broken"
    if state.health is Health.UNCONFIGURED:
        return Phase.UNCONFIGURED, "nothing applied yet"
    if (why := made_otherwise(wanted, seen)) is not None:
        return Phase.OUTDATED, why
    if changed := ports_changed(wanted.ports, seen.ports):
        return Phase.OUTDATED, f"ports differ: {', '.join(sorted(changed))}"
    if state.digest != wanted.digest:
        return Phase.OUTDATED, f"runs configuration {(state.digest or 'none')[:12]}, wished {wanted.digest[:12]}"
    if state.health is Health.DEGRADED:
        details = "; ".join(f"{deviation.subsystem}: {deviation.detail}" for deviation in state.deviations)
        return Phase.DEGRADED, details or "read-back differs from what was applied"
    if seen.standby:
        return Phase.STANDBY, "configured, not plugged in yet"
    return Phase.CONFIGURED, ""


def made_otherwise(wanted: DesiredInstance, seen: ObservedInstance) -> str | None:
    """Say why no configuring makes it what is wished for; None when it was made as wished."""
    if other_image(wanted, seen):
        return f"made from image {seen.image}, wished {wanted.image}"
    return f"{_edition(seen)}, wished edition {wanted.edition}" if other_edition(wanted, seen) else None


def other_image(wanted: DesiredInstance, seen: ObservedInstance) -> bool:
    """Return whether it was made from another image than the one named; where none is named, any will do."""
    return None not in (wanted.image, seen.image) and wanted.image != seen.image


def other_edition(wanted: DesiredInstance, seen: ObservedInstance) -> bool:
    """Return whether an upgrade wishes for another one in its place."""
    return None not in (wanted.edition, seen.edition) and wanted.edition != seen.edition


def _edition(seen: ObservedInstance) -> str:
    return f"edition {seen.edition}" if seen.edition else "one of no edition"


def ports_changed(wanted: tuple[PortAttachment, ...], seen: tuple[PortAttachment, ...]) -> set[str]:
    """Return the ids of ports that are missing, not wanted, or plugged differently."""
    return {port.port_id for port in set(wanted) ^ set(seen)}
