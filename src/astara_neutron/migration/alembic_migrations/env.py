"""How alembic runs our migrations: on Neutron's connection, with a version table of our own, on our tables only."""

from __future__ import annotations

from typing import Any

from alembic import context
from neutron.db.migration.connection import DBConnection
from neutron_lib.db import model_base

from astara_neutron import models
from astara_neutron.migration.alembic_migrations import VERSION_TABLE

config = context.config
neutron_config = config.neutron_config  # type: ignore[attr-defined]  # put there by neutron-db-manage
_OURS = frozenset(table.name for table in models.TABLES)


def include_object(_object: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    """Keep autogenerate off Neutron's tables."""
    return kind != "table" or name in _OURS


def run() -> None:
    """Run the migrations, or write them as SQL with `--sql`."""
    arguments: dict[str, Any] = {
        "target_metadata": model_base.BASEV2.metadata,
        "include_object": include_object,
        "version_table": VERSION_TABLE,
    }
    if context.is_offline_mode():
        context.configure(url=neutron_config.database.connection, **arguments)
        with context.begin_transaction():
            context.run_migrations()
        return
    with DBConnection(neutron_config.database.connection, config.attributes.get("connection")) as connection:
        context.configure(connection=connection, **arguments)
        with context.begin_transaction():
            context.run_migrations()


run()
