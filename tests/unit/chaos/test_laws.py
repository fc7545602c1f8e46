"""Each law is shown a history that keeps it and one that breaks it: a checker that cannot object proves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed

from chaos.history import (
    Act,
    Audit,
    Body,
    Entry,
    Fault,
    Flow,
    History,
    Instance,
    Leftover,
    Ring,
    World,
    read,
    write,
)
from chaos.laws import judge
from storm.sight import SeenLink, SeenNamespace, Sight
from storm.wish import WantedLink, WantedRouter, Wish

NODE, OTHER = "lab-node", "lab-node-2"
ROUTER, PORT, NETWORK = "11111111-0000", "aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"
MAC = "fa:16:3e:00:00:01"
LINK = WantedLink(PORT, MAC, NETWORK, 1450, frozenset({"10.0.0.1/24"}))
WISH = Wish(
    routers=(
        WantedRouter(
            ROUTER, "r", True, (LINK,), frozenset({("0.0.0.0/0", "10.0.0.9")}), frozenset(), frozenset(), False
        ),
    ),
    services=(),
    networks=frozenset({NETWORK}),
    hosts=frozenset(),
)
SEEN = SeenNamespace(
    "astara-x",
    (SeenLink("eth0", MAC, 1450, True, LINK.addresses),),
    frozenset({("0.0.0.0/0", "10.0.0.9")}),
    forwarding=True,
    inode=7,
    host=NODE,
)
SIGHT = Sight((SEEN,), {"avaaaaaaaaaaa": "abrbbbbbbbbbbb"}, frozenset({"abrbbbbbbbbbbb"}))
WORLD = {NODE: SIGHT, OTHER: Sight()}
GOOD: History = (
    Fault("kill", "node", "SIGKILL", 1.0, 1.0, 2.0),
    Act(NODE, "i1", "put", (1, 5), True),
    Act(NODE, "i1", "configure", (2, 4), True),
    Act(NODE, "i1", "configure", (1, 9), False),
    Audit(f"router/{ROUTER}", "orchestrator a", 1, "settled", 1, 0),
    Audit(f"router/{ROUTER}", "orchestrator b", 2, "settled", 1, 0),
    Ring(1, 0, ("a",), "a came"),
    Ring(2, 1, ("a", "b"), "b came"),
    World("rest", WISH, WORLD, 1.0),
    World("cleared", WISH, WORLD, 1.0),
    Instance("i1", f"router/{ROUTER}", "0", NODE, "rest"),
    Flow("still out", "single", "fresh", 100, 100, ()),
    Flow("pair tcp", "pair", "tcp", 100, 100, (), ((3.0, 0.3),)),
    Body("astara-x", 7, 7),
)


def broken(history: History) -> dict[str, tuple[str, ...]]:
    return {finding.law: finding.broken for finding in judge(history) if not finding.holds}


def only(history: History) -> tuple[str, tuple[str, ...]]:
    """Return the one law that objects, and its words."""
    found = broken(history)
    assert len(found) == 1, found
    return next(iter(found.items()))


def with_(*more: Entry) -> History:
    return (*GOOD, *more)


def without(kind: type[Any]) -> History:
    return tuple(entry for entry in GOOD if not isinstance(entry, kind))


def test_a_good_history_breaks_no_law():
    assert broken(GOOD) == {}


def test_an_act_let_in_under_an_older_term_after_a_newer_one_is_a_double_owner():
    law, words = only(with_(Act(NODE, "i1", "configure", (1, 9), True)))
    assert law.startswith("one owner: no act")
    assert words == ("lab-node let in configure of instance i1 under term 1 after configure under 2",)


@pytest.mark.parametrize(
    "act",
    [
        Act(NODE, "i1", "configure", (1, 9), False),  # refused: that is the fence
        Act(NODE, "i2", "put", (1, 9), True),  # another instance
        Act(OTHER, "i1", "put", (1, 9), True),  # a place that has not heard of the newer one
        Act(NODE, "i1", "adopt", (0, 0), True, spare=True),
        Act(NODE, "i1", "look", (1, 9), True),
    ],
    ids=["refused", "another instance", "another place", "spare", "look"],
)
def test_what_is_no_act_of_an_older_owner_is_none(act):
    assert broken(with_(act)) == {}


def test_two_orchestrators_that_act_under_one_term_are_named():
    law, words = only(with_(Audit(f"router/{ROUTER}", "orchestrator c", 2, "settled", 1, 0)))
    assert law.startswith("one owner: under one term")
    assert words == (f"orchestrator b and orchestrator c acted on router/{ROUTER} under term 2",)


def test_who_only_looked_did_not_act():
    assert broken(with_(Audit(f"router/{ROUTER}", "orchestrator c", 2, "settled", 0, 0))) == {}


@pytest.mark.parametrize(
    ("ring", "words"),
    [
        (Ring(3, 1, ("c",), "split"), "2 rings follow epoch 1"),
        (Ring(2, 9, ("c",), "again"), "2 rings of epoch 2"),
    ],
    ids=["two successors", "one epoch twice"],
)
def test_rings_that_do_not_follow_each_other_are_a_split(ring, words):
    law, said = only(with_(ring))
    assert law == "one owner: rings follow each other"
    assert words in said


def seen(**changes: Any) -> History:
    """The history in which the world at rest was another one."""
    namespace = replace(SEEN, **changes)
    world = World("rest", WISH, {NODE: replace(SIGHT, namespaces=(namespace,)), OTHER: Sight()}, 90.0)
    return tuple(world if isinstance(e, World) and e.when == "rest" else e for e in GOOD)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"routes": frozenset()}, "no route 0.0.0.0/0 via 10.0.0.9"),
        ({"floating": frozenset({("1.1.1.1", "10.0.0.5")})}, "translates ('1.1.1.1', '10.0.0.5')"),
        ({"links": (replace(SEEN.links[0], addresses=frozenset()),)}, "eth0 lacks 10.0.0.1/24"),
    ],
    ids=["route", "translation", "address"],
)
def test_a_world_that_is_not_neutrons_wish_lost_one(changes, words):
    law, said = only(seen(**changes))
    assert law.startswith("no wish lost")
    assert any(words in one for one in said), said


def test_a_status_that_neutron_shows_wrongly_is_a_lost_wish():
    wish = replace(WISH, statuses=(f"router {ROUTER} shows DOWN",))
    history = tuple(changed(e, wish=wish) if isinstance(e, World) and e.when == "rest" else e for e in GOOD)
    assert only(history)[1] == (f"router {ROUTER} shows DOWN",)


def test_two_instances_of_one_slot_are_double():
    law, words = only(with_(Instance("i2", f"router/{ROUTER}", "0", OTHER, "rest")))
    assert law == "nothing double"
    assert words == (f"rest: 2 instances of router/{ROUTER} slot 0",)


def test_what_nobody_wishes_and_what_is_left_is_orphaned():
    law, words = only(with_(Instance("i2", "router/gone", "0", NODE, "cleared")))
    assert law.startswith("nothing orphaned")
    assert "router/gone, which nobody wishes" in words[0]
    assert only(with_(Leftover("node", "a record of instance i9")))[1] == ("node: a record of instance i9",)
    extra = replace(SIGHT, bridges=frozenset({"abrbbbbbbbbbbb", "abrccccccccccc"}))
    history = tuple(
        changed(e, nodes={NODE: extra, OTHER: Sight()}) if isinstance(e, World) and e.when == "cleared" else e
        for e in GOOD
    )
    assert only(history)[1] == ("lab-node: bridge abrccccccccccc is of no network",)


@pytest.mark.parametrize(
    "flow",
    [
        Flow("still out", "single", "fresh", 100, 99, (4.2,)),
        Flow("still tcp", "single", "tcp", 100, 99, (), broken="closed by the other side"),
        Flow("still dead", "single", "flow", 100, 0, ()),
    ],
    ids=["lost", "ended", "never answered"],
)
def test_what_an_untouched_router_lost_is_told(flow):
    assert only(with_(flow))[0] == "untouched routers lost no packet"


def test_an_untouched_namespace_that_is_another_one_was_touched():
    assert only(with_(Body("astara-y", 7, 8)))[1] == ("astara-y is another one",)
    assert only(with_(Body("astara-y", 7, None)))[1] == ("astara-y is gone",)


def test_a_pair_may_be_silent_and_lose_new_flows_and_its_connections_live():
    assert broken(with_(Flow("pair out", "pair", "fresh", 100, 80, (3.0,), ((3.0, 2.0),)))) == {}
    law, words = only(with_(Flow("pair tcp 2", "pair", "tcp", 100, 50, (), broken="timed out")))
    assert law == "connections through pairs lived"
    assert words == ("pair tcp 2: timed out",)


@pytest.mark.parametrize(("at_s", "seconds", "held"), [(3.0, 6.5, False), (3.0, 2.0, True), (12.0, 6.5, True)])
def test_halves_that_do_not_hear_each_other_are_no_reason_for_a_long_silence(at_s: float, seconds: float, held: bool):
    cut = Fault("cut", "half | half", "dropped for 9 s", 2.0, 11.0, 12.0)
    silent = Flow("pair out", "pair", "fresh", 100, 80, (at_s,), ((at_s, seconds),))
    found = broken(with_(cut, silent))
    assert list(found) == ([] if held else [_DEAF])


_DEAF = "paths through pairs whose halves do not hear each other are never silent for 3 s"


def test_a_flow_through_a_pair_that_never_came_back_did_not_live():
    came_back = Flow("pair flow", "pair", "flow", 100, 80, (3.0, 3.1), ((3.0, 2.0),), heard_s=9.0)
    assert broken(with_(came_back)) == {}
    law, words = only(with_(changed(came_back, lost_at=(3.0, 9.1, 9.2))))
    assert law == "connections through pairs lived"
    assert words == ("pair flow: nothing was answered any more after 9.0 s",)


def test_a_fault_that_did_not_come_about_proves_nothing():
    fault = Fault("full disk", "node", "", 1.0, 1.0, None, failed="3 blocks are free")
    assert only(with_(fault)) == ("every fault came about", ("full disk of node: 3 blocks are free",))


@pytest.mark.parametrize("kind", [Act, Audit, Ring, World, Instance, Flow, Body, Fault])
def test_a_law_that_has_nothing_to_judge_does_not_hold(kind):
    assert broken(without(kind)) != {}


def test_a_history_is_the_same_after_it_was_written_and_read(tmp_path):
    file = tmp_path / "history.jsonl"
    write(file, GOOD)
    assert read(file) == GOOD
