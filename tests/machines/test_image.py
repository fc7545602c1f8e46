"""What is in the appliance's image and what is not, and that agents tell which one they run."""

from __future__ import annotations

import json
import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.machines import IMAGES, agent_with_patience, deployment, machine_spec, needs_image
from support.node_agent import isolated

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make machines`"),
    needs_image,
]
#: Program -> the Debian package that brings it.
PROGRAMS = {
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "radvd": "radvd",
    "bird": "bird2",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "keepalived": "keepalived",
    "conntrackd": "conntrackd",
    "charon-systemd": "charon-systemd",
    "swanctl": "strongswan-swanctl",
    "wg": "wireguard-tools",
}


@pytest.fixture(scope="module")
def files() -> Iterator[dict[str, tarfile.TarInfo]]:
    """The root, by path without the leading slash."""
    with tarfile.open(IMAGES / "root.tar") as archive:
        yield {member.name.removeprefix("./"): member for member in archive}


def manifest() -> dict[str, object]:
    return dict(json.loads((IMAGES / "manifest.json").read_text()))


def test_everything_an_appliance_will_need_is_in_it_with_its_version(files: dict[str, tarfile.TarInfo]) -> None:
    there = {Path(name).name for name, one in files.items() if one.mode & stat.S_IXUSR}
    assert sorted(PROGRAMS.keys() - there) == []
    packages = manifest()["packages"]
    assert isinstance(packages, dict)
    assert sorted(set(PROGRAMS.values()) - packages.keys()) == []
    assert any(re.match(r"linux-image-6", name) for name in packages)
    assert all(re.match(r"\d", version) for version in packages.values())


def test_protocols_have_names_in_it(files: dict[str, tarfile.TarInfo]) -> None:
    """Without them conntrackd lets nothing through its filter, and says so nowhere but on its own stderr."""
    assert "etc/protocols" in files


def test_nobody_can_log_in_and_no_program_gives_rights(files: dict[str, tarfile.TarInfo]) -> None:
    with tarfile.open(IMAGES / "root.tar") as archive:
        text = {name: archive.extractfile(f"./etc/{name}") for name in ("passwd", "shadow")}
        lines = {name: one.read().decode().splitlines() for name, one in text.items() if one is not None}
    assert {line.rsplit(":", 1)[1] for line in lines["passwd"]} == {"/usr/sbin/nologin"}
    assert {line.split(":")[1] for line in lines["shadow"]} <= {"*", "!", "!*"}
    assert [name for name, one in files.items() if one.isfile() and one.mode & 0o6000] == []
    programs = {Path(name).name for name, one in files.items() if not one.isdir() and one.mode & stat.S_IXUSR}
    assert sorted({"sshd", "telnetd", "getty", "agetty", "login", "su", "apt", "dpkg", "systemd"} & programs) == []


def test_nothing_of_one_machine_is_in_it(files: dict[str, tarfile.TarInfo]) -> None:
    assert files["etc/machine-id"].size == 0
    keys = [name for name in files if re.search(r"(ssl/private/.|ssh_host_|random-seed|\.key$|snakeoil\.pem)", name)]
    assert keys == []
    assert {one.mtime for one in files.values()} == {files["etc"].mtime}


def test_a_machine_tells_which_image_it_runs(tmp_path: Path) -> None:
    node = deployment(tmp_path)
    with agent_with_patience(node) as (_, client):
        instance = machine_spec(node.authority)
        client.put_instance(instance)
        (view,) = client.instances().instances
        assert (view.body.image, view.image) == (manifest()["name"], manifest()["digest"])
        client.delete_instance(instance.id, instance.generation)
