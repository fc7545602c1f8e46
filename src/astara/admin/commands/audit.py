"""`astara audit`: what was changed, by whom, when, why, and how it ended."""

from __future__ import annotations

import datetime
import time

import click

from astara.admin.routes import MOST_LINES
from astara.admin.screen import show, show_json, table
from astara.admin.session import Session, json_option, pass_session
from astara.admin.words import moment
from astara.model.operator import AuditLine, AuditQuery
from astara.model.resource import ResourceKey

_COLUMNS = ("when", "who", "resource", "because of", "did", "outcome", "generation", "detail")


@click.command()
@click.option("--resource", help="Only of this one; of one that is gone: its whole key, DRIVER/ID.")
@click.option("--since", help="Only after: 2h, 3d, or a time like 2026-11-29T20:00 (UTC).")
@click.option("--who", help="Only by whoever has this in the name: root, login 1000, orchestrator.")
@click.option("--outcome", help="Only what ended so: settled, progress, retry, terminal, refused, done, …")
@click.option("--last", default=50, show_default=True, type=click.IntRange(1, MOST_LINES), help="How many, the newest.")
@json_option
@pass_session
def audit(
    session: Session, resource: str | None, since: str | None, who: str | None, outcome: str | None, last: int
) -> None:
    """Show every change, and who made or asked for it."""
    query = AuditQuery(
        resource=None if resource is None else _key(session, resource),
        since=None if since is None else _moment(since),
        who=who,
        outcome=outcome,
        limit=last,
    )
    lines = session.operator().audit(query)
    if session.as_json:
        show_json(lines)
    else:
        show(table(_COLUMNS, map(_cells, lines), keep=("when", "resource")))


def _key(session: Session, text: str) -> str:
    """Return the key; a whole one is taken as it is: what is gone has an audit too."""
    if "/" in text:
        try:
            return str(ResourceKey.parse(text))
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    return str(session.resource(text))


def _moment(text: str) -> float:
    try:
        return moment(text, time.time())
    except ValueError as error:
        raise click.UsageError(f"--since: {error}") from None


def _cells(line: AuditLine) -> tuple[str, ...]:
    when = datetime.datetime.fromtimestamp(line.at, datetime.UTC)
    undone = [f"not: {step}" for step in line.undone]
    return (
        f"{when:%Y-%m-%d %H:%M:%S}",
        line.who or "-",
        line.resource or "-",
        line.reason,
        ", ".join([*line.steps, *undone]) or "-",
        line.outcome,
        line.generation or "-",
        line.detail,
    )
