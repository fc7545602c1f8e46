"""The greeter's side on the node: section -> one configuration per subsystem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astara.contract.codec import ContractError
from astara_greeter.schema import GreeterSection


class GreeterAppliance:
    """Needs nothing on the node, and refuses what types alone cannot."""

    name = "greeter"
    section_type = GreeterSection

    def configs(self, section: GreeterSection) -> Mapping[str, Any]:
        if not section.greeting:
            raise ContractError("$.section.greeting", "empty", "greet with a word at least")
        return {}
