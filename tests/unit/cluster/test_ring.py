from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astara.cluster.ring import counted, moves, owner, shares, without
from astara.model.cluster import Member, Ring

KEYS = tuple(f"router/{number:05d}" for number in range(10_000))
FEW = KEYS[:300]
names = st.lists(st.text("abcdefghij-0123456789.", min_size=1, max_size=12), min_size=1, max_size=8, unique=True)


def ring(*names: str, epoch: int = 1, **weights: float) -> Ring:
    members = (Member(name=name, incarnation="1", weight=weights.get(name, 1.0)) for name in sorted(names))
    return Ring(epoch=epoch, members=tuple(members))


@pytest.mark.parametrize("series", ["orchestrator-{}", "10.0.0.{}", "az1-ctl{}.example.org", "{}"])
def test_ten_members_share_ten_thousand_keys_with_at_most_a_tenth_above_the_mean(series):
    counts = counted(ring(*(series.format(number) for number in range(10))), KEYS)
    assert sum(counts.values()) == len(KEYS)
    assert max(counts.values()) <= 1.10 * len(KEYS) / 10


def test_a_member_of_twice_the_weight_has_twice_the_keys():
    weighted = ring("a", "b", "c", b=2.0)
    counts = counted(weighted, KEYS)
    assert shares(weighted) == {"a": 0.25, "b": 0.5, "c": 0.25}
    for name, share in shares(weighted).items():
        assert counts[name] == pytest.approx(share * len(KEYS), rel=0.05)


@settings(max_examples=50, deadline=None)
@given(names=names, epoch=st.integers(1, 2**40))
def test_who_leaves_hands_over_its_own_keys_only_and_who_comes_takes_only_its_own(names, epoch):
    before, leaver = ring(*names), names[0]
    after = without(before, leaver)
    assert {giver for giver, _ in moves(before, after, FEW)} <= {leaver}
    assert {taker for _, taker in moves(after, before, FEW)} <= {leaver}


@settings(max_examples=50, deadline=None)
@given(names=names, order=st.randoms(use_true_random=False))
def test_neither_order_nor_incarnation_nor_epoch_matter(names, order):
    shuffled = [Member(name=name, incarnation=str(number)) for number, name in enumerate(names)]
    order.shuffle(shuffled)
    other = Ring(epoch=7, members=tuple(shuffled))
    for key in FEW[:50]:
        assert owner(other, key).name == owner(ring(*names), key).name


def test_what_a_leaving_member_had_is_spread_over_all_others():
    five = ring("a", "b", "c", "d", "e")
    taken = moves(five, without(five, "c"), KEYS)
    assert {taker for _, taker in taken} == {"a", "b", "d", "e"}
    assert max(taken.values()) < 1.25 * min(taken.values())


def test_nobody_owns_anything_in_a_ring_without_members():
    assert owner(Ring(epoch=1, members=()), "router/1") is None


def test_a_member_is_read_back_from_its_name_in_the_group_whatever_its_own_name_holds():
    member = Member(name="site/a", incarnation="0017-ab", weight=2.5)
    assert Member.parse(str(member)) == member
    for nonsense in ("a/b", "", "a/1/-1", "a/1/x", "/1/1"):
        with pytest.raises(ValueError, match=r"member|could not convert|not enough"):
            Member.parse(nonsense)
