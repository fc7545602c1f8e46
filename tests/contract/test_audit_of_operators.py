"""Whatever an operator does at the admin socket is witnessed: who, what, and whether it was let be."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from astara.admin import routes
from astara.admin.api import ROOT
from astara.admin.cli import cli
from astara.admin.client import OperatorClient, _UnixConnection
from astara.admin.server import AdminServer
from astara.contract.codec import encode
from astara.model.errors import AstaraError, Retry
from astara.model.operator import HistoryLine
from astara.model.resource import ResourceKey
from support.fakes.operator import BLUE, GREEN, FakeOperator

ME = f"uid {os.getuid()} ({pwd.getpwuid(os.getuid()).pw_name})"
NOBODY = ResourceKey("router", "33333333-dddd-4000-8000-000000000003")


@pytest.fixture(autouse=True)
def _stop_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cheroot.server.HTTPServer.expiration_interval", 0.02)


class Book:
    """Everything witnessed."""

    def __init__(self) -> None:
        self.lines: list[tuple[ResourceKey | None, HistoryLine]] = []

    def witness(self, key: ResourceKey | None, line: HistoryLine) -> None:
        self.lines.append((key, line))

    def acts(self) -> list[tuple[ResourceKey | None, str, str]]:
        return [(key, " ".join(line.steps or line.undone), line.outcome) for key, line in self.lines]


@pytest.fixture
def operator() -> FakeOperator:
    return FakeOperator()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def socket(operator: FakeOperator, book: Book) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="astara-") as home:
        server = AdminServer(operator, Path(home) / "admin.sock", book.witness)
        server.start()
        yield Path(home) / "admin.sock"
        server.stop()


def test_acts_are_told_with_resource_words_and_person(socket: Path, book: Book) -> None:
    client = OperatorClient(socket)
    client.hold(BLUE, "change 4711")
    client.move(BLUE, "microvm")
    client.move(BLUE, None)
    client.release(GREEN)
    client.rebuild(GREEN)
    client.resync(None)
    client.release_brake()
    assert book.acts() == [
        (BLUE, "hold: change 4711", "done"),
        (BLUE, "move to microvm", "done"),
        (BLUE, "move to the body its flavor or the configuration says", "done"),
        (GREEN, "release", "done"),
        (GREEN, "rebuild", "done"),
        (None, "resync", "done"),
        (None, "brake release", "done"),
    ]
    assert all(line.who.startswith(ME) and line.reason == "operator" for _, line in book.lines)


def test_what_was_refused_or_is_not_durable_is_told_too(socket: Path, operator: FakeOperator, book: Book) -> None:
    client = OperatorClient(socket)
    with pytest.raises(AstaraError):
        client.move(BLUE, "zeppelin")
    with pytest.raises(AstaraError):
        client.rebuild(NOBODY)
    operator.fails = Retry("in force until a restart only")
    with pytest.raises(Retry):
        client.hold(BLUE, "x")
    operator.fails = RuntimeError("password=hunter2")
    with pytest.raises(AstaraError):
        client.release(BLUE)
    assert book.acts() == [
        (BLUE, "move to zeppelin", "refused"),
        (NOBODY, "rebuild", "refused"),
        (BLUE, "hold: x", "retry"),
        (BLUE, "release", "failed"),
    ]
    assert "not known" in book.lines[0][1].detail
    assert "until a restart" in book.lines[2][1].detail
    assert "hunter2" not in repr(book.lines)


def test_looking_is_no_act(socket: Path, book: Book) -> None:
    client = OperatorClient(socket)
    client.status()
    client.resources()
    client.history(BLUE)
    assert book.lines == []


def test_every_way_to_change_something_is_witnessed_whatever_is_added(socket: Path, book: Book) -> None:
    """A body is repeated where it is known to hold no secret, and nowhere else."""
    changing = [form.pattern for method, form, _ in routes._ROUTES if method != "GET"]
    assert changing
    for number, pattern in enumerate(changing):
        path = pattern.replace("(?P<driver>[^/]+)", "router").replace("(?P<id>[^/]+)", BLUE.id).replace("\\", "")
        assert path.startswith(ROOT)
        connection = _UnixConnection(socket, 10.0)
        connection.request("POST", path, body=encode({"password": "hunter2"}))
        connection.getresponse().read()
        connection.close()
        assert len(book.lines) == number + 1, path
    assert "hunter2" not in repr(book.lines)


def test_the_command_asks_by_resource_time_person_and_outcome(socket: Path, operator: FakeOperator) -> None:
    words = ["audit", "--resource", "blue", "--since", "2026-11-29T20:00", "--who", "ann", "--outcome", "done"]
    shown = CliRunner().invoke(cli, ["--socket", str(socket), *words], prog_name="astara")
    assert shown.exit_code == 0, shown.output
    asked = operator.asked[0]
    assert (asked.resource, asked.who, asked.outcome, asked.since) == (str(BLUE), "ann", "done", 1795982400.0)
    assert "uid 0 (root), login 1000 (ann)" in shown.output
    assert "hold: change 4711" in shown.output
    assert "not: push configuration to main" in shown.output
    gone = CliRunner().invoke(cli, ["--socket", str(socket), "audit", "--resource", "router/gone", "--json"])
    assert operator.asked[1].resource == "router/gone"
    assert json.loads(gone.output)[0]["who"] == "uid 0 (root), login 1000 (ann)"


@pytest.mark.parametrize("words", [("--since", "yesterday"), ("--last", "0"), ("--resource", "router/")])
def test_a_question_that_makes_no_sense_is_wrong_usage(socket: Path, words: tuple[str, str]) -> None:
    refused = CliRunner().invoke(cli, ["--socket", str(socket), "audit", *words])
    assert refused.exit_code == 2
    assert words[0] in refused.output or "DRIVER/ID" in refused.output


@pytest.mark.parametrize(("query", "field"), [("limit=0", "$.limit"), ("since=x", "$.since"), ("nobody=1", "$")])
def test_a_program_that_asks_badly_is_told_the_field(socket: Path, query: str, field: str) -> None:
    connection = _UnixConnection(socket, 10.0)
    connection.request("GET", f"{ROOT}/audit?{query}")
    response = connection.getresponse()
    problem = json.loads(response.read())
    connection.close()
    assert response.status == http.client.BAD_REQUEST
    assert problem["field"] == field
