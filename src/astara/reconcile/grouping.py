"""Group commit for remote calls: what several workers ask while one call is in flight goes out as one call.

No timer: a lone request leaves at once, a crowd shares. A request is never answered by a call that
began before it was made, so what is read is as fresh as if it had been asked alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from astara.model.boundaries import Clock
from astara.model.errors import Retry

Ask = TypeVar("Ask", bound=Hashable)
Answer = TypeVar("Answer")


class _Batch(Generic[Ask, Answer]):
    def __init__(self) -> None:
        self.asks: dict[Ask, None] = {}
        self.answers: Mapping[Ask, Answer] = {}
        self.error: BaseException | None = None
        self.done = False


class GroupCommit(Generic[Ask, Answer]):
    """`call` gets the distinct asks of one batch and answers each of them, or raises for all."""

    def __init__(
        self,
        name: str,
        call: Callable[[Sequence[Ask]], Mapping[Ask, Answer]],
        clock: Clock,
        *,
        batch_limit: int,
        deadline_s: float,
    ) -> None:
        self._name = name
        self._call = call
        self._clock = clock
        self._batch_limit = batch_limit
        self._deadline_s = deadline_s
        self._changed = threading.Condition()
        self._open: list[_Batch[Ask, Answer]] = []
        self._flying = False

    def ask(self, ask: Ask) -> Answer:
        """Return the answer; raises what the call raised, or Retry when nobody answered in time."""
        batch = self._join(ask)
        while (lead := self._wait_or_lead(batch)) is not None:
            self._fly(lead)
        if batch.error is not None:
            raise batch.error
        return batch.answers[ask]

    def _join(self, ask: Ask) -> _Batch[Ask, Answer]:
        with self._changed:
            if not self._open or len(self._open[-1].asks) >= self._batch_limit:
                self._open.append(_Batch())
            self._open[-1].asks[ask] = None
            return self._open[-1]

    def _wait_or_lead(self, batch: _Batch[Ask, Answer]) -> _Batch[Ask, Answer] | None:
        """Return a batch whose call this thread must make, or None once its own was made.

        The batch to make may be an older one: those who asked for it may have given up.
        """
        give_up_at = self._clock.now() + self._deadline_s
        with self._changed:
            while not batch.done:
                if not self._flying:
                    self._flying = True
                    return self._open.pop(0)
                remaining_s = give_up_at - self._clock.now()
                if remaining_s <= 0:
                    raise Retry(f"{self._name}: no answer within {self._deadline_s:.0f} s")
                self._changed.wait(remaining_s)
            return None

    def _fly(self, batch: _Batch[Ask, Answer]) -> None:
        try:
            batch.answers = self._call(tuple(batch.asks))
        except BaseException as error:  # noqa: BLE001 - handed to everybody who asked, in `ask`
            batch.error = error
        finally:
            with self._changed:
                batch.done = True
                self._flying = False
                self._changed.notify_all()
