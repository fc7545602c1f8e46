"""`astara status`: is everything well, on one screen."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import click

from astara.admin.screen import console, facts, show, show_json, table
from astara.admin.session import Session, json_option, pass_session
from astara.admin.words import ago, duration
from astara.model.operator import StatusSummary

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


@click.command()
@click.option("--watch", is_flag=True, help="Keep looking until Ctrl-C.")
@click.option("--every", default=2.0, show_default=True, type=click.FloatRange(min=0.2), help="Seconds, with --watch.")
@json_option
@pass_session
def status(session: Session, watch: bool, every: float) -> None:
    """Show what runs, what is still to be done, and what is wrong."""
    if not watch:
        _once(session)
        return
    if session.as_json:
        raise click.UsageError("--watch draws a screen; for programs call --json repeatedly")
    from rich.live import Live

    with Live(_picture(session.operator().status(), time.time()), console=console()) as live:
        try:
            while not threading.Event().wait(every):
                live.update(_picture(session.operator().status(), time.time()), refresh=True)
        except KeyboardInterrupt:
            return


def _once(session: Session) -> None:
    summary = session.operator().status()
    if session.as_json:
        show_json(summary)
    else:
        show(_picture(summary, time.time()))


def _picture(summary: StatusSummary, now: float) -> Group:
    from rich.console import Group

    phases = ", ".join(f"{count} {phase}" for phase, count in sorted(summary.phases.items())) or "none yet"
    head = [
        ("astara", f"{summary.version}, running for {duration(now - summary.started_at)}, term {summary.term}"),
        ("neutron", summary.neutron),
        ("cluster", summary.cluster),
        ("resources", f"{summary.resources} ({phases})"),
        ("instances", str(summary.instances)),
        ("work", f"{summary.queue} waiting, {summary.working} in work"),
        ("last resync", ago(now, summary.last_resync_at)),
    ]
    if summary.records != "ok":
        head.append(("records", f"{summary.records}; work goes on, see `astara doctor`"))
    if summary.braked:
        head.append(("brake", f"ON: {summary.brake_reason}; release it with `astara brake release`"))
    return Group(facts(head), _feeds(summary, now), _nodes(summary))


def _feeds(summary: StatusSummary, now: float) -> Table:
    return table(
        ("feed", "connected", "events", "unknown", "last event"),
        (
            (
                feed.name,
                "yes" if feed.connected else "no",
                str(feed.events),
                str(feed.unknown),
                ago(now, feed.last_event_at),
            )
            for feed in summary.feeds
        ),
    )


def _nodes(summary: StatusSummary) -> Table:
    return table(
        ("node", "reachable", "agent", "instances", "url", "trouble"),
        (
            (
                node.name,
                "yes" if node.reachable else "no",
                node.agent_version or "-",
                "-" if node.instances is None else str(node.instances),
                node.url,
                node.error or "",
            )
            for node in summary.nodes
        ),
    )
