"""Events over RabbitMQ: an oslo.messaging notification listener with a queue of its own per orchestrator.

RabbitMQ keeps nothing for us across a lost connection that we could rely on (Neutron's queues are not
durable by default), so every reconnection asks the sink for a full look.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import structlog

from astara.intake.events import NotANotification
from astara.intake.tally import Counts, IntakeMetrics, NoIntakeMetrics, Tally
from astara.model.boundaries import Clock, EventSink
from astara.model.errors import BadConfiguration

_log = structlog.get_logger(__name__)
_LONGEST_RESTART_S = 60.0
_LISTENER_ENDS_S = 0.3


@dataclass(frozen=True, slots=True)
class RabbitFeedOptions:
    """`transport_url` holds a password and is never shown. `pool` names our queue: one per orchestrator.

    `config_files` are read for [oslo_messaging_rabbit] (TLS, heartbeat, quorum queues).
    """

    transport_url: str = field(repr=False)
    pool: str
    exchange: str = "neutron"
    topics: tuple[str, ...] = ("notifications",)
    config_files: tuple[str, ...] = ()
    #: How often the connection is looked at for a reconnection, in seconds; no traffic.
    watch_s: float = 1.0
    #: Before another listener is made after an exception nobody foresaw; doubled each time.
    restart_s: float = 1.0


class RabbitFeed:
    """Listens to Neutron's notifications. `start` returns at once, whether or not the broker is there.

    Raises:
        BadConfiguration: at construction, when the transport URL cannot be understood.
    """

    name = "rabbit"

    def __init__(self, options: RabbitFeedOptions, clock: Clock, metrics: IntakeMetrics | None = None) -> None:
        self._options = options
        self._metrics = metrics or NoIntakeMetrics()
        self._tally = Tally(self.name, clock, self._metrics)
        self._transport = _transport(options)
        self._stopping = threading.Event()
        self._line: _Line | None = None
        self._thread: threading.Thread | None = None

    def start(self, sink: EventSink) -> None:
        """Connect in the background, for as long as it takes; then deliver, and watch the connection."""
        self._thread = threading.Thread(target=self._run, args=(sink,), name="intake-rabbit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Deliver nothing more, and stop listening.

        oslo.messaging's listener looks up when its own wait is over, a second and a half later; a restart does not wait
        for that. Whatever thread is left behind, that of an absent broker too, ends with the process.
        """
        self._stopping.set()
        if self._thread is not None and self._line is not None:
            self._thread.join(timeout=_LISTENER_ENDS_S)

    def connected(self) -> bool:
        """Say whether the broker's connection is up now."""
        return self._line is not None and self._line.up()

    def counts(self) -> Counts:
        """Return what was heard so far."""
        return self._tally.counts()

    def _run(self, sink: EventSink) -> None:
        crashes = 0
        while not self._stopping.is_set():
            try:
                self._listen(sink)
            except Exception:  # noqa: BLE001 - oslo.messaging and kombu raise what they like; unheard, every event waits
                # for the journal's poll until a restart. Logged with its traceback, and a new listener is made.
                _log.exception("intake.crashed", feed=self.name)
                self._metrics.crashed("intake-rabbit")
                self._line = None
                self._stopping.wait(min(self._options.restart_s * 2**crashes, _LONGEST_RESTART_S))
                crashes = min(crashes + 1, 8)
        self._transport.cleanup()

    def _listen(self, sink: EventSink) -> None:
        """Listen until told to stop; whatever ends it otherwise, the listener is stopped."""
        listener = _listener(self._transport, self._options, _Endpoint(self._tally, sink, self._stopping))
        listener.start()  # blocks until the broker answers
        try:
            if not self._stopping.is_set():
                self._watch(_Line(listener), sink)
        finally:
            listener.stop()
            listener.wait()

    def _watch(self, line: _Line, sink: EventSink) -> None:
        self._line = line
        _log.info("intake.connected", feed=self.name, exchange=self._options.exchange, queue=self._options.pool)
        sink.resync("rabbit feed connected")
        while not self._stopping.wait(self._options.watch_s):
            if line.replaced():
                _log.warning("intake.reconnected", feed=self.name)
                sink.resync("rabbit feed reconnected")


class _Line:
    """The listener's connection. oslo.messaging tells nobody about reconnections; a new channel object does."""

    def __init__(self, listener: Any) -> None:
        # Private names of oslo.messaging 17 and 18; tests/contract/test_event_feed_rabbit.py notices a change.
        self._connection = listener.listener._poll_style_listener.conn.connection
        self._channel = self._connection.channel

    def up(self) -> bool:
        return bool(self._connection.connection.connected)

    def replaced(self) -> bool:
        """Say whether the channel is another one than last time, and the connection is up again."""
        channel = self._connection.channel
        if channel is self._channel or not self.up():
            return False
        self._channel = channel
        return True


class _Endpoint:
    """Neutron notifies with priority "info" only (neutron.pecan_wsgi.hooks.notifier)."""

    def __init__(self, tally: Tally, sink: EventSink, stopping: threading.Event) -> None:
        self._tally = tally
        self._sink = sink
        self._stopping = stopping

    def info(self, ctxt: Any, publisher_id: Any, event_type: Any, payload: Any, metadata: Any) -> None:
        """Called by oslo.messaging; the context and the publisher are not looked at (trap W4)."""
        if self._stopping.is_set():
            return  # the listener is on its way out; whoever starts next looks at everything
        try:
            self._tally.deliver({"event_type": event_type, "payload": payload}, self._sink)
        except NotANotification as error:
            _log.warning("intake.refused", feed=RabbitFeed.name, reason=str(error))


def _oslo_messaging() -> Any:
    """Import oslo.messaging on native threads.

    It takes oslo.service's eventlet backend unless told otherwise before; and whoever only uses the HTTP
    feed need not wait for either.
    """
    from oslo_service import backend

    if not backend.get_backend_type():
        backend.init_backend(backend.BackendType.THREADING)
    import oslo_messaging

    return oslo_messaging


def _transport(options: RabbitFeedOptions) -> Any:
    from oslo_config import cfg

    messaging = _oslo_messaging()
    conf = cfg.ConfigOpts()
    conf(args=[], project="astara", default_config_files=list(options.config_files), default_config_dirs=[])
    try:
        return messaging.get_notification_transport(conf, url=options.transport_url)
    except (messaging.InvalidTransportURL, messaging.DriverLoadFailure):
        raise BadConfiguration(
            "[intake] transport_url cannot be understood",
            "write rabbit://USER:PASSWORD@HOST:5672/VHOST, as in Neutron's transport_url",
        ) from None


def _listener(transport: Any, options: RabbitFeedOptions, endpoint: _Endpoint) -> Any:
    messaging = _oslo_messaging()
    targets = [messaging.Target(topic=topic, exchange=options.exchange) for topic in options.topics]
    return messaging.get_notification_listener(transport, targets, [endpoint], executor="threading", pool=options.pool)
