from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from storm.probes import Outcome, Question
from storm.reading import Rest
from storm.timeline import Moment, around, tally
from storm.verdict import Claim, Verdict, as_json, losses, show

QUESTION = Question("still1 out", "still1", "astara-host-a", "198.51.100.1", "fresh")
KILL = Moment(9.8, "kill", "node pid 7", "done")
CALM = Verdict(
    seed="s",
    profile="embedded",
    seconds=10,
    paths=((QUESTION, Outcome(sent=100, answered=100)),),
    replaced=(),
    rest=Rest(1.0, 2.0),
    cleared=Rest(1.0, 2.0),
    samples=(Claim("a lease", True, ""),),
    losses=(),
    moments=(KILL,),
)


def test_a_calm_end_is_a_success() -> None:
    assert CALM.ok


def test_each_broken_promise_makes_it_a_failure() -> None:
    lossy = ((QUESTION, Outcome(sent=100, answered=99, lost_at=[1010.0])),)
    broken = (
        replace(CALM, paths=lossy),
        replace(CALM, paths=()),
        replace(CALM, replaced=("astara-x",)),
        replace(CALM, rest=Rest(None, 2.0, ("still queued",))),
        replace(CALM, rest=Rest(1.0, None, (), ("a link is missing",))),
        replace(CALM, samples=(Claim("a lease", False, "none"),)),
        replace(CALM, cleared=Rest(1.0, None, (), ("a namespace is left",))),
    )
    assert [verdict.ok for verdict in broken] == [False] * len(broken)


def test_a_lost_packet_is_shown_with_what_happened_then() -> None:
    late = Moment(14.0, "kill", "orchestrator pid 8", "done")
    (loss,) = losses([(QUESTION, Outcome(sent=1, lost_at=[1010.0]))], [KILL, late], began=1000.0)
    assert (loss.at_s, loss.near) == (10.0, (KILL,))


def test_the_report_is_plain_and_the_failing_seed_is_printed() -> None:
    written = io.StringIO()
    failed = replace(CALM, rest=Rest(1.0, None, (), ("router r lacks 10.0.0.1/24",)))
    show(failed, Console(file=written, width=200))
    assert "SEED=s" in written.getvalue()
    assert "router r lacks 10.0.0.1/24" in written.getvalue()
    assert json.loads(json.dumps(as_json(failed)))["ok"] is False


def test_moments_are_counted_by_what_they_did_and_how_it_ended() -> None:
    moments = (KILL, replace(KILL, at_s=12.0), Moment(1.0, "change", "make-router x", "409"))
    assert tally(moments, "kill") == {"node done": 2}
    assert tally(moments, "change") == {"make-router 409": 1}
    assert around(moments, 9.9) == (KILL,)
