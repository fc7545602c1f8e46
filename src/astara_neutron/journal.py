"""The change journal: one row per transaction and resource, written by the transaction that made the change."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from neutron_lib.db import api as db_api

from astara.contract.snapshot import Change, ChangePage
from astara_neutron import models

_CHANGES = models.AstaraChange.__table__
_PENDING = "astara_references"  # Session.info: what this transaction's rows refer to
EVERYTHING = (models.KIND_ALL, models.KIND_ALL)
_ROWS_PER_INSERT = 500


def pending(session: Any) -> set[tuple[str, str]]:
    """Return the references (`watch.Reference`) gathered for this session's transaction, to add to."""
    found: set[tuple[str, str]] = session.info.setdefault(_PENDING, set())
    return found


def take_pending(session: Any) -> set[tuple[str, str]]:
    """Return the references gathered so far, and start again with none."""
    return session.info.pop(_PENDING, None) or set()


def mark(session: Any, keys: Iterable[tuple[str, str]]) -> None:
    """Journal keys of the plug-in's own tables (placements, nodes) with the session's transaction."""
    pending(session).update(keys)


def mark_everything(session: Any) -> None:
    """Journal "look at everything" with the session's transaction."""
    pending(session).add(EVERYTHING)


def insert(connection: Any, keys: Iterable[tuple[str, str]]) -> None:
    """Write one row for each key, on the connection of the transaction that changed it."""
    now = int(time.time())
    rows = [{"kind": kind, "resource_id": identifier, "created_at": now} for kind, identifier in sorted(keys)]
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        connection.execute(sa.insert(_CHANGES).values(rows[start : start + _ROWS_PER_INSERT]))


def revision(session: Any) -> int:
    """Return the highest number given out; 0 before the first change."""
    return session.execute(sa.select(sa.func.max(_CHANGES.c.seq))).scalar() or 0


def changes(context: Any, since: int, overlap_s: int) -> ChangePage:
    """Return the changes after `since`, and those of the last `overlap_s` seconds once more.

    A transaction gets its numbers before it commits, so a lower number may appear after a higher one
    was answered. Four queries by index; the cost is the number of changes answered, nothing else.
    """
    with db_api.CONTEXT_READER.using(context):
        session = context.session
        highest = revision(session)
        lowest = session.execute(sa.select(sa.func.min(_CHANGES.c.seq))).scalar() or 0
        recent = sa.select(sa.func.min(_CHANGES.c.seq)).where(_CHANGES.c.created_at >= int(time.time()) - overlap_s)
        first = min(since + 1, session.execute(recent).scalar() or since + 1)
        rows = session.execute(
            sa.select(_CHANGES.c.seq, _CHANGES.c.kind, _CHANGES.c.resource_id)
            .where(_CHANGES.c.seq >= first)
            .order_by(_CHANGES.c.seq)
        ).all()
    everything = any(row.kind == models.KIND_ALL and row.seq > since for row in rows)
    # `since` above everything we know: the database is not the one the caller knew.
    lost = since > highest or lowest > since + 1
    return ChangePage(
        revision=highest,
        changes=tuple(
            Change(revision=row.seq, kind=row.kind, id=row.resource_id) for row in rows if row.kind != models.KIND_ALL
        ),
        truncated=everything or lost,
    )


class Pruner:
    """Prunes now and then, whenever somebody reads the journal: so no process needs a timer of its own."""

    def __init__(self, every_s: float = 600.0) -> None:
        self._every_s = every_s
        self._lock = threading.Lock()
        self._last = float("-inf")

    def maybe(self, context: Any, keep_s: int) -> None:
        """Prune unless this process has done so lately."""
        with self._lock:
            if time.monotonic() - self._last < self._every_s:
                return
            self._last = time.monotonic()
        prune(context, keep_s)


def prune(context: Any, keep_s: int) -> None:
    """Forget changes older than `keep_s` seconds, but never the newest: the revision must not go back."""
    with db_api.CONTEXT_READER.using(context):
        highest = revision(context.session)
    with db_api.CONTEXT_WRITER.using(context):
        old = _CHANGES.c.created_at < int(time.time()) - keep_s
        context.session.execute(sa.delete(_CHANGES).where(old, _CHANGES.c.seq < highest))
