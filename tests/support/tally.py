"""One summary for a suite that needs several runs: what earlier ones had is counted in the last one's last line.

`--tally-from FILE` adds the reports of earlier runs before the summary is printed; `--tally-to FILE` writes them and
this run's own. The exit status of each run stays its own.
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
    if hasattr(config, "workerinput"):
        return  # one of xdist's workers: the controller has its reports too
    earlier: Path | None = config.getoption("--tally-from")
    if earlier and earlier.exists():
        for outcome, reports in json.loads(earlier.read_text()).items():
            found = [_from_json(config, data) for data in reports]
            terminalreporter.stats.setdefault(outcome, []).extend(found)
    written: Path | None = config.getoption("--tally-to")
    if written:
        counts = {
            outcome: [_as_json(config, report) for report in reports]
            for outcome, reports in terminalreporter.stats.items()
            if outcome not in ("", "deselected", "warnings")
        }
        written.write_text(json.dumps(counts))


def _as_json(config: pytest.Config, report: Any) -> dict[str, Any]:
    data: dict[str, Any] = config.hook.pytest_report_to_serializable(config=config, report=report)
    data.pop("node", None)  # which of xdist's workers it was: an object
    return data


def _from_json(config: pytest.Config, data: dict[str, Any]) -> Any:
    report = config.hook.pytest_report_from_serializable(config=config, data=data)
    if isinstance(report.longrepr, list):  # of a skip: a triple of file, line and reason, which JSON has none of
        report.longrepr = tuple(report.longrepr)
    return report
