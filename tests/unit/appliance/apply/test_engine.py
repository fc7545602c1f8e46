"""The engine's own promises, with subsystems that only remember."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from astara.appliance.apply.engine import Engine
from astara.appliance.boundaries import Place
from astara.contract.agent import Deviation, Health, Outcome
from astara.contract.codec import ContractError, Wire
from astara.contract.document import document
from astara.contract.generation import Generation


class Words(Wire, frozen=True):
    words: tuple[str, ...] = ()
    blocked: bool = False


class Shelf:
    """A subsystem whose world is a dictionary."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.world: dict[str, Any] = {}
        self._log = log
        self.gate = threading.Event()
        self.entered = threading.Event()

    def render(self, place: Place, config: Words) -> Words:
        return config

    def check(self, place: Place, rendered: Words) -> None: ...

    def apply(self, place: Place, rendered: Words, previous: Words | None) -> bool:
        if rendered.blocked:
            self.entered.set()
            assert self.gate.wait(10)
        changed = self.world.get(place.instance_id) != rendered
        self.world[place.instance_id] = rendered
        self._log.append(f"+{self.name}")
        return changed

    def read_back(self, place: Place, rendered: Words) -> Sequence[Deviation]:
        if self.world.get(place.instance_id) == rendered:
            return []
        return [Deviation(subsystem=self.name, detail="differs")]

    def remove(self, place: Place) -> None:
        self.world.pop(place.instance_id, None)
        self._log.append(f"-{self.name}")


class Late(Shelf):
    """One that needs a while after it was configured."""

    def await_ready(self, place: Place) -> None:
        self.entered.set()
        assert self.gate.wait(10)
        self._log.append(f"{self.name} is ready")


class Driver:
    """The words name the subsystems that get a config."""

    name = "d"
    section_type = Words

    def configs(self, section: Words) -> dict[str, Words]:
        return dict.fromkeys(section.words, section)


class Site:
    def __init__(self, files: Path) -> None:
        self.log: list[str] = []
        self.shelves = [Shelf("first", self.log), Shelf("second", self.log)]
        self.engine = self.agent()
        self._files = files

    def agent(self) -> Engine:
        return Engine(self.shelves, {"d": Driver()})

    def place(self, name: str) -> Place:
        return Place(name, None, self._files / name)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def wish(*words: str, revision: int = 1, blocked: bool = False) -> Any:
    return document("d", Generation(1, revision), Words(words=words, blocked=blocked))


def test_applied_in_order_removed_in_reverse(site: Site) -> None:
    place = site.place("a")
    assert site.engine.apply(place, wish("second", "first")).touched == ("first", "second")
    site.log.clear()
    site.engine.remove(place)
    assert site.log == ["-second", "-first"]
    assert site.engine.state(place).health is Health.UNCONFIGURED


def test_what_the_new_document_has_no_config_for_goes_away(site: Site) -> None:
    place = site.place("a")
    site.engine.apply(place, wish("first", "second"))
    site.engine.apply(place, wish("first", revision=2))
    assert site.shelves[1].world == {}


def test_a_driver_that_needs_more_than_this_agent_has_is_refused(site: Site) -> None:
    with pytest.raises(ContractError, match="third"):
        site.engine.apply(site.place("a"), wish("third"))
    assert site.log == []


def test_one_stuck_instance_does_not_hold_up_another(site: Site) -> None:
    stuck = threading.Thread(target=site.engine.apply, args=(site.place("a"), wish("first", blocked=True)))
    stuck.start()
    try:
        assert site.shelves[0].entered.wait(5)
        assert site.engine.apply(site.place("b"), wish("first")).outcome is Outcome.APPLIED
        assert site.engine.state(site.place("b")).health is Health.HEALTHY
    finally:
        site.shelves[0].gate.set()
        stuck.join()


@pytest.mark.parametrize("content", [b"", b"{", b'{"contract": 1}', b"\xff\xfe"])
def test_a_last_good_file_that_is_none_means_unconfigured_and_a_push_heals(site: Site, content: bytes) -> None:
    place = site.place("a")
    site.engine.apply(place, wish("first"))
    (place.files / "last-good.json").write_bytes(content)
    restarted = site.agent()
    assert restarted.state(place).health is Health.UNCONFIGURED
    restarted.apply(place, wish("first", revision=2))
    assert restarted.state(place).health is Health.HEALTHY


def test_the_kept_document_is_readable_by_us_alone(site: Site) -> None:
    place = site.place("a")
    site.engine.apply(place, wish("first"))
    assert {path.name: path.stat().st_mode & 0o777 for path in place.files.iterdir()} == {"last-good.json": 0o600}


def test_state_comes_from_the_world_not_from_memory(site: Site) -> None:
    """W21: per-worker copies of state in the agent."""
    place = site.place("a")
    site.engine.apply(place, wish("first"))
    site.shelves[0].world.clear()
    assert site.engine.state(place).health is Health.DEGRADED
    assert site.engine.repair(place).health is Health.HEALTHY


def test_configured_is_said_when_it_can_do_what_it_is_for(site: Site) -> None:
    """An upgrade ends the active half of a pair when the new one is configured."""
    late = Late("late", site.log)
    engine, place = Engine([late], {"d": Driver()}), site.place("a")
    applying = threading.Thread(target=engine.apply, args=(place, wish("late")))
    applying.start()
    assert late.entered.wait(10)
    assert engine.state(place).health is Health.HEALTHY  # nobody who asks has to wait
    assert applying.is_alive()
    late.gate.set()
    applying.join(10)
    late.gate.clear()
    engine.apply(place, wish("late", revision=2))  # untouched
    assert site.log == ["+late", "late is ready"]
