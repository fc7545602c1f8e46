"""What an operator asks reaches the orchestrator and comes back: client and command against a real AdminServer."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog
from click.testing import CliRunner, Result

from astara.admin.api import ResyncReply
from astara.admin.cli import cli
from astara.admin.client import NotReachable, OperatorClient
from astara.admin.server import AdminServer
from astara.contract.codec import Wire, convert
from astara.model.errors import BadConfiguration, Gone, Retry, Stale, Terminal
from astara.model.operator import (
    AuditQuery,
    CheckLine,
    ClusterView,
    HistoryLine,
    InstanceLine,
    Operator,
    PluginLine,
    PoolLine,
    ResourceDetail,
    ResourceLine,
    StatusSummary,
    UpgradeView,
)
from astara.model.resource import ResourceKey
from support.fakes.operator import BLUE, GREEN, INSTANCE, FakeOperator

NOBODY = ResourceKey("router", "33333333-dddd-4000-8000-000000000003")


@pytest.fixture
def home() -> Iterator[Path]:
    # pytest's own tmp_path may exceed the 107 bytes a unix socket's path may have.
    with tempfile.TemporaryDirectory(prefix="astara-") as name:
        yield Path(name)


@pytest.fixture(autouse=True)
def _stop_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    # How long cheroot's selector sleeps, and so how long it may take to notice stop().
    monkeypatch.setattr("cheroot.server.HTTPServer.expiration_interval", 0.02)


@pytest.fixture
def operator() -> FakeOperator:
    return FakeOperator()


@pytest.fixture
def path(home: Path, operator: FakeOperator) -> Iterator[Path]:
    server = AdminServer(operator, home / "admin.sock")
    server.start()
    yield home / "admin.sock"
    server.stop()


@pytest.fixture
def client(path: Path) -> OperatorClient:
    return OperatorClient(path)


def ask(path: Path, *words: str) -> Result:
    return CliRunner().invoke(cli, ["--socket", str(path), *words], prog_name="astara")


def test_the_client_gives_the_same_answers_as_the_operator_itself(
    client: OperatorClient, operator: FakeOperator
) -> None:
    def answers(asked: Operator) -> list[object]:
        return [
            asked.status(),
            list(asked.resources()),
            asked.resource(BLUE),
            list(asked.history(BLUE)),
            list(asked.audit(AuditQuery(resource=str(BLUE), who="root & co", outcome="done", since=0.5, limit=7))),
            list(asked.instances()),
            asked.console_log(INSTANCE),
            list(asked.drivers()),
            list(asked.providers()),
            list(asked.doctor()),
        ]

    assert answers(client) == answers(operator)
    assert operator.asked[0] == operator.asked[1], "the whole question arrived"


def test_actions_reach_the_operator(client: OperatorClient, operator: FakeOperator) -> None:
    client.rebuild(BLUE)
    client.hold(GREEN, "being debugged")
    client.release_brake()
    assert client.resync(BLUE) == 1
    assert client.resync(None) == 2
    assert operator.rebuilt == [BLUE]
    assert operator.lines[GREEN].hold_reason == "being debugged"
    assert not operator.braked
    assert operator.resynced == [BLUE, None]
    client.release(GREEN)
    assert not operator.lines[GREEN].held


@pytest.mark.parametrize("error", [Gone("g", "r"), Stale("s", "r"), Retry("y", "r"), Terminal("t", "r")])
def test_every_refusal_arrives_as_what_it_was_with_its_remedy(
    client: OperatorClient, operator: FakeOperator, error: Gone | Stale | Retry | Terminal
) -> None:
    operator.fails = error
    with pytest.raises(type(error), match=str(error)) as caught:
        client.status()
    assert caught.value.remedy == "r"


def test_a_defect_of_the_orchestrator_is_told_without_traceback_or_detail(path: Path, operator: FakeOperator) -> None:
    operator.fails = RuntimeError("password=hunter2")
    with structlog.testing.capture_logs() as logged:
        result = ask(path, "status")
    assert [line["event"] for line in logged] == ["admin.failed"]
    assert result.exit_code == 1
    assert "RuntimeError" in result.output
    assert "hunter2" not in result.output
    assert "Traceback" not in result.output


def test_the_socket_is_for_its_owner_only(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_stale_socket_is_replaced_and_a_living_one_is_not(home: Path, operator: FakeOperator) -> None:
    path = home / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    first = AdminServer(operator, path)
    first.start()
    try:
        with pytest.raises(BadConfiguration, match="another orchestrator listens"):
            AdminServer(operator, path).start()
        assert OperatorClient(path).status().term == 7
    finally:
        first.stop()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_never_removed(home: Path, operator: FakeOperator) -> None:
    path = home / "admin.sock"
    path.write_text("precious")
    with pytest.raises(BadConfiguration, match="cannot be bound"):
        AdminServer(operator, path).start()
    assert path.read_text() == "precious"


def test_a_path_too_long_for_the_kernel_is_refused_with_the_limit(home: Path, operator: FakeOperator) -> None:
    with pytest.raises(BadConfiguration, match="107"):
        AdminServer(operator, home / ("x" * 120)).start()


@pytest.mark.parametrize(
    ("method", "path_asked", "body", "status"),
    [
        ("GET", "/v1/nothing", b"", 404),
        ("DELETE", "/v1/status", b"", 405),
        ("POST", f"/v1/resources/{BLUE}/hold", b"{", 400),
        ("POST", f"/v1/resources/{BLUE}/hold", b'{"reason": " "}', 400),
        ("POST", f"/v1/resources/{BLUE}/hold", b'{"reason": "x", "more": 1}', 400),
        ("POST", "/v1/resync", b'{"resource": "nonsense"}', 400),
        ("POST", f"/v1/resources/{NOBODY}/rebuild", b"", 404),
        ("GET", "/v1/resources/router/..%2F..%2Fetc", b"", 404),
    ],
)
def test_a_bad_request_is_refused_with_a_message_and_a_remedy(
    path: Path, method: str, path_asked: str, body: bytes, status: int
) -> None:
    code, answer = raw(path, method, path_asked, body)
    assert code == status
    assert answer["message"]
    assert answer["remedy"]


def raw(path: Path, method: str, path_asked: str, body: bytes) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("astara")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    try:
        connection.request(method, path_asked, body=body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("status",), StatusSummary),
        (("resource", "list"), tuple[ResourceLine, ...]),
        (("resource", "show", "blue"), ResourceDetail),
        (("resource", "history", "blue"), tuple[HistoryLine, ...]),
        (("instance", "list"), tuple[InstanceLine, ...]),
        (("instance", "show", "9999"), InstanceLine),
        (("drivers",), tuple[PluginLine, ...]),
        (("providers",), tuple[PluginLine, ...]),
        (("doctor",), tuple[CheckLine, ...]),
        (("pool",), tuple[PoolLine, ...]),
        (("cluster", "--without", "b c"), ClusterView),
        (("resync", "--all"), ResyncReply),
    ],
)
def test_json_is_the_wire_type_wherever_the_option_stands(path: Path, words: Sequence[str], kind: type[Wire]) -> None:
    after, before = ask(path, *words, "--json"), ask(path, "--json", *words)
    assert after.exit_code == before.exit_code == 0
    assert convert(json.loads(after.output), kind) == convert(json.loads(before.output), kind)


@pytest.mark.parametrize("words", [("rebuild", "blue"), ("hold", "blue", "--reason", "r"), ("release", "blue")])
def test_actions_answer_json_too(path: Path, words: Sequence[str]) -> None:
    result = ask(path, *words, "--json")
    assert json.loads(result.output) == {"done": words[0], "resource": str(BLUE)}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (
            ("status",),
            ("neutron", "ok", "alone", "node-2", "connection refused", "astara brake release", "3 waiting, 2 in work"),
        ),
        (("resource", "list"), (str(BLUE), str(GREEN), "no node yet")),
        (("resource", "show", "22222222"), (str(GREEN), "would do", "create instance main")),
        (("resource", "show", "blue"), (INSTANCE, "nftables", "set floating lacks 1 element")),
        (("resource", "history", "blue"), ("port.update.end", "settled")),
        (("instance", "list"), (INSTANCE, str(BLUE), "degraded")),
        (("instance", "console-log", INSTANCE), ("dnsmasq started", "[red]not markup[/red]")),
        (("drivers",), ("router", "IPv4 and IPv6 routing")),
        (("providers",), ("namespace",)),
        (("brake", "release"), ("released",)),
        (("doctor",), ("everything is well",)),
        (("cluster",), ("a *", "b c", "50.0 %", "the coordinator does not answer", "7, ")),
        (("cluster", "--without", "b c"), ("without b c",)),
        (("cluster", "--of", "blue"), ("is b c's",)),
        (("pool",), ("microvm", "node-1", "1..4", "12", "failing", "the node's disk is full")),
    ],
)
def test_tables_show_what_matters_and_never_cut_an_identifier(
    path: Path, words: Sequence[str], shown: Sequence[str]
) -> None:
    result = ask(path, *words)
    assert result.exit_code == 0, result.output
    assert [part for part in shown if part not in result.output] == []
    assert "\x1b" not in result.output


def test_history_shows_the_last_looks(path: Path) -> None:
    lines = json.loads(ask(path, "resource", "history", "blue", "--last", "2", "--json").output)
    assert [line["at"] for line in lines] == [1028.0, 1029.0]


@pytest.mark.parametrize("name", [str(BLUE), "11111111", "router/1111", "blue"])
def test_a_resource_is_addressed_by_key_start_of_its_id_or_name(path: Path, operator: FakeOperator, name: str) -> None:
    assert ask(path, "rebuild", name).exit_code == 0
    assert operator.rebuilt == [BLUE]


def test_hold_needs_a_reason_and_release_ends_it(path: Path, operator: FakeOperator) -> None:
    assert ask(path, "hold", "blue").exit_code == 2
    assert not operator.lines[BLUE].held
    assert ask(path, "hold", "blue", "--reason", "change 4711").exit_code == 0
    assert "change 4711" in ask(path, "resource", "list").output
    assert ask(path, "release", "blue").exit_code == 0
    assert not operator.lines[BLUE].held


def test_doctor_says_the_remedy_and_exits_1_when_a_check_fails(path: Path, operator: FakeOperator) -> None:
    operator.checks.append(CheckLine(check="node node-2", ok=False, detail="refused", remedy="start astara-node"))
    result = ask(path, "doctor")
    assert result.exit_code == 1
    assert "start astara-node" in result.output


def test_doctor_without_an_orchestrator_is_a_failed_check(home: Path) -> None:
    result = ask(home / "none.sock", "doctor")
    assert result.exit_code == 1
    assert "start astara-orchestrator" in result.output


def test_nobody_listening_is_one_line_a_remedy_and_exit_code_2(home: Path) -> None:
    result = ask(home / "none.sock", "status")
    assert result.exit_code == 2
    assert result.output.startswith("error: no orchestrator answers at ")
    assert "\nremedy: " in result.output
    assert len(result.output.splitlines()) == 2


@pytest.mark.parametrize("words", [("rebuild", "nobody"), ("rebuild", ""), ("instance", "show", "77")])
def test_an_unknown_or_ambiguous_name_changes_nothing_and_exits_1(
    path: Path, operator: FakeOperator, words: Sequence[str]
) -> None:
    result = ask(path, *words)
    assert result.exit_code == 1
    assert "remedy: " in result.output
    assert operator.rebuilt == []


@pytest.mark.parametrize("words", [("resync",), ("resync", "blue", "--all"), ("nonsense",)])
def test_wrong_usage_exits_2(path: Path, words: Sequence[str]) -> None:
    assert ask(path, *words).exit_code == 2


def test_the_client_says_so_when_the_answer_is_of_another_release(home: Path) -> None:
    path = home / "odd.sock"
    with socket.create_server(str(path), family=socket.AF_UNIX) as odd:
        other = threading.Thread(target=answer_oddly, args=(odd,))
        other.start()
        with pytest.raises(Terminal, match="not understood"):
            OperatorClient(path).status()
        other.join()


def answer_oddly(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"x": 1}')


def test_an_orchestrator_that_hangs_ends_in_words(home: Path) -> None:
    path = home / "hung.sock"
    with (
        socket.create_server(str(path), family=socket.AF_UNIX),
        pytest.raises(NotReachable, match="did not answer within"),
    ):
        OperatorClient(path, timeout_s=0.05).status()


def test_a_lab_below_the_current_directory_is_found_when_the_system_has_none(
    home: Path, operator: FakeOperator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.delenv("ASTARA_SOCKET", raising=False)
    monkeypatch.setattr("astara.admin.addressing.SYSTEM_SOCKET", home / "absent.sock")
    server = AdminServer(operator, home / ".lab" / "demo" / "run" / "admin.sock")
    server.start()
    try:
        result = CliRunner().invoke(cli, ["status", "--json"])
        assert json.loads(result.output)["term"] == 7
    finally:
        server.stop()


def test_a_phase_that_does_not_exist_is_refused_with_those_that_do(path: Path) -> None:
    result = ask(path, "resource", "list", "--phase", "nonsense")
    assert result.exit_code == 2
    assert "configured" in result.output


def test_the_list_of_commands_says_each_in_a_whole_line() -> None:
    """On a terminal of 80 columns click cuts what does not fit."""
    listed = CliRunner().invoke(cli, ["--help"], terminal_width=80).output.partition("Commands:")[2]
    assert "doctor" in listed
    assert "..." not in listed


def test_move_says_where_to_and_default_takes_it_back(path: Path, operator: FakeOperator) -> None:
    assert "body microvm" in ask(path, "move", "blue", "--to", "microvm").output
    assert ask(path, "move", "blue", "--to", "default").exit_code == 0
    assert operator.moved == [(BLUE, "microvm"), (BLUE, None)]


def test_a_body_that_cannot_be_had_is_one_line_and_a_remedy(path: Path, operator: FakeOperator) -> None:
    refused = ask(path, "move", "blue", "--to", "zeppelin")
    assert refused.exit_code == 1
    assert "'zeppelin' is not known" in refused.output
    assert "container, namespace" in refused.output
    assert operator.moved == []


def test_show_says_body_and_image(path: Path) -> None:
    shown = ask(path, "resource", "show", "blue").output
    assert "container, image frr (an operator's choice)" in shown
    assert "frr 0123456789ab" in shown


def test_a_node_is_drained_by_name_and_the_list_says_what_is_left(path: Path, operator: FakeOperator) -> None:
    assert ask(path, "node", "drain", "node-2", "--reason", "new disks").exit_code == 0
    assert operator.drained == {"node-2": "new disks"}
    listed = ask(path, "node", "list").output
    assert "drained: new disks" in listed
    assert "2, no room elsewhere for 1" in listed
    assert json.loads(ask(path, "node", "undrain", "node-2", "--json").output) == {"node": "node-2", "done": "undrain"}
    assert operator.drained == {}
    refused = ask(path, "node", "drain", "node-9")
    assert refused.exit_code == 1
    assert "there are: node-1, node-2" in refused.output


def test_an_upgrade_is_asked_for_shown_paused_resumed_and_aborted(path: Path) -> None:
    begun = ask(path, "upgrade", "--image", "astara", "--canary", "5%")
    assert begun.exit_code == 0, begun.output
    assert "microvm to astara" in begun.output
    assert "0 of 2, 1 in work, 1 waiting" in begun.output
    assert str(BLUE) in ask(path, "upgrade", "status").output
    for word, state in (("pause", "paused"), ("resume", "running"), ("abort", "aborted")):
        view = convert(json.loads(ask(path, "upgrade", word, "--json").output), UpgradeView)
        assert (view.state, view.canary) == (state, "5%")


def test_an_image_said_beside_pause_begins_nothing_and_is_not_passed_over(path: Path, operator: FakeOperator) -> None:
    refused = ask(path, "upgrade", "--image", "astara", "pause")
    assert refused.exit_code == 2
    assert "leave out --image" in refused.output
    assert operator.upgraded is None


def test_watching_an_upgrade_that_is_not_done_in_the_end_exits_1(path: Path, operator: FakeOperator) -> None:
    ask(path, "upgrade", "--body", "microvm")
    operator.pause_upgrade()
    watched = ask(path, "upgrade", "status", "--watch", "--json")
    assert watched.exit_code == 1
    assert convert(json.loads(watched.output), UpgradeView).state == "paused"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("upgrade",), "write --image IMAGE, or --body BODY"),
        (("upgrade", "--image", "nobodys"), "they have: node-1: microvm astara"),
        (("upgrade", "status"), "nothing was ever upgraded"),
        (("upgrade", "pause"), "nothing was ever upgraded"),
    ],
)
def test_what_cannot_be_upgraded_is_refused_in_words(path: Path, words: Sequence[str], said: str) -> None:
    refused = ask(path, *words)
    assert refused.exit_code in (1, 2)
    assert said in refused.output
