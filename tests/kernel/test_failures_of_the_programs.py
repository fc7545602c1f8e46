"""What the node agent and the orchestrator meet when they start and while they run: taken ports, full disks.

Each is told by name with its remedy, leaves what others run, and is over when its cause is.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from astara.admin.client import OperatorClient
from astara.clients.appliance import NodeClient
from astara.contract.agent import Health, InstanceSpec
from astara.contract.generation import Generation
from astara.model.errors import AstaraError, Retry
from astara.model.operator import HistoryLine
from astara.model.resource import ResourceKey
from astara.records.database import locate
from astara.records.store import StoredRecords
from support.disks import SmallDisk, small_disk
from support.node_agent import AgentProcess, Deployment, isolated, port, router_document, running, spec
from support.segment import eventually, ip

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]
ENDS_WITHIN_S = 60.0
KEY = ResourceKey("router", "r1")


def ended(program: str, config: Path) -> tuple[int, str]:
    """Run a program that cannot start; return its status and its last words."""
    command = [str(Path(sys.executable).parent / program), "--config-file", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ENDS_WITHIN_S, check=False)
    return done.returncode, done.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", 256) as made:
        yield made


# A port that cannot be bound


@pytest.fixture
def rival() -> Iterator[socket.socket]:
    """Somebody who has a port already."""
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def test_a_node_agent_whose_port_is_taken_says_so_ends_and_starts_once_it_is_free(
    tmp_path: Path, rival: socket.socket
) -> None:
    port = rival.getsockname()[1]
    deployment = Deployment.at(tmp_path, port)
    deployment.write_config(tmp_path / "node.conf", port)

    status, words = ended("astara-node", tmp_path / "node.conf")

    assert status == 1
    assert f"listen: 127.0.0.1:{port} cannot be bound" in words
    assert "end who has it" in words
    assert "Traceback" not in words
    rival.close()
    agent = AgentProcess(deployment, tmp_path, port)
    agent.start()
    assert agent.stop() == 0
    agent.client.close()


def test_a_second_node_agent_touches_nothing_of_the_first_ones(tmp_path: Path) -> None:
    with running(Deployment.at(tmp_path)) as (agent, client):
        instance = spec()
        client.put_instance(instance)
        Deployment.at(tmp_path).write_config(tmp_path / "node.conf", agent.server.port)
        status, _ = ended("astara-node", tmp_path / "node.conf")
        assert status == 1
        assert Path(f"/run/netns/astara-{instance.id}").exists()
        assert [one.id for one in client.instances().instances] == [instance.id]
        client.delete_instance(instance.id, Generation(9, 0))


def orchestrator_config(directory: Path, **ports: int) -> Path:
    """A configuration whose ports are free ones, except those that are said."""
    (directory / "secret").write_text("s3cret")
    said = {"neutron": 9, "intake": 0, "metrics": 0} | ports
    config = directory / "astara.conf"
    config.write_text(f"""
[DEFAULT]
state_dir = {directory}/state
[neutron]
url = http://127.0.0.1:{said["neutron"]}
[intake]
http_listen = 127.0.0.1:{said["intake"] or free_port()}
http_secret_file = {directory}/secret
[services]
default_provider = memory
[admin]
socket = {directory}/admin.sock
[metrics]
listen = 127.0.0.1:{said["metrics"] or free_port()}
""")
    return config


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class OrchestratorProcess:
    """`astara-orchestrator` as an operator starts it; answers on its unix socket."""

    def __init__(self, directory: Path, config: Path) -> None:
        self._socket = directory / "admin.sock"
        self.log = directory / "orchestrator.log"
        with self.log.open("ab") as log:
            command = [str(Path(sys.executable).parent / "astara-orchestrator"), "--config-file", str(config)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def answers(self) -> bool:
        try:
            OperatorClient(self._socket).status()
        except AstaraError:
            return False
        return True

    def __enter__(self) -> OrchestratorProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def end(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=ENDS_WITHIN_S)


@pytest.mark.parametrize(("section", "option"), [("intake", "http_listen"), ("metrics", "listen")])
def test_an_orchestrator_whose_port_is_taken_says_so_ends_and_starts_once_it_is_free(
    tmp_path: Path, rival: socket.socket, section: str, option: str
) -> None:
    port = rival.getsockname()[1]
    config = orchestrator_config(tmp_path, **{section: port})

    status, words = ended("astara-orchestrator", config)

    assert status == 2
    assert f"[{section}] {option}=127.0.0.1:{port} cannot be bound" in words
    assert "remedy: choose" in words
    assert "Traceback" not in words
    rival.close()
    with OrchestratorProcess(tmp_path, config) as started:
        assert eventually(started.answers, within_s=30.0), started.log.read_text()
        assert started.end() == 0


def test_a_second_orchestrator_on_one_socket_ends_before_it_looks_at_anything(tmp_path: Path) -> None:
    with (
        OrchestratorProcess(tmp_path, orchestrator_config(tmp_path)) as first,
        socket.create_server(("127.0.0.1", 0)) as neutron,
    ):
        assert eventually(first.answers, within_s=30.0), first.log.read_text()
        second = orchestrator_config(tmp_path, neutron=neutron.getsockname()[1])
        status, words = ended("astara-orchestrator", second)
        assert status == 2
        assert "another orchestrator listens there" in words
        assert "remedy: stop it" in words
        neutron.settimeout(0.0)
        with pytest.raises(BlockingIOError):  # nobody has knocked at Neutron
            neutron.accept()
        assert first.answers()
        assert first.end() == 0


# A full disk


def test_an_agent_restarted_on_a_full_disk_serves_mends_and_takes_documents_once_there_is_room(disk: SmallDisk) -> None:
    deployment = Deployment.at(disk.path)
    with running(deployment) as (_, client):
        instance = spec(port())
        client.put_instance(instance)
        client.configure(instance.id, router_document(instance))
    disk.fill()

    with running(deployment) as (_, client):
        assert health(client) is Health.HEALTHY
        ip("netns", "exec", f"astara-{instance.id}", "nft", "flush", "ruleset")
        assert eventually(lambda: "table inet astara" in rules(instance) and health(client) is Health.HEALTHY)

        other = router_document(instance, Generation(1, 2), inside="10.0.7.1/24")
        with pytest.raises(Retry, match=r"No space left|disk is full") as full:
            client.configure(instance.id, other)
        assert "free space" in full.value.remedy
        assert "10.0.7.1" not in ip("-n", f"astara-{instance.id}", "addr")

        disk.relieve()
        client.configure(instance.id, other)
        assert "10.0.7.1" in ip("-n", f"astara-{instance.id}", "addr")
        client.delete_instance(instance.id, Generation(9, 0))


def health(client: NodeClient) -> Health:
    (view,) = client.instances().instances
    return view.state.health


def rules(instance: InstanceSpec) -> str:
    return ip("netns", "exec", f"astara-{instance.id}", "nft", "list", "tables")


def test_a_node_agent_that_finds_no_room_for_its_directories_names_the_remedy(tmp_path: Path) -> None:
    deployment = Deployment.at(tmp_path)
    config = tmp_path / "node.conf"
    deployment.write_config(config, 19872)
    with small_disk(tmp_path / "state", 64, files=1):
        status, words = ended("astara-node", config)
    assert status == 2
    assert "[DEFAULT] state_dir" in words
    assert "No space left" in words
    assert "remedy: free space" in words


def line(number: int) -> HistoryLine:
    return HistoryLine(at=float(number), reason="test", phase="absent", steps=("create",), outcome="settled")


def records(disk: SmallDisk) -> StoredRecords:
    made = StoredRecords(locate(None, disk.path), lambda: 100.0)
    made.open()
    return made


def test_records_on_a_full_disk_are_said_once_kept_meanwhile_and_written_once_there_is_room(disk: SmallDisk) -> None:
    store = records(disk)
    store.hold(KEY, "before")
    disk.fill()
    with capture_logs() as logs:
        for number in range(200):
            store.append(KEY, line(number))
        with pytest.raises(Retry, match="cannot be written") as full:
            store.hold(KEY, "while it is full " + "x" * 9000)
        assert "free space" in full.value.remedy
        assert store.holds() == {KEY: "before"}
        assert eventually(lambda: [log["event"] for log in logs] == ["records-failing"])
        assert "full" in logs[0]["error"]
        assert len(store.history(KEY, 1000)) == 200

        disk.relieve()
        store.hold(KEY, "afterwards")
        assert eventually(lambda: logs[-1]["event"] == "records-writable-again", within_s=30.0)
    store.close()
    again = records(disk)
    assert again.holds() == {KEY: "afterwards"}
    assert [found.at for found in again.history(KEY, 1000)] == [float(number) for number in range(200)]
    again.close()


def test_an_orchestrator_that_cannot_know_what_is_held_on_a_full_disk_ends_and_starts_once_there_is_room(
    disk: SmallDisk, tmp_path: Path
) -> None:
    (tmp_path / "state").symlink_to(disk.path)
    config = orchestrator_config(tmp_path)
    disk.fill()
    status, words = ended("astara-orchestrator", config)
    assert status == 2
    assert "full" in words
    assert "check free space" in words
    disk.relieve()
    with OrchestratorProcess(tmp_path, config) as started:
        assert eventually(started.answers, within_s=30.0), started.log.read_text()
        assert started.end() == 0
