"""How many spares the requests of the last hours would have needed. Pure: it is handed the time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemandPolicy:
    """`half_life_s`: a request counts half after that long. `share`: of the requests, how many shall find a spare.

    `prior`: the lasting weight of "none is needed"; the demand of a single request fades once its own weight is
    below prior * (1 - share) / share, with these numbers after four to five half-lives.
    """

    half_life_s: float = 3600.0
    share: float = 0.95
    prior: float = 1.0


@dataclass(frozen=True, slots=True)
class Demand:
    """Remembered requests of one shelf. `weights[n]` is the weight of requests that n + 1 spares would have served."""

    weights: tuple[float, ...] = ()
    weighed_at: float = 0.0
    recent: tuple[float, ...] = ()


def requested(demand: Demand, now: float, refill_s: float, policy: DemandPolicy, most: int) -> Demand:
    """Return the demand after one more request. `refill_s` is how long one spare takes; counts stop at `most`."""
    recent = (*(at for at in demand.recent if at > now - refill_s), now)[-most:]
    weights = list(_faded(demand, now, policy))
    weights.extend([0.0] * (len(recent) - len(weights)))
    weights[len(recent) - 1] += 1.0
    return Demand(tuple(weights), now, recent)


def found(demand: Demand, spares: int, now: float, policy: DemandPolicy) -> Demand:
    """Return the demand after an empty memory found spares: so many were needed before it began."""
    weights = itertools.zip_longest(_faded(demand, now, policy), (1.0,) * spares, fillvalue=0.0)
    return Demand(tuple(one + other for one, other in weights), now, demand.recent)


def needed(demand: Demand, now: float, policy: DemandPolicy) -> int:
    """Return the smallest number of spares that would have served the wished share of the requests."""
    weights = _faded(demand, now, policy)
    wanted = policy.share * (policy.prior + sum(weights))
    served = policy.prior
    for number, weight in enumerate(weights):
        if served >= wanted:
            return number
        served += weight
    return len(weights)


def _faded(demand: Demand, now: float, policy: DemandPolicy) -> tuple[float, ...]:
    keeps = 0.5 ** (max(0.0, now - demand.weighed_at) / policy.half_life_s)
    return tuple(weight * keeps for weight in demand.weights)
