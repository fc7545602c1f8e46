from __future__ import annotations

from pathlib import Path

import pytest

from astara.appliance.api.refusals import Refusal
from astara.appliance.api.routing import Request, Route, Router, json_response
from astara.contract.generation import Generation
from astara.host.floor import Floor


def test_what_is_older_than_what_was_heard_is_refused_and_what_is_not_is_let_in():
    floor = Floor()
    floor.refuse_older(Generation(0, 0))
    floor.hear(5)
    floor.hear(3)  # takes nothing back
    floor.refuse_older(Generation(5, 0))
    with pytest.raises(Refusal, match="older than term 5"):
        floor.refuse_older(Generation(4, 99))


def test_a_restart_forgets_nothing_and_a_damaged_file_is_no_term(tmp_path: Path):
    Floor(tmp_path / "term").hear(5)
    assert Floor(tmp_path / "term").term == 5
    (tmp_path / "term").write_text("nonsense")
    assert Floor(tmp_path / "term").term == 0


def test_a_full_disk_does_not_keep_it_from_being_in_force(tmp_path: Path):
    (tmp_path / "term").mkdir()  # cannot be replaced by a file
    floor = Floor(tmp_path / "nowhere" / "term")
    (tmp_path / "nowhere").write_text("a file where a directory should be")
    floor.hear(5)
    assert floor.term == 5


def test_a_question_is_heard_before_it_is_answered_and_only_of_those_who_may_ask():
    floor = Floor()
    router = Router([Route("GET", "/v1/x", lambda *_: json_response(floor.term))], "role", floor.hear)
    stranger = Request("GET", "/v1/x", "", b"", frozenset(), term=9)
    assert router.answer(stranger).status == 403
    assert floor.term == 0
    assert router.answer(Request("GET", "/v1/x", "", b"", frozenset({"role"}), term=9)).body == b"9"
