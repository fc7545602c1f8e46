"""`astara drivers` and `astara providers`: what this installation can do."""

from __future__ import annotations

from collections.abc import Sequence

import click

from astara.admin.screen import show, show_json, table
from astara.admin.session import Session, json_option, pass_session
from astara.model.operator import PluginLine


@click.command()
@json_option
@pass_session
def drivers(session: Session) -> None:
    """List the network services that can be run."""
    _list(session, session.operator().drivers())


@click.command()
@json_option
@pass_session
def providers(session: Session) -> None:
    """List the kinds of instances that can be made."""
    _list(session, session.operator().providers())


def _list(session: Session, lines: Sequence[PluginLine]) -> None:
    if session.as_json:
        show_json(list(lines))
        return
    rows = ((line.name, "yes" if line.enabled else "-", line.description) for line in lines)
    show(table(("name", "enabled", "what it is"), rows))
