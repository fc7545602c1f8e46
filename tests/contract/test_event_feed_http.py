"""The HTTP feed on a real socket: what Neutron's notification driver of ours meets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import msgspec
import pytest

from astara.intake.http_feed import MAX_BODY_BYTES, PATH, HttpFeed, HttpFeedOptions
from astara.intake.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from astara.model.boundaries import Event
from astara.model.errors import BadConfiguration

SECRET = b"a shared secret"
NOW = 1_800_000_000


class FixedClock:
    def now(self) -> float:
        return 0.0

    def wall(self) -> float:
        return float(NOW)


@dataclass
class Sink:
    events: list[Event] = field(default_factory=list)
    resyncs: list[str] = field(default_factory=list)

    def notify(self, event: Event) -> None:
        self.events.append(event)

    def resync(self, reason: str) -> None:
        self.resyncs.append(reason)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def feed(sink: Sink) -> Iterator[HttpFeed]:
    feed = HttpFeed(HttpFeedOptions(secret=SECRET, port=0), FixedClock())
    feed.start(sink)
    yield feed
    feed.stop()


def post(
    feed: HttpFeed, body: bytes, *, secret: bytes = SECRET, timestamp: int = NOW, path: str = PATH
) -> httpx.Response:
    headers = {TIMESTAMP_HEADER: str(timestamp), SIGNATURE_HEADER: sign(secret, str(timestamp), body)}
    return httpx.post(f"http://127.0.0.1:{feed.port}{path}", content=body, headers=headers, trust_env=False)


def notification(event_type: str, payload: object) -> bytes:
    return msgspec.json.encode({"event_type": event_type, "payload": payload, "_context_user_id": "u"})


def test_a_signed_notification_reaches_the_sink(feed: HttpFeed, sink: Sink) -> None:
    reply = post(feed, notification("router.update.end", {"router": {"id": "r1"}}))
    assert (reply.status_code, reply.content) == (204, b"")
    assert sink.events == [Event("router.update.end", {"router": ("r1",)})]
    assert (feed.counts().events, feed.counts().last_event_at) == (1, float(NOW))


def test_an_interruption_that_the_sender_reports_becomes_a_resync(feed: HttpFeed, sink: Sink) -> None:
    assert post(feed, notification("astara.resync", {"reason": "queue full"})).status_code == 204
    assert sink.resyncs == ["queue full"]


def test_unknown_events_are_accepted_and_counted(feed: HttpFeed, sink: Sink) -> None:
    assert post(feed, notification("router.change.end", {})).status_code == 204
    assert (feed.counts().events, feed.counts().unknown, sink.events) == (1, 1, [])


@pytest.mark.parametrize(("secret", "timestamp"), [(b"wrong", NOW), (SECRET, NOW - 301), (SECRET, NOW + 301)])
def test_a_forged_or_old_message_is_refused_and_touches_nothing(
    feed: HttpFeed, sink: Sink, secret: bytes, timestamp: int
) -> None:
    body = notification("router.update.end", {"router": {"id": "r1"}})
    assert post(feed, body, secret=secret, timestamp=timestamp).status_code == 401
    assert (sink.events, feed.counts().events) == ([], 0)


def test_a_message_without_signature_is_refused(feed: HttpFeed, sink: Sink) -> None:
    assert httpx.post(f"http://127.0.0.1:{feed.port}{PATH}", content=b"{}", trust_env=False).status_code == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"event_type": "psk-7f3a"}'])
def test_a_malformed_body_is_refused_without_repeating_it(feed: HttpFeed, body: bytes) -> None:
    reply = post(feed, body)
    assert reply.status_code == 400
    assert "psk-7f3a" not in reply.text


def test_other_paths_and_methods_are_refused(feed: HttpFeed) -> None:
    assert post(feed, b"{}", path="/v1/other").status_code == 404
    assert httpx.get(f"http://127.0.0.1:{feed.port}{PATH}", trust_env=False).status_code == 405


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(feed: HttpFeed, sink: Sink) -> None:
    request = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    import socket

    with socket.create_connection(("127.0.0.1", feed.port), timeout=10) as raw:
        raw.sendall(request)
        assert raw.recv(64).startswith(b"HTTP/1.1 413")


def test_the_feed_listens_on_loopback_unless_told_otherwise() -> None:
    assert HttpFeedOptions(secret=SECRET).host == "127.0.0.1"


def test_the_secret_is_in_no_representation() -> None:
    assert "shared" not in repr(HttpFeedOptions(secret=SECRET))


def test_a_port_in_use_is_named_with_its_remedy(feed: HttpFeed) -> None:
    second = HttpFeed(HttpFeedOptions(secret=SECRET, port=feed.port), FixedClock())
    with pytest.raises(BadConfiguration, match=f"http_listen=127.0.0.1:{feed.port}"):
        second.start(Sink())


def test_connected_says_whether_it_listens(sink: Sink) -> None:
    feed = HttpFeed(HttpFeedOptions(secret=SECRET, port=0), FixedClock())
    assert not feed.connected()
    feed.start(sink)
    assert feed.connected()
    feed.stop()
    assert not feed.connected()
