"""One radvd per instance that has something to advertise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Network
from pathlib import Path

import structlog

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems import unprivileged
from astara.appliance.subsystems.daemon import Daemon, link_names, stopped
from astara.appliance.subsystems.radvd import goodbye
from astara.appliance.subsystems.radvd.config import RadvdConfig
from astara.appliance.subsystems.radvd.goodbye import Router
from astara.appliance.subsystems.radvd.render import Rendered, render
from astara.appliance.system import files, processes
from astara.appliance.system.processes import Process
from astara.contract.agent import Deviation

NAME = "radvd"

_log = structlog.get_logger()

_PROGRAM = "/usr/sbin/radvd"
_ACCOUNT = "radvd"
_CONFIG = "radvd.conf"
#: radvd writes it when it has read its configuration.
_OWN_PID_FILE = "radvd.pid"
_INTERFACE = re.compile(r"^interface (\S+) \{$|^  prefix (\S+) \{$", re.MULTILINE)
#: Longer than the interval between advertisements: it stays a default router until radvd speaks again.
_ROUTER_LIFETIME_S = 300


class RadvdSubsystem:
    """Rendered is None when there is nothing to advertise."""

    name = NAME

    def __init__(self, program: str = _PROGRAM) -> None:
        self._program = program

    def render(self, place: Place, config: RadvdConfig) -> Rendered | None:
        """Return what radvd.conf shall say, links still by MAC address."""
        return render(config)

    def check(self, place: Place, rendered: Rendered | None) -> None:
        """Let radvd judge the text. Raises SubsystemError(phase="check") with its words."""
        if rendered is None:
            return
        names = {link.mac: f"link{index}" for index, link in enumerate(rendered.links)} | link_names(place)
        text = rendered.text(names)
        process = self._daemon(place).running(place)
        if process is not None and self._daemon(place).has_loaded(process, text):
            return
        argv = [self._program, "-c", "-m", "stderr", "-C", "/dev/stdin"]
        try:
            status, words = processes.run(None, argv, stdin=text.encode())
        except (OSError, TimeoutError) as error:
            raise SubsystemError(NAME, "check", f"cannot ask {self._program}: {error}") from error
        if status != 0:
            raise SubsystemError(NAME, "check", " ".join(words.split()))

    def apply(self, place: Place, rendered: Rendered | None, previous: Rendered | None) -> bool:
        """Write what differs and let radvd read it; say goodbye for what it no longer announces.

        Raises:
            SubsystemError(phase="apply"): it does not run. OSError: files.
        """
        if rendered is None:
            return self._stop(place)
        daemon = self._daemon(place)
        daemon.prepare(place)
        text = rendered.text(link_names(place))
        before = (files.read(self._config(place)) or b"").decode()
        process = daemon.running(place)
        if process is not None and before == text and daemon.has_loaded(process, text) and not stopped(process):
            return False
        files.replace_if_different(self._config(place), text, unprivileged.FILE_MODE)
        if process is None or stopped(process) or not daemon.reload(process):
            process = self._start(place, daemon)
        daemon.note_loaded(process, text)
        self._say_goodbye(place, rendered, before, text)
        return True

    def read_back(self, place: Place, rendered: Rendered | None) -> Sequence[Deviation]:
        """Ask the process, and what it has loaded."""
        return [Deviation(subsystem=NAME, detail=detail) for detail in self._differences(place, rendered)]

    def remove(self, place: Place) -> None:
        """End it (its last advertisement says so to the hosts) and take its files away."""
        self._daemon(place).remove()

    def _differences(self, place: Place, rendered: Rendered | None) -> Iterator[str]:
        daemon = self._daemon(place)
        process = daemon.running(place)
        if rendered is None:
            if process is not None:
                yield "runs with nothing to advertise"
        elif process is None:
            yield "does not run"
        else:
            daemon.trim_log()
            yield from daemon.differences(process, _CONFIG, rendered.text(link_names(place)))

    def _daemon(self, place: Place) -> Daemon:
        directory = place.files / NAME
        account = unprivileged.account(_ACCOUNT, place.files)
        argv = [self._program, "--nodaemon", "-C", str(directory / _CONFIG), "-p", str(directory / _OWN_PID_FILE)]
        return Daemon(directory, (*argv, "-m", "stderr", *(["-u", account] if account != unprivileged.ROOT else [])))

    def _config(self, place: Place) -> Path:
        return place.files / NAME / _CONFIG

    def _start(self, place: Place, daemon: Daemon) -> Process:
        files.remove(daemon.directory / _OWN_PID_FILE)
        return daemon.start_until(place, lambda: bool(files.read(daemon.directory / _OWN_PID_FILE)))

    def _stop(self, place: Place) -> bool:
        daemon = self._daemon(place)
        ran = daemon.running(place) is not None
        daemon.remove()
        return ran

    def _say_goodbye(self, place: Place, rendered: Rendered, before: str, now: str) -> None:
        names = link_names(place)
        routers = {
            names[link.mac]: Router(_ROUTER_LIFETIME_S, link.managed, link.other)
            for link in rendered.links
            if link.mac in names
        }
        kept = _announced(now)
        for link, prefixes in _announced(before).items():
            gone = prefixes - kept.get(link, frozenset())
            if not gone:
                continue
            try:
                goodbye.send(place.netns, link, sorted(gone), routers.get(link, Router()))
            except OSError as error:  # the link went with it: nobody hears us
                _log.info("radvd_goodbye_unsent", instance=place.instance_id, link=link, error=error.strerror)


def _announced(text: str) -> Mapping[str, frozenset[IPv6Network]]:
    """Read back link -> prefixes from a radvd.conf of ours."""
    found: dict[str, frozenset[IPv6Network]] = {}
    link = ""
    for match in _INTERFACE.finditer(text):
        if match[1]:
            link = match[1]
            found[link] = frozenset()
        else:
            found[link] |= {IPv6Network(match[2])}
    return found
