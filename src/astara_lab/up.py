"""Bringing a lab up and taking it down, with progress on screen."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from astara_lab.control import Control
from astara_lab.places import POD_MARKER, Lab
from astara_lab.pod import Pod, PodError
from astara_lab.profiles.astara import Setting
from astara_lab.supervised import Request
from astara_lab.tasks import Progress, Task, run_all
from astara_lab.trust import establish
from astara_lab.variant import Variant
from astara_lab.waiting import NotInTime, until

#: Longer than the supervisor's own grace.
_SHUTDOWN_S = 6.0


def bring_up(lab: Lab, console: Console, variant: Variant | None = None) -> float:
    """Starts whatever of the lab does not run yet; returns the seconds it took. Call it inside the pod.

    Raises BringUpError with the end of the log of what did not start.
    """
    if not POD_MARKER.exists():
        raise PodError("the lab's services are started from inside its pod")
    begun = time.monotonic()
    setting = Setting(lab, Control(Pod(lab)), establish(lab), variant or Variant())
    plan = _plan(setting)
    with _shown(console, plan) as progress:
        run_all(plan, progress)
    return time.monotonic() - begun


def _plan(setting: Setting) -> list[Task]:
    profile = importlib.import_module(f"astara_lab.profiles.{setting.lab.profile}")
    plan: list[Task] = profile.plan(setting)
    return plan


@contextlib.contextmanager
def _shown(console: Console, plan: list[Task]) -> Iterator[Progress]:
    waiting = [task.name for task in plan]
    with console.status(_waiting(waiting)) as status:

        def done(name: str, seconds: float) -> None:
            waiting.remove(name)
            console.print(f"  [green]✓[/] {name:<16} {seconds:5.1f} s", highlight=False)
            status.update(_waiting(waiting))

        def failed(name: str, error: BaseException) -> None:
            console.print(f"  [red]✗[/] {name:<16} {str(error).splitlines()[0]}", highlight=False)

        yield Progress(done, failed)


def _waiting(names: list[str]) -> str:
    return f"starting {', '.join(names)}" if names else "started"


def take_down(lab: Lab, *, purge: bool) -> bool:
    """Lets the services end by themselves for a moment, then ends the pod. True when it ran."""
    pod = Pod(lab)
    ran = pod.identity() is not None
    with contextlib.suppress(PodError, OSError, NotInTime):
        Control(pod).ask(Request("shutdown"))
        until("the end of the services", lambda: pod.identity() is None, _SHUTDOWN_S)
    pod.stop()
    if purge:
        pod.purge()
    return ran


def log_files(lab: Lab) -> list[Path]:
    return sorted(lab.log.glob("*.log"))
