from __future__ import annotations

import pytest

from astara.contract.snapshot import StatusItem, StatusReport
from astara.model.errors import Terminal
from astara.reconcile.boundaries import NoMetrics
from astara.reconcile.options import EngineOptions
from astara.reconcile.statuses import StatusWriter, merged
from support.builders.resources import router
from support.clock import VirtualClock
from support.fakes.neutron import FakeNeutron


def report(identifier: str, status: str = "ACTIVE") -> StatusReport:
    return StatusReport(routers=(StatusItem(id=identifier, status=status),))


def test_of_two_words_about_one_thing_the_later_holds():
    assert merged([report("r1", "DOWN"), report("r2"), report("r1")]).routers == (
        StatusItem(id="r1", status="ACTIVE"),
        StatusItem(id="r2", status="ACTIVE"),
    )


class Picky(FakeNeutron):
    """Refuses every report that speaks of one router."""

    def report_status(self, report: StatusReport, term: int | None = None) -> None:
        if any(item.id == "bad" for item in report.routers):
            raise Terminal("unknown router")
        super().report_status(report, term)


def test_one_refused_report_does_not_keep_the_others_from_being_written():
    neutron = Picky()
    neutron.put_router(router("r1"))
    writer = StatusWriter(neutron, VirtualClock(), EngineOptions(), NoMetrics())
    answers = writer._write([(1, report("r1", "ERROR")), (1, report("bad"))])
    assert neutron.routers_by_id["r1"].status == "ERROR"
    assert answers[1, report("r1", "ERROR")] is None
    with pytest.raises(Terminal):
        writer.report(report("bad"), 1)
