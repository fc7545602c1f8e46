"""What we accepted as right, the daemons accept too; and they refuse what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from astara.appliance.system import processes
from support.golden_files import every

pytestmark = pytest.mark.kernel

DNSMASQ = ["/usr/sbin/dnsmasq", "--test", "--conf-file=-"]
RADVD = ["/usr/sbin/radvd", "-c", "-m", "stderr", "-C", "/dev/stdin"]


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
