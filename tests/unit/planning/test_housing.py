"""Which nodes are given up, and where to what is on them goes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from astara.model.resource import ResourceKey
from astara.planning.housing import Lodger, NodeStand, judge, moves
from astara.planning.rollout import Budget

A, B, C = NodeStand("a"), NodeStand("b"), NodeStand("c")


def lodger(name: str, host: str = "a", others: str = "", **more: object) -> Lodger:
    fields = {"reads": "router", "position": 0, "body": "namespace", **more}
    return Lodger(ResourceKey("router", name), host=host, others=frozenset(others), **fields)  # type: ignore[arg-type]


def silent(name: str, for_s: float = 100.0) -> NodeStand:
    return NodeStand(name, silent_s=for_s)


def test_a_silent_node_is_given_up_after_the_patience_and_not_before():
    assert judge([silent("a", 59.0), B, C], 60.0).dead == frozenset()
    assert judge([silent("a", 60.0), B, C], 60.0).dead == {"a"}


def test_of_two_nodes_one_may_die():
    assert judge([silent("a"), B], 60.0).dead == {"a"}


def test_who_does_not_hear_most_nodes_gives_none_up_and_says_why():
    verdict = judge([silent("a"), silent("b", 1.0), C], 60.0)
    assert verdict.dead == frozenset()
    assert verdict.brake.startswith("2 of 3 nodes do not answer")
    assert judge([silent("a")], 60.0).dead == frozenset()


def test_what_an_operator_says_is_dead_is():
    assert judge([silent("a"), silent("b", 1.0), C], 60.0, {"a", "b"}).dead == {"a"}
    assert judge([silent("a"), silent("b"), silent("c"), NodeStand("d")], 60.0, {"a"}).dead == {"a", "b", "c"}
    held = judge([silent("a"), silent("b"), silent("c"), silent("d")], 60.0, {"a"})
    assert (held.dead, bool(held.brake)) == ({"a"}, True)


def test_the_second_half_is_named_as_the_plug_in_does():
    [move], _ = moves([lodger("r", position=1)], [silent("a"), B], {"a"}, {}, {}, Budget())
    assert (move.kind, move.to) == ("router/1", "b")


def test_it_goes_to_the_emptiest_node_that_offers_its_body_and_is_not_the_other_half_s():
    nodes = [silent("a"), B, C, NodeStand("d", bodies=frozenset({"container"})), NodeStand("e", drained=True)]
    [move], _ = moves([lodger("r", others="c")], nodes, {"a"}, {"b": 9, "d": 0, "e": 0}, {}, Budget())
    assert move.to == "b"


def test_who_finds_no_room_is_named():
    chosen, homeless = moves([lodger("r", others="b")], [silent("a"), B], {"a"}, {}, {}, Budget())
    assert (chosen, [one.key.id for one in homeless]) == ((), ["r"])


def test_a_half_is_not_ended_on_a_drained_node_while_the_other_one_does_not_serve():
    drained = [NodeStand("a", drained=True), B, C]
    assert moves([lodger("r", others="b", spared=False)], drained, (), {}, {}, Budget())[0] == ()
    assert len(moves([lodger("r", others="b", spared=False)], [silent("a"), B, C], {"a"}, {}, {}, Budget())[0]) == 1


def test_standbys_leave_a_drained_node_first():
    both = [lodger("x", active=True, others="b"), lodger("y", others="b")]
    chosen, _ = moves(both, [NodeStand("a", drained=True), B, C], (), {}, {}, Budget(1, 1))
    assert [move.lodger.key.id for move in chosen] == ["y"]


names = st.sampled_from("abcd")


@given(
    lodgers=st.lists(
        st.builds(lambda n, host, other: lodger(f"r{n}", host, other), st.integers(0, 9), names, st.sampled_from("bcd"))
    ),
    dead=st.sets(names, max_size=2),
    busy=st.dictionaries(st.integers(20, 24).map(lambda n: ResourceKey("router", f"r{n}")), st.frozensets(names)),
    budget=st.builds(Budget, st.integers(1, 3), st.integers(1, 5)),
)
def test_never_more_than_the_budget_never_two_slots_of_one_never_to_where_the_other_is(lodgers, dead, busy, budget):
    nodes = [NodeStand(name, silent_s=100.0 if name in dead else 0.0, drained=name == "a") for name in "abcd"]
    chosen, _ = moves(lodgers, nodes, dead, {}, busy, budget)
    assert len(chosen) <= max(0, budget.in_total - len(busy))
    assert len({move.lodger.key for move in chosen}) == len(chosen)
    before = Counter(host for hosts in busy.values() for host in hosts)
    after = before + Counter(move.to for move in chosen)
    for move in chosen:
        assert after[move.to] <= budget.per_node
        assert move.to not in {move.lodger.host, *move.lodger.others, *dead, "a"}
