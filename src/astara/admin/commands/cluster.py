"""`astara cluster`: who shares the work, and what would move."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from astara.admin.addressing import resource_meant
from astara.admin.screen import facts, show, show_json, table
from astara.admin.session import Session, json_option, pass_session
from astara.admin.words import ago
from astara.model.errors import Gone
from astara.model.operator import ClusterView, Operator
from astara.model.resource import ResourceKey

if TYPE_CHECKING:
    from rich.console import Group


@click.command()
@click.option("--without", metavar="NAME", help="Say also what would move to whom without this member.")
@click.option("--of", metavar="RESOURCE", help="Say whose this resource is.")
@json_option
@pass_session
def cluster(session: Session, without: str | None, of: str | None) -> None:
    """Show who shares the work, and what moves."""
    operator = session.operator()
    key = None if of is None else _meant(operator, of)
    view = operator.cluster(without, key)
    if session.as_json:
        show_json(view)
    else:
        show(_picture(view, time.time(), without, of))


def _meant(operator: Operator, text: str) -> ResourceKey:
    """Only its owner knows a resource's name; whose a whole key is, everybody knows."""
    try:
        return resource_meant(operator.resources(), text)
    except Gone:
        try:
            return ResourceKey.parse(text)
        except ValueError as error:
            raise Gone(f"no resource {text!r} is known here", str(error)) from None


def _picture(view: ClusterView, now: float, without: str | None, of: str | None) -> Group:
    from rich.console import Group

    head = [
        ("this one", f"{view.me}{', standing still' if view.paused else ''}"),
        ("epoch", f"{view.epoch}, {ago(now, view.since)}{f': {view.why}' if view.why else ''}"),
        ("coordination", view.coordination),
        ("records", view.records),
        ("resources", f"{view.known} known here"),
    ]
    if of is not None:
        head.append((of, f"is {view.owner}'s" if view.owner else "is nobody's"))
    members = table(
        ("member", "weight", "share", "resources", "beats", "started"),
        (
            (
                f"{one.name} *" if one.me else one.name,
                f"{one.weight:g}",
                f"{100 * one.share:.1f} %",
                str(one.resources),
                "yes" if one.beats else "no",
                _started(one.incarnation, now),
            )
            for one in view.members
        ),
    )
    parts = [facts(head), members]
    if without is not None:
        rows = ((line.giver, line.taker or "nobody", str(line.resources)) for line in view.moves)
        parts.append(table((f"without {without}: from", "to", "resources"), rows))
    return Group(*parts)


def _started(incarnation: str, now: float) -> str:
    digits = incarnation.partition("-")[0]
    return ago(now, int(digits) / 1000) if digits.isdigit() else incarnation
