"""What the agent inside a machine imports: without KVM each module takes it twenty times as long as natively."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from astara import installed

#: What libraries ask for, or an agent of a node needs, and the agent of one instance does without.
_HEAVY = (
    "anyio", "asyncio", "click", "cryptography", "email.parser", "http.client", "httpx", "importlib.metadata",
    "multiprocessing", "rich", "typing_extensions", "urllib.request", "zipfile",
)  # fmt: skip
_START = """
import sys
from pathlib import Path
from astara import installed
installed.KEPT = Path(sys.argv[1])
from astara.spared import inside_a_machine
with inside_a_machine():
    import astara.host.machine.main
from astara.appliance.subsystems.metadata.config import NAME
from astara.host import wiring
from astara.host.bodies.beside import Elsewhere
drivers = wiring.appliances()
wiring.engine(Elsewhere(NAME), drivers)
installed.own_version()
assert {"router", "network"} <= drivers.keys(), drivers
"""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    file = tmp_path / "installed.json"
    file.write_text(installed.written())
    return file


def test_an_agent_of_one_instance_imports_nothing_it_does_without(kept: Path) -> None:
    told = f"{_START}\nprint(*sys.modules)"
    loaded = _run(told, kept).split()
    assert not set(_HEAVY) & set(loaded)
    assert "astara.drivers.router.appliance" in loaded


def test_what_was_left_for_later_is_there_when_it_is_wanted(kept: Path) -> None:
    later = f"""{_START}
import asyncio, structlog.stdlib
async def loop(): return structlog.stdlib.asyncio.get_running_loop()
assert asyncio.run(loop())
assert structlog.stdlib.asyncio.Queue is asyncio.Queue
from importlib.metadata import version
assert version("msgspec")
from astara.appliance.subsystems.metadata.proxy import MetadataProxy
"""
    _run(later, kept)


def test_what_an_image_has_written_down_is_what_its_packages_say(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = ("astara.appliances", "astara.attach", "astara.bodies", "astara.subsystems", "astara.drivers")
    monkeypatch.setattr(installed, "KEPT", tmp_path / "none")
    of_packages = {group: installed.plugins(group) for group in groups}
    monkeypatch.setattr(installed, "KEPT", kept)
    assert {group: installed.plugins(group) for group in groups} == of_packages
    assert of_packages["astara.appliances"]
    assert json.loads(kept.read_text())["version"] == installed.own_version()


def _run(program: str, kept: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", program, str(kept)], check=False, timeout=60, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
