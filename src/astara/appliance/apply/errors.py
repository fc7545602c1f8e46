"""What applying a document can end in, besides success.

Refusals before anything was touched: ContractError (field), model.errors.Stale, SubsystemError(phase="check"),
StorageUnavailable. Failures after something was touched: ApplyFailed.
"""

from __future__ import annotations

from collections.abc import Sequence

from astara.contract.agent import Deviation
from astara.model.errors import AstaraError, Retry


class StorageUnavailable(Retry):
    """The last good document cannot be kept on this machine's disk; what runs is untouched."""


class ApplyFailed(AstaraError):
    """Applying failed half way; `restored` says whether the last good document is in force again.

    `remedy` is what to do about the cause, when the cause tells.
    """

    def __init__(self, message: str, deviations: Sequence[Deviation], *, restored: bool, remedy: str = "") -> None:
        self.deviations = tuple(deviations)
        self.restored = restored
        where = "the previous configuration runs again" if restored else "the previous configuration is incomplete"
        super().__init__(message, f"{where}; {remedy or 'read the deviations, then push again'}")
