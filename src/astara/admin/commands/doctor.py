"""`astara doctor`: is the installation sound, and if not, what to do."""

from __future__ import annotations

import click

from astara.admin.client import NotReachable
from astara.admin.screen import show, show_json, table
from astara.admin.session import EXIT_REFUSED, Session, json_option, pass_session
from astara.model.operator import CheckLine


@click.command()
@json_option
@pass_session
def doctor(session: Session) -> None:
    """Check the installation, with remedies.

    Every failed check comes with its remedy, and makes the exit code 1.
    """
    lines = _checks(session)
    failed = [line for line in lines if not line.ok]
    if session.as_json:
        show_json(lines)
    else:
        rows = ((line.check, "ok" if line.ok else "failed", line.detail) for line in lines)
        show(table(("check", "result", "detail"), rows))
        for line in failed:
            click.echo(f"{line.check}: {line.remedy or 'no remedy known; see docs/howto/troubleshoot.md'}")
        click.echo("everything is well" if not failed else f"{len(failed)} of {len(lines)} checks failed")
    if failed:
        raise click.exceptions.Exit(EXIT_REFUSED)


def _checks(session: Session) -> list[CheckLine]:
    operator = session.operator()
    try:
        checks = operator.doctor()
    except NotReachable as error:
        return [CheckLine(check="orchestrator", ok=False, detail=str(error), remedy=error.remedy)]
    return [CheckLine(check="orchestrator", ok=True, detail="answers"), *checks]
