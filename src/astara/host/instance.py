"""One instance: its namespace, its plugs, its body, its configuration. Every method takes the instance's own turn.

Longer than most for one reason: what must not happen at the same time is in one class with its lock. What needs no
turn is elsewhere: `plugs`, `last_look`, `records`, `surroundings`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import structlog
from msgspec.structs import replace

from astara.appliance.api import refusals
from astara.appliance.boundaries import Place
from astara.appliance.subsystems.gate import subsystem as gate
from astara.contract.agent import (
    SPARE,
    ApplyReport,
    Connection,
    Credential,
    Health,
    InstanceSpec,
    InstanceView,
    PortAttachment,
    StateView,
)
from astara.contract.document import Document
from astara.contract.generation import Generation
from astara.host.bodies.boundary import Birth, Body, BodyFailed, Tracking
from astara.host.bodies.choice import LostBody, chosen
from astara.host.connections import HandOver
from astara.host.last_look import LastLook
from astara.host.own_identity import judge
from astara.host.plugs import Plugs
from astara.host.records import Record, Tombstone
from astara.host.surroundings import Surroundings

_log = structlog.get_logger(__name__)


class Instance:
    """Lives as long as its record, or a request for it. `record` is None while there is no such instance."""

    def __init__(self, instance_id: str, surroundings: Surroundings, record: Record | None = None) -> None:
        self.id = instance_id
        self.record = record
        self._around = surroundings
        self.turn = threading.RLock()  #: keeps everybody else from this instance
        self._watched = False
        self._look = LastLook()
        self._plugs = Plugs(instance_id, surroundings.attachments, surroundings.dwellings)
        self._files = surroundings.records.body_files_of(instance_id)
        self.place = Place(instance_id, self._plugs.inside, surroundings.records.files_of(instance_id))

    # What orchestrators ask

    def put(self, spec: InstanceSpec) -> InstanceView:
        """Create the instance, or make its ports those of `spec`. Idempotent; refused as a whole or done."""
        with self._working():
            self._refuse_other(spec)
            self._fence(spec.generation, "put", spare=spec.key.driver == SPARE)
            self._plugs.check_kinds(spec.ports)
            before = self.record
            body = chosen(self._around.bodies, spec.body, before.body if before is not None else None)
            created = before.created_at if before is not None else self._around.wall()
            self._keep(spec.credential)
            wanted = Record.of(spec, created, body, born_as=self.id)
            # Who is there is plugged in or stands by as it is: only a cut-over changes that.
            self._become(wanted if before is None else replace(wanted, standby=before.standby))
            self._around.records.exhume(self.id, spec.id)
            if wanted.spare and before is None and self._around.rehearse is not None:
                self._around.rehearse()
            return self.view()

    def adopt(self, spec: InstanceSpec) -> InstanceView:
        """Give this spare to whom `spec` names; it is as it was when that is refused (404: take another)."""
        with self._working():
            spare = self.record
            if spare is None or not spare.spare:
                raise refusals.not_found(f"spare {self.id}", "take another, or create the instance")
            self._fence(spec.generation, "adopt", spare=False)
            self._plugs.check_kinds(spec.ports)
            body = chosen(self._around.bodies, spec.body, spare.body)
            if not self._whole(spare) or self._read_back().health is not Health.UNCONFIGURED:
                raise refusals.not_found(f"spare {self.id} that answers", "take another, or create the instance")
            self._keep(spec.credential)
            self._become(Record.of(spec, spare.created_at, body, born_as=self.id))
            self._around.records.exhume(self.id, spec.id)
            return self.view()

    def attach(self, port: PortAttachment, generation: Generation) -> InstanceView:
        with self._working():
            record = self._existing()
            self._fence(generation, "attach")
            self._plugs.check_kinds((port,))
            ports = record.ports
            if port not in ports:
                ports = (*(one for one in ports if one.port_id != port.port_id), port)
            self._become(replace(record, ports=ports, generation=generation))
            return self.view()

    def detach(self, port_id: str, generation: Generation) -> InstanceView:
        with self._working():
            record = self._existing()
            self._fence(generation, "detach")
            remaining = tuple(port for port in record.ports if port.port_id != port_id)
            self._become(replace(record, ports=remaining, generation=generation))
            return self.view()

    def configure(self, document: Document) -> ApplyReport:
        with self._working():
            record = self._existing()
            self._fence(document.generation, "configure")
            if not self._whole(record):
                self._build(record)
            self._look.doubt()
            report = self._body(record).engine.apply(self.place, document)
            self._look.take_applied(document, report)
            return report

    def rivals(self, others: Iterable[Instance]) -> list[Instance]:
        """Return those of `others` that have ports of this instance."""
        own = {port.port_id for port in self._existing().ports}
        records = [(one, one.record) for one in others if one is not self]
        return [one for one, record in records if record and own & {port.port_id for port in record.ports}]

    def take_over(self, generation: Generation, rivals: Sequence[Instance]) -> InstanceView:
        """Have the ports' networks lead here; `rivals` stand by then. The caller holds everybody's turn."""
        with self._working():
            record = self._existing()
            self._fence(generation, "cut-over")
            for rival in rivals:
                rival.refuse_older(generation)
            if not self._whole(record):
                self._build(record)
            own = self._tracking()
            hand_overs = [HandOver(rival._tracking(), own) for rival in rivals]
            for hand_over in hand_overs:
                hand_over()
            self._plugs.take_over(record.ports)
            for hand_over in hand_overs:
                hand_over()  # what began between the first look and the last link
            for rival in rivals:
                rival.note(generation, standby=True)
            self.note(generation, standby=False)
            return self.view()

    def note(self, generation: Generation, *, standby: bool) -> None:
        """Record whether it stands by; the links say so already."""
        record = replace(self._existing(), standby=standby, generation=generation)
        self._around.records.save(record)
        self.record = record
        self._look.doubt()

    def delete(self, generation: Generation) -> None:
        """Absence is success; the tombstone keeps a late create of an older owner out."""
        with self._working():
            self._fence(generation, "delete")
            tombstone = Tombstone(generation=generation, at=self._around.wall())
            if self.record is not None and self.record.known_as is not None:
                self._around.records.bury(self.record.known_as, tombstone)
            self._around.records.bury(self.id, tombstone)
            self._clear()

    def state(self) -> StateView:
        """Read back now."""
        with self.turn:
            self._existing()
            return self._read_back()

    def tracked(self) -> Sequence[Connection]:
        """The connections that cross it. Raises Refusal."""
        with self.turn:
            tracking, place = self._tracking()
            return tracking.tracked(place)

    def restore(self, connections: Sequence[Connection]) -> int:
        """Make connections of another known to it; returns how many were made. Raises Refusal."""
        with self.turn:
            tracking, place = self._tracking()
            return tracking.restore(place, connections)

    def view(self) -> InstanceView:
        """Read back now."""
        with self.turn:
            record = self._existing()
            return self._shown(record, self._read_back())

    def recent_view(self, within_s: float = 0.0) -> InstanceView | None:
        """Return the last read-back if nothing was heard of a change since, else read back now.

        Of half of a pair the gate is looked at all the same: no kernel tells that its lease has ended. `within_s`: how
        long that may take where it is a question to a machine; 0: not asked there. Who says nothing has no role: told
        as active by an old look, it would keep the other half's ports where it is.

        Whoever is busy with this instance is not waited for: then the last one has to do. None: no such instance.
        """
        if not self.turn.acquire(blocking=False):
            record = self.record
            return None if record is None else self._shown(record, self._while_busy())
        try:
            if self.record is None:
                return None
            return self._shown(self.record, self._recent(self.record, within_s) or self._read_back())
        finally:
            self.turn.release()

    # What the node itself does

    def doubt(self) -> None:
        """Something about this instance may have changed: the next look reads back."""
        self._look.doubt()

    def verify(self) -> bool:
        """Look at everything and mend what differs; return whether anything was found wrong.

        Raises what building and repairing raise; the caller decides when to come again.
        """
        with self.turn:
            if self.record is None:
                return False
            self._look.doubt()
            whole = self._whole(self.record)
            state = self._read_back() if whole else None
            if state is not None and state.health is Health.FAILED:
                raise BodyFailed(state.last_error or "it cannot be read back", "see its console log")
            if state is not None and state.health is not Health.DEGRADED:
                if not self._watched:
                    self._settle(self.record)
                return False
            with self._working():
                self._mend(self.record, whole)
            return True

    def failed(self, reason: str) -> None:
        """Remember why the last attempt to mend it failed, for StateView."""
        self._look.failed(reason)

    def clear_orphan(self) -> None:
        """Take away what is left of an instance without a record."""
        with self._working():
            self._clear()

    def console(self) -> bytes:
        """The last part of what its body wrote to its console; empty for a namespace."""
        record = self._existing()
        return self._body(record).console(self._files)

    @property
    def exists(self) -> bool:
        return self.record is not None

    def refuse_older(self, generation: Generation) -> None:
        """Raises Refusal (409) when somebody newer was here, also when they deleted it."""
        self._fence(generation, "look")

    @property
    def last_seen(self) -> StateView | None:
        """The last read-back, None when it may be outdated."""
        return self._look.fresh

    # How

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Take the turn and own the noise that is made meanwhile."""
        with self.turn:
            self._around.watch.working(self.place)
            try:
                yield
            finally:
                if self.record is None:
                    self._around.watch.forget(self.place)
                    self._watched = False
                else:
                    self._settle(self.record)

    def _settle(self, record: Record) -> None:
        pid = self._body(record).pid(self.id, self._files)
        self._around.watch.settled(self.place, frozenset(port.port_id for port in record.ports), pid)
        self._watched = True

    def _mend(self, record: Record, whole: bool) -> None:
        before = self._body(record).engine.state(self.place)
        _log.warning("instance.mending", instance=self.id, whole=whole, deviations=_told(before))
        after = self._repaired(record, whole)
        if after.health is not Health.HEALTHY and whole and not self._whole(record):
            whole, after = False, self._repaired(record, whole=False)  # a link went while we looked
        self._look.mended(rebuilt=not whole and after.repairs == before.repairs)
        after = self._read_back()
        if after.health in (Health.DEGRADED, Health.FAILED):
            reason = after.last_error
            _log.error("instance.still_ill", instance=self.id, deviations=_told(after), reason=reason)

    def _repaired(self, record: Record, whole: bool) -> StateView:
        if not whole:
            self._build(record)
        return self._body(record).engine.repair(self.place)

    def _body(self, record: Record) -> Body:
        return self._around.bodies.get(record.body.kind) or LostBody(record.body.kind)

    def _birth(self, record: Record) -> Birth:
        return Birth(record.spec(self._credential(record)), self.place, self._files)

    def _credential(self, record: Record) -> Credential | None:
        """A namespace has none: its files are not looked for each time."""
        return self._around.records.credential(self.id) if record.body.kind != "namespace" else None

    def _tracking(self) -> tuple[Tracking, Place]:
        return self._body(self._existing()).tracking, self.place

    def _keep(self, credential: Credential | None) -> None:
        if credential is None:
            return
        if self._around.own is not None:
            judge(credential)
            self._around.own.take(credential)
        else:
            self._around.records.keep_credential(self.id, credential)

    def _whole(self, record: Record) -> bool:
        return self._plugs.whole(record.ports, standby=record.standby) and self._body(record).whole(self._birth(record))

    def _build(self, record: Record) -> None:
        self._plugs.build(record.ports, standby=record.standby)
        self._body(record).ensure(self._birth(record))

    def _existing(self) -> Record:
        if self.record is None:
            raise refusals.not_found(f"instance {self.id}", "create it first")
        return self.record

    def _refuse_other(self, spec: InstanceSpec) -> None:
        record = self.record
        if record is None or (record.spare and self._around.solitary):
            return  # inside a body, who adopts its instance is not for this agent to judge
        if (record.key, record.slot) != (spec.key, spec.slot):
            owner = f"{record.key.driver}/{record.key.id} slot {record.slot}"
            raise refusals.invalid("$.key", f"the instance exists and belongs to {owner}", "use another id")

    def _fence(self, generation: Generation, act: str, *, spare: bool | None = None) -> None:
        """Refuse what is older than what is recorded here, or than the node has heard of. A spare is nobody's yet.

        Either is logged, under the instance's turn: the lines of one instance stand in the order in which it happened.
        """
        if spare is None:
            spare = self.record is not None and self.record.spare
        said = _log.bind(instance=self.id, act=act, generation=str(generation), spare=spare)
        try:
            if not spare:
                self._around.floor.refuse_older(generation)
            newest = self._newest()
            if newest is not None and generation < newest:
                raise refusals.stale(generation, newest)
        except refusals.Refusal:
            said.info("act.refused")
            raise
        said.info("act.let-in")

    def _newest(self) -> Generation | None:
        known = []
        if self.record is not None:
            known.append(self.record.generation)
            if not self._look.looked:
                self._read_back()
            known.extend([self._look.applied] if self._look.applied is not None else [])
        tombstone = self._around.records.tombstone(self.id)
        known.extend([tombstone.generation] if tombstone is not None else [])
        return max(known, default=None)

    def _become(self, wanted: Record) -> None:
        """Make the ports those of `wanted`; put the old ones back when that is refused."""
        before = self.record
        self._around.records.save(wanted)
        self.record = wanted
        self._look.doubt()
        try:
            if before is not None:
                self._plugs.unplug(before.leaving(wanted), standby=before.standby)
            self._build(wanted)
        except Exception:  # whatever it was: half of a change is what nobody asked for
            self._back_to(before, wanted)
            raise

    def _back_to(self, before: Record | None, wanted: Record) -> None:
        try:
            if before is None:
                self._clear()
                return
            self._plugs.unplug(wanted.leaving(before), standby=before.standby)
            self._around.records.save(before)
            self.record = before
            self._build(before)
        except Exception as error:  # noqa: BLE001  # the refusal itself is reported; the sweep finishes this
            _log.warning("instance.undo_failed", instance=self.id, reason=str(error))

    def _clear(self) -> None:
        self._around.watch.forget(self.place)
        for body in [self._body(self.record)] if self.record is not None else self._around.bodies.values():
            body.engine.remove(self.place)
            body.end(self.id, self._files)
        if self.record is not None:
            self._plugs.unplug(self.record.ports, standby=self.record.standby)
        self._around.dwellings.remove(self.id)
        self._around.records.remove(self.id)
        self.record = None
        self._look.forget()

    def _recent(self, record: Record, within_s: float) -> StateView | None:
        fresh = self._look.fresh
        if fresh is None or fresh.driver is None:
            return fresh
        role = self._body(record).engine.role(self.place, within_s if fresh.role is not None else 0.0)
        if role is not None:
            return self._look.now(role)
        return replace(fresh, role=None) if within_s > 0 else fresh

    def _while_busy(self) -> StateView:
        """Return the last look, with who it is now: what is being mended was active, and is not any more."""
        state = self._look.fresh or self._look.last or _BUSY
        return state if state.role is None else replace(state, role=gate.role_in(self.place.netns))

    def _read_back(self) -> StateView:
        return self._look.take(self._body(self._existing()).engine.state(self.place))

    def _shown(self, record: Record, state: StateView) -> InstanceView:
        return record.view(state, self._body(record).image_of(self.id))


_BUSY = StateView(health=Health.UNCONFIGURED, last_error="busy: being worked on right now")


def _told(state: StateView) -> list[str]:
    return [f"{one.subsystem}: {one.detail}" for one in state.deviations[:5]]
