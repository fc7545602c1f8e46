from __future__ import annotations

from astara.contract.snapshot import Change, ChangePage
from astara.reconcile.journal import Journal


def row(revision: int) -> Change:
    return Change(revision=revision, kind="router", id=f"r{revision}")


def page(highest: int, *revisions: int) -> ChangePage:
    return ChangePage(revision=highest, changes=tuple(map(row, revisions)))


def fresh(journal: Journal, answer: ChangePage) -> list[tuple[int, bool]]:
    return [(change.revision, late) for change, late in journal.fresh(answer)]


def test_a_row_that_was_committed_late_is_found_and_known_as_late():
    journal = Journal()
    journal.begin(9)
    assert fresh(journal, page(11, 11)) == [(11, False)]
    assert journal.since == 9, "one poll behind, so that 10 can still appear"
    assert fresh(journal, page(12, 10, 11, 12)) == [(10, True), (12, False)]


def test_a_row_repeated_by_the_plugins_overlap_is_not_seen_twice():
    journal = Journal()
    journal.begin(0)
    assert fresh(journal, page(3, 1, 2, 3)) == [(1, False), (2, False), (3, False)]
    for _ in range(5):
        assert fresh(journal, page(3, 1, 2, 3)) == []
