"""ML2's mechanism drivers, the software seam to layer 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from neutron_lib.plugins import directory


def loaded() -> Mapping[str, Any]:
    """Return them by name, as ML2 holds them (`.obj` is the driver); none where the core plug-in is not ML2."""
    manager = getattr(directory.get_plugin(), "mechanism_manager", None)
    return {} if manager is None else manager.mech_drivers
