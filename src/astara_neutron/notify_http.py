"""oslo.messaging notification driver that delivers over HTTP: an embedded cloud needs no broker.

    [oslo_messaging_notifications]
    driver = astara_http

Each notification is one POST to each of `[astara] notify_url`, signed as `signature` says; the answer is 204.
The API thread only puts it into a bounded queue. What the queue cannot hold is dropped and counted, and the
next delivery that works is preceded by an `astara.resync` notification, so that the listener knows it must
look at everything. What is still queued when the process dies is lost without a word: the change journal
covers that.
"""

from __future__ import annotations

import collections
import hashlib
import hmac
import http.client
import os
import ssl
import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
from oslo_messaging.notify import notifier
from oslo_serialization import jsonutils

from astara_neutron import options
from astara_neutron.hints import RESYNC_EVENT

LOG = logging.getLogger(__name__)

_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_RETRYABLE = frozenset({401, 403, 404, 408, 429})


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to deliver."""

    url: str
    secret: bytes
    ca_file: str | None
    timeout_s: float
    queue_size: int


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """Return the hex HMAC-SHA256 over `timestamp.body`, as sent in X-Astara-Signature."""
    return hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class HttpNotifyDriver(notifier.Driver):
    """The entry point `astara_http` of oslo.messaging.notify.drivers."""

    def __init__(self, conf: cfg.ConfigOpts, topics: Any, transport: Any) -> None:
        super().__init__(conf, topics, transport)
        section = options.register(conf).astara
        secret = _read_secret(section.notify_secret_file)
        # Each orchestrator hears everything, and has a queue of its own: one that is away holds up nobody's.
        self._targets = [
            Target(
                url=url,
                secret=secret,
                ca_file=section.notify_ca_file,
                timeout_s=section.notify_timeout,
                queue_size=section.notify_queue,
            )
            for url in dict.fromkeys(section.notify_url)
        ]

    def notify(self, ctxt: Any, msg: dict[str, Any], priority: str, retry: Any) -> None:
        """Queue one notification; never blocks, never raises.

        `.start` notifications say that nothing has changed yet and are left out. The caller's context,
        which holds a token, is not sent at all.
        """
        if not msg.get("event_type", "").endswith(".start"):
            for target in self._targets:
                sender_for(target).put({**msg, "priority": priority})


def _read_secret(path: str | None) -> bytes:
    if not path:
        raise cfg.RequiredOptError("notify_secret_file", cfg.OptGroup(options.GROUP))
    secret = Path(path).read_bytes().strip()
    if not secret:
        raise ValueError(f"[astara] notify_secret_file: {path} is empty; write a random secret into it")
    return secret


class Sender:
    """A bounded queue and the thread that empties it. One per process and target."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.dropped = 0
        self.delivered = 0
        self._queue: collections.deque[dict[str, Any]] = collections.deque()
        self._wake = threading.Condition()
        self._lost = False
        self._told = 0  # of `dropped`, in the latest RESYNC_EVENT
        self._first = 0  # messages that go before the next RESYNC_EVENT: else an overrun that lasts sends nothing else
        self._thread: threading.Thread | None = None
        self._connection: http.client.HTTPConnection | None = None

    def put(self, message: dict[str, Any]) -> None:
        """Queue a message, or drop it when the queue is full."""
        with self._wake:
            if len(self._queue) >= self.target.queue_size:
                self.dropped += 1
                self._lost = True
                return
            self._queue.append(message)
            if self._thread is None:
                # Not earlier: a thread does not survive the fork of an API worker.
                self._thread = threading.Thread(target=self._run, name="astara-notify", daemon=True)
                self._thread.start()
            self._wake.notify()

    def end(self) -> None:
        """Try no more, after the attempt it is at; a later `put` goes on with what is queued."""
        with self._wake:
            thread, self._thread = self._thread, None
            self._wake.notify()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        failures = 0
        while message := self._next():
            try:
                self._deliver(message)
            except (OSError, http.client.HTTPException) as error:
                failures += 1
                self._failed(error, failures)
            except Exception:
                # Not deliverable by any number of attempts, and this thread is the only one.
                LOG.exception("Astara could not put %s on the wire; it is dropped", message.get("event_type"))
                self._lose(message)
                self._delivered(message)
            else:
                self._delivered(message)
                failures = 0

    def _next(self) -> dict[str, Any] | None:
        """Wait for the oldest message; it stays in the queue until it is delivered. None: no more are wanted."""
        with self._wake:
            while not self._queue and self._thread is threading.current_thread():
                self._wake.wait()
            if self._thread is not threading.current_thread():
                self._close()
                return None
            if self._lost and self._first <= 0:
                marker = {"event_type": RESYNC_EVENT, "message_id": str(uuid.uuid4())}
                self._told = self.dropped
                return {**self._queue[0], **marker, "payload": {"reason": f"{self.dropped} dropped"}}
            return self._queue[0]

    def _delivered(self, message: dict[str, Any]) -> None:
        with self._wake:
            self.delivered += 1
            if message is not self._queue[0]:  # by identity: a RESYNC_EVENT of somebody else's may be queued, too
                # The messages that did fit follow now. What was dropped while this was told is told after them.
                self._lost = self.dropped != self._told
                self._first = len(self._queue)
            else:
                self._queue.popleft()
                self._first -= 1

    def _failed(self, error: Exception, failures: int) -> None:
        self._close()
        delay = _BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1]
        if failures in (1, 10) or failures % 100 == 0:
            LOG.warning(
                "Astara notifications cannot be delivered to %(url)s: %(error)s. Queued: %(queued)d, dropped so far: "
                "%(dropped)d. Is the orchestrator running, and its http_secret_file the same?",
                {"url": self.target.url, "error": error, "queued": len(self._queue), "dropped": self.dropped},
            )
        threading.Event().wait(delay)

    def _deliver(self, message: dict[str, Any]) -> None:
        body = jsonutils.dump_as_bytes(message)
        stamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "X-Astara-Timestamp": stamp,
            "X-Astara-Signature": signature(self.target.secret, stamp, body),
        }
        parts = urllib.parse.urlsplit(self.target.url)
        reused = self._connection is not None
        connection = self._connection or self._connect(parts)
        try:
            status = self._post(connection, parts.path or "/", body, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            if not reused:
                raise
            # A kept-alive connection the other side has closed meanwhile: not a failure of the listener.
            self._close()
            status = self._post(self._connect(parts), parts.path or "/", body, headers)
        if status >= 500 or status in _RETRYABLE:
            raise OSError(f"HTTP {status}")
        if status >= 300:
            self._refused(status, message)

    def _refused(self, status: int, message: dict[str, Any]) -> None:
        """The listener will never take this one: go on without it, and tell that something is missing."""
        self._lose(message)
        LOG.warning(
            "Astara's intake refused %(event)s with HTTP %(status)d; it is dropped",
            {"event": message["event_type"], "status": status},
        )

    def _lose(self, message: dict[str, Any]) -> None:
        with self._wake:
            if message["event_type"] != RESYNC_EVENT:
                self.dropped += 1
                self._lost = True

    def _post(self, connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]) -> int:
        connection.request("POST", path, body=body, headers=headers)
        response = connection.getresponse()
        response.read()
        return response.status

    def _connect(self, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        host, timeout = parts.hostname or "127.0.0.1", self.target.timeout_s
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=self.target.ca_file)
            self._connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
        else:
            self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_senders: dict[Target, Sender] = {}
_senders_lock = threading.Lock()


def sender_for(target: Target) -> Sender:
    """Return this process's sender for a target: oslo.messaging makes a driver per notifier, the queue is one."""
    with _senders_lock:
        if target not in _senders:
            _senders[target] = Sender(target)
        return _senders[target]


def _forget_after_fork() -> None:
    """A child starts with an empty queue and no thread: the parent delivers what the parent queued."""
    global _senders_lock
    _senders_lock = threading.Lock()
    _senders.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
