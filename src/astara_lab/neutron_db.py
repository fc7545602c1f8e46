"""Neutron's schema on SQLite: made from the models once per installed version, then copied.

Neutron's migrations cannot run on SQLite (it alters no constraints), so the tables are made from the models and
marked as fully migrated. Run as a program (`python -m astara_lab.neutron_db FILE`) it makes the file given.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import shutil
import subprocess
import sys
import uuid
from pathlib import Path


def template(cache: Path, log: Path) -> Path:
    """The template database for what is installed now; makes it when there is none (some 3 s)."""
    file = cache / f"neutron-{_fingerprint()}.sqlite"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = cache / f".making-{uuid.uuid4().hex}.sqlite"  # a process id is not unique among pods
        with log.open("ab") as output:
            subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "astara_lab.neutron_db", str(fresh)],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        fresh.rename(file)
    return file


def place(database: Path, cache: Path, log: Path) -> None:
    """Puts an empty database where there is none."""
    if not database.exists():
        copy = database.with_suffix(".new")
        shutil.copyfile(template(cache, log), copy)
        copy.rename(database)


def _fingerprint() -> str:
    """Changes with Neutron's version and with our own tables."""
    digest = hashlib.sha256(importlib.metadata.version("neutron").encode())
    for module in ("astara_neutron.models", "astara_lab.neutron_db"):
        spec = importlib.util.find_spec(module)
        if spec and spec.origin:
            digest.update(Path(spec.origin).read_bytes())
    return digest.hexdigest()[:16]


def create(file: Path) -> None:
    """Every table of Neutron and of our plug-in, stamped with the heads of Neutron's migrations."""
    import sqlalchemy as sa
    from neutron.db.migration.models import head

    import astara_neutron.models  # noqa: F401 - registers our tables on the same metadata

    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(sa.text("PRAGMA synchronous=OFF"))
        head.get_metadata().create_all(connection)
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        for revision in _heads():
            connection.execute(sa.text("INSERT INTO alembic_version VALUES (:r)"), {"r": revision})
    with engine.connect() as connection:
        # Readers and the one writer do not block each other; the setting stays in the file.
        connection.execute(sa.text("PRAGMA journal_mode=WAL"))
    engine.dispose()


def _heads() -> tuple[str, ...]:
    import neutron.db.migration
    from alembic import config, script

    scripts = Path(next(iter(neutron.db.migration.__path__))) / "alembic_migrations"
    setup = config.Config()
    setup.set_main_option("script_location", str(scripts))
    folders = sorted({str(f.parent) for f in (scripts / "versions").rglob("*.py")})
    setup.set_main_option("path_separator", "newline")
    setup.set_main_option("version_locations", "\n".join(folders))
    return tuple(script.ScriptDirectory.from_config(setup).get_heads())


if __name__ == "__main__":
    create(Path(sys.argv[1]))
