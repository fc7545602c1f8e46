"""A lab's pod: network, mount, pid and uts namespaces of its own, held by one init process.

Everything of the lab runs as a descendant of that init, so ending it (even by SIGKILL) ends all of it, and the
kernel takes links, namespaces and mounts with it. Nothing shows up in the machine's own /run/netns.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from astara_lab.namespaces import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, enter_process
from astara_lab.places import ADMIN_SOCKET, CONTROL_SOCKET, POD_MARKER, Lab
from astara_lab.waiting import NotInTime, until

_KINDS = (("net", CLONE_NEWNET), ("uts", CLONE_NEWUTS), ("pid", CLONE_NEWPID), ("mnt", CLONE_NEWNS))


class PodError(Exception):
    """The pod could not be made or is not there; the message says what to do."""


class Identity(msgspec.Struct, frozen=True):
    """Process id of the pod's init as seen outside, and its start time: ids are used again, the pair is not."""

    pid: int
    started: int  # clock ticks after boot, field 22 of /proc/PID/stat


@dataclass(frozen=True)
class Pod:
    lab: Lab

    @property
    def _record(self) -> Path:
        return self.lab.run / "pod.json"

    def identity(self) -> Identity | None:
        """The running init, or None when the pod does not run."""
        if Path(POD_MARKER).is_file() and Path(POD_MARKER).read_text() == str(self.lab.root):
            return Identity(1, 0)
        try:
            known = msgspec.json.decode(self._record.read_bytes(), type=Identity)
        except (OSError, msgspec.MsgspecError):
            return None
        return known if known.started == _start_time(known.pid) else None

    def start(self, *, tied_to_caller: bool = False) -> bool:
        """Makes the pod unless it runs; True when it was made now.

        `tied_to_caller` ends the pod when the calling process ends, however it ends.
        """
        if self.identity():
            return False
        if os.geteuid() != 0:
            raise PodError("a lab needs root: it makes network namespaces (run it as root or with sudo)")
        self.lab.make_directories()
        for stale in self.lab.hosts.glob("*"):
            stale.unlink()
        outer = self._spawn(tied_to_caller)
        try:
            pid = until("the pod's init process", lambda: _only_child(outer), 10.0, 0.01)
            self._record.write_bytes(msgspec.json.encode(Identity(pid, _start_time(pid) or 0)))
            self._show_admin_socket(pid)
            control = Path(f"/proc/{pid}/root{CONTROL_SOCKET}")
            until("the pod's control socket", lambda: control.exists() or _ended(outer), 10.0, 0.01)
        except NotInTime as slow:
            os.kill(outer, signal.SIGKILL)
            raise PodError(f"{slow}; see {self.lab.log / 'pod.log'}") from slow
        if not control.exists():
            raise PodError(f"the pod ended at once; its last words in {self.lab.log / 'pod.log'}")
        return True

    def _spawn(self, tied_to_caller: bool) -> int:
        """Starts unshare(1), which stays as the parent of the pod's init; returns its process id."""
        unshare = ["unshare", "--net", "--mount", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]
        tie = ["setpriv", "--pdeathsig", "KILL"] if tied_to_caller else []
        argv = [*tie, *unshare, "--wd=/", "--", sys.executable, "-m", "astara_lab.init", str(self.lab.root)]
        log = str(self.lab.log / "pod.log")
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        return os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions, setsid=True)

    def _show_admin_socket(self, pid: int) -> None:
        """Where `astara` looks for a lab from outside: the socket itself lies in the pod's private /run."""
        link = self.lab.run / ADMIN_SOCKET.name
        link.unlink(missing_ok=True)
        link.symlink_to(f"/proc/{pid}/root{ADMIN_SOCKET}")

    def enter(self) -> None:
        """Continues the calling program inside the pod.

        The caller's process stays behind, waits, and ends with the status of the part that went in. Call it before
        any thread is started. Does nothing inside the pod.
        """
        found = self.identity()
        if found is None:
            raise PodError(f"lab {self.lab.profile} does not run; start it: astara lab up --profile {self.lab.profile}")
        if found.pid == 1:
            return
        here = Path.cwd()
        sys.stdout.flush()
        sys.stderr.flush()
        enter_process(found.pid, _KINDS)
        os.chdir(here if here.is_dir() else "/")
        child = os.fork()
        if child:
            os._exit(_wait_for(child))

    def stop(self) -> bool:
        """Ends the pod and everything in it; True when it ran."""
        found = self.identity()
        if found is None:
            self._record.unlink(missing_ok=True)
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGKILL)
        until("the end of the pod", lambda: _start_time(found.pid) != found.started, 20.0, 0.01)
        self._record.unlink(missing_ok=True)
        return True

    def purge(self) -> None:
        """Deletes everything the lab wrote. The pod must have ended."""
        shutil.rmtree(self.lab.root, ignore_errors=True)
        if self.lab.root.parent.name == ".lab":
            with contextlib.suppress(OSError):
                self.lab.root.parent.rmdir()


def _wait_for(child: int) -> int:
    """Waits, leaving Ctrl-C to the child, and answers the exit status a shell would."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for passed_on in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(passed_on, lambda number, _frame: os.kill(child, number))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat; None for a process that is gone or only waits to be collected."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _ended(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG) != (0, 0)
    except ChildProcessError:
        return True


def _only_child(pid: int) -> int | None:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None
