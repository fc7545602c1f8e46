"""Containers in a test: podman with storage of its own, and this machine's root file system as the image.

The image is no copy: an overlay over `/`, in which the agent runs from the same sources as the test. Needs what
`tests/isolated` gives: a /run and a /sys/fs/cgroup of its own.
"""

from __future__ import annotations

import datetime
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

import astara
from astara.clients.authority import Authority, issue
from astara.contract.agent import Credential
from astara.contract.identity import instance_role
from astara.host.options import ContainerOptions

#: No control groups: they belong to the machine outside. Locks in files: the others are shared with it.
_CONFIGURATION = """
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

needs_podman = pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed")


def container_options(boot_deadline_s: float = 20.0) -> ContainerOptions:
    """Return options with an empty storage below /run; it goes with the test's machine."""
    directory = Path(tempfile.mkdtemp(prefix="containers.", dir="/run"))
    configuration = directory / "containers.conf"
    configuration.write_text(_CONFIGURATION)
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
