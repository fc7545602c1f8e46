"""The demo's instruments on a real kernel: who answers, what a wound destroys, and how long a silence lasts."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from astara_lab.demo import wounds
from astara_lab.demo.healing import Wound, heal
from astara_lab.demo.traffic import Answer, Voices, ask, ask_here
from support.segment import eventually

pytestmark = pytest.mark.kernel
INSTANCE = "dddddddd-0000-4000-8000-000000000001"
ROUTER = f"astara-{INSTANCE}"
TENANT = "astara-demo-t"
RULES = "table inet astara { chain forward { type filter hook input priority 0; udp dport 7999 drop; }; }"


def run(*argv: str, text: str | None = None) -> None:
    subprocess.run(argv, check=True, input=text, text=True, capture_output=True)


def router_answers() -> bool:
    return ask_here("192.0.2.1", timeout_s=0.03) is not None


@pytest.fixture
def wired() -> Iterator[None]:
    for netns in (ROUTER, TENANT):
        run("ip", "netns", "add", netns)
        run("ip", "-n", netns, "link", "set", "lo", "up")
    run("ip", "link", "add", "adem0", "netns", ROUTER, "type", "veth", "peer", "name", "adem1", "netns", TENANT)
    for netns, link, host in ((ROUTER, "adem0", 1), (TENANT, "adem1", 2)):
        run("ip", "-n", netns, "address", "add", f"192.0.2.{host}/24", "dev", link)
        run("ip", "-n", netns, "address", "add", f"2001:db8::{host}/64", "dev", link, "nodad")
        run("ip", "-n", netns, "link", "set", link, "up")
    yield
    for netns in (ROUTER, TENANT):
        subprocess.run(["ip", "netns", "delete", netns], check=False, capture_output=True)


@pytest.fixture
def voices(wired: None) -> Iterator[Voices]:
    speaking = Voices()
    yield speaking
    speaking.close()


@pytest.mark.parametrize("tcp", [False, True])
@pytest.mark.parametrize(("address", "source"), [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")])
def test_a_voice_answers_with_its_name_and_whom_it_saw(voices: Voices, address: str, source: str, tcp: bool) -> None:
    voices.speak(ROUTER, "router")
    # One datagram may be lost while the neighbours find each other.
    assert eventually(lambda: ask(TENANT, address, tcp=tcp)) == Answer("router", source)


def test_a_destroyed_namespace_has_no_processes_links_or_name_left(voices: Voices) -> None:
    sleeper = subprocess.Popen(["ip", "netns", "exec", ROUTER, "sleep", "60"])
    deadline = time.monotonic() + 5
    while not wounds.daemons(ROUTER, "sleep") and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert wounds.daemons(ROUTER, "sleep") == (sleeper.pid,)
    voices.speak(ROUTER, "router")
    wounds.destroy_namespace(ROUTER)
    assert sleeper.wait(timeout=5) != 0
    assert wounds.identity(ROUTER) is None
    assert ask(TENANT, "192.0.2.1") is None


def test_a_flushed_ruleset_is_seen_to_be_gone_and_to_be_back(wired: None) -> None:
    run("ip", "netns", "exec", ROUTER, "nft", "-f", "-", text=RULES)
    assert wounds.has_ruleset(ROUTER)
    wounds.flush_ruleset(ROUTER)
    assert not wounds.has_ruleset(ROUTER)


def test_the_silence_told_is_the_silence_there_was(voices: Voices) -> None:
    voices.speak(ROUTER, "router")

    def cut() -> None:
        run("ip", "-n", ROUTER, "link", "set", "adem0", "down")
        threading.Timer(0.5, mend).start()

    def mend() -> None:
        run("ip", "-n", ROUTER, "link", "set", "adem0", "up")
        mended.set()

    mended = threading.Event()
    proof = heal(TENANT, Wound("a cut link is mended", "link down", cut, mended.is_set, router_answers))
    assert proof.ok
    assert proof.took_s is not None
    assert 0.5 <= proof.took_s < 3


def test_what_never_heals_is_a_failed_proof(voices: Voices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astara_lab.demo.healing._DEADLINE_S", 1.0)
    voices.speak(ROUTER, "router")
    proof = heal(TENANT, Wound("c", "w", lambda: wounds.destroy_namespace(ROUTER), lambda: True, router_answers))
    assert not proof.ok
    assert "answers again" in proof.evidence
