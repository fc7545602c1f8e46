"""Statuses of many workers, written into Neutron in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from astara.contract.snapshot import StatusItem, StatusReport
from astara.model.boundaries import Clock, NeutronApi
from astara.model.errors import Stale, Terminal
from astara.reconcile.boundaries import Metrics
from astara.reconcile.grouping import GroupCommit
from astara.reconcile.options import EngineOptions

#: What is written, and under which term it was decided.
_Ask: TypeAlias = tuple[int, StatusReport]


class StatusWriter:
    """Merges reports that wait for each other's call."""

    def __init__(self, neutron: NeutronApi, clock: Clock, options: EngineOptions, metrics: Metrics) -> None:
        self._neutron = neutron
        self._clock = clock
        self._metrics = metrics
        self._group: GroupCommit[_Ask, Terminal | Stale | None] = GroupCommit(
            "neutron.report_status",
            self._write,
            clock,
            batch_limit=options.batch_limit,
            deadline_s=options.call_deadline_s,
        )

    def report(self, report: StatusReport, term: int) -> None:
        """Return once Neutron has it; raises Retry, Terminal, or Stale when it has heard of a newer term."""
        refusal = self._group.ask((term, report))
        if refusal is not None:
            raise refusal

    def _write(self, asks: Sequence[_Ask]) -> dict[_Ask, Terminal | Stale | None]:
        answers: dict[_Ask, Terminal | Stale | None] = {}
        # Terms are not mixed: around a change of owners one report may be stale and another not.
        for term in sorted({term for term, _ in asks}):
            reports = [report for of, report in asks if of == term]
            answers |= {(term, report): refusal for report, refusal in self._write_all(reports, term).items()}
        return answers

    def _write_all(self, reports: Sequence[StatusReport], term: int) -> dict[StatusReport, Terminal | Stale | None]:
        try:
            self._put(merged(reports), term, len(reports))
        except Stale as refusal:
            return dict.fromkeys(reports, refusal)
        except Terminal as refusal:
            if len(reports) == 1:
                return {reports[0]: refusal}
            return {report: self._alone(report, term) for report in reports}
        return dict.fromkeys(reports)

    def _alone(self, report: StatusReport, term: int) -> Terminal | Stale | None:
        # One refused report must not keep the others from being written.
        try:
            self._put(report, term, 1)
        except (Terminal, Stale) as refusal:
            return refusal
        return None

    def _put(self, report: StatusReport, term: int, batch: int) -> None:
        began = self._clock.now()
        self._neutron.report_status(report, term)
        self._metrics.call("neutron.report_status", batch, self._clock.now() - began)


def merged(reports: Sequence[StatusReport]) -> StatusReport:
    """Return one report that says all of them; of two words about one thing the later holds."""
    return StatusReport(
        routers=_latest([item for report in reports for item in report.routers]),
        ports=_latest([item for report in reports for item in report.ports]),
        floating_ips=_latest([item for report in reports for item in report.floating_ips]),
    )


def _latest(items: Sequence[StatusItem]) -> tuple[StatusItem, ...]:
    return tuple({item.id: item for item in items}.values())
