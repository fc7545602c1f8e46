"""What a cloud offers from the first minute: a guest image for tenants, Astara's own, and sizes of machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from astara_lab import guest
from astara_lab.keystone import token_of
from astara_lab.places import GLANCE_URL, NOVA_URL
from astara_lab.profiles.astara import Setting
from astara_lab.tasks import BringUpError, Task

IMAGE = "guest"
#: Name: memory in MB, disk in GB. One virtual CPU each.
FLAVORS = {"small": (128, 0), "medium": (256, 0), "large": (512, 0)}

#: Image and flavor of Astara's appliances.
APPLIANCE = "astara-appliance"
_APPLIANCE_MB = 256
#: As node agents start machines (host/bodies/microvm/command.py): the lab has no KVM either.
_COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 rdinit=/init random.trust_cpu=on cryptomgr.notests no_timer_check tsc=unstable "
    "mitigations=off"
)
_DIGEST = "astara_digest"

_TIMEOUT_S = 60.0


def guests(setting: Setting) -> list[Task]:
    def image() -> None:
        made = guest.build(setting.lab.cache)
        shop = Shop.open(setting)
        kernel = shop.image("guest-kernel", made.kernel, "aki", {})
        initramfs = shop.image("guest-initramfs", made.initramfs, "ari", {})
        properties = {
            "kernel_id": kernel,
            "ramdisk_id": initramfs,
            "os_command_line": guest.COMMAND_LINE,
            "hw_machine_type": "pc",
            "hw_disk_bus": "virtio",
            "hw_vif_model": "virtio",
        }
        shop.image(IMAGE, made.disk, "raw", properties)

    def flavors() -> None:
        shop = Shop.open(setting)
        for name, (ram, disk) in FLAVORS.items():
            shop.flavor(name, ram, disk)

    return [
        Task("image", image, ("glance", "catalogue")),
        Task("flavors", flavors, ("nova-api", "catalogue")),
    ]


def appliance(setting: Setting) -> list[Task]:
    """The appliance's image, anew when it is another than the one that is there. Raises BringUpError without one."""
    folder = setting.variant.image
    if folder is None or not (folder / "appliance.qcow2").is_file():
        raise BringUpError(f"no appliance image in {folder}: `make image` builds one")
    known = {_DIGEST: str(json.loads((folder / "manifest.json").read_text())["digest"])}
    properties = {"hw_machine_type": "pc", "hw_disk_bus": "virtio", "hw_vif_model": "virtio", **known}

    def image() -> None:
        shop = Shop.open(setting)
        if not setting.variant.direct_boot:
            shop.image(APPLIANCE, folder / "appliance.qcow2", "qcow2", properties, _DIGEST)
            return
        parts = {
            "kernel_id": shop.image(f"{APPLIANCE}-kernel", folder / "vmlinux", "aki", known, _DIGEST),
            "ramdisk_id": shop.image(f"{APPLIANCE}-initramfs", folder / "initramfs", "ari", known, _DIGEST),
            "os_command_line": _COMMAND_LINE,
        }
        shop.image(APPLIANCE, folder / "root.sqfs", "raw", properties | parts, _DIGEST)

    def flavor() -> None:
        Shop.open(setting).flavor(APPLIANCE, _APPLIANCE_MB, 0)

    return [
        Task("appliance-image", image, ("glance", "catalogue")),
        Task("appliance-flavor", flavor, ("nova-api", "catalogue")),
    ]


@dataclass(frozen=True)
class Shop:
    """Glance and Nova's sizes, as the administrator sees them; what is there is kept."""

    client: httpx.Client

    @classmethod
    def open(cls, setting: Setting) -> Shop:
        token = token_of(setting.lab)
        headers = {"X-Auth-Token": token()} if token else {}
        return cls(httpx.Client(headers=headers, timeout=_TIMEOUT_S, trust_env=False))

    def image(
        self, name: str, file: Path, kind: str, properties: Mapping[str, str], known_by: str | None = None
    ) -> str:
        """The id of the public image of that name, and of that property `known_by`, uploaded when it is not there."""
        query = {"name": name, "status": "active"} | ({} if known_by is None else {known_by: properties[known_by]})
        found = self._call("GET", f"{GLANCE_URL}/v2/images", params=query)["images"]
        if found:
            return str(found[0]["id"])
        container = kind if kind in ("aki", "ari") else "bare"
        body = {"name": name, "disk_format": kind, "container_format": container, "visibility": "public", **properties}
        made = str(self._call("POST", f"{GLANCE_URL}/v2/images", json=body)["id"])
        with file.open("rb") as content:
            kind_of_content = {"Content-Type": "application/octet-stream"}
            self._call("PUT", f"{GLANCE_URL}/v2/images/{made}/file", content=content, headers=kind_of_content)
        return made

    def flavor(self, name: str, ram_mb: int, disk_gb: int) -> None:
        found = self._call("GET", f"{NOVA_URL}/flavors")["flavors"]
        if all(flavor["name"] != name for flavor in found):
            body = {"name": name, "ram": ram_mb, "vcpus": 1, "disk": disk_gb}
            self._call("POST", f"{NOVA_URL}/flavors", json={"flavor": body})

    def _call(self, method: str, url: str, **rest: Any) -> Any:
        answer = self.client.request(method, url, **rest)
        if answer.is_error:
            raise BringUpError(f"{method} {url}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None
