"""Several whole orchestrators on one simulated world, and a weather of failures drawn from a seed.

Each member is three threads, as in life: membership, looks, a worker. Only one thread of all runs at a time: it goes on
until it speaks to the world, and waits there for its next turn, before its call arrives and again before it hears the
answer. So a member can be frozen, killed or overtaken between deciding and acting, with its call on the way; and a seed
is the same history again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

from msgspec import structs

from astara.cluster.membership import ClusterOptions, Membership
from astara.cluster.ring import owner
from astara.contract.generation import Generation
from astara.model.boundaries import Event, ProviderListing
from astara.model.cluster import Member
from astara.model.errors import Retry
from astara.model.resource import ResourceKey
from astara.providers.memory.cloud import MemoryCloud
from astara.providers.memory.provider import MemoryProvider
from astara.reconcile.engine import Engine
from astara.reconcile.options import EngineOptions
from support.builders.resources import network, router
from support.clock import VirtualClock
from support.fakes.cluster import FakeCoordinator, FakeGroup, FakeRings, OneMembersRings
from support.fakes.drivers import PortedNetworks, SlottedRouters
from support.fakes.neutron import FakeNeutron
from support.fakes.records import FakeRecords
from support.simulation import World

HOSTS = ("h1", "h2")
ROUTERS = tuple(f"r{number}" for number in range(1, 6))
NETWORKS = ("n1", "n2")
EVERYTHING = [ResourceKey("router", one) for one in ROUTERS] + [ResourceKey("network", one) for one in NETWORKS]
LEASE_S = 3.0
#: A thread that takes longer than this for one turn hangs: a bug of the harness, or of a lock held over a call.
_TURN_S = 30.0


class Killed(BaseException):
    """The process is gone, in the middle of whatever it did."""


class Turns:
    """Hands the one turn there is to one thread, and takes it back."""

    def __init__(self) -> None:
        self._back = threading.Semaphore(0)

    def give(self, thread: Actor) -> None:
        thread.go.release()
        assert self._back.acquire(timeout=_TURN_S), f"{thread.name} does not give its turn back"
        if thread.error is not None:
            raise thread.error

    def back(self) -> None:
        self._back.release()


class Actor(threading.Thread):
    """One thread of one member: does `body` again and again, a turn at a time."""

    def __init__(self, name: str, turns: Turns, body: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.go = threading.Semaphore(0)
        self.dead = False
        self.held = False  # its call takes long, or it does not get the processor; the others of its process run on
        self.error: BaseException | None = None
        self._turns = turns
        self._body = body
        self.start()

    def run(self) -> None:
        self.go.acquire()
        try:
            while not self.dead:
                self._body()
                self.wait()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        self._turns.back()

    def wait(self) -> None:
        """Give the turn back; go on with the next one."""
        self._turns.back()
        self.go.acquire()
        if self.dead:
            raise Killed


def pause() -> None:
    """Called wherever a thread speaks to the world."""
    thread = threading.current_thread()
    if isinstance(thread, Actor):
        thread.wait()


@dataclass
class Judge:
    """Knows every ring, hears every look and every act, and writes down what must not be."""

    rings: FakeRings
    acts: int = 0
    refused: int = 0
    looked: dict[tuple[ResourceKey | None, str], int] = field(default_factory=dict)
    wrongs: list[str] = field(default_factory=list)

    def looks(self, member: Member, term: int, keys: list[ResourceKey], hosts: list[str]) -> None:
        for key in keys:
            if self._owner(key, term) == member:
                for host in hosts:
                    self.looked[key, host] = max(term, self.looked.get((key, host), 0))

    def acted(self, member: Member, term: int, key: ResourceKey, host: str, what: str) -> None:
        self.acts += 1
        if self._owner(key, term) != member:
            self.wrongs.append(f"{member.name}: {what} {key} on {host} with term {term}, which is not its own")
        if term < self.looked.get((key, host), 0):
            self.wrongs.append(f"{member.name}: {what} {key} on {host} with term {term} after a newer owner looked")

    def _owner(self, key: ResourceKey, term: int) -> Member | None:
        line = self.rings.lines.get(term)
        return None if line is None else owner(line.ring, str(key))


@dataclass
class Reach:
    """What a member cannot speak to at present: "neutron", "h1", "h2" (node agents); coordinator and database apart."""

    member: Member
    cut_off: set[str]
    epoch: Callable[[], int] = lambda: 0

    def demand(self, place: str) -> None:
        if place in self.cut_off:
            raise Retry(f"{place} does not answer")


class MembersNeutron:
    """One member's way to Neutron: every call tells its term, waits on its way, and is judged."""

    def __init__(self, neutron: FakeNeutron, reach: Reach, judge: Judge) -> None:
        self._neutron, self._reach, self._judge = neutron, reach, judge

    @contextmanager
    def _call(self, term: int | None = None):
        said = self._reach.epoch()
        pause()
        self._reach.demand("neutron")
        self._neutron.hear(said)
        yield
        pause()

    def routers(self, ids=None, marker=None, limit=200):
        with self._call():
            return self._neutron.routers(ids, marker, limit)

    def networks(self, ids=None, marker=None, limit=200):
        with self._call():
            return self._neutron.networks(ids, marker, limit)

    def changes(self, since):
        with self._call():
            return self._neutron.changes(since)

    def report_status(self, report, term):
        with self._call():
            before = len(self._neutron.reports)
            self._neutron.report_status(report, term)
            if len(self._neutron.reports) > before:
                for item in report.routers:
                    key = ResourceKey("router", item.id)
                    self._judge.acted(self._reach.member, term, key, "neutron", "report")

    def follow_active(self, half, term):
        with self._call():
            self._neutron.follow_active(half, term)
            self._judge.acted(self._reach.member, term, ResourceKey("router", half.id), "neutron", "bind")

    def ensure_dhcp_port(self, request, term):
        with self._call():
            port = self._neutron.ensure_dhcp_port(request, term)
            key = ResourceKey("network", request.network_id)
            self._judge.acted(self._reach.member, term, key, "neutron", "port")
        return port

    def announce_nodes(self, hosts):
        return ()


class JudgedCloud(MemoryCloud):
    """Tells the judge of each act it lets through. `deaf`: it does not listen to terms, to be found out."""

    judge: Judge
    acting: Member | None = None
    deaf = False

    def admit(self, key: ResourceKey, host: str, generation: Generation) -> None:
        try:
            super().admit(key, host, generation)
        except Retry:
            raise
        except Exception:
            self.judge.refused += 1
            raise
        assert self.acting is not None
        self.judge.acted(self.acting, generation.term, key, host, "change")

    def floor(self, host: str) -> int:
        return 0 if self.deaf else super().floor(host)


class MembersCloud:
    """What one member sees of the cloud: hosts it cannot reach are silent, to it alone."""

    def __init__(self, cloud: JudgedCloud, reach: Reach, judge: Judge) -> None:
        self._cloud, self._reach, self._judge = cloud, reach, judge

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        term = self._reach.epoch()
        pause()
        silent = self._reach.cut_off & set(HOSTS)
        hosts = [host for host in HOSTS if host not in silent]
        cloud = self._cloud
        with cloud.lock:
            cloud.heard[frozenset(silent)] = max(term, cloud.heard.get(frozenset(silent), 0))
            listing = cloud.list(key)
        self._judge.looks(self._reach.member, term, EVERYTHING if key is None else [key], hosts)
        pause()
        seen = tuple(one for one in listing.instances if one.host in hosts)
        return ProviderListing(seen, listing.unreachable_hosts | silent)


class MembersProvider(MemoryProvider):
    """One member's hand: what it does waits on its way, and may meet a host it cannot reach."""

    def __init__(self, cloud: JudgedCloud, view: MembersCloud, reach: Reach, clock: VirtualClock) -> None:
        super().__init__(cloud, clock.wall, source=view)
        self._reach = reach

    @contextmanager
    def _way(self, host: str):
        pause()
        self._reach.demand(host)
        self.cloud.acting = self._reach.member
        try:
            yield
        finally:
            self.cloud.acting = None
        pause()

    def create(self, key, wanted, generation):
        with self._way(wanted.host):
            return super().create(key, wanted, generation)

    def delete(self, instance, generation):
        with self._way(instance.host):
            super().delete(instance, generation)

    def attach_port(self, instance, port, generation):
        with self._way(instance.host):
            return super().attach_port(instance, port, generation)

    def detach_port(self, instance, port_id, generation):
        with self._way(instance.host):
            return super().detach_port(instance, port_id, generation)

    def push(self, instance, driver, section, generation):
        with self._way(instance.host):
            return super().push(instance, driver, section, generation)


class _Paused:
    """A coordinator or table of rings whose every call waits on its way, too."""

    def __init__(self, behind: object) -> None:
        self._behind = behind

    def __getattr__(self, name: str):
        call = getattr(self._behind, name)

        def paused(*arguments):
            pause()
            answer = call(*arguments)
            pause()
            return answer

        return paused


class Process:
    """One running orchestrator."""

    def __init__(self, world: ClusterWorld, member: Member) -> None:
        self.member = member
        self.frozen = False
        self.reach = Reach(member, world.cut_off.setdefault(member.name, set()))
        coordinator = _Paused(FakeCoordinator(world.group, member))
        rings = _Paused(OneMembersRings(world.rings, member.name, world.without_database))
        options = ClusterOptions(lease_s=LEASE_S)
        self.membership = Membership(member, coordinator, rings, world.clock, options)
        self.reach.epoch = lambda: self.membership.epoch
        self.engine = Engine(
            neutron=MembersNeutron(world.neutron, self.reach, world.judge),
            drivers={"router": SlottedRouters(), "network": PortedNetworks()},
            providers={
                "memory": MembersProvider(
                    world.cloud, MembersCloud(world.cloud, self.reach, world.judge), self.reach, world.clock
                )
            },
            records=world.records,
            clock=world.clock,
            ownership=self.membership,
            options=EngineOptions(),
            random_value=world.weather.random,
        )
        self.membership.moved = self.engine.ring_changed
        self._clock = world.clock
        self._look_at = {"membership": 0.0, "looks": 0.0}
        bodies = {"membership": self._beat, "looks": self._look, "worker": self._work}
        self.actors = [Actor(f"{member}-{name}", world.turns, body) for name, body in bodies.items()]

    def _beat(self) -> None:
        self.membership.pulse()
        if self._clock.now() >= self._look_at["membership"]:
            self._look_at["membership"] = self._clock.now() + self.membership.look()

    def _look(self) -> None:
        if self._clock.now() >= self._look_at["looks"]:
            self._look_at["looks"] = self._clock.now() + min(1.0, self.engine.schedule.run_due())

    def _work(self) -> None:
        self.engine.workers.work_one(0.0)


class ClusterWorld(World):
    """Neutron, cloud, coordinator, database and members; `weather` draws everything that is left to chance."""

    def __init__(self, seed: int, members: int = 3, *, deaf: bool = False) -> None:
        super().__init__()
        self.weather = random.Random(seed)
        self.turns = Turns()
        self.group = FakeGroup(self.clock, LEASE_S)
        self.rings = FakeRings()
        self.judge = Judge(self.rings)
        self.cloud = JudgedCloud()
        self.cloud.judge, self.cloud.deaf = self.judge, deaf
        self.cut_off: dict[str, set[str]] = {}
        self.without_database: set[str] = set()
        self.processes: dict[str, Process] = {}
        self.all_processes: list[Process] = []
        self.names = tuple("abcdefghij"[:members])
        self.mail: list[tuple[float, Process, Event]] = []
        self.wishes = 0
        self._started = 0
        self.neutron, self.records = FakeNeutron(), FakeRecords()
        for name in self.names:
            self.start(name)

    # Members

    def start(self, name: str) -> None:
        self._started += 1
        process = Process(self, Member(name=name, incarnation=f"{self._started:04d}"))
        self.processes[name] = process
        self.all_processes.append(process)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        for actor in process.actors:
            actor.dead = True
            if actor.is_alive():
                self.turns.give(actor)
                actor.join(_TURN_S)

    def close(self) -> None:
        for name in tuple(self.processes):
            self.kill(name)

    # Time

    def run(self, for_s: float, *, turn_s: float = 0.02) -> None:
        """Hand out turns at random among those that are not frozen, each taking a moment."""
        end = self.clock.now() + for_s
        while self.clock.now() < end:
            awake = [
                actor for one in self.processes.values() if not one.frozen for actor in one.actors if not actor.held
            ]
            for actor in self.weather.sample(awake, len(awake)):
                self.turns.give(actor)
            self._deliver()
            self.clock.advance(turn_s)

    def _deliver(self) -> None:
        due = [letter for letter in self.mail if letter[0] <= self.clock.now()]
        self.mail = [letter for letter in self.mail if letter[0] > self.clock.now()]
        for _, process, event in due:
            if self.processes.get(process.member.name) is process and not process.frozen:
                process.engine.notify(event)

    # Weather

    def storm(self, moments: int) -> None:
        """Let `moments` things happen, with a little time after each."""
        deeds = (
            [self._wish] * 12
            + [self._hold] * 6
            + [self._freeze] * 4
            + [self._thaw] * 4
            + [self._kill] * 2
            + [self._begin] * 3
            + [self._leave] * 2
            + [self._cut] * 3
            + [self._mend] * 4
            + [self._coordinator, self._database]
        )
        for _ in range(moments):
            self.weather.choice(deeds)()
            self.run(self.weather.choice((0.0, 0.02, 0.1, 0.3, 1.0, 5.0)))

    def heal(self) -> None:
        """Everything works again, and everybody is there."""
        self.group.down = self.rings.down = False
        self.group.cut_off.clear()
        self.without_database.clear()
        for places in self.cut_off.values():
            places.clear()
        for process in self.processes.values():
            process.frozen = False
            for actor in process.actors:
                actor.held = False
        for name in self.names:
            if name not in self.processes:
                self.start(name)

    def _wish(self) -> None:
        self.wishes += 1
        chance = self.weather
        if chance.random() < 0.25:
            name, kind = chance.choice(NETWORKS), "network"
            if chance.random() < 0.3:
                self.neutron.delete_network(name)
            else:
                self.neutron.put_network(network(name, host=chance.choice(HOSTS)))
        else:
            name, kind = chance.choice(ROUTERS), "router"
            if chance.random() < 0.2:
                self.neutron.delete_router(name)
            else:
                ports = tuple(chance.sample((f"{name}p1", f"{name}p2", f"{name}p3"), chance.randint(0, 3)))
                routes = tuple(chance.sample(("10.1.0.0/24", "10.2.0.0/24"), chance.randint(0, 2)))
                hosts = chance.choice(("h1", "h2", "h1,h2"))
                slots = "a,b" if "," in hosts else "a"
                self.neutron.put_router(router(name, host=hosts, ports=ports, routes=routes, slots=slots))
        event = Event(f"{kind}.update.end", {kind: (name,)})
        for process in self.processes.values():
            if chance.random() < 0.8:
                self.mail.append((self.clock.now() + chance.choice((0.0, 0.3, 5.0)), process, event))

    def _somebody(self) -> Process | None:
        return self.weather.choice(list(self.processes.values())) if self.processes else None

    def _freeze(self) -> None:
        if (process := self._somebody()) is not None:
            process.frozen = True

    def _hold(self) -> None:
        if (process := self._somebody()) is not None:
            self.weather.choice(process.actors).held = True

    def _thaw(self) -> None:
        for process in self.processes.values():
            process.frozen = process.frozen and self.weather.random() < 0.3
            for actor in process.actors:
                actor.held = actor.held and self.weather.random() < 0.3

    def _kill(self) -> None:
        if (process := self._somebody()) is not None:
            self.kill(process.member.name)

    def _begin(self) -> None:
        gone = [name for name in self.names if name not in self.processes]
        if gone:
            self.start(self.weather.choice(gone))

    def _leave(self) -> None:
        process = self._somebody()
        if process is not None and not process.frozen:
            process.membership.leave(wait_s=0.0)
            self.kill(process.member.name)

    def _cut(self) -> None:
        name = self.weather.choice(self.names)
        what = self.weather.choice(("coordinator", "database", "neutron", *HOSTS))
        if what == "coordinator":
            self.group.cut_off.add(name)
        elif what == "database":
            self.without_database.add(name)
        else:
            self.cut_off.setdefault(name, set()).add(what)

    def _mend(self) -> None:
        self.group.down = self.rings.down = False
        self.group.cut_off.clear()
        self.without_database.clear()
        for places in self.cut_off.values():
            places.clear()

    def _coordinator(self) -> None:
        self.group.down = not self.group.down
        if self.weather.random() < 0.5:
            self.group.forget_everything()

    def _database(self) -> None:
        self.rings.down = not self.rings.down


def unfulfilled(world: ClusterWorld) -> list[str]:
    """Return every wish that is not what runs; statuses shown included."""
    fresh = World()
    for snapshot in world.neutron.routers_by_id.values():
        fresh.neutron.put_router(snapshot)
    for snapshot in world.neutron.networks_by_id.values():
        bare = structs.replace(snapshot, ports=())
        fresh.neutron.put_network(bare)
    fresh.orchestrator().run(600)
    wanted, there = fresh.shape(), world.shape()
    return [] if wanted == there else [f"wished {wanted}", f"there is {there}"]
