"""The disk for clouds that boot disks: a boot loader, kernel and initramfs on a FAT partition, the root on another."""

from __future__ import annotations

import struct
from pathlib import Path

import steps
from steps import run

_MBR = Path("/usr/lib/syslinux/mbr/mbr.bin")
_SECTOR = 512
_ALIGNMENT = 1 << 20
_TABLE, _ENTRY = 446, struct.Struct("<B3sB3sII")
_FAT_LBA, _LINUX, _ACTIVE = 0x0C, 0x83, 0x80
_NO_CYLINDERS = b"\xfe\xff\xff"
#: Where in the first sector Windows looks for a disk's identity; ours says which disk this is, and never changes.
_SIGNATURE_AT, _SIGNATURE = 440, b"ASTA"
_CONFIGURATION = """default astara
prompt 0
label astara
  kernel vmlinuz
  initrd initramf
  append {arguments}
"""


def make_qcow2(kernel: Path, initramfs: Path, root: Path, arguments: str, work: Path, target: Path) -> None:
    """Write a disk that a BIOS boots. Raises steps.BuildFailed."""
    boot = work / "boot.fat"
    _make_boot(boot, kernel, initramfs, arguments, work)
    raw = work / "disk.raw"
    first = _ALIGNMENT
    second = first + _aligned(boot.stat().st_size)
    with raw.open("wb") as disk:
        disk.write(_first_sector((_FAT_LBA, first, boot.stat().st_size), (_LINUX, second, root.stat().st_size)))
        for start, part in ((first, boot), (second, root)):
            disk.seek(start)
            disk.write(part.read_bytes())
        disk.truncate(second + _aligned(root.stat().st_size))
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, target)


def _make_boot(target: Path, kernel: Path, initramfs: Path, arguments: str, work: Path) -> None:
    configuration = work / "syslinux.cfg"
    configuration.write_text(_CONFIGURATION.format(arguments=arguments))
    size = _aligned((kernel.stat().st_size + initramfs.stat().st_size) * 9 // 8 + _ALIGNMENT)
    run("mkfs.vfat", "--invariant", "-n", "ASTARA", "-C", target, str(size // 1024))
    for source, name in ((kernel, "vmlinuz"), (initramfs, "initramf"), (configuration, "syslinux.cfg")):
        run("mcopy", "-i", target, source, f"::{name}")
    run("syslinux", "--install", target)


def _first_sector(*partitions: tuple[int, int, int]) -> bytes:
    if not _MBR.exists():
        raise steps.BuildFailed("syslinux is not installed: see requirements/debian-image.txt")
    sector = bytearray(_MBR.read_bytes()[:_SIGNATURE_AT].ljust(_SECTOR, b"\0"))
    sector[_SIGNATURE_AT : _SIGNATURE_AT + 4] = _SIGNATURE
    for number, (kind, start, size) in enumerate(partitions):
        flag = _ACTIVE if number == 0 else 0
        entry = (flag, _NO_CYLINDERS, kind, _NO_CYLINDERS, start // _SECTOR, _aligned(size) // _SECTOR)
        _ENTRY.pack_into(sector, _TABLE + number * _ENTRY.size, *entry)
    sector[510:512] = b"\x55\xaa"
    return bytes(sector)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
