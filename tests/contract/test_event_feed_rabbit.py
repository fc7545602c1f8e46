"""The RabbitMQ feed against a real broker, spoken to as Neutron speaks to it: by oslo.messaging."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from astara.intake.rabbit_feed import RabbitFeed, RabbitFeedOptions
from astara.model.boundaries import Event
from astara.model.errors import BadConfiguration
from astara.reconcile.clock import SystemClock

pytestmark = [
    pytest.mark.broker,
    pytest.mark.timeout(240),
    # Libraries below oslo.messaging warn about themselves and leave sockets to the garbage collector.
    pytest.mark.filterwarnings("ignore"),
]

BIN = Path("/usr/lib/rabbitmq/bin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], what: str, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    turn = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        turn.wait(0.05)


class Broker:
    """A RabbitMQ of our own: own ports, own port mapper, own directories; ended by its process group."""

    def __init__(self, home: Path) -> None:
        self.port = free_port()
        self._home = home
        self._epmd_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"astara{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(home / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "none"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
        }
        (home / "enabled_plugins").write_text("[].\n")
        # What neutron.common.rpc sets: its exchange is not oslo.messaging's default "openstack".
        self.neutron_conf = home / "neutron.conf"
        self.neutron_conf.write_text("[DEFAULT]\ncontrol_exchange = neutron\n")

    @property
    def url(self) -> str:
        return f"rabbit://guest:guest@127.0.0.1:{self.port}/"

    def start(self) -> None:
        with (self._home / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "rabbitmq-server"], env=self._environment, stdout=log, stderr=log, start_new_session=True
            )
        until(self._answers, "the broker listens")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._home / "broker.log").read_text()[-2000:]
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None

    def end(self) -> None:
        """Kill the broker and its port mapper, which made itself a daemon: found by the port in its environment."""
        self.kill()
        mark = f"ERL_EPMD_PORT={self._epmd_port}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("rabbit"))
    broker.start()
    yield broker
    broker.end()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()  # sockets that the client libraries dropped when the broker was killed


@dataclass
class Sink:
    events: list[Event] = field(default_factory=list)
    resyncs: list[str] = field(default_factory=list)

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def resync(self, reason: str) -> None:
        self.resyncs.append(reason)

    def ids(self) -> list[str]:
        return [identifier for event in self.events for identifier in event.ids.get("router", ())]


def as_neutron(broker: Broker) -> Callable[[str, dict[str, Any]], None]:
    """Return a notifier as neutron_lib.rpc makes it: exchange neutron, topic notifications, priority info."""
    import oslo_messaging  # after the feed chose native threads for it

    conf = cfg.ConfigOpts()
    conf(args=[], project="neutron", default_config_files=[str(broker.neutron_conf)], default_config_dirs=[])
    transport = oslo_messaging.get_notification_transport(conf, url=broker.url)
    notifier = oslo_messaging.Notifier(
        transport, publisher_id="network.host", driver="messagingv2", topics=["notifications"], retry=20
    )
    return lambda event_type, payload: notifier.info({"user_id": "u", "is_admin": True}, event_type, payload)


def router(identifier: str) -> dict[str, Any]:
    return {"router": {"id": identifier, "name": "r"}}


@pytest.fixture
def feed_to(broker: Broker) -> Iterator[Callable[..., RabbitFeed]]:
    started: list[RabbitFeed] = []

    def make(sink: Sink, pool: str, url: str | None = None) -> RabbitFeed:
        feed = RabbitFeed(RabbitFeedOptions(transport_url=url or broker.url, pool=pool, watch_s=0.1), SystemClock())
        feed.start(sink)
        started.append(feed)
        return feed

    yield make
    for feed in started:
        feed.stop()


def test_a_notification_of_neutrons_reaches_every_orchestrator(
    broker: Broker, feed_to: Callable[..., RabbitFeed]
) -> None:
    """Each has a queue of its own: a copy for each, not a share."""
    one, other = Sink(), Sink()
    feeds = [feed_to(one, "astara-one"), feed_to(other, "astara-other")]
    until(lambda: all(feed.connected() for feed in feeds), "both are connected")
    notify = as_neutron(broker)
    notify("router.update.end", router("r1"))
    notify("router.change.end", {})
    notify("router.update.start", router("r1"))
    for sink, feed in zip((one, other), feeds, strict=True):
        until(lambda feed=feed: feed.counts().events == 3, "three notifications")  # type: ignore[misc]
        assert (sink.ids(), feed.counts().unknown) == (["r1"], 1)


def test_the_first_connection_asks_for_a_full_look(broker: Broker, feed_to: Callable[..., RabbitFeed]) -> None:
    """What was said before our queue existed was said to nobody."""
    sink = Sink()
    feed_to(sink, "astara-first")
    until(lambda: bool(sink.resyncs), "a resync")


def test_a_payload_that_makes_no_sense_does_not_stop_the_feed(
    broker: Broker, feed_to: Callable[..., RabbitFeed]
) -> None:
    sink = Sink()
    feed = feed_to(sink, "astara-nonsense")
    until(feed.connected, "connected")
    notify = as_neutron(broker)
    notify("router.update.end", [1, 2])  # type: ignore[arg-type]
    notify("router.update.end", {"router": "psk"})
    notify("router.update.end", router("after"))
    until(lambda: "after" in sink.ids(), "the one that makes sense")


def test_a_broker_that_dies_is_noticed_waited_for_and_followed_by_a_full_look(
    broker: Broker, feed_to: Callable[..., RabbitFeed]
) -> None:
    sink = Sink()
    feed = feed_to(sink, "astara-survivor")
    until(feed.connected, "connected")
    until(lambda: len(sink.resyncs) == 1, "the first resync")
    broker.kill()
    until(lambda: not feed.connected(), "the loss is noticed")
    broker.start()
    until(feed.connected, "connected again")
    until(lambda: len(sink.resyncs) >= 2, "a resync after the reconnection")
    as_neutron(broker)("router.update.end", router("after"))
    until(lambda: "after" in sink.ids(), "events flow again")


def test_starting_without_a_broker_does_not_block_and_connects_once_it_is_there(
    tmp_path: Path, feed_to: Callable[..., RabbitFeed]
) -> None:
    late = Broker(tmp_path)
    sink = Sink()
    feed = feed_to(sink, "astara-early", late.url)
    assert not feed.connected()
    try:
        late.start()
        until(feed.connected, "connected")
        until(lambda: bool(sink.resyncs), "a resync")
        feed.stop()
    finally:
        late.end()


def test_nothing_is_delivered_after_stop(broker: Broker, feed_to: Callable[..., RabbitFeed]) -> None:
    """The listener is left to end by itself, and may still hear what comes meanwhile."""
    sink = Sink()
    feed = feed_to(sink, "astara-stopped")
    until(lambda: bool(sink.resyncs), "the feed listens")
    notify = as_neutron(broker)
    notify("router.update.end", router("before"))
    until(lambda: sink.ids() == ["before"], "what came before")
    threading.Event().wait(2.5)  # its waits are twice as long each time while nothing comes
    feed.stop()
    notify("router.update.end", router("after"))
    until(lambda: not any(thread.name == "intake-rabbit" for thread in threading.enumerate()), "the listener has ended")
    assert sink.ids() == ["before"]


def test_stop_ends_the_feed_although_the_broker_never_came() -> None:
    feed = RabbitFeed(
        RabbitFeedOptions(transport_url=f"rabbit://g:g@127.0.0.1:{free_port()}/", pool="astara-never"), SystemClock()
    )
    feed.start(Sink())
    feed.stop()
    assert not feed.connected()


def test_a_transport_url_that_cannot_be_understood_is_refused_without_its_password() -> None:
    with pytest.raises(BadConfiguration) as refused:
        RabbitFeed(RabbitFeedOptions(transport_url="carrier-pigeon://u:s3cret@h/", pool="p"), SystemClock())
    assert "transport_url" in str(refused.value)
    assert "s3cret" not in str(refused.value) + refused.value.remedy
    assert "s3cret" not in repr(RabbitFeedOptions(transport_url="rabbit://u:s3cret@h/", pool="p"))
