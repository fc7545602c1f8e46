"""An orchestrator reduced to its operator's side: two routers, one instance, every action remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from astara.contract.agent import Deviation
from astara.model.errors import Gone, Terminal
from astara.model.operator import (
    AuditLine,
    AuditQuery,
    CheckLine,
    ClusterView,
    FeedLine,
    HistoryLine,
    InstanceLine,
    MemberLine,
    MoveLine,
    NodeDetail,
    NodeLine,
    PluginLine,
    PoolLine,
    ResourceDetail,
    ResourceLine,
    StatusSummary,
    UpgradeItemLine,
    UpgradeRequest,
    UpgradeView,
)
from astara.model.resource import ResourceKey

BLUE = ResourceKey("router", "11111111-aaaa-4000-8000-000000000001")
GREEN = ResourceKey("router", "22222222-bbbb-4000-8000-000000000002")
NODES = ("node-1", "node-2")
INSTANCE = "99999999-cccc-4000-8000-000000000009"


def _resources() -> dict[ResourceKey, ResourceLine]:
    return {
        BLUE: ResourceLine(
            key=str(BLUE), name="blue", project_id="p1", phase="settled", host="node-1", settled_since=1000.0
        ),
        GREEN: ResourceLine(key=str(GREEN), name="green", project_id="p2", phase="creating", because="no node yet"),
    }


@dataclass
class FakeOperator:
    """Implements model.operator.Operator in memory. `fails` is raised by every method when set."""

    lines: dict[ResourceKey, ResourceLine] = field(default_factory=_resources)
    rebuilt: list[ResourceKey] = field(default_factory=list)
    moved: list[tuple[ResourceKey, str | None]] = field(default_factory=list)
    resynced: list[ResourceKey | None] = field(default_factory=list)
    asked: list[AuditQuery] = field(default_factory=list)
    braked: bool = True
    checks: list[CheckLine] = field(default_factory=lambda: [CheckLine(check="neutron", ok=True, detail="answers")])
    drained: dict[str, str] = field(default_factory=dict)
    upgraded: UpgradeView | None = None
    fails: Exception | None = None

    def status(self) -> StatusSummary:
        self._fail()
        return StatusSummary(
            version="0.1.0",
            started_at=1000.0,
            term=7,
            neutron="ok",
            feeds=(FeedLine(name="http", connected=True, events=12, unknown=1, last_event_at=1001.0),),
            nodes=(
                NodeLine(
                    name="node-1", url="https://127.0.0.1:19801", reachable=True, agent_version="0.1.0", instances=1
                ),
                NodeLine(name="node-2", url="https://127.0.0.1:19802", reachable=False, error="connection refused"),
            ),
            phases={"settled": 1, "creating": 1},
            resources=len(self.lines),
            instances=1,
            queue=3,
            working=2,
            braked=self.braked,
            brake_reason="9 of 10 instances seem dead",
        )

    def resources(self) -> Sequence[ResourceLine]:
        self._fail()
        return list(self.lines.values())

    def resource(self, key: ResourceKey) -> ResourceDetail:
        instances = tuple(line for line in self.instances() if line.resource == str(key))
        return ResourceDetail(
            resource=self._line(key),
            instances=instances,
            plan=("create instance main",),
            body="container",
            body_chosen=True,
            image="frr",
        )

    def history(self, key: ResourceKey) -> Sequence[HistoryLine]:
        self._line(key)
        return [
            HistoryLine(at=1000.0 + n, reason="port.update.end", phase="settled", steps=(), outcome="settled")
            for n in range(30)
        ]

    def audit(self, query: AuditQuery) -> Sequence[AuditLine]:
        self._fail()
        self.asked.append(query)
        return [
            AuditLine(
                at=1000.0,
                reason="operator",
                phase="",
                steps=("hold: change 4711",),
                outcome="done",
                who="uid 0 (root), login 1000 (ann)",
                resource=str(BLUE),
            ),
            AuditLine(
                at=1001.0,
                reason="port.update.end",
                phase="outdated",
                steps=(),
                undone=("push configuration to main",),
                outcome="retry",
                detail="busy",
                who="orchestrator one",
                generation="7.42",
                resource=str(GREEN),
            ),
        ]

    def instances(self) -> Sequence[InstanceLine]:
        self._fail()
        return [
            InstanceLine(
                id=INSTANCE,
                resource=str(BLUE),
                slot="main",
                provider="namespace",
                host="node-1",
                health="degraded",
                digest="d1",
                generation="7.42",
                ports=2,
                created_at=1000.0,
                image="frr",
                image_digest="sha256:0123456789abcdef",
                deviations=(Deviation(subsystem="nftables", detail="set floating lacks 1 element"),),
                repairs=3,
            )
        ]

    def console_log(self, instance_id: str) -> str:
        self._fail()
        if instance_id != INSTANCE:
            raise Gone(f"no instance {instance_id}")
        return "dnsmasq started\n[red]not markup[/red]\n"

    def rebuild(self, key: ResourceKey) -> None:
        self._line(key)
        self.rebuilt.append(key)

    def hold(self, key: ResourceKey, reason: str) -> None:
        self.lines[key] = msgspec.structs.replace(self._line(key), held=True, hold_reason=reason)

    def release(self, key: ResourceKey) -> None:
        self.lines[key] = msgspec.structs.replace(self._line(key), held=False, hold_reason="")

    def move(self, key: ResourceKey, body: str | None) -> None:
        self._line(key)
        if body == "zeppelin":
            raise Terminal("body 'zeppelin' is not known", "choose one of: container, namespace")
        self.moved.append((key, body))

    def release_brake(self) -> None:
        self._fail()
        self.braked = False

    def resync(self, key: ResourceKey | None) -> int:
        if key is not None:
            self._line(key)
        self.resynced.append(key)
        return len(self.lines) if key is None else 1

    def drivers(self) -> Sequence[PluginLine]:
        self._fail()
        return [PluginLine(name="router", enabled=True, description="IPv4 and IPv6 routing")]

    def providers(self) -> Sequence[PluginLine]:
        self._fail()
        return [PluginLine(name="namespace", enabled=True, description="network namespaces")]

    def nodes(self) -> Sequence[NodeDetail]:
        self._fail()
        return [
            NodeDetail(
                name=name,
                reachable=True,
                drained=self.drained.get(name),
                kept_by="a",
                left=2 if name in self.drained else 0,
                homeless=1 if name in self.drained else 0,
                images=("microvm astara sha256:0123456789abcdef",),
            )
            for name in NODES
        ]

    def drain(self, host: str, reason: str) -> None:
        self._known(host)
        self.drained[host] = reason

    def undrain(self, host: str) -> None:
        self._known(host)
        self.drained.pop(host, None)

    def _known(self, host: str) -> None:
        self._fail()
        if host not in NODES:
            raise Gone(f"no node {host!r}", f"there are: {', '.join(NODES)}")

    def upgrade(self) -> UpgradeView:
        self._fail()
        if self.upgraded is None:
            raise Gone("nothing was ever upgraded here", "see `astara upgrade --help`")
        return self.upgraded

    def begin_upgrade(self, request: UpgradeRequest) -> UpgradeView:
        self._fail()
        if request.image not in (None, "astara"):
            raise Terminal(f"no node that answers has an image {request.image!r}", "they have: node-1: microvm astara")
        self.upgraded = UpgradeView(
            number=1,
            kind=request.body or "microvm",
            image=request.image,
            digest=None,
            state="running",
            why="",
            at=1000.0,
            collected=True,
            total=2,
            waiting=1,
            done=0,
            in_work=(UpgradeItemLine(resource=str(BLUE), hosts=("node-1",), since=1001.0),),
            canary=request.canary,
        )
        return self.upgraded

    def pause_upgrade(self) -> UpgradeView:
        return self._say("paused")

    def resume_upgrade(self) -> UpgradeView:
        return self._say("running")

    def abort_upgrade(self, *, back: bool) -> UpgradeView:
        if back and self.upgrade().image is None:
            raise Terminal("upgrade 1 cannot be taken back: microvm has no images")
        return self._say("aborted")

    def _say(self, state: str) -> UpgradeView:
        self.upgraded = msgspec.structs.replace(self.upgrade(), state=state)
        return self.upgraded

    def doctor(self) -> Sequence[CheckLine]:
        self._fail()
        return list(self.checks)

    def cluster(self, without: str | None = None, of: ResourceKey | None = None) -> ClusterView:
        self._fail()
        if without not in (None, "a", "b c"):
            raise Gone(f"{without} is no member", "`astara cluster` lists them")
        member = {"incarnation": "0000000001000-abcdef01", "weight": 1.0, "share": 0.5, "resources": 1, "beats": True}
        return ClusterView(
            me="a",
            epoch=7,
            since=1000.0,
            why="b c came",
            coordination="the coordinator does not answer",
            records="ok",
            paused=False,
            pauses=0,
            known=2,
            members=(MemberLine(name="a", me=True, **member), MemberLine(name="b c", me=False, **member)),
            moves=() if without is None else (MoveLine(giver=without, taker="a", resources=1),),
            owner=None if of is None else "b c",
        )

    def pool(self) -> Sequence[PoolLine]:
        self._fail()
        return [
            PoolLine(
                provider="microvm",
                host="node-1",
                image=None,
                nics=0,
                floor=1,
                ceiling=4,
                wanted=2,
                ready=1,
                coming=0,
                hits=12,
                misses=3,
                refill_s=1.25,
                state="failing",
                because="node node-1: the node's disk is full; tried 3 times, again in 4 s",
            )
        ]

    def _fail(self) -> None:
        if self.fails is not None:
            raise self.fails

    def _line(self, key: ResourceKey) -> ResourceLine:
        self._fail()
        if key not in self.lines:
            raise Gone(f"no resource {key}", "see `astara resource list`")
        return self.lines[key]
