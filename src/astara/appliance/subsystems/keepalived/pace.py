"""How often this machine can be trusted to advertise: who is not scheduled for three intervals loses its role.

The halves need not agree: each tells its interval with every advertisement, and the other waits for three of that
(RFC 9568 6.4.2, Active_Adver_Interval).
"""

from __future__ import annotations

from dataclasses import dataclass

from astara.appliance.system import processor

#: Where QEMU translates: on a busy node such a machine stands still for tenths of a second (docs/benchmarks.md).
EMULATED_MS = 200


@dataclass(frozen=True, slots=True)
class Pace:
    """`least_ms`: advertisements of this machine are never closer than that."""

    least_ms: int = 0

    @classmethod
    def of_this_machine(cls) -> Pace:
        return cls(EMULATED_MS if processor.emulated() else 0)

    def advert_ms(self, wished_ms: int) -> int:
        return max(wished_ms, self.least_ms)
