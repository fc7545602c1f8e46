"""The client against a small HTTP server of the test's own: what is sent, and what each answer becomes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest

from astara.clients.keystone import Anonymous
from astara.clients.neutron import NeutronClient, NeutronOptions
from astara.contract.snapshot import ActiveHalf, DhcpPortRequest, StatusItem, StatusReport
from astara.model.errors import AstaraError, Retry, Stale, Terminal, Unoffered
from support.segment import eventually

EMPTY_PAGE = {"revision": 5, "routers": [], "networks": []}


@dataclass
class Server:
    """Answers with `replies` in order, the last one for ever; None: hang up without an answer."""

    replies: list[tuple[int, Any] | None] = field(default_factory=list)
    asked: list[tuple[str, str, list[tuple[str, str]], Any, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            decoded = msgspec.json.decode(body) if body else None
            state.asked.append((self.command, parts.path, parse_qsl(parts.query), decoded, dict(self.headers)))
            reply = state.replies.pop(0) if len(state.replies) > 1 else state.replies[0]
            if reply is None:
                self.close_connection = True
                return
            content = msgspec.json.encode(reply[1])
            self.send_response(reply[0])
            self.send_header("Content-Length", str(len(content)))
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = _any  # noqa: N815 - the names http.server looks for

        def log_message(self, *args: Any) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    thread = threading.Thread(target=listener.serve_forever, args=(0.05,))
    thread.start()
    state.url = f"http://127.0.0.1:{listener.server_address[1]}"
    yield state
    listener.shutdown()
    thread.join()
    listener.server_close()


@pytest.fixture
def client(server: Server) -> Iterator[NeutronClient]:
    client = NeutronClient(NeutronOptions(url=server.url + "/"), Anonymous())
    yield client
    client.close()


def test_the_plugins_version_is_what_its_last_answer_said(client: NeutronClient, server: Server) -> None:
    server.replies = [(200, EMPTY_PAGE)]
    server.headers["Astara-Version"] = "0.9.9"
    assert client.plugin_version is None
    client.routers(["r1"])
    assert client.plugin_version == "0.9.9"
    server.headers.clear()
    client.routers(["r1"])
    assert client.plugin_version is None


def test_ids_and_pages_are_asked_for_as_the_plugin_documents(client: NeutronClient, server: Server) -> None:
    server.replies = [(200, EMPTY_PAGE)]
    client.routers(ids=["a", "b"])
    client.routers(marker="m", limit=7)
    client.routers(ids=[f"r{n}" for n in range(60)])
    one, page, many = server.asked
    assert one[:3] == ("GET", "/v2.0/astara/routers", [("id", "a"), ("id", "b")])
    assert page[:3] == ("GET", "/v2.0/astara/routers", [("limit", "7"), ("marker", "m")])
    assert (many[:3], len(many[3]["ids"])) == (("POST", "/v2.0/astara/routers", []), 60)


def test_no_ids_at_all_is_not_everything(client: NeutronClient, server: Server) -> None:
    """An empty list must never become a request for all routers."""
    server.replies = [(200, EMPTY_PAGE)]
    assert client.routers(ids=[]).routers == ()
    assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"NeutronError": {"type": "NotAPair", "message": "router r1 is not a pair", "detail": ""}}, Terminal),
        ({"NeutronError": {"type": "HTTPNotFound", "message": "could not be found", "detail": ""}}, Unoffered),
        ({"message": "The resource could not be found."}, Unoffered),
    ],
)
def test_a_plug_in_that_cannot_be_asked_to_follow_is_not_one_that_knows_no_such_pair(
    client: NeutronClient, server: Server, answer: Any, error: type[Exception]
) -> None:
    server.replies = [(404, answer)]
    with pytest.raises(Terminal) as refused:
        client.follow_active(ActiveHalf(id="r1", host="h1"), 7)
    assert type(refused.value) is error


def test_status_is_written_in_one_call(client: NeutronClient, server: Server) -> None:
    server.replies = [(200, {"written": 1})]
    client.report_status(StatusReport(routers=(StatusItem(id="r1", status="ACTIVE"),)), 7)
    ((method, path, _, body, headers),) = server.asked
    assert headers["Astara-Term"] == "7"  # the one it was decided under
    assert (method, path, body["routers"]) == ("PUT", "/v2.0/astara/status", [{"id": "r1", "status": "ACTIVE"}])


def test_every_question_says_the_term_we_know_and_a_refused_one_is_stale(server: Server) -> None:
    client = NeutronClient(NeutronOptions(url=server.url), Anonymous(), term=lambda: 12)
    server.replies = [
        (200, {"revision": 5, "changes": []}),
        (409, {"NeutronError": {"type": "StaleTerm", "message": "term 7 is older than 12", "detail": ""}}),
        (409, {"NeutronError": {"type": "PortInUse", "message": "in use", "detail": ""}}),
    ]
    client.changes(0)
    assert server.asked[0][4]["Astara-Term"] == "12"
    with pytest.raises(Stale, match="term 7 is older than 12"):
        client.report_status(StatusReport(), 7)
    with pytest.raises(Retry, match="in use"):
        client.report_status(StatusReport(), 12)
    client.close()


def test_announcing_nodes_goes_on_while_the_plugin_binds_what_waited(client: NeutronClient, server: Server) -> None:
    server.replies = [
        (200, {"bound": 100, "waiting": 20}),
        (200, {"bound": 20, "waiting": 0}),
    ]
    client.announce_nodes([("n2", False), ("n1", True)])
    assert len(server.asked) == 2
    assert server.asked[0][3] == {"nodes": [{"host": "n1", "available": True}, {"host": "n2", "available": False}]}


def test_announcing_ends_when_nothing_more_can_be_bound(client: NeutronClient, server: Server) -> None:
    server.replies = [(200, {"bound": 0, "waiting": 20})]
    client.announce_nodes([("n1", False)])
    assert len(server.asked) == 1


def test_announcing_ends_when_the_same_ports_fail_to_bind_again_and_again(
    client: NeutronClient, server: Server
) -> None:
    """The plug-in counts what it tried: more failing ports than one portion kept the announcement going for ever."""
    server.replies = [(200, {"bound": 100, "waiting": 50})] * 10 + [(200, {"bound": 0, "waiting": 0})]
    client.announce_nodes([("n1", True)])
    assert len(server.asked) == 2


def test_a_neutron_that_hangs_is_in_trouble_before_its_call_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        options = NeutronOptions(url=url, read_timeout_s=30.0, hangs_after_s=0.05)
        client = NeutronClient(options, Anonymous())
        with ThreadPoolExecutor(1) as pool:
            assert client.trouble is None
            asked = pool.submit(client.changes, 0)
            connection, _ = mute.accept()
            assert eventually(lambda: "has not answered" in (client.trouble or ""))
            connection.close()  # a call lost is made once more
            second, _ = mute.accept()
            second.close()
            assert isinstance(asked.exception(10.0), Retry)
            assert "does not answer" in (client.trouble or "")
        client.close()


@pytest.mark.parametrize(
    ("status", "kind", "remedy"),
    [
        (400, Terminal, "same Astara version"),
        (403, Terminal, "service role"),
        (404, Terminal, "service_plugins"),
        (409, Retry, "log"),
        (429, Retry, "log"),
        (500, Retry, "log"),
        (503, Retry, "log"),
    ],
)
def test_each_refusal_is_sorted_by_whether_trying_again_can_help_and_says_the_remedy(
    client: NeutronClient, server: Server, status: int, kind: type[AstaraError], remedy: str
) -> None:
    server.replies = [(status, {"NeutronError": {"type": "X", "message": "because of this", "detail": ""}})]
    with pytest.raises(kind, match=rf"answered {status} .*: because of this") as refused:
        client.changes(0)
    assert remedy in refused.value.remedy
    assert client.trouble == str(refused.value)


def test_a_refused_token_is_forgotten_and_asked_for_once_more(server: Server) -> None:
    class Tokens:
        given = 0

        def headers(self) -> dict[str, str]:
            self.given += 1
            return {"X-Auth-Token": f"t{self.given}"}

        def forget(self) -> None:
            pass

    server.replies = [(401, {}), (200, EMPTY_PAGE)]
    client = NeutronClient(NeutronOptions(url=server.url), Tokens())
    client.routers()
    client.close()
    assert [headers["X-Auth-Token"] for *_, headers in server.asked] == ["t1", "t2"]


def test_a_call_lost_on_a_dying_connection_is_made_again_once(client: NeutronClient, server: Server) -> None:
    server.replies = [None, (200, EMPTY_PAGE)]
    assert client.routers().revision == 5


def test_a_server_that_keeps_hanging_up_is_away(client: NeutronClient, server: Server) -> None:
    server.replies = [None]
    with pytest.raises(Retry, match="does not answer"):
        client.routers()
    assert len(server.asked) == 2


def test_an_answer_of_another_version_names_the_field(client: NeutronClient, server: Server) -> None:
    server.replies = [(200, {"revision": 5, "routers": "many", "networks": []})]
    with pytest.raises(Terminal, match=r"\$\.routers") as refused:
        client.routers()
    assert "same Astara version" in refused.value.remedy


def test_nobody_listening_is_away_with_a_remedy_and_over_when_somebody_does() -> None:
    client = NeutronClient(NeutronOptions(url="http://127.0.0.1:9"), Anonymous())
    with pytest.raises(Retry, match=r"Neutron at http://127\.0\.0\.1:9 does not answer") as away:
        client.ensure_dhcp_port(DhcpPortRequest(network_id="n", host="h"), 7)
    client.close()
    assert "[neutron] url" in away.value.remedy


def test_every_call_is_observed_with_its_outcome(server: Server) -> None:
    seen: list[tuple[str, str]] = []
    observe: Callable[[str, str, float], None] = lambda kind, outcome, _: seen.append((kind, outcome))  # noqa: E731
    client = NeutronClient(NeutronOptions(url=server.url), Anonymous(), observe)
    server.replies = [(200, {"revision": 1, "changes": []}), (503, {})]
    client.changes(0)
    with pytest.raises(Retry):
        client.changes(0)
    client.close()
    assert seen == [("changes", "ok"), ("changes", "retry")]
    assert client.trouble is not None
