"""What we accepted as right, the daemons accept too; and they refuse what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from astara.appliance.system import processes
from support.golden_files import every
from support.node_agent import isolated
from support.segment import ip

pytestmark = pytest.mark.kernel

DNSMASQ = ["/usr/sbin/dnsmasq", "--test", "--conf-file=-"]
RADVD = ["/usr/sbin/radvd", "-c", "-m", "stderr", "-C", "/dev/stdin"]
CONNTRACKD = ["/usr/sbin/conntrackd", "-C", "/dev/stdin", "-s"]


@pytest.mark.parametrize("path", every("dnsmasq", "*.conf"), ids=lambda path: path.stem)
def test_dnsmasq_accepts(path: Path) -> None:
    assert processes.run(None, DNSMASQ, stdin=path.read_bytes()) == (0, "dnsmasq: syntax check OK.\n")


@pytest.mark.parametrize("path", every("dnsmasq", "*.bad"), ids=lambda path: path.stem)
def test_dnsmasq_refuses(path: Path) -> None:
    assert processes.run(None, DNSMASQ, stdin=path.read_bytes())[0] != 0


@pytest.mark.parametrize("path", every("radvd", "*.conf"), ids=lambda path: path.stem)
def test_radvd_accepts(path: Path) -> None:
    assert processes.run(None, RADVD, stdin=path.read_bytes())[0] == 0


@pytest.mark.parametrize("path", every("radvd", "*.bad"), ids=lambda path: path.stem)
def test_radvd_refuses(path: Path) -> None:
    assert processes.run(None, RADVD, stdin=path.read_bytes())[0] != 0


@pytest.mark.parametrize("path", every("conntrackd", "*.conf"), ids=lambda path: path.stem)
def test_conntrackd_accepts(path: Path) -> None:
    """It has no dry run: what it says after its parser is that nobody listens there."""
    assert "can't connect" in processes.run(None, CONNTRACKD, stdin=path.read_bytes())[1]


@pytest.mark.parametrize("path", every("conntrackd", "*.bad"), ids=lambda path: path.stem)
def test_conntrackd_refuses(path: Path) -> None:
    assert "can't connect" not in processes.run(None, CONNTRACKD, stdin=path.read_bytes())[1]


@pytest.mark.skipif(not isolated(), reason="makes a network namespace: run it by `make kernel`")
@pytest.mark.parametrize(
    "path", [*every("keepalived", "*.conf"), *every("keepalived", "*.bad")], ids=lambda path: path.name
)
def test_keepalived_accepts_what_is_right_alone(path: Path, tmp_path: Path) -> None:
    place = "astara-goldens"
    # Later versions want the files to be there.
    config, there = tmp_path / "keepalived.conf", tmp_path / "conntrackd"
    there.mkdir()
    (there / "role.sh").write_text("#!/bin/sh\n")
    (there / "path").write_text("0\n")
    config.write_text(path.read_text().replace("/var/lib/astara/i/conntrackd", str(there)))
    ip("netns", "add", place)
    try:
        for link in ("heart0", "tap0", "tap1"):
            ip("-n", place, "link", "add", "name", link, "type", "bridge")
        argv = ["/usr/sbin/keepalived", "--config-test", "-f", str(config)]
        status, words = processes.run(Path("/run/netns") / place, argv)
    finally:
        ip("netns", "del", place)
    assert (status == 0) == (path.suffix == ".conf"), words
