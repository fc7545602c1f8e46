"""What an operator may ask of a running orchestrator, and the answers: the boundary behind the admin REST API.

Answers are wire types, so that the REST API, `--json` and the tables show the same facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import structs

from astara.contract.agent import Deviation
from astara.contract.codec import Wire
from astara.model.resource import ResourceKey


class InstanceLine(Wire, frozen=True):
    id: str
    resource: str  # "router/UUID"
    slot: str
    provider: str
    host: str
    health: str  # Health, or "unreachable"
    digest: str | None
    generation: str | None
    ports: int
    created_at: float
    image: str | None = None  # the name it was made from; `provider` says in what body
    image_digest: str | None = None  # of the image it says it runs
    deviations: tuple[Deviation, ...] = ()
    repairs: int = 0
    last_error: str | None = None
    role: str | None = None  # of one half of a pair: "active", "standby" or "yielding"


class ResourceLine(Wire, frozen=True):
    """One resource: `phase` is derived from wish and world; `because` says why it is not settled, in words."""

    key: str
    name: str
    project_id: str
    phase: str
    host: str | None = None
    because: str = ""
    held: bool = False
    hold_reason: str = ""
    attempts: int = 0
    next_look_in_s: float | None = None
    last_reconciled_at: float | None = None
    settled_since: float | None = None


class ResourceDetail(Wire, frozen=True):
    resource: ResourceLine
    instances: tuple[InstanceLine, ...]
    plan: tuple[str, ...]  # the steps that would run now, in words
    body: str | None = None  # the body wished for; None while there is nothing to make
    body_chosen: bool = False  # by an operator; else its flavor or the configuration says
    image: str | None = None  # None: the body's default one


class HistoryLine(Wire, frozen=True):
    at: float
    reason: str  # what made us look: "port.update.end", "resync", "operator"
    phase: str
    steps: tuple[str, ...]
    outcome: (
        str  # "settled", "progress", "retry", "terminal", "held", "refused"; of an operator's act also "done", "failed"
    )
    detail: str = ""
    duration_ms: float = 0.0
    who: str = ""  # "orchestrator NAME", or the person: "uid 0 (root)"
    generation: str | None = None  # which every step carried
    undone: tuple[str, ...] = ()  # steps that were planned and did not get through


#: How `who` begins when it was no person.
ORCHESTRATOR = "orchestrator"


class AuditLine(HistoryLine, frozen=True):
    """A line of any resource's history, or of what concerned none: `resource` is "" then."""

    resource: str = ""

    def alone(self) -> HistoryLine:
        """Return it without the resource."""
        fields = structs.asdict(self)
        del fields["resource"]
        return HistoryLine(**fields)


class AuditQuery(Wire, frozen=True):
    """Which lines; all conditions together. `who` is a part of the name, `since` in seconds since the epoch."""

    resource: str | None = None  # "driver/id"
    who: str | None = None
    outcome: str | None = None
    since: float | None = None
    limit: int = 100  # the newest ones


class FeedLine(Wire, frozen=True):
    name: str
    connected: bool
    events: int
    unknown: int
    last_event_at: float | None = None


class NodeLine(Wire, frozen=True):
    name: str
    url: str
    reachable: bool
    agent_version: str | None = None
    instances: int | None = None
    error: str | None = None
    clock_ahead_s: float | None = None  # the node's clock against the orchestrator's
    certificate_expires_at: float | None = None
    #: Bodies it can make, with the images it has for each; None: not said.
    bodies: dict[str, tuple[str, ...]] | None = None
    #: Digests of those images, by kind and name, where they are known.
    digests: dict[str, dict[str, str]] = {}


class NodeDetail(Wire, frozen=True):
    """A node, and what is on its way from it. `left` and `homeless` are known to the orchestrator `kept_by` alone."""

    name: str
    reachable: bool
    silent_for_s: float = 0.0
    drained: str | None = None  # why an operator wants it empty
    given_up: bool = False  # silent for too long: what is there is placed elsewhere
    kept_by: str | None = None
    left: int | None = None  # instances to be placed elsewhere
    homeless: int | None = None  # of these, those for which there is no room
    images: tuple[str, ...] = ()  # "microvm astara sha256:ab12…"


class UpgradeRequest(Wire, frozen=True):
    """Make everything of a kind anew: from `image`, a name or digest, or, of `body`, from what its node has."""

    image: str | None = None
    body: str | None = None
    canary: str = "1"
    soak_s: float = 60.0
    deadline_s: float = 300.0


class UpgradeItemLine(Wire, frozen=True):
    resource: str
    hosts: tuple[str, ...]
    since: float


class UpgradeView(Wire, frozen=True):
    """How far an upgrade has come. `state`: running, paused, stopped (by itself, see `why`), aborted, done."""

    number: int
    kind: str
    image: str | None
    digest: str | None
    state: str
    why: str
    at: float
    collected: bool
    total: int
    waiting: int
    done: int
    in_work: tuple[UpgradeItemLine, ...] = ()
    canary: str = "1"
    watched_until: float | None = None  # the canary's probes
    back_of: int | None = None
    decided_by: str | None = None  # the orchestrator; None: nobody for the moment


class StatusSummary(Wire, frozen=True):
    version: str
    started_at: float
    term: int
    neutron: str  # "ok", or what is wrong
    feeds: tuple[FeedLine, ...]
    nodes: tuple[NodeLine, ...]
    phases: dict[str, int]
    resources: int
    instances: int
    queue: int
    working: int
    braked: bool
    brake_reason: str = ""
    last_resync_at: float | None = None
    records: str = "ok"  # or what is wrong with the database
    cluster: str = "alone"  # or how many share the work, and what is wrong with that


class CheckLine(Wire, frozen=True):
    """One line of `astara doctor`."""

    check: str
    ok: bool
    detail: str
    remedy: str = ""


class PluginLine(Wire, frozen=True):
    name: str
    enabled: bool
    description: str


class PoolLine(Wire, frozen=True):
    """Warm instances of one kind on one host. `nics`: 0 where ports are plugged later."""

    provider: str
    host: str
    image: str | None
    nics: int
    floor: int
    ceiling: int
    wanted: int  # between the two, by demand
    ready: int
    coming: int
    hits: int
    misses: int
    refill_s: float | None  # how long one takes, None: none was made yet
    state: str  # "ok", "refilling", "waiting" (for real work), "failing", "away" (the host), "unneeded"
    because: str = ""


class MemberLine(Wire, frozen=True):
    """One orchestrator. `share`: what part of all it can expect; `resources`: how many of those known here it has."""

    name: str
    incarnation: str  # begins with the milliseconds of its start
    weight: float
    share: float
    resources: int
    beats: bool
    me: bool


class MoveLine(Wire, frozen=True):
    """So many resources known here would go from one member to another."""

    giver: str
    taker: str
    resources: int


class ClusterView(Wire, frozen=True):
    """Who shares the work, as the asked one sees it. `coordination`: "alone", "ok", or what is wrong."""

    me: str
    epoch: int
    since: float | None
    why: str
    coordination: str
    records: str
    paused: bool  # it was stopped and has not looked again yet: it acts on nothing
    pauses: int
    known: int
    members: tuple[MemberLine, ...]
    moves: tuple[MoveLine, ...] = ()
    owner: str | None = None  # of the resource that was asked about


class Operator(Protocol):
    """Raises `model.errors.Gone` for a resource or instance nobody knows."""

    def status(self) -> StatusSummary: ...

    def resources(self) -> Sequence[ResourceLine]: ...

    def resource(self, key: ResourceKey) -> ResourceDetail: ...

    def history(self, key: ResourceKey) -> Sequence[HistoryLine]: ...

    def audit(self, query: AuditQuery) -> Sequence[AuditLine]:
        """Return what was done and by whom, oldest first; raises Retry when it cannot be read."""
        ...

    def instances(self) -> Sequence[InstanceLine]: ...

    def console_log(self, instance_id: str) -> str: ...

    def rebuild(self, key: ResourceKey) -> None:
        """Replace every instance of a resource; the ordinary reconcile makes the new ones."""
        ...

    def hold(self, key: ResourceKey, reason: str) -> None:
        """Take our hands off a resource until `release`; survives a restart."""
        ...

    def release(self, key: ResourceKey) -> None: ...

    def move(self, key: ResourceKey, body: str | None) -> None:
        """Run a resource in another body from now on; None: in the one its flavor or the configuration says.

        Raises Terminal, with what to do, for a body that cannot be had; survives a restart.
        """
        ...

    def release_brake(self) -> None: ...

    def resync(self, key: ResourceKey | None) -> int:
        """Look again at one resource, or at all; returns how many were queued."""
        ...

    def drivers(self) -> Sequence[PluginLine]: ...

    def providers(self) -> Sequence[PluginLine]: ...

    def cluster(self, without: str | None = None, of: ResourceKey | None = None) -> ClusterView:
        """Who shares the work; what would move without a member (Gone: it is none); whose a resource is."""
        ...

    def nodes(self) -> Sequence[NodeDetail]: ...

    def drain(self, host: str, reason: str) -> None:
        """Place nothing new on a node and move away what is there, in turns; survives a restart. Raises Gone."""
        ...

    def undrain(self, host: str) -> None:
        """Let it have new work again; nothing moves back by itself. Raises Gone."""
        ...

    def upgrade(self) -> UpgradeView:
        """Return the newest upgrade; raises Gone when there never was one."""
        ...

    def begin_upgrade(self, request: UpgradeRequest) -> UpgradeView:
        """Begin one, or return the one under way for the same; raises Terminal: unknown image, another is under way."""
        ...

    def pause_upgrade(self) -> UpgradeView: ...

    def resume_upgrade(self) -> UpgradeView: ...

    def abort_upgrade(self, *, back: bool) -> UpgradeView:
        """Begin no more; `back`: what was upgraded goes back, as an upgrade that is returned."""
        ...

    def doctor(self) -> Sequence[CheckLine]: ...

    def pool(self) -> Sequence[PoolLine]:
        """Return every shelf of warm instances as last seen."""
        ...
