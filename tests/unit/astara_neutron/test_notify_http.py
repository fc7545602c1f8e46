from __future__ import annotations

import datetime
import ipaddress
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from oslo_config import cfg

from astara_neutron import notify_http, options
from support.neutron import SECRET, expected_signature
from support.neutron.listener import Listener
from support.segment import eventually


@pytest.fixture
def listener():
    listener = Listener().start()
    yield listener
    listener.stop()


def target(listener: Listener, secret: bytes = SECRET, queue_size: int = 100) -> notify_http.Target:
    return notify_http.Target(listener.url, secret, None, 2.0, queue_size)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(notify_http, "_BACKOFF_S", (0.01,))


def message(name: str = "port.update.end") -> dict[str, object]:
    return {"event_type": name, "message_id": name, "payload": {}}


def test_the_signature_is_what_the_intake_expects():
    assert notify_http.signature(b"s", "1", b"{}") == expected_signature(b"s", "1", b"{}")


def test_many_notifications_arrive_in_order_over_one_connection(listener):
    sender = notify_http.Sender(target(listener))
    for number in range(50):
        sender.put(message(f"e{number}"))
    listener.wait(lambda: len(listener.messages) == 50)
    assert listener.names() == [f"e{number}" for number in range(50)]
    assert listener.connections == 1


def test_a_listener_that_restarts_loses_nothing(listener, quick):
    sender = notify_http.Sender(target(listener))
    sender.put(message("before"))
    listener.wait(lambda: listener.names() == ["before"])
    listener.stop()
    sender.put(message("meanwhile"))
    listener.start()
    listener.wait(lambda: listener.names() == ["before", "meanwhile"])


def test_a_wrong_secret_keeps_the_notifications_until_it_is_right(listener, quick):
    sender = notify_http.Sender(target(listener))
    listener.answer = 401
    sender.put(message())
    listener.wait(lambda: listener.refused >= 2)
    listener.answer = None
    listener.wait(lambda: len(listener.messages) == 1)
    assert sender.dropped == 0


def test_an_overrun_is_counted_and_announced_before_what_remained(listener, quick):
    listener.stop()
    sender = notify_http.Sender(target(listener, queue_size=2))
    for number in range(5):
        sender.put(message(f"e{number}"))
    assert sender.dropped == 3
    listener.start()
    listener.wait(lambda: len(listener.messages) == 3)
    assert listener.names() == ["astara.resync", "e0", "e1"]


def test_what_is_dropped_while_an_overrun_is_announced_is_announced_too(listener, monkeypatch):
    """Whoever looks at everything at the first announcement may have looked before the later change."""
    sender = notify_http.Sender(target(listener, queue_size=1))
    began, go, delivered = threading.Event(), threading.Event(), []

    def deliver(sent):
        began.set()
        go.wait(10)
        if sent["event_type"] == "astara.resync" and "astara.resync" not in delivered:
            sender.put(message("late"))
        delivered.append(sent["event_type"])

    monkeypatch.setattr(sender, "_deliver", deliver)
    sender.put(message("e0"))
    assert began.wait(10)
    sender.put(message("early"))
    go.set()
    assert eventually(lambda: sender.delivered == 1)
    sender.put(message("e1"))
    assert eventually(lambda: "e1" in delivered)
    sender.put(message("e2"))
    assert eventually(lambda: "e2" in delivered)
    assert delivered == ["e0", "astara.resync", "e1", "astara.resync", "e2"]


def test_a_request_to_look_at_everything_is_delivered_once(listener):
    sender = notify_http.Sender(target(listener))
    for name in ("astara.resync", "e0"):
        sender.put(message(name))
    listener.wait(lambda: "e0" in listener.names())
    assert listener.names() == ["astara.resync", "e0"]


def test_what_the_listener_will_never_take_is_dropped_and_announced(listener, quick):
    sender = notify_http.Sender(target(listener))
    listener.answer = 400
    sender.put(message("bad"))
    listener.wait(lambda: listener.refused >= 1)
    listener.answer = None
    sender.put(message("good"))
    listener.wait(lambda: "good" in listener.names())
    assert listener.names() == ["astara.resync", "good"]
    assert sender.dropped == 1


def test_what_cannot_be_written_as_json_does_not_stop_the_rest(listener):
    cycle: list[object] = []
    cycle.append(cycle)
    sender = notify_http.Sender(target(listener))
    sender.put({**message("cyclic"), "payload": cycle})
    sender.put(message("good"))
    listener.wait(lambda: "good" in listener.names())


FORKING = """
import os, sys, threading
from astara_neutron import notify_http

target = notify_http.Target(sys.argv[1], sys.argv[2].encode(), None, 2.0, 100)

def say(name):
    sender = notify_http.sender_for(target)
    sender.put({"event_type": name, "message_id": name, "payload": {}})
    for _ in range(500):
        if sender.delivered:
            return sender
        threading.Event().wait(0.01)
    sys.exit("not delivered")

parent = say("parent")
child = os.fork()
if child == 0:
    os._exit(0 if say("child") is not parent else 1)
sys.exit(os.waitpid(child, 0)[1])
"""


def test_a_forked_worker_delivers_its_own_notifications_and_not_its_parents(listener):
    command = [sys.executable, "-c", FORKING, listener.url, SECRET.decode()]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0
    assert listener.names() == ["parent", "child"]


def driver(tmp_path, **settings) -> notify_http.HttpNotifyDriver:
    conf = options.register(cfg.ConfigOpts())
    conf([])
    for name, value in settings.items():
        conf.set_override(name, value, group="astara")
    return notify_http.HttpNotifyDriver(conf, ["notifications"], None)


def test_start_notifications_are_left_out_and_the_callers_context_is_not_sent(listener, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    under_test = driver(tmp_path, notify_url=[listener.url], notify_secret_file=str(secret))
    under_test.notify({"auth_token": "token"}, message("port.create.start"), "INFO", None)
    under_test.notify({"auth_token": "token"}, message("port.create.end"), "INFO", None)
    listener.wait(lambda: listener.messages)
    assert listener.names() == ["port.create.end"]
    assert "token" not in str(listener.messages)


def test_who_was_ended_tries_no_more_and_goes_on_with_the_next_message(listener, quick):
    listener.stop()
    before = set(threading.enumerate())
    sender = notify_http.Sender(target(listener))
    sender.put(message("early"))
    sender.end()
    assert not [one for one in threading.enumerate() if one not in before and one.name == "astara-notify"]
    listener.start()
    sender.put(message("late"))
    listener.wait(lambda: listener.names() == ["early", "late"])
    sender.end()


def test_a_missing_or_empty_secret_is_named_at_start(tmp_path):
    with pytest.raises(cfg.RequiredOptError, match="notify_secret_file"):
        driver(tmp_path)
    empty = tmp_path / "empty"
    empty.write_bytes(b"\n")
    with pytest.raises(ValueError, match=r"notify_secret_file.*empty"):
        driver(tmp_path, notify_secret_file=str(empty))


def test_https_wants_the_configured_authority(listener, tmp_path, quick):
    certificate, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener.stop()
    listener.start(context)
    url = listener.url.replace("http:", "https:")
    stranger = notify_http.Sender(notify_http.Target(url, SECRET, None, 2.0, 1))
    stranger.put(message("unverified"))
    friend = notify_http.Sender(notify_http.Target(url, SECRET, str(certificate), 2.0, 1))
    friend.put(message("verified"))
    listener.wait(lambda: listener.messages)
    assert listener.names() == ["verified"]
    assert stranger.delivered == 0
    for sender in (stranger, friend):  # who tries for ever would go on through the tests of others
        sender.end()


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "intake")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "cert").write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    (directory / "key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return directory / "cert", directory / "key"


def test_every_orchestrator_hears_everything_and_one_that_is_away_holds_up_nobody(listener, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    other = Listener().start()
    away = "http://127.0.0.1:9/"
    urls = [away, listener.url, other.url]
    under_test = driver(tmp_path, notify_url=urls, notify_secret_file=str(secret))
    for number in range(5):
        under_test.notify({}, message(f"e{number}.end"), "INFO", None)
    for one in (listener, other):
        one.wait(lambda one=one: len(one.messages) == 5)
        assert one.names() == [f"e{number}.end" for number in range(5)]
    other.stop()
