"""How rows are fetched and grouped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import sqlalchemy as sa

T = TypeVar("T")


def fetch(session: Any, query: sa.Select[Any]) -> list[Any]:
    """Run one select and return its rows."""
    return list(session.execute(query))


def grouped(rows: Iterable[Any], key: str, make: Callable[[Any], T]) -> dict[str, tuple[T, ...]]:
    """Return `make(row)` for each row, gathered by the column `key`, in the order of the rows."""
    groups: dict[str, list[T]] = defaultdict(list)
    for row in rows:
        groups[getattr(row, key)].append(make(row))
    return {name: tuple(items) for name, items in groups.items()}
