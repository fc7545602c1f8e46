"""The closed set of things a plan may do. Each is idempotent; the executor is the only one who does them."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from astara.contract.agent import PortAttachment
from astara.contract.snapshot import StatusReport
from astara.model.resource import DesiredInstance, ObservedInstance


class Why(enum.StrEnum):
    """Why an instance is deleted; decides what must have succeeded before."""

    UNWANTED = "unwanted"  # the resource is gone: nothing to wait for
    SURPLUS = "surplus"  # a good one exists: only after the good one is configured
    MOVED = "moved"  # in another body on the same host, and the two cannot be there together: gone before its successor
    REPLACED = "replaced"  # broken: its successor is created after it is gone


@dataclass(frozen=True, slots=True)
class CreateInstance:
    """Make (or find) the instance of one slot with all its ports. `replaces` are ids of those that must be gone."""

    wanted: DesiredInstance
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteInstance:
    instance: ObservedInstance
    why: Why


@dataclass(frozen=True, slots=True)
class AttachPort:
    instance: ObservedInstance
    port: PortAttachment


@dataclass(frozen=True, slots=True)
class DetachPort:
    """Unplug exactly the port with this id; never "the last one" or "the one on that network"."""

    instance: ObservedInstance
    port_id: str


@dataclass(frozen=True, slots=True)
class PushConfig:
    """Hand over the whole section. `instance` is None when a CreateInstance earlier in the plan makes it."""

    wanted: DesiredInstance
    instance: ObservedInstance | None


@dataclass(frozen=True, slots=True)
class CutOver:
    """Have the ports on its host lead to this instance; None: the one a CreateInstance earlier in the plan makes."""

    wanted: DesiredInstance
    instance: ObservedInstance | None


@dataclass(frozen=True, slots=True)
class RenewCredential:
    """Hand the instance another credential; nothing else about it changes."""

    wanted: DesiredInstance
    instance: ObservedInstance


@dataclass(frozen=True, slots=True)
class ReportStatus:
    """Write statuses into Neutron. `serving` marks the report that may be made only after everything else worked."""

    report: StatusReport
    serving: bool


@dataclass(frozen=True, slots=True)
class EnsurePort:
    """Have Neutron make or mend the service port of a network on a node."""

    network_id: str
    host: str


@dataclass(frozen=True, slots=True)
class FollowActive:
    """Have Neutron bind the ports of a pair where its active half is."""

    router_id: str
    host: str


Step: TypeAlias = (
    CreateInstance
    | DeleteInstance
    | AttachPort
    | DetachPort
    | PushConfig
    | CutOver
    | RenewCredential
    | ReportStatus
    | EnsurePort
    | FollowActive
)


#: What must have succeeded before something is said to serve, or what served before is taken away.
_SERVES = CreateInstance | AttachPort | PushConfig | CutOver


def words(step: Step) -> str:
    """Say what the step does, for logs, the operator's view and history."""
    match step:
        case CreateInstance() | DeleteInstance() | RenewCredential() | CutOver():
            return _of_life(step)
        case AttachPort(instance=instance, port=port):
            return f"attach port {port.port_id} to {instance.id}"
        case DetachPort(instance=instance, port_id=port_id):
            return f"detach port {port_id} from {instance.id}"
        case PushConfig(wanted=wanted):
            return f"push configuration {wanted.digest[:12]} to slot {wanted.slot}"
        case ReportStatus(report=report):
            return f"report {_statuses(report)}"
        case FollowActive(host=host):
            return f"bind the ports to {host}, where the active half is"
        case EnsurePort(network_id=network_id, host=host):
            return f"ensure the service port of network {network_id} on {host}"
        case _:
            assert_never(step)


def _of_life(step: CreateInstance | DeleteInstance | RenewCredential | CutOver) -> str:
    match step:
        case CreateInstance(wanted=wanted):
            beside = ", standby" if wanted.standby else ""
            what = f"{wanted.provider}, {len(wanted.ports)} ports{beside}"
            return f"create instance {wanted.slot} on {wanted.host} ({what})"
        case DeleteInstance(instance=instance, why=why):
            return f"delete instance {instance.id} on {instance.host} ({why})"
        case CutOver(wanted=wanted):
            return f"cut slot {wanted.slot} over to its {wanted.provider}"
        case RenewCredential(instance=instance):
            return f"renew the credential of {instance.id}"
        case _:
            assert_never(step)


def kind(step: Step) -> str:
    """Return the step's name, a metrics label."""
    return type(step).__name__


def depends(step: Step, earlier: Step) -> bool:
    """Return whether `step` is pointless or harmful when `earlier` did not succeed."""
    match step:
        case CreateInstance(replaces=replaces):
            return isinstance(earlier, DeleteInstance) and earlier.instance.id in replaces
        case CutOver(wanted=wanted):
            return isinstance(earlier, CreateInstance | PushConfig) and earlier.wanted.slot == wanted.slot
        case PushConfig():
            return _prepares(earlier, step)
        case AttachPort(instance=instance, port=port):
            return isinstance(earlier, DetachPort) and (earlier.instance.id, earlier.port_id) == (
                instance.id,
                port.port_id,
            )
        case DeleteInstance(why=why):
            return why is Why.SURPLUS and isinstance(earlier, _SERVES)
        case ReportStatus(serving=serving):
            return serving and isinstance(earlier, _SERVES)
        case DetachPort() | EnsurePort() | RenewCredential() | FollowActive():
            return False
        case _:
            assert_never(step)


def _prepares(earlier: Step, push: PushConfig) -> bool:
    match earlier:
        case CreateInstance(wanted=wanted):
            return wanted.slot == push.wanted.slot
        case AttachPort(instance=instance):
            return push.instance is not None and instance.id == push.instance.id
        case _:
            return False


def _statuses(report: StatusReport) -> str:
    groups = (("router", report.routers), ("port", report.ports), ("floating IP", report.floating_ips))
    counts: dict[tuple[str, str], int] = {}
    for noun, items in groups:
        for item in items:
            counts[noun, item.status] = counts.get((noun, item.status), 0) + 1
    return ", ".join(f"{count} {noun} {status}" for (noun, status), count in counts.items()) or "nothing"
