"""One keepalived per half of a pair."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from astara.appliance.boundaries import NotPlugged, Place, SubsystemError
from astara.appliance.subsystems import conntrackd
from astara.appliance.subsystems.daemon import Daemon, link_names, stopped
from astara.appliance.subsystems.gate import subsystem as gate
from astara.appliance.subsystems.keepalived.config import KeepalivedConfig
from astara.appliance.subsystems.keepalived.pace import Pace
from astara.appliance.subsystems.keepalived.render import LISTENS_FIRST_S, PATH_DEAD, Rendered
from astara.appliance.system import files, netns, processes
from astara.appliance.system.paths import Paths, Presence, Question
from astara.appliance.system.processes import Process
from astara.contract.agent import Deviation, Role

NAME = "keepalived"

_PROGRAM = "/usr/sbin/keepalived"
_SHELL = Path("/bin/sh")
_CONFIG = "keepalived.conf"
_CANDIDATE = "candidate.conf"
#: keepalived writes them; they must not be those of another keepalived of this machine.
_OWN_PID_FILES = ("parent.pid", "vrrp.pid")
_CHILD = "child.pid"
_CHILD_ENDS_WITHIN_S = 3.0


class KeepalivedSubsystem:
    """Rendered form: the wish, links still by MAC address."""

    name = NAME

    def __init__(self, program: str = _PROGRAM, paths: Paths | None = None, pace: Pace | None = None) -> None:
        self._program = program
        self._pace = pace or Pace()
        self._paths = paths or Paths()
        #: When those that were started here will have listened long enough (monotonic), by instance.
        self._listening: dict[str, tuple[Process, float]] = {}

    def render(self, place: Place, config: KeepalivedConfig) -> Rendered:
        """Return what keepalived.conf shall say, links still by MAC address."""
        paced = replace(config, advert_ms=self._pace.advert_ms(config.advert_ms))
        return Rendered(paced, conntrackd.script(place), _path_file(place), _SHELL.resolve())

    def check(self, place: Place, rendered: Rendered) -> None:
        """Let keepalived judge the text, inside, where the links are. Raises SubsystemError(phase="check")."""
        text = self._text(place, rendered, "check")
        daemon = self._daemon(place)
        process = daemon.running(place)
        if process is not None and daemon.has_loaded(process, text):
            return
        daemon.prepare(place)
        candidate = daemon.directory / _CANDIDATE  # it reads regular files only
        files.replace(candidate, text)
        try:
            status, words = processes.run(place.netns, [self._program, "--config-test", "-f", str(candidate)])
        except (OSError, TimeoutError) as error:
            raise SubsystemError(NAME, "check", f"cannot ask {self._program}: {error}") from error
        finally:
            files.remove(candidate)
        if status != 0:
            raise SubsystemError(NAME, "check", " ".join(words.split()).replace(str(candidate), _CONFIG))

    def apply(self, place: Place, rendered: Rendered, previous: Rendered | None) -> bool:
        """Write what differs and let keepalived read it, which changes no role.

        Raises:
            SubsystemError(phase="apply"): it does not run. OSError: files.
        """
        daemon = self._daemon(place)
        daemon.prepare(place)
        self._watch_paths(place, rendered)
        text = self._text(place, rendered, "apply")
        process = daemon.running(place)
        if process is not None and daemon.has_loaded(process, text) and not stopped(process):
            return False
        files.replace_if_different(daemon.directory / _CONFIG, text)
        if process is None or stopped(process) or not daemon.reload(process):
            process = self._start(place, daemon)
        daemon.note_loaded(process, text)
        return True

    def await_ready(self, place: Place) -> None:
        """Until it has listened it takes over from nobody, whatever becomes of the other half."""
        process, until = self._listening.get(place.instance_id, (None, 0.0))
        if process is not None and (left_s := until - time.monotonic()) > 0:
            processes.wait(process, left_s)

    def read_back(self, place: Place, rendered: Rendered) -> Sequence[Deviation]:
        """Ask the process, and what it has loaded."""
        return [Deviation(subsystem=NAME, detail=detail) for detail in self._differences(place, rendered)]

    def remove(self, place: Place) -> None:
        """End it: its goodbye makes the other half the active one at once."""
        daemon = self._daemon(place)
        daemon.stop()
        self._end_child(place, daemon)
        self._paths.forget(_path_file(place))
        self._listening.pop(place.instance_id, None)
        daemon.remove()

    def _differences(self, place: Place, rendered: Rendered) -> Iterator[str]:
        daemon = self._daemon(place)
        process = daemon.running(place)
        if process is None:
            yield "does not run"
            return
        daemon.trim_log()
        self._watch_paths(place, rendered)  # a restarted agent asks again
        yield from daemon.differences(process, _CONFIG, self._text(place, rendered, "read-back"))

    def _watch_paths(self, place: Place, rendered: Rendered) -> None:
        names = link_names(place)
        wish = rendered.config
        asked = [Question(names[hop.mac], hop.address, wish.heart) for hop in wish.nexthops if hop.mac in names]
        said = [
            Presence(names[one.mac], one.mac, wish.heart)
            for one in wish.markers
            if one.mac in names and one.mac != wish.heart
        ]
        # Worth as much as the other half again, it might win when they hear each other, with connections of long ago.
        held = partial(_stands_back, place)
        self._paths.watch(place.netns, asked, rendered.path_file, PATH_DEAD, said, held)

    def _text(self, place: Place, rendered: Rendered, phase: str) -> str:
        names = link_names(place)
        if rendered.config.heart not in names:
            raise NotPlugged(NAME, phase, [rendered.config.heart])
        return rendered.text(names)

    def _daemon(self, place: Place) -> Daemon:
        directory = place.files / NAME
        parent, vrrp = (str(directory / name) for name in _OWN_PID_FILES)
        flags = ("--dont-fork", "--log-console", "--vrrp", "-p", parent, "-r", vrrp)
        return Daemon(directory, (self._program, *flags, "-f", str(directory / _CONFIG)))

    def _start(self, place: Place, daemon: Daemon) -> Process:
        daemon.stop()
        self._end_child(place, daemon)
        for name in _OWN_PID_FILES:
            files.remove(daemon.directory / name)
        process = daemon.start_until(place, lambda: _child(daemon.directory) is not None)
        self._listening[place.instance_id] = process, time.monotonic() + LISTENS_FIRST_S
        if (child := _child(daemon.directory)) is not None:
            _before_all_others(process.pid, int(child))
        return process

    def _end_child(self, place: Place, daemon: Daemon) -> None:
        """Its parent tells it to end, but one that was stopped would hear of it only when it speaks again."""
        pid = _child(daemon.directory)
        process = processes.running(int(pid)) if pid is not None and pid.isdigit() else None
        if process is None:
            return
        remembered = daemon.directory / _CHILD
        processes.remember(process, remembered)
        child = processes.find(place.netns, remembered, daemon.argv) if netns.exists(place.netns) else None
        files.remove(remembered)
        if child is not None and processes.send(child, signal.SIGKILL):
            processes.wait(child, _CHILD_ENDS_WITHIN_S)


def _stands_back(place: Place) -> bool:
    return gate.role_in(place.netns) is Role.YIELDING


def _before_all_others(parent: int, child: int) -> None:
    """Who is not scheduled for three intervals loses an election: on a busy node, pairs would change all the time.

    Not by keepalived's own means: after a reload it ends itself by the limit that comes with them (2.2.7). A child that
    takes the place of this one inherits it; scripts do not. Where we may not, it has to do without.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(parent, os.SCHED_RR, os.sched_param(1))
        os.sched_setscheduler(child, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def _path_file(place: Place) -> Path:
    return place.files / NAME / "path"


def _child(directory: Path) -> str | None:
    """The process that speaks VRRP writes this file when it is set up."""
    return (files.read(directory / _OWN_PID_FILES[1]) or b"").decode().strip() or None
