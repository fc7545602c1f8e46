"""Statuses of many workers, written into Neutron in one call."""

from __future__ import annotations

from collections.abc import Sequence

from astara.contract.snapshot import StatusItem, StatusReport
from astara.model.boundaries import Clock, NeutronApi
from astara.model.errors import Terminal
from astara.reconcile.boundaries import Metrics
from astara.reconcile.grouping import GroupCommit
from astara.reconcile.options import EngineOptions


class StatusWriter:
    """Merges reports that wait for each other's call."""

    def __init__(self, neutron: NeutronApi, clock: Clock, options: EngineOptions, metrics: Metrics) -> None:
        self._neutron = neutron
        self._clock = clock
        self._metrics = metrics
        self._group: GroupCommit[StatusReport, Terminal | None] = GroupCommit(
            "neutron.report_status",
            self._write,
            clock,
            batch_limit=options.batch_limit,
            deadline_s=options.call_deadline_s,
        )

    def report(self, report: StatusReport) -> None:
        """Return once Neutron has it; raises Retry or Terminal."""
        refusal = self._group.ask(report)
        if refusal is not None:
            raise refusal

    def _write(self, reports: Sequence[StatusReport]) -> dict[StatusReport, Terminal | None]:
        try:
            self._put(merged(reports), len(reports))
        except Terminal as refusal:
            if len(reports) == 1:
                return {reports[0]: refusal}
            return {report: self._alone(report) for report in reports}
        return dict.fromkeys(reports)

    def _alone(self, report: StatusReport) -> Terminal | None:
        # One refused report must not keep the others from being written.
        try:
            self._put(report, 1)
        except Terminal as refusal:
            return refusal
        return None

    def _put(self, report: StatusReport, batch: int) -> None:
        began = self._clock.now()
        self._neutron.report_status(report)
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
