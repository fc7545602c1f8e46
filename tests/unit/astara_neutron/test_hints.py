from __future__ import annotations

import threading

import pytest

from astara_neutron import hints

ROUTER, NETWORK = ("router", "r"), ("network", "n")


@pytest.fixture
def sent(monkeypatch):
    """What was sent, and a way to wait for it."""

    class Sent(list):
        arrived = threading.Event()

        def take(self, keys):
            self.append(set(keys))
            self.arrived.set()

    found = Sent()
    monkeypatch.setattr(hints, "send", found.take)
    return found


def in_an_api_process(monkeypatch, linger_s=30.0):
    monkeypatch.setattr(hints, "REQUEST_LINGER_S", linger_s)
    sender = hints.HintSender()
    sender.expect_requests()
    return sender


def test_the_commits_of_a_request_become_one_hint_at_its_end(sent, monkeypatch):
    sender = in_an_api_process(monkeypatch)
    sender.committed([ROUTER])
    sender.committed([NETWORK, ROUTER])
    sender.finished()
    assert sent.arrived.wait(5)
    assert sent == [{ROUTER, NETWORK}]


def test_what_is_told_already_is_taken_off(sent, monkeypatch):
    sender = in_an_api_process(monkeypatch)
    sender.committed([ROUTER, NETWORK])
    sender.told([NETWORK])
    sender.finished()
    assert sent.arrived.wait(5)
    assert sent == [{ROUTER}]


def test_one_request_does_not_wait_for_or_take_from_another(sent, monkeypatch):
    sender = in_an_api_process(monkeypatch)
    sender.committed([ROUTER])
    other = threading.Thread(target=lambda: (sender.committed([NETWORK]), sender.finished()))
    other.start()
    other.join()
    assert sent.arrived.wait(5)
    assert sent == [{NETWORK}]
    sender.discard()


def test_a_request_that_never_says_it_is_finished_is_hinted_at_all_the_same(sent, monkeypatch):
    in_an_api_process(monkeypatch, linger_s=0.01).committed([ROUTER])
    assert sent.arrived.wait(5)


def test_a_failure_to_send_does_not_end_the_sending(sent, monkeypatch):
    tried = threading.Event()

    def fail(keys):
        tried.set()
        raise RuntimeError("no broker")

    monkeypatch.setattr(hints, "send", fail)
    sender = hints.HintSender()
    sender.committed([ROUTER])
    assert tried.wait(5)
    monkeypatch.setattr(hints, "send", sent.take)
    sender.committed([NETWORK])
    assert sent.arrived.wait(5)
    assert sent == [{NETWORK}]


@pytest.mark.parametrize(
    ("resource", "body", "keys"),
    [
        ("network", {"network": {"id": "n"}}, {NETWORK}),
        ("router", {"router": {"id": "r"}}, {ROUTER}),
        ("subnet", {"subnet": {"id": "s", "network_id": "n"}}, {NETWORK}),
        ("port", {"port": {"network_id": "n", "device_id": "vm", "device_owner": "compute:x"}}, {NETWORK}),
        (
            "port",
            {"port": {"network_id": "n", "device_id": "r", "device_owner": "network:router_interface"}},
            {NETWORK, ROUTER},
        ),
        ("port", {"ports": [{"network_id": "n"}, {"network_id": "m"}]}, {NETWORK, ("network", "m")}),
        ("floatingip", {"floatingip": {"router_id": "r"}}, {ROUTER}),
        ("floatingip", {"floatingip": {"router_id": None}}, set()),
        ("conntrack_helper", {"conntrack_helper": {"id": "h"}}, set()),
        ("port", {}, set()),
    ],
)
def test_a_standard_notification_tells_what_its_body_names(resource, body, keys):
    assert {key for key in hints.told_by(resource, body) if key[1]} == keys


def test_a_request_that_takes_seconds_between_two_commits_is_not_hinted_at_half_way(sent, monkeypatch):
    now = 0.0
    monkeypatch.setattr(hints.time, "monotonic", lambda: now)
    sender = hints.HintSender()
    sender.expect_requests()
    sender.committed([ROUTER])
    now = 4.0
    other = threading.Thread(target=lambda: (sender.committed([NETWORK]), sender.finished()))
    other.start()
    other.join()
    assert sent.arrived.wait(5)
    assert sent == [{NETWORK}]
    sender.discard()
