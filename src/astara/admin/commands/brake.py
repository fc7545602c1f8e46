"""`astara brake release`: go on after many instances seemed to die at once."""

from __future__ import annotations

import click

from astara.admin.screen import show_json
from astara.admin.session import Session, json_option, pass_session


@click.group()
def brake() -> None:
    """The brake on rebuilding many instances.

    It engages when many instances seem to die at once.
    """


@brake.command("release")
@json_option
@pass_session
def release(session: Session) -> None:
    """Release the brake: what seemed dead is rebuilt now."""
    session.operator().release_brake()
    if session.as_json:
        show_json({"done": "brake release"})
    else:
        click.echo("the brake is released")
