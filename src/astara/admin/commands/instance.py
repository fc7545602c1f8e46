"""`astara instance …`: what really runs."""

from __future__ import annotations

import time

import click

from astara.admin.commands.resource import instance_table
from astara.admin.screen import facts, show, show_json
from astara.admin.session import Session, instance_argument, json_option, pass_session
from astara.admin.words import duration
from astara.model.operator import InstanceLine


@click.group()
def instance() -> None:
    """The namespaces, containers or machines that do the work."""


@instance.command("list")
@json_option
@pass_session
def list_(session: Session) -> None:
    """List every instance on every node."""
    lines = tuple(session.operator().instances())
    if session.as_json:
        show_json(lines)
    else:
        show(instance_table(lines, time.time()))


@instance.command("show")
@instance_argument
@json_option
@pass_session
def show_(session: Session, instance: str) -> None:
    """Show one INSTANCE (id or start of it)."""
    line = session.instance(instance)
    if session.as_json:
        show_json(line)
    else:
        show(facts(_facts(line, time.time())))


@instance.command("console-log")
@instance_argument
@json_option
@pass_session
def console_log(session: Session, instance: str) -> None:
    """Print what an INSTANCE's daemons and its agent wrote."""
    line = session.instance(instance)
    text = session.operator().console_log(line.id)
    if session.as_json:
        show_json({"id": line.id, "console_log": text})
    else:
        click.echo(text.rstrip("\n"))


def _facts(line: InstanceLine, now: float) -> list[tuple[str, str]]:
    rows = [
        ("instance", line.id),
        ("resource", line.resource),
        ("slot", line.slot),
        ("provider", line.provider),
        ("node", line.host),
        ("health", line.health),
        *([("role", line.role)] if line.role is not None else []),
        ("configuration", line.digest or "none yet"),
        ("generation", line.generation or "-"),
        ("ports", str(line.ports)),
        ("age", duration(now - line.created_at)),
        ("repairs", str(line.repairs)),
    ]
    rows.extend((f"differs: {deviation.subsystem}", deviation.detail) for deviation in line.deviations)
    if line.last_error:
        rows.append(("last error", line.last_error))
    return rows
