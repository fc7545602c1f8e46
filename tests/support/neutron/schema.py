"""Makes Neutron's schema and the plug-in's on SQLite, where alembic's migrations cannot run; `python -m … URL`."""

from __future__ import annotations

import sys

import sqlalchemy as sa
from alembic import config, script

import astara_neutron.models  # noqa: F401 - puts its tables into the metadata
from neutron.db.migration import cli
from neutron.db.migration.models import head


def main(url: str) -> None:
    engine = sa.create_engine(url)
    head.get_metadata().create_all(engine)
    settings = config.Config()
    settings.set_main_option("neutron_project", "neutron")
    settings.set_main_option("script_location", "neutron.db.migration:alembic_migrations")
    cli._set_version_locations(settings)
    heads = script.ScriptDirectory.from_config(settings).get_heads()
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        for name in heads:
            connection.execute(sa.text("INSERT INTO alembic_version VALUES (:name)"), {"name": name})


if __name__ == "__main__":
    main(sys.argv[1])
