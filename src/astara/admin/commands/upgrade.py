"""`astara upgrade`: make everything anew from another image, in turns, and see how it goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from astara.admin.screen import console, facts, show, show_json, table
from astara.admin.session import EXIT_REFUSED, Session, json_option, pass_session
from astara.admin.words import ago, duration
from astara.model.operator import UpgradeRequest, UpgradeView

if TYPE_CHECKING:
    from rich.console import Group

_EVERY_S = 0.5
#: Nobody waits for what is in one of these.
_STANDING = frozenset({"done", "stopped", "aborted", "paused"})


def _watch_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--watch", is_flag=True, help="Show how it goes until it ends; exit code 1 unless it is done.")(
        command
    )


@click.group(invoke_without_command=True)
@click.option("--image", help="Name or digest of the image; `astara node list` shows which there are.")
@click.option("--body", help="Without --image: make all of this body anew from what its nodes have.")
@click.option("--canary", default="1", show_default=True, help="So many first, a number or 5%.")
@click.option("--soak", default=60.0, show_default=True, type=click.FloatRange(min=0.0), help="Watch them, seconds.")
@click.option(
    "--deadline", default=300.0, show_default=True, type=click.FloatRange(min=1.0), help="For each to be well, seconds."
)
@_watch_option
@json_option
@click.pass_context
def upgrade(
    context: click.Context, image: str | None, body: str | None, canary: str, soak: float, deadline: float, watch: bool
) -> None:
    """Make every resource anew from an IMAGE, in turns.

    A few first, whose probes are watched; of a pair the half that stands by first, a single router beside the one that
    serves. It stops by itself when what was upgraded gets worse. Asking twice for the same is asking once.
    """
    if context.invoked_subcommand is not None:
        if image is not None or body is not None:
            raise click.UsageError(
                f"{context.invoked_subcommand} is about the upgrade under way: leave out --image, --body"
            )
        return
    if image is None and body is None:
        raise click.UsageError("write --image IMAGE, or --body BODY; or one of: status, pause, resume, abort")
    session = context.ensure_object(Session)
    request = UpgradeRequest(image=image, body=body, canary=canary, soak_s=soak, deadline_s=deadline)
    _tell(session, session.operator().begin_upgrade(request), watch=watch)


@upgrade.command()
@_watch_option
@json_option
@pass_session
def status(session: Session, watch: bool) -> None:
    """Show how far the newest upgrade has come."""
    _tell(session, session.operator().upgrade(), watch=watch)


@upgrade.command()
@json_option
@pass_session
def pause(session: Session) -> None:
    """Begin nothing more for now; what is in work is finished."""
    _tell(session, session.operator().pause_upgrade())


@upgrade.command()
@json_option
@pass_session
def resume(session: Session) -> None:
    """Go on, also with one that stopped by itself, once what it stopped for is well or held."""
    _tell(session, session.operator().resume_upgrade())


@upgrade.command()
@click.option("--back", is_flag=True, help="What was upgraded goes back to the image it was made from, in turns too.")
@json_option
@pass_session
def abort(session: Session, back: bool) -> None:
    """End it for good; what is in work is finished."""
    _tell(session, session.operator().abort_upgrade(back=back))


def _tell(session: Session, view: UpgradeView, *, watch: bool = False) -> None:
    if watch:
        view = _watched(session, view)
    if session.as_json:
        show_json(view)
    elif not watch:
        show(_picture(view, time.time()))
    if watch and view.state != "done":
        raise click.exceptions.Exit(EXIT_REFUSED)


def _watched(session: Session, view: UpgradeView) -> UpgradeView:
    from rich.live import Live

    asked, wait = session.operator(), threading.Event()
    if session.as_json:
        while view.state not in _STANDING and not wait.wait(_EVERY_S):
            view = asked.upgrade()
        return view
    with Live(_picture(view, time.time()), console=console()) as live:
        while view.state not in _STANDING and not wait.wait(_EVERY_S):
            view = asked.upgrade()
            live.update(_picture(view, time.time()), refresh=True)
    return view


def _picture(view: UpgradeView, now: float) -> Group:
    from rich.console import Group

    share = f"{view.done} of {view.total}, {len(view.in_work)} in work, {view.waiting} waiting"
    rows = [
        ("upgrade", f"{view.number}: {_what(view)}, asked for {ago(now, view.at)}"),
        ("state", view.state + (f": {view.why}" if view.why else "")),
        ("resources", share if view.collected else "being looked for"),
        ("canary", view.canary + _watching(view, now)),
        ("decided by", view.decided_by or "nobody for the moment"),
    ]
    lines = ((one.resource, ", ".join(one.hosts), duration(now - one.since)) for one in view.in_work)
    return (
        Group(facts(rows), table(("in work", "nodes", "for"), lines, keep=("in work",)))
        if view.in_work
        else Group(facts(rows))
    )


def _what(view: UpgradeView) -> str:
    if view.back_of is not None:
        return f"{view.kind} back to what was before upgrade {view.back_of}"
    if view.image is None:
        return f"every {view.kind} made anew"
    return f"{view.kind} to {view.image}" + (f" ({view.digest})" if view.digest else "")


def _watching(view: UpgradeView, now: float) -> str:
    if view.watched_until is None or view.state != "running":
        return ""
    left_s = view.watched_until - now
    return f", watched for another {duration(left_s)}" if left_s > 0 else ", found well"
