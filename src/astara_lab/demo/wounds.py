"""Three ways to hurt a running instance, each as brutal as an accident: a daemon, the rule set, the whole body.

A container has its instance's namespace on the node, so what is done there is done inside. A machine is entered by
the shell that machines of a lab have.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
from pathlib import Path

from astara_lab import machine_shell
from astara_lab.namespaces import NETNS_DIRECTORY, within

_PREFIX = "astara-"
#: Says the process ids of programs called $1: a machine of ours has no procps.
#: One that ends meanwhile has nothing to read.
_CALLED = (
    "for one in /proc/[0-9]*; do "
    '{{ read name <$one/comm; }} 2>/dev/null && [ "$name" = {name} ] && echo ${{one#/proc/}}; done'
)


def netns_of(instance_id: str) -> str:
    """Return the name of the network namespace an instance has on its node, whatever its body is."""
    return f"{_PREFIX}{instance_id}"


def identity(netns: str) -> int | None:
    """Return what tells one namespace from its successor of the same name (the inode); None when it is gone."""
    try:
        return (NETNS_DIRECTORY / netns).stat().st_ino
    except FileNotFoundError:
        return None


def daemons(netns: str, name: str | None = None) -> tuple[int, ...]:
    """Return the process ids in a body, all or those whose program is called `name`; a machine's are its own."""
    machine = _machine(netns)
    if machine is not None and name is not None:
        return tuple(int(word) for word in _said(machine, _CALLED.format(name=name)).split())
    return _on_the_node(netns, name)


def kill_daemon(netns: str, name: str) -> tuple[int, ...]:
    """SIGKILL every process called `name` in the body; returns their ids."""
    victims = daemons(netns, name)
    machine = _machine(netns)
    if machine is not None and victims:
        _said(machine, f"kill -9 {' '.join(map(str, victims))}")
        return victims
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return victims


def has_ruleset(netns: str) -> bool:
    return "table inet astara" in inside(netns, "nft", "list", "tables")


def flush_ruleset(netns: str) -> None:
    """Delete every nftables table, chain and rule in the body."""
    inside(netns, "nft", "flush", "ruleset")


def destroy_namespace(netns: str) -> None:
    """Kill every process in the namespace, delete its links, take its name away: nothing of it can forward any more.

    A container's processes and a machine's QEMU are among them.
    """
    victims, links = _on_the_node(netns, None), _links(netns)
    try:
        handle = os.open(NETNS_DIRECTORY / netns, os.O_RDONLY)
    except FileNotFoundError:
        return
    # The name first: who hears of the rest and heals at once must not heal what is about to go.
    subprocess.run(["ip", "netns", "delete", netns], check=False, capture_output=True)
    for pid in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    batch = ["nsenter", f"--net=/proc/{os.getpid()}/fd/{handle}", "ip", "-force", "-batch", "-"]
    deletions = "".join(f"link delete {link}\n" for link in links)
    subprocess.run(batch, check=False, input=deletions, capture_output=True, text=True)
    os.close(handle)


def _links(netns: str) -> tuple[str, ...]:
    """Return the names of all links in the namespace but the loopback."""
    try:
        return within(netns, lambda: tuple(name for _, name in socket.if_nameindex() if name != "lo"))
    except FileNotFoundError:
        return ()


def inside(netns: str, *argv: str) -> str:
    """Run a command in the instance's namespace, in its body; returns what it wrote."""
    machine = _machine(netns)
    if machine is not None:
        return _said(machine, shlex.join(("ip", "netns", "exec", netns, *argv)))
    done = subprocess.run(["ip", "netns", "exec", netns, *argv], check=False, capture_output=True, text=True)
    return done.stdout


def _machine(netns: str) -> Path | None:
    return machine_shell.of(netns.removeprefix(_PREFIX))


def _said(machine: Path, command: str) -> str:
    try:
        return machine_shell.say(machine, command)
    except OSError:
        return ""  # it has just ended: nothing is there


def _on_the_node(netns: str, name: str | None) -> tuple[int, ...]:
    wanted = identity(netns)
    if wanted is None:
        return ()
    return tuple(pid for pid in _processes() if _lives_in(pid, wanted) and (name is None or _program(pid) == name))


def _processes() -> tuple[int, ...]:
    return tuple(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _lives_in(pid: int, inode: int) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == inode
    except OSError:
        return False


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def memory_bytes() -> int:
    """Return what all processes of the pod but this one use: proportional set sizes added up."""
    return sum(_pss(pid) for pid in _processes() if pid != os.getpid())


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
