"""The lifecycle table as a page: `docs/design/lifecycle.md` is this text, and a test keeps it so."""

from __future__ import annotations

from collections.abc import Iterator

from astara.planning.courses import seconds
from astara.planning.lifecycle import LIFECYCLE, Transition, Wish
from astara.planning.policy import Policy


def page() -> str:
    """Return the whole Markdown page."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "# The lifecycle of a resource"
    yield ""
    yield "Generated from `src/astara/planning/lifecycle.py`: `python docs/design/generate_lifecycle.py`; do not edit."
    yield "A phase is derived from wish and sight at every look and never stored. Whatever acts may fail: then it"
    yield "backs off and tries again. Whatever does not act is settled, or names when it is looked at again."
    for wish in Wish:
        rows = [(phase, row) for (of, phase), row in LIFECYCLE.items() if of is wish]
        yield from ("", f"## Wish: {wish}", "", "```mermaid", "stateDiagram-v2")
        for phase, row in rows:
            yield from _arrows(phase, row)
        yield from ("```", "", "| phase | does | Neutron shows | leads to | way on |", "|---|---|---|---|---|")
        for phase, row in rows:
            yield f"| {phase} | {row.does} | {row.shows} | {row.leads_to} | {_way_on(row)} |"


def _arrows(phase: str, row: Transition) -> Iterator[str]:
    if row.settled:
        yield f"    {phase} --> [*]: settled"
        return
    yield f"    {phase} --> {row.leads_to}: {row.does if row.does != 'nothing' else 'looked at again'}"
    if row.deadline is not None and row.then is not None:
        yield f"    {phase} --> configured: {row.then}, after {seconds(Policy(), row.deadline):.0f} s"


def _way_on(row: Transition) -> str:
    parts = []
    if row.look_again is not None:
        parts.append(f"looked at again every {seconds(Policy(), row.look_again):.0f} s (`{row.look_again}`)")
    if row.deadline is not None:
        parts.append(f"after {seconds(Policy(), row.deadline):.0f} s (`{row.deadline}`): {row.then}")
    if row.settled:
        parts.append("settled: until an event, the journal or the drift look says otherwise")
    return "; ".join(parts) or "acts at once; failures back off, for ever if need be, at a capped delay"
