"""The whole process, wired, with simulated instances; Neutron and nodes come and go."""

from __future__ import annotations

import dataclasses
import datetime
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from astara.clients.authority import issue, open_authority
from astara.clients.issuing import make_issuer
from astara.contract.identity import ORCHESTRATOR
from astara.model.errors import BadConfiguration
from astara.model.operator import AuditQuery
from astara.pool.deficit import Size
from astara.pool.options import Kind, PoolOptions
from astara.providers.memory.provider import MemoryProvider
from astara.runtime.main import Orchestrator, main
from astara.runtime.options import Options, load
from support.segment import eventually


@pytest.fixture(autouse=True)
def _logs_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loggers keep what was configured at their first use: a whole process would decide for every test after it."""
    monkeypatch.setattr("astara.runtime.main.logs.configure", lambda **_: None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def configuration(home: Path) -> str:
    (home / "secret").write_text("s3cret")
    return f"""
[DEFAULT]
state_dir = {home}/state
[neutron]
url = http://127.0.0.1:{free_port()}
[intake]
http_listen = 127.0.0.1:{free_port()}
http_secret_file = {home}/secret
[services]
default_provider = memory
[admin]
socket = {home}/admin.sock
[metrics]
listen = 127.0.0.1:{free_port()}
"""


@pytest.fixture
def options(tmp_path: Path) -> Options:
    file = tmp_path / "astara.conf"
    file.write_text(configuration(tmp_path))
    return load(["--config-file", str(file)])


@pytest.fixture
def running(options: Options) -> Iterator[Orchestrator]:
    orchestrator = Orchestrator(options)
    orchestrator.start()
    yield orchestrator
    orchestrator.stop()


def test_without_neutron_it_starts_says_so_and_waits(running: Orchestrator) -> None:
    summary = running.operator.status()
    assert "does not answer" in summary.neutron
    assert [feed.connected for feed in summary.feeds] == [True]
    assert summary.resources == 0


def test_the_doctor_names_what_is_wrong_with_its_remedy(running: Orchestrator) -> None:
    lines = {line.check: line for line in running.operator.doctor()}
    assert not lines["neutron"].ok
    assert "[neutron] url" in lines["neutron"].remedy
    assert not lines["nodes"].ok
    assert lines["state_dir"].ok
    assert lines["database"].ok
    assert lines["disk"].ok
    assert all(line.remedy for line in lines.values() if not line.ok)


def test_corrupt_records_are_a_refusal_to_start_that_names_file_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "astara.conf").write_text(configuration(tmp_path))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "records.sqlite").write_bytes(b"no database at all" * 400)
    assert main(["--config-file", str(tmp_path / "astara.conf")]) == 2
    said = capsys.readouterr().err
    assert f"{tmp_path}/state/records.sqlite" in said
    assert "remedy: make it readable" in said


def test_metrics_are_served(running: Orchestrator, options: Options) -> None:
    assert options.metrics_listen is not None
    host, port = options.metrics_listen
    text = httpx.get(f"http://{host}:{port}/metrics", trust_env=False).text
    assert 'astara_feed_connected{feed="http"} 1.0' in text
    assert "astara_queue_depth" in text
    assert "astara_records_failing 0.0" in text


def test_the_installed_plugins_are_listed_with_what_is_enabled(running: Orchestrator) -> None:
    assert {line.name: line.enabled for line in running.operator.drivers()} == {"network": True, "router": True}
    enabled = {line.name: line.enabled for line in running.operator.providers()}
    assert (enabled["memory"], enabled["namespace"]) == (True, False)


def test_every_installed_plugin_tells_the_operator_what_it_is_in_one_line(running: Orchestrator) -> None:
    told = {line.name: line.description for line in (*running.operator.drivers(), *running.operator.providers())}
    assert "SNAT" in told["router"]
    assert "node agents" in told["namespace"]
    assert all(0 < len(text) <= 100 and "`" not in text and "model." not in text for text in told.values())


def test_every_start_has_a_greater_term(options: Options) -> None:
    """A predecessor that still acts is fenced off by its smaller term."""
    terms = []
    for _ in range(2):
        orchestrator = Orchestrator(options)
        orchestrator.start()
        terms.append(orchestrator.engine.term)
        orchestrator.stop()
    assert terms[0] < terms[1]


def test_a_bad_configuration_ends_with_code_2_and_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "astara.conf"
    file.write_text("[neutron]\n")
    assert main(["--config-file", str(file)]) == 2
    assert "remedy:" in capsys.readouterr().err


def test_a_state_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = tmp_path / "astara.conf"
    file.write_text(configuration(tmp_path).replace(f"{tmp_path}/state", f"{tmp_path}/file/state"))
    with pytest.raises(BadConfiguration, match="state_dir"):
        Orchestrator(load(["--config-file", str(file)]))


def scraped(options: Options) -> str:
    assert options.metrics_listen is not None
    host, port = options.metrics_listen
    return httpx.get(f"http://{host}:{port}/metrics", trust_env=False).text


def test_a_pool_of_what_is_not_enabled_is_refused_with_what_could_be_kept(options: Options) -> None:
    for kind in ("zeppelin", "microvm"):
        with pytest.raises(BadConfiguration, match=rf"\[pool\] {kind}") as refused:
            Orchestrator(dataclasses.replace(options, pool=PoolOptions(sizes={Kind(kind): Size(1, 1)})))
        assert "memory" in refused.value.remedy


def test_a_configured_pool_is_tended_and_shown(options: Options) -> None:
    orchestrator = Orchestrator(dataclasses.replace(options, pool=PoolOptions(sizes={Kind("memory"): Size(2, 3)})))
    memory = orchestrator._pool._keeper._providers["memory"]
    assert isinstance(memory, MemoryProvider)
    memory.cloud.hosts = ("h1",)
    orchestrator.start()
    try:
        [line] = eventually(lambda: [line for line in orchestrator.operator.pool() if line.ready == 2])
        assert (line.provider, line.host, line.floor, line.ceiling) == ("memory", "h1", 2, 3)
        assert eventually(lambda: 'astara_pool_spares{is="ready",kind="memory"} 2.0' in scraped(options))
        [check] = [check for check in orchestrator.operator.doctor() if check.check == "pool memory on h1"]
        assert check.ok
        made = [line for line in orchestrator.operator.audit(AuditQuery(resource="spare/0")) if line.reason == "pool"]
        assert len(made) == 2
        assert all("create spare" in line.steps[0] and "on h1 (memory)" in line.steps[0] for line in made)
    finally:
        orchestrator.stop()


NOVA = """
[services]
default_provider = nova
[provider:nova]
auth_url = http://127.0.0.1:9/v3
image = appliance
flavor = small
management_network = management
password = SECRET
places = compute-1
"""


def _nova(home: Path, further: str) -> Path:
    file = home / "astara.conf"
    plain = configuration(home).replace("default_provider = memory\n", "")
    file.write_text(plain.replace("[services]\n", "") + NOVA + further)
    return file


def test_agents_inside_servers_need_to_know_who_asks(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="cert_file") as refused:
        Orchestrator(load(["--config-file", str(_nova(tmp_path, ""))]))
    assert "nova" in refused.value.remedy


@pytest.mark.filterwarnings("ignore")  # libraries of the SDK import what Python has deprecated
def test_without_node_agents_routers_are_put_where_nova_serves_and_the_doctor_asks_the_cloud(tmp_path: Path) -> None:
    """The cloud does not answer: a line of the doctor's, and no reason not to start."""
    now = datetime.datetime.now(datetime.UTC)
    authority = open_authority(tmp_path / "tls", now)
    make_issuer(authority, now)
    own = issue(authority, "orchestrator", ORCHESTRATOR, [], now)
    further = (
        f"[nodes]\nca_file = {own.ca_file}\ncert_file = {own.cert_file}\nkey_file = {own.key_file}\n"
        f"[identity]\nca_dir = {tmp_path}/tls/instances\n"
    )
    orchestrator = Orchestrator(load(["--config-file", str(_nova(tmp_path, further))]))
    orchestrator.start()
    try:
        lines = {line.check: line for line in orchestrator.operator.doctor()}
        assert lines["node compute-1"].ok
        assert not lines["nova"].ok
        assert lines["nova"].remedy
        assert "SECRET" not in str(lines)
    finally:
        orchestrator.stop()


def test_starts_and_stops_are_in_the_audit_with_who_and_term(options: Options) -> None:
    for _ in range(2):
        orchestrator = Orchestrator(dataclasses.replace(options, name="one"))
        orchestrator.start()
        orchestrator.stop()
    again = Orchestrator(dataclasses.replace(options, name="two"))
    lines = again.operator.audit(AuditQuery(who="orchestrator one"))
    assert [line.reason for line in lines] == ["start", "stop"] * 2
    assert "term" in lines[0].steps[0]
    assert lines[0].steps != lines[2].steps
    again.stop()


def test_a_database_that_does_not_answer_is_a_refusal_to_start_without_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"mysql+pymysql://astara:s3cret@127.0.0.1:{free_port()}/astara"
    (tmp_path / "astara.conf").write_text(configuration(tmp_path) + f"[database]\nconnection = {where}\n")
    assert main(["--config-file", str(tmp_path / "astara.conf")]) == 2
    said = capsys.readouterr()
    assert "which resources operators hold cannot be read" in said.err
    assert "astara db check" in said.err
    assert "s3cret" not in said.err + said.out
