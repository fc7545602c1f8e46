"""Where a lab keeps its things, and the addresses its services listen on inside the pod.

Everything a lab writes lies below one directory; everything it listens on is the loopback of its own pod, so the
same port numbers serve any number of labs side by side.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

PROFILES = ("embedded", "neutron", "cloud", "cluster")
#: What routers of a lab may run in.
BODIES = ("namespace", "container", "microvm")

LOOPBACK = "127.0.0.1"
NEUTRON_PORT = 19696
NODE_PORT = 19801
INTAKE_PORT = 19810
METRICS_PORT = 19811
METADATA_PORT = 18775
RABBIT_PORT = 15692
MARIADB_PORT = 13306
KEYSTONE_PORT = 15000
GLANCE_PORT = 19292
PLACEMENT_PORT = 18778
NOVA_PORT = 18774

NEUTRON_URL = f"http://{LOOPBACK}:{NEUTRON_PORT}"
KEYSTONE_URL = f"http://{LOOPBACK}:{KEYSTONE_PORT}/v3"
GLANCE_URL = f"http://{LOOPBACK}:{GLANCE_PORT}"
PLACEMENT_URL = f"http://{LOOPBACK}:{PLACEMENT_PORT}"
NOVA_URL = f"http://{LOOPBACK}:{NOVA_PORT}/v2.1"

#: Name of the only node of a lab: Neutron's `host`, the node agent's name, OVN's chassis host name.
NODE_NAME = "lab-node"

#: A lab may have a second one, joined to the first by a network of their own.
SECOND_NODE_NAME = "lab-node-2"
SECOND_NODE_ADDRESS = "10.255.255.2"
FIRST_NODE_ADDRESS = "10.255.255.1"

#: Neutron's name of the provider network that leads outside.
EXTERNAL_PHYSNET = "public"
EXTERNAL_BRIDGE = "br-ex"

#: Profile cloud: the provider network on which orchestrator and Nova instances meet, and the lab's own address there.
MANAGEMENT_PHYSNET = "management"
MANAGEMENT_BRIDGE = "br-mgmt"
MANAGEMENT_CIDR = "192.0.2.0/24"
MANAGEMENT_ADDRESS = "192.0.2.1"

#: Name of the cloud in clouds.yaml.
CLOUD_NAME = "astara"

#: These live in the pod's private /run: short enough for a unix socket, gone with the pod.
POD_RUN = Path("/run/astara-lab")
POD_MARKER = POD_RUN / "root"
CONTROL_SOCKET = POD_RUN / "control.sock"
POD_TEMPORARY = "/run/tmp"
ADMIN_SOCKET = Path("/run/astara/admin.sock")
OVSDB_SOCKET = Path("/run/openvswitch/db.sock")


@dataclass(frozen=True)
class Seat:
    """Where one of a lab's orchestrators sits; the first is where the only one is. `number` begins at 1."""

    number: int = 1

    @property
    def name(self) -> str:
        """Of its service, its log and the member of the cluster it is."""
        return "orchestrator" if self.number == 1 else f"orchestrator-{self.number}"

    @property
    def admin_socket(self) -> Path:
        return ADMIN_SOCKET if self.number == 1 else ADMIN_SOCKET.with_name(f"admin-{self.number}.sock")

    @property
    def config(self) -> str:
        return "astara.conf" if self.number == 1 else f"astara-{self.number}.conf"

    @property
    def intake_port(self) -> int:
        return INTAKE_PORT + 10 * (self.number - 1)

    @property
    def metrics_port(self) -> int:
        return METRICS_PORT + 10 * (self.number - 1)

    @property
    def notify_url(self) -> str:
        return f"http://{LOOPBACK}:{self.intake_port}/v1/notifications"


@dataclass(frozen=True)
class Lab:
    """One lab: its directory and its profile, one of PROFILES."""

    root: Path
    profile: str

    @property
    def bridged(self) -> bool:
        """Whether networks are Linux bridges; else Open vSwitch carries them."""
        return self.profile in ("embedded", "cluster")

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def log(self) -> Path:
        return self.root / "log"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def lib(self) -> Path:
        return self.root / "lib"

    @property
    def hosts(self) -> Path:
        """One file per simulated tenant machine; they live as long as the pod."""
        return self.run / "hosts"

    @property
    def clouds(self) -> Path:
        """clouds.yaml of profile cloud."""
        return self.etc / "clouds.yaml"

    @property
    def cache(self) -> Path:
        """What depends on installed versions only (template database, guest image): below the virtual environment."""
        return (Path(sys.prefix) if sys.prefix != sys.base_prefix else self.root) / "cache" / "astara-lab"

    def make_directories(self) -> None:
        for directory in (self.root, self.run, self.log, self.etc, self.lib, self.hosts):
            directory.mkdir(parents=True, exist_ok=True, mode=0o755)


def find_lab(profile: str | None = None, directory: str | None = None) -> Lab:
    """The lab asked for: `directory`, else ASTARA_LAB_DIR, else `.lab/<profile>` below the current directory.

    Without a profile it is the one in ASTARA_LAB_PROFILE (set for what runs inside a lab), else `embedded`.
    """
    profile = profile or os.environ.get("ASTARA_LAB_PROFILE") or PROFILES[0]
    root = directory or os.environ.get("ASTARA_LAB_DIR") or f".lab/{profile}"
    return Lab(Path(root).resolve(), profile)


def client_environment(lab: Lab) -> dict[str, str]:
    """What `openstack` and openstacksdk need to talk to a lab's services."""
    if lab.profile == "cloud":
        access = {"OS_CLOUD": CLOUD_NAME, "OS_CLIENT_CONFIG_FILE": str(lab.clouds)}
    else:
        access = {
            "OS_AUTH_TYPE": "none",
            "OS_ENDPOINT": NEUTRON_URL,
            "OS_NETWORK_ENDPOINT_OVERRIDE": NEUTRON_URL,
        }
    return access | {
        "NO_PROXY": "*",
        "no_proxy": "*",
        "ASTARA_SOCKET": str(ADMIN_SOCKET),
        "OVS_RUNDIR": str(OVSDB_SOCKET.parent),
        "OVN_RUNDIR": "/run/ovn",
    }
