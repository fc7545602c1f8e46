"""What a run was made on and with, in words for its report."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from astara_lab.places import NODE_NAME, SECOND_NODE_NAME, Seat
from chaos.history import Begin

_PACKAGES = ("astara", "neutron", "oslo.messaging", "SQLAlchemy", "tooz")
_PROGRAMS = {
    "MariaDB": ("mariadbd", "--version"),
    "keepalived": ("keepalived", "--version"),
    "conntrackd": ("conntrackd", "-v"),
    "dnsmasq": ("dnsmasq", "--version"),
    "nftables": ("nft", "--version"),
}


def begin(seed: str, seconds: float, seats: tuple[Seat, ...]) -> Begin:
    return Begin(
        seed=seed,
        began_at=time.time(),
        seconds=seconds,
        machine=_machine(),
        versions=_versions(),
        orchestrators=tuple(seat.name for seat in seats),
        nodes=(NODE_NAME, SECOND_NODE_NAME),
    )


def _machine() -> str:
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1)) // 1_048_576  # type: ignore[union-attr]
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} CPUs, {memory} GiB, Linux {platform.release()}, load at the start {load:.1f}"


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | {name: _said(argv) for name, argv in _PROGRAMS.items()} | _rabbit()


def _said(argv: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return "not there"
    number = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return number.group(0) if number else "unknown"


def _rabbit() -> dict[str, str]:
    found = next(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"), None)
    return {"RabbitMQ": found.name.rpartition("-")[2]} if found else {}
