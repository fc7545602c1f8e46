"""What the records cost: `.venv/bin/python benchmarks/records.py [--connection URL] [--lines 100000]`.

CPU seconds are of this process (the database's own, of MariaDB, are not in them). The database must be empty.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from astara.model.operator import AuditQuery, HistoryLine
from astara.model.resource import ResourceKey
from astara.records import migrating
from astara.records.database import Database, locate
from astara.records.lines import Keep
from astara.records.store import StoredRecords

_BATCH = 1000
_LOOKS = 200


def line(number: int) -> HistoryLine:
    return HistoryLine(
        at=time.time(),
        reason="router.update.end, port.update.end",
        phase="outdated",
        steps=(f"push configuration {number:012x} to slot a", "report 1 router ACTIVE, 2 port ACTIVE"),
        outcome="settled",
        detail="a: configuration differs",
        duration_ms=12.5,
        who="orchestrator controller-1",
        generation=f"1795982400.{number}",
    )


def measured(what: str, work: Callable[[], object], count: int = 1) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what:44} {1e6 * wall / count:12.0f} us {1e6 * cpu / count:12.0f} us of CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connection")
    parser.add_argument("--lines", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        url = locate(asked.connection, Path(home))
        migrating.upgrade(Database(url))
        records = StoredRecords(url, time.time, Keep(lines=asked.lines))
        records.open()
        keys = [ResourceKey("router", f"{number:036d}") for number in range(1000)]

        def batch() -> None:
            for number in range(_BATCH):
                records.append(keys[number], line(number))
            while records.standing().waiting:
                time.sleep(0.01)

        print(f"{'each':44} {'wall':>15} ")
        measured(f"{_BATCH} lines, queued and written", batch, asked.lines // _BATCH)
        measured("append, as a reconcile sees it", lambda: records.append(keys[0], line(0)), 1000)
        measured("history of one resource", lambda: records.history(keys[7]), 20)
        measured("audit, newest 100", lambda: records.audit(AuditQuery()), 20)
        measured("audit, of somebody who did nothing", lambda: records.audit(AuditQuery(who="nobody")), 5)
        measured("look whether operators said something", records.revision, _LOOKS)
        for number in range(100):
            records.hold(keys[number], "being debugged")
        measured("read 100 holds", records.holds, 20)
        records.close()


if __name__ == "__main__":
    main()
