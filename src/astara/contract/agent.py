"""What a node agent (many instances) and an appliance agent (one instance) say about themselves.

REST, JSON, HTTPS with mutual TLS. Paths of the node agent, version 1:

    GET    /v1/node                              NodeView
    GET    /v1/instances[?driver=D&id=I]         InstanceList          (bulk: one call for everything)
    PUT    /v1/instances/{instance}              InstanceSpec -> InstanceView      idempotent
    DELETE /v1/instances/{instance}              Fence -> 204                      absence is success
    PUT    /v1/instances/{instance}/ports/{port}     PortAttachment wrapped in AttachRequest -> InstanceView
    DELETE /v1/instances/{instance}/ports/{port}     Fence -> InstanceView
    PUT    /v1/instances/{instance}/cut-over     Fence -> InstanceView     its ports lead to it, whoever had them
    PUT    /v1/instances/{instance}/config       Document -> ApplyReport
    GET    /v1/instances/{instance}/connections  Connections (what it tracks)
    PUT    /v1/instances/{instance}/connections  Connections -> Restored   made known to it, beside its own
    GET    /v1/instances/{instance}/state        StateView (read back, never remembered)
    GET    /v1/instances/{instance}/console-log  text/plain
    GET    /v1/changes?since=N&wait_s=S          ChangeFeed (long poll)

Refusals are a Problem with HTTP 400, 404, 409 (older generation), 422 (names the field), 503 or 500.
"""

from __future__ import annotations

import enum

import msgspec

from astara.contract.codec import Wire
from astara.contract.generation import Generation


class Health(enum.StrEnum):
    """What read-back says about an instance."""

    HEALTHY = "healthy"  # everything wanted is there
    DEGRADED = "degraded"  # runs, but read-back differs from what was applied, and repair did not help (yet)
    UNCONFIGURED = "unconfigured"  # no document has been applied since it was created
    FAILED = "failed"  # the instance itself is broken: namespace gone, agent cannot enter it


class Role(enum.StrEnum):
    """Of one half of a pair: what its gate in the kernel says."""

    ACTIVE = "active"
    STANDBY = "standby"
    #: Standing by although it hears nobody: it sees the other half active on a tenant's network.
    YIELDING = "yielding"


#: Driver in the key of an instance that was made before anybody asked for it (docs/design/pool.md).
SPARE = "spare"


class Key(Wire, frozen=True):
    """The resource an instance belongs to."""

    driver: str
    id: str


class PortAttachment(Wire, frozen=True):
    """One network interface of an instance, and where it is plugged.

    `mac` is how the agent finds the interface afterwards; names are never trusted. `attach` names a
    layer-2 attachment kind (entry points `astara.attach`). `mtu` is in bytes. The last three are Neutron's
    provider attributes of the network, for kinds that must reach a physical network themselves.
    `nic`: the MAC address of the interface that carries it, where a cloud gave that one another than `mac`.
    """

    port_id: str
    mac: str
    network_id: str
    mtu: int = 1500
    attach: str = "bridge"
    network_type: str | None = None
    physical_network: str | None = None
    segmentation_id: int | None = None
    nic: str | None = None


class Fence(Wire, frozen=True):
    generation: Generation


class Body(Wire, frozen=True):
    """What an instance is made of (docs/design/bodies.md). `image` names one of the node's; None: its default."""

    kind: str = "namespace"
    image: str | None = None


class Credential(Wire, frozen=True):
    """What an instance shows and checks with: PEM texts. The key is a secret: it never comes back in any answer."""

    ca: str
    certificate: str
    key: str

    def __repr__(self) -> str:
        return "Credential(…)"


class InstanceSpec(Wire, frozen=True):
    """Create (or find) one instance. `labels` come back untouched in InstanceView.

    `credential` is for bodies with an agent of their own; an instance that has one keeps it until another comes. It is
    issued for the id the instance was made with: InstanceView.born_as of one that was adopted.
    `adopt` is the id of a spare that becomes this instance when there is none yet. It is spoken to first: 404 when it
    is not there, belongs to somebody, or does not answer. It is known by `id` from then on, and by its old id too.
    """

    id: str
    key: Key
    slot: str
    generation: Generation
    ports: tuple[PortAttachment, ...] = ()
    labels: dict[str, str] = {}
    body: Body = Body()
    credential: Credential | None = None
    adopt: str | None = None
    #: Made beside one that has its ports: interfaces inside, no network behind them until its cut-over.
    standby: bool = False


class AttachRequest(Wire, frozen=True):
    generation: Generation
    port: PortAttachment


class Deviation(Wire, frozen=True):
    """One thing read-back found to differ. `subsystem` is e.g. "nftables"; `detail` holds no secret."""

    subsystem: str
    detail: str


class StateView(Wire, frozen=True):
    """The applied state of one instance, answered from read-back."""

    health: Health
    generation: Generation | None = None
    driver: str | None = None
    digest: str | None = None
    deviations: tuple[Deviation, ...] = ()
    #: How many times the agent repaired this instance on its own since the agent started.
    repairs: int = 0
    last_error: str | None = None
    #: None for an instance that is not half of a pair, and from agents of earlier versions.
    role: Role | None = None


class InstanceView(Wire, frozen=True):
    id: str
    key: Key
    slot: str
    ports: tuple[PortAttachment, ...]
    state: StateView
    created_at: float  # seconds since the epoch
    labels: dict[str, str] = {}
    body: Body = Body()
    #: Digest of the image it runs, as the agent inside reports it; None for a namespace.
    image: str | None = None
    #: The id it was made with as a spare, which its namespace and its certificate keep; None for all others.
    born_as: str | None = None
    #: Another instance of this node has its ports.
    standby: bool = False


class InstanceList(Wire, frozen=True):
    instances: tuple[InstanceView, ...]
    #: The agent's change counter at the time of the answer, for GET /v1/changes.
    cursor: int = 0


class NodeView(Wire, frozen=True):
    name: str
    agent_version: str
    contracts: tuple[int, ...]
    attach_kinds: tuple[str, ...]
    drivers: tuple[str, ...]
    started_at: float
    instances: int
    #: Changes at every start of the agent.
    boot_id: str
    #: Kinds of body this node can make, with the images it has for each.
    bodies: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: {"namespace": ()})
    #: Digest of the image this agent was booted from; None on a node.
    image: str | None = None
    #: Digests of those images, by kind and name, as far as the node knows them without starting one.
    digests: dict[str, dict[str, str]] = {}


class Outcome(enum.StrEnum):
    APPLIED = "applied"
    UNCHANGED = "unchanged"


class ApplyReport(Wire, frozen=True):
    outcome: Outcome
    digest: str
    generation: Generation
    #: Names of the subsystems that were touched, in order.
    touched: tuple[str, ...] = ()
    duration_ms: float = 0.0


class Way(Wire, frozen=True):
    """One direction of a connection, as its packets say it."""

    source: str
    destination: str
    source_port: int
    destination_port: int


class TcpTracking(Wire, frozen=True):
    """What conntrack remembers of a TCP connection: TCP_CONNTRACK_* state, window scales, IP_CT_TCP_FLAG_* flags."""

    state: int
    scale_original: int
    scale_reply: int
    flags_original: int
    flags_reply: int


class Connection(Wire, frozen=True):
    """A tracked connection, translations included: `original` as its first packet came in, `reply` as answers do.

    `status` are the kernel's IPS_* bits. `protocol` is IP's: 6, 17, 33 or 132.
    """

    protocol: int
    original: Way
    reply: Way
    status: int
    timeout_s: int
    mark: int = 0
    zone: int = 0
    labels: bytes = b""
    tcp: TcpTracking | None = None


class Connections(Wire, frozen=True):
    connections: tuple[Connection, ...]


class Restored(Wire, frozen=True):
    """How many connections were not known before."""

    made: int


class ChangeFeed(Wire, frozen=True):
    """Instances whose state changed by themselves (died, healed, drifted) after cursor `since`."""

    cursor: int
    keys: tuple[Key, ...] = ()
    boot_id: str = ""


class Problem(Wire, frozen=True):
    """Every refusal. `field` is a path in the request body when the request is at fault."""

    #: One of: bad-request, not-found, stale-generation, invalid, refused-by-daemon, apply-failed, unavailable.
    error: str
    message: str
    field: str | None = None
    remedy: str | None = None
    deviations: tuple[Deviation, ...] = ()
