"""One conntrackd per half of a pair."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from astara.appliance.boundaries import NotPlugged, Place, SubsystemError
from astara.appliance.subsystems.conntrackd import NAME, script
from astara.appliance.subsystems.conntrackd.config import ConntrackdConfig
from astara.appliance.subsystems.conntrackd.render import Rendered
from astara.appliance.subsystems.daemon import Daemon, link_names, stopped
from astara.appliance.system import files, processes
from astara.appliance.system.processes import Process
from astara.contract.agent import Deviation

_PROGRAM = "/usr/sbin/conntrackd"
_CONFIG = "conntrackd.conf"
#: A unix socket's name has 107 bytes, and state directories may be deep.
_SOCKETS = Path("/run/astara-node")
#: It says so after its parser has accepted the whole file: there is no dry run, but a question to nobody is one.
_PARSED = "can't connect"
#: It goes on without: then nothing passes its filter when it reads the kernel's table, and a half that took over tells
#: the next one of no connection it had from the one before.
_NAMELESS = "getprotobyname() cannot find protocol"


class ConntrackdSubsystem:
    """Rendered form: the wish, links still by MAC address."""

    name = NAME

    def __init__(self, program: str = _PROGRAM) -> None:
        self._program = program

    def render(self, place: Place, config: ConntrackdConfig) -> Rendered:
        """Return what conntrackd.conf shall say, the link still by MAC address."""
        return Rendered(config, place.files / NAME, _socket(place))

    def check(self, place: Place, rendered: Rendered) -> None:
        """Let conntrackd's parser judge the text. Raises SubsystemError(phase="check") with its words."""
        text = self._text(place, rendered, "check")
        daemon = self._daemon(place)
        process = daemon.running(place)
        if process is not None and daemon.has_loaded(process, text):
            return
        nobody = text.replace(str(rendered.socket), f"{rendered.socket}.none")
        try:
            argv = [self._program, "-C", "/dev/stdin", "-s"]
            _, words = processes.run(place.netns, argv, stdin=nobody.encode())
        except (OSError, TimeoutError) as error:
            raise SubsystemError(NAME, "check", f"cannot ask {self._program}: {error}") from error
        if _NAMELESS in words:
            raise SubsystemError(NAME, "check", "it knows no protocol by name: install netbase, for /etc/protocols")
        if _PARSED not in words:
            raise SubsystemError(NAME, "check", " ".join(words.split()))

    def apply(self, place: Place, rendered: Rendered, previous: Rendered | None) -> bool:
        """It cannot read its file again: what differs is a new start, which fetches everything from the other half.

        Raises:
            SubsystemError(phase="apply"): it does not run. OSError: files.
        """
        daemon = self._daemon(place)
        daemon.prepare(place)
        files.replace_if_different(script(place), rendered.script(self._program))
        text = self._text(place, rendered, "apply")
        process = daemon.running(place)
        if process is not None and daemon.has_loaded(process, text) and not stopped(process):
            return False
        files.replace_if_different(daemon.directory / _CONFIG, text)
        process = self._start(place, daemon, rendered)
        daemon.note_loaded(process, text)
        self._remind(place)
        return True

    def read_back(self, place: Place, rendered: Rendered) -> Sequence[Deviation]:
        """Ask the process, and what it has loaded."""
        return [Deviation(subsystem=NAME, detail=detail) for detail in self._differences(place, rendered)]

    def remove(self, place: Place) -> None:
        self._daemon(place).remove()
        files.remove(_socket(place))

    def _differences(self, place: Place, rendered: Rendered) -> Iterator[str]:
        daemon = self._daemon(place)
        process = daemon.running(place)
        if process is None:
            yield "does not run"
            return
        daemon.trim_log()
        yield from daemon.differences(process, _CONFIG, self._text(place, rendered, "read-back"))
        if files.read(script(place)) != rendered.script(self._program).encode():
            yield "the script for changes of role differs"

    def _text(self, place: Place, rendered: Rendered, phase: str) -> str:
        names = link_names(place)
        if rendered.config.heart not in names:
            raise NotPlugged(NAME, phase, [rendered.config.heart])
        return rendered.text(names)

    def _daemon(self, place: Place) -> Daemon:
        directory = place.files / NAME
        return Daemon(directory, (self._program, "-C", str(directory / _CONFIG)))

    def _start(self, place: Place, daemon: Daemon, rendered: Rendered) -> Process:
        files.ensure_directory(_SOCKETS)
        daemon.stop()
        files.remove(rendered.socket)
        files.remove(rendered.directory / "lock")
        return daemon.start_until(place, rendered.socket.exists)

    def _remind(self, place: Place) -> None:
        """It has read the kernel's connections as its own; the half that stands by has none."""
        try:
            processes.run(place.netns, ["/bin/sh", str(script(place)), "again"])
        except (OSError, TimeoutError) as error:
            raise SubsystemError(NAME, "apply", f"cannot be told its role: {error}") from error


def _socket(place: Place) -> Path:
    return _SOCKETS / f"conntrackd-{hashlib.sha256(str(place.files).encode()).hexdigest()[:16]}"
