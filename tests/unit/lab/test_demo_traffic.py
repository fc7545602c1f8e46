"""What the demo measures is what packets did: silence is counted, never rounded away."""

from __future__ import annotations

import socket

import pytest

from astara_lab.demo.screen import Proof, Result
from astara_lab.demo.traffic import Watch, ask_here, dns_question


def test_the_gap_is_the_longest_silence_after_the_accident() -> None:
    watch = Watch(answered=[0.0, 5.0, 10.0, 10.1, 10.9, 11.0], lost=7)
    assert watch.gap_since(10.0) == pytest.approx(0.8)


def test_silence_right_after_the_accident_counts_from_the_accident() -> None:
    assert Watch(answered=[1.0, 4.0, 4.1]).gap_since(1.5) == pytest.approx(2.5)


def test_only_answers_after_the_repair_say_it_lasts() -> None:
    assert Watch(answered=[1.0, 2.0, 3.0]).answered_since(2.0) == 2


def test_nobody_there_is_no_answer_and_no_exception() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert ask_here("127.0.0.1", port, timeout_s=0.2) is None
    assert ask_here("127.0.0.1", port, tcp=True, timeout_s=0.2) is None


def test_a_resolver_that_is_dead_has_not_answered() -> None:
    assert not dns_question("127.0.0.1", "nobody.invalid")()


def test_one_failed_proof_fails_the_whole_result() -> None:
    proofs = (Proof(claim="a", ok=True, evidence=""), Proof(claim="b", ok=False, evidence="no answer"))
    result = Result.of(proofs, first_packet_s=3.0, memory_bytes=1, total_s=9.0)
    assert not result.ok
