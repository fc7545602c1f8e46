"""Which QEMU this node has, and whether it may use KVM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import structlog

from astara.appliance.system import processes
from astara.host.bodies.boundary import BodyUnavailable
from astara.host.options import MicrovmOptions

_log = structlog.get_logger(__name__)
_KVM = Path("/dev/kvm")
_TRY_S = 15.0
_QUIT = b'{"execute": "qmp_capabilities"}\n{"execute": "quit"}\n'


@dataclass(frozen=True, slots=True)
class Hypervisor:
    """`accel` is "kvm" or "tcg"."""

    accel: str
    version: str

    @classmethod
    def found(cls, options: MicrovmOptions) -> Hypervisor:
        """Look once. Raises BodyUnavailable when there is no QEMU."""
        try:
            status, said = processes.run(None, [options.program, "--version"])
        except (OSError, TimeoutError) as error:
            raise BodyUnavailable(f"{options.program} cannot be run: {error}; install qemu-system-x86") from None
        if status != 0:
            raise BodyUnavailable(f"{options.program} cannot be run: {said.strip()}")
        accel = options.accel if options.accel != "auto" else _best(options.program)
        return cls(accel, said.splitlines()[0])


def _best(program: str) -> str:
    """A device file is no proof: inside other machines KVM is often there and refuses every processor."""
    if not _KVM.exists():
        return "tcg"
    line = ["-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc", "-m", "16", "-S", "-qmp", "stdio"]
    try:
        status, said = processes.run(
            None, [program, *line, "-accel", "kvm", "-cpu", "host"], stdin=_QUIT, timeout_s=_TRY_S
        )
    except (OSError, TimeoutError) as error:
        status, said = 1, str(error)
    if status != 0:
        _log.warning("kvm.unusable", reason=said.strip()[-300:])
    return "kvm" if status == 0 else "tcg"
