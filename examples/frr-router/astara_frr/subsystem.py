"""FRR as an engine of static routes: zebra and staticd of one instance, steered through vtysh(1)."""

from __future__ import annotations

import json
import os
import pwd
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems import unprivileged
from astara.appliance.subsystems.daemon import Daemon
from astara.appliance.system import files, processes
from astara.contract.agent import Deviation

NAME = "frr"
_ACCOUNT = "frr"
_PROGRAMS = Path("/usr/lib/frr")
_SHELL = "/usr/bin/vtysh"
#: In order of start; zebra brings what staticd decides into the kernel.
_DAEMONS = ("zebra", "staticd")
_ZEBRA_CONF = "log stdout informational\n"
_LOOK_EVERY_S, _PATIENCE_S = 0.02, 5.0


@dataclass(frozen=True, slots=True)
class StaticRoute:
    destination: IPv4Network | IPv6Network
    nexthop: IPv4Address | IPv6Address

    @property
    def line(self) -> str:
        """As FRR writes it in its configuration: of parsed addresses, so nothing here can carry syntax."""
        return f"{'ip' if self.destination.version == 4 else 'ipv6'} route {self.destination} {self.nexthop}"


@dataclass(frozen=True, slots=True)
class FrrConfig:
    routes: tuple[StaticRoute, ...] = ()


class FrrSubsystem:
    """Entry point `astara.subsystems: frr`. Rendered are the lines of staticd's configuration, sorted."""

    name = NAME

    def render(self, place: Place, config: FrrConfig) -> tuple[str, ...]:
        return tuple(sorted(route.line for route in config.routes))

    def check(self, place: Place, rendered: tuple[str, ...]) -> None:
        """Let FRR's shell judge the lines. Raises SubsystemError(phase="check") with its words."""
        argv = [_SHELL, "--vty_socket", "/nonexistent", "-C", "-f", "/dev/stdin"]
        try:
            status, said = processes.run(None, argv, stdin="".join(f"{line}\n" for line in rendered).encode())
        except (OSError, TimeoutError) as error:
            raise SubsystemError(
                NAME, "check", f"cannot ask {_SHELL}: {error}", remedy="put FRR into the image"
            ) from error
        if status != 0:
            raise SubsystemError(NAME, "check", " ".join(said.split()))

    def apply(self, place: Place, rendered: tuple[str, ...], previous: tuple[str, ...] | None) -> bool:
        """Start what does not run, then tell it the difference. Raises SubsystemError(phase="apply"), OSError."""
        started = [self._ensure(place, name) for name in _DAEMONS]
        before = set(self._lines(place))
        commands = [f"no {line}" for line in sorted(before - set(rendered))]
        commands += [line for line in rendered if line not in before]
        if commands:
            self._tell(place, "staticd", "configure terminal", *commands)
        if not _within(lambda: not self._uninstalled(place, rendered)):
            missing = ", ".join(self._uninstalled(place, rendered))
            raise SubsystemError(
                NAME, "apply", f"zebra does not install: {missing}", remedy="see its log in the instance"
            )
        return bool(commands) or any(started)

    def read_back(self, place: Place, rendered: tuple[str, ...]) -> Sequence[Deviation]:
        """Ask the processes, staticd for its lines and zebra for what is in the kernel."""
        stopped = [name for name in _DAEMONS if _daemon(place, name).running(place) is None]
        if stopped:
            return [Deviation(subsystem=NAME, detail=f"{name} does not run") for name in stopped]
        try:
            lines = set(self._lines(place))
            details = [f"{line}: not configured" for line in rendered if line not in lines]
            details += [f"{line}: not ours" for line in sorted(lines - set(rendered))]
            details += [f"{line}: not in the kernel" for line in self._uninstalled(place, rendered)]
        except SubsystemError as error:
            details = [str(error)]
        return [Deviation(subsystem=NAME, detail=detail) for detail in dict.fromkeys(details)]

    def remove(self, place: Place) -> None:
        """End both; zebra takes its routes out of the kernel as it goes. Absence is success."""
        for name in reversed(_DAEMONS):
            _daemon(place, name).remove()
        files.remove_directory(place.files / NAME)

    # How

    def _ensure(self, place: Place, name: str) -> bool:
        """Have the daemon run and listen; return whether it was started."""
        daemon = _daemon(place, name)
        if daemon.running(place) is not None:
            return False
        daemon.prepare(place)
        _make_room(place)
        files.replace(daemon.directory / "frr.conf", _ZEBRA_CONF if name == "zebra" else "", unprivileged.FILE_MODE)
        files.remove(_room(place) / f"{name}.vty")
        process = daemon.start(place)
        if not _within(lambda: (_room(place) / f"{name}.vty").exists() or not processes.alive(process)):
            raise SubsystemError(NAME, "apply", f"{name} does not listen: {daemon.last_words()}")
        if not processes.alive(process):
            remedy = processes.remedy_for_start(place.netns)
            raise SubsystemError(NAME, "apply", f"{name} ended at once: {daemon.last_words()}", remedy=remedy)
        return True

    def _lines(self, place: Place) -> list[str]:
        said = self._tell(place, "staticd", "show running-config")
        return [line for line in said.splitlines() if line.startswith(("ip route ", "ipv6 route "))]

    def _uninstalled(self, place: Place, rendered: tuple[str, ...]) -> list[str]:
        """Return the lines whose route zebra has not brought into the kernel."""
        installed: set[tuple[str, str]] = set()
        for family in ("ip", "ipv6"):
            table = json.loads(self._tell(place, "zebra", f"show {family} route static json") or "{}")
            for destination, ways in table.items():
                hops = [hop for way in ways if way.get("installed") for hop in way["nexthops"]]
                installed |= {(destination, hop.get("ip", "")) for hop in hops if hop.get("fib")}
        return [line for line in rendered if tuple(line.split()[2:4]) not in installed]

    def _tell(self, place: Place, daemon: str, *commands: str) -> str:
        """Raises SubsystemError(phase="apply") with FRR's words."""
        words = [word for command in commands for word in ("-c", command)]
        argv = [_SHELL, "--vty_socket", str(_room(place)), "-d", daemon, *words]
        try:
            status, said = processes.run(None, argv)
        except (OSError, TimeoutError) as error:
            raise SubsystemError(NAME, "apply", f"cannot ask {daemon}: {error}") from error
        if status != 0:
            raise SubsystemError(NAME, "apply", f"{daemon}: {' '.join(said.split())}")
        return said


def _daemon(place: Place, name: str) -> Daemon:
    directory, room = place.files / NAME / name, _room(place)
    argv = [
        str(_PROGRAMS / name),
        *("-u", _ACCOUNT, "-g", _ACCOUNT, "-f", str(directory / "frr.conf")),
        *("-i", str(room / f"{name}.pid"), "-z", str(room / "zserv"), "--vty_socket", str(room)),
        *("-A", "127.0.0.1", "-P", "0"),  # no port: vtysh speaks through a file
    ]
    return Daemon(directory, tuple(argv))


def _room(place: Place) -> Path:
    """Where the daemons, under their account, put what they are spoken to through."""
    return place.files / NAME / "run"


def _make_room(place: Place) -> None:
    files.ensure_directory(place.files / NAME, unprivileged.DIRECTORY_MODE)
    files.ensure_directory(_room(place), unprivileged.DIRECTORY_MODE)
    account = pwd.getpwnam(_ACCOUNT)
    os.chown(_room(place), account.pw_uid, account.pw_gid)


def _within(reached: Callable[[], bool]) -> bool:
    pause = threading.Event()
    for _ in range(int(_PATIENCE_S / _LOOK_EVERY_S)):
        if reached():
            return True
        pause.wait(_LOOK_EVERY_S)
    return reached()
