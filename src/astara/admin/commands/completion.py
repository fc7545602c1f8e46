"""`astara completion` and `astara version`: what needs no orchestrator."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from astara.admin.screen import show_json
from astara.admin.session import Session, json_option, pass_session


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    For all users of bash: `astara completion bash >/etc/bash_completion.d/astara`
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(context.find_root().command, {}, "astara", "_ASTARA_COMPLETE").source())


@click.command()
@json_option
@pass_session
def version(session: Session) -> None:
    """Print the version of this command."""
    from importlib.metadata import version as installed

    from astara.contract.codec import CONTRACT_VERSION

    if session.as_json:
        show_json({"astara": installed("astara"), "contract": CONTRACT_VERSION})
    else:
        click.echo(f"astara {installed('astara')} (contract {CONTRACT_VERSION})")
