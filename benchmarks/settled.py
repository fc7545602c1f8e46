"""What a cloud in which nothing happens asks of Neutron: calls by the orchestrator's count, and commits.

Commits are counted in the write-ahead log of the embedded cloud's SQLite file, so that nobody's word is taken for it
(https://sqlite.org/fileformat.html section 4).
"""

from __future__ import annotations

import sqlite3
import struct
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from astara_lab.places import LOOPBACK, METRICS_PORT

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")


@dataclass(frozen=True)
class Log:
    """Where a write-ahead log stands. `run`: the salts of its header, None without one; others when it begins anew."""

    run: tuple[int, int] | None
    commits: int


def commits_within(database: Path, seconds: float) -> int:
    """Wait, and return how many transactions wrote to a SQLite file meanwhile.

    Raises RuntimeError when its log began anew meanwhile: measure again.
    """
    with closing(sqlite3.connect(database)) as held:
        held.execute("SELECT count(*) FROM sqlite_master").fetchall()  # with the last connection the log would go
        before = _log(database)
        time.sleep(seconds)
        after = _log(database)
    if before.run not in (None, after.run):
        raise RuntimeError("the write-ahead log began anew: measure again")
    return after.commits - before.commits


def _log(database: Path) -> Log:
    content = database.with_name(database.name + "-wal").read_bytes()
    if len(content) < _HEADER.size:
        return Log(None, 0)
    _, _, page_bytes, _, *salts, _, _ = _HEADER.unpack_from(content)
    run, commits = (salts[0], salts[1]), 0
    for start in range(_HEADER.size, len(content) - _FRAME.size + 1, _FRAME.size + page_bytes):
        _, pages_after_commit, first, second, _, _ = _FRAME.unpack_from(content, start)
        if (first, second) != run:
            break  # left over from an earlier run
        commits += pages_after_commit > 0
    return Log(run, commits)


def calls() -> Counter[str]:
    """Return how many calls of each kind the orchestrator has made to Neutron since it started."""
    text = httpx.get(f"http://{LOOPBACK}:{METRICS_PORT}/metrics", trust_env=False).raise_for_status().text
    found: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        if family.name == "astara_neutron_call_seconds":
            found.update({s.labels["call"]: int(s.value) for s in family.samples if s.name.endswith("_count")})
    return found
