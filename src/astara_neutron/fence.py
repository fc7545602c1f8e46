"""The greatest term the plug-in has heard of: what an orchestrator decided under an older one is refused.

Every request of an orchestrator says its term, questions too (contract.generation.TERM_HEADER): what an owner has read
here stays true for it. The term is in the database, so that every process of Neutron's API judges alike.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from neutron_lib import exceptions as n_exc
from neutron_lib.db import api as db_api
from oslo_db import exception as db_exc

from astara_neutron import journal, models

_TERM = models.AstaraTerm.__table__
_ONLY = 1


class StaleTerm(n_exc.Conflict):
    """HTTP 409. Its name is in the contract (STALE_TERM)."""

    message = "term %(term)s is older than %(heard)s, which was heard of here: whose this was is another's now"


class Fence:
    """One per process: it asks the database only when a greater term comes than any before, and before changes."""

    def __init__(self) -> None:
        self._heard = 0

    def hear(self, context: Any, term: int) -> None:
        """Remember the term if none was greater."""
        if term > self._heard:
            _raise_to(context, term)
            self._heard = term

    def refuse_older(self, context: Any, term: int) -> None:
        """Raises StaleTerm."""
        heard = _stored(context)
        if term < heard:
            raise StaleTerm(term=term, heard=heard)

    def overtaken(self, context: Any, term: int) -> None:
        """After a change: if a newer term was heard of meanwhile, everybody looks again at what he may have misread."""
        if term < _stored(context):
            with db_api.CONTEXT_WRITER.using(context):
                journal.mark_everything(context.session)


def _stored(context: Any) -> int:
    with db_api.CONTEXT_READER.using(context):
        return context.session.execute(sa.select(_TERM.c.term).where(_TERM.c.id == _ONLY)).scalar() or 0


@db_api.retry_db_errors
def _raise_to(context: Any, term: int) -> None:
    with db_api.CONTEXT_WRITER.using(context):
        if context.session.execute(sa.select(_TERM.c.id).where(_TERM.c.id == _ONLY)).scalar() is None:
            try:
                with db_api.CONTEXT_WRITER.savepoint.using(context):
                    context.session.execute(sa.insert(_TERM).values(id=_ONLY, term=term))
            except db_exc.DBDuplicateEntry:
                pass  # another process was first; which of the two is greater is settled below
        context.session.execute(sa.update(_TERM).where(_TERM.c.id == _ONLY, _TERM.c.term < term).values(term=term))
