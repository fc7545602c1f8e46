"""What was last read back of one instance, and whether anything may have changed since."""

from __future__ import annotations

from msgspec.structs import replace

from astara.contract.agent import ApplyReport, Health, Role, StateView
from astara.contract.document import Document
from astara.contract.generation import Generation


class LastLook:
    """The caller holds the instance's turn, except to read `fresh` and `last`."""

    def __init__(self) -> None:
        self.fresh: StateView | None = None  #: None once anything may have changed
        self.last: StateView | None = None  #: however old
        self.applied: Generation | None = None  #: the newest document known to be in force
        self.looked = False  #: whether the engine was ever asked: before that `applied` says nothing
        self._rebuilds = 0
        self._failure: str | None = None

    def doubt(self) -> None:
        self.fresh = None

    def forget(self) -> None:
        """The instance is gone. What was repaired and what failed is still told of the next one under this id."""
        self.fresh = self.last = self.applied = None

    def failed(self, reason: str) -> None:
        self._failure = reason
        self.doubt()

    def mended(self, *, rebuilt: bool) -> None:
        """`rebuilt`: the engine had nothing to repair, the node had."""
        self._rebuilds += rebuilt
        self._failure = None

    def take(self, state: StateView) -> StateView:
        """Remember what the engine says, and return it with what the engine cannot know."""
        if self._rebuilds or self._failure:
            last_error = self._failure or state.last_error
            state = replace(state, repairs=state.repairs + self._rebuilds, last_error=last_error)
        self.fresh = self.last = state
        self.applied, self.looked = state.generation or self.applied, True
        return state

    def now(self, role: Role) -> StateView | None:
        """Take note of who is active; returns what is fresh."""
        if self.fresh is not None and self.fresh.role is not role:
            self.fresh = self.last = replace(self.fresh, role=role)
        return self.fresh

    def take_applied(self, document: Document, report: ApplyReport) -> None:
        """An apply ends with a read-back that found everything: nothing is to be asked again."""
        self._failure = None
        self.applied = report.generation
        self.fresh = self.last = StateView(
            health=Health.HEALTHY,
            generation=report.generation,
            driver=document.driver,
            digest=report.digest,
            repairs=self.last.repairs if self.last is not None else self._rebuilds,
            # No document changes it; who takes over is heard of, and read back then.
            role=self.last.role if self.last is not None else None,
        )
