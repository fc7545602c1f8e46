"""How long the supervisor waits before it starts a dead service again."""

from __future__ import annotations

from itertools import pairwise

from astara_lab.supervised import RESTART_DELAYS_S, restart_delay_s


def test_the_delay_grows_and_then_stays() -> None:
    delays = [restart_delay_s(failures) for failures in range(1, 20)]

    assert all(earlier <= later for earlier, later in pairwise(delays))
    assert delays[0] < 1.0
    assert delays[-1] == RESTART_DELAYS_S[-1]
