"""Three real orchestrators on a real Neutron and node agent: killed, frozen, sent away, under a stream of changes.

They run inside a lab of three: `make cluster`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from astara.model.errors import AstaraError
from astara.model.operator import UpgradeRequest, UpgradeView
from astara_lab.places import NEUTRON_URL
from astara_lab.waiting import until
from e2e_cluster.members import SEATS, Members

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
ROUTERS = 12
#: A member silent for the lease (3 s) has lost its work two beats later; looking at it is the rest.
TAKEN_OVER_S = 5.0


@dataclass
class Cloud:
    """Neutron's API, and what was asked of it."""

    http: httpx.Client
    routers: dict[str, str] = field(default_factory=dict)  # id: nexthop within its network
    networks: list[str] = field(default_factory=list)
    changes: int = 0

    def call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, f"{NEUTRON_URL}/v2.0/{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def make(self, number: int) -> None:
        network = self.call("POST", "networks", {"network": {"name": f"n{number}"}})["network"]["id"]
        wanted = {"network_id": network, "ip_version": 4, "cidr": f"10.{100 + number}.0.0/24"}
        subnet = self.call("POST", "subnets", {"subnet": wanted})["subnet"]["id"]
        router = self.call("POST", "routers", {"router": {"name": f"r{number}"}})["router"]["id"]
        self.call("PUT", f"routers/{router}/add_router_interface", {"subnet_id": subnet})
        self.networks.append(network)
        self.routers[router] = f"10.{100 + number}.0.9"

    def change(self, router: str) -> None:
        """Give it another route."""
        self.changes += 1
        route = {"destination": f"172.16.{self.changes % 250}.0/24", "nexthop": self.routers[router]}
        self.call("PUT", f"routers/{router}", {"router": {"routes": [route]}})

    def clear(self) -> None:
        for router in self.routers:
            self.call("PUT", f"routers/{router}", {"router": {"routes": []}})
            for port in self.call("GET", f"ports?device_id={router}")["ports"]:
                self.call("PUT", f"routers/{router}/remove_router_interface", {"port_id": port["id"]})
            self.call("DELETE", f"routers/{router}")
        for network in self.networks:
            self.call("DELETE", f"networks/{network}")


@pytest.fixture(scope="module")
def cloud(members: Members) -> Iterator[Cloud]:
    with httpx.Client(timeout=60.0, trust_env=False) as http:
        made = Cloud(http)
        until("Neutron knows its nodes", lambda: members.ask(SEATS[0].name).status().neutron == "ok", 30.0)
        for number in range(ROUTERS):
            made.make(number)
        yield made
        made.clear()


@contextlib.contextmanager
def changing(cloud: Cloud) -> Iterator[None]:
    """Change routers one after the other, some four a second, until the end."""
    ended = threading.Event()
    failed: list[Exception] = []

    def run() -> None:
        routers = list(cloud.routers)
        while not ended.wait(0.25):
            try:
                cloud.change(routers[cloud.changes % len(routers)])
            except httpx.HTTPError as error:
                failed.append(error)
                return

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert failed == []


def keys_of(cloud: Cloud) -> set[str]:
    return {f"router/{router}" for router in cloud.routers} | {f"network/{network}" for network in cloud.networks}


def test_one_by_one_they_are_killed_frozen_and_sent_away_and_nothing_is_double_or_forgotten(members, cloud, capsys):
    names = [seat.name for seat in SEATS]
    keys = keys_of(cloud)
    until("all is settled", lambda: members.settled(keys, *names), 60.0)
    told: list[str] = []

    def take_over(victim: str, since: float, what: str) -> None:
        """Wait until others have looked at everything that was the victim's."""
        rest = [name for name in names if name != victim]
        lost = {key for key, lines in before.items() if lines == victim}
        assert lost, f"{victim} owns nothing"

        def looked() -> bool:
            found = {key: line for lines in members.owned(*rest).values() for key, line in lines.items()}
            return all(key in found and (found[key].last_reconciled_at or 0.0) >= since for key in lost)

        until(f"{what}: others look at what was {victim}'s", looked, 3 * TAKEN_OVER_S)
        told.append(f"{what}: {len(lost)} resources looked at by others after {time.time() - since:.1f} s")

    def owners() -> dict[str, str]:
        return {key: name for name, lines in members.owned(*names).items() for key in lines if key in keys}

    with changing(cloud):
        before, since = owners(), time.time()
        members.kill_for_good(names[2])
        take_over(names[2], since, "killed")
        members.begin(names[2])
        until("it has its part again", lambda: names[2] in owners().values(), 30.0)

        before, since = owners(), time.time()
        frozen = members.pid(names[1])
        os.kill(frozen, signal.SIGSTOP)
        take_over(names[1], since, "frozen")
        os.kill(frozen, signal.SIGCONT)
        until("it has its part again", lambda: names[1] in owners().values(), 30.0)

        before, since = owners(), time.time()
        members.control.change("stop", names[0])
        take_over(names[0], since, "sent away")
        members.begin(names[0])
    until("all is settled", lambda: members.settled(keys, *names), 60.0)
    with capsys.disabled():
        print("\n" + "\n".join(told) + f"\n{cloud.changes} changes meanwhile")

    assert doubles(members) == []
    assert acted_together(members) == {}
    for router in cloud.routers:
        assert cloud.call("GET", f"routers/{router}")["router"]["status"] == "ACTIVE"


def test_an_upgrade_goes_on_when_the_one_that_decides_is_killed_and_when_its_successor_freezes(members, cloud, capsys):
    names = [seat.name for seat in SEATS]
    keys = keys_of(cloud)
    until("all is settled", lambda: members.settled(keys, *names), 60.0)
    before = {line.id for line in members.ask(names[0]).instances()}

    def view(asked: str) -> UpgradeView | None:
        with contextlib.suppress(AstaraError):
            return members.ask(asked).upgrade()
        return None

    def decider(rest: list[str], done: int) -> str | None:
        seen = view(rest[0])
        return seen.decided_by if seen is not None and seen.done >= done and seen.decided_by in rest else None

    members.ask(names[0]).begin_upgrade(UpgradeRequest(body="namespace", canary="100%", soak_s=0.0))
    killed = until("some are upgraded", lambda: decider(names, 2), 60.0)
    members.kill_for_good(killed)
    rest = [name for name in names if name != killed]
    frozen = until("another one decides", lambda: decider(rest, 5), 60.0)
    os.kill(members.pid(frozen), signal.SIGSTOP)
    last = [name for name in rest if name != frozen]
    began = time.monotonic()
    done = until("it is done", lambda: (seen := view(last[0])) and seen.state == "done" and seen, 120.0)
    os.kill(members.pid(frozen), signal.SIGCONT)
    members.begin(killed)
    with capsys.disabled():
        print(f"\n{done.why}; {time.monotonic() - began:.0f} s after the second of those who decided had gone")
    until("all is settled", lambda: members.settled(keys, *names), 60.0)
    assert doubles(members) == []
    assert before.isdisjoint(line.id for line in members.ask(names[0]).instances())
    assert acted_together(members) == {}


def doubles(members: Members) -> list[str]:
    """Return resources with more than one instance."""
    found: dict[str, int] = defaultdict(int)
    for line in members.ask(SEATS[0].name).instances():
        found[line.resource] += 1
    return [key for key, count in found.items() if count > 1]


def acted_together(members: Members) -> dict[str, set[str]]:
    """Return, by resource and term, where more than one orchestrator acted: what the audit says."""
    actors: dict[str, set[str]] = defaultdict(set)
    with contextlib.closing(sqlite3.connect(members.lab.lib / "orchestrators.sqlite")) as database:
        for key, line in database.execute("SELECT key, line FROM history"):
            said = json.loads(line)
            if said.get("generation"):
                actors[f"{key} {said['generation'].partition('.')[0]}"].add(said["who"])
    assert actors
    return {what: who for what, who in actors.items() if len(who) > 1}
