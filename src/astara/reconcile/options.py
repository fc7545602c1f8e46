"""The engine's numbers, read once by runtime and handed in."""

from __future__ import annotations

from dataclasses import dataclass, field

from astara.planning.policy import Policy


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Section [engine] of astara.conf. Seconds everywhere."""

    workers: int = 16
    #: A reconcile starts no further step after this long.
    reconcile_deadline_s: float = 60.0
    #: Longest wait for an answer to a merged call that somebody else is making.
    call_deadline_s: float = 60.0
    #: Requests merged into one bulk call at most.
    batch_limit: int = 100
    page_limit: int = 200
    #: Look at everything through bulk pages this often; the net below the net.
    full_resync_s: float = 3600.0
    #: Ask Neutron's change journal this often: one call of constant cost.
    changes_poll_s: float = 5.0
    #: List the providers' instances this often, to find orphans, drift, and hosts that came back.
    drift_look_s: float = 30.0
    #: Each of these waits is shortened by up to this fraction, so that members do not march in step.
    jitter: float = 0.1
    policy: Policy = field(default_factory=Policy)
