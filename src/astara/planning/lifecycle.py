"""The lifecycle of every resource, declared: what each phase does under each wish, and its way on.

Nothing waits for ever: every row either acts (failures back off), or is looked at again after a named
time, or is settled. docs/design/lifecycle.md is generated from this table by `diagram`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

from astara.model.resource import Absent, DesiredState, PortNeeded, Present
from astara.planning.classify import Phase


class Wish(enum.StrEnum):
    PRESENT = "present"
    ABSENT = "absent"
    PORT_NEEDED = "port needed"


class Action(enum.StrEnum):
    """The step builders of `plan`."""

    NOTHING = "nothing"
    BUILD = "create, push"
    CONFIGURE = "attach, push, detach"
    REPLACE = "delete, create, push"
    CUT_OVER = "cut over"
    RENEW = "renew credential"
    REMOVE = "delete surplus"
    ASK_FOR_PORT = "ensure port"


class Shows(enum.StrEnum):
    """What Neutron is told before the steps run."""

    ACTIVE = "ACTIVE"
    DOWN = "DOWN"
    ERROR = "ERROR"  # never a row's own word: said when the tries of a row are used up
    KEEP = "as it is"


@dataclass(frozen=True, slots=True)
class Transition:
    """One row. Field names of Policy: `deadline` after which `then` replaces `does`; `look_again` when idle."""

    does: Action
    shows: Shows
    leads_to: Phase
    deadline: str | None = None
    then: Action | None = None
    look_again: str | None = None
    settled: bool = False


LIFECYCLE: Mapping[tuple[Wish, Phase], Transition] = MappingProxyType(
    {
        (Wish.PORT_NEEDED, Phase.PORTLESS): Transition(Action.ASK_FOR_PORT, Shows.KEEP, Phase.ABSENT),
        (Wish.PRESENT, Phase.WAITING): Transition(
            Action.NOTHING, Shows.DOWN, Phase.ABSENT, look_again="waiting_look_s"
        ),
        (Wish.PRESENT, Phase.ABSENT): Transition(Action.BUILD, Shows.DOWN, Phase.CONFIGURED),
        (Wish.PRESENT, Phase.SILENT): Transition(
            Action.NOTHING,
            Shows.KEEP,
            Phase.UNCONFIGURED,
            deadline="silent_deadline_s",
            then=Action.REPLACE,
            look_again="silent_look_s",
        ),
        (Wish.PRESENT, Phase.UNREACHABLE): Transition(
            Action.NOTHING, Shows.KEEP, Phase.OUTDATED, look_again="unreachable_look_s"
        ),
        (Wish.PRESENT, Phase.EXPIRING): Transition(
            Action.RENEW, Shows.KEEP, Phase.OUTDATED, look_again="silent_look_s"
        ),
        (Wish.PRESENT, Phase.UNCONFIGURED): Transition(Action.CONFIGURE, Shows.DOWN, Phase.CONFIGURED),
        (Wish.PRESENT, Phase.OUTDATED): Transition(Action.CONFIGURE, Shows.KEEP, Phase.CONFIGURED),
        (Wish.PRESENT, Phase.DEGRADED): Transition(
            Action.CONFIGURE, Shows.KEEP, Phase.CONFIGURED, deadline="degraded_deadline_s", then=Action.REPLACE
        ),
        (Wish.PRESENT, Phase.FAILED): Transition(Action.REPLACE, Shows.DOWN, Phase.CONFIGURED),
        (Wish.PRESENT, Phase.STANDBY): Transition(Action.CUT_OVER, Shows.KEEP, Phase.SURPLUS),
        (Wish.PRESENT, Phase.SURPLUS): Transition(Action.REMOVE, Shows.ACTIVE, Phase.CONFIGURED),
        (Wish.PRESENT, Phase.CONFIGURED): Transition(Action.NOTHING, Shows.ACTIVE, Phase.CONFIGURED, settled=True),
        (Wish.ABSENT, Phase.SURPLUS): Transition(Action.REMOVE, Shows.KEEP, Phase.GONE),
        (Wish.ABSENT, Phase.UNREACHABLE): Transition(
            Action.NOTHING, Shows.KEEP, Phase.SURPLUS, look_again="unreachable_look_s"
        ),
        (Wish.ABSENT, Phase.GONE): Transition(Action.NOTHING, Shows.KEEP, Phase.GONE, settled=True),
    }
)


def wish_of(desired: DesiredState) -> Wish:
    """Name the kind of wish."""
    match desired:
        case Present():
            return Wish.PRESENT
        case Absent():
            return Wish.ABSENT
        case PortNeeded():
            return Wish.PORT_NEEDED
        case _:
            assert_never(desired)
