"""When instances are looked at, and how long what cannot be mended is left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import structs

from astara.contract.agent import Health, Key, Role, StateView
from astara.host.changes import Changes
from astara.host.healer import Healer, Pace
from astara.host.records import Record
from support.node_agent import spec
from support.segment import eventually

QUICK = Pace(settle_s=0.0, sweep_period_s=3600.0, first_retry_s=0.01, longest_retry_s=0.08, calm_s=0.5, threads=2)


class Patient:
    """Stands for an Instance: each look returns or raises what the test lined up."""

    def __init__(self, *outcomes: Any, health: Health = Health.HEALTHY, role: Role | None = None) -> None:
        self.record = Record.of(spec(), created_at=0.0)
        self.id = self.record.id
        self.outcomes = list(outcomes)
        self.health = health
        self.role = role
        self.looks = 0
        self.reasons: list[str] = []
        self.doubts = 0

    @property
    def last_seen(self) -> StateView:
        return StateView(health=self.health, role=self.role)

    def verify(self) -> bool:
        self.looks += 1
        outcome = self.outcomes.pop(0) if self.outcomes else False
        if isinstance(outcome, Exception):
            raise outcome
        return bool(outcome)

    def doubt(self) -> None:
        self.doubts += 1

    def failed(self, reason: str) -> None:
        self.reasons.append(reason)


class Ward:
    """Stands for the Node."""

    def __init__(self, *patients: Patient) -> None:
        self.patients = {patient.id: patient for patient in patients}

    def find(self, instance_id: str) -> Patient | None:
        return self.patients.get(instance_id)

    def instances(self) -> list[Patient]:
        return list(self.patients.values())


@pytest.fixture
def healers() -> Iterator[list[Healer]]:
    started: list[Healer] = []
    yield started
    for healer in started:
        healer.stop()


def started(healers: list[Healer], changes: Changes, *patients: Patient, pace: Pace = QUICK) -> Healer:
    ward: Any = Ward(*patients)
    healer = Healer(ward, changes, pace)
    healers.append(healer)
    healer.start()
    assert eventually(lambda: all(patient.looks for patient in patients))  # the slow round greets everybody once
    return healer


def keys(changes: Changes) -> tuple[Key, ...]:
    return changes.since(0, 0).keys


def test_many_hints_are_one_look(healers: list[Healer]) -> None:
    patient = Patient()
    healer = started(healers, Changes(), patient, pace=Pace(settle_s=0.1, sweep_period_s=3600.0))
    for _ in range(100):
        healer.suspect(patient.id)
    assert eventually(lambda: patient.looks == 2)
    assert patient.doubts == 100


def test_a_mended_instance_is_told_once(healers: list[Healer]) -> None:
    patient, changes = Patient(False, True), Changes()
    healer = started(healers, changes, patient)
    assert keys(changes) == ()
    healer.suspect(patient.id)
    assert eventually(lambda: keys(changes) == (patient.record.key,))
    assert changes.cursor == 1


def test_a_half_that_became_active_before_the_first_look_is_told_of(healers: list[Healer]) -> None:
    """Of an upgraded pair the new half takes over within moments, and nobody else would say so."""
    there, changes = Patient(role=Role.ACTIVE), Changes()
    ward: Any = Ward(there)
    healer = Healer(ward, changes, QUICK)
    healers.append(healer)
    healer.start()
    assert eventually(lambda: there.looks)
    assert keys(changes) == ()  # who asks an agent that was started anew looks at everything himself

    new = Patient(role=Role.ACTIVE)
    new.record = structs.replace(new.record, id="new")
    new.id = "new"
    ward.patients[new.id] = new
    healer.suspect(new.id)
    assert eventually(lambda: changes.cursor == 1)


def test_what_cannot_be_mended_is_tried_again_by_itself_until_it_works(healers: list[Healer]) -> None:
    patient, changes = Patient(False, OSError("first"), OSError("second"), True), Changes()
    healer = started(healers, changes, patient)
    healer.suspect(patient.id)
    assert eventually(lambda: patient.looks == 4)
    assert patient.reasons == ["first", "second"]
    assert eventually(lambda: changes.cursor == 2)  # it broke, it works


def test_hints_do_not_shorten_the_back_off(healers: list[Healer]) -> None:
    patient = Patient(False, OSError("no"), OSError("no"), OSError("no"))
    pace = Pace(settle_s=0.0, sweep_period_s=3600.0, first_retry_s=3600.0, longest_retry_s=3600.0)
    healer = started(healers, Changes(), patient, pace=pace)
    healer.suspect(patient.id)
    assert eventually(lambda: len(patient.reasons) == 2)
    for _ in range(50):
        healer.suspect(patient.id)
    other = Patient()
    healer._node.patients[other.id] = other  # type: ignore[attr-defined]
    healer.suspect(other.id)
    assert eventually(lambda: other.looks == 1)
    assert patient.looks == 3


def test_one_failed_repair_is_not_put_off(healers: list[Healer]) -> None:
    """A namespace that is being removed is heard of before all of it has gone."""
    patient, changes = Patient(False, OSError("still going"), True), Changes()
    pace = Pace(settle_s=0.0, sweep_period_s=3600.0, first_retry_s=3600.0, longest_retry_s=3600.0)
    healer = started(healers, changes, patient, pace=pace)
    healer.suspect(patient.id)
    assert eventually(lambda: patient.looks == 3)
    assert eventually(lambda: changes.cursor > 0)
    healer.stop()
    assert changes.cursor == 1  # it works; that it had failed for an instant is nobody's business


def test_somebody_who_breaks_it_again_and_again_is_not_fought_hot(healers: list[Healer]) -> None:
    """Trap: a repair loop that eats the node."""
    patient = Patient(*[True] * 1000)
    pace = Pace(settle_s=0.0, sweep_period_s=3600.0, immediate=3, first_retry_s=3600.0, longest_retry_s=3600.0)
    healer = started(healers, Changes(), patient, pace=pace)
    for looks in range(2, 5):
        healer.suspect(patient.id)
        if not eventually(lambda looks=looks: patient.looks == looks, within_s=0.5):
            break
    before = patient.looks
    healer.suspect(patient.id)
    assert not eventually(lambda: patient.looks > before, within_s=0.2)
    assert before <= 4


def test_one_that_hangs_does_not_keep_others_waiting(healers: list[Healer]) -> None:
    release, stuck = threading.Event(), Patient()
    other = Patient()
    healer = started(healers, Changes(), stuck, other)
    stuck.verify = lambda: bool(release.wait(30))  # type: ignore[method-assign]
    try:
        healer.suspect(stuck.id)
        healer.suspect(other.id)
        assert eventually(lambda: other.looks == 2)
    finally:
        release.set()


def test_an_instance_that_is_gone_is_forgotten(healers: list[Healer]) -> None:
    patient = Patient()
    healer = started(healers, Changes(), patient)
    healer.suspect("nobody")
    healer.suspect(patient.id)
    assert eventually(lambda: patient.looks == 2)
