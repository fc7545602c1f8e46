"""`python -m chaos.again FILE…`: judges histories that are there, and writes their reports anew beside them."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from chaos import report
from chaos.history import read
from chaos.laws import judge


def main() -> int:
    """0: every law held in all of them."""
    console, held = Console(stderr=True), True
    for name in sys.argv[1:]:
        history = read(Path(name))
        findings = judge(history)
        report.write(Path(name).parent, history, findings)
        report.show(findings, console)
        held &= all(finding.holds for finding in findings)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
