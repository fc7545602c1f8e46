"""What these tests look at beside packets: processes of the lab, and what a node really has."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astara_lab.control import Control
from astara_lab.profiles.daemons import OVN_RUN
from astara_lab.waiting import until

_NETNS = Path("/run/netns")
_INSTANCE = re.compile(r"astara-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class Services:
    """The lab's processes, to be stopped, killed and started again."""

    control: Control

    def pid(self, name: str) -> int | None:
        """Its process id in the pod; None when it does not run."""
        state = self.control.state(name)
        return state.pid if state else None

    def stop(self, name: str) -> None:
        """SIGTERM, and it stays away until `start`."""
        self.control.change("stop", name)
        until(f"the end of {name}", lambda: self.pid(name) is None, 30.0)

    def kill(self, name: str) -> None:
        """SIGKILL; the supervisor starts it again."""
        before = self.pid(name)
        self.control.change("kill", name)
        until(f"another {name}", lambda: self.pid(name) not in (None, before), 30.0)

    def start(self, name: str) -> None:
        self.control.change("restart", name)
        until(f"the start of {name}", lambda: self.pid(name), 30.0)


def operator(*words: str) -> Any:
    """What `astara …` answers as JSON."""
    return json.loads(_output("astara", *words, "--json"))


def namespaces_of(resource_id: str) -> set[str]:
    """The namespaces of the instances of one router or network, as the operator is told."""
    listed = operator("instance", "list")
    return {f"astara-{found['id']}" for found in listed if found["resource"].endswith(resource_id)}


@dataclass(frozen=True)
class Traces:
    """Everything of ours on the node that an instance needs and that must go with it."""

    namespaces: frozenset[str]
    links: frozenset[str]
    plugged: frozenset[str]  # ports that Open vSwitch knows as ours

    @classmethod
    def now(cls) -> Traces:
        links = json.loads(_output("ip", "-json", "link", "show", "type", "veth"))
        rows = json.loads(_vsctl("--format=json", "--columns=external_ids", "list", "Interface"))["data"]
        ids = [dict(row[0][1]) for row in rows]
        return cls(
            frozenset(path.name for path in _NETNS.iterdir() if _INSTANCE.fullmatch(path.name)),
            frozenset(link["ifname"] for link in links if link["ifname"].startswith("av")),
            frozenset(found["astara-port"] for found in ids if "astara-port" in found),
        )


def udp_listeners(namespace: str) -> set[int]:
    """Local UDP port numbers in use in a namespace."""
    lines = _output("ip", "netns", "exec", namespace, "ss", "-Hlun").splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in lines}


def inode(namespace: str) -> int:
    """Tells one namespace from a later one of the same name."""
    return (_NETNS / namespace).stat().st_ino


def logical_routers() -> set[str]:
    """Neutron's ids of the routers that OVN itself has."""
    names = _output(
        "ovn-nbctl", f"--db=unix:{OVN_RUN}/nb.sock", "--bare", "--columns=name", "list", "Logical_Router"
    ).split()
    return {name.removeprefix("neutron-") for name in names}


def api_workers(master: int) -> set[int]:
    """Processes below the master of Neutron's API."""
    return {int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()}


def _vsctl(*words: str) -> str:
    return _output("ovs-vsctl", *words)


def _output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
