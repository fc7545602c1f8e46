"""An Open vSwitch of a test's own, with the userspace datapath."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.segment import eventually

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


class Switch:
    """ovsdb-server and ovs-vswitchd of this test only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.remote = f"unix:{directory}/db.sock"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self.directory.mkdir()
        database = self.directory / "conf.db"
        subprocess.run(["ovsdb-tool", "create", str(database), str(SCHEMA)], check=True)
        self._start("ovsdb-server", str(database), f"--remote=p{self.remote}")
        assert eventually(lambda: (self.directory / "db.sock").exists())
        self.vsctl("--no-wait", "init")
        self._start("ovs-vswitchd", self.remote)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(timeout=20)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """ovs-vswitchd sees nothing for a while; the database answers."""
        vswitchd = self._processes[-1]
        vswitchd.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            vswitchd.send_signal(signal.SIGCONT)

    def vsctl(self, *words: str) -> str:
        done = subprocess.run(
            ["ovs-vsctl", f"--db={self.remote}", "--timeout=10", *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def ofctl(self, command: str, bridge: str, *words: str) -> str:
        """Ask or tell a bridge of its flows."""
        target = f"unix:{self.directory}/{bridge}.mgmt"
        done = subprocess.run(["ovs-ofctl", command, target, *words], check=True, capture_output=True, text=True)
        return done.stdout

    def ports(self) -> set[str]:
        return set(self.vsctl("list-ports", "br-int").split())

    def _start(self, *argv: str) -> None:
        with (self.directory / f"{argv[0]}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen(
                    [*argv, "--pidfile=" + str(self.directory / f"{argv[0]}.pid"), f"--unixctl={argv[0]}.ctl"],
                    cwd=self.directory,
                    env={"OVS_RUNDIR": str(self.directory), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
                    stdout=log,
                    stderr=log,
                )
            )
