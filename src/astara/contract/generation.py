"""The fence: which of two wishes is newer."""

from __future__ import annotations

import msgspec

#: Header of every request an orchestrator makes: the greatest term it knows. Whoever hears it refuses changes under
#: an older one from then on. Absent: nothing is said (an earlier version, a person with curl).
TERM_HEADER = "Astara-Term"


class Generation(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True):
    """(owner term, snapshot revision), compared in that order.

    `term` grows whenever a resource gets a new owner or an orchestrator starts: it is the epoch of the ring. `revision`
    is the Neutron plug-in's change counter at the time of the read. An agent refuses an older generation;
    an equal one is accepted, because a change that committed late may not have moved the counter.
    """

    term: int
    revision: int

    def __str__(self) -> str:
        return f"{self.term}.{self.revision}"


ZERO = Generation(0, 0)
