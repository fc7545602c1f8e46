"""The test's side: starts the process in a directory and offers its API in few words."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

import astara_lab
from astara_lab import neutron_db
from astara_lab.places import Lab
from support.neutron import SECRET

SUPPORT = Path(__file__).parents[2]
#: The plug-in under test is the one beside what this process imports, not whichever is installed.
OURS = Path(astara_lab.__file__).parents[1]
PASTE = Path(sys.prefix) / "etc/neutron/api-paste.ini"

CONFIG = """
[DEFAULT]
auth_strategy = noauth
core_plugin = ml2
service_plugins = {service_plugins}
transport_url = fake:/
state_path = {directory}
api_paste_config = {paste}
host = test-host
use_stderr = true
rpc_workers = 0
dns_domain = example.org.
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
connection = {database}
[oslo_concurrency]
lock_path = {directory}/lock
[oslo_messaging_notifications]
driver = astara_http
[oslo_policy]
policy_file = {directory}/policy.yaml
[quotas]
default_quota = -1
quota_network = -1
quota_subnet = -1
quota_port = -1
quota_router = -1
quota_floatingip = -1
quota_security_group = -1
quota_security_group_rule = -1
[service_providers]
{providers}
[ml2]
type_drivers = flat,vxlan,local,vlan,geneve
tenant_network_types = {tenant_networks}
mechanism_drivers = {mechanisms}
extension_drivers = port_security,qos,dns_domain_keywords
[ml2_type_flat]
flat_networks = public
[ml2_type_vxlan]
vni_ranges = 1:5000
[ml2_type_geneve]
vni_ranges = 1:5000
max_header_size = 38
{more}
[astara]
notify_url = {notify_url}
notify_secret_file = {directory}/secret
{astara}
"""

ALONE = "service_provider = L3_ROUTER_NAT:astara:astara_neutron.l3_provider.AstaraL3"
BESIDE = (
    ALONE
    + "\nservice_provider = L3_ROUTER_NAT:plain:"
    + "neutron.services.l3_router.service_providers.single_node.SingleNodeDriver:default"
)
PLUGINS = "router,port_forwarding,qos,conntrack_helper,ndp_proxy,segments,trunk,revisions,timestamp,tag,astara"


@dataclass
class Cloud:
    """One running Neutron. Calls answer the decoded body and fail on an unexpected status."""

    url: str
    directory: Path
    client: httpx.Client = field(init=False)
    queries: int = 0

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=f"{self.url}/v2.0", timeout=60, trust_env=False)

    def call(self, method: str, path: str, body: Any = None, *, status: int | None = None, **options: Any) -> Any:
        response = self.client.request(method, path, json=body, **options)
        if status is None:
            assert response.status_code < 300, f"{method} {path}: {response.status_code} {response.text}"
        else:
            assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        self.queries = int(response.headers.get("X-Test-Queries", 0))
        return response.json() if response.content else None

    def make(self, resource: str, path: str | None = None, **fields: Any) -> dict[str, Any]:
        return self.call("POST", path or f"/{resource}s", {resource: fields})[resource]

    def network(
        self, *cidrs: str, external: bool = False, **fields: Any
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Make a network with a subnet for each CIDR."""
        network = self.make("network", **{"name": "n", **({"router:external": True} if external else {}), **fields})
        subnets = [
            self.make("subnet", network_id=network["id"], cidr=cidr, ip_version=6 if ":" in cidr else 4)
            for cidr in cidrs
        ]
        return network, subnets

    def router(self, *subnets: dict[str, Any], gateway: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """Make a router with an interface in each subnet."""
        if gateway:
            fields["external_gateway_info"] = {"network_id": gateway["id"]}
        router = self.make("router", name="r", **fields)
        for subnet in subnets:
            self.call("PUT", f"/routers/{router['id']}/add_router_interface", {"subnet_id": subnet["id"]})
        return router

    def port(self, network: dict[str, Any], **fields: Any) -> dict[str, Any]:
        return self.make("port", network_id=network["id"], **fields)

    def forwarding(self, internal: dict[str, Any], floating_ip: dict[str, Any], external_port: int) -> dict[str, Any]:
        """TCP from `external_port` of the floating IP to port 80 of `internal`."""
        return self.make(
            "port_forwarding",
            f"/floatingips/{floating_ip['id']}/port_forwardings",
            protocol="tcp",
            internal_ip_address=internal["fixed_ips"][0]["ip_address"],
            internal_port_id=internal["id"],
            internal_port=80,
            external_port=external_port,
        )

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run one statement on Neutron's database behind its back."""
        with contextlib.closing(sqlite3.connect(self.directory / "neutron.sqlite", timeout=30)) as connection:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
        return rows

    def routers(self, *ids: str) -> dict[str, Any]:
        return self.call("GET", "/astara/routers", params={"id": list(ids)} if ids else {})

    def networks(self, *ids: str) -> dict[str, Any]:
        return self.call("GET", "/astara/networks", params={"id": list(ids)} if ids else {})

    def changes(self, since: int) -> dict[str, Any]:
        return self.call("GET", "/astara/changes", params={"since": since})

    def revision(self) -> int:
        return int(self.changes(0)["revision"])

    def changed_after(self, since: int) -> set[tuple[str, str]]:
        """Return the keys of the changes after `since`, without the overlap."""
        page = self.changes(since)
        return {(change["kind"], change["id"]) for change in page["changes"] if change["revision"] > since}


@contextlib.contextmanager
def running(
    directory: Path,
    *,
    notify_url: str = "http://127.0.0.1:9/",
    providers: str = ALONE,
    mechanisms: str = "openvswitch,astara_bridge",
    service_plugins: str = PLUGINS,
    astara: str = "journal_overlap = 60",
    database: str | None = None,
    tenant_networks: str = "vxlan",
    more: str = "",
) -> Iterator[Cloud]:
    """Start a Neutron with everything it keeps in `directory`, and end it afterwards.

    `database` is a URL with the schema in it; without, one is made on SQLite. `more` are further sections.
    """
    schema = database is None
    database = database or f"sqlite:///{directory}/neutron.sqlite?timeout=30"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "secret").write_bytes(SECRET + b"\n")
    (directory / "policy.yaml").write_text("{}\n")
    (directory / "neutron.conf").write_text(
        CONFIG.format(
            directory=directory,
            paste=PASTE,
            notify_url=notify_url,
            providers=providers,
            mechanisms=mechanisms,
            service_plugins=service_plugins,
            astara=astara,
            database=database,
            tenant_networks=tenant_networks,
            more=more,
        )
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(SUPPORT), str(OURS))),
        "OS_NEUTRON_CONFIG_DIR": str(directory),
        "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
    }
    if schema:
        _place_schema(directory)
    port_file = directory / "port"
    port_file.unlink(missing_ok=True)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "support.neutron.process", str(port_file)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Cloud(f"http://127.0.0.1:{_wait_for_port(port_file, process)}", directory)
        finally:
            _end(process)


def _place_schema(directory: Path) -> None:
    """Put the schema where the API finds it: what the lab has made of it once, with SQLite's ordinary journal."""
    file = directory / "neutron.sqlite"
    neutron_db.place(file, Lab("embedded", directory).cache, directory / "schema.log")
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def _end(process: subprocess.Popen[bytes]) -> None:
    """At once: it keeps nothing worth a farewell, and with ML2/OVN some thread of Neutron's waits for the databases."""
    process.kill()
    process.wait()


def _wait_for_port(port_file: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 60
    while not port_file.exists():
        assert process.poll() is None, f"Neutron ended at once:\n{(port_file.parent / 'log').read_text()[-4000:]}"
        assert time.monotonic() < deadline, "Neutron did not start within 60 s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.1)
    return int(port_file.read_text())
