"""Which faults there are, and in which order a seed brings them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

ORCHESTRATOR, NODE = "orchestrator", "node"
EVERYTHING = "everything"
#: Longer than the lease of a member (3 s) and what follows it: its work is another's before it wakes.
_FREEZE_S, _OUTAGE_S, _CUT_S, _SLOW_S, _DAEMON_S, _PLACE_S = 6.0, 8.0, 9.0, 10.0, 4.0, 8.0

SERVICES = (ORCHESTRATOR, NODE, "neutron", "rabbit", "mariadb")
DAEMONS = ("dnsmasq", "radvd", "keepalived", "conntrackd")


@dataclass(frozen=True, slots=True)
class Planned:
    """`target`: what fails, by name; `other`: from what it is cut off. It lasts `hold_s`; 0: it is over at once."""

    kind: str
    target: str
    hold_s: float = 0.0
    other: str = ""

    @property
    def name(self) -> str:
        return f"{self.kind} {self.target}" + (f" | {self.other}" if self.other else "")


#: Every kind at least once a run. `orchestrator` and `node` stand for any one of them.
MATRIX = (
    *(Planned("kill", service) for service in SERVICES),
    *(Planned("freeze", service, _FREEZE_S) for service in SERVICES),
    *(Planned("restart", service) for service in SERVICES),
    *(Planned("outage", service, _OUTAGE_S) for service in ("neutron", "rabbit", "mariadb")),
    Planned("slow", "neutron", _SLOW_S),
    *(Planned("kill", daemon) for daemon in DAEMONS),
    *(Planned("freeze", daemon, _DAEMON_S) for daemon in DAEMONS),
    Planned("destroy", "active half"),
    Planned("destroy", "router"),
    Planned("cut", ORCHESTRATOR, _CUT_S, "mariadb"),
    Planned("cut", ORCHESTRATOR, _CUT_S, NODE),
    Planned("cut", ORCHESTRATOR, _CUT_S, EVERYTHING),
    Planned("cut", "every orchestrator", _CUT_S, NODE),
    Planned("cut", "half", _CUT_S, "half"),
    Planned("full disk", NODE, _PLACE_S),
    Planned("full disk", ORCHESTRATOR, _PLACE_S),
    Planned("clock ahead", ORCHESTRATOR, _PLACE_S),
    Planned("clock behind", ORCHESTRATOR, _PLACE_S),
)


def draw(seed: str, orchestrators: Sequence[str], nodes: Sequence[str]) -> Iterator[Planned]:
    """Yield faults without end: each of MATRIX once in each round."""
    random = Random(f"{seed}/order")
    while True:
        for planned in random.sample(MATRIX, len(MATRIX)):
            names = {ORCHESTRATOR: random.choice(orchestrators), NODE: random.choice(nodes)}
            target, other = (names.get(word, word) for word in (planned.target, planned.other))
            yield Planned(planned.kind, target, planned.hold_s, other)
