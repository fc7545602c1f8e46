"""`python -m astara_lab.demo`, which is what `make demo` runs after installation."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from astara_lab.places import BODIES, Lab, find_lab

if TYPE_CHECKING:
    from astara_lab.variant import Variant

_DIRECTORY = ".lab/demo"
_INTERRUPTED = 130


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON; progress goes to standard error.")
@click.option("--keep/--down", default=True, show_default=True, help="Leave the lab running to look around.")
@click.option("--dir", "directory", default=_DIRECTORY, show_default=True, help="The lab's directory.")
@click.option("--body", type=click.Choice(BODIES), default="namespace", envvar="BODY", help="What instances run in.")
@click.option(
    "--image",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    envvar="ASTARA_IMAGE",
    help="Folder of the appliance's image, for containers and machines.",
)
@click.option("--ha", is_flag=True, envvar="HA", help="Two nodes, and a router that is a pair.")
def main(as_json: bool, keep: bool, directory: str, body: str, image: Path | None, ha: bool) -> None:
    """Show Astara at work: a small cloud, routers, tenant machines, packets, accidents. Needs root."""
    from astara_lab.pod import Pod, PodError
    from astara_lab.up import take_down
    from astara_lab.variant import Variant

    began = time.monotonic() - _age_s()
    lab = find_lab("embedded", directory)
    try:
        if take_down(lab, purge=True):
            click.echo("the demo that still ran here is ended; a new one begins", err=True)
            began = time.monotonic()
        Pod(lab).start()
    except (PodError, OSError) as error:
        raise click.ClickException(str(error)) from error
    status = _play_inside(lab, as_json, began, Variant(body=body, image=image, nodes=2 if ha else 1))
    if not keep:
        take_down(lab, purge=True)
    elif status:
        click.echo(
            f"the lab still runs for you to look at: logs in {_short(lab.log)}; end it with make demo-down", err=True
        )
    sys.exit(status)


def _play_inside(lab: Lab, as_json: bool, began: float, variant: Variant) -> int:
    """Play the story in a child that lives in the pod; returns its exit status."""
    from astara_lab.demo.story import play
    from astara_lab.pod import Pod

    child = os.fork()
    if not child:
        Pod(lab).enter()
        try:
            os._exit(play(lab, as_json, began, variant))
        except KeyboardInterrupt:
            sys.stderr.write("\ninterrupted; `make demo` starts afresh, `make demo-down` cleans up\n")
            os._exit(_INTERRUPTED)
    # The child hears Ctrl-C too, and decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) % 256


def _age_s() -> float:
    """Seconds since this process started, python's own start included."""
    started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_ticks / os.sysconf("SC_CLK_TCK")


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    main(prog_name="make demo")
