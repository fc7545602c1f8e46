"""Two orchestrators as an operator starts them, one MariaDB, and the commands he types when it dies."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from astara.admin.client import OperatorClient
from astara.admin.session import Session
from astara.model.errors import AstaraError, Retry
from astara.model.operator import AuditQuery
from astara.model.resource import ResourceKey
from astara.runtime.database_command import db
from support.neutron.mariadb import MariaDB, server
from support.segment import eventually

PROGRAMS = Path(sys.executable).parent
R1, R2 = ResourceKey("router", "r1"), ResourceKey("router", "r2")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """`astara-orchestrator` called `name`, with simulated instances and no Neutron."""

    def __init__(self, home: Path, name: str, url: str) -> None:
        self.config, self.log = home / f"{name}.conf", home / f"{name}.log"
        self.client = OperatorClient(home / f"{name}.sock")
        (home / "secret").write_text("s3cret")
        self.config.write_text(f"""
[DEFAULT]
name = {name}
state_dir = {home}/{name}
[database]
connection = {url}
[cluster]
coordination_url = database
[neutron]
url = http://127.0.0.1:9
[intake]
http_listen = 127.0.0.1:{free_port()}
http_secret_file = {home}/secret
[services]
default_provider = memory
[admin]
socket = {home}/{name}.sock
[metrics]
listen =
""")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [str(PROGRAMS / "astara-orchestrator"), "--config-file", str(self.config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def answers(self) -> bool:
        try:
            return bool(self.client.status().version)
        except AstaraError:
            return False

    def refused(self) -> str:
        """Start it where it cannot start; return what it says."""
        command = [str(PROGRAMS / "astara-orchestrator"), "--config-file", str(self.config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        return done.stderr

    def database(self, *command: str) -> Result:
        return CliRunner().invoke(db, [*command, "--config-file", str(self.config)], obj=Session())

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)


@pytest.fixture
def mariadb(tmp_path: Path) -> Iterator[MariaDB]:
    with server(tmp_path) as started:
        yield started


@pytest.fixture
def programs(mariadb: MariaDB) -> Iterator[tuple[Program, Program]]:
    url = mariadb.create("astara")
    with tempfile.TemporaryDirectory(prefix="astara-") as home:  # a socket's path may have 107 bytes
        made = Program(Path(home), "one", url), Program(Path(home), "other", url)
        yield made
        for program in made:
            program.end()


def test_a_shared_database_is_prepared_dies_comes_back_and_has_lost_nothing(
    mariadb: MariaDB, programs: tuple[Program, Program]
) -> None:
    one, other = programs
    assert one.database("check").exit_code == 1
    assert "astara db upgrade" in one.refused()
    assert one.database("upgrade").exit_code == 0
    assert json.loads(one.database("check", "--json").output)["usable"]
    for program in programs:
        program.start()
    for program in programs:
        assert eventually(program.answers, within_s=30.0), program.log.read_text()

    one.client.hold(R1, "said before")
    assert eventually(lambda: [line.steps for line in other.client.audit(AuditQuery(resource=str(R1)))])
    mariadb.kill()
    with pytest.raises(Retry, match="in force until a restart only"):
        one.client.hold(R2, "said meanwhile")
    assert eventually(lambda: one.client.status().records != "ok" != other.client.status().records)
    assert not {line.check: line.ok for line in other.client.doctor()}["database"]
    with pytest.raises(Retry, match="cannot be read"):
        other.client.audit(AuditQuery())
    mariadb.start()

    def told() -> list[tuple[str, str]]:
        try:
            lines = other.client.audit(AuditQuery(who="uid "))
        except Retry:
            return []
        return [(line.resource, line.outcome) for line in lines]

    wanted = [(str(R1), "done"), (str(R2), "retry")]
    assert eventually(lambda: told() == wanted, within_s=30.0), told()
    assert eventually(lambda: one.client.status().records == "ok" == other.client.status().records, within_s=30.0)
    starts = other.client.audit(AuditQuery(who="orchestrator"))
    assert {line.who for line in starts if line.reason == "start"} == {"orchestrator one", "orchestrator other"}
    rings = [line.steps[0] for line in starts if line.reason == "ring"]
    assert any(step.endswith("of one, other") for step in rings), rings
    logged = one.log.read_text() + other.log.read_text()
    assert "records-failing" in logged
    assert "s3cret" not in logged
    assert "Traceback" not in logged
