"""One layer-2 segment in namespaces of its own: an instance's place, and tenant machines with real clients.

Needs root. Names are short and prefixed; everything is gone after `close`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from astara.appliance.boundaries import Place

T = TypeVar("T")

SERVER_MAC = "fa:16:3e:00:00:02"


def ip(*words: str) -> str:
    """Run `ip` and return what it prints; a failure carries its own words."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def eventually(look: Callable[[], T], within_s: float = 10.0) -> T:
    """Look until the answer is truthy and return it; the last look's answer when time is up."""
    deadline = time.monotonic() + within_s
    while not (seen := look()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return seen


class Machine:
    """A tenant machine: a namespace with one link called eth0."""

    def __init__(self, netns: str, mac: str) -> None:
        self.netns = netns
        self.mac = mac

    def run(self, *argv: str, timeout_s: float = 20.0, check: bool = True) -> str:
        """Run a program inside and return its output and errors."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.netns, *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"{argv}: {done.returncode}: {done.stdout}")
        return done.stdout

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a program inside; the segment ends it."""
        return subprocess.Popen(
            ["ip", "netns", "exec", self.netns, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def sysctl(self, key: str, value: str) -> None:
        self.run("sysctl", "-qw", f"{key}={value}")


class Segment:
    """A switch, the instance's namespace with link `tap0` (SERVER_MAC), and machines."""

    def __init__(self, files: Path) -> None:
        self._tag = uuid.uuid4().hex[:6]
        self.instance_id = str(uuid.uuid4())
        self.switch = f"astara-sw{self._tag}"
        self.server = f"astara-{self.instance_id}"
        self.place = Place(self.instance_id, Path("/run/netns") / self.server, files)
        self._namespaces = [self.switch, self.server]
        self._links = 0
        for name in self._namespaces:
            ip("netns", "add", name)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        ip("-n", self.switch, "link", "set", "br0", "up")
        self.plug(self.server, "tap0", SERVER_MAC)

    def address(self, *addresses: str) -> None:
        """Give the instance's link addresses."""
        for each in addresses:
            ip("-n", self.server, "addr", "add", each, "dev", "tap0", *(["nodad"] if ":" in each else []))

    def addresses(self) -> str:
        """Return what `ip addr` says inside the instance."""
        return ip("-n", self.server, "addr")

    def sysctl(self, key: str, value: str) -> None:
        """Set a sysctl inside the instance."""
        Machine(self.server, SERVER_MAC).sysctl(key, value)

    def rename(self, link: str) -> None:
        """Give the instance's link another name."""
        ip("-n", self.server, "link", "set", "tap0", "down")
        ip("-n", self.server, "link", "set", "tap0", "name", link)
        ip("-n", self.server, "link", "set", link, "up")

    def machine(self, mac: str) -> Machine:
        """Plug in a tenant machine."""
        name = f"astara-m{self._tag}{len(self._namespaces)}"
        ip("netns", "add", name)
        self._namespaces.append(name)
        Machine(name, mac).sysctl("net.ipv6.conf.default.accept_dad", "0")  # no second of silence
        self.plug(name, "eth0", mac)
        return Machine(name, mac)

    def close(self) -> None:
        """End every process inside and take the namespaces away."""
        for name in self._namespaces:
            for pid in ip("netns", "pids", name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            ip("netns", "del", name)

    def plug(self, netns: str, link: str, mac: str) -> None:
        """Wire a link of a namespace, known to this segment or not, into the switch."""
        self._links += 1
        port = f"p{self._links}"
        ip("-n", self.switch, "link", "add", port, "type", "veth", "peer", "name", link, "netns", netns)
        ip("-n", self.switch, "link", "set", port, "master", "br0", "up")
        ip("-n", netns, "link", "set", "lo", "up")
        ip("-n", netns, "link", "set", link, "address", mac)
        ip("-n", netns, "link", "set", link, "up")


@contextlib.contextmanager
def segment(files: Path) -> Iterator[Segment]:
    made = Segment(files)
    try:
        yield made
    finally:
        made.close()
