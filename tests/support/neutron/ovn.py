"""OVN's two databases with northd and a chassis, without a datapath: enough for ML2/OVN to bind ports."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ovn:
    """Connection strings of the northbound and southbound databases."""

    north: str
    south: str

    def requested(self, port_id: str) -> str:
        """Return the chassis a logical switch port shall be on."""
        asked = ("get", "Logical_Switch_Port", port_id, "options:requested-chassis")
        return _run("ovn-nbctl", f"--db={self.north}", *asked).strip().strip('"')

    def ports(self) -> str:
        """Return what the northbound database knows of logical switch ports and routers."""
        tables = ["Logical_Switch_Port", "Logical_Router"]
        return "".join(_run("ovn-nbctl", f"--db={self.north}", "--format=csv", "list", table) for table in tables)


@contextlib.contextmanager
def ovn(directory: Path, *hosts: str) -> Iterator[Ovn]:
    """Start the databases in `directory`, with a chassis for each host."""
    where = Ovn(f"unix:{directory / 'nb.sock'}", f"unix:{directory / 'sb.sock'}")
    with contextlib.ExitStack() as stack:
        for name in ("nb", "sb"):
            database = directory / f"{name}.db"
            _run("ovsdb-tool", "create", str(database), f"/usr/share/ovn/ovn-{name}.ovsschema")
            socket, control = f"--remote=punix:{directory / name}.sock", f"--unixctl={directory / name}.ctl"
            stack.enter_context(_daemon(directory, "ovsdb-server", socket, control, str(database)))
            _wait_for(directory / f"{name}.sock")
        control = f"--unixctl={directory / 'northd.ctl'}"
        databases = [f"--ovnnb-db={where.north}", f"--ovnsb-db={where.south}"]
        stack.enter_context(_daemon(directory, "ovn-northd", control, *databases))
        for number, host in enumerate(hosts, start=1):
            south = ["ovn-sbctl", f"--db={where.south}"]
            _run(*south, "chassis-add", host, "geneve", f"127.0.0.{number}")
            _run(*south, "set", "Chassis", host, f"hostname={host}", "other_config:ovn-bridge-mappings=public:br-ex")
            # What ovn-controller would write when it is alive; Neutron binds to no other chassis.
            (chassis,) = _run(*south, "--bare", "--columns=_uuid", "find", "Chassis", f"name={host}").split()
            _run(*south, "create", "Chassis_Private", f"name={host}", f"chassis={chassis}")
        yield where


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


@contextlib.contextmanager
def _daemon(directory: Path, name: str, *arguments: str) -> Iterator[None]:
    with (directory / f"{name}.log").open("ab") as log:
        process = subprocess.Popen([name, *arguments], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(socket: Path) -> None:
    deadline = time.monotonic() + 20
    while not socket.exists():
        assert time.monotonic() < deadline, f"{socket} did not appear"
        threading.Event().wait(0.05)
