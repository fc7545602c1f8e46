"""The tables of upgrades: operators say, at any orchestrator; one decides, under a term that only grows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from astara.contract.codec import decode, encode
from astara.model.errors import Gone, Retry, Stale, Terminal
from astara.model.resource import ResourceKey
from astara.model.upgrade import Edition, Item, Stage, State, Upgrade, UpgradeWish
from astara.planning.rollout import Decision
from astara.records import said
from astara.records.asking import Asking
from astara.records.schema import EDITIONS, UPGRADE_ITEMS, UPGRADES

#: Upgrades remembered, with their resources.
_KEPT = 20
_U, _I = UPGRADES.c, UPGRADE_ITEMS.c


class StoredUpgrades:
    """Implements reconcile.boundaries.Upgrades. Everything raises Retry while the database is away."""

    def __init__(self, asking: Asking, wall: Callable[[], float]) -> None:
        self._asking = asking
        self._wall = wall

    def newest(self) -> Upgrade | None:
        """Return the last one asked for."""
        with self._asking.transaction() as connection:
            return _newest(connection)

    def items(self, number: int) -> Sequence[Item]:
        """Return the resources of an upgrade, in the order in which they are begun."""
        with self._asking.transaction() as connection:
            columns = (_I.key, _I.stage, _I.hosts, _I.since, _I.image, _I.before)
            query = sa.select(*columns).where(_I.number == number).order_by(_I.position)
            rows = connection.execute(query).all()
        return [_item(row) for row in rows]

    def editions(self) -> dict[ResourceKey, Edition]:
        """Return what upgrades wish of resources."""
        with self._asking.transaction() as connection:
            rows = connection.execute(sa.select(EDITIONS)).all()
        return {ResourceKey.parse(row.key): Edition(row.kind, row.number, row.image) for row in rows}

    def begin(self, wish: UpgradeWish, by: str) -> Upgrade:
        """Record a new one, or return the one under way that asks for the same. Raises Terminal for another one."""
        try:
            with self._asking.transaction() as connection:
                return self._begun(connection, wish, by)
        except IntegrityError:
            raise Retry("another upgrade is begun at this moment", "see `astara upgrade status`", 1.0) from None

    def _begun(self, connection: sa.Connection, wish: UpgradeWish, by: str) -> Upgrade:
        last = _newest(connection)
        if last is not None and not last.state.over:
            if last.wish == wish:
                return last
            remedy = "wait for it, or end it with `astara upgrade abort`"
            raise Terminal(f"upgrade {last.number} to {_words(last.wish)} is {last.state}", remedy)
        number = 1 if last is None else last.number + 1
        made = Upgrade(number=number, wish=wish, state=State.RUNNING, by=by, at=self._wall())
        connection.execute(sa.insert(UPGRADES).values(**_row(made)))
        for table in (UPGRADES, UPGRADE_ITEMS):
            connection.execute(sa.delete(table).where(table.c.number <= number - _KEPT))
        return made

    def say(self, state: State, why: str) -> Upgrade:
        """Pause, resume or abort the one under way; saying it twice is once. Raises Gone when there is none."""
        with self._asking.transaction() as connection:
            return self._said(connection, state, why)

    def _said(self, connection: sa.Connection, state: State, why: str) -> Upgrade:
        last = _newest(connection)
        if last is None or (last.state.over and last.state is not state):
            raise Gone("no upgrade is under way", "see `astara upgrade status`")
        if last.state is state or (last.state is State.STOPPED and state is State.PAUSED):
            return last  # what stopped stands, and why must not be forgotten
        where = (_U.number == last.number) & _U.state.not_in([State.DONE.value, State.ABORTED.value])
        connection.execute(sa.update(UPGRADES).where(where).values(state=state.value, why=why))
        if state is State.RUNNING:  # what is in work gets its whole time again
            working = (_I.number == last.number) & (_I.stage == Stage.WORK.value)
            connection.execute(sa.update(UPGRADE_ITEMS).where(working).values(since=self._wall()))
        return _upgrade(connection.execute(sa.select(UPGRADES).where(_U.number == last.number)).one())

    def abort(self, by: str, *, back: bool) -> Upgrade:
        """End the newest one for good; `back`: what was begun of it goes back, as an upgrade of its own."""
        with self._asking.transaction() as connection:
            last = _newest(connection)
            if back and last is not None and last.wish.back_of is not None:
                if last.state is not State.ABORTED:
                    return last
                return self._begun(connection, last.wish, by)
            if back and last is not None and last.wish.image is None:
                raise Terminal(
                    f"upgrade {last.number} cannot be taken back: {last.wish.kind} has no images",
                    "install on the nodes what shall run, then `astara upgrade --body` again; or abort without --back",
                )
            if last is None or not (back and last.state.over):
                last = self._said(connection, State.ABORTED, f"by {by}")
            if not back:
                return last
            wish = UpgradeWish(kind=last.wish.kind, back_of=last.number, canary="100%", soak_s=0.0)
            return self._begun(connection, wish, by)

    def collect(
        self, number: int, term: int, items: Sequence[Item], baseline: float, known: Collection[ResourceKey] | None
    ) -> None:
        """Record which resources an upgrade concerns, once. Raises Stale when a newer owner decides.

        `known`: every resource there is; of others no edition is wished any more. None: not asked.
        """
        with self._asking.transaction() as connection:
            row = _taken(connection, number, term)
            if row.collected:
                return
            connection.execute(sa.delete(UPGRADE_ITEMS).where(_I.number == number))
            rows = [_item_row(number, position, item) for position, item in enumerate(items)]
            if rows:
                connection.execute(sa.insert(UPGRADE_ITEMS), rows)
            if known is not None:
                self._forget_all_but(connection, frozenset(map(str, known)))
            values = {"collected": 1, "baseline": baseline}
            connection.execute(sa.update(UPGRADES).where(_U.number == number).values(**values))

    def advance(self, upgrade: Upgrade, term: int, decision: Decision) -> Decision:
        """Carry a decision out; returns what was carried out: what an operator said meanwhile counts more.

        Paused means that nothing is begun. Raises Stale when a newer owner decides.
        """
        now = self._wall()
        with self._asking.transaction() as connection:
            state = State(_taken(connection, upgrade.number, term).state)
            if state is not State.RUNNING:
                decision = Decision(done=decision.done)
            self._move(connection, upgrade, decision.done, Stage.DONE, now)
            for key in decision.struck:
                struck = (_I.number == upgrade.number) & (_I.key == str(key))
                connection.execute(sa.delete(UPGRADE_ITEMS).where(struck))
            if decision.begin:
                self._move(connection, upgrade, decision.begin, Stage.WORK, now)
                self._wish(connection, upgrade, decision.begin)
            changes: dict[str, Any] = {}
            if decision.soak_until is not None:
                changes["soaked_at"] = decision.soak_until
            if decision.state is not None:
                changes |= {"state": decision.state.value, "why": decision.why}
            if changes:
                connection.execute(sa.update(UPGRADES).where(_U.number == upgrade.number).values(**changes))
        return decision

    def _move(
        self, connection: sa.Connection, upgrade: Upgrade, keys: Sequence[ResourceKey], stage: Stage, now: float
    ) -> None:
        if keys:
            where = (_I.number == upgrade.number) & _I.key.in_([str(key) for key in keys])
            connection.execute(sa.update(UPGRADE_ITEMS).where(where).values(stage=stage.value, since=now))

    def _forget_all_but(self, connection: sa.Connection, known: frozenset[str]) -> None:
        wished = connection.execute(sa.select(EDITIONS.c.key)).scalars()
        for key in [key for key in wished if key not in known]:
            connection.execute(sa.delete(EDITIONS).where(EDITIONS.c.key == key))

    def _wish(self, connection: sa.Connection, upgrade: Upgrade, keys: Sequence[ResourceKey]) -> None:
        """Wish the new edition of them, and let every orchestrator know."""
        database = self._asking.database
        where = (_I.number == upgrade.number) & _I.key.in_([str(key) for key in keys])
        for key, image in connection.execute(sa.select(_I.key, _I.image).where(where)).all():
            wished = {"kind": upgrade.wish.kind, "number": upgrade.edition, "image": image}
            connection.execute(database.upsert(EDITIONS, {"key": key, **wished}))
        said.tell(database, connection)


def _newest(connection: sa.Connection) -> Upgrade | None:
    row = connection.execute(sa.select(UPGRADES).order_by(_U.number.desc()).limit(1)).first()
    return None if row is None else _upgrade(row)


def _taken(connection: sa.Connection, number: int, term: int) -> Any:
    """Take the row for this transaction, under our term; raises Stale."""
    ours = sa.update(UPGRADES).where(_U.number == number, _U.term <= term).values(term=term)
    matched = connection.execute(ours).rowcount
    row = connection.execute(sa.select(UPGRADES).where(_U.number == number)).first()
    if row is None or not matched:
        raise Stale(f"upgrade {number} is decided under a newer term than {term}", "look again")
    return row


def _words(wish: UpgradeWish) -> str:
    return wish.image or (f"what there was before {wish.back_of}" if wish.back_of else f"{wish.kind}, made anew")


def _row(upgrade: Upgrade) -> dict[str, Any]:
    return {
        "number": upgrade.number,
        "wish": encode(upgrade.wish).decode(),
        "state": upgrade.state.value,
        "why": upgrade.why,
        "said_by": upgrade.by,
        "at": upgrade.at,
        "term": upgrade.term,
        "collected": int(upgrade.collected),
        "baseline": upgrade.baseline,
        "soaked_at": upgrade.soaked_at,
    }


def _upgrade(row: Any) -> Upgrade:
    return Upgrade(
        number=row.number,
        wish=decode(row.wish, UpgradeWish),
        state=State(row.state),
        why=row.why,
        by=row.said_by,
        at=row.at,
        term=row.term,
        collected=bool(row.collected),
        baseline=row.baseline,
        soaked_at=row.soaked_at,
    )


def _item(row: Any) -> Item:
    key, stage, hosts, since, image, before = row
    return Item(ResourceKey.parse(key), Stage(stage), _hosts(hosts), since, image, before)


@functools.lru_cache(maxsize=1024)
def _hosts(text: str) -> frozenset[str]:
    """Thousands of resources are on few nodes."""
    return frozenset(decode(text, tuple[str, ...]))


def _item_row(number: int, position: int, item: Item) -> dict[str, Any]:
    return {
        "number": number,
        "key": str(item.key),
        "position": position,
        "stage": item.stage.value,
        "hosts": encode(sorted(item.hosts)).decode(),
        "since": item.since,
        "image": item.image,
        "before": item.before,
    }
