"""What tenants, operators and bad luck do, as hypothesis strategies over a simulated world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from astara.contract.snapshot import RouterSnapshot
from support.builders.resources import network, router
from support.simulation import BODIES, Orchestrator, World

IDS = ("r1", "r2", "r3")
HOSTS = ("h1", "h2", "h1,h2")


@dataclass(frozen=True)
class Deed:
    """One thing that happens. `tells`: how many events about it arrive (none: lost, several: doubled)."""

    words: str
    does: Callable[[World], None]
    about: tuple[str, str]
    tells: int = 1

    def __repr__(self) -> str:
        return f"<{self.words}, {self.tells} events>"

    def happen(self, world: World, orchestrator: Orchestrator | None = None) -> None:
        self.does(world)
        for _ in range(self.tells if orchestrator is not None else 0):
            assert orchestrator is not None
            orchestrator.event(self.about[1], kind=self.about[0])


def routers() -> st.SearchStrategy[RouterSnapshot]:
    return st.builds(
        router,
        st.sampled_from(IDS),
        host=st.sampled_from(HOSTS),
        ports=st.lists(st.sampled_from(("p1", "p2", "p3")), unique=True, max_size=3).map(lambda p: tuple(sorted(p))),
        routes=st.sampled_from(((), ("10.9.0.0/24",), ("10.9.0.0/24", "10.8.0.0/24"))),
        slots=st.sampled_from(("a", "a", "a,b")),
        body=st.sampled_from(BODIES),
    )


def put_router(wanted: RouterSnapshot, tells: int = 1) -> Deed:
    """Create or change a router."""
    words = f"put {wanted.id} on {wanted.host} ports {[p.id for p in wanted.interfaces]} slots {wanted.flavor_metainfo}"
    return Deed(words, lambda world: world.neutron.put_router(wanted), ("router", wanted.id), tells)


def delete_router(identifier: str, tells: int = 1) -> Deed:
    """Delete a router; absence is success."""
    words = f"delete {identifier}"
    return Deed(words, lambda world: world.neutron.delete_router(identifier), ("router", identifier), tells)


def wishes(tells: st.SearchStrategy[int] | None = None) -> st.SearchStrategy[Deed]:
    """Create, change, move, delete routers and networks."""
    tells = st.just(1) if tells is None else tells
    put = st.builds(put_router, routers(), tells)
    delete = st.builds(delete_router, st.sampled_from(IDS), tells)
    net = st.builds(
        lambda h, n: Deed(
            f"put n1 on {h}", lambda world: world.neutron.put_network(network(host=h)), ("network", "n1"), n
        ),
        st.sampled_from(("h1", "h2", None)),
        tells,
    )
    return st.one_of(put, put, delete, net)


def misfortunes() -> st.SearchStrategy[Deed]:
    """Something happens to an instance that Neutron knows nothing of."""

    def strike(words: str, which: int, what: Callable[[World, str], None]) -> Deed:
        def does(world: World) -> None:
            found = sorted(world.cloud.instances)
            if found:
                what(world, found[which % len(found)])

        return Deed(f"{words} instance #{which}", does, ("router", "r1"), 0)

    kinds: dict[str, Callable[[World, str], None]] = {
        "lose": lambda world, i: world.cloud.lose(i),
        "fail": lambda world, i: world.cloud.fail(i),
        "drift": lambda world, i: world.cloud.drift(i),
        "degrade": lambda world, i: world.cloud.degrade(i),
        "hang": lambda world, i: world.cloud.hang(i),
        "fault in create": lambda world, _: world.cloud.inject("create"),
        "lost answer of create": lambda world, _: world.cloud.inject("create", after=True),
        "lost answer of cut-over": lambda world, _: world.cloud.inject("cut_over", after=True),
        "lost answer of push": lambda world, _: world.cloud.inject("push", after=True),
        "fault in delete": lambda world, _: world.cloud.inject("delete"),
        "lost answer of attach": lambda world, _: world.cloud.inject("attach_port", after=True),
    }
    return st.builds(
        lambda words, which: strike(words, which, kinds[words]), st.sampled_from(sorted(kinds)), st.integers(0, 5)
    )


def histories(max_size: int = 8) -> st.SearchStrategy[list[Deed]]:
    """Wishes and misfortunes, with events lost and doubled."""
    return st.lists(st.one_of(wishes(st.integers(0, 3)), wishes(st.integers(0, 3)), misfortunes()), max_size=max_size)
