"""What runs this kernel: a processor, or a program that translates its instructions."""

from __future__ import annotations

from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
#: What QEMU without KVM calls its processors (target/i386/cpu.c), whatever they can do.
_TRANSLATED = "QEMU TCG CPU"


def emulated(cpuinfo: Path = _CPUINFO) -> bool:
    """Whether QEMU translates: everything takes ten times as long, and one busy moment of the host stops all of it."""
    try:
        return _TRANSLATED in cpuinfo.read_text()
    except OSError:
        return False
