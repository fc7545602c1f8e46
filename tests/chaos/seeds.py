"""Seeds that once broke a law, by what was wrong. `make chaos-seeds` plays them; docs/howto/chaos.md."""

from __future__ import annotations

from typing import NamedTuple


class Seed(NamedTuple):
    """`only`: the kinds of fault that are needed, as `--only` takes them; the causes have tests of their own."""

    was_wrong: str
    seed: str
    only: tuple[str, ...]


SEEDS: tuple[Seed, ...] = (
    # While a router was made, the look for pairs that lack something completed it too:
    # test_neutron_plugin_pairs, a_half_made_twice_at_the_same_time_….
    Seed("a pair kept a third port of its halves", "one", ("restart neutron", "outage rabbit")),
)
