"""A router's namespace with networks around it, and hosts whose packets prove what it does. Needs root.

Everything is in the caller's network namespace (a bridge per network) and in namespaces prefixed `astara-`;
`close` leaves nothing. Sockets are made inside a namespace by the thread that needs them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from astara.appliance.apply.engine import Engine
from astara.appliance.boundaries import Place
from astara.appliance.subsystems.kernel import kernel_subsystems
from astara.appliance.system import netns
from astara.contract.agent import ApplyReport, Deviation
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.drivers.router.appliance import RouterAppliance
from astara.drivers.router.schema import RouterSection
from astara.host.bodies.boundary import ApplyEngine
from support.segment import eventually, ip

_serial = itertools.count(1)
#: What differs between two equal states: progress of address detection, automatic handles, device indices.
_VOLATILE = re.compile(
    r"\btentative\b ?|\bindex \d+ ref \d+ bind \d+|^\d+: |@if\d+|if\d+|fh [0-9a-f:]+|order \d+|direct_packets_stat \d+",
    re.M,
)
#: The kernel's own: disciplines that do nothing, and link-local addresses, which come and go with the carrier.
_NOTHING = re.compile(r"^qdisc (noqueue|noop)|\bscope link\b")
QUIET_S = 0.4
PATIENT_S = 3.0


class Unseen:
    """Stands in for a daemon that this test is not about."""

    def __init__(self, name: str) -> None:
        self.name = name

    def render(self, place: Place, config: Any) -> Any:
        return config

    def check(self, place: Place, rendered: Any) -> None: ...

    def apply(self, place: Place, rendered: Any, previous: Any | None) -> bool:
        return False

    def read_back(self, place: Place, rendered: Any) -> Sequence[Deviation]:
        return ()

    def remove(self, place: Place) -> None: ...


def router_engine() -> Engine:
    return Engine((*kernel_subsystems(), Unseen("radvd")), {"router": RouterAppliance()})


class Server:
    """Accepts TCP connections, tells each who it seems to be, then echoes lines."""

    def __init__(self, place: Path, address: str, port: int, bound_source: tuple[str, int] | None = None) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.entered(place):
            self._listener = socket.create_server((address, port), family=family)
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self._start(self._serve, connection, peer[0])

    def _serve(self, connection: socket.socket, peer: str) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(f"{peer}\n".encode())
            while data := connection.recv(65536):
                connection.sendall(data)


class Connection:
    """A TCP connection of a host; `seen_as` is its source address in the server's eyes."""

    def __init__(self, place: Path, address: str, port: int, source: str | None, timeout_s: float) -> None:
        with netns.entered(place):
            self.socket = socket.create_connection(
                (address, port), timeout=timeout_s, source_address=(source, 0) if source else None
            )
        self.seen_as = self._line()

    def echo(self, words: str, timeout_s: float = PATIENT_S) -> bool:
        """Whether the far end answers on this very connection."""
        self.socket.settimeout(timeout_s)
        try:
            self.socket.sendall(f"{words}\n".encode())
            return self._line() == words
        except OSError:
            return False

    def _line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            more = self.socket.recv(1)
            if not more:
                raise ConnectionError("closed by the other side")
            line += more
        return line.decode().strip()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Host:
    """A machine on one network; its link is called eth0."""

    def __init__(self, terrain: Terrain, name: str) -> None:
        self._terrain = terrain
        self.name = name
        self.place = Path("/run/netns") / name

    def run(self, *argv: str) -> str:
        done = subprocess.run(["ip", "netns", "exec", self.name, *argv], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{argv}: {done.stdout}{done.stderr}")
        return done.stdout

    def serve(self, address: str, port: int) -> Server:
        server = Server(self.place, address, port)
        self._terrain.stack.callback(server.close)
        return server

    def connect(
        self, address: str, port: int, *, source: str | None = None, timeout_s: float = PATIENT_S
    ) -> Connection:
        """Connect; raises OSError when nothing answers."""
        return self._terrain.stack.enter_context(Connection(self.place, address, port, source, timeout_s))

    def seen_as(self, address: str, port: int, *, source: str | None = None) -> str | None:
        """Return the source address the server sees, None when nothing answers in time."""
        try:
            with Connection(self.place, address, port, source, QUIET_S * 3) as connection:
                return connection.seen_as
        except OSError:
            return None

    def reaches(self, address: str, port: int) -> bool:
        return self.seen_as(address, port) is not None

    def pings(self, address: str) -> bool:
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, "ping", "-n", "-c1", "-W1", address], capture_output=True, check=False
        )
        return done.returncode == 0


class Terrain:
    """Networks, hosts and one router. `push` applies a section with an ever newer generation."""

    def __init__(self, files: Path, engine: ApplyEngine | None = None) -> None:
        self.tag = f"{next(_serial):x}"
        self.stack = contextlib.ExitStack()
        self.engine = engine or router_engine()
        self.router = self._namespace("router")
        ip("-n", self.router, "link", "set", "lo", "up")
        self.place = Place(f"router{self.tag}", Path("/run/netns") / self.router, files)
        self._plugged = 0
        self._revision = itertools.count(1)
        self._networks: dict[str, str] = {}

    def close(self) -> None:
        self.stack.close()

    def push(self, section: RouterSection, revision: int | None = None) -> ApplyReport:
        generation = Generation(1, next(self._revision) if revision is None else revision)
        return self.engine.apply(self.place, document("router", generation, section))

    def network(self, name: str) -> str:
        """Return the bridge of a network, made on first use."""
        if name not in self._networks:
            bridge = f"ab{self.tag}{name}"
            ip("link", "add", "name", bridge, "type", "bridge", "mcast_snooping", "0")
            ip("link", "set", bridge, "addrgenmode", "none", "up")
            self.stack.callback(ip, "link", "del", bridge)
            self._networks[name] = bridge
        return self._networks[name]

    def adopt(self, name: str, bridge: str) -> None:
        """Let a network be a bridge that somebody else made and will remove."""
        self._networks[name] = bridge

    def plug(self, network: str) -> str:
        """Plug one more link of the router into a network and return its MAC address."""
        self._plugged += 1
        number = self._plugged
        mac = f"fa:16:3e:{int(self.tag, 16) % 256:02x}:00:{number:02x}"
        self._wire(network, self.router, f"x{number}", mac)
        return mac

    def host(self, name: str, network: str, *addresses: str, via: Sequence[str] = ()) -> Host:
        """Make a machine with these addresses (with prefix length) and default routes."""
        space = self._namespace(name)
        self._wire(network, space, "eth0", None)
        ip("-n", space, "link", "set", "lo", "up")
        for address in addresses:
            ip("-n", space, "addr", "add", address, "dev", "eth0", *(["nodad"] if ":" in address else []))
        ip("-n", space, "link", "set", "eth0", "up")
        for gateway in via:
            ip("-n", space, "route", "add", "default", "via", gateway)
        return Host(self, space)

    def kernel(self) -> str:
        """Return everything configured in the router's namespace, spelled so that equal means equal."""
        commands = (
            ["ip", "-o", "addr"],
            ["ip", "-4", "route", "show", "table", "all", "proto", "91"],
            ["ip", "-6", "route", "show", "table", "all", "proto", "91"],
            ["ip", "-4", "rule"],
            ["ip", "-6", "rule"],
            ["ip", "-6", "neigh", "show", "proxy"],
            ["tc", "qdisc"],
            *(["tc", "class", "show", "dev", name] for name in self._names()),
            *(["tc", "filter", "show", "dev", name] for name in self._names()),
            ["sysctl", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"],
        )
        lines = [*self.rules()]
        for command in commands:
            said = re.sub(_VOLATILE, "", self.inside(*command)).splitlines()
            lines += sorted(line for line in said if not _NOTHING.search(line))
        return "\n".join(lines)

    def rules(self) -> list[str]:
        """Return our nftables table, elements sorted."""
        listing = self.inside("nft", "-j", "list", "ruleset")
        items = [item for item in json.loads(listing)["nftables"] if "metainfo" not in item]
        ours = [item for item in items if next(iter(item.values())).get("table") == "astara"]
        return sorted(map(_spelled, ours)) or ["no table"]

    def _names(self) -> list[str]:
        """The router's own links; devices made for ingress limits have other names and come with `tc qdisc`."""
        return [f"x{number}" for number in range(1, self._plugged + 1)]

    def inside(self, *argv: str) -> str:
        """Run a program in the router's namespace."""
        return Host(self, self.router).run(*argv)

    def _namespace(self, name: str) -> str:
        space = f"astara-{name}-{self.tag}"
        ip("netns", "add", space)
        self.stack.callback(ip, "netns", "del", space)
        return space

    def _wire(self, network: str, space: str, inner: str, mac: str | None) -> None:
        outer = f"av{self.tag}{space.split('-')[1][:5]}{inner[-3:]}"[:15]
        address = ["address", mac] if mac else []
        ip("link", "add", "name", outer, "type", "veth", "peer", "name", inner, "netns", space, *address)
        self.stack.callback(_forget_link, outer)
        ip("link", "set", outer, "master", self.network(network), "addrgenmode", "none", "up")


def _spelled(item: dict[str, Any]) -> str:
    """One nftables object, without its handle and with its elements sorted."""
    ((kind, body),) = item.items()
    listed = sorted(json.dumps(element) for element in body.pop("elem", []))
    body.pop("handle", None)
    return f"{kind} {json.dumps(body, sort_keys=True)} {listed}"


def _forget_link(name: str) -> None:
    """Absence is success: the other end may have gone with its namespace."""
    with contextlib.suppress(RuntimeError):
        ip("link", "del", name)


@contextlib.contextmanager
def terrain(files: Path, engine: ApplyEngine | None = None) -> Iterator[Terrain]:
    place = Terrain(files, engine)
    try:
        yield place
    finally:
        place.close()


__all__ = ["Connection", "Host", "Server", "Terrain", "Unseen", "eventually", "router_engine", "terrain"]
