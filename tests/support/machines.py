"""Machines in a test: a node agent that makes them of the image in `build/image`, and hosts around them.

Needs what `make machines` gives: a machine-like environment of its own, the image built before, QEMU.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from astara.clients.appliance import NodeClient, NodeTimeouts
from astara.clients.authority import Authority, issue
from astara.contract.agent import Body, Credential, InstanceSpec, PortAttachment
from astara.contract.identity import instance_role
from astara.host.attach.bridge import bridge_name
from astara.host.main import Agent
from astara.host.options import MicrovmOptions
from support.node_agent import Deployment, running, spec
from support.terrain import Host, Terrain

IMAGES = Path(os.environ.get("ASTARA_IMAGES", Path(__file__).parents[2] / "build" / "image"))
MICROVM = Body(kind="microvm")
#: Machines have no KVM in tests and are as slow as the processor is busy.
PATIENCE_S = 200.0

needs_image = pytest.mark.skipif(
    not (IMAGES / "manifest.json").exists() or shutil.which("qemu-system-x86_64") is None,
    reason="no image or no QEMU: `make image`",
)


def microvm_options(**changes: object) -> MicrovmOptions:
    """TCG: the tests mean the same on every machine."""
    return dataclasses.replace(
        MicrovmOptions(images_dir=IMAGES, accel="tcg", templates=False, boot_deadline_s=PATIENCE_S), **changes
    )


def deployment(directory: Path, **changes: object) -> Deployment:
    """A node that can make machines; `changes` of its options for them."""
    made = Deployment.at(directory)
    return dataclasses.replace(made, options=dataclasses.replace(made.options, microvm=microvm_options(**changes)))


@contextlib.contextmanager
def agent_with_patience(node: Deployment) -> Iterator[tuple[Agent, NodeClient]]:
    """An agent in this process and a client that waits for machines to boot on a processor that is busy."""
    with running(node) as (agent, _):
        timeouts = NodeTimeouts(read_s=PATIENCE_S, quiet_s=0.0)
        client = NodeClient(node.endpoint(agent.server.port), node.orchestrator, timeouts)
        try:
            yield agent, client
        finally:
            client.close()


@contextlib.contextmanager
def unpacked_initramfs(directory: Path, like: Path = IMAGES) -> Iterator[tuple[Path, Path]]:
    """An image like that one in `directory`/image, and the files of its initramfs, which go into it when this ends."""
    image, tree = directory / "image", directory / "initramfs"
    image.mkdir()
    tree.mkdir()
    for name in ("vmlinux", "root.sqfs", "manifest.json"):
        (image / name).symlink_to(like / name)
    subprocess.run(["cpio", "-id", "--quiet"], input=(like / "initramfs").read_bytes(), cwd=tree, check=True)
    yield image, tree
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), cwd=tree, capture_output=True, check=True
    )
    (image / "initramfs").write_bytes(packed.stdout)
    shutil.rmtree(tree)


def changed_image(directory: Path, lay_out: Callable[[Path], None]) -> Path:
    """Return an image like ours whose Python has what `lay_out` puts into a directory."""
    with unpacked_initramfs(directory) as (image, tree):
        packages = tree / "extra" / "usr/lib/python3/dist-packages"
        packages.mkdir(parents=True)
        lay_out(packages)
        commands = ["/bin/busybox cp -a /extra/. /root/"]
        if any(packages.glob("*.dist-info")):  # then what the image has written down of its packages is not all
            commands.append("/bin/busybox rm -f /root/usr/lib/astara/installed.json")
        put_before_start(tree, *commands)
    return image


def put_before_start(tree: Path, *commands: str) -> None:
    """Have an initramfs do these before it hands over to the root."""
    init, before = (tree / "init").read_text(), "  exec /bin/busybox switch_root"
    assert before in init
    put = "".join(f"  {command} &&\n" for command in commands)
    (tree / "init").write_text(init.replace(before, put + before))


def has_template(node: Deployment) -> bool:
    found = (node.options.state_dir / "templates").glob("*/picture")
    return any(not path.parent.name.endswith(".making") for path in found)


def credential(authority: Authority, instance_id: str, role: str | None = None) -> Credential:
    """Issue what an instance is born with."""
    now = datetime.datetime.now(datetime.UTC)
    made = issue(authority, instance_id, role or instance_role(instance_id), [], now)
    return Credential(
        ca=made.ca_file.read_text(), certificate=made.cert_file.read_text(), key=made.key_file.read_text()
    )


def machine_spec(authority: Authority, *ports: PortAttachment) -> InstanceSpec:
    """An instance that shall be a machine."""
    wish = spec(*ports)
    return replace(wish, body=MICROVM, credential=credential(authority, wish.id))


def host_on(land: Terrain, name: str, port: PortAttachment, *addresses: str, via: str) -> Host:
    """A host on the network of `port`, whose bridge the node agent has made."""
    land.adopt(name, bridge_name(port.network_id))
    return land.host(name, name, *addresses, via=(via,) if via else ())
