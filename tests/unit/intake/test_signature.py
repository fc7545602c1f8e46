from __future__ import annotations

import pytest

from astara.intake.signature import refusal, sign

SECRET, NOW, BODY = b"shared", 1_800_000_000.0, b'{"event_type":"port.update.end"}'


def signed(timestamp: str) -> str:
    return sign(SECRET, timestamp, BODY)


def test_a_genuine_message_is_believed_within_five_minutes_either_way() -> None:
    for offset in (-300, 0, 300):
        timestamp = str(int(NOW) + offset)
        assert refusal(SECRET, timestamp, signed(timestamp), BODY, NOW) is None


@pytest.mark.parametrize("offset", [-301, 301])
def test_an_old_message_cannot_be_played_again(offset: int) -> None:
    timestamp = str(int(NOW) + offset)
    assert "clocks" in (refusal(SECRET, timestamp, signed(timestamp), BODY, NOW) or "")


def test_the_signature_covers_body_timestamp_and_secret() -> None:
    timestamp = str(int(NOW))
    good = signed(timestamp)
    assert refusal(SECRET, timestamp, good, BODY + b" ", NOW) is not None
    assert refusal(SECRET, str(int(NOW) + 1), good, BODY, NOW) is not None
    assert refusal(b"another", timestamp, good, BODY, NOW) is not None


@pytest.mark.parametrize("timestamp", ["", "now", "-5", "1e9", "１２３"])
def test_a_timestamp_that_is_no_number_is_refused_without_a_traceback(timestamp: str) -> None:
    assert "number of seconds" in (refusal(SECRET, timestamp, "00", BODY, NOW) or "")


def test_a_signature_that_is_not_even_ascii_is_refused_without_a_traceback() -> None:
    assert refusal(SECRET, str(int(NOW)), "ümlaut", BODY, NOW) is not None
