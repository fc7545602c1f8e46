from __future__ import annotations

from astara_lab.clocked import Clock


def test_a_clock_is_ahead_by_what_its_file_says_and_only_while_it_says_so(tmp_path):
    file, monotonic = tmp_path / "clock", [0.0]
    clock = Clock(file, lambda: 1_000_000_000_000, lambda: monotonic[0])
    seen = []
    for said in (None, "3600", "-3600", "nonsense", "0"):
        if said is not None:
            file.write_text(said)
        monotonic[0] += 1.0
        seen.append(clock.time())
    assert seen == [1000.0, 4600.0, -2600.0, -2600.0, 1000.0]
