"""Memory of a process and its descendants, as proportional set size: shared pages are counted once in a sum."""

from __future__ import annotations

from pathlib import Path


def family_mb(pid: int) -> float:
    """PSS of a process and everything below it, in MB; what has gone meanwhile counts nothing."""
    return sum(_pss_kb(member) for member in _family(pid)) / 1024


def _family(pid: int) -> list[int]:
    found = [pid]
    for member in found:
        for listing in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                found.extend(int(child) for child in listing.read_text().split())
            except OSError:
                continue
    return found


def _pss_kb(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
