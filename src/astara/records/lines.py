"""Lines of the audit as rows: written, asked for, kept for a while. Every function raises SQLAlchemyError."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import sqlalchemy as sa
from msgspec import structs

from astara.contract.codec import ContractError, decode, encode
from astara.model.operator import ORCHESTRATOR, AuditLine, AuditQuery, HistoryLine
from astara.model.resource import ResourceKey
from astara.records.database import Database
from astara.records.schema import HISTORY

_DAY_S = 86400.0
#: What a name may take in MariaDB.
_NAME_LIMIT = 255
#: Longer words help nobody, and one endless line must not keep the others from being written.
_WORDS_LIMIT = 2000
_STEPS_LIMIT = 100
_COMPLETED_AT_ONCE = 1000
#: A password in a URL that somebody's error message, or an operator's reason, repeats.
_PASSWORD = re.compile(r"(?<=://)([^\s:/@]+):[^\s/@]+@")


@dataclass(frozen=True, slots=True)
class Keep:
    """How much is kept: of orchestrators' lines and of operators' `lines` each, and nothing older than `days`."""

    lines: int = 100_000
    days: float = 90.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line as it is stored. `key` is "" for what concerned no single resource."""

    key: str
    at: float
    who: str
    outcome: str
    line: bytes

    def fits(self, query: AuditQuery) -> bool:
        """Return whether the query asks for it; the same as `_asked` says to the database."""
        return (
            query.resource in (None, self.key)
            and query.outcome in (None, self.outcome)
            and (query.who is None or query.who in self.who)
            and (query.since is None or self.at >= query.since)
        )

    def read(self) -> AuditLine | None:
        """Return the line; None when another version wrote it."""
        return _read(self.key, self.line)


def row(key: ResourceKey | None, line: HistoryLine) -> Row:
    """Return the row of a line, bounded."""
    bounded = structs.replace(
        line,
        reason=_bounded(line.reason),
        detail=_bounded(line.detail),
        steps=tuple(map(_bounded, line.steps[:_STEPS_LIMIT])),
        undone=tuple(map(_bounded, line.undone[:_STEPS_LIMIT])),
        who=line.who[:_NAME_LIMIT],
    )
    name = "" if key is None else str(key)[:_NAME_LIMIT]
    return Row(name, line.at, bounded.who, line.outcome[:_NAME_LIMIT], encode(bounded))


def write(database: Database, rows: Sequence[Row]) -> None:
    """Add rows in one transaction."""
    with database.engine.begin() as connection:
        connection.execute(sa.insert(HISTORY), [asdict(row) for row in rows])


def asked(database: Database, query: AuditQuery) -> list[AuditLine]:
    """Return the newest lines that the query asks for, oldest first."""
    newest = sa.select(HISTORY.c.key, HISTORY.c.line).where(*_asked(query)).order_by(HISTORY.c.id.desc())
    with database.engine.connect() as connection:
        found = connection.execute(newest.limit(query.limit)).all()[::-1]
    return [line for line in (_read(key, stored) for key, stored in found) if line is not None]


def prune(database: Database, keep: Keep, now: float) -> None:
    """Delete what is too old or too much. A storm of retries does not push out what people did."""
    ours = sa.or_(HISTORY.c.who.startswith(ORCHESTRATOR), HISTORY.c.who.is_(None), HISTORY.c.who == "")
    with database.engine.begin() as connection:
        connection.execute(sa.delete(HISTORY).where(HISTORY.c.at < now - keep.days * _DAY_S))
        for whose in (ours, sa.not_(ours)):
            newest = sa.select(HISTORY.c.id).where(whose).order_by(HISTORY.c.id.desc())
            last = connection.execute(newest.limit(1).offset(keep.lines)).scalar()
            if last is not None:
                connection.execute(sa.delete(HISTORY).where(whose, HISTORY.c.id <= last))


def complete(database: Database) -> None:
    """Fill in the columns that versions before 0002 do not write, from their lines."""
    lacking = sa.select(HISTORY.c.id, HISTORY.c.line).where(HISTORY.c.at.is_(None)).limit(_COMPLETED_AT_ONCE)
    filled = (
        sa.update(HISTORY)
        .where(HISTORY.c.id == sa.bindparam("of"))
        .values(at=sa.bindparam("then"), who=ORCHESTRATOR, outcome=sa.bindparam("ended"))
    )
    while True:
        with database.engine.begin() as connection:
            rows = [(found.id, _history(found.line)) for found in connection.execute(lacking)]
            if not rows:
                return
            connection.execute(
                filled,
                [
                    {
                        "of": number,
                        "then": 0.0 if line is None else line.at,
                        "ended": "" if line is None else line.outcome,
                    }
                    for number, line in rows
                ],
            )


def _asked(query: AuditQuery) -> list[sa.ColumnElement[bool]]:
    wanted: list[sa.ColumnElement[bool]] = []
    if query.resource is not None:
        wanted.append(HISTORY.c.key == query.resource)
    if query.outcome is not None:
        wanted.append(HISTORY.c.outcome == query.outcome)
    if query.who is not None:
        wanted.append(sa.func.instr(HISTORY.c.who, query.who) > 0)
    if query.since is not None:
        wanted.append(HISTORY.c.at >= query.since)
    return wanted


def _bounded(words: str) -> str:
    shown = _PASSWORD.sub(r"\1:***@", words)
    return shown if len(shown) <= _WORDS_LIMIT else shown[: _WORDS_LIMIT - 1] + "…"


def _read(key: str, stored: bytes) -> AuditLine | None:
    line = _history(stored)
    return None if line is None else AuditLine(resource=key, **structs.asdict(line))


def _history(stored: bytes) -> HistoryLine | None:
    try:
        return decode(stored, HistoryLine)
    except ContractError:
        return None  # written by another version
