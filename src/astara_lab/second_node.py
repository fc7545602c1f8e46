"""A second node in the pod: a network namespace joined to the first node's by two links, with an agent of its own.

    nodes0   the network between the nodes: VXLAN, and how the orchestrator reaches the agent
    wire1    a cable into the provider network that leads outside (its end here is called wire2)
    under1   a cable between two switches' bridges for tunnels, for switches that have tunnels (here under2)

The agent has its own /run/netns and its own /sys, as on another machine.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from astara_lab import bodies, ini
from astara_lab.ini import Sections
from astara_lab.places import (
    EXTERNAL_PHYSNET,
    FIRST_NODE_ADDRESS,
    METADATA_PORT,
    NODE_PORT,
    POD_RUN,
    SECOND_NODE_ADDRESS,
    SECOND_NODE_NAME,
    Lab,
)
from astara_lab.trust import Trust

NAME, ADDRESS, FIRST_ADDRESS = SECOND_NODE_NAME, SECOND_NODE_ADDRESS, FIRST_NODE_ADDRESS
#: The first node's cable into the provider network.
WIRE = "wire1"
#: The cable for tunnels between two Open vSwitches, by node, and the addresses of these.
UNDER = (("under1", "10.255.254.1"), ("under2", "10.255.254.2"))
_NETNS = Path("/run/netns") / NAME
_MOUNTS = POD_RUN / "node-2.mnt"
#: Room for what VXLAN adds (RFC 7348 4.3).
MTU = "1600"
_ATTEMPTS = 20
#: Containers want to see control groups; none is made there.
_OWN_PLACES = """mount -t sysfs sysfs /sys && mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
mount -t tmpfs -o mode=755 tmpfs /run/netns"""


def is_there() -> bool:
    """Whether this pod has one."""
    return _MOUNTS.exists()


def make() -> None:
    """Make the namespaces and the links between; what is there stays."""
    if _MOUNTS.exists():
        return
    _run("ip", "netns", "add", NAME)
    inside = ("ip", "-n", NAME)
    for here, there in (("nodes0", "nodes0"), (WIRE, "wire2"), (UNDER[0][0], UNDER[1][0])):
        _run("ip", "link", "add", here, "mtu", MTU, "type", "veth", "peer", "name", there, "mtu", MTU, "netns", NAME)
        _run("ip", "link", "set", here, "up")
        _run(*inside, "link", "set", there, "up")
    _run("ip", "addr", "add", f"{FIRST_ADDRESS}/30", "dev", "nodes0")
    _run(*inside, "addr", "add", f"{ADDRESS}/30", "dev", "nodes0")
    _run(*inside, "link", "set", "lo", "up")
    _MOUNTS.touch()
    _own_mounts()


def _own_mounts() -> None:
    """Linux lets a mount namespace be named only where that is younger than the one the name is in, against loops.

    It compares numbers that each CPU takes in batches since Linux 6.18: now and then a younger one has a smaller one.
    """
    for last in (*[False] * (_ATTEMPTS - 1), True):
        try:
            _run("nsenter", f"--net={_NETNS}", "unshare", f"--mount={_MOUNTS}", "sh", "-c", _OWN_PLACES)
        except LookupError:
            if last:
                raise
        else:
            return


def there(*argv: str) -> tuple[str, ...]:
    """Return the command that runs `argv` on the second node."""
    return ("nsenter", f"--net={_NETNS}", f"--mount={_MOUNTS}", "--", *argv)


def on(host: str, *argv: str) -> str:
    """Run a command on a node of the lab and return what it printed."""
    words = there(*argv) if host == NAME else argv
    return subprocess.run(words, check=False, capture_output=True, text=True).stdout


def bridge_section(own: str, other: str, wire: str) -> dict[str, ini.Value]:
    """How a node's bridges reach the other node and outside."""
    return {"tunnel_address": own, "tunnel_peers": other, "mappings": f"{EXTERNAL_PHYSNET}:{wire}"}


def configuration(lab: Lab, trust: Trust) -> Sections:
    """node.conf of the second node: it can all that the first one can."""
    return {
        "DEFAULT": {
            "name": NAME,
            "state_dir": lab.lib / bodies.SECOND,
            "listen": f"{ADDRESS}:{NODE_PORT}",
            "ca_file": trust.tls / "ca.crt",
            "cert_file": trust.tls / "node-2.crt",
            "key_file": trust.tls / "node-2.key",
        },
        "metadata": {
            "nova_url": f"http://{FIRST_ADDRESS}:{METADATA_PORT}",
            "shared_secret_file": trust.metadata_secret,
        },
        "bridge": bridge_section(ADDRESS, FIRST_ADDRESS, "wire2"),
        **bodies.node_sections(lab, bodies.SECOND),
    }


def _run(*words: str) -> None:
    done: subprocess.CompletedProcess[str] = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise LookupError(f"{done.stderr.strip()}: {' '.join(words)}")


def kill_instance(host: str, netns: str) -> None:
    """End every process of an instance at once, delete its links, take its name away: nobody says goodbye.

    A container's processes and a machine's QEMU are among them. The name goes first: the agent that hears of the rest
    must not heal what is about to go.
    """
    within = "nsenter --net=/proc/self/fd/3 ip"
    words: Sequence[str] = (
        f"exec 3</run/netns/{netns}",
        f"victims=$(ip netns pids {netns})",
        f"ip netns delete {netns}",
        "kill -9 $victims",
        f"for link in $({within} -o link | cut -d: -f2 | cut -d@ -f1); do {within} link delete $link; done",
    )
    on(host, "sh", "-c", "; ".join(words))
