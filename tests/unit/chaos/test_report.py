from __future__ import annotations

import xml.etree.ElementTree as ET

from chaos import drawing
from chaos.gather import act_of, audit_of
from chaos.history import Act, Audit, Begin, Change, Fault, Flow, Sample, World
from chaos.laws import judge
from chaos.report import harm, text, took_over
from storm.sight import Sight
from storm.wish import Wish

BEGIN = Begin("s33d", 1_700_000_000.0, 60.0, "2 CPUs", {"Python": "3.11"}, ("a", "b"), ("n1", "n2"))
FLOW = Flow("still1 <out>", "single", "fresh", 100, 98, (11.0, 50.0), ((10.5, 1.5), (60.0, 0.3)))
SAMPLES = (
    Sample(1.0, 0, (), {"a": 4, "b": 4}, {"router/p": "n1"}),
    Sample(11.0, 3, ("a: away",), {"b": 8}, {"router/p": "n1"}),
    Sample(14.0, 0, (), {"a": 4, "b": 4}, {"router/p": "n2"}),
)
FAULTS = (
    Fault("kill", "a", "SIGKILL", 10.0, 10.0, 14.0),
    Fault("cut", "a | mariadb", "dropped", 40.0, 49.0, None, waits="b: records: away"),
)
HISTORY = (
    BEGIN,
    *FAULTS,
    *SAMPLES,
    FLOW,
    Change(3.0, "make-router", "ok"),
    World("rest", Wish((), (), frozenset(), frozenset()), {"n1": Sight()}, 3.0),
)


def test_harm_is_what_packets_met_until_the_next_fault():
    assert harm([FLOW], 10.0, 40.0) == (type(harm([], 0, 1)))(1, 1.5)
    assert str(harm([FLOW], 10.0, 40.0)) == "1 / 1.5 s"
    assert str(harm([FLOW], 55.0, 70.0)) == "0 / 300 ms"
    assert str(harm([FLOW], 70.0, 80.0)) == "0 / -"


def test_who_took_over_is_whose_part_grew_and_where_a_pair_went():
    assert took_over(SAMPLES, FAULTS[0], 40.0) == "b +4, active half of p on n2"
    assert took_over(SAMPLES, FAULTS[1], 50.0) == ""
    of_nobody = Fault("kill", "rabbit", "SIGKILL", 10.0, 10.0, 14.0)
    assert took_over(SAMPLES, of_nobody, 13.0) == ""


def test_the_report_says_what_was_run_and_has_a_row_for_each_fault():
    said = "\n".join(text(HISTORY, judge(HISTORY)))
    assert "make chaos SEED=s33d" in said
    assert "2023-11-14 22:13 UTC" in said
    assert "| 1 | kill a | SIGKILL | 10 s | 4.0 s | 1 / 1.5 s | 0 / - | b +4, active half of p on n2 |" in said
    assert "| 2 | cut a \\| mariadb | dropped | 40 s | not before the next (b: records: away) |" in said


def test_a_world_that_never_was_neutrons_wish_is_not_said_to_have_been():
    world = World("rest", Wish((), (), frozenset(), frozenset()), {"n1": Sight(stray_daemons=("radvd 7",))}, 91.0)
    history = (*HISTORY[:-1], world)
    said = "\n".join(text(history, judge(history)))
    assert "after the last fault the world was **not** Neutron's wish, 91 s later still" in said
    assert "after the last fault the world was Neutron's wish" in "\n".join(text(HISTORY, judge(HISTORY)))


def test_pictures_are_well_formed_whatever_the_names():
    for picture in (drawing.timeline(HISTORY), drawing.recoveries(FAULTS), drawing.timeline((BEGIN,))):
        ET.fromstring(picture)


def test_a_line_of_the_node_agents_log_is_an_act_or_nothing():
    line = {"event": "act.let-in", "instance": "i", "act": "put", "generation": "17.4", "spare": False}
    assert act_of("n1", line) == Act("n1", "i", "put", (17, 4), True)
    assert act_of("n1", line | {"event": "act.refused"}) == Act("n1", "i", "put", (17, 4), False)
    assert act_of("n1", {"event": "agent.serving"}) is None


def test_an_audit_line_without_a_generation_is_nobodys_act():
    line = {"who": "orchestrator a", "generation": "9.1", "outcome": "settled", "steps": ["x"], "undone": []}
    assert audit_of("router/r", line) == Audit("router/r", "orchestrator a", 9, "settled", 1, 0)
    assert audit_of("router/r", line | {"generation": None}) is None
    assert audit_of("", line) is None
