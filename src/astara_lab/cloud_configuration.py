"""The configuration of Keystone, Glance, Placement, Nova and libvirt in profile `cloud`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from astara_lab.ini import Sections, Value
from astara_lab.keystone import REGION, SERVICE_PROJECT
from astara_lab.places import GLANCE_URL, KEYSTONE_URL, LOOPBACK, NODE_NAME, OVSDB_SOCKET, Lab

Section = dict[str, Value]

#: oslo.privsep contexts of nova-compute and the libraries in it; each wants to be told how to start its helper.
_PRIVSEP = ("nova_sys_admin", "vif_plug_ovs_privileged", "vif_plug_linux_bridge_privileged", "privsep_osbrick")


@dataclass(frozen=True)
class Ground:
    """What all of them stand on. `databases` maps a database's name to its URL through `database_url`."""

    lab: Lab
    prefix: Path  # of the virtual environment they are installed in
    password: str  # of every service user, and of the administrator
    transport_url: str
    database_url: str  # with {} in the place of the database's name

    def database(self, name: str) -> str:
        return self.database_url.format(name)

    def lib(self, name: str) -> Path:
        return self.lab.lib / name

    def user(self, name: str) -> Section:
        """How a service speaks to another as itself, in keystoneauth1's options."""
        return {
            "auth_type": "password",
            "auth_url": KEYSTONE_URL,
            "user_domain_id": "default",
            "project_domain_id": "default",
            "project_name": SERVICE_PROJECT,
            "username": name,
            "password": self.password,
        }

    def authtoken(self, name: str) -> Section:
        """How a service checks what tokens it is given."""
        return self.user(name) | {"www_authenticate_uri": KEYSTONE_URL, "service_token_roles_required": True}


def keystone(ground: Ground) -> Sections:
    keys = ground.lib("keystone")
    return {
        "DEFAULT": {"use_stderr": True, "transport_url": ground.transport_url},
        "database": {"connection": ground.database("keystone")},
        "cache": {"enabled": True, "backend": "dogpile.cache.memory"},
        "token": {"provider": "fernet", "expiration": 86400},
        "fernet_tokens": {"key_repository": keys / "fernet"},
        "credential": {"key_repository": keys / "credential"},
        # A lab's password is 256 random bits: nothing is gained by making each look at it slow.
        "identity": {"password_hash_algorithm": "bcrypt", "password_hash_rounds": 4},
        "oslo_messaging_notifications": {"driver": "noop"},
    }


def glance(ground: Ground) -> Sections:
    room = ground.lib("glance")
    return {
        "DEFAULT": {
            "use_stderr": True,
            "enabled_backends": "files:file",
            "worker_self_reference_url": GLANCE_URL,
        },
        "glance_store": {"default_backend": "files"},
        "files": {"filesystem_store_datadir": room / "images"},
        "os_glance_staging_store": {"filesystem_store_datadir": room / "staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": room / "tasks"},
        "database": {"connection": ground.database("glance")},
        "oslo_concurrency": {"lock_path": room / "lock"},
        "paste_deploy": {"flavor": "keystone", "config_file": ground.prefix / "etc/glance/glance-api-paste.ini"},
        "keystone_authtoken": ground.authtoken("glance"),
    }


def placement(ground: Ground) -> Sections:
    return {
        "DEFAULT": {"use_stderr": True},
        "placement_database": {"connection": ground.database("placement")},
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": ground.authtoken("placement"),
    }


def nova(ground: Ground, metadata_secret: str) -> Sections:
    """nova.conf, for each of Nova's programs; machines are emulated (TCG), so that a lab runs anywhere."""
    room = ground.lib("nova")
    regional = {"region_name": REGION}
    sections: dict[str, Section] = {
        "DEFAULT": {
            "use_stderr": True,
            "transport_url": ground.transport_url,
            "host": NODE_NAME,
            "my_ip": LOOPBACK,
            "state_path": room,
            "instances_path": room / "instances",
            "compute_driver": "libvirt.LibvirtDriver",
            "rootwrap_config": "",
            "reserved_host_memory_mb": 512,
            "cpu_allocation_ratio": "16.0",
            "ram_allocation_ratio": "4.0",
            "disk_allocation_ratio": "4.0",
            "vif_plugging_timeout": 60,
        },
        "api_database": {"connection": ground.database("nova_api")},
        "database": {"connection": ground.database("nova")},
        "api": {"auth_strategy": "keystone"},
        "wsgi": {"api_paste_config": ground.prefix / "etc/nova/api-paste.ini"},
        "keystone_authtoken": ground.authtoken("nova"),
        "service_user": ground.user("nova") | regional | {"send_service_user_token": True},
        "neutron": ground.user("nova")
        | regional
        | {"service_metadata_proxy": True, "metadata_proxy_shared_secret": metadata_secret},
        "placement": ground.user("nova") | regional,
        "glance": {"endpoint_override": GLANCE_URL},
        "conductor": {"workers": 1},
        # Nobody has to tell Nova of the one compute host there is.
        "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 2},
        "oslo_concurrency": {"lock_path": room / "lock"},
        "oslo_messaging_notifications": {"driver": "noop"},
        "oslo_messaging_rabbit": {"rabbit_quorum_queue": False, "heartbeat_in_pthread": True},
        "libvirt": {
            "virt_type": "qemu",
            "cpu_mode": "none",
            "images_type": "raw",
            "inject_partition": -2,
            "num_pcie_ports": 0,
        },
        "os_vif_ovs": {"ovsdb_connection": f"unix:{OVSDB_SOCKET}"},
    }
    for console in ("vnc", "spice", "serial_console"):
        sections[console] = {"enabled": False}
    for context in _PRIVSEP:
        helper = f"{ground.prefix}/bin/privsep-helper --config-file {ground.lab.etc / 'nova.conf'}"
        sections[context] = {"helper_command": helper}
    return sections


def neutron_of_the_cloud(ground: Ground) -> Sections:
    """What Neutron is told beyond profile `neutron`: whom to believe, and whom to tell of its ports."""
    return {
        "DEFAULT": {
            "auth_strategy": "keystone",
            "notify_nova_on_port_status_changes": True,
            "notify_nova_on_port_data_changes": True,
        },
        "keystone_authtoken": ground.authtoken("neutron"),
        "nova": ground.user("nova") | {"region_name": REGION},
    }


LIBVIRTD = """unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "3:stderr"
"""

#: QEMU as root, without cgroups, mount namespaces and security labels: the pod is the fence.
QEMU = """user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
"""
