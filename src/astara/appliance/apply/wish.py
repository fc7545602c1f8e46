"""A document judged and turned into what each subsystem will write."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from astara.appliance.boundaries import Appliance, Place, Subsystem
from astara.contract.codec import SUPPORTED_VERSIONS, ContractError, decode, encode
from astara.contract.document import Document


@dataclass(frozen=True, slots=True)
class Wish:
    """`rendered` maps subsystem name -> its rendered form; an absent name means: nothing of it here."""

    document: Document
    rendered: Mapping[str, Any]


class NoSuchDriver(ContractError):
    """The document is of a driver this agent does not have."""


def judge_envelope(document: Document, appliances: Mapping[str, Appliance]) -> Appliance:
    """Return the appliance side of the document's driver. Raises ContractError naming the field."""
    if document.contract not in SUPPORTED_VERSIONS:
        spoken = ", ".join(str(version) for version in sorted(SUPPORTED_VERSIONS))
        raise ContractError(
            "$.contract",
            f"version {document.contract} is not spoken here",
            f"speak one of: {spoken}; or upgrade this agent",
        )
    appliance = appliances.get(document.driver)
    if appliance is None:
        known = ", ".join(sorted(appliances)) or "none"
        raise NoSuchDriver("$.driver", "no such driver on this agent", f"use one of: {known}; or install it here")
    if not _digest_fits(document):
        raise ContractError("$.digest", "not the sha256 of the section", "digest the section's canonical JSON")
    return appliance


def wish_of(place: Place, document: Document, appliance: Appliance, subsystems: Sequence[Subsystem]) -> Wish:
    """Decode the section, ask the driver for configs and render them all. Touches nothing.

    Raises:
        ContractError: naming the field below `$.section`. SubsystemError(phase="check"): a config cannot be rendered.
    """
    try:
        section = decode(document.section, appliance.section_type)
        configs = appliance.configs(section)
    except ContractError as error:
        raise ContractError(_below_section(error.field), error.reason, error.remedy) from None
    known = {subsystem.name for subsystem in subsystems}
    strangers = sorted(set(configs) - known)
    if strangers:
        raise ContractError("$.driver", f"this agent lacks the subsystems {', '.join(strangers)}", "upgrade this agent")
    rendered = {
        subsystem.name: subsystem.render(place, configs[subsystem.name])
        for subsystem in subsystems
        if subsystem.name in configs
    }
    return Wish(document, rendered)


def _digest_fits(document: Document) -> bool:
    raw = bytes(document.section)
    if hashlib.sha256(raw).hexdigest() == document.digest:
        return True
    try:  # an equal section written with other spaces or another order of keys
        plain = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise ContractError("$.section", f"not valid JSON: {error}", "send one JSON object") from None
    return hashlib.sha256(encode(plain)).hexdigest() == document.digest


def _below_section(field: str) -> str:
    return field if field.startswith("$.section") else "$.section" + field.removeprefix("$")
