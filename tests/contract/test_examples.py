"""The examples of docs/howto, installed by pip as anybody's packages and found through their entry points only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
ASK = """
import sys
from astara.host.wiring import appliances, subsystems
from astara.runtime.main import Orchestrator
from astara.runtime.options import load

assert appliances()["greeter"].name == "greeter"
assert subsystems(appliances()["greeter"])[-1].name == "frr"
operator = Orchestrator(load(["--config-file", sys.argv[1]])).operator
print([line.name for line in operator.drivers() if line.enabled])
print([line.name for line in operator.providers() if line.enabled])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has both packages; this process and its installation stay as they are."""
    target = tmp_path_factory.mktemp("site")
    offline = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation")
    packages = [str(EXAMPLES / name) for name in ("greeter", "paper", "frr-router")]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, "--target", str(target), *packages], check=True)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(target), *filter(None, sys.path)])}


def test_an_orchestrator_and_a_node_agent_find_them_by_name(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "astara.conf").write_text(
        f"[DEFAULT]\nstate_dir = {tmp_path}/state\n[neutron]\nurl = http://127.0.0.1:1\n"
        f"[intake]\nhttp_secret_file = {tmp_path}/secret\nhttp_listen = 127.0.0.1:0\n[metrics]\nlisten =\n"
        f"[services]\ndrivers = greeter\ndefault_provider = paper\n"
        f"[provider:paper]\ndirectory = {tmp_path}\nhosts = a, b\n"
    )
    argv = [sys.executable, "-c", ASK, str(tmp_path / "astara.conf")]
    asked = subprocess.run(argv, env=installed, capture_output=True, text=True, check=False)
    # Before them stands that the records were made.
    assert asked.stdout.splitlines()[-2:] == ["['greeter']", "['paper']"], asked.stderr


@pytest.mark.parametrize("example", ["greeter", "paper", "frr-router"])
def test_each_passes_the_public_suite_in_a_process_of_its_own(installed: dict[str, str], example: str) -> None:
    home = EXAMPLES / example
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(home), "tests"]
    done = subprocess.run(argv, env=installed, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
