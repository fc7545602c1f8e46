"""What an agent in a machine does before anybody asks: all of it really, and nothing of it stays."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from astara.appliance.apply.engine import Engine
from astara.appliance.boundaries import Place
from astara.appliance.subsystems.kernel import kernel_subsystems
from astara.appliance.subsystems.radvd.subsystem import RadvdSubsystem
from astara.appliance.system import processes
from astara.appliance.system.processes import Process
from astara.contract.agent import SPARE, ApplyReport, InstanceSpec, Key, Outcome, StateView
from astara.contract.document import Document
from astara.contract.generation import ZERO
from astara.drivers.router.appliance import RouterAppliance
from astara.drivers.router.schema import AdvertisedPrefix, RaMode, RouterSection
from astara.host import namespaces, rehearsal
from astara.host.node import Node
from support.builders.router import internal
from support.node_agent import Deployment, isolated, port, running, spec

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not isolated(), reason="makes network namespaces: run it by `make kernel`"),
]


class Told(Engine):
    """An engine that keeps what it reported."""

    def __init__(self) -> None:
        super().__init__((*kernel_subsystems(), RadvdSubsystem()), {"router": RouterAppliance()})
        self.reports: list[ApplyReport] = []

    def apply(self, place: Place, document: Document) -> ApplyReport:
        self.reports.append(super().apply(place, document))
        return self.reports[-1]


class Refused(RouterAppliance):
    """Its typical document is none."""

    def configs(self, section: RouterSection) -> Mapping[str, Any]:
        raise ValueError("no")


class WithRadvd(RouterAppliance):
    """Its typical document wants a daemon."""

    def typical(self, macs: tuple[str, str]) -> RouterSection:
        return RouterSection(
            router_id="typical",
            internal=(
                internal(
                    macs[0],
                    "2001:db8:1::1/64",
                    advertise=(AdvertisedPrefix(prefix="2001:db8:1::/64", mode=RaMode.SLAAC),),
                ),
            ),
        )


class CannotLook(Told):
    """Its state cannot be told."""

    started: Process | None = None

    def state(self, place: Place) -> StateView:
        self.started = processes.remembered(next(place.files.rglob("daemon.pid")))
        raise RuntimeError("no")


def everything() -> set[str]:
    """Names of links and namespaces. Compared by `<=`: what earlier tests made may still be on its way out."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    names = {line.split(": ")[1] for line in links.splitlines()}
    return {*names, *(path.name for path in namespaces.RUN.iterdir())}


@pytest.fixture(autouse=True)
def _directory() -> None:
    namespaces.prepare_directory()


def test_a_typical_router_is_really_configured_and_nothing_of_it_stays(tmp_path: Path) -> None:
    engine, before = Told(), everything()
    rehearsal.rehearse(engine, {"router": RouterAppliance()})
    (report,) = engine.reports
    assert report.outcome is Outcome.APPLIED
    assert {"nftables", "links", "routes"} <= set(report.touched)
    assert everything() <= before


def test_what_goes_wrong_costs_nobody_anything() -> None:
    engine, before = Engine(kernel_subsystems(), {"router": Refused()}), everything()
    rehearsal.rehearse(engine, {"router": Refused()})
    assert everything() <= before


def test_what_goes_wrong_on_the_way_is_taken_away_all_the_same() -> None:
    """A clone of a template would have a daemon of nobody's for ever."""
    engine = CannotLook()
    rehearsal.rehearse(engine, {"router": WithRadvd()})
    assert engine.started is not None
    assert not processes.alive(engine.started)


def test_a_spare_rehearses_once_where_it_is_made_and_an_instance_of_somebodys_never(tmp_path: Path) -> None:
    deployment = Deployment.at(tmp_path)
    done: list[str] = []
    spare = InstanceSpec(id=str(uuid.uuid4()), key=Key(driver=SPARE, id="0"), slot=str(uuid.uuid4()), generation=ZERO)
    somebodys = spec(port())
    with running(deployment) as (agent, client):
        _rehearses(agent.node, done)
        client.put_instance(somebodys)
        assert done == []
        client.put_instance(spare)
        client.put_instance(spare)
        assert done == ["once"]
        for one in (spare, somebodys):
            client.delete_instance(one.id, somebodys.generation)


def _rehearses(node: Node, done: list[str]) -> None:
    object.__setattr__(node._around, "rehearse", lambda: done.append("once"))
