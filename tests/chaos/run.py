"""One run from beginning to end: build, break in the order of the seed, wait, compare, delete, compare again."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console

from astara_lab.control import Control
from astara_lab.hosts import Hosts, OutsideHost
from astara_lab.places import Lab
from astara_lab.pod import Pod
from chaos import gather, machine
from chaos.faults import Hands, NotDone
from chaos.history import Body, Change, Entry, Fault, Flow, History, World
from chaos.order import MATRIX, Planned, draw
from chaos.scene import Scene, look_everywhere, seats_of
from chaos.watching import Watching
from storm.changes import Actor, Register, connect, external_network, remove_everything
from storm.compare import differences_on
from storm.probes import Outcome, Question
from storm.reading import read_wish
from storm.timeline import Timeline
from storm.untouched import Untouched

_LAST_CALLS_S = 60.0
_ACTORS = 2
#: A connection through a pair may be silent while its two halves cannot hear each other, and lives all the same.
_STREAM_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Asked:
    """`seconds` of faults, but each kind at least once; `patience_s`: for everything to be verified after one fault."""

    seed: str
    seconds: float = 300.0
    only: tuple[str, ...] = ()
    singles: int = 2
    pairs: int = 2
    every_s: float = 0.05
    pause_s: float = 0.6
    patience_s: float = 30.0
    rest_s: float = 90.0


class Chaos:
    """Used once. `play` returns the history."""

    def __init__(self, lab: Lab, asked: Asked, console: Console) -> None:
        self._lab, self._asked, self._console = lab, asked, console
        self._seats = seats_of(Control(Pod(lab)))
        self._timeline = Timeline()
        self._entries: list[Entry] = []

    def play(self) -> History:
        """Raises NotInTime when not even the beginning works."""
        neutron = connect()
        external = external_network(neutron)
        outside = OutsideHost.open(self._lab, external.id)
        untouched = Untouched(Hosts(self._lab), neutron, external, outside, None)
        project = uuid.uuid5(uuid.NAMESPACE_OID, f"chaos {self._asked.seed}").hex
        scene = Scene(self._seats, untouched, Register(project, external.id, pairs=0.4))
        try:
            self._console.print(f"building {self._asked.singles} routers and {self._asked.pairs} pairs")
            untouched.build(self._asked.singles, self._asked.pairs)
            untouched.await_paths()
            return self._played(scene)
        finally:
            untouched.remove()
            outside.close(self._lab)

    def _played(self, scene: Scene) -> History:
        self._timeline, began = Timeline(), time.monotonic()
        watching = Watching(self._seats, self._timeline.now_s)
        watching.start()
        watching.settled_since(0.0, self._asked.rest_s)
        self._entries.append(machine.begin(self._asked.seed, self._asked.seconds, self._seats))
        before = look_everywhere()
        spared = scene.untouched.spared_on(before.values(), pairs=False)
        scene.untouched.start(before[gather.NODE_NAME], self._asked.every_s, _STREAM_PATIENCE_S)
        try:
            self._break(scene, watching)
            self._compare("rest")
            remove_everything(connect(), scene.register.project)
            self._compare("cleared")
        finally:
            paths = scene.untouched.stop()
            watching.stop()
        later = {n.name: n.inode for seen in look_everywhere().values() for n in seen.namespaces}
        self._entries += [Body(name, inode, later.get(name)) for name, inode in spared.items()]
        pairs = {still.name for still in scene.untouched.stills if still.pair}
        self._entries += [_flow(question, outcome, began, pairs) for question, outcome in paths]
        self._entries += watching.samples
        self._entries += [Change(m.at_s, m.words, m.outcome) for m in self._timeline.moments() if m.kind == "change"]
        self._entries += gather.acts(self._lab)
        self._entries += gather.records(self._lab)
        return tuple(self._entries)

    # -- faults

    def _break(self, scene: Scene, watching: Watching) -> None:
        stop = threading.Event()
        pause_s = self._asked.pause_s * _ACTORS
        actors = [
            Actor(str(n), self._asked.seed, scene.register, self._timeline, stop, pause_s) for n in range(_ACTORS)
        ]
        actors[0].sow(2)
        for actor in actors:
            actor.start()
        hands = Hands(self._lab, scene, self._asked.seed)
        hands.prepare()
        try:
            for number, planned in enumerate(self._planned(), 1):
                self._entries.append(self._one(planned, hands, watching))
                self._tell(number)
        finally:
            hands.close()
            stop.set()
            if not all(actor.join(_LAST_CALLS_S) for actor in actors):
                self._console.print("the last call to Neutron did not end in time")

    def _planned(self) -> Iterator[Planned]:
        """Each kind once, and more while there is time."""
        ends = self._timeline.now_s() + self._asked.seconds
        names = tuple(seat.name for seat in self._seats)
        faults = draw(self._asked.seed, names, tuple(gather.NODES.values()))
        for number, planned in enumerate(faults):
            if number >= len(MATRIX) and self._timeline.now_s() > ends:
                return
            if not self._asked.only or planned.name in self._asked.only or planned.kind in self._asked.only:
                yield planned

    def _one(self, planned: Planned, hands: Hands, watching: Watching) -> Fault:
        at_s = self._timeline.now_s()
        words, failed = "", ""
        try:
            words = hands.begin(planned)
            threading.Event().wait(planned.hold_s)
        except NotDone as reason:
            failed = str(reason)
        try:
            hands.end()
        except NotDone as reason:
            failed = failed or str(reason)
        over_s = self._timeline.now_s()
        verified = None if failed else watching.settled_since(over_s, self._asked.patience_s)
        last = watching.last
        waits = "; ".join((*last.away, *last.why)[:3]) if verified is None and last is not None else ""
        target = planned.name.removeprefix(f"{planned.kind} ")
        return Fault(planned.kind, target, words, at_s, over_s, verified, failed, waits)

    def _tell(self, number: int) -> None:
        fault = self._entries[-1]
        assert isinstance(fault, Fault)
        took = (
            f"not before the next ({fault.waits})"
            if fault.verified_s is None
            else f"{fault.verified_s - fault.over_s:4.1f} s"
        )
        words = fault.failed or f"{fault.words}; verified again: {took}"
        line = f"{fault.at_s:6.1f} s  {number:2}  {fault.kind} {fault.target}: {words}"
        self._console.print(line, markup=False, soft_wrap=True)

    # -- the end

    def _compare(self, when: str) -> None:
        """Look until nothing differs, or patience ends; what is seen then is recorded either way."""
        self._console.print(f"comparing the kernel with Neutron's wish ({when})")
        began = time.monotonic()
        while True:
            wish, nodes = read_wish(), look_everywhere()
            differing, waited_s = differences_on(wish, nodes), time.monotonic() - began
            if not differing or waited_s > self._asked.rest_s:
                break
            threading.Event().wait(1.0)
        kept = tuple(gather.instances(self._seats[0], when))
        self._entries += [World(when, wish, nodes, waited_s), *kept]
        if when == "cleared":
            self._entries += gather.leftovers(self._lab, {one.id for one in kept})


def _flow(question: Question, outcome: Outcome, began: float, pairs: set[str]) -> Flow:
    return Flow(
        name=question.name,
        through="pair" if question.router in pairs else "single",
        kind=question.kind,
        sent=outcome.sent,
        answered=outcome.answered,
        lost_at=tuple(at - began for at in outcome.lost_at),
        silences=tuple((at - began, seconds) for at, seconds in outcome.silences),
        slowest_s=outcome.slowest_s,
        broken=outcome.broken,
        heard_s=outcome.heard_at - began if outcome.answered else None,
    )
