"""Following Neutron's change journal without losing a row that was committed late.

A transaction may take revision 10, another take 11 and commit first; whoever asks "since 11" never
sees 10. So each poll asks from one poll further back (the plug-in adds an overlap of its own), and rows
of the poll before are recognised.
"""

from __future__ import annotations

from collections.abc import Iterator

from astara.contract.snapshot import Change, ChangePage


class Journal:
    """Where we are in it. One thread uses it."""

    def __init__(self) -> None:
        self._since = 0
        self._horizon = 0
        self._seen: set[tuple[int, str, str]] = set()

    @property
    def since(self) -> int:
        return self._since

    def begin(self, revision: int) -> None:
        """Everything up to `revision` was looked at by other means."""
        self._since = self._horizon = revision
        self._seen = set()

    def fresh(self, page: ChangePage) -> Iterator[tuple[Change, bool]]:
        """Yield rows not seen before, each with whether it came late; then move on."""
        horizon = self._horizon
        rows = {(change.revision, change.kind, change.id): change for change in page.changes}
        for row, change in rows.items():
            if row not in self._seen:
                yield change, change.revision <= horizon
        self._since, self._horizon = horizon, max(horizon, page.revision)
        self._seen = set(rows)
