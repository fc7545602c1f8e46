"""How answers look: tables for people, wire types for programs. rich is imported only when a table is drawn."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from astara.contract.codec import encode

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

_PIPE_COLUMNS = 400
_GOOD = frozenset({"ok", "yes", "healthy", "settled", "configured"})
_BAD = frozenset({"no", "failed", "unreachable", "terminal", "refused", "retry"})


def show_json(value: object) -> None:
    """Print wire types exactly as the REST API gives them, indented."""
    click.echo(msgspec.json.format(encode(value), indent=2).decode())


def console() -> Console:
    """Return a console that never cuts a line for a program reading it, and colours for terminals only."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS, highlight=False, soft_wrap=False)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], keep: Sequence[str] = ()) -> Table:
    """Return a table; the columns named in `keep` hold what people copy and are never broken."""
    from rich import box
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        drawn.add_column(name, no_wrap=name in keep, overflow="ignore" if name in keep else "fold")
    for row in rows:
        drawn.add_row(*(tinted(cell) for cell in row))
    return drawn


def facts(rows: Iterable[tuple[str, str]]) -> Table:
    """Return name-and-value lines."""
    from rich.table import Table

    drawn = Table.grid(padding=(0, 2))
    drawn.add_column(style="bold")
    drawn.add_column(overflow="fold")
    for name, value in rows:
        drawn.add_row(name, tinted(value))
    return drawn


def tinted(word: str) -> Text:
    """Return a cell, green or red when it is one of the words that mean well or ill. Never read as markup."""
    from rich.text import Text

    style = "green" if word.lower() in _GOOD else "red" if word.lower() in _BAD else ""
    return Text(word, style=style)


def show(*parts: RenderableType) -> None:
    """Print; what a program reads gets no padding at the ends of lines."""
    out = console()
    if out.is_terminal:
        out.print(*parts, sep="\n")
        return
    with out.capture() as captured:
        out.print(*parts, sep="\n")
    click.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))
