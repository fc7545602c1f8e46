"""`python -m storm`: inside a lab (`astara lab run -- …`, `astara lab exec -- …`). `make storm` does it all."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

from rich.console import Console

from astara_lab.places import POD_MARKER, find_lab
from astara_lab.waiting import NotInTime
from storm.kills import keep_logs
from storm.run import Weather, storm
from storm.verdict import as_json, show


def main() -> int:
    """0: every promise held. 1: one did not. 2: it could not begin."""
    asked = _asked()
    console = Console(stderr=True)
    if not POD_MARKER.exists():
        console.print("a storm needs a lab around it: make storm")
        return 2
    lab = find_lab()
    weather = Weather(
        seed=asked.seed or secrets.token_hex(4),
        seconds=asked.seconds,
        actors=asked.actors,
        stills=asked.untouched,
        every_s=asked.every_ms / 1000,
        rest_s=asked.rest,
        kill_api=asked.kill_api,
    )
    try:
        verdict = storm(lab, weather, console)
    except NotInTime as late:
        console.print(f"the storm could not begin: {late}", markup=False)
        keep_logs(lab.log, asked.reports / f"storm-{weather.seed}-logs")
        return 2
    asked.reports.mkdir(parents=True, exist_ok=True)
    report = asked.reports / f"storm-{weather.seed}.json"
    report.write_text(json.dumps(as_json(verdict), indent=1))
    show(verdict, console)
    console.print(f"report: {report}", markup=False)
    if not verdict.ok:
        logs = asked.reports / f"storm-{weather.seed}-logs"
        keep_logs(lab.log, logs)
        console.print(f"logs of the lab: {logs}", markup=False)
    if asked.json:
        print(json.dumps(as_json(verdict)))
    return 0 if verdict.ok else 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="storm", description=sys.modules["storm"].__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", default="", help="replays the choices of an earlier storm")
    parser.add_argument("--actors", type=int, default=4, help="threads that make changes")
    parser.add_argument("--untouched", type=int, default=3, help="routers that must not lose a packet")
    parser.add_argument("--every-ms", type=float, default=10.0, help="between two packets of one path")
    parser.add_argument("--rest", type=float, default=90.0, help="seconds to come to rest afterwards")
    parser.add_argument("--kill-api", action="store_true", help="kill Neutron's API as well")
    parser.add_argument("--reports", type=Path, default=Path(".lab/storms"))
    parser.add_argument("--json", action="store_true", help="the whole report on standard output")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
