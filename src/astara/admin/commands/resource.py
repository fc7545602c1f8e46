"""`astara resource …` and what may be done to one: rebuild, hold, release, resync."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from astara.admin.api import ResyncReply
from astara.admin.screen import facts, show, show_json, table
from astara.admin.session import Session, json_option, pass_session, resource_argument
from astara.admin.words import ago, duration
from astara.model.operator import HistoryLine, InstanceLine, ResourceDetail, ResourceLine
from astara.model.resource import ResourceKey
from astara.planning.classify import Phase

if TYPE_CHECKING:
    from rich.table import Table


@click.group()
def resource() -> None:
    """Routers and networks under our care."""


@resource.command("list")
@click.option("--phase", type=click.Choice([phase.value for phase in Phase]), help="Only resources in this phase.")
@json_option
@pass_session
def list_(session: Session, phase: str | None) -> None:
    """List every resource and why it is not settled, if it is not."""
    lines = [line for line in session.operator().resources() if phase is None or line.phase == phase]
    if session.as_json:
        show_json(lines)
        return
    now = time.time()
    show(
        table(
            ("resource", "name", "phase", "node", "for", "because"),
            ((line.key, line.name, line.phase, line.host or "-", _since(line, now), _why(line)) for line in lines),
            keep=("resource",),
        )
    )


@resource.command("show")
@resource_argument
@json_option
@pass_session
def show_(session: Session, resource: str) -> None:
    """Show one resource, its instances, and what would be done next."""
    detail = session.operator().resource(session.resource(resource))
    if session.as_json:
        show_json(detail)
        return
    now = time.time()
    show(facts(_facts(detail, now)))
    if detail.instances:
        show(instance_table(detail.instances, now))
    for line in detail.instances:
        for deviation in line.deviations:
            click.echo(f"{line.id[:8]} differs in {deviation.subsystem}: {deviation.detail}")
        if line.last_error:
            click.echo(f"{line.id[:8]} last error: {line.last_error}")


@resource.command("history")
@resource_argument
@click.option("--last", default=20, show_default=True, type=click.IntRange(min=1), help="How many looks to show.")
@json_option
@pass_session
def history(session: Session, resource: str, last: int) -> None:
    """Show what was done to a resource, why, and how it ended."""
    lines = list(session.operator().history(session.resource(resource)))[-last:]
    if session.as_json:
        show_json(lines)
        return
    now = time.time()
    show(
        table(
            ("when", "because of", "phase", "steps", "outcome", "took", "detail"),
            (_history_row(line, now) for line in lines),
        )
    )


@click.command()
@resource_argument
@json_option
@pass_session
def rebuild(session: Session, resource: str) -> None:
    """Replace every instance of a RESOURCE by a new one."""
    key = session.resource(resource)
    session.operator().rebuild(key)
    _done(session, key, "rebuild asked for", "rebuild")


@click.command()
@resource_argument
@click.option("--reason", required=True, help="Why; the next operator will want to know.")
@json_option
@pass_session
def hold(session: Session, resource: str, reason: str) -> None:
    """Hands off a RESOURCE, until `astara release`.

    It survives a restart of the orchestrator.
    """
    key = session.resource(resource)
    session.operator().hold(key, reason)
    _done(session, key, "held: nothing will be changed until `astara release`", "hold")


@click.command()
@resource_argument
@json_option
@pass_session
def release(session: Session, resource: str) -> None:
    """End a hold; the RESOURCE is looked at again at once."""
    key = session.resource(resource)
    session.operator().release(key)
    _done(session, key, "released", "release")


@click.command()
@resource_argument
@click.option(
    "--to", "body", required=True, metavar="BODY", help="namespace, container, microvm, …; default: as its flavor says."
)
@json_option
@pass_session
def move(session: Session, resource: str, body: str) -> None:
    """Run a RESOURCE in another body from now on.

    The new one is made and configured beside the old one. It survives a restart of the orchestrator.
    """
    key = session.resource(resource)
    session.operator().move(key, None if body == "default" else body)
    where = "the body its flavor or the configuration says" if body == "default" else f"body {body}"
    _done(session, key, f"moves to {where}: see `astara resource show`", "move")


@click.command()
@click.argument("resource", required=False)
@click.option("--all", "everything", is_flag=True, help="Every resource we own.")
@json_option
@pass_session
def resync(session: Session, resource: str | None, everything: bool) -> None:
    """Look again at one RESOURCE, or at all.

    Without waiting for an event.
    """
    if everything == (resource is not None):
        raise click.UsageError("name one RESOURCE, or write --all")
    key = None if resource is None else session.resource(resource)
    queued = session.operator().resync(key)
    if session.as_json:
        show_json(ResyncReply(queued=queued))
    else:
        click.echo(f"{queued} queued for another look")


def instance_table(lines: tuple[InstanceLine, ...], now: float) -> Table:
    """Return the table of instances, shared with `astara instance list`."""
    return table(
        ("instance", "resource", "body", "image", "node", "health", "ports", "repairs", "age"),
        (
            (
                line.id,
                line.resource,
                line.provider,
                _image(line),
                line.host,
                line.health if line.role is None else f"{line.health}, {line.role}",
                str(line.ports),
                str(line.repairs),
                duration(now - line.created_at),
            )
            for line in lines
        ),
        keep=("instance", "resource"),
    )


def _facts(detail: ResourceDetail, now: float) -> list[tuple[str, str]]:
    line = detail.resource
    rows = [
        ("resource", line.key),
        ("name", line.name or "-"),
        ("project", line.project_id or "-"),
        ("phase", line.phase),
        ("node", line.host or "-"),
        ("body", _body(detail)),
        ("last look", ago(now, line.last_reconciled_at)),
    ]
    if line.settled_since is not None:
        rows.append(("settled for", duration(now - line.settled_since)))
    if line.because:
        rows.append(("because", line.because))
    if line.held:
        rows.append(("held", line.hold_reason or "yes"))
    if line.attempts:
        rows.append(("attempts", str(line.attempts)))
    if line.next_look_in_s is not None:
        rows.append(("next look", f"in {duration(line.next_look_in_s)}"))
    rows.extend(("would do", step) for step in detail.plan)
    return rows


def _body(detail: ResourceDetail) -> str:
    if detail.body is None:
        return "-"
    image = "" if detail.image is None else f", image {detail.image}"
    return detail.body + image + (" (an operator's choice)" if detail.body_chosen else "")


def _image(line: InstanceLine) -> str:
    digest = "" if line.image_digest is None else f" {line.image_digest.removeprefix('sha256:')[:12]}"
    return f"{line.image or ''}{digest}".strip() or "-"


def _history_row(line: HistoryLine, now: float) -> tuple[str, ...]:
    steps = ", ".join(line.steps) or "-"
    took = f"{line.duration_ms:.0f} ms"
    return (ago(now, line.at), line.reason, line.phase, steps, line.outcome, took, line.detail)


def _since(line: ResourceLine, now: float) -> str:
    return "-" if line.settled_since is None else duration(now - line.settled_since)


def _why(line: ResourceLine) -> str:
    return f"held: {line.hold_reason}" if line.held else line.because


def _done(session: Session, key: ResourceKey, words: str, action: str) -> None:
    if session.as_json:
        show_json({"resource": str(key), "done": action})
    else:
        click.echo(f"{key}: {words}")
