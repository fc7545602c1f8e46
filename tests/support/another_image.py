"""A second image of the appliance for a lab, in a second or two: the one it has, with a digest of its own inside.

Containers get a layer on top of theirs (create, copy, commit: nothing runs); machines an initramfs that lays a file
over the same root. So both differ in content, and an agent that was started from it says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from astara_lab import bodies
from astara_lab.places import Lab
from astara_lab.tasks import BringUpError
from support.machines import put_before_start, unpacked_initramfs

NAME = "astara-next"
_CONTAINER = f"localhost/{NAME}"
_DIGEST = Path("usr/lib/astara/image")


@dataclass(frozen=True)
class Images:
    """Digests of the one the lab was brought up with, and of the other."""

    first: str
    second: str


@contextlib.contextmanager
def another_image(lab: Lab, body: str, nodes: Sequence[str]) -> Iterator[Images]:
    """Put it on `nodes`, named as their services are; take it away again."""
    folder = next(bodies.images_folder(lab).glob("*/manifest.json")).parent
    first = str(json.loads((folder / "manifest.json").read_text())["digest"])
    second = f"sha256:{hashlib.sha256(first.encode()).hexdigest()}"
    put = _for_containers if body == "container" else _for_machines
    with tempfile.TemporaryDirectory(prefix="another.", dir=lab.lib) as directory, contextlib.ExitStack() as stack:
        stack.enter_context(put(lab, folder, Path(directory), second, nodes))
        yield Images(first, second)


@contextlib.contextmanager
def _for_containers(lab: Lab, folder: Path, directory: Path, digest: str, nodes: Sequence[str]) -> Iterator[None]:
    (directory / "image").write_text(f"{digest}\n")
    for node in nodes:
        made = bodies.podman(lab, node, "create", bodies.CONTAINER_IMAGE, "true").strip()
        bodies.podman(lab, node, "cp", str(directory / "image"), f"{made}:/{_DIGEST}")
        bodies.podman(lab, node, "commit", "--quiet", made, _CONTAINER)
        bodies.podman(lab, node, "rm", made)
    yield
    for node in nodes:
        with contextlib.suppress(BringUpError):  # what a test that failed left runs from it: it goes with the lab
            bodies.podman(lab, node, "rmi", "--ignore", _CONTAINER)


@contextlib.contextmanager
def _for_machines(lab: Lab, folder: Path, directory: Path, digest: str, nodes: Sequence[str]) -> Iterator[None]:
    with unpacked_initramfs(directory, folder) as (image, tree):
        laid = tree / "extra" / _DIGEST
        laid.parent.mkdir(parents=True)
        laid.write_text(f"{digest}\n")
        put_before_start(tree, "/bin/busybox cp -a /extra/. /root/")
        manifest = json.loads((folder / "manifest.json").read_text()) | {"name": NAME, "digest": digest}
        (image / "manifest.json").unlink()
        (image / "manifest.json").write_text(json.dumps(manifest))
    there = bodies.images_folder(lab) / NAME
    image.rename(there)
    yield
    shutil.rmtree(there)
