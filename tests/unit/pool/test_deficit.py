"""What a shelf has beside what it should have: whatever it holds, one order makes it right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astara.contract.agent import SPARE, Health, StateView
from astara.model.boundaries import Image
from astara.model.resource import ObservedInstance, ResourceKey, Unknown
from astara.pool.deficit import FULL, Shelf, Spare, Standing, deficit, shelved, standing

ALIVE = (Standing.READY, Standing.COMING)


def spare(
    name: str = "s1",
    at: float = 0.0,
    host: str = "h1",
    image: str | None = None,
    digest: str | None = None,
    nics: int = 0,
) -> ObservedInstance:
    state = StateView(health=Health.UNCONFIGURED)
    key = ResourceKey(SPARE, str(nics))
    return ObservedInstance(name, name, "memory", host, (), state, at, key, image, digest)


@st.composite
def shelves(draw: st.DrawFn) -> list[Spare]:
    ages = draw(st.lists(st.integers(0, 5), max_size=8))
    return [Spare(spare(f"s{n}", float(at)), draw(st.sampled_from(Standing))) for n, at in enumerate(ages)]


@given(shelves(), st.integers(0, 6))
def test_after_the_order_the_shelf_holds_exactly_what_is_wanted_and_nothing_else(
    spares: list[Spare], wanted: int
) -> None:
    order = deficit(spares, wanted)
    left = [each for each in spares if each.instance not in order.drop]
    assert len(left) + order.make == wanted
    assert all(each.standing in ALIVE for each in left)


@given(shelves(), st.integers(0, 6))
def test_nothing_is_made_and_ended_alive_at_once(spares: list[Spare], wanted: int) -> None:
    order = deficit(spares, wanted)
    alive = [each for each in spares if each.standing in ALIVE and each.instance in order.drop]
    assert not (order.make and alive)


@given(shelves(), st.integers(0, 6))
def test_no_ready_spare_is_ended_while_one_that_is_coming_is_kept(spares: list[Spare], wanted: int) -> None:
    dropped = deficit(spares, wanted).drop
    ended = [each for each in spares if each.instance in dropped and each.standing is Standing.READY]
    kept = [each for each in spares if each.instance not in dropped and each.standing is Standing.COMING]
    assert not (ended and kept)


@given(shelves(), st.integers(0, 6), st.randoms(use_true_random=False))
def test_everybody_who_looks_at_the_same_spares_ends_the_same(spares: list[Spare], wanted: int, order: object) -> None:
    shuffled = list(spares)
    order.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types it as Random
    one, other = deficit(spares, wanted), deficit(shuffled, wanted)
    assert (one.make, {each.id for each in one.drop}) == (other.make, {each.id for each in other.drop})


@given(shelves(), st.integers(0, 6))
def test_a_shelf_that_was_put_right_is_left_alone(spares: list[Spare], wanted: int) -> None:
    order = deficit(spares, wanted)
    made = [Spare(spare(f"new{n}", 9.0), Standing.READY) for n in range(order.make)]
    left = [each for each in spares if each.instance not in order.drop]
    assert deficit([*left, *made], wanted) == FULL


@pytest.mark.parametrize(
    ("state", "age_s", "expected"),
    [
        (StateView(health=Health.UNCONFIGURED), 5.0, Standing.READY),
        (Unknown.UNREACHABLE, 5.0, Standing.COMING),
        (Unknown.UNREACHABLE, 60.0, Standing.DEAD),
        (StateView(health=Health.FAILED), 5.0, Standing.DEAD),
        (StateView(health=Health.HEALTHY), 5.0, Standing.DEAD),
    ],
)
def test_a_spare_is_ready_only_when_its_agent_says_that_nothing_is_configured(
    state: StateView | Unknown, age_s: float, expected: Standing
) -> None:
    instance = ObservedInstance("s1", "s1", "memory", "h1", (), state, 1000.0)
    assert standing(instance, None, 1000.0 + age_s, 60.0) is expected


@pytest.mark.parametrize(
    ("image", "outdated"),
    [
        (Image("v1", "d1"), False),
        (Image("v2", "d1"), True),
        (Image("v1", "d2"), True),
        (Image(), False),
        (None, False),
    ],
)
def test_a_spare_of_another_image_is_outdated_as_far_as_both_are_known(image: Image | None, outdated: bool) -> None:
    found = standing(spare(image="v1", digest="d1"), image, 0.0, 60.0)
    assert (found is Standing.OUTDATED) is outdated


def test_spares_stand_on_the_shelf_they_were_made_for() -> None:
    own, other = Shelf("memory", "h1"), Shelf("memory", "h1", "v2")
    elsewhere, wide = Shelf("memory", "h2"), Shelf("memory", "h1", None, 3)
    images = {own: Image("v1"), other: Image("v2"), elsewhere: None, wide: Image("v1")}
    found = shelved(
        [spare("a", image="v1"), spare("b", image="v2"), spare("c", host="h2"), spare("d", image="v1", nics=3)], images
    )
    assert {shelf: [each.id for each in spares] for shelf, spares in found.items()} == {
        own: ["a"],
        other: ["b"],
        elsewhere: ["c"],
        wide: ["d"],
    }


def test_a_spare_nobody_configured_a_shelf_for_is_on_one_of_its_own() -> None:
    kept = Shelf("memory", "h1")
    stray = spare("x", host="h9", image="v0")
    assert shelved([stray], {kept: None}) == {kept: [], Shelf("memory", "h9", "v0"): [stray]}
