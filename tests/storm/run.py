"""One storm from beginning to end."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass
from random import Random
from typing import Any

from rich.console import Console

from astara_lab.hosts import Hosts, OutsideHost
from astara_lab.places import OVSDB_SOCKET, Lab
from astara_lab.pod import Pod
from storm.changes import Actor, Register, connect, external_network, remove_everything
from storm.kills import Killer
from storm.reading import Rest, await_rest
from storm.samples import prove
from storm.sight import look
from storm.timeline import Timeline
from storm.untouched import Untouched
from storm.verdict import Claim, Verdict, losses

_LAST_CALLS_S = 60.0
_SOWN = 3


@dataclass(frozen=True, slots=True)
class Weather:
    """Everything is bounded: `seconds` of storm, `actors` threads of changes, `rest_s` to come to rest."""

    seed: str
    seconds: float = 120.0
    actors: int = 4
    stills: int = 3
    every_s: float = 0.01
    rest_s: float = 90.0
    samples: int = 5
    kill_api: bool = False
    clear: bool = True


def storm(lab: Lab, weather: Weather, console: Console) -> Verdict:
    """Build, break, wait, compare. Raises NotInTime when not even the beginning works."""
    neutron = connect()
    external = external_network(neutron)
    outside = OutsideHost.open(lab, external.id)
    hosts = Hosts(lab)
    flavor = next((f.id for f in neutron.flavors() if f.name == "astara"), None) if _has_flavors(neutron) else None
    untouched = Untouched(hosts, neutron, external, outside, flavor)
    try:
        console.print(f"building {weather.stills} routers that nobody will touch")
        untouched.build(weather.stills)
        untouched.await_paths()
        return _storm(lab, weather, console, untouched, outside, Register(_project(weather), external.id, flavor))
    finally:
        untouched.remove()
        outside.close(lab)


def _has_flavors(neutron: Any) -> bool:
    return neutron.find_extension("flavors") is not None


def _project(weather: Weather) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"storm {weather.seed}").hex


def _storm(
    lab: Lab, weather: Weather, console: Console, untouched: Untouched, outside: OutsideHost, register: Register
) -> Verdict:
    timeline, neutron = Timeline(), connect()
    seen = look(None if lab.bridged else OVSDB_SOCKET)
    untouched.start(seen, weather.every_s)
    try:
        console.print(f"storm {weather.seed} for {weather.seconds:.0f} s")
        timeline.note("phase", "the storm begins")
        _blow(lab, weather, untouched.spared(seen), register, timeline)
        timeline.note("phase", "the storm ends")
        console.print("waiting for rest, then comparing the kernel with Neutron")
        rest = await_rest(lab, weather.rest_s)
        timeline.note("phase", "rest" if rest.ok else "no rest before the deadline")
        console.print(f"asking a sample with packets ({'rest' if rest.ok else 'no rest'})")
        samples = tuple(
            Claim(*claim)
            for claim in prove(Hosts(lab), neutron, outside, register.project, Random(weather.seed), weather.samples)
        )
        cleared = _clear(lab, weather, neutron, register, timeline) if weather.clear else None
    finally:
        paths = untouched.stop()
    moments = timeline.moments()
    began = time.monotonic() - timeline.now_s()
    lost = losses(paths, moments, began)
    return Verdict(
        seed=weather.seed,
        profile=lab.profile,
        seconds=weather.seconds,
        paths=paths,
        replaced=untouched.replaced(),
        rest=rest,
        cleared=cleared,
        samples=samples,
        losses=lost,
        moments=moments,
    )


def _blow(lab: Lab, weather: Weather, spared: frozenset[str], register: Register, timeline: Timeline) -> None:
    stop = threading.Event()
    actors = [Actor(str(n), weather.seed, register, timeline, stop) for n in range(weather.actors)]
    killer = Killer(weather.seed, Pod(lab), spared, timeline, stop, api=weather.kill_api)
    actors[0].sow(_SOWN)
    for blower in (*actors, killer):
        blower.start()
    try:
        stop.wait(weather.seconds)
    finally:
        stop.set()
    late = [blower for blower in (*actors, killer) if not blower.join(_LAST_CALLS_S)]
    if late:
        timeline.note("phase", f"{len(late)} threads did not end in time")


def _clear(lab: Lab, weather: Weather, neutron: Any, register: Register, timeline: Timeline) -> Rest:
    remove_everything(neutron, register.project)
    timeline.note("phase", "everything the storm made is deleted")
    return await_rest(lab, weather.rest_s)
