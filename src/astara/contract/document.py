"""The whole wish for one instance, as pushed to an appliance agent."""

from __future__ import annotations

import msgspec

from astara.contract.codec import CONTRACT_VERSION, Wire, encode
from astara.contract.codec import digest as digest_of
from astara.contract.generation import Generation


class Document(Wire, frozen=True):
    """PUT /v1/instances/{id}/config (node agent) or PUT /v1/config (an appliance of its own).

    `section` is the driver's own type (`drivers/<driver>/schema.py`), still encoded here, so that the
    envelope can be judged before its content. `digest` is the sha256 of the section's canonical JSON.
    """

    contract: int
    generation: Generation
    driver: str
    digest: str
    section: msgspec.Raw


def document(driver: str, generation: Generation, section: Wire) -> Document:
    """Wrap a driver's rendered section for the wire."""
    return Document(
        contract=CONTRACT_VERSION,
        generation=generation,
        driver=driver,
        digest=digest_of(section),
        section=msgspec.Raw(encode(section)),
    )
