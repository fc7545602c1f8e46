"""`python -m chaos`: inside a lab of profile cluster. `make chaos` does it all."""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from rich.console import Console

from astara_lab.places import POD_MARKER, find_lab
from astara_lab.waiting import NotInTime
from chaos import report
from chaos.history import write
from chaos.laws import judge
from chaos.run import Asked, Chaos
from storm.kills import keep_logs


def main() -> int:
    """0: every law held. 1: one did not. 2: it could not begin."""
    asked = _asked()
    console = Console(stderr=True)
    if not POD_MARKER.exists():
        console.print("chaos needs a lab around it: make chaos")
        return 2
    lab = find_lab()
    seed = asked.seed or secrets.token_hex(4)
    place = asked.out / seed
    place.mkdir(parents=True, exist_ok=True)
    console.print(f"chaos {seed} for {asked.seconds:.0f} s, into {place}", markup=False)
    try:
        history = Chaos(lab, _weather(seed, asked), console).play()
    except NotInTime as late:
        console.print(f"it could not begin: {late}", markup=False)
        keep_logs(lab.log, place / "logs")
        return 2
    write(place / "history.jsonl", history)
    findings = judge(history)
    report.write(place, history, findings)
    report.show(findings, console)
    console.print(f"report: {place / 'chaos.md'}", markup=False)
    if all(finding.holds for finding in findings):
        return 0
    keep_logs(lab.log, place / "logs")
    console.print(f"logs of the lab: {place / 'logs'}; the same again: make chaos SEED={seed}", markup=False)
    return 1


def _weather(seed: str, asked: argparse.Namespace) -> Asked:
    return Asked(
        seed,
        asked.seconds,
        tuple(asked.only),
        singles=asked.singles,
        pairs=asked.pairs,
        pause_s=1 / asked.changes_a_second,
        patience_s=asked.patience,
    )


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=sys.modules["chaos"].__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="of faults; each kind comes once in any case")
    parser.add_argument("--seed", default="", help="brings the faults of an earlier run in the same order")
    parser.add_argument("--only", action="append", default=[], help="a kind of fault, or KIND TARGET; many times")
    parser.add_argument("--singles", type=int, default=2, help="routers that must not lose a packet")
    parser.add_argument("--pairs", type=int, default=2, help="pairs whose connections must live")
    parser.add_argument("--changes-a-second", type=float, default=1.5, help="about, by tenants")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds to settle before the next fault")
    parser.add_argument("--out", type=Path, default=Path("build/chaos"))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
