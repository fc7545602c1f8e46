"""`astara lab …`: whole small clouds on one machine. Also `python -m astara_lab …`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from astara_lab.places import BODIES, PROFILES, Lab, client_environment, find_lab

if TYPE_CHECKING:
    from astara_lab.profiles.astara import Variant


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


def lab_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--profile and --dir, handed on as one Lab called `place`."""
    profile = click.option(
        "--profile",
        type=click.Choice(PROFILES),
        default="embedded",
        show_default=True,
        envvar="ASTARA_LAB_PROFILE",
        help="What the lab consists of.",
    )
    directory = click.option("--dir", "directory", help="The lab's directory. [default: .lab/PROFILE]")

    def with_place(profile: str, directory: str | None, **rest: Any) -> Any:
        return command(place=find_lab(profile, directory), **rest)

    return _with_parameters_of(command, with_place, profile, directory)


def _variant(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a Variant, handed on as `variant`."""
    options = (
        click.option("--no-supervise", is_flag=True, help="Leave a service dead when it dies."),
        click.option(
            "--body",
            type=click.Choice(BODIES),
            default="namespace",
            show_default=True,
            envvar="BODY",
            help="What routers run in.",
        ),
        click.option(
            "--network-body",
            type=click.Choice(BODIES),
            envvar="NETWORK_BODY",
            help="What serves DHCP, DNS and metadata. [default: the same]",
        ),
        click.option(
            "--image",
            type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
            envvar="ASTARA_IMAGE",
            help="Folder of the appliance's image, for containers and machines.",
        ),
        click.option(
            "--mech",
            type=click.Choice(("ovs", "ovn")),
            default="ovs",
            show_default=True,
            envvar="MECH",
            help="Profile neutron: Open vSwitch with Neutron's agent, or OVN.",
        ),
        click.option(
            "--l3-agent/--no-l3-agent",
            default=False,
            envvar="L3_AGENT",
            help="Profile neutron: Neutron's own L3 and DHCP agents instead of Astara.",
        ),
        click.option(
            "--nodes",
            type=click.IntRange(min=1, max=2),
            default=1,
            show_default=True,
            envvar="NODES",
            help="Nodes, for routers that are pairs. Profile neutron: networks are VLANs then.",
        ),
        click.option(
            "--privsep-threads",
            type=click.IntRange(min=1),
            envvar="PRIVSEP_THREADS",
            help="Profile neutron: threads of the agents' privileged helpers. [default: one for each CPU]",
        ),
        click.option(
            "--api-processes",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            envvar="API_PROCESSES",
            help="Profile neutron: processes of Neutron's API.",
        ),
        click.option(
            "--direct-boot/--no-direct-boot",
            default=False,
            envvar="DIRECT_BOOT",
            help="Profile cloud: appliances by their kernel instead of the boot loader of their disk.",
        ),
        click.option(
            "--orchestrators",
            type=click.IntRange(min=1, max=9),
            default=1,
            show_default=True,
            envvar="ORCHESTRATORS",
            help="Profiles embedded and cluster: orchestrators that share the work.",
        ),
    )

    def with_variant(*, no_supervise: bool, **given: Any) -> Any:
        from astara_lab.profiles.astara import Variant

        chosen = {field.name: given.pop(field.name) for field in fields(Variant) if field.name in given}
        return command(variant=Variant(supervise=not no_supervise, **chosen), **given)

    return _with_parameters_of(command, with_variant, *options)


def _with_parameters_of(command: Callable[..., Any], wrapper: Callable[..., Any], *options: Any) -> Callable[..., Any]:
    """Makes `wrapper` look like `command` to click, with further options."""
    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    wrapper.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]  # click's own
    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


@lab.command()
@lab_options
@click.option("--fresh", is_flag=True, help="Purge what an earlier lab left in the directory first.")
@_variant
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
@_variant
def run(place: Lab, variant: Variant, command: tuple[str, ...], *, keep: bool) -> None:
    """Start a lab, run a command in it, take the lab down. However this ends, nothing stays."""
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
