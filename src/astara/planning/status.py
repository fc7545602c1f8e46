"""What Neutron shall show, and the report that makes it so: only what differs from what it shows already."""

from __future__ import annotations

from dataclasses import replace

from astara.contract.agent import Health, Role
from astara.contract.snapshot import StatusItem, StatusReport
from astara.model.resource import Binding, ObservedInstance, ObservedState, StatusTargets
from astara.planning.backoff import Attempts
from astara.planning.classify import Finding, Phase
from astara.planning.lifecycle import LIFECYCLE, Shows, Wish
from astara.planning.policy import Policy
from astara.planning.steps import FollowActive


def verdict(finding: Finding, observed: ObservedState, attempts: Attempts, now: float, policy: Policy) -> Shows:
    """Judge a resource that shall exist, before any step of this plan has run."""
    if finding.phase is Phase.WAITING:
        running = bool(observed.instances or observed.unreachable_hosts)
        return Shows.KEEP if running else Shows.DOWN
    shows = {LIFECYCLE[Wish.PRESENT, slot.phase].shows for slot in finding.slots}
    if shows <= {Shows.ACTIVE}:
        return Shows.ACTIVE
    if attempts.tries >= policy.failure_budget or _out_of_rebuilds(attempts, now, policy):
        return Shows.ERROR
    if attempts.tries and finding.phase is Phase.DEGRADED:
        return Shows.DOWN
    # During a move the old instance serves until the new one does.
    return Shows.DOWN if shows == {Shows.DOWN} and not _serves(finding.surplus) else Shows.KEEP


def report(targets: StatusTargets, shows: Shows) -> StatusReport | None:
    """Return what must be written so that Neutron shows it; None when there is nothing to write.

    ERROR is said of the router and of floating IPs that never came up; a port has no such verdict, it is
    DOWN. What works already keeps its ACTIVE: an update that fails does not cut what ran before.
    """
    if shows is Shows.KEEP:
        return None
    if shows is Shows.ERROR:
        wanted = StatusReport(
            routers=_items(targets.routers, "ERROR"),
            ports=_items(_unless_active(targets.ports), "DOWN"),
            floating_ips=_items(_unless_active(targets.floating_ips), "ERROR"),
        )
    else:
        wanted = StatusReport(
            routers=_items(targets.routers, shows),
            ports=_items(targets.ports, shows),
            floating_ips=_items(targets.floating_ips, shows),
        )
    return wanted if wanted.routers or wanted.ports or wanted.floating_ips else None


def once_reported(targets: StatusTargets, done: StatusReport) -> StatusTargets:
    """Return what Neutron shows after `done`: a second report in the same plan compares with that."""
    told = {item.id: item.status for item in (*done.routers, *done.ports, *done.floating_ips)}

    def updated(shown: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        return tuple((identifier, told.get(identifier, status)) for identifier, status in shown)

    return replace(
        targets,
        routers=updated(targets.routers),
        ports=updated(targets.ports),
        floating_ips=updated(targets.floating_ips),
    )


def following(binding: Binding | None, finding: Finding) -> tuple[FollowActive, ...]:
    """Return the step that binds a pair's ports where its active half is; none while they are, or nobody is sure.

    Layer 2 that delivers by port binding (OVN, ML2/OVS with l2population) leads there only then; where it learns, this
    changes what operators read and nothing else.
    """
    active = _active_hosts(finding)
    if binding is None or len(active) != 1 or set(binding.hosts) == active:
        return ()
    return (FollowActive(binding.router_id, active.pop()),)


def in_discord(binding: Binding | None, finding: Finding) -> bool:
    """Whether ports should follow, and both halves say to be the active one."""
    return binding is not None and len(_active_hosts(finding)) > 1


def _active_hosts(finding: Finding) -> set[str]:
    halves = [(slot.wanted.host, slot.seen) for slot in finding.slots if slot.seen is not None]
    return {host for host, seen in halves if seen.role is Role.ACTIVE}


def _serves(surplus: tuple[ObservedInstance, ...]) -> bool:
    return any(instance.health is Health.HEALTHY for instance in surplus)


def _out_of_rebuilds(attempts: Attempts, now: float, policy: Policy) -> bool:
    return sum(at > now - policy.rebuild_window_s for at in attempts.rebuilds) >= policy.rebuild_budget


def _unless_active(shown: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((identifier, status) for identifier, status in shown if status != Shows.ACTIVE)


def _items(shown: tuple[tuple[str, str], ...], status: str) -> tuple[StatusItem, ...]:
    return tuple(StatusItem(id=identifier, status=str(status)) for identifier, current in shown if current != status)
