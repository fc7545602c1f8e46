"""The first process of a pod: makes it a place to live in, then supervises. `python -m astara_lab.init ROOT`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

from astara_lab.places import CONTROL_SOCKET, NODE_NAME, POD_MARKER, POD_RUN
from astara_lab.supervisor import Supervisor

_RUN_DIRECTORIES = ("netns", "openvswitch", "ovn", "astara", "lock", "mysqld", "rabbitmq", "tmp")


def main(root: Path) -> None:
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in _RUN_DIRECTORIES:
        (Path("/run") / name).mkdir()
    # The machine's own /sys shows the machine's own interfaces; programs that look there must see the pod's.
    _mount("-t", "sysfs", "sysfs", "/sys")
    with contextlib.suppress(subprocess.CalledProcessError):
        _mount("-t", "cgroup2", "none", "/sys/fs/cgroup")
    _own_names(root)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    _no_surprises()
    POD_RUN.mkdir(mode=0o755)
    supervisor = Supervisor(CONTROL_SOCKET)
    POD_MARKER.write_text(str(root))
    supervisor.run()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, stderr=subprocess.DEVNULL)


def _own_names(root: Path) -> None:
    """A host name that resolves without a name server, and a resolv.conf that exists even where it was a link."""
    socket.sethostname(NODE_NAME)
    hosts = root / "etc" / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {NODE_NAME}\n::1 localhost\n")
    _mount("--bind", str(hosts), "/etc/hosts")
    resolver = Path("/etc/resolv.conf")
    if resolver.is_symlink() and not resolver.exists():
        target = Path(os.path.realpath(resolver))
        if target.is_relative_to("/run"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()


def _no_surprises() -> None:
    """Bridged frames are the tenants' business: they never pass a packet filter of the pod."""
    for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables", "bridge-nf-call-arptables"):
        with contextlib.suppress(OSError):
            Path(f"/proc/sys/net/bridge/{name}").write_text("0")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
