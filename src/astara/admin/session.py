"""What one invocation of `astara` was given, and how its commands are declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from astara.admin.addressing import admin_socket, instance_meant, resource_meant
from astara.admin.client import NotReachable, OperatorClient
from astara.model.errors import AstaraError
from astara.model.operator import InstanceLine
from astara.model.resource import ResourceKey

#: Asked, and the answer is no: refused, not found, a check failed.
EXIT_REFUSED = 1
#: Could not be asked: wrong usage (click's own code) or nobody answers.
EXIT_NOT_ASKED = 2

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(slots=True)
class Session:
    """Handed to every command as click's object."""

    socket: Path | None = None
    as_json: bool = False

    def operator(self) -> OperatorClient:
        return OperatorClient(admin_socket(self.socket))

    def resource(self, text: str) -> ResourceKey:
        return resource_meant(self.operator().resources(), text)

    def instance(self, text: str) -> InstanceLine:
        return instance_meant(self.operator().instances(), text)


pass_session = click.make_pass_decorator(Session, ensure=True)


class Complaint(click.ClickException):
    """One line that says what is wrong, one that says what to do."""

    exit_code = EXIT_REFUSED

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy

    def show(self, file: Any = None) -> None:
        click.secho("error: ", fg="red", nl=False, err=True)
        click.echo(self.message, err=True)
        if self.remedy:
            click.echo(f"remedy: {self.remedy}", err=True)


class NotAsked(Complaint):
    """The question never reached anybody."""

    exit_code = EXIT_NOT_ASKED


def complaint(error: AstaraError) -> Complaint:
    kind = NotAsked if isinstance(error, NotReachable) else Complaint
    return kind(str(error), error.remedy)


def json_option(command: _F) -> _F:
    """Add --json to a command; it ends up in the session."""

    def remember(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(Session).as_json = True

    return click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Answer as JSON: the REST API's own types."
    )(command)


def _complete_resource(context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    session = context.find_object(Session) or Session()
    try:
        lines = session.operator().resources()
    except AstaraError:
        return []
    offers = [CompletionItem(line.key, help=line.name) for line in lines if line.key.startswith(start)]
    return offers + [CompletionItem(line.name, help=line.key) for line in lines if line.name.startswith(start or "\0")]


def _complete_instance(context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    session = context.find_object(Session) or Session()
    try:
        lines = session.operator().instances()
    except AstaraError:
        return []
    return [CompletionItem(line.id, help=line.resource) for line in lines if line.id.startswith(start)]


resource_argument = click.argument("resource", shell_complete=_complete_resource)
instance_argument = click.argument("instance", shell_complete=_complete_instance)
