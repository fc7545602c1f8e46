"""When very many instances seem dead at once, it is probably us who cannot see: do not rebuild.

Silence counts (no answer from an instance's agent, or from its host). An agent's own word that an
instance is broken does not: it is knowledge, not silence, and waiting would only prolong an outage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from astara.model.resource import ResourceKey
from astara.planning.policy import BrakePolicy


@dataclass(frozen=True, slots=True)
class Brake:
    """`members` fell silent together and hold the brake; `pardoned_until` is when an operator last released it."""

    members: frozenset[ResourceKey] = frozenset()
    since: float = 0.0
    pardoned_until: float = float("-inf")
    reason: str = ""

    @property
    def engaged(self) -> bool:
        return bool(self.members)

    def released(self, now: float) -> Brake:
        """The operator says that what is silent until now is really dead."""
        return Brake(pardoned_until=now)


def judge(brake: Brake, silent: Mapping[ResourceKey, float], total: int, now: float, policy: BrakePolicy) -> Brake:
    """Return the brake after a look at the fleet.

    `silent` maps resources to the monotonic time since which they are silent; `total` counts all resources.
    """
    recent = {key for key, since in silent.items() if since > brake.pardoned_until and since > now - policy.window_s}
    still = {key for key in brake.members if key in silent}
    members = frozenset(recent | still)
    if not _too_many(len(members), total, policy):
        return Brake(pardoned_until=brake.pardoned_until)
    reason = (
        f"{len(members)} of {total} resources fell silent within {policy.window_s:.0f} s: "
        "more likely this side is cut off; nothing is rebuilt until they answer, or `astara brake release`"
    )
    return Brake(members, brake.since if brake.engaged else now, brake.pardoned_until, reason)


def _too_many(count: int, total: int, policy: BrakePolicy) -> bool:
    return count >= policy.at_least and count > policy.fraction * max(total, count)
