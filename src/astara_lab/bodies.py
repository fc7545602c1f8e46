"""What instances of a lab may be made of besides namespaces: containers and machines of the appliance's image.

podman's images, containers and mounts are the lab's own, below its directory and its pod's /run: another lab, or the
machine's own podman, sees nothing of them.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from astara.host.bodies.container.podman import places
from astara_lab import ini, tasks
from astara_lab.ini import Sections
from astara_lab.places import POD_RUN, Lab
from astara_lab.tasks import BringUpError, Task
from astara_lab.waiting import NotInTime, until

if TYPE_CHECKING:
    from astara_lab.variant import Variant

#: The node agents' services, and the folders of their state.
FIRST, SECOND = "node", "node-2"
#: The node agent's default image of a container.
CONTAINER_IMAGE = "localhost/astara-appliance"
_TEMPLATE_S = 180.0
#: No control groups: they belong to the machine outside. Locks in files: the others are shared with it.
_CONTAINERS_CONF = """[containers]
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
#: How much longer than for namespaces everything may take: machines without KVM share two processors with all the rest.
_PATIENCE = {"namespace": 1, "container": 2, "microvm": 6}
_MANIFEST, _ROOT = "manifest.json", "root.tar"


def node_sections(lab: Lab, node: str = FIRST) -> Sections:
    """What node.conf says of bodies. The shell on a machine's console is how a lab hurts what is inside.

    `node` is the folder of the node agent's state; each has containers of its own.
    """
    sections: dict[str, dict[str, ini.Value]] = {
        "container": {"image": CONTAINER_IMAGE, "storage": _storage(lab, node), "containers_conf": _configuration(lab)},
        "microvm": {"images_dir": images_folder(lab), "shell": True},
    }
    return sections


def images_folder(lab: Lab) -> Path:
    """Where machines' images are, each in a folder below; the first one is a link to what the lab was given."""
    return lab.lib / "images"


def body_of(lab: Lab) -> str:
    """What routers of a lab run in, as its orchestrator was told."""
    conf = configparser.ConfigParser(strict=False, interpolation=None)
    conf.read(lab.etc / "astara.conf")
    return conf.get("services", "default_provider", fallback="namespace")


def patience(body: str) -> str:
    """What the variable `waiting.PATIENCE` shall be."""
    return str(_PATIENCE.get(body, 1))


def tasks_of(lab: Lab, variant: Variant) -> list[Task]:
    """What must be there before the node agent starts. Raises BringUpError when a body is asked for and cannot be."""
    _write_configuration(lab)
    if variant.image is None:
        asked = {variant.body, variant.of_networks} - {"namespace"}
        if asked:
            raise BringUpError(f"body {', '.join(sorted(asked))} needs an image: name its folder with --image")
        return []
    manifest = variant.image / _MANIFEST
    if not manifest.is_file():
        raise BringUpError(f"no appliance image in {variant.image}: `make image` builds one")
    program = {"container": "podman", "microvm": "qemu-system-x86_64"}
    for body in {variant.body, variant.of_networks} & program.keys():
        if shutil.which(program[body]) is None:
            raise BringUpError(f"{program[body]} is not installed: `make install-bodies`")
    _offer(lab, variant.image)
    if shutil.which("podman") is None:
        return []
    return [
        Task("container-image", lambda: _import(lab, manifest, FIRST)),
        *([Task("container-image-2", lambda: _import(lab, manifest, SECOND))] if variant.nodes > 1 else []),
    ]


def template(lab: Lab, variant: Variant) -> list[Task]:
    """Machines wake from a template once it is there; a lab of machines is up when it is."""
    if "microvm" not in {variant.body, variant.of_networks}:
        return []

    def wait(node: str) -> None:
        folder = lab.lib / node / "templates"
        try:
            until("the machines' template", lambda: _pictures(folder), _TEMPLATE_S)
        except NotInTime as late:
            raise BringUpError(f"{late}\n{tasks.tail(lab, node)}") from late

    return [
        Task("template", lambda: wait(FIRST), (FIRST,)),
        *([Task("template-2", lambda: wait(SECOND), (SECOND,))] if variant.nodes > 1 else []),
    ]


def _pictures(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*/picture") if not path.parent.name.endswith(".making")]


def _offer(lab: Lab, image: Path) -> None:
    link = images_folder(lab) / image.name
    link.parent.mkdir(parents=True, exist_ok=True)
    for old in link.parent.iterdir():
        if old.is_symlink() and (old != link or link.readlink() != image):
            old.unlink()
    if not link.is_symlink():
        link.symlink_to(image)


def podman(lab: Lab, node: str, *words: str) -> str:
    """Have a node's podman do something; returns what it printed. Raises BringUpError with its last words."""
    storage = _storage(lab, node)
    done = subprocess.run(
        ["podman", "--log-level=error", *places(storage), *words],
        check=False,
        capture_output=True,
        text=True,
        env=dict(os.environ) | {"CONTAINERS_CONF": str(_configuration(lab)), "TMPDIR": str(storage)},
    )
    if done.returncode != 0:
        raise BringUpError(f"podman {words[0]}: {done.stderr.strip()}")
    return done.stdout


def _storage(lab: Lab, node: str) -> Path:
    return lab.lib / node.replace(FIRST, "containers")


def _configuration(lab: Lab) -> Path:
    return lab.etc / "containers.conf"


def _write_configuration(lab: Lab) -> None:
    _configuration(lab).write_text(_CONTAINERS_CONF)


def _import(lab: Lab, manifest: Path, node: str) -> None:
    """Make the image known to a node's podman, unless this very one is. Raises BringUpError."""
    storage, digest = _storage(lab, node), str(json.loads(manifest.read_text())["digest"])
    mounted_here = POD_RUN / f"{storage.name}.mounted"
    if not mounted_here.exists():
        shutil.rmtree(storage / "run", ignore_errors=True)  # what an earlier pod had mounted
        mounted_here.touch()
    marker = storage / "imported"
    if marker.exists() and marker.read_text() == digest:
        return
    storage.mkdir(parents=True, exist_ok=True)
    root = str(manifest.parent / _ROOT)
    podman(lab, node, "import", "--quiet", "--change", "LABEL=astara.appliance=1", root, CONTAINER_IMAGE)
    marker.write_text(digest)
