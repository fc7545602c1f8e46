from __future__ import annotations

from pathlib import Path

import pytest

from astara_lab.places import Lab
from astara_lab.pod import PodError
from chaos.faults import Hands, NotDone


def test_what_cannot_be_taken_back_is_told_and_keeps_nothing_else_from_it(tmp_path: Path):
    """A run that ended there would have recorded nothing."""
    hands = Hands(Lab(tmp_path, "cluster"), None, "seed")  # type: ignore[arg-type]
    taken_back: list[str] = []
    hands._undo += [lambda: taken_back.append("first"), _refused, lambda: taken_back.append("last")]
    with pytest.raises(NotDone, match="not taken back: it does not answer"):
        hands.end()
    assert taken_back == ["last", "first"]
    hands._undo.append(_refused)
    hands.close()


def _refused() -> None:
    raise PodError("it does not answer")
