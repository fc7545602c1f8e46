"""What is said at the end: a timeline, a table, and one word. Pure but for printing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from storm.probes import Outcome, Question
from storm.reading import Rest
from storm.timeline import Moment, around, tally


@dataclass(frozen=True, slots=True)
class Loss:
    """One unanswered question (`at_s` from the start) and what happened around it."""

    path: str
    at_s: float
    near: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """`claim` says what should hold, `evidence` what was seen."""

    claim: str
    holds: bool
    evidence: str


@dataclass(frozen=True)
class Verdict:
    seed: str
    profile: str
    seconds: float
    paths: tuple[tuple[Question, Outcome], ...]
    replaced: tuple[str, ...]
    rest: Rest
    cleared: Rest | None
    samples: tuple[Claim, ...]
    losses: tuple[Loss, ...]
    moments: tuple[Moment, ...] = field(repr=False)

    @property
    def ok(self) -> bool:
        return all(claim.holds for claim in self.claims())

    def claims(self) -> tuple[Claim, ...]:
        """Every promise in one line."""
        sent = sum(outcome.sent for _, outcome in self.paths)
        lost = sum(len(outcome.lost_at) for _, outcome in self.paths)
        proven = sum(sample.holds for sample in self.samples)
        found = [
            Claim("untouched routers lost nothing", lost == 0 and sent > 0, f"{lost} of {sent} packets lost"),
            Claim("untouched namespaces are the same", not self.replaced, ", ".join(self.replaced) or "none replaced"),
            Claim("astara status settles", self.rest.settled_s is not None, _when(self.rest.settled_s)),
            Claim("the world is Neutron's wish", self.rest.equal_s is not None, _when(self.rest.equal_s)),
            Claim(
                "packets prove a sample", proven == len(self.samples), f"{proven} of {len(self.samples)} claims hold"
            ),
        ]
        if self.cleared is not None:
            found.append(Claim("after deletion nothing is left", self.cleared.ok, _when(self.cleared.equal_s)))
        return tuple(found)


def losses(paths: Sequence[tuple[Question, Outcome]], moments: Sequence[Moment], began: float) -> tuple[Loss, ...]:
    """Put what happened beside each lost packet. `began`: the timeline's start on the monotonic clock."""
    found = [
        Loss(question.name, at - began, around(moments, at - began))
        for question, outcome in paths
        for at in outcome.lost_at
    ]
    return tuple(sorted(found, key=lambda loss: loss.at_s))


def _when(seconds: float | None) -> str:
    return "not before the deadline" if seconds is None else f"{seconds:.1f} s after the last change"


def as_json(verdict: Verdict) -> dict[str, Any]:
    """Return the whole report as plain values."""
    return {
        "ok": verdict.ok,
        "seed": verdict.seed,
        "profile": verdict.profile,
        "seconds": verdict.seconds,
        "claims": [asdict(claim) for claim in verdict.claims()],
        "paths": [asdict(question) | asdict(outcome) for question, outcome in verdict.paths],
        "losses": [asdict(loss) for loss in verdict.losses],
        "rest": asdict(verdict.rest),
        "cleared": asdict(verdict.cleared) if verdict.cleared else None,
        "samples": [asdict(sample) for sample in verdict.samples],
        "changes": tally(verdict.moments, "change"),
        "kills": tally(verdict.moments, "kill"),
        "timeline": [asdict(moment) for moment in verdict.moments],
    }


def show(verdict: Verdict, console: Console) -> None:
    """Print tables, what is wrong in full, and how to see the same weather again."""
    weather = Table("change or kill", "times", title="the weather")
    for kind in ("change", "kill"):
        for words, times in tally(verdict.moments, kind).items():
            weather.add_row(f"{kind}: {words}", str(times))
    console.print(weather)
    paths = Table("path", "sent", "lost", "slowest (ms)", "retransmitted", title="through untouched routers")
    for question, outcome in verdict.paths:
        slowest, again = f"{outcome.slowest_s * 1000:.0f}", str(outcome.retransmitted)
        lost = outcome.broken or str(len(outcome.lost_at))
        paths.add_row(question.name, str(outcome.sent), lost, slowest, again if question.kind == "tcp" else "")
    console.print(paths)
    _show_wrong(verdict, console)
    table = Table("", "promise", "evidence", title=f"storm {verdict.seed}, {verdict.seconds:.0f} s, {verdict.profile}")
    for claim in verdict.claims():
        table.add_row("[green]yes" if claim.holds else "[red]NO", claim.claim, claim.evidence)
    console.print(table)
    if not verdict.ok:
        again = f"make storm PROFILE={verdict.profile} SECONDS={verdict.seconds:.0f} SEED={verdict.seed}"
        console.print(f"the same weather again: {again}", style="bold")


def _show_wrong(verdict: Verdict, console: Console) -> None:
    for loss in verdict.losses[:10]:
        console.print(f"lost at {loss.at_s:.2f} s: {loss.path}", style="red", markup=False)
        for moment in loss.near:
            console.print(f"    {moment.at_s:8.2f} {moment.kind} {moment.words} {moment.outcome}", markup=False)
    for name, rest in (("after the storm", verdict.rest), ("after deletion", verdict.cleared)):
        for words in (*rest.differences, *rest.unsettled) if rest else ():
            console.print(f"{name}: {words}", style="red", markup=False)
    for sample in verdict.samples:
        if not sample.holds:
            console.print(f"packet: {sample.claim}: {sample.evidence}", style="red", markup=False)
