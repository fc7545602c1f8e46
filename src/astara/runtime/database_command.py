"""`astara db …`: the schema of the records' database. Asks the database itself: an orchestrator may not even start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from astara.admin.screen import show_json
from astara.admin.session import EXIT_REFUSED, Session, json_option, pass_session
from astara.model.errors import Retry
from astara.records import backups, migrating
from astara.records.database import Database, locate, words
from astara.records.migrating import Standing
from astara.runtime.options import load

_CONFIGURATION = click.option(
    "--config-file",
    "files",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    default=(Path("/etc/astara/astara.conf"),),
    show_default="/etc/astara/astara.conf",
    help="As the orchestrator's; [database] connection is read, default: the file in its state_dir.",
)


@click.group()
def db() -> None:
    """The database of holds, history and audit."""


@db.command()
@_CONFIGURATION
@json_option
@pass_session
def current(session: Session, files: tuple[Path, ...]) -> None:
    """Show its schema beside this version's."""
    with _opened(files) as database:
        _show(session, database, migrating.standing(database))


@db.command()
@_CONFIGURATION
@json_option
@pass_session
def check(session: Session, files: tuple[Path, ...]) -> None:
    """Say whether this version can work with it.

    Exit code 1 when it cannot.
    """
    with _opened(files) as database:
        judged = migrating.standing(database)
        _show(session, database, judged)
        if not judged.usable:
            raise click.exceptions.Exit(EXIT_REFUSED)


@db.command()
@_CONFIGURATION
@json_option
@pass_session
def upgrade(session: Session, files: tuple[Path, ...]) -> None:
    """Bring it to this version's schema.

    Orchestrators of the version before go on running.
    """
    with _opened(files) as database:
        if database.file is not None:
            database.file.parent.mkdir(parents=True, exist_ok=True)
        migrating.upgrade(database)
        _show(session, database, migrating.standing(database))


@db.command()
@click.argument("to", type=click.Path(path_type=Path, dir_okay=False))
@_CONFIGURATION
@json_option
@pass_session
def backup(session: Session, to: Path, files: tuple[Path, ...]) -> None:
    """Copy a SQLite file, whole and at one moment.

    The orchestrator may run. To restore: stop it, put the copy in the file's place, delete its -wal and -shm.
    """
    with _opened(files) as database:
        backups.copy(database, to)
        if session.as_json:
            show_json({"database": database.name, "copy": str(to)})
        else:
            click.echo(f"{database.name}: copied to {to}")


@contextmanager
def _opened(files: tuple[Path, ...]) -> Iterator[Database]:
    options = load([word for file in files for word in ("--config-file", str(file))])
    database = Database(locate(options.connection, options.state_dir))
    try:
        yield database
    except SQLAlchemyError as error:
        raise Retry(f"{database.name}: {words(error)}", "see that it runs and takes our user and password") from None
    finally:
        database.close()


def _show(session: Session, database: Database, judged: Standing) -> None:
    if session.as_json:
        show_json({"database": database.name, "schema": judged.found, "needed": judged.ours, "usable": judged.usable})
        return
    click.echo(f"{database.name}: schema {judged.found or 'none'}, this version's is {judged.ours}: {_verdict(judged)}")


def _verdict(judged: Standing) -> str:
    if judged.current:
        return "as it should be"
    if judged.usable:
        return "newer, and usable by this version until it is upgraded too"
    return "too new for this version, or not Astara's" if judged.newer else "run `astara db upgrade`"
