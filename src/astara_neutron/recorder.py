"""Hears of every row that changes and hands the transaction's keys to the journal.

SQLAlchemy tells of every row that is inserted, updated or deleted; `watch` says what it concerns; `journal`
inserts its rows right before the outermost commit. So a change and its journal row become visible together or
not at all, whichever plug-in, API call, RPC worker or periodic task made it.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from oslo_log import log as logging
from sqlalchemy import event, orm

from astara_neutron import journal, watch
from astara_neutron.journal import EVERYTHING, pending
from astara_neutron.shield import must_pass
from astara_neutron.watch import Key, Reference, Watch

LOG = logging.getLogger(__name__)

_WRITTEN = "astara_keys"  # Session.info: what the journal says this transaction changed

_thread = threading.local()


@contextlib.contextmanager
def status_writes_of_our_own() -> Iterator[None]:
    """Inside, a changed `status` moves nothing: the orchestrator reported it and need not look at its own word."""
    _thread.quiet_status = True
    try:
        yield
    finally:
        _thread.quiet_status = False


class Recorder:
    """Hangs on SQLAlchemy's events; `committed` is told the keys of each transaction after its commit."""

    def __init__(self, committed: Callable[[frozenset[Key]], None]) -> None:
        self._committed = committed
        self._by_table = {item.model.__table__.name: item for item in watch.WATCHES}

    def start(self) -> None:
        """Listen, once per process; there is no way back, as for Neutron's own revision plug-in."""
        for item in watch.WATCHES:
            for name, listener in (
                ("after_insert", self._inserted),
                ("after_update", self._updated),
                ("before_delete", self._deleted),
            ):
                event.listen(item.model, name, _bound(listener, item))
        event.listen(orm.Session, "do_orm_execute", self._bulk)
        event.listen(orm.Session, "before_commit", self._before_commit)
        event.listen(orm.Session, "after_commit", self._after_commit)
        event.listen(orm.Session, "after_soft_rollback", self._after_rollback)

    def _inserted(self, item: Watch, target: Any) -> None:
        _add(target, item.refers(_Row(target)))

    def _deleted(self, item: Watch, target: Any) -> None:
        _add(target, item.refers(_Row(target)))

    def _updated(self, item: Watch, target: Any) -> None:
        old = _previous(target)
        matters = old.keys() if item.columns is None else old.keys() & item.columns
        if matters and not (matters == {"status"} and not _status_matters(target)):
            now = _Row(target)
            _add(target, [*item.refers(now), *item.refers(_merged(old, now))])

    def _bulk(self, state: Any) -> None:
        """UPDATE and DELETE statements that touch rows without loading them."""
        if state.is_select or not (state.is_update or state.is_delete):
            return
        table = getattr(getattr(state.statement, "table", None), "name", None)
        item = self._by_table.get(table) if table else None
        if item is None or getattr(_thread, "quiet_status", False):
            return
        with _guard(state.session):
            pending(state.session).update(_bulk_references(item, state))

    def _before_commit(self, session: Any) -> None:
        if session.in_nested_transaction():
            return
        session.flush()
        references = journal.take_pending(session)
        if not references:
            return
        keys = _traced(session, references)
        if keys:
            session.info[_WRITTEN] = _written(session, keys)

    def _after_commit(self, session: Any) -> None:
        keys = session.info.pop(_WRITTEN, None)
        if keys:
            try:
                self._committed(keys)
            except Exception:
                LOG.exception("Astara could not hint at a change; the change journal has it")

    def _after_rollback(self, session: Any, transaction: Any) -> None:
        # A savepoint's rollback keeps them: naming a resource too much costs one look, too little a lost change.
        if transaction.parent is None:
            journal.take_pending(session)
            session.info.pop(_WRITTEN, None)


def _bound(listener: Callable[[Watch, Any], None], item: Watch) -> Callable[[Any, Any, Any], None]:
    def handle(_mapper: Any, _connection: Any, target: Any) -> None:
        with _guard(orm.object_session(target)):
            listener(item, target)

    return handle


@contextlib.contextmanager
def _guard(session: Any) -> Iterator[None]:
    """A fault of ours must not fail a tenant's call: it is logged, and everything is looked at again."""
    try:
        yield
    except Exception as error:
        if must_pass(error):
            raise
        LOG.exception("Astara could not record a change; everything will be looked at again")
        pending(session).add(EVERYTHING)


def _traced(session: Any, references: set[Reference]) -> set[Key]:
    if EVERYTHING in references:
        return {EVERYTHING}
    try:
        return watch.resolve(session.connection(), references)
    except Exception as error:
        if must_pass(error):
            raise
        LOG.exception("Astara could not trace a change to its resources; everything will be looked at again")
        return {EVERYTHING}


def _written(session: Any, keys: set[Key]) -> frozenset[Key]:
    """Insert the journal's rows; when even that fails, a hint to look at everything is all that is left."""
    try:
        journal.insert(session.connection(), keys)
    except Exception as error:
        if must_pass(error):
            raise
        LOG.exception("Astara could not write its change journal; changes are lost until the next full resync")
        return frozenset({EVERYTHING})
    return frozenset(keys)


def _add(target: Any, references: Iterable[Reference]) -> None:
    pending(orm.object_session(target)).update(references)


class _Row(Mapping[str, Any]):
    """The column values of a loaded object; one that is expired is loaded when asked for, and only then."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._names = sa.inspect(target).mapper.column_attrs.keys()

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return getattr(self._target, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _merged(first: Mapping[str, Any], then: Mapping[str, Any]) -> Mapping[str, Any]:
    # ChainMap only ever writes into its first mapping, and nobody writes here.
    return collections.ChainMap(dict(first), then)  # type: ignore[arg-type]


def _previous(target: Any) -> dict[str, Any]:
    """Return the old values of the columns that this flush changes."""
    state = sa.inspect(target)
    previous = {}
    names = state.mapper.column_attrs.keys()
    for name in names:
        history = state.attrs[name].history
        if history.has_changes():
            previous[name] = history.deleted[0] if history.deleted else None
    return previous


def _status_matters(target: Any) -> bool:
    """A tenant port that goes up or down is no news for routers and DHCP; our own service's ports are."""
    if getattr(_thread, "quiet_status", False):
        return False
    owner = getattr(target, "device_owner", None)
    return owner is None or owner.startswith("network:")


def _bulk_references(item: Watch, state: Any) -> set[Reference]:
    """What the rows a bulk statement is about to change refer to: as they are, and as they will be."""
    table = item.model.__table__
    query = sa.select(table)
    if state.statement.whereclause is not None:
        query = query.where(state.statement.whereclause)
    rows = [dict(row._mapping) for row in state.session.connection().execute(query)]
    new: dict[str, Any] = {}
    if state.is_update:
        # `values(name=...)` keeps the column's name, `values({column: ...})` the column.
        written = (state.statement._values or {}).items()
        new = {getattr(column, "name", column): getattr(value, "value", value) for column, value in written}
    return {reference for row in rows for values in (row, {**row, **new}) for reference in item.refers(values)}
