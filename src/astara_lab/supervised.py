"""What the supervisor in the pod is asked and what it answers: JSON lines over the pod's control socket."""

from __future__ import annotations

import msgspec

#: A service that ends is started again after these many seconds, the last one for good ...
RESTART_DELAYS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
#: ... and counts as healthy again once it ran for this long.
STEADY_AFTER_S = 10.0


class Spec(msgspec.Struct, frozen=True):
    """One process to keep running. `log` is a file path; `restart` false leaves it dead once it ended.

    `whole_group`: what it left running when it ended goes too. Not so for the node agent, whose daemons carry the
    tenants' traffic and must outlive it (systemd's KillMode=process).
    """

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    log: str
    restart: bool = True
    whole_group: bool = True


class Request(msgspec.Struct, frozen=True):
    """`verb` is one of start (needs `spec`), stop, restart, kill (need `name`), status, shutdown."""

    verb: str
    name: str = ""
    spec: Spec | None = None


class State(msgspec.Struct, frozen=True):
    """How one service fares. `pid` is as seen in the pod; `ended` is the exit status of the last run."""

    name: str
    pid: int | None
    up_s: float
    restarts: int
    wanted: bool
    ended: int | None = None


class Reply(msgspec.Struct, frozen=True):
    services: tuple[State, ...] = ()
    error: str | None = None


def restart_delay_s(quick_failures: int) -> float:
    """Seconds to wait before the next start after this many failures in a row (1 or more)."""
    return RESTART_DELAYS_S[min(quick_failures, len(RESTART_DELAYS_S)) - 1]
