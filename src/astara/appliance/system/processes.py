"""Daemons inside a namespace that outlive the agent, and finding them again.

A daemon runs in the foreground of a session of its own; when the agent dies it becomes init's child and keeps
serving. What it is, is written to `<name>.pid`; a restarted agent believes that file only if the process is the
same one (start time), runs the same command line and sits in the same network namespace. An agent killed between
starting it and writing that file has left `<name>.starting` with the command line, by which `stop` finds it.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from astara.appliance.system import files, netns

_STOP_DEADLINE_S = 5.0
#: Children seen to have ended that could not be buried at that moment.
_ended: set[int] = set()


@dataclass(frozen=True, slots=True)
class Process:
    """A running daemon of ours. `started` is the kernel's start time in ticks: a reused pid has another one."""

    pid: int
    started: int


def start(
    place_netns: Path | None,
    pid_file: Path,
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    log_file: Path | None = None,
) -> Process:
    """Start `argv` detached inside the namespace and remember it in `pid_file`.

    Output goes to `log_file` (appended; created 0600) or nowhere. Does not wait for readiness.

    Raises:
        OSError: the program does not exist or cannot be executed; NetnsGone: no such namespace.
    """
    _reap_ended()
    if (before := remembered(pid_file)) is not None:
        alive(before)  # nobody will speak of it any more
    files.replace(_intention(pid_file), "\0".join(argv))
    output = _open_log(log_file)
    try:
        with netns.entered(place_netns):
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(environment) if environment is not None else {"PATH": os.defpath},
                cwd="/",
                start_new_session=True,
                close_fds=True,
            )
    finally:
        os.close(output)
    # It is found again by its pid file, not by this object, which must not complain when it goes away.
    child.returncode = 0
    seen = _seen(child.pid)  # cannot be None: nobody has waited for our child yet
    process = Process(child.pid, seen[1] if seen is not None else 0)
    remember(process, pid_file)
    files.remove(_intention(pid_file))
    return process


def remember(process: Process, pid_file: Path) -> None:
    """Write down what `find` finds again."""
    files.replace(pid_file, f"{process.pid} {process.started}\n")


def find(place_netns: Path | None, pid_file: Path, argv: Sequence[str] | None = None) -> Process | None:
    """Return the daemon `pid_file` speaks of if it still is that process; None otherwise.

    With `argv` its command line must be equal too: a daemon started with other arguments is not the wanted one.
    """
    process = remembered(pid_file)
    if process is None or not alive(process):
        return None
    if argv is not None and _command_line(process.pid) != list(argv):
        return None
    try:
        inside = Path(f"/proc/{process.pid}/ns/net").stat().st_ino == netns.inode(place_netns)
    except OSError:
        return None
    return process if inside else None


def running(pid: int) -> Process | None:
    """Return the process that has this pid now, None when there is none."""
    seen = _seen(pid)
    return None if seen is None or seen[0] in "ZX" else Process(pid, seen[1])


def alive(process: Process) -> bool:
    """Whether this very process runs (a zombie does not). Reaps it when it was our child and has ended."""
    seen = _seen(process.pid)
    if seen is None or seen[1] != process.started:
        return False
    if seen[0] not in "ZX":
        return True
    if not _reaped(process.pid):
        _ended.add(process.pid)
    return False


def _reaped(pid: int) -> bool:
    """Bury a child; False when it cannot be yet: its first thread has ended, others of it have not."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True  # started by an earlier agent: init reaps it


def _reap_ended() -> None:
    """Bury those that could not be when they were seen to have ended, and whose pid file speaks of others by now."""
    _ended.difference_update([pid for pid in tuple(_ended) if _reaped(pid)])


def send(process: Process, signum: signal.Signals) -> bool:
    """Signal this very process; return False when it is gone."""
    pidfd = _pidfd(process)
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def wait(process: Process, timeout_s: float) -> bool:
    """Wait until the process has ended; return False when it still runs after `timeout_s`."""
    pidfd = _pidfd(process)
    if pidfd is None:
        return True
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        ended = bool(poller.poll(timeout_s * 1000))
    finally:
        os.close(pidfd)
    alive(process)
    return ended


def stop(pid_file: Path, deadline_s: float = _STOP_DEADLINE_S) -> None:
    """End the daemon of `pid_file` (TERM, after `deadline_s` KILL) and forget it; absence is success.

    Its namespace may be gone already: the start time alone says that it is ours.
    """
    known = remembered(pid_file)
    for process in (*_unremembered(pid_file), *([known] if known is not None else [])):
        if send(process, signal.SIGTERM) and not wait(process, deadline_s):
            send(process, signal.SIGKILL)
            wait(process, deadline_s)
    files.remove(pid_file)
    files.remove(_intention(pid_file))
    _reap_ended()


def watch(process: Process) -> int | None:
    """Return a pidfd that becomes readable when the process ends (caller closes it); None when it is gone."""
    return _pidfd(process) if alive(process) else None


def run(
    place_netns: Path | None, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 10.0
) -> tuple[int, str]:
    """Run a checker to its end and return (exit status, its output and errors together).

    Raises:
        OSError: it cannot be executed. TimeoutError: it did not end in time and was killed.
    """
    with netns.entered(place_netns):
        child = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            cwd="/",
        )
    try:
        output, _ = child.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise TimeoutError(f"{argv[0]} did not end within {timeout_s:g} s") from None
    return child.returncode, output.decode(errors="replace")


def _open_log(path: Path | None) -> int:
    if path is None:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, files.PRIVATE_FILE)


def remembered(pid_file: Path) -> Process | None:
    """Return what `pid_file` speaks of, running or not."""
    content = files.read(pid_file)
    words = content.split() if content is not None else []
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return None
    return Process(int(words[0]), int(words[1]))


def _intention(pid_file: Path) -> Path:
    return pid_file.with_suffix(".starting")


def _unremembered(pid_file: Path) -> list[Process]:
    """Return what was started when an agent died in the middle: same command line, at the head of its own session.

    Command lines of daemons name their own configuration file, so they are unique on the machine.
    """
    content = files.read(_intention(pid_file))
    if content is None:
        return []
    argv = content.decode(errors="replace").split("\0")
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = [Process(pid, seen[1]) for pid in pids if _command_line(pid) == argv and (seen := _seen(pid)) is not None]
    return [process for process in found if _leads_session(process.pid)]


def _leads_session(pid: int) -> bool:
    try:
        return os.getsid(pid) == pid
    except ProcessLookupError:
        return False


def _seen(pid: int) -> tuple[str, int] | None:
    """Return (state letter, start time) of a process, None when there is none (proc(5), /proc/pid/stat)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the command name may contain anything
    return fields[0], int(fields[19])


def _command_line(pid: int) -> list[str]:
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [word.decode(errors="replace") for word in content.split(b"\0")[:-1]]


def _pidfd(process: Process) -> int | None:
    """Return one of this very process, running or not buried yet; None when it is gone."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    seen = _seen(process.pid)
    if seen is not None and seen[1] == process.started:
        return pidfd
    os.close(pidfd)
    return None


def remedy_for_start(netns: Path | None) -> str:
    """What to do when something cannot start or listen: its words name what it lacks; who has a port shows there."""
    inside = f"ip netns exec {netns.name} " if netns is not None else ""
    return f"mend what these words name, then push again; who has an address: `{inside}ss -lntup`"
