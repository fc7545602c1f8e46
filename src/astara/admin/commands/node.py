"""`astara node …`: the nodes, and emptying one."""

from __future__ import annotations

import click

from astara.admin.screen import show, show_json, table
from astara.admin.session import Session, json_option, pass_session
from astara.admin.words import duration
from astara.model.operator import NodeDetail


@click.group()
def node() -> None:
    """The nodes that carry instances."""


@node.command("list")
@json_option
@pass_session
def list_(session: Session) -> None:
    """List every node: whether it answers, what leaves it, its images."""
    lines = list(session.operator().nodes())
    if session.as_json:
        show_json(lines)
        return
    show(
        table(
            ("node", "reachable", "state", "still there", "images"),
            (
                (
                    line.name,
                    "yes" if line.reachable else f"no, for {duration(line.silent_for_s)}",
                    _state(line),
                    _left(line),
                    "; ".join(line.images) or "-",
                )
                for line in lines
            ),
            keep=("node",),
        )
    )


@node.command("drain")
@click.argument("name")
@click.option("--reason", default="drained by an operator", show_default=True, help="The next operator reads it.")
@json_option
@pass_session
def drain(session: Session, name: str, reason: str) -> None:
    """Place nothing new on node NAME, and move away what is there.

    In turns, the halves of pairs that stand by first. `astara node list` says what is left. It survives a restart.
    """
    session.operator().drain(name, reason)
    _done(session, name, "drain", "is being emptied: see `astara node list`")


@node.command("undrain")
@click.argument("name")
@json_option
@pass_session
def undrain(session: Session, name: str) -> None:
    """Let node NAME have new work again.

    What was moved away stays where it is.
    """
    session.operator().undrain(name)
    _done(session, name, "undrain", "gets new work again")


def _state(line: NodeDetail) -> str:
    words = [f"drained: {line.drained}" if line.drained is not None else "", "given up" if line.given_up else ""]
    return ", ".join(filter(None, words)) or "-"


def _left(line: NodeDetail) -> str:
    if line.drained is None and not line.given_up:
        return "-"
    if line.left is None:
        return f"ask {line.kept_by}" if line.kept_by else "not known"
    return f"{line.left}, no room elsewhere for {line.homeless}" if line.homeless else str(line.left)


def _done(session: Session, name: str, action: str, words: str) -> None:
    if session.as_json:
        show_json({"node": name, "done": action})
    else:
        click.echo(f"node {name}: {words}")
