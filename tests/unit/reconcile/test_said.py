"""What operators said is in force at once, durable when it can be, and heard of elsewhere."""

from __future__ import annotations

import pytest

from astara.model.errors import Retry
from astara.model.resource import ResourceKey
from astara.reconcile.said import Said
from support.builders.resources import router
from support.fakes.records import FakeRecords
from support.simulation import World

R1, R2 = ResourceKey("router", "r1"), ResourceKey("router", "r2")


def refuse() -> None:
    raise Retry("away")


def test_what_was_said_while_others_were_read_is_not_forgotten() -> None:
    said = Said()

    def read_what_was_there_before() -> dict[ResourceKey, str]:
        said.say(R1, "mine", lambda: None)
        return {}

    assert said.read(read_what_was_there_before) is None, "read again"
    assert said.word(R1) == "mine"


def test_a_word_whose_writing_ends_while_others_are_read_is_not_forgotten() -> None:
    said = Said()
    with pytest.raises(Retry):
        said.say(R1, "mine", refuse)

    def read_before_it_is_there() -> dict[ResourceKey, str]:
        said.write_again(lambda key, word: None)
        return {}

    assert said.read(read_before_it_is_there) is None, "read again"
    assert said.word(R1) == "mine"


def test_what_cannot_be_written_stays_in_force_until_it_can() -> None:
    said = Said()
    with pytest.raises(Retry):
        said.say(R1, "mine", refuse)
    with pytest.raises(Retry):
        said.say(R2, None, refuse)
    assert said.read(lambda: {R2: "of somebody"}) == frozenset()
    assert said.all() == {R1: "mine"}
    assert said.unwritten == 2
    written: list[tuple[ResourceKey, str | None]] = []
    said.write_again(lambda key, word: written.append((key, word)))
    said.write_again(lambda key, word: written.append((key, word)))
    assert written == [(R1, "mine"), (R2, None)], "once"
    assert said.unwritten == 0


def test_which_changed_is_told() -> None:
    said = Said()
    said.read(lambda: {R1: "a", R2: "b"})
    assert said.read(lambda: {R1: "a", R2: "c"}) == {R2}
    assert said.read(lambda: {R2: "c"}) == {R1}


def test_a_hold_said_at_one_orchestrator_keeps_another_s_hands_off_and_a_release_gives_it_back() -> None:
    world = World()
    world.neutron.put_router(router())
    one, other = world.orchestrator(), world.orchestrator()
    one.engine.hold(R1, "by hand")
    other.engine.reread()
    other.event()
    other.run(60)
    assert not world.cloud.instances
    one.engine.release(R1)
    other.engine.reread()
    other.run(1)
    assert world.only().id


def test_records_that_are_away_change_nothing_of_what_is_known() -> None:
    world = World()
    world.neutron.put_router(router())
    one = world.orchestrator()
    one.engine.hold(R1, "by hand")
    world.records.disk_full = True
    one.engine.reread()
    with pytest.raises(Retry):
        one.engine.hold(R2, "said meanwhile")
    one.run(60)
    assert one.engine.holds.all() == {R1: "by hand", R2: "said meanwhile"}
    world.records.disk_full = False
    one.engine.reread()
    assert world.records.held == {R1: "by hand", R2: "said meanwhile"}


def test_records_that_are_lost_while_we_run_get_back_what_we_know() -> None:
    world = World()
    one = world.orchestrator()
    one.engine.hold(R1, "by hand")
    one.engine.reread()
    world.records = FakeRecords()
    one.engine._rereading._records = one.engine.holds._records = one.engine.bodies._records = world.records
    one.engine.reread()
    one.engine.reread()
    assert world.records.held == {R1: "by hand"}
    assert one.engine.holds.reason(R1) == "by hand"
