"""What alembic runs; the connection, its lock and its transaction are those of `records.migrating`."""

from __future__ import annotations

from alembic import context

from astara.records.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA, transactional_ddl=False)
context.run_migrations()
