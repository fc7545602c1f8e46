"""What the node agent remembers of an instance, one directory each, so that a restart finds everything again.

<state_dir>/instances/<id>/instance.json    the record
<state_dir>/instances/<id>/credential.json  what a body with an agent of its own is born with; a secret
<state_dir>/instances/<id>/before.pem       certificates it had before, newest first: it may show one for a moment more
<state_dir>/instances/<id>/appliance/       Place.files: the engine's and the daemons' own
<state_dir>/instances/<id>/body/            the body's own: disks, sockets, its console log
<state_dir>/tombstones/<id>.json            the generation that deleted an instance, for a while
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import structlog

from astara.appliance.system import files
from astara.contract.agent import (
    SPARE,
    Body,
    Credential,
    InstanceSpec,
    InstanceView,
    Key,
    PortAttachment,
    StateView,
)
from astara.contract.codec import ContractError, Wire, decode, encode
from astara.contract.generation import Generation
from astara.contract.identity import leaves_in

_log = structlog.get_logger(__name__)
_RECORD = "instance.json"
_CREDENTIAL = "credential.json"
_BEFORE = "before.pem"
#: An orchestrator that asks again and again issues each time; one of these is what the instance still shows.
_MOST_BEFORE = 4
#: Daemons under accounts of their own must get through to their files; they cannot list what else is there.
_PASSABLE = 0o711
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_instance_id(text: str) -> bool:
    """Whether `text` may name an instance: it becomes part of paths and names."""
    return _ID.fullmatch(text) is not None


class Record(Wire, frozen=True):
    """The wish for one instance as last accepted. `key` and `slot` are metadata, never parsed out of a name.

    `id` is what it was made with, and names all that is its own. `known_as`: what it is asked for by once adopted.
    """

    id: str
    key: Key = msgspec.field(name="astara:key")
    slot: str = msgspec.field(name="astara:slot")
    generation: Generation
    ports: tuple[PortAttachment, ...]
    created_at: float
    labels: dict[str, str] = {}
    body: Body = Body()
    standby: bool = False
    known_as: str | None = msgspec.field(name="astara:known_as", default=None)

    @classmethod
    def of(cls, spec: InstanceSpec, created_at: float, body: Body | None = None, born_as: str | None = None) -> Record:
        """`body` is the one chosen, with its image named; the credential stays out of the record."""
        return cls(
            id=born_as or spec.id,
            known_as=spec.id if born_as not in (None, spec.id) else None,
            key=spec.key,
            slot=spec.slot,
            generation=spec.generation,
            ports=spec.ports,
            created_at=created_at,
            labels=spec.labels,
            body=body or spec.body,
            standby=spec.standby,
        )

    def spec(self, credential: Credential | None) -> InstanceSpec:
        """Return the wish as a body needs it."""
        return InstanceSpec(
            id=self.id,
            key=self.key,
            slot=self.slot,
            generation=self.generation,
            ports=self.ports,
            labels=self.labels,
            body=self.body,
            credential=credential,
        )

    @property
    def spare(self) -> bool:
        """Whether it waits for somebody to adopt it."""
        return self.key.driver == SPARE

    def view(self, state: StateView, image: str | None) -> InstanceView:
        """Return what is told of it; `image`: the digest of the one it runs."""
        return InstanceView(
            id=self.known_as or self.id,
            born_as=self.id if self.known_as is not None else None,
            key=self.key,
            slot=self.slot,
            ports=self.ports,
            state=state,
            created_at=self.created_at,
            labels=self.labels,
            body=self.body,
            standby=self.standby,
            image=image,
        )

    def port(self, port_id: str) -> PortAttachment | None:
        return next((port for port in self.ports if port.port_id == port_id), None)

    def leaving(self, to: Record) -> list[PortAttachment]:
        """Return the ports that are not the same, or not there, in `to`."""
        return [port for port in self.ports if to.port(port.port_id) != port]


class Tombstone(Wire, frozen=True):
    generation: Generation
    at: float  # seconds since the epoch


class Records:
    """The files. No lock: callers hold the instance's own. Methods raise OSError (a full disk among others)."""

    def __init__(self, state_dir: Path) -> None:
        self._instances = state_dir / "instances"
        self._tombstones = state_dir / "tombstones"
        files.ensure_directory(self._instances, _PASSABLE)
        files.ensure_directory(self._tombstones)

    def files_of(self, instance_id: str) -> Path:
        return self._instances / instance_id / "appliance"

    def body_files_of(self, instance_id: str) -> Path:
        return self._instances / instance_id / "body"

    def save(self, record: Record) -> None:
        """Write atomically; an equal record is left alone."""
        files.ensure_directory(self._instances / record.id, _PASSABLE)
        files.replace_if_different(self._instances / record.id / _RECORD, encode(record))

    def keep_credential(self, instance_id: str, credential: Credential) -> None:
        """Write it where only we can read it, beside the record."""
        files.ensure_directory(self._instances / instance_id, _PASSABLE)
        before = self.certificates(instance_id)[:_MOST_BEFORE]
        if before:
            files.replace_if_different(self._instances / instance_id / _BEFORE, "".join(before))
        files.replace_if_different(self._instances / instance_id / _CREDENTIAL, encode(credential))

    def credential(self, instance_id: str) -> Credential | None:
        """Return what was kept; None when there is none, or it is damaged: another will come."""
        content = files.read(self._instances / instance_id / _CREDENTIAL)
        if content is None:
            return None
        try:
            return decode(content, Credential)
        except ContractError as error:
            _log.error("credential.damaged", instance=instance_id, field=error.field)
            return None

    def certificates(self, instance_id: str) -> list[str]:
        """Return those an instance may show, each alone (PEM): of the credential it has, and of some before."""
        credential = self.credential(instance_id)
        before = files.read(self._instances / instance_id / _BEFORE) or b""
        own = leaves_in(credential.certificate)[:1] if credential is not None else []
        return list(dict.fromkeys((*own, *leaves_in(before.decode()))))

    def load(self) -> Iterator[Record]:
        """Yield every record; a damaged one is set aside with a log line, and counts as an orphan then."""
        for directory in sorted(self._instances.iterdir()):
            content = files.read(directory / _RECORD)
            if content is None or not is_instance_id(directory.name):
                continue
            try:
                yield decode(content, Record)
            except ContractError as error:
                _log.error("record.damaged", instance=directory.name, field=error.field, reason=error.reason)

    def directories(self) -> set[str]:
        """Return the ids of everything kept below instances/, damaged or half removed ones too."""
        return {path.name for path in self._instances.iterdir() if is_instance_id(path.name)}

    def remove(self, instance_id: str) -> None:
        """Forget the instance, the record first: what is left then is an orphan, cleared at the next start."""
        files.remove(self._instances / instance_id / _RECORD)
        files.remove_directory(self._instances / instance_id)

    def bury(self, instance_id: str, tombstone: Tombstone) -> None:
        files.replace(self._tombstones / f"{instance_id}.json", encode(tombstone))

    def tombstone(self, instance_id: str) -> Tombstone | None:
        content = files.read(self._tombstones / f"{instance_id}.json")
        if content is None:
            return None
        try:
            return decode(content, Tombstone)
        except ContractError:
            return None

    def exhume(self, *instance_ids: str) -> None:
        for instance_id in instance_ids:
            files.remove(self._tombstones / f"{instance_id}.json")

    def purge_tombstones(self, older_than: float) -> None:
        """Remove tombstones set before `older_than` (seconds since the epoch, the file's own time)."""
        for path in self._tombstones.iterdir():
            if path.stat().st_mtime < older_than:
                files.remove(path)
