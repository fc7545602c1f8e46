"""The greeter section of a document: what the node agent gets."""

from __future__ import annotations

from astara.contract.codec import Wire


class GreeterSection(Wire, frozen=True):
    network_id: str
    greeting: str
