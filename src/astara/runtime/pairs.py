"""What `astara doctor` says of routers that are pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from astara.model.operator import CheckLine, InstanceLine


def of_pairs(lines: Sequence[InstanceLine]) -> Iterator[CheckLine]:
    """Judge routers that are pairs, when there are any: nobody should be active twice."""
    roles: dict[str, list[InstanceLine]] = {}
    for line in lines:
        if line.role is not None:
            roles.setdefault(line.resource, []).append(line)
    twice = {resource: [one.host for one in halves if one.role == "active"] for resource, halves in roles.items()}
    twice = {resource: hosts for resource, hosts in twice.items() if len(hosts) > 1}
    for resource, hosts in sorted(twice.items()):
        detail = f"both halves are active: {' and '.join(hosts)} do not hear each other"
        remedy = "look at the HA network of its project between these nodes"
        yield CheckLine(check=f"pair {resource}", ok=False, detail=detail, remedy=remedy)
    if roles and not twice:
        detail = f"{len(roles)} routers with one active half, or none for the moment"
        yield CheckLine(check="pairs", ok=True, detail=detail)
