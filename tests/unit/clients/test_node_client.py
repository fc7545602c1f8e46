"""What a node agent answers, or does not, in the orchestrator's own vocabulary."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import errno
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from astara.clients.appliance import NodeClient, NodeEndpoint, NodeTimeouts
from astara.clients.authority import issue, open_authority
from astara.contract.agent import Deviation, InstanceList, NodeView, Problem
from astara.contract.codec import encode
from astara.contract.generation import Generation
from astara.contract.identity import ORCHESTRATOR
from astara.model.errors import Gone, Retry, Stale, Terminal
from astara.peers.identity import Identity

VIEW = NodeView(
    name="node-a",
    agent_version="1",
    contracts=(1,),
    attach_kinds=(),
    drivers=(),
    started_at=0.0,
    instances=0,
    boot_id="b",
)
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    directory: Path = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    return issue(open_authority(directory, now), "one", ORCHESTRATOR, [], now)


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def client(identity: Identity, answer: Answer, time: Time | None = None) -> NodeClient:
    endpoint = NodeEndpoint("node-a", "https://node-a:1")
    timeouts = NodeTimeouts(quiet_s=8.0)
    return NodeClient(endpoint, identity, timeouts, time or Time(), httpx.MockTransport(answer))


def refusing(status: int, problem: Problem | None = None) -> Answer:
    made = problem or Problem(error="x", message="because", field="$.a", remedy="do that")
    return lambda request: httpx.Response(status, content=encode(made))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Terminal),
        (403, Retry),
        (404, Gone),
        (409, Stale),
        (422, Terminal),
        (500, Retry),
        (503, Retry),
        (507, Retry),
    ],
)
def test_each_refusal_has_its_meaning_and_keeps_field_and_remedy(
    identity: Identity, status: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=r"node-a: \$\.a: because") as raised:
        client(identity, refusing(status)).node()
    assert getattr(raised.value, "remedy", "") == "do that"


def test_what_differs_after_a_failed_apply_is_told(identity: Identity) -> None:
    problem = Problem(error="x", message="failed", deviations=(Deviation(subsystem="links", detail="gone"),))
    with pytest.raises(Retry, match="links: gone"):
        client(identity, refusing(500, problem)).node()


def test_an_answer_that_is_no_problem_is_told_by_its_status(identity: Identity) -> None:
    with pytest.raises(Retry, match="HTTP 502"):
        client(identity, lambda request: httpx.Response(502, text="<html>")).node()


def test_an_answer_of_another_version_is_terminal(identity: Identity) -> None:
    with pytest.raises(Terminal, match="does not know"):
        client(identity, lambda request: httpx.Response(200, text='{"a": 1}')).node()


@pytest.mark.parametrize(("date", "ahead_s"), [(-90.0, -90.0), (0.0, 0.0), (3600.0, 3600.0)])
def test_an_answer_shows_how_far_the_nodes_clock_is_ahead(identity: Identity, date: float, ahead_s: float) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        said = email.utils.formatdate(time.time() + date, usegmt=True)
        return httpx.Response(200, content=encode(VIEW), headers={"Date": said})

    sight = client(identity, answer).sight()
    assert sight.view == VIEW
    # Whole seconds on the wire, and whatever a busy machine takes between two lines.
    assert sight.clock_ahead_s == pytest.approx(ahead_s, abs=20.0)


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}])
def test_an_answer_without_a_date_says_nothing_about_the_clock(identity: Identity, headers: dict[str, str]) -> None:
    answer = httpx.Response(200, content=encode(VIEW), headers=headers)
    sight = client(identity, lambda request: answer).sight()
    assert (sight.clock_ahead_s, sight.certificate_expires_at) == (None, None)


def test_a_lost_connection_is_tried_once_more(identity: Identity) -> None:
    """The agent may close an idle connection in the moment we use it."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if len(asked) == 1:
            raise httpx.RemoteProtocolError("closed")
        return httpx.Response(200, content=encode(VIEW))

    assert client(identity, answer).node() == VIEW
    assert len(asked) == 2


def test_a_dead_node_is_asked_rarely_and_at_once_again_when_it_answers(identity: Identity) -> None:
    """Trap: retrying for minutes against peers known dead."""
    time, asked, dead = Time(), [], True

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(time.now)
        if dead:
            raise httpx.ConnectTimeout("nobody there")
        return httpx.Response(200, content=encode(VIEW))

    node = client(identity, answer, time)
    for _ in range(600):
        with pytest.raises(Retry):
            node.node()
        time.now += 0.1
    assert 8 <= len(asked) <= 14  # of 600; at least every 8 seconds
    dead = False
    time.now += 8.0
    assert node.node() == VIEW
    assert node.trouble is None


def test_a_slow_answer_does_not_make_the_node_dead(identity: Identity) -> None:
    """One slow instance must not keep the others from being served."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            raise httpx.ReadTimeout("slow")
        return httpx.Response(200, content=encode(VIEW))

    node = client(identity, answer)
    with pytest.raises(Retry, match="in time"):
        node.delete_instance("x", Generation(1, 1))
    assert node.node() == VIEW


def test_w13_an_agent_that_hangs_holds_one_caller_and_not_all(identity: Identity) -> None:
    """One stuck node must never slow the resources of the others: every look lists every node."""
    time, asked, hangs = Time(), [], True

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(time.now)
        if hangs:
            raise httpx.ReadTimeout("silence")
        return httpx.Response(200, content=encode(InstanceList(instances=())))

    node = client(identity, answer, time)
    with pytest.raises(Retry, match="in time"):
        node.instances()
    for _ in range(100):
        with pytest.raises(Retry, match="cannot be reached"):
            node.instances("router", "r1")
    assert len(asked) == 1
    time.now += 0.5  # its first silence is over: one tries, and is not back yet
    with pytest.raises(Retry, match="in time"):
        node.instances("router", "r1")
    with pytest.raises(Retry, match="cannot be reached"):
        node.instances("router", "r2")
    assert len(asked) == 2
    hangs = False
    time.now += 8.0
    assert node.instances().instances == ()
    assert node.instances("router", "r2").instances == ()
    assert node.trouble is None


def test_a_certificate_at_fault_is_named_in_the_remedy(identity: Identity) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("certificate verify failed: certificate has expired")

    with pytest.raises(Retry) as raised:
        client(identity, answer).node()
    assert "certificates" in raised.value.remedy


def test_falling_silent_is_told_once_for_each_silence(identity: Identity) -> None:
    answers, told, time = [False], [], Time()

    def answer(request: httpx.Request) -> httpx.Response:
        if not answers[0]:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, content=encode(VIEW))

    node = client(identity, answer, time)
    node.on_silence(lambda: told.append(time.now))
    for at, does_answer in ((100.0, False), (110.0, False), (120.0, True), (130.0, False)):
        time.now, answers[0] = at, does_answer
        with contextlib.suppress(Retry):
            node.node()
    assert told == [100.0, 130.0]


def test_a_host_that_acknowledges_nothing_is_silent_and_an_agent_that_takes_long_is_not(identity: Identity) -> None:
    """Python has one name for both: ETIMEDOUT of a connection the kernel gave up, and its own timeouts."""

    def gone(request: httpx.Request) -> httpx.Response:
        try:
            raise TimeoutError(errno.ETIMEDOUT, "Connection timed out")
        except TimeoutError as error:
            raise httpx.ReadTimeout("timed out", request=request) from error

    def slow(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("timed out", request=request) from TimeoutError("timed out")

    for answer, trouble in ((gone, "its host does not answer"), (slow, None)):
        node = client(identity, answer)
        with pytest.raises(Retry):
            node.instances("router", "r1")
        assert node.trouble == trouble
