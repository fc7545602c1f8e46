"""What a cloud in which nothing happens asks of Neutron: calls by the orchestrator's count, and commits.

Commits are counted in the write-ahead log of the embedded cloud's SQLite file, so that nobody's word is taken for it
(https://sqlite.org/fileformat.html section 4).
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from astara_lab.places import LOOPBACK, METRICS_PORT

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")


@dataclass(frozen=True)
class Log:
    """Where a write-ahead log stands. `run`: the salts of its header; they change when it begins anew."""

    run: tuple[int, int]
    commits: int


def log_of(database: Path) -> Log:
    """Read the write-ahead log beside a SQLite file."""
    content = database.with_name(database.name + "-wal").read_bytes()
    _, _, page_bytes, _, *salts, _, _ = _HEADER.unpack_from(content)
    run, commits = (salts[0], salts[1]), 0
    for start in range(_HEADER.size, len(content) - _FRAME.size + 1, _FRAME.size + page_bytes):
        _, pages_after_commit, first, second, _, _ = _FRAME.unpack_from(content, start)
        if (first, second) != run:
            break  # left over from an earlier run
        commits += pages_after_commit > 0
    return Log(run, commits)


def commits_between(before: Log, after: Log) -> int:
    """Raises RuntimeError when the log began anew meanwhile: measure again."""
    if before.run != after.run:
        raise RuntimeError("the write-ahead log began anew: measure again")
    return after.commits - before.commits


def calls() -> Counter[str]:
    """Return how many calls of each kind the orchestrator has made to Neutron since it started."""
    text = httpx.get(f"http://{LOOPBACK}:{METRICS_PORT}/metrics", trust_env=False).raise_for_status().text
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        if family.name == "astara_neutron_call_seconds":
            found.update({s.labels["call"]: int(s.value) for s in family.samples if s.name.endswith("_count")})
    return found
