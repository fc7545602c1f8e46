"""What a service cost: CPU by control group, so that children of children count; memory as proportional set size."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from astara_lab.control import Control
from astara_lab.waiting import until

_GROUPS = Path("/sys/fs/cgroup")
_KERNEL_FIELDS = ("Slab", "KernelStack", "PageTables", "Percpu")
_REST = "rest"


@dataclass(frozen=True)
class CpuAccounts:
    """One control group for each service, inside the pod's own mount of cgroup2; `prefix` keeps labs apart.

    What the supervisor starts is born in the group of the rest and moved as soon as it is seen: what a service used
    before is in the rest's account, which is part of every difference.
    """

    control: Control
    prefix: str

    def open(self, services: Iterable[str]) -> None:
        """Restart each of `services` into a group of its own, the remaining ones are moved as they are."""
        chosen = set(services)
        self._move(_REST, 1)
        for state in self.control.status():
            if state.pid is not None and state.name not in chosen:
                self._move(state.name, state.pid)
        for name in chosen:
            self.restart(name)

    def restart(self, name: str) -> None:
        """Ask the supervisor for another process and take it into the service's group."""
        before = self._pid(name)
        self.control.change("restart", name)
        self.adopt(name, before)

    def adopt(self, name: str, before: int | None) -> int:
        """Wait for a process of the service that is not `before`, and move it."""
        pid = until(f"another {name}", lambda: self._other(name, before), 60.0, 0.005)
        self._move(name, pid)
        return pid

    def used_s(self) -> dict[str, float]:
        """CPU seconds by service since the groups were made."""
        return {
            group.name.removeprefix(f"{self.prefix}-"): _usage_s(group) for group in _GROUPS.glob(f"{self.prefix}-*")
        }

    def close(self) -> None:
        """Move everything back and delete the groups."""
        for group in _GROUPS.glob(f"{self.prefix}-*"):
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    (_GROUPS / "cgroup.procs").write_text(pid)
            with contextlib.suppress(OSError):
                group.rmdir()

    def _pid(self, name: str) -> int | None:
        state = self.control.state(name)
        return state.pid if state else None

    def _other(self, name: str, before: int | None) -> int | None:
        pid = self._pid(name)
        return pid if pid not in (None, before) else None

    def _move(self, name: str, pid: int) -> None:
        group = _GROUPS / f"{self.prefix}-{name}"
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(pid))


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """CPU seconds by service, what used less than 10 ms left out."""
    found = {name: round(after[name] - before.get(name, 0.0), 2) for name in sorted(after)}
    return {name: seconds for name, seconds in found.items() if seconds >= 0.01}


def _usage_s(group: Path) -> float:
    fields = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(fields["usage_usec"]) / 1e6


def processes_mb(group: str) -> float:
    """PSS of every process in a control group."""
    pids = (_GROUPS / group / "cgroup.procs").read_text().split()
    return sum(_pss_mb(int(pid)) for pid in pids)


def _pss_mb(pid: int) -> float:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0) / 1024


def kernel_mb() -> float:
    """The whole machine's kernel memory: slab, stacks, page tables, per-CPU areas (a namespace is mostly these)."""
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(fields[name].split()[0]) for name in _KERNEL_FIELDS) / 1024
