"""Every measurement of docs/benchmarks.md, or some: `make bench ARGS='--only astara-embedded,node --count 20'`.

Each cloud is a lab of its own that is taken down afterwards. Prints tables; --json keeps the raw numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ISOLATED = (
    *("unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child", "--", "sh", "-c"),
    "mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/netns && mount -t sysfs sysfs /sys && ip link set lo up"
    ' && exec "$@"',
    "isolated",
)

#: What a cloud is: the lab's profile, the contender, and the lab's environment.
CLOUDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "astara-embedded": ("embedded", "astara", {}),
    "astara": ("neutron", "astara", {}),
    "l3-agent": ("neutron", "l3-agent", {"L3_AGENT": "1"}),
    "l3-agent-tuned": ("neutron", "l3-agent", {"L3_AGENT": "1", "PRIVSEP_THREADS": "32"}),
}
ALONE = ("node", "engine")


def machine() -> dict[str, Any]:
    """What the numbers depend on. `calculation_ms`: CPU time of a fixed calculation, now: it grows with the load."""
    began = time.process_time()
    sum(number * number for number in range(2_000_000))
    return {
        "kernel": platform.release(),
        "python": platform.python_version(),
        "neutron": version("neutron"),
        "cpus": os.cpu_count(),
        "load": os.getloadavg(),
        "calculation_ms": round((time.process_time() - began) * 1000),
    }


def cloud(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Run cloud.py in a lab made for it."""
    profile, contender, environment = CLOUDS[name]
    lab = [sys.executable, "-m", "astara_lab", "run", "--profile", profile, "--dir", f".lab/bench-{name}", "--"]
    sizes = ["--samples", asked.samples, "--count", asked.count, "--memory", asked.memory, "--only", asked.deeds]
    said = subprocess.run(
        [*lab, sys.executable, HERE / "cloud.py", contender, *map(str, sizes)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return last_json(said.stdout)


def node(asked: argparse.Namespace) -> dict[str, Any]:
    command = [*ISOLATED, sys.executable, str(HERE / "node_agent.py"), "--instances", str(asked.instances)]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent / "tests")}
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)
    return last_json(said.stdout)


def engine(asked: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "engine.py"), str(asked.instances)]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return {"said": said.stdout.splitlines()}


def last_json(said: str) -> dict[str, Any]:
    """The object that the output ends with; empty when there is none."""
    start = said.find("{")
    try:
        found: dict[str, Any] = json.loads(said[start:]) if start >= 0 else {}
    except json.JSONDecodeError:
        return {}
    return found


#: The rows of the table: what it is, the measurement, and how to read it off.
ROWS: tuple[tuple[str, str, Callable[[dict[str, Any]], Any]], ...] = (
    ("1 router: API returned to configured, s", "one", lambda f: f["after_api_s"]["median"]),
    ("many at once: last API returned to last configured, s", "many", lambda f: f["after_api_s"]),
    ("  of how many", "many", lambda f: f["count"]),
    ("control-plane CPU per router, s", "many", lambda f: f["own_cpu_per_router_s"]),
    ("  beyond what it uses at rest, s", "many", lambda f: f["own_cpu_per_router_beyond_idle_s"]),
    ("restart, all running: verified, s", "restart", lambda f: f["verified_s"]),
    ("  CPU, s", "restart", lambda f: f["own_cpu_s"]),
    ("  packets lost, of", "restart", lambda f: f"{f['lost']} of {f['packets']}"),
    ("restart, namespaces gone: all back, s", "restart, namespaces gone", lambda f: f["all_back_s"]),
    ("  CPU, s", "restart, namespaces gone", lambda f: f["own_cpu_s"]),
    ("memory per router with DHCP and metadata, MB", "memory", lambda f: f["mb_per_router"]),
    ("settled, calls to Neutron per minute", "settled", lambda f: sum(f["calls"].values())),
    ("  commits", "settled", lambda f: f["commits"]),
)


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown, one column for each cloud that was measured; of repeated measurements the last one."""
    names = [name for name in CLOUDS if found.get(name)]
    lines = ["| measure | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for words, deed, read in ROWS:
        cells = [str(read(found[name][deed][-1])) if deed in found[name] else "-" for name in names]
        lines.append(f"| {words} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join((*CLOUDS, *ALONE)), help="which, separated by commas")
    parser.add_argument(
        "--deeds", default="idle,one,many,idle,restart,cold,memory", help="in this order; also: settled (embedded)"
    )
    parser.add_argument("--samples", type=int, default=7, help="routers made one at a time")
    parser.add_argument("--count", type=int, default=50, help="routers made at once")
    parser.add_argument("--memory", type=int, default=20, help="further routers, with DHCP and metadata")
    parser.add_argument("--instances", type=int, default=1000, help="instances of the node agent alone")
    parser.add_argument("--json", type=Path, help="a file for the raw numbers")
    asked = parser.parse_args()
    found: dict[str, Any] = {"machine": machine()}
    alone = {"node": node, "engine": engine}
    for name in asked.only.split(","):
        print(f"{name}:", file=sys.stderr, flush=True)
        found[name] = cloud(name, asked) if name in CLOUDS else alone[name](asked)
        if asked.json:
            asked.json.write_text(json.dumps(found, indent=1) + "\n")
    if any(name in CLOUDS for name in found):
        print(table(found))
    print(json.dumps({name: found[name] for name in ("machine", *ALONE) if name in found}, indent=1))
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
