"""What an operator would want to read of a run: the laws, a row for each fault, two pictures. Pure but for writing."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from chaos import drawing
from chaos.history import Act, Begin, Change, Fault, Flow, History, Sample, World, of
from chaos.laws import Finding
from storm.compare import differences_on
from storm.probes import SILENCE_S

_SHOWN = 20
#: How long after the last fault what happens is put down to it.
_AFTERWARDS_S = 5.0


def write(place: Path, history: History, findings: Sequence[Finding]) -> None:
    """Write chaos.md and its pictures."""
    (place / "chaos.md").write_text("\n".join(text(history, findings)) + "\n")
    (place / "chaos-timeline.svg").write_text(drawing.timeline(history))
    (place / "chaos-recovery.svg").write_text(drawing.recoveries(of(Fault, history)))


def text(history: History, findings: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of the report."""
    (begin,) = of(Begin, history)
    held = sum(finding.holds for finding in findings)
    yield "# Failure matrix: what failed, and what came of it"
    yield ""
    yield f"**{held} of {len(findings)} laws held.** {_when(begin)}, `make chaos SEED={begin.seed}`"
    yield ""
    yield f"* Machine: {begin.machine}"
    yield f"* Orchestrators: {', '.join(begin.orchestrators)}; nodes: {', '.join(begin.nodes)}"
    yield f"* {', '.join(f'{name} {number}' for name, number in begin.versions.items())}"
    yield f"* {_stream(history)}"
    yield ""
    yield from _laws(findings)
    yield "## Timeline"
    yield ""
    yield "![timeline](chaos-timeline.svg)"
    yield ""
    yield "Bands are faults, numbered as in the table; one that was over at once is a line. Below, each path's silences"
    yield f"of {SILENCE_S * 1000:.0f} ms and more (green: single routers nobody touched, violet: pairs); red: lost."
    yield ""
    yield from _faults(history)
    yield "## How long until everything was verified again"
    yield ""
    yield "![recovery](chaos-recovery.svg)"
    yield ""
    yield from _paths(history)


def _when(begin: Begin) -> str:
    at = datetime.datetime.fromtimestamp(begin.began_at, datetime.UTC)
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _stream(history: History) -> str:
    changes, acts = of(Change, history), of(Act, history)
    went = sum(change.outcome == "ok" for change in changes)
    refused = sum(not act.let_in for act in acts)
    span = max((change.at_s for change in changes), default=1.0)
    settled = "; ".join(_at_rest(world) for world in of(World, history))
    return (
        f"{len(changes)} changes by tenants ({len(changes) / span:.1f} a second; {went} went through, the others "
        f"Neutron refused or was away); node agents let in {len(acts) - refused} acts and refused {refused} as too "
        f"old; {settled}"
    )


def _at_rest(world: World) -> str:
    after = "after the last fault" if world.when == "rest" else "after everything was deleted"
    if differences_on(world.wish, world.nodes):
        return f"{after} the world was **not** Neutron's wish, {world.waited_s:.0f} s later still"
    return f"{after} the world was Neutron's wish within {world.waited_s:.0f} s"


def _laws(findings: Sequence[Finding]) -> Iterator[str]:
    yield "## The laws"
    yield ""
    yield "| law | held | judged |"
    yield "|---|---|---|"
    for finding in findings:
        yield f"| {finding.law} | {'yes' if finding.holds else '**NO**'} | {finding.judged} {finding.of_what} |"
    yield ""
    for finding in findings:
        for words in finding.broken[:_SHOWN]:
            yield f"* **{finding.law}**: {words}"
        if len(finding.broken) > _SHOWN:
            yield f"* **{finding.law}**: and {len(finding.broken) - _SHOWN} more"
    if any(finding.broken for finding in findings):
        yield ""


@dataclass(frozen=True, slots=True)
class Harm:
    """What packets met between a fault and the next: how many were lost, and the longest silence in seconds."""

    lost: int
    silence_s: float

    def __str__(self) -> str:
        silent = f"{self.silence_s:.1f} s" if self.silence_s >= 1 else f"{self.silence_s * 1000:.0f} ms"
        return f"{self.lost} / {silent if self.silence_s else '-'}"


def harm(flows: Sequence[Flow], from_s: float, to_s: float) -> Harm:
    lost = sum(from_s <= at < to_s for flow in flows for at in flow.lost_at)
    silences = [seconds for flow in flows for at, seconds in flow.silences if at < to_s and at + seconds >= from_s]
    return Harm(lost, max(silences, default=0.0))


def took_over(samples: Sequence[Sample], fault: Fault, to_s: float) -> str:
    """Say which orchestrators had more than before while another failed, and which node got a pair's active half."""
    before = next((s for s in reversed(samples) if s.at_s < fault.at_s and not s.away), None)
    meanwhile = [s for s in samples if fault.at_s <= s.at_s < to_s]
    if before is None:
        return ""
    victim = fault.target.partition(" ")[0]
    words = _gains(before, meanwhile, victim) if victim in before.owned else []
    moved = {(key, host) for s in meanwhile for key, host in s.active.items() if before.active.get(key, host) != host}
    words += [f"active half of {key.removeprefix('router/')[:8]} on {host}" for key, host in sorted(moved)]
    return ", ".join(words)


def _gains(before: Sample, meanwhile: Sequence[Sample], victim: str) -> list[str]:
    """What others had most of what was the victim's."""
    others = [{name: n - before.owned.get(name, 0) for name, n in s.owned.items() if name != victim} for s in meanwhile]
    best = max(others, key=lambda gained: sum(gained.values()), default={})
    return [f"{name} +{n}" for name, n in sorted(best.items()) if n > 0]


def _faults(history: History) -> Iterator[str]:
    faults, samples = of(Fault, history), of(Sample, history)
    flows = of(Flow, history)
    single, pairs = ([f for f in flows if f.through == through] for through in ("single", "pair"))
    yield "## Faults"
    yield ""
    yield "`lost / longest silence` from the fault until the next one. Verified again: every orchestrator answers and"
    yield "reaches everything, and nothing is queued or unsettled, counted from the end of the fault; changes go on."
    yield ""
    yield "| # | fault | what was done | at | verified again after | single routers | pairs | who took over |"
    yield "|--:|---|---|--:|--:|--:|--:|---|"
    ends = [fault.at_s for fault in faults[1:]]
    ends += [(fault.verified_s or fault.over_s) + _AFTERWARDS_S for fault in faults[-1:]]
    for number, (fault, end_s) in enumerate(zip(faults, ends, strict=True), 1):
        took = f"not before the next ({fault.waits})"
        if fault.verified_s is not None:
            took = f"{fault.verified_s - fault.over_s:.1f} s"
        name = f"{fault.kind} {fault.target}".replace("|", "\\|")
        yield (
            f"| {number} | {name} | {fault.failed or fault.words} | {fault.at_s:.0f} s | {took} "
            f"| {harm(single, fault.at_s, end_s)} | {harm(pairs, fault.at_s, end_s)} "
            f"| {took_over(samples, fault, end_s)} |"
        )
    yield ""


def _paths(history: History) -> Iterator[str]:
    yield "## Packets"
    yield ""
    yield "| path | through | sent | lost | slowest answer | longest silence | |"
    yield "|---|---|--:|--:|--:|--:|---|"
    for flow in of(Flow, history):
        longest = max((seconds for _, seconds in flow.silences), default=0.0)
        lived = {"tcp": "one connection", "flow": "one flow", "fresh": "a new flow each"}[flow.kind]
        yield (
            f"| {flow.name} | {flow.through} | {flow.sent} | {len(flow.lost_at)} | {flow.slowest_s * 1000:.0f} ms "
            f"| {longest * 1000:.0f} ms | {lived}{', ended: ' + flow.broken if flow.broken else ''} |"
        )


def show(findings: Sequence[Finding], console: Console) -> None:
    """Print the laws, and what broke them."""
    table = Table("", "law", "judged", title="the laws")
    for finding in findings:
        table.add_row("[green]yes" if finding.holds else "[red]NO", finding.law, f"{finding.judged} {finding.of_what}")
    console.print(table)
    for finding in findings:
        for words in finding.broken[:_SHOWN]:
            console.print(f"{finding.law}: {words}", style="red", markup=False)
