"""Whom a machine can reach beside its tenants: tried from inside, as root of the machine, with whatever it likes."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from astara.model.errors import Retry
from support.machines import IMAGES, agent_with_patience, deployment, machine_spec, needs_image
from support.node_agent import isolated
from support.segment import ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make machines`"),
    needs_image,
]
#: The node's own address elsewhere; a server listens on it, and on all others.
NODE_ADDRESS, PORT = "192.0.2.1", 8080
_INTRUDER = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
for module in $(/bin/busybox cat /modules); do /bin/busybox insmod "/lib/$module"; done
cd /bin; set -- ; export PATH=/bin; busybox --install -s /bin 2>/dev/null
ip link set lo up; ip link set eth0 up
ip addr add 169.254.0.2/16 dev eth0; ip route add default via 169.254.0.1; ip -6 route add default via fe80::1 dev eth0
echo INTRUDER
{attempts}
echo GONE
poweroff -f
"""


@pytest.fixture
def server() -> Iterator[None]:
    """Something to be found on the node, which forwards besides."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    ip("addr", "add", f"{NODE_ADDRESS}/32", "dev", "lo")
    with closing(socket.create_server(("", PORT))):
        yield
    ip("addr", "del", f"{NODE_ADDRESS}/32", "dev", "lo")


def intruder(directory: Path, attempts: Sequence[str]) -> Path:
    """An image whose first process makes these attempts and says on the console which were answered."""
    image, tree = directory / "image", directory / "tree"
    image.mkdir()
    tree.mkdir()
    for name in ("vmlinux", "root.sqfs", "manifest.json"):
        (image / name).symlink_to(IMAGES / name)
    subprocess.run(["cpio", "-id", "--quiet"], input=(IMAGES / "initramfs").read_bytes(), cwd=tree, check=True)
    lines = [
        f'if {attempt} >/dev/null 2>&1; then echo "YES {n}"; else echo "NO {n}"; fi'
        for n, attempt in enumerate(attempts)
    ]
    (tree / "init").write_text(_INTRUDER.format(attempts="\n".join(lines)))
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], input=names.encode(), cwd=tree, capture_output=True, check=True
    )
    (image / "initramfs").write_bytes(packed.stdout)
    shutil.rmtree(tree)
    return image


def test_a_machine_reaches_its_own_node_side_and_nothing_else(server: None, tmp_path: Path) -> None:
    attempts = {
        "ping -c1 -W2 169.254.0.1": True,  # the probe works
        f"nc -w2 169.254.0.1 {PORT} </dev/null": False,
        "nc -w2 169.254.0.1 19801 </dev/null": False,
        f"ping -c1 -W2 {NODE_ADDRESS}": False,
        f"nc -w2 {NODE_ADDRESS} {PORT} </dev/null": False,
        "ping -c1 -W2 169.254.0.3": False,
        "ping -c1 -W2 169.254.169.254": False,
        "ping -6 -c1 -W2 fe80::1%eth0": False,
    }
    image = intruder(tmp_path, list(attempts))
    node = deployment(tmp_path / "node", images_dir=image)
    with agent_with_patience(node) as (_, client), pytest.raises(Retry) as told:
        client.put_instance(machine_spec(node.authority))
    said = str(told.value)
    assert "INTRUDER" in said, said
    assert "GONE" in said, said
    for number, (attempt, answered) in enumerate(attempts.items()):
        assert f"{'YES' if answered else 'NO'} {number}" in said, (attempt, said)


def test_two_machines_have_no_way_to_each_other(tmp_path: Path) -> None:
    """Both have the same address; each answers in its own namespace only, and none in the node's."""
    node = deployment(tmp_path, templates=False)
    with agent_with_patience(node) as (_, client):
        one = machine_spec(node.authority)
        client.put_instance(one)
        with pytest.raises(OSError, match=r"unreachable|timed out"):
            socket.create_connection(("169.254.0.2", 19801), timeout=1)
        client.delete_instance(one.id, one.generation)
