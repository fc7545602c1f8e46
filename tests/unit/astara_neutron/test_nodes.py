from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astara_neutron.nodes import choose

hosts = st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=8)


@given(st.uuids(), hosts)
def test_the_choice_depends_on_nothing_but_the_resource_and_the_nodes(resource, nodes):
    chosen = choose(str(resource), nodes)
    assert chosen in nodes
    assert choose(str(resource), sorted(nodes)) == chosen == choose(str(resource), sorted(nodes, reverse=True))


@given(st.uuids(), hosts)
def test_losing_a_node_moves_only_what_was_on_it(resource, nodes):
    chosen = choose(str(resource), nodes)
    for other in nodes - {chosen}:
        assert choose(str(resource), nodes - {other}) == chosen


def test_without_nodes_there_is_no_choice():
    assert choose("r", []) is None


def test_resources_spread_evenly():
    found = [choose(f"router-{number}", ["a", "b", "c", "d"]) for number in range(4000)]
    assert all(900 < found.count(host) < 1100 for host in "abcd")
