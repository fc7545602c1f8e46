"""Instances on paper: a JSON file each, in one directory per host. A host without a directory does not answer."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from astara.contract.agent import ApplyReport, Health, Outcome, PortAttachment, StateView
from astara.contract.codec import Wire, decode, digest, encode
from astara.contract.generation import Generation
from astara.model.boundaries import ProviderListing
from astara.model.errors import BadConfiguration, Gone, Retry, Stale, Terminal
from astara.model.resource import DesiredInstance, ObservedInstance, ResourceKey

_IDS = uuid.UUID("0f5f9f0e-6d0a-5a63-8a53-8b9d5a1b7c11")


class Sheet(Wire, frozen=True):
    """One instance. `generation` is the fence; the sheet of a deleted instance (`gone`) keeps it."""

    key: str
    slot: str
    generation: Generation
    created_at: float
    ports: tuple[PortAttachment, ...] = ()
    driver: str | None = None
    digest: str | None = None
    applied: Generation | None = None
    gone: bool = False


class PaperProvider:
    """Implements model.boundaries.InstanceProvider; `hosts` are names of directories below `directory`."""

    name = "paper"
    summary = "an example: instances that are JSON files"

    def __init__(self, directory: Path, hosts: tuple[str, ...]) -> None:
        self._directory = directory
        self._hosts = hosts
        self._turn = threading.Lock()  # workers call from many threads

    @classmethod
    def configured(cls, settings: Mapping[str, str]) -> PaperProvider:
        """Make it from the section [provider:paper] of astara.conf; raises BadConfiguration."""
        if "directory" not in settings:
            raise BadConfiguration("[provider:paper] directory is not set", "name an existing directory")
        return cls(Path(settings["directory"]), tuple(settings.get("hosts", "").replace(",", " ").split()))

    @property
    def capabilities(self) -> frozenset[str]:
        return frozenset({"hotplug", "console-log"})

    def list(self, key: ResourceKey | None = None) -> ProviderListing:
        silent = frozenset(host for host in self._hosts if not (self._directory / host).is_dir())
        found = []
        with self._turn:
            for host in sorted(set(self._hosts) - silent):
                for file in sorted((self._directory / host).glob("*.json")):
                    sheet = decode(file.read_bytes(), Sheet)
                    if not sheet.gone and key in (None, _key(sheet)):
                        found.append(_observed(host, file.stem, sheet))
        return ProviderListing(tuple(found), silent)

    def create(self, key: ResourceKey, wanted: DesiredInstance, generation: Generation) -> ObservedInstance:
        identifier = str(uuid.uuid5(_IDS, f"{key}/{wanted.slot}"))
        with self._turn:
            sheet = self._read(wanted.host, identifier, generation)
            if sheet is None or sheet.gone:
                sheet = Sheet(key=str(key), slot=wanted.slot, generation=generation, created_at=time.time())
            return self._write(wanted.host, identifier, replace(sheet, ports=wanted.ports, generation=generation))

    def delete(self, instance: ObservedInstance, generation: Generation) -> None:
        with self._turn:
            sheet = self._read(instance.host, instance.id, generation)
            if sheet is not None:
                self._write(instance.host, instance.id, replace(sheet, gone=True, generation=generation))

    def attach_port(self, instance: ObservedInstance, port: PortAttachment, generation: Generation) -> ObservedInstance:
        with self._turn:
            sheet = self._existing(instance, generation)
            others = tuple(one for one in sheet.ports if one.port_id != port.port_id)
            return self._write(instance.host, instance.id, replace(sheet, ports=(*others, port), generation=generation))

    def detach_port(self, instance: ObservedInstance, port_id: str, generation: Generation) -> ObservedInstance:
        with self._turn:
            sheet = self._existing(instance, generation)
            ports = tuple(one for one in sheet.ports if one.port_id != port_id)
            return self._write(instance.host, instance.id, replace(sheet, ports=ports, generation=generation))

    def push(self, instance: ObservedInstance, driver: str, section: Wire, generation: Generation) -> ApplyReport:
        made = digest(section)
        with self._turn:
            sheet = self._existing(instance, generation)
            if b'"bad"' in encode(section):
                raise Terminal("$.section.words: a bad word", "choose others")
            outcome = Outcome.UNCHANGED if sheet.digest == made else Outcome.APPLIED
            sheet = replace(sheet, driver=driver, digest=made, applied=generation, generation=generation)
            self._write(instance.host, instance.id, sheet)
        touched = ("paper",) if outcome is Outcome.APPLIED else ()
        return ApplyReport(outcome=outcome, digest=made, generation=generation, touched=touched)

    def console_log(self, instance: ObservedInstance) -> str:
        with self._turn:
            return f"configured by {self._existing(instance, None).driver or 'nobody yet'}\n"

    def _existing(self, instance: ObservedInstance, generation: Generation | None) -> Sheet:
        sheet = self._read(instance.host, instance.id, generation)
        if sheet is None or sheet.gone:
            raise Gone(f"instance {instance.id} does not exist")
        return sheet

    def _read(self, host: str, identifier: str, generation: Generation | None) -> Sheet | None:
        """Return the sheet, also of a deleted instance; raises Retry for a silent host, Stale for an older wish."""
        if not (self._directory / host).is_dir():
            raise Retry(f"host {host} does not answer", f"make the directory {self._directory / host}")
        try:
            sheet = decode((self._directory / host / f"{identifier}.json").read_bytes(), Sheet)
        except FileNotFoundError:
            return None
        if generation is not None and generation < sheet.generation:
            raise Stale(f"instance {identifier} has seen generation {sheet.generation}")
        return sheet

    def _write(self, host: str, identifier: str, sheet: Sheet) -> ObservedInstance:
        whole = self._directory / host / f"{identifier}.json"
        part = whole.with_suffix(".part")
        part.write_bytes(encode(sheet))
        part.replace(whole)
        return _observed(host, identifier, sheet)


def _key(sheet: Sheet) -> ResourceKey:
    driver, _, identifier = sheet.key.partition("/")
    return ResourceKey(driver, identifier)


def _observed(host: str, identifier: str, sheet: Sheet) -> ObservedInstance:
    health = Health.UNCONFIGURED if sheet.digest is None else Health.HEALTHY
    return ObservedInstance(
        id=identifier,
        slot=sheet.slot,
        provider=PaperProvider.name,
        host=host,
        ports=sheet.ports,
        state=StateView(health=health, generation=sheet.applied, driver=sheet.driver, digest=sheet.digest),
        created_at=sheet.created_at,
        key=_key(sheet),
    )
