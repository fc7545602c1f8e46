"""`astara db …`: the schema of the records' database. Asks the database itself: an orchestrator may not even start."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from sqlalchemy.exc import SQLAlchemyError

from astara.admin.screen import show_json
from astara.admin.session import EXIT_REFUSED, Session, json_option, pass_session
from astara.model.errors import Retry, Terminal
from astara.records import backups, migrating, restoring, terms
from astara.records.database import Database, locate, words
from astara.records.migrating import Standing
from astara.records.restoring import Restored
from astara.runtime.options import Options, load

#: Terms are seconds of a wall clock; beyond this somebody has mistyped (or it is the year 10000).
MAX_TERM = 253_402_300_799

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
    """Show its schema beside this version's, and the greatest term in it."""
    with _opened(files) as database:
        judged = migrating.standing(database)
        _show(session, database, judged, terms.greatest(database) if judged.usable else None)


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

    The orchestrator may run. `astara db restore` puts it back.
    """
    with _opened(files) as database:
        backups.copy(database, to)
        if session.as_json:
            show_json({"database": database.name, "copy": str(to)})
        else:
            click.echo(f"{database.name}: copied to {to}")


@db.command()
@click.argument("copy", type=click.Path(path_type=Path, dir_okay=False))
@_CONFIGURATION
@json_option
@pass_session
def restore(session: Session, copy: Path, files: tuple[Path, ...]) -> None:
    """Put a copy of a SQLite file in its place.

    The orchestrator must not run; instances do. Holds and bodies are the copy's from then on, and what differs from
    before is shown; terms go on from the greatest known. What was there is kept beside it.
    """
    if _listens(_configured(files).admin_socket):
        raise Terminal("the orchestrator runs, and works with the file", "stop it first; instances run on")
    with _opened(files) as database:
        _show_restored(session, database, restoring.restore(database, copy))


@db.command("raise-term")
@click.argument("term", type=click.IntRange(1, MAX_TERM))
@_CONFIGURATION
@json_option
@pass_session
def raise_term(session: Session, term: int, files: tuple[Path, ...]) -> None:
    """Have orchestrators that start from now on act under greater terms than TERM.

    For when nodes or Neutron refuse ours as older than TERM, and the orchestrator that had it is stopped for good.
    """
    with _opened(files) as database:
        migrating.refuse_unusable(database)
        now = terms.raise_to(database, term)
        if session.as_json:
            show_json({"database": database.name, "term": now})
        else:
            click.echo(f"{database.name}: terms go on above {now}; start the orchestrators again")


def _listens(path: Path) -> bool:
    """Whether a process has the socket, be it ever so busy or stopped."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True
        except OSError:
            return False
    return True


def _configured(files: tuple[Path, ...]) -> Options:
    return load([word for file in files for word in ("--config-file", str(file))])


@contextmanager
def _opened(files: tuple[Path, ...]) -> Iterator[Database]:
    options = _configured(files)
    database = Database(locate(options.connection, options.state_dir))
    try:
        yield database
    except SQLAlchemyError as error:
        raise Retry(f"{database.name}: {words(error)}", "see that it runs and takes our user and password") from None
    finally:
        database.close()


def _show(session: Session, database: Database, judged: Standing, term: int | None = None) -> None:
    if session.as_json:
        said = {"database": database.name, "schema": judged.found, "needed": judged.ours, "usable": judged.usable}
        show_json(said | ({} if term is None else {"term": term}))
        return
    click.echo(f"{database.name}: schema {judged.found or 'none'}, this version's is {judged.ours}: {_verdict(judged)}")
    if term is not None:
        click.echo(f"terms go on above {term}")


def _show_restored(session: Session, database: Database, done: Restored) -> None:
    gone = {str(key): words for key, words in done.unsaid.items()}
    back = {str(key): words for key, words in done.said_again.items()}
    if session.as_json:
        before = None if done.before is None else str(done.before)
        show_json({"database": database.name, "term": done.term, "before": before, "unsaid": gone, "said_again": back})
        return
    click.echo(f"{database.name}: is the copy now; terms go on above {done.term}")
    if done.before is not None:
        click.echo(f"what was there: {done.before}" + ("" if done.readable else ", which could not be read"))
    for heading, changed in (("said no more:", gone), ("said again:", back)):
        for key, what in changed.items():
            click.echo(f"{heading} {key} {what}")


def _verdict(judged: Standing) -> str:
    if judged.current:
        return "as it should be"
    if judged.usable:
        return "newer, and usable by this version until it is upgraded too"
    return "too new for this version, or not Astara's" if judged.newer else "run `astara db upgrade`"
