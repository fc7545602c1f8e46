"""What operators say and ask of upgrades and of nodes that shall be left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import structs

from astara.model.errors import Gone, Retry, Terminal
from astara.model.operator import CheckLine, NodeDetail, NodeLine, UpgradeItemLine, UpgradeRequest, UpgradeView
from astara.model.resource import ResourceKey
from astara.model.upgrade import Stage, State, Upgrade, UpgradeWish
from astara.planning.images import NodeImages, meant
from astara.planning.rollout import canary_size
from astara.reconcile.engine import Engine
from astara.reconcile.evacuation import NODE, NODES, Evacuation
from astara.reconcile.upgrading import UPGRADE

_BODY_REMEDY = "write --image IMAGE, or --body BODY to make all of a kind anew from what their nodes have"


class Rolling:
    """Half of model.operator.Operator. `nodes`: as last seen; `owner`: whose a key is; `said`: look after it now."""

    def __init__(
        self,
        engine: Engine,
        evacuation: Evacuation,
        nodes: Callable[[], Sequence[NodeLine]],
        owner: Callable[[ResourceKey], str | None],
        who: str,
        said: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._evacuation = evacuation
        self._nodes = nodes
        self._owner = owner
        self._who = who
        self._said = said

    # Nodes

    @property
    def node_brake(self) -> str:
        """Why no node is given up although some are silent for long enough; empty when none is.

        Only who keeps the nodes gives one up, so it is he who has to be told better.
        """
        reason, keeper = self._evacuation.brake, self._owner(NODES)
        if not reason or self._engine.share.ownership.owns(NODES):
            return reason
        return f"{reason} at orchestrator {keeper}, which keeps the nodes" if keeper else reason

    def checks(self) -> Iterator[CheckLine]:
        """What doctor says: a brake, nodes that are emptied or given up, an upgrade that stopped by itself."""
        if self.node_brake:
            yield CheckLine(check="node brake", ok=False, detail=self.node_brake, remedy="see the network between")
        for line in self.nodes():
            if line.drained is not None or line.given_up:
                room = f", no room elsewhere for {line.homeless}" if line.homeless else ""
                what = f"drained: {line.drained}" if line.drained is not None else "given up, it does not answer"
                yield CheckLine(check=f"node {line.name} is left", ok=not line.homeless, detail=what + room)
        try:
            upgrade = self._engine.upgrades.newest()
        except Retry:
            return  # the records have a line of their own
        if upgrade is not None and upgrade.state is State.STOPPED:
            remedy = "mend it and `astara upgrade resume`, or `astara upgrade abort [--back]`"
            yield CheckLine(check=f"upgrade {upgrade.number}", ok=False, detail=upgrade.why, remedy=remedy)

    def release_brake(self) -> None:
        """The nodes that are silent now are really dead."""
        self._evacuation.release()
        self._said()

    def nodes(self) -> Sequence[NodeDetail]:
        """Say of each node how it stands."""
        drained, keeper = self._evacuation.drained(), self._owner(NODES)
        mine = self._engine.share.ownership.owns(NODES)
        dead = self._evacuation.verdict.dead
        left, homeless = self._evacuation.left(), self._evacuation.homeless()
        silent = self._evacuation.silent()
        return [
            NodeDetail(
                name=line.name,
                reachable=line.reachable,
                silent_for_s=round(silent.get(line.name, 0.0), 1),
                drained=drained.get(line.name),
                given_up=line.name in dead,
                kept_by=keeper,
                left=left[line.name] if mine else None,
                homeless=homeless[line.name] if mine else None,
                images=_images(line).words(),
            )
            for line in self._nodes()
        ]

    def drain(self, host: str, reason: str) -> None:
        """Place nothing new there, and move away what is; raises Gone, Retry."""
        self._must_be_known(host)
        self._engine.holds.hold(ResourceKey(NODE, host), reason)
        self._said()

    def undrain(self, host: str) -> None:
        """Let it have new work again; raises Gone, Retry."""
        if host not in self._evacuation.drained():
            self._must_be_known(host)
        self._engine.holds.release(ResourceKey(NODE, host))
        self._said()

    def _must_be_known(self, host: str) -> None:
        names = sorted(line.name for line in self._nodes())
        if host not in names:
            raise Gone(f"no node {host!r}", f"there are: {', '.join(names) or 'none'}; see `astara node list`")

    # Upgrades

    def upgrade(self) -> UpgradeView:
        """Return the newest one; raises Gone, Retry."""
        upgrade = self._engine.upgrades.newest()
        if upgrade is None:
            raise Gone("nothing was ever upgraded here", "see `astara upgrade --help`")
        return self._view(upgrade)

    def begin_upgrade(self, request: UpgradeRequest) -> UpgradeView:
        """Begin one; raises Terminal, Retry."""
        try:
            canary_size(request.canary, 1)
        except ValueError as error:
            raise Terminal(f"canary: {error}", "for example --canary 5%") from None
        begun = self._engine.upgrades.begin(self._wish(request), self._who)
        self._said()
        return self._view(begun)

    def pause_upgrade(self) -> UpgradeView:
        """Begin nothing more for now; raises Gone, Retry."""
        return self._view(self._engine.upgrades.say(State.PAUSED, "an operator paused it"))

    def resume_upgrade(self) -> UpgradeView:
        """Go on, also with one that stopped by itself; raises Gone, Retry."""
        resumed = self._engine.upgrades.say(State.RUNNING, "")
        self._said()
        return self._view(resumed)

    def abort_upgrade(self, *, back: bool) -> UpgradeView:
        """End it for good; raises Gone, Terminal, Retry."""
        ended = self._engine.upgrades.abort(self._who, back=back)
        self._said()
        return self._view(ended)

    def _wish(self, request: UpgradeRequest) -> UpgradeWish:
        wish = UpgradeWish(
            kind=request.body or "", canary=request.canary, soak_s=request.soak_s, deadline_s=request.deadline_s
        )
        if request.image is not None:
            images = [_images(line) for line in self._nodes() if line.reachable]
            target = meant(request.image, request.body, images)
            return structs.replace(wish, kind=target.kind, image=target.name, digest=target.digest)
        kinds = sorted({kind for line in self._nodes() for kind in line.bodies or ()})
        if request.body is None:
            raise Terminal("what shall be upgraded?", _BODY_REMEDY)
        if request.body not in kinds:
            raise Terminal(f"no node makes a {request.body!r}", f"choose one of: {', '.join(kinds) or 'none'}")
        return wish

    def _view(self, upgrade: Upgrade) -> UpgradeView:
        items = self._engine.upgrades.items(upgrade.number)
        working = [item for item in items if item.stage is Stage.WORK]
        return UpgradeView(
            number=upgrade.number,
            kind=upgrade.wish.kind,
            image=upgrade.wish.image,
            digest=upgrade.wish.digest,
            state=upgrade.state.value,
            why=upgrade.why,
            at=upgrade.at,
            collected=upgrade.collected,
            total=len(items),
            waiting=sum(item.stage is Stage.WAITING for item in items),
            done=sum(item.stage is Stage.DONE for item in items),
            in_work=tuple(
                UpgradeItemLine(resource=str(item.key), hosts=tuple(sorted(item.hosts)), since=item.since)
                for item in working
            ),
            canary=upgrade.wish.canary,
            watched_until=upgrade.soaked_at,
            back_of=upgrade.wish.back_of,
            decided_by=self._owner(UPGRADE),
        )


def _images(line: NodeLine) -> NodeImages:
    return NodeImages(line.name, line.bodies or {}, line.digests)
