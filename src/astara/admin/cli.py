"""The command `astara`: what an operator may ask of a running orchestrator.

Commands are imported when called, not before, and further ones come from the entry points `astara.commands`
(each names a click command), looked up only when the name is not one of ours.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import click

from astara.admin.session import Complaint, Session, complaint
from astara.model.errors import AstaraError

_COMMANDS = {
    "status": "astara.admin.commands.status:status",
    "resource": "astara.admin.commands.resource:resource",
    "instance": "astara.admin.commands.instance:instance",
    "rebuild": "astara.admin.commands.resource:rebuild",
    "hold": "astara.admin.commands.resource:hold",
    "release": "astara.admin.commands.resource:release",
    "move": "astara.admin.commands.resource:move",
    "resync": "astara.admin.commands.resource:resync",
    "drivers": "astara.admin.commands.plugins:drivers",
    "providers": "astara.admin.commands.plugins:providers",
    "pool": "astara.admin.commands.pool:pool",
    "cluster": "astara.admin.commands.cluster:cluster",
    "node": "astara.admin.commands.node:node",
    "upgrade": "astara.admin.commands.upgrade:upgrade",
    "doctor": "astara.admin.commands.doctor:doctor",
    "brake": "astara.admin.commands.brake:brake",
    "audit": "astara.admin.commands.audit:audit",
    "ca": "astara.admin.commands.ca:ca",
    "completion": "astara.admin.commands.completion:completion",
    "version": "astara.admin.commands.completion:version",
}
_FURTHER = "astara.commands"
_INTERRUPTED = 130


class _Commands(click.Group):
    """A group whose members are imported by name when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from importlib.metadata import entry_points

        return [*_COMMANDS, *sorted(entry_points(group=_FURTHER).names - _COMMANDS.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS:
            module, _, name = _COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        return _further(cmd_name)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except AstaraError as error:
            raise complaint(error) from error


def _further(name: str) -> click.Command | None:
    from importlib.metadata import entry_points

    for entry in entry_points(group=_FURTHER, name=name):
        try:
            command: click.Command = entry.load()
        except ImportError as error:
            return _unusable(name, str(error))
        return command
    return None


def _unusable(name: str, why: str) -> click.Command:
    """Return a stand-in, so that one broken plug-in does not break `astara --help`."""

    def refuse() -> None:
        raise Complaint(f"the command {name!r} cannot be loaded: {why}", "install what it names")

    return click.Command(
        name, callback=refuse, help="(cannot be loaded)", context_settings={"ignore_unknown_options": True}
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    envvar="ASTARA_SOCKET",
    help="The orchestrator's admin socket. Default: /run/astara/admin.sock, else that of a lab running here.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON, for every command.")
@click.pass_context
def cli(context: click.Context, socket: Path | None, as_json: bool) -> None:
    """Look after the service instances Astara runs for OpenStack.

    A RESOURCE is named by its key (router/UUID), an unambiguous start of the UUID, or its name.

    Exit codes: 0 done; 1 the answer is no (refused, not found, a check failed); 2 could not be asked.
    """
    context.obj = Session(socket=socket, as_json=as_json)


def main() -> None:
    """Run `astara`; whatever goes wrong ends in one line and a remedy, never in a traceback."""
    try:
        cli(prog_name="astara")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:  # the last line: the operator gets words; whoever debugs sets the variable
        if os.environ.get("ASTARA_DEBUG"):
            raise
        Complaint(
            f"astara failed by itself: {type(error).__name__}: {error}",
            "this is a defect; run again with ASTARA_DEBUG=1 and report what it prints",
        ).show()
        sys.exit(1)
