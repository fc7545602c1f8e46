"""A routing engine of others (examples/frr-router), in a container or on the node, by one and the same driver."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from astara.appliance.system import processes
from astara.clients.appliance import NodeClient
from astara.contract.agent import Body, Health, InstanceSpec
from astara.contract.document import document
from astara.contract.generation import Generation
from astara.host import namespaces
from astara.host.attach.bridge import bridge_name
from astara.host.healer import Pace
from astara.model.errors import Terminal
from support.containers import container_options, credential, needs_podman
from support.node_agent import Deployment, isolated, port, running, spec
from support.segment import eventually
from support.terrain import Host, terrain

PROJECT = Path(__file__).parents[2]
EXAMPLE = PROJECT / "examples" / "frr-router"
BEYOND = "10.9.0.1"

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make bodies`"),
    pytest.mark.skipif(not Path("/usr/lib/frr/staticd").exists(), reason="FRR is not installed: `make install-bodies`"),
]


@pytest.fixture(scope="module")
def site_packages() -> Iterator[Path]:
    """Where pip put the example, as in the image of whoever brings it. Containers here see the machine's own root."""
    (PROJECT / "build").mkdir(exist_ok=True)
    target = Path(tempfile.mkdtemp(prefix="frr-site.", dir=PROJECT / "build"))
    offline = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation")
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(EXAMPLE)]
    subprocess.run(command, check=True)
    yield target
    shutil.rmtree(target)


@dataclass
class Site:
    """An FRR router between two tenants' networks, with a host on each; `b` has another network behind it."""

    client: NodeClient
    instance: InstanceSpec
    a: Host
    b: Host

    def push(self, revision: int, routes: tuple[tuple[str, str], ...], *, enabled: bool = True) -> None:
        self.client.configure(self.instance.id, document("frr", Generation(1, revision), self.section(routes, enabled)))

    def section(self, routes: tuple[tuple[str, str], ...], enabled: bool = True) -> Any:
        from astara_frr.schema import FrrSection, Link, Route

        addresses = ("10.1.0.1/24", "10.2.0.1/24")
        links = [
            Link(mac=one.mac, mtu=1500, addresses=(address,))
            for one, address in zip(self.instance.ports, addresses, strict=True)
        ]
        wished = tuple(Route(destination=to, nexthop=by) for to, by in routes)
        return FrrSection(router_id="r", enabled=enabled, links=tuple(links), routes=wished)

    def routes(self) -> str:
        """What FRR has brought into the kernel."""
        space = f"--net={namespaces.path_of(self.instance.id)}"
        command = ["nsenter", space, "ip", "route", "show", "proto", "196"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def daemons(self) -> dict[str, int]:
        """Program -> pid in the instance's namespace."""
        own = namespaces.path_of(self.instance.id).stat().st_ino
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if (path / "ns" / "net").stat().st_ino == own:
                    found[(path / "comm").read_text().strip()] = int(path.name)
            except OSError:
                continue
        return found


@pytest.fixture(params=[pytest.param("container", marks=needs_podman), "namespace"])
def site(
    request: pytest.FixtureRequest, tmp_path: Path, site_packages: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """In a container, only its image has the driver; the node knows nothing of it."""
    # FRR insists on its own account, which the directories of a test let through to nobody.
    home = Path(tempfile.mkdtemp(prefix="frr.", dir="/run"))
    home.chmod(0o711)
    made, options = Deployment.at(home), container_options()
    words = [word.replace("PYTHONPATH=", f"PYTHONPATH={site_packages}{os.pathsep}") for word in options.command]
    options = dataclasses.replace(options, command=tuple(words))
    deployment = dataclasses.replace(made, options=dataclasses.replace(made.options, container=options))
    monkeypatch.syspath_prepend(str(site_packages if request.param == "namespace" else EXAMPLE))
    wish = replace(spec(port(), port(), driver="frr"), body=Body(kind=request.param))
    if request.param == "container":
        wish = replace(wish, credential=credential(deployment.authority, wish.id))
    with (
        terrain(tmp_path) as land,
        running(deployment, pace=Pace(sweep_period_s=0.5, sweep_cpu_share=1.0)) as (_, client),
    ):
        client.put_instance(wish)
        try:
            for name, one in zip("ab", wish.ports, strict=True):
                land.adopt(name, bridge_name(one.network_id))
            a = land.host("a", "a", "10.1.0.5/24", via=("10.1.0.1",))
            b = land.host("b", "b", "10.2.0.5/24", f"{BEYOND}/32", via=("10.2.0.1",))
            yield Site(client, wish, a, b)
        finally:
            client.delete_instance(wish.id, Generation(99, 0))


def test_frr_routes_between_two_networks_and_to_one_behind_a_next_hop(site: Site) -> None:
    site.push(2, ())
    assert site.a.pings("10.2.0.5")
    assert not site.a.pings(BEYOND)
    site.push(3, (("10.9.0.0/24", "10.2.0.5"),))
    assert re.search(r"10\.9\.0\.0/24 .*via 10\.2\.0\.5", site.routes())
    assert site.a.pings(BEYOND)
    assert {"zebra", "staticd"} <= set(site.daemons())
    site.push(4, (("10.8.0.0/24", "10.2.0.5"),))
    assert "10.9.0.0/24" not in site.routes()
    assert not site.a.pings(BEYOND)
    site.push(5, (), enabled=False)
    assert not site.a.pings("10.2.0.5")


def test_what_frr_cannot_do_is_refused_with_its_field_and_what_runs_stays(site: Site) -> None:
    site.push(2, (("10.9.0.0/24", "10.2.0.5"),))
    with pytest.raises(Terminal, match=r"\$\.section\.routes\[0\]"):
        site.push(3, (("10.9.0.0/24", "10.2.0.5 tag 7"),))
    assert site.a.pings(BEYOND)


def test_a_killed_daemon_and_a_lost_route_are_put_back(site: Site) -> None:
    site.push(2, (("10.9.0.0/24", "10.2.0.5"),))
    before = site.daemons()
    for name in ("zebra", "staticd"):
        process = processes.running(before[name])
        assert process is not None
        os.kill(process.pid, 9)
    assert eventually(lambda: site.client.state(site.instance.id).health is Health.HEALTHY, 20.0)
    assert eventually(lambda: site.a.pings(BEYOND), 20.0)
    assert site.daemons()["zebra"] != before["zebra"]
