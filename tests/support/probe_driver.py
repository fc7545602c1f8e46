"""The probe driver as a package of its own, for agents inside bodies: what `node_agent.ProbeAppliance` is in a test."""

from __future__ import annotations

from pathlib import Path

from support.packages import lay_out

_CODE = """
from astara.contract.codec import ContractError, Wire


class Section(Wire, frozen=True):
    words: str = "hello"


class Made:
    name = "probe"
    section_type = Section

    def configs(self, section):
        if section.words == "bad":
            raise ContractError("$.words", "a bad word", "choose others")
        return {}
"""


def lay_out_probe(directory: Path) -> None:
    lay_out(directory, "astara.appliances", "probe", _CODE)
