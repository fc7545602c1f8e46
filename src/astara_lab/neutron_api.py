"""The few calls the lab itself makes to Neutron's REST API, without the weight of an SDK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from astara_lab.keystone import Token, token_of
from astara_lab.places import NEUTRON_URL, Lab

Record = dict[str, Any]


class NeutronRefused(LookupError):
    """Neutron said no, or does not know what was named; the message is Neutron's."""


@dataclass(frozen=True)
class NeutronApi:
    url: str = NEUTRON_URL
    timeout_s: float = 60.0
    token: Token | None = None  # without Keystone: none

    def _call(self, method: str, path: str, **rest: Any) -> Any:
        headers = {"X-Auth-Token": self.token()} if self.token else {}
        answer = httpx.request(
            method, f"{self.url}/v2.0/{path}", headers=headers, timeout=self.timeout_s, trust_env=False, **rest
        )
        if answer.is_error:
            raise NeutronRefused(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None

    def list(self, collection: str, **filters: str) -> list[Record]:
        records: list[Record] = self._call("GET", collection, params=filters)[collection]
        return records

    def find(self, collection: str, name_or_id: str) -> Record:
        """The one record of that id or name. Raises NeutronRefused when there is none, or more than one."""
        found = self.list(collection, id=name_or_id) or self.list(collection, name=name_or_id)
        if len(found) != 1:
            raise NeutronRefused(f"{len(found) or 'no'} {collection} called {name_or_id!r}")
        return found[0]

    def create(self, collection: str, body: Record) -> Record:
        return self.create_as(collection, collection.removesuffix("s"), body)

    def create_as(self, path: str, singular: str, body: Record) -> Record:
        """POST to a path whose member's name is not its own without the s."""
        record: Record = self._call("POST", path, json={singular: body})[singular]
        return record

    def delete(self, collection: str, identifier: str) -> None:
        """Absence is success."""
        try:
            self._call("DELETE", f"{collection}/{identifier}")
        except NeutronRefused as refused:
            if " 404 " not in str(refused):
                raise


def neutron_of(lab: Lab, timeout_s: float = 60.0) -> NeutronApi:
    """The lab's Neutron, as the administrator."""
    return NeutronApi(timeout_s=timeout_s, token=token_of(lab))
