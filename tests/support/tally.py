"""One summary for a suite that needs two runs: the first run's outcomes are counted in the second's last line.

`--tally-to FILE` writes the reports of a run; `--tally-from FILE` reads them before the summary is printed. The exit
status of each run stays its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("tally")
    group.addoption("--tally-to", type=Path, help="write this run's outcomes to a file")
    group.addoption("--tally-from", type=Path, help="count the outcomes in that file as well")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    written: Path | None = config.getoption("--tally-to")
    if written:
        counts = {
            outcome: [config.hook.pytest_report_to_serializable(config=config, report=r) for r in reports]
            for outcome, reports in terminalreporter.stats.items()
            if outcome not in ("", "deselected", "warnings")
        }
        written.write_text(json.dumps(counts))
    earlier: Path | None = config.getoption("--tally-from")
    if earlier and earlier.exists():
        for outcome, reports in json.loads(earlier.read_text()).items():
            found = [config.hook.pytest_report_from_serializable(config=config, data=data) for data in reports]
            terminalreporter.stats.setdefault(outcome, []).extend(found)
