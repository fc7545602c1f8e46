"""One daemon in the foreground of one instance: running with what it should have loaded, or not at all.

A restarted agent finds it by its pid file; what it has loaded is written beside it after the fact, so that an agent
killed half way sees the difference and does it again.
"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from astara.appliance.boundaries import Place, SubsystemError
from astara.appliance.subsystems import unprivileged
from astara.appliance.system import files, netlink, netns, processes, rtnetlink
from astara.appliance.system.processes import Process

_STOP_DEADLINE_S = 1.0
_LOG_BYTES = 262144
_LAST_WORDS_BYTES = 600
_LOOK_S = 0.001
_LOOKS = 3000


@dataclass(frozen=True, slots=True)
class Daemon:
    """`directory`, called as the daemon is, holds everything of it; `argv` is its command line."""

    directory: Path
    argv: tuple[str, ...]

    @property
    def pid_file(self) -> Path:
        return self.directory / "daemon.pid"

    @property
    def log_file(self) -> Path:
        return self.directory / "log"

    @property
    def _loaded_file(self) -> Path:
        return self.directory / "loaded"

    def prepare(self, place: Place) -> None:
        """Make the directory, passable for the account the daemon runs under."""
        for directory in (place.files, self.directory):
            files.ensure_directory(directory, unprivileged.DIRECTORY_MODE)
            directory.chmod(unprivileged.DIRECTORY_MODE)

    def running(self, place: Place) -> Process | None:
        """Return the process if it runs, in this namespace, with this command line."""
        return processes.find(place.netns, self.pid_file, self.argv)

    def start(self, place: Place) -> Process:
        """End what runs, start anew. Raises OSError."""
        self.stop()
        files.remove(self.log_file)
        return processes.start(place.netns, self.pid_file, self.argv, log_file=self.log_file)

    def start_until(self, place: Place, ready: Callable[[], bool]) -> Process:
        """Start anew and wait, three seconds at most, until it says that it has read its file.

        Raises:
            SubsystemError(phase="apply"): it ended, or says nothing. OSError.
        """
        name = self.directory.name
        process = self.start(place)
        for _ in range(_LOOKS):
            if processes.wait(process, _LOOK_S):
                words = f"ended at once: {self.last_words()}"
                raise SubsystemError(name, "apply", words, remedy=processes.remedy_for_start(place.netns))
            if ready():
                return process
        raise SubsystemError(name, "apply", f"is not ready after {_LOOKS * _LOOK_S:g} s: {self.last_words()}")

    def differences(self, process: Process, config: str, text: str) -> Iterator[str]:
        """Say in what it is not as it should be: its file `config` says `text`, it has read that, it is not stopped."""
        if files.read(self.directory / config) != text.encode():
            yield f"{config} differs"
        elif not self.has_loaded(process, text):
            yield "has not read its file"
        if stopped(process):
            yield "is stopped"

    def reload(self, process: Process) -> bool:
        """Let it read its files again; False when it is gone."""
        return processes.send(process, signal.SIGHUP)

    def stop(self) -> None:
        """End it; absence is success."""
        files.remove(self._loaded_file)
        processes.stop(self.pid_file, _STOP_DEADLINE_S)

    def remove(self) -> None:
        """End it and take its directory away; absence is success."""
        self.stop()
        files.remove_directory(self.directory)

    def has_loaded(self, process: Process, content: str) -> bool:
        """Whether this very process was told to load `content`."""
        return files.read(self._loaded_file) == _loaded(process, content)

    def note_loaded(self, process: Process, content: str) -> None:
        files.replace(self._loaded_file, _loaded(process, content))

    def last_words(self) -> str:
        """Return the end of what it said, in one line."""
        said = (files.read(self.log_file) or b"")[-_LAST_WORDS_BYTES:].decode(errors="replace")
        return "; ".join(line for line in said.splitlines() if line) or "it said nothing"

    def trim_log(self) -> None:
        """Keep tenants from filling the disk through what their packets make the daemon say."""
        if self.log_file.exists() and self.log_file.stat().st_size > _LOG_BYTES:
            os.truncate(self.log_file, 0)


def link_names(place: Place) -> dict[str, str]:
    """Return MAC address -> current link name inside. Raises NetnsGone, NetlinkError."""
    with netns.entered(place.netns), netlink.Netlink() as kernel:
        return {mac: link.name for mac, link in rtnetlink.by_mac(rtnetlink.seen_links(kernel)).items()}


def stopped(process: Process) -> bool:
    """Whether somebody stopped the process: the one way for a quiet daemon to hang that shows from outside."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text()
    except OSError:
        return True
    return stat[stat.rindex(")") + 2] in "Tt"


def _loaded(process: Process, content: str) -> bytes:
    return f"{hashlib.sha256(content.encode()).hexdigest()} {process.pid} {process.started}\n".encode()
