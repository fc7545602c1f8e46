"""Real DHCP clients inside a tenant machine, and what they were told."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from support.segment import Machine, eventually

_TOLD = "ip|mask|subnet|router|dns|domain|hostname|mtu|(ms)?staticroutes|opt[0-9]+|lease|serverid|bootfile|ntpsrv|tftp"
_SCRIPT = """#!/bin/sh
env | grep -E '^({told_names})=' > {told}.new
echo "event=$1" >> {told}.new
case "$1" in
bound|renew) ip addr flush dev $interface scope global; ip addr add $ip/$mask dev $interface ;;
esac
mv {told}.new {told}
exit 0
"""

_SCRIPT6 = """#!/bin/sh
env | grep -E '^(new_|reason=)' > {told}.new
[ -n "$new_ip6_address" ] && ip -6 addr add $new_ip6_address/$new_ip6_prefixlen dev $interface nodad
mv {told}.new {told}
exit 0
"""


def _parsed(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


class Udhcpc:
    """busybox udhcpc in the foreground of a process of its own: SIGUSR1 renews."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self._machine = machine
        self._told = directory / f"{machine.netns}.told"
        self._script = directory / f"{machine.netns}.sh"
        self._script.write_text(_SCRIPT.format(told=self._told, told_names=_TOLD))
        self._script.chmod(0o755)
        self._client: subprocess.Popen[bytes] | None = None

    def lease(self, attempts: int = 3) -> dict[str, str]:
        """Ask once, and return what was told; {} when nobody answered."""
        self._told.unlink(missing_ok=True)
        argv = [
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-n",
            "-q",
            "-f",
            "-t",
            str(attempts),
            "-T",
            "1",
            "-s",
            str(self._script),
        ]
        wanted = [word for option in ("26", "42", "66", "67", "121", "150", "249") for word in ("-O", option)]
        self._machine.run(*argv, *wanted, check=False)
        told = _parsed(self._told)
        return told if told.get("event") == "bound" else {}

    def stay(self) -> dict[str, str]:
        """Start, stay, and return what was told first."""
        self._told.unlink(missing_ok=True)
        argv = ["busybox", "udhcpc", "-i", "eth0", "-f", "-t", "3", "-T", "1", "-A", "1", "-s", str(self._script)]
        self._client = subprocess.Popen(
            ["ip", "netns", "exec", self._machine.netns, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return self.told("bound")

    def renew(self) -> None:
        assert self._client is not None
        self._told.unlink(missing_ok=True)
        self._client.send_signal(signal.SIGUSR1)

    def told(self, *events: str) -> dict[str, str]:
        """Wait for one of these events and return what was told with it."""
        eventually(lambda: _parsed(self._told).get("event") in events)
        return _parsed(self._told)

    def end(self) -> None:
        if self._client is not None:
            self._client.kill()
            self._client.wait()


class Dhclient6:
    """ISC dhclient for DHCPv6, stateful or (`stateless`) information only."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self._machine = machine
        self._told = directory / f"{machine.netns}.told6"
        self._script = directory / f"{machine.netns}.6.sh"
        self._script.write_text(_SCRIPT6.format(told=self._told))
        self._script.chmod(0o755)
        self._leases = directory / f"{machine.netns}.leases6"
        self._pid = directory / f"{machine.netns}.pid6"
        self._conf = directory / f"{machine.netns}.conf6"
        self._conf.write_text("request dhcp6.name-servers, dhcp6.domain-search, dhcp6.bootfile-url;\n")

    def ask(self, *, stateless: bool = False, timeout_s: float = 15.0) -> dict[str, str]:
        """Ask once; the client stays in the background until `end`. {} when nobody answered in time."""
        self.end()
        self._told.unlink(missing_ok=True)
        self._leases.touch()
        mode = ["-6", "-S"] if stateless else ["-6"]
        files = ["-lf", str(self._leases), "-pf", str(self._pid), "-sf", str(self._script), "-cf", str(self._conf)]
        argv = ["timeout", str(timeout_s), "dhclient", *mode, "-1", "-v", *files, "eth0"]
        self._machine.run(*argv, timeout_s=timeout_s + 5, check=False)
        told = eventually(lambda: _parsed(self._told), within_s=1.0)
        return told if told.get("reason") in {"BOUND6", "INFO6"} or "new_dhcp6_name_servers" in told else {}

    def end(self) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            os.kill(int(self._pid.read_text()), signal.SIGKILL)
        self._pid.unlink(missing_ok=True)
