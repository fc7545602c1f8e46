"""Containers in a test: podman with storage of its own, and this machine's root file system as the image.

The image is no copy: an overlay over `/`, in which the agent runs from the same sources as the test. Needs what
`tests/isolated` gives: a /run and a /sys/fs/cgroup of its own.
"""

from __future__ import annotations

import dataclasses
import datetime
import shutil
import sys
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

import astara
from astara.appliance.boundaries import Appliance, Place, Subsystem
from astara.appliance.system import files as system_files
from astara.clients.authority import Authority, issue
from astara.contract.agent import ApplyReport, Body, Credential, InstanceSpec, StateView
from astara.contract.document import Document
from astara.contract.identity import instance_role
from astara.host.bodies.boundary import Birth
from astara.host.bodies.container.body import ContainerBody
from astara.host.links import inner_macs
from astara.host.options import ContainerOptions
from astara.host.records import Records
from support.node_agent import Deployment, port, spec

#: No control groups: they belong to the machine outside. Locks in files: the others are shared with it.
CONFIGURATION = """
[containers]
cgroups = "disabled"
default_ulimits = ["nofile=10000:10000", "nproc=30000:30000"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "crun"
[network]
network_backend = "netavark"
"""
IMAGE = "this-machine"
_LOOPBACK = "00:00:00:00:00:00"

needs_podman = pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")


def container_options(boot_deadline_s: float = 20.0) -> ContainerOptions:
    """Return options with an empty storage below /run; it goes with the test's machine."""
    directory = Path(tempfile.mkdtemp(prefix="containers.", dir="/run"))
    configuration = directory / "containers.conf"
    configuration.write_text(CONFIGURATION)
    sources = Path(astara.__file__).resolve().parents[1]
    return ContainerOptions(
        image=IMAGE,
        roots=((IMAGE, Path("/")),),
        command=("env", f"PYTHONPATH={sources}", sys.executable, "-m", "astara.host.container"),
        storage=directory,
        containers_conf=configuration,
        boot_deadline_s=boot_deadline_s,
    )


def credential(authority: Authority, instance_id: str, role: str | None = None) -> Credential:
    """Issue what an instance is born with."""
    now = datetime.datetime.now(datetime.UTC)
    made = issue(authority, instance_id, role or instance_role(instance_id), [], now)
    return Credential(
        ca=made.ca_file.read_text(), certificate=made.cert_file.read_text(), key=made.key_file.read_text()
    )


class ContainerEngine:
    """Configures places like `appliance.apply.engine.Engine`, by the agent in a container started there first.

    `beside` serves what the node serves itself.
    """

    def __init__(self, directory: Path, beside: tuple[Subsystem, Mapping[str, Appliance]] | None = None) -> None:
        self._deployment = Deployment.at(directory)
        options = dataclasses.replace(self._deployment.options, container=container_options())
        system_files.ensure_directory(options.state_dir)
        self._records = Records(options.state_dir)
        self._files = directory / "bodies"
        self._body = ContainerBody(options)
        self._body.prepare()
        if beside is not None:
            self._body.serve_beside(*beside)
        self._wishes: dict[str, InstanceSpec] = {}

    def apply(self, place: Place, document: Document) -> ApplyReport:
        """The ports are the interfaces that are inside by then."""
        before, place = self._wish(place), self._own(place)
        known = {one.mac: one for one in before.ports}
        macs = sorted(inner_macs(place.netns) - {_LOOPBACK})
        wish = replace(before, ports=tuple(known.get(mac) or port(mac=mac) for mac in macs))
        self._wishes[before.labels["place"]] = wish
        assert wish.credential is not None
        self._records.keep_credential(wish.id, wish.credential)
        self._body.ensure(Birth(wish, place, self._files / place.instance_id))
        return self._body.engine.apply(place, document)

    def state(self, place: Place) -> StateView:
        return self._body.engine.state(self._own(place))

    def repair(self, place: Place) -> StateView:
        return self._body.engine.repair(self._own(place))

    def remove(self, place: Place) -> None:
        place = self._own(place)
        self._body.engine.remove(place)
        self._body.end(place.instance_id, self._files / place.instance_id)

    def close(self) -> None:
        for wish in self._wishes.values():
            self._body.end(wish.id, self._files / wish.id)

    def _own(self, place: Place) -> Place:
        """Return the place under an id as instances have them."""
        return dataclasses.replace(place, instance_id=self._wish(place).id)

    def _wish(self, place: Place) -> InstanceSpec:
        if place.instance_id not in self._wishes:
            identifier = str(uuid.uuid4())
            self._wishes[place.instance_id] = replace(
                spec(),
                id=identifier,
                labels={"place": place.instance_id},
                body=Body(kind="container", image=IMAGE),
                credential=credential(self._deployment.authority, identifier),
            )
        return self._wishes[place.instance_id]
