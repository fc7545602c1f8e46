"""Whatever ends the active half of a pair: what tenants lose, and for how long nothing comes through.

    PYTHONPATH=tests tests/isolated .venv/bin/python benchmarks/pairs.py [--trials 10] [--advert-ms 20] [--without-sync]

Two halves in namespaces on two bridges joined by veth pairs, as in tests/kernel/test_pair.py; UDP every 2 ms and one
TCP connection by question and answer, both through SNAT, while it happens.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from astara.contract.agent import Role
from astara_lab.conversation import Conversation, conversation
from support.pair import WORLD, Half, TwoNodes, two_nodes
from support.segment import eventually

_BEFORE_S, _AFTER_S = 0.5, 1.0


def silent(half: Half) -> None:
    """Its bridge ports forward nothing any more; its links stay up."""
    half.reconnect(connected=False)


def killed(half: Half) -> None:
    """All of it: processes and links at once."""
    half.kill()


def election_killed(half: Half) -> None:
    for pid in half.pids("keepalived"):
        os.kill(pid, signal.SIGKILL)


def election_stopped(half: Half) -> None:
    for pid in half.pids("keepalived"):
        os.kill(pid, signal.SIGSTOP)


def planned(half: Half) -> None:
    """What deleting it does first."""
    os.kill(half.pids("keepalived")[0], signal.SIGTERM)


def sync_off(half: Half) -> None:
    """For comparison: nobody tells the other half about connections."""
    for pid in half.pids("conntrackd"):
        os.kill(pid, signal.SIGKILL)


EVENTS: tuple[Callable[[Half], None], ...] = (silent, killed, election_killed, election_stopped, planned)


def trial(world: TwoNodes, event: Callable[[Half], None]) -> tuple[Conversation, float]:
    active, standby = world.settled()
    with conversation(world.web.netns, world.world.netns, WORLD) as said:
        time.sleep(_BEFORE_S)
        began = time.monotonic()
        event(active)
        assert eventually(lambda: standby.role() is Role.ACTIVE), [half.told() for half in world.halves]
        time.sleep(_AFTER_S)
    return said, said.gap_since(began - 0.002)


def mend(world: TwoNodes, advert_ms: int) -> None:
    """Bring back what is gone, as a node agent does."""
    for half in world.halves:
        if half.place.netns is None or not half.place.netns.exists():
            half.engine.remove(half.place)
            half.plug()
            half.configure(advert_ms)
        half.reconnect(connected=True)
        eventually(lambda half=half: half.engine.repair(half.place).health == "healthy")
    time.sleep(2.5)  # what said goodbye needs a second to end
    for half in world.halves:
        half.engine.repair(half.place)
    world.settled()


def measure(event: Callable[[Half], None], trials: int, advert_ms: int, sync: bool) -> dict[str, object]:
    gaps, slowest, lost, dead = [], [], 0, 0
    with tempfile.TemporaryDirectory() as directory, two_nodes(Path(directory)) as world:
        world.ready(advert_ms)
        for _ in range(trials):
            if not sync:
                for half in world.halves:
                    sync_off(half)
            said, gap_s = trial(world, event)
            gaps.append(gap_s * 1000)
            slowest.append(said.tcp_longest_s * 1000)
            lost += said.lost
            dead += said.tcp_broken is not None or len(said.seen_as) != 1
            mend(world, advert_ms)
    return {
        "event": event.__name__,
        "trials": trials,
        "gap_ms": {"median": round(statistics.median(gaps), 1), "worst": round(max(gaps), 1)},
        "slowest_tcp_answer_ms": {"median": round(statistics.median(slowest), 1), "worst": round(max(slowest), 1)},
        "datagrams_lost_per_trial": round(lost / trials, 1),
        "sessions_that_did_not_survive": dead,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--advert-ms", type=int, default=20)
    parser.add_argument("--without-sync", action="store_true", help="kill conntrackd first: what it is for")
    parser.add_argument("--only", default="", help="names of events, by commas")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else [event.__name__ for event in EVENTS]
    for event in (event for event in EVENTS if event.__name__ in wanted):
        found = measure(event, arguments.trials, arguments.advert_ms, not arguments.without_sync)
        found |= {"advert_ms": arguments.advert_ms, "load": round(os.getloadavg()[0], 1)}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
