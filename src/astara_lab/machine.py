"""A simulated machine: a network namespace one can run programs in and open sockets from."""

from __future__ import annotations

import http.client
import ipaddress
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, AddressFamily, SocketKind, socket
from typing import TypeVar
from urllib.parse import urlsplit

from astara_lab.namespaces import NETNS_DIRECTORY, socket_within, within
from astara_lab.waiting import NotInTime, until

T = TypeVar("T")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Name of the only interface.
INTERFACE = "eth0"


@dataclass(frozen=True)
class Result:
    """How a command ended; `status` is its exit status, negative for a signal."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.status == 0


@dataclass(frozen=True)
class Fetched:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Machine:
    """`netns` is its network namespace, `resolver` the file its programs see as /etc/resolv.conf."""

    name: str
    netns: str
    resolver: Path

    # -- programs

    def attached(self, work: Callable[[], T]) -> T:
        """Calls `work` in a thread of this machine: what it starts or opens belongs to the machine."""
        return within(self.netns, work, binds=self._binds())

    def run(self, argv: Sequence[str], timeout_s: float = 30.0, *, stdin: str | None = None) -> Result:
        """Runs a command to its end. Raises subprocess.TimeoutExpired (the command is dead then), OSError."""
        done = self.attached(
            lambda: subprocess.run(
                list(argv), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        )
        return Result(tuple(argv), done.returncode, done.stdout, done.stderr)

    def spawn(self, argv: Sequence[str]) -> subprocess.Popen[str]:
        """Starts a command; ending it is the caller's business."""
        return self.attached(
            lambda: subprocess.Popen(
                list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )

    def _binds(self) -> dict[Path, Path]:
        target = Path("/etc/resolv.conf")
        return {self.resolver: target} if self.resolver.exists() and target.exists() else {}

    # -- what it has

    @property
    def interfaces(self) -> tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]:
        """Addresses with prefix lengths, link-local ones left out, IPv4 first."""
        shown = json.loads(self.run(["ip", "-json", "address", "show", "dev", INTERFACE, "scope", "global"]).stdout)
        listed = [address for link in shown for address in link["addr_info"] if address]  # others are shown as {}
        found = [ipaddress.ip_interface(f"{address['local']}/{address['prefixlen']}") for address in listed]
        return tuple(sorted(found, key=lambda i: i.version))

    @property
    def link_local(self) -> str | None:
        """Its IPv6 link-local address, once the kernel has made it."""
        shown = json.loads(self.run(["ip", "-6", "-json", "address", "show", "dev", INTERFACE, "scope", "link"]).stdout)
        return next((found["local"] for link in shown for found in link.get("addr_info", ()) if found), None)

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(interface.ip for interface in self.interfaces)

    def address(self, version: int) -> Address:
        """Its first address of IP version 4 or 6. Raises LookupError."""
        for found in self.addresses:
            if found.version == version:
                return found
        raise LookupError(f"{self.name} has no IPv{version} address")

    @property
    def routes(self) -> tuple[str, ...]:
        """`ip route` of both families, one line each."""
        lines = [line for v in ("-4", "-6") for line in self.run(["ip", v, "route"]).stdout.splitlines()]
        return tuple(line.strip() for line in lines)

    @property
    def mtu(self) -> int:
        shown = json.loads(self.run(["ip", "-json", "link", "show", "dev", INTERFACE]).stdout)
        return int(shown[0]["mtu"])

    @property
    def nameservers(self) -> tuple[str, ...]:
        text = self.resolver.read_text() if self.resolver.exists() else ""
        return tuple(line.split()[1] for line in text.splitlines() if line.startswith("nameserver "))

    # -- what it can do

    def ping(self, address: Address | str, deadline_s: float = 10.0) -> float | None:
        """Round-trip time in ms of the first echo that is answered before the deadline; None without one."""
        try:
            return until(f"{self.name}: echo from {address}", lambda: self._ping_once(str(address)), deadline_s)
        except NotInTime:
            return None

    def _ping_once(self, address: str) -> float | None:
        output = self.run(["ping", "-n", "-c", "1", "-W", "1", address]).stdout
        found = output.partition(" time=")[2].split(" ")[0]
        return float(found) if found else None

    def cannot_ping(self, address: Address | str, tries: int = 3) -> bool:
        """True when none of several echo requests is answered."""
        return all(self._ping_once(str(address)) is None for _ in range(tries))

    def socket(self, version: int = 4, kind: SocketKind = SOCK_STREAM) -> socket:
        """A socket of this machine, for IP version 4 or 6."""
        return socket_within(self.netns, _family(version), kind)

    def fetch(self, url: str, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None) -> Fetched:
        """HTTP GET of `http://ADDRESS[:PORT]/path` (an address, not a name; fe80::1%eth0 works). Raises OSError."""
        parts = urlsplit(url)
        host, _, zone = (parts.hostname or "").partition("%")
        with self.socket(6 if ":" in host else 4) as raw:
            raw.settimeout(timeout_s)
            raw.connect(self._sockaddr(host, parts.port or 80, zone))
            connection = http.client.HTTPConnection(host, parts.port or 80, timeout=timeout_s)
            connection.sock = raw
            query = f"?{parts.query}" if parts.query else ""
            connection.request("GET", (parts.path or "/") + query, headers=dict(headers or {}))
            answer = connection.getresponse()
            return Fetched(answer.status, dict(answer.getheaders()), answer.read())

    def ask_tcp(self, address: Address | str, port: int, payload: bytes, timeout_s: float = 5.0) -> bytes:
        """Connects, sends, and returns what comes back first. Raises OSError."""
        with self.socket(ipaddress.ip_address(address).version) as raw:
            raw.settimeout(timeout_s)
            raw.connect((str(address), port))
            raw.sendall(payload)
            return raw.recv(65536)

    def ask_udp(self, address: Address | str, port: int, payload: bytes, timeout_s: float = 2.0) -> bytes:
        """Sends one datagram and returns the first that comes back. Raises OSError."""
        with self.socket(ipaddress.ip_address(address).version, SOCK_DGRAM) as raw:
            raw.settimeout(timeout_s)
            raw.connect((str(address), port))
            raw.send(payload)
            return raw.recv(65536)

    def _sockaddr(self, host: str, port: int, zone: str) -> tuple[str, int] | tuple[str, int, int, int]:
        if not zone:
            return host, port
        index = self.run(["cat", f"/sys/class/net/{zone}/ifindex"]).stdout
        return host, port, 0, int(index)

    @property
    def exists(self) -> bool:
        return (NETNS_DIRECTORY / self.netns).exists()


def _family(version: int) -> AddressFamily:
    return AF_INET if version == 4 else AF_INET6
