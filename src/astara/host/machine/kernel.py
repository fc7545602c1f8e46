"""What a first process asks of its kernel: file systems, clock, entropy, an end."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import struct
import time
from collections.abc import Sequence
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_READ_ONLY = 1
_RB_AUTOBOOT = 0x01234567
#: random(4)
_RNDADDENTROPY, _RNDRESEEDCRNG = 0x40085203, 0x5207
#: What devtmpfs leaves to user space (Documentation/admin-guide/devices.rst): daemons read their input by these names.
_STANDARD = {"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"}
_DIRECTORIES = ("/run/netns", "/run/lock", "/run/astara")


def mount_all() -> None:
    """Mount what the initramfs left to us. Raises OSError."""
    _mount("sysfs", Path("/sys"), "")
    _mount("tmpfs", Path("/run"), "mode=755,size=25%")
    _mount("tmpfs", Path("/tmp"), "mode=1777,size=25%")  # noqa: S108  # nobody but us lives here
    for name in _DIRECTORIES:
        Path(name).mkdir(mode=0o755, exist_ok=True)
    for name, end in _STANDARD.items():
        link = Path("/dev") / name
        if not link.is_symlink():
            link.symlink_to(f"/proc/self/fd{end}")


def set_clock(wall: float) -> None:
    """Set the machine's time, in seconds since the epoch, when it is earlier: that of a template's picture."""
    if time.time() < wall:
        time.clock_settime(time.CLOCK_REALTIME, wall)


def stir(seed: bytes) -> None:
    """Give the kernel's generator entropy and have it begin anew: what a template knew is worth nothing then."""
    with Path("/dev/urandom").open("wb", buffering=0) as device:
        fcntl.ioctl(device, _RNDADDENTROPY, struct.pack("=ii", len(seed) * 8, len(seed)) + seed)
        fcntl.ioctl(device, _RNDRESEEDCRNG)


def end_machine() -> None:
    """Reset, which ends the hypervisor's process: it is started with `-no-reboot`."""
    os.sync()
    _libc.reboot(_RB_AUTOBOOT)


def mount_read_only(device: Path, target: Path, kinds: Sequence[str]) -> None:
    """Mount a file system that is of one of these kinds. Raises OSError of the last."""
    for kind in kinds[:-1]:
        with contextlib.suppress(OSError):
            return _mount(kind, target, "", source=str(device), flags=_READ_ONLY)
    return _mount(kinds[-1], target, "", source=str(device), flags=_READ_ONLY)


def unmount(target: Path) -> None:
    """Raises OSError."""
    if _libc.umount2(bytes(target), 0) != 0:
        raise _failed(target)


def _mount(kind: str, target: Path, options: str, source: str | None = None, flags: int = 0) -> None:
    every = ctypes.c_ulong(_NOSUID_NODEV_NOEXEC | flags)
    if _libc.mount((source or kind).encode(), bytes(target), kind.encode(), every, options.encode()) != 0:
        raise _failed(target)


def _failed(target: Path) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), str(target))
