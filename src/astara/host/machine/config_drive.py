"""Papers from a config drive (Nova's `config_drive=true`), which is detached once they are read.

A file system labelled `config-2`, ISO 9660 or FAT (Nova's `config_drive_format`), whose
`openstack/latest/meta_data.json` names the files it brings: [{"path": …, "content_path": "/content/0000"}].
Only the drive's own machine sees it; it is let go so that nothing that runs later can read it again.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from astara.appliance.system import processes
from astara.contract.papers import CONFIG_DRIVE_PATH
from astara.host.machine import kernel

LABEL = b"config-2"
#: Of controllers that Nova may put the drive on, of disks and optical drives, and of the file systems.
_MODULES = ("ata_piix", "virtio_scsi", "sr_mod", "sd_mod", "isofs", "vfat")
_BLOCK = Path("/sys/block")
_MOUNTED = Path("/run/astara/config-drive")
_META_DATA = Path("openstack/latest/meta_data.json")
_APPEARS_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.1
#: Offset and length of the volume's name: ECMA-119 section 8.4.7, and the two places of a FAT's boot sector.
_ISO9660 = (0x8028, 32)
_FAT = ((43, 11), (71, 11))
_MOST = 1 << 20


def read() -> bytes:
    """Return what the drive brings for us, and let go of the drive.

    Raises OSError: there is no such drive, or nothing for us on it.
    """
    load_drivers()
    drive = _found()
    with _mounted(drive) as root:
        content = brought(root)
    detach(drive)
    return content


def load_drivers() -> None:
    """One that this kernel has not is nobody's fault: what is missing then is the drive."""
    processes.run(None, ["/sbin/modprobe", "--quiet", "--all", *_MODULES], timeout_s=60.0)


def brought(root: Path) -> bytes:
    """Return the papers below the root of a config drive's file system.

    Raises OSError: it brings none, or they are too long to be any.
    """
    described: Any = json.loads((root / _META_DATA).read_bytes())
    files = described.get("files") or []
    named = [one["content_path"] for one in files if one.get("path") == CONFIG_DRIVE_PATH]
    if not named:
        raise FileNotFoundError(f"the config drive brings no {CONFIG_DRIVE_PATH}")
    source = (root / "openstack" / str(named[0]).lstrip("/")).resolve()
    if not source.is_relative_to(root.resolve()) or source.stat().st_size > _MOST:
        raise FileNotFoundError("the config drive's papers are no file of its own")
    return source.read_bytes()


def is_config_drive(first: bytes) -> bool:
    """Whether a disk with these first 34 KiB is one."""
    return any(first[at : at + length].rstrip(b" \0").lower() == LABEL for at, length in (_ISO9660, *_FAT))


def detach(drive: Path) -> None:
    """Have the kernel let go of a disk, given as its directory below /sys/block. Raises OSError."""
    device = (drive / "device").resolve()
    if (device / "delete").exists():  # SCSI and ATA
        (device / "delete").write_text("1")
    else:  # virtio: its driver lets go
        (device / "driver" / "unbind").resolve().write_text(device.name)


def _found() -> Path:
    """Controllers are probed while we look."""
    pause = threading.Event()
    until = time.monotonic() + _APPEARS_WITHIN_S
    while time.monotonic() < until:
        for disk in sorted(_BLOCK.iterdir()):
            if not disk.name.startswith(("loop", "ram", "zram")) and is_config_drive(_first_of(disk)):
                return disk
        pause.wait(_LOOK_EVERY_S)
    raise FileNotFoundError("no papers: neither QEMU's fw_cfg nor a config drive brings any")


def _first_of(disk: Path) -> bytes:
    with contextlib.suppress(OSError), (Path("/dev") / disk.name).open("rb") as device:
        return device.read(_ISO9660[0] + _ISO9660[1])
    return b""


@contextlib.contextmanager
def _mounted(drive: Path) -> Iterator[Path]:
    _MOUNTED.mkdir(mode=0o700, exist_ok=True)
    kernel.mount_read_only(Path("/dev") / drive.name, _MOUNTED, ("iso9660", "vfat"))
    try:
        yield _MOUNTED
    finally:
        kernel.unmount(_MOUNTED)
        _MOUNTED.rmdir()
