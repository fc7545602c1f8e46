"""`astara lab …`: whole small clouds on one machine. Also `python -m astara_lab …`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from astara_lab.options import lab_options, variant_options
from astara_lab.places import Lab, client_environment

if TYPE_CHECKING:
    from astara_lab.variant import Variant


class _Friendly(click.Group):
    """Turns what a lab can refuse into one message on the screen, without a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        from astara_lab.pod import PodError
        from astara_lab.tasks import BringUpError
        from astara_lab.waiting import NotInTime

        try:
            return super().invoke(ctx)
        except (PodError, BringUpError, NotInTime, LookupError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Friendly)
def lab() -> None:
    """Whole small clouds on this machine.

    Each in namespaces of its own.
    """


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


@lab.command()
@lab_options
@click.option("--fresh", is_flag=True, help="Purge what an earlier lab left in the directory first.")
@variant_options
def up(place: Lab, variant: Variant, *, fresh: bool) -> None:
    """Start a lab; does nothing for what runs already."""
    from astara_lab.pod import Pod
    from astara_lab.up import bring_up, take_down

    pod = Pod(place)
    if fresh:
        take_down(place, purge=True)
    pod.start()
    pod.enter()
    seconds = bring_up(place, _console(), variant)
    click.echo(
        f"lab {place.profile} is up after {seconds:.1f} s; look around: astara lab exec -- openstack router list"
    )


@lab.command()
@lab_options
@click.option("--purge", is_flag=True, help="Delete its databases, configuration and logs as well.")
def down(place: Lab, *, purge: bool) -> None:
    """End a lab and everything in it."""
    from astara_lab.up import take_down

    ran = take_down(place, purge=purge)
    click.echo(f"lab {place.profile} {'ended' if ran else 'did not run'}{'; its files are deleted' if purge else ''}")


@lab.command(context_settings={"ignore_unknown_options": True})
@lab_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def exec(place: Lab, command: tuple[str, ...]) -> None:  # noqa: A001 - the word docker and kubectl use
    """Run a command inside the lab, with the clients' OS_* environment set."""
    from astara_lab.pod import Pod

    Pod(place).enter()
    _become(command, place)


@lab.command(context_settings={"ignore_unknown_options": True})
@lab_options
@click.option("--keep", is_flag=True, help="Leave the lab's files in place afterwards.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@variant_options
def run(place: Lab, variant: Variant, command: tuple[str, ...], *, keep: bool) -> None:
    """Start a lab, run a command in it, take the lab down. However this ends, nothing runs on.

    Its files stay only when this is killed, for whoever wants to know why.
    """
    from astara_lab.pod import Pod, PodError
    from astara_lab.up import bring_up, take_down

    pod = Pod(place)
    if not pod.start(tied_to_caller=True):
        raise PodError(f"a lab runs in {place.root} already; choose another --dir")
    try:
        inside = os.fork()
        if not inside:
            pod.enter()
            bring_up(place, _console(), variant)
            _become(command, place)
        status = os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1])
    finally:
        take_down(place, purge=not keep)
    sys.exit(status if status >= 0 else 128 - status)


def _become(command: tuple[str, ...], place: Lab) -> None:
    from astara_lab import bodies, waiting
    from astara_lab.profiles.astara import BIN

    environment = dict(os.environ) | client_environment(place)
    environment["PATH"] = f"{BIN}:{environment.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}"
    environment[waiting.PATIENCE] = bodies.patience(bodies.body_of(place))
    environment |= {"ASTARA_LAB_DIR": str(place.root), "ASTARA_LAB_PROFILE": place.profile}
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - no shell is wanted
    except OSError as error:
        raise click.ClickException(f"{command[0]}: {error.strerror}") from error


@lab.command()
@lab_options
def status(place: Lab) -> None:
    """What runs, since when, how often it was restarted, and its memory."""
    from rich.console import Console
    from rich.table import Table

    from astara_lab.control import Control
    from astara_lab.memory import family_mb
    from astara_lab.pod import Pod

    pod = Pod(place)
    pod.enter()
    table = Table("service", "pid", "up (s)", "restarts", "memory (MB)")
    total = 0.0
    for state in sorted(Control(pod).status(), key=lambda s: s.name):
        used = family_mb(state.pid) if state.pid else 0.0
        total += used
        pid = str(state.pid) if state.pid else f"ended ({state.ended})"
        table.add_row(state.name, pid, f"{state.up_s:.0f}", str(state.restarts), f"{used:.0f}")
    Console().print(table)
    click.echo(f"{total:.0f} MB in all; files in {place.root}")


@lab.command()
@lab_options
@click.argument("name", required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on as the service writes.")
@click.option("-n", "--lines", default=40, show_default=True)
def logs(place: Lab, name: str | None, *, follow: bool, lines: int) -> None:
    """The end of a service's log; without a name, which logs there are."""
    from astara_lab.up import log_files

    if name is None:
        for file in log_files(place):
            click.echo(f"{file.stem:<20} {file.stat().st_size:>9} bytes  {file}")
        return
    file = place.log / f"{name}.log"
    if not file.exists():
        known = ", ".join(f.stem for f in log_files(place)) or "none"
        raise click.ClickException(f"no log of {name!r}; there are: {known}")
    if follow:
        os.execvp("tail", ["tail", "-n", str(lines), "-F", str(file)])  # noqa: S606 - no shell is wanted
    click.echo("\n".join(file.read_text(errors="replace").splitlines()[-lines:]))


def _change(place: Lab, verb: str, name: str) -> None:
    from astara_lab.control import Control
    from astara_lab.pod import Pod

    Control(Pod(place)).change(verb, name)


@lab.command()
@lab_options
@click.argument("name")
def restart(place: Lab, name: str) -> None:
    """Ask a service to end (SIGTERM) and start it again; returns when the new one runs, and Astara's own answer."""
    from astara_lab.control import Control
    from astara_lab.pod import Pod
    from astara_lab.profiles.astara import restarted

    pod = Pod(place)
    pod.enter()
    restarted(Control(pod), name)


@lab.command()
@lab_options
@click.argument("name")
def stop(place: Lab, name: str) -> None:
    """Ask a service to end and leave it so, until `restart`."""
    _change(place, "stop", name)


@lab.command()
@lab_options
@click.argument("name")
def kill(place: Lab, name: str) -> None:
    """Kill a service (SIGKILL), as a fault would; the supervisor starts it again."""
    _change(place, "kill", name)


class _Machines(click.Group):
    """`host`, imported when it is called."""

    def _group(self) -> click.Group:
        from astara_lab.host_commands import host

        return host

    def list_commands(self, ctx: click.Context) -> list[str]:
        return self._group().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self._group().get_command(ctx, cmd_name)


lab.add_command(_Machines("host", help="Simulated tenant machines on the lab's networks."))


@lab.command()
@lab_options
def prepare(place: Lab) -> None:
    """Make what the first start would have to make: Neutron's template database."""
    from astara_lab.neutron_db import template

    place.cache.mkdir(parents=True, exist_ok=True)
    try:
        click.echo(str(template(place.cache, place.cache / "making.log")))
    except subprocess.CalledProcessError as error:
        raise click.ClickException(f"no database could be made; see {Path(place.cache / 'making.log')}") from error
