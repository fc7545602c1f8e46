"""All that is needed of the cloud, looked at one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from astara.model.errors import AstaraError, Gone, Retry
from astara.providers.nova.boundary import Finding
from astara.providers.nova.options import Choice

#: (service, method, path, body, query) -> the decoded answer.
Call = Callable[..., Any]

_LEAST_MB = 192
#: With certificates of the length ours have, and room for longer ones.
_PAPERS_BYTES = 8 * 1024
_UNLIMITED = -1
#: What Nova calls them (GET /limits).
_QUOTAS = (
    ("instances", "totalInstancesUsed", "maxTotalInstances"),
    ("cores", "totalCoresUsed", "maxTotalCores"),
    ("MB of memory", "totalRAMUsed", "maxTotalRAMSize"),
    ("server groups", "totalServerGroupsUsed", "maxServerGroups"),
)


def shortcomings(call: Call, choice: Choice, project: str) -> Iterator[Finding]:
    """One finding each. Raises Retry when the cloud does not answer."""
    for what, look in (("image", _image), ("flavor", _flavor), ("management network", _network)):
        try:
            yield look(call, choice)
        except Retry:
            raise
        except AstaraError as error:
            yield Finding(what, str(error), error.remedy)
    yield from _compute_quotas(call("compute", "GET", "/limits")["limits"]["absolute"])
    yield _port_quota(call("network", "GET", f"/v2.0/quotas/{project}/details.json")["quota"]["port"])


def _image(call: Call, choice: Choice) -> Finding:
    found = _named(call, "image", "/v2/images", choice.image)
    if found is None:
        return Finding("image", f"Glance has no image {choice.image!r}", "upload appliance.qcow2 (`make image`)")
    if found["status"] != "active":
        return Finding("image", f"{choice.image} is {found['status']}", "upload its data again")
    return Finding("image", f"{choice.image}, {found.get('astara_digest') or 'without property astara_digest'}")


def _flavor(call: Call, choice: Choice) -> Finding:
    every = call("compute", "GET", "/flavors/detail")["flavors"]
    found = next((one for one in every if choice.flavor in (one["id"], one["name"])), None)
    if found is None:
        return Finding("flavor", f"Nova has no flavor {choice.flavor!r}", "make it, or name another in [provider:nova]")
    detail = f"{choice.flavor}, {found['ram']} MB, {found['vcpus']} processors"
    small = int(found["ram"]) < _LEAST_MB
    return Finding("flavor", detail, f"choose one with {_LEAST_MB} MB of memory or more" if small else None)


def _network(call: Call, choice: Choice) -> Finding:
    what, name = "management network", choice.management_network
    found = _named(call, "network", "/v2.0/networks", name)
    if found is None:
        return Finding(what, f"Neutron has no network {name!r}", "make it, or name another in [provider:nova]")
    if not found["subnets"]:
        return Finding(what, f"{name} has no subnet", "give it one: servers need an address there")
    return Finding(what, f"{name}, {len(found['subnets'])} subnets")


def _compute_quotas(limits: Mapping[str, Any]) -> Iterator[Finding]:
    for what, used, most in _QUOTAS:
        yield _quota(what, int(limits[used]), int(limits[most]))
    files, size = int(limits.get("maxPersonality", 1)), int(limits.get("maxPersonalitySize", _PAPERS_BYTES))
    too_small = 0 in (files, size) or _UNLIMITED < size < _PAPERS_BYTES
    remedy = "raise the quotas injected-files and injected-file-size of Astara's project: papers are such a file"
    yield Finding("quota files", f"{files} of {size} bytes", remedy if too_small else None)


def _port_quota(port: Mapping[str, Any]) -> Finding:
    return _quota("ports", int(port["used"]) + int(port["reserved"]), int(port["limit"]))


def _quota(what: str, used: int, most: int) -> Finding:
    if most == _UNLIMITED:
        return Finding(f"quota {what}", f"{used} used, no limit")
    # Warned before it is used up: whoever asks for a router then cannot be helped at once.
    scarce = used >= 0.9 * most
    remedy = "raise the quota of Astara's project" if scarce else None
    return Finding(f"quota {what}", f"{used} of {most} used", remedy)


def _named(call: Call, service: str, path: str, wanted: str) -> dict[str, Any] | None:
    """Return what has that name or id; None when nothing has."""
    collection = path.rpartition("/")[2]
    if found := call(service, "GET", path, None, {"name": wanted})[collection]:
        return dict(found[0])
    try:
        answer = call(service, "GET", f"{path}/{wanted}")
    except Gone:
        return None
    return dict(answer.get(collection.removesuffix("s"), answer))
