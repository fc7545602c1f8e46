"""`astara pool`: instances that are there before anybody asks."""

from __future__ import annotations

import click

from astara.admin.screen import show, show_json, table
from astara.admin.session import Session, json_option, pass_session
from astara.model.operator import PoolLine

_COLUMNS = ("kind", "node", "ready", "coming", "wanted", "allowed", "hits", "misses", "refill", "state", "because")


@click.command()
@json_option
@pass_session
def pool(session: Session) -> None:
    """List the warm instances kept on every node."""
    lines = tuple(session.operator().pool())
    if session.as_json:
        show_json(lines)
    elif not lines:
        click.echo("no warm instances are kept: see section [pool] of astara.conf")
    else:
        show(table(_COLUMNS, map(_cells, lines), keep=("kind", "node")))


def _cells(line: PoolLine) -> tuple[str, ...]:
    of = line.provider + (f"/{line.image}" if line.image else "") + (f"+{line.nics}" if line.nics else "")
    refill = "-" if line.refill_s is None else f"{line.refill_s:.1f} s"
    counts = (line.ready, line.coming, line.wanted)
    allowed = f"{line.floor}..{line.ceiling}"
    return (
        of,
        line.host,
        *map(str, counts),
        allowed,
        str(line.hits),
        str(line.misses),
        refill,
        line.state,
        line.because,
    )
