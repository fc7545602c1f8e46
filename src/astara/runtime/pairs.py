"""What `astara doctor` says of routers that are pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from astara.contract.agent import Role
from astara.model.operator import CheckLine, InstanceLine


def of_pairs(lines: Sequence[InstanceLine]) -> Iterator[CheckLine]:
    """Judge routers that are pairs, when there are any: their halves should hear each other."""
    roles: dict[str, list[InstanceLine]] = {}
    for line in lines:
        if line.role is not None:
            roles.setdefault(line.resource, []).append(line)
    deaf = {resource: detail for resource, halves in roles.items() if (detail := _deaf(halves))}
    for resource, detail in sorted(deaf.items()):
        remedy = "look at the HA network of its project between these nodes"
        yield CheckLine(check=f"pair {resource}", ok=False, detail=detail, remedy=remedy)
    if roles and not deaf:
        detail = f"{len(roles)} routers with one active half, or none for the moment"
        yield CheckLine(check="pairs", ok=True, detail=detail)


def _deaf(halves: Sequence[InstanceLine]) -> str:
    """Say what halves do that do not hear each other on the HA network; "" of those that do."""
    active = [one.host for one in halves if one.role == Role.ACTIVE]
    if len(active) > 1:
        return f"both halves are active: {' and '.join(active)} do not hear each other"
    for one in halves:
        if one.role == Role.YIELDING:
            hosts = " and ".join(half.host for half in halves)
            seen = "it sees the other one active on a tenant's network"
            return f"{hosts} do not hear each other on the HA network: the half on {one.host} stands back, {seen}"
    return ""
