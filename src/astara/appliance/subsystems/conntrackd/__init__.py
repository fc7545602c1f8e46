"""conntrackd tells the other half of a pair about every connection, and writes the other's into the kernel."""

from __future__ import annotations

from pathlib import Path

from astara.appliance.boundaries import Place

NAME = "conntrackd"


def script(place: Place) -> Path:
    """Return what is to be called with the role of this half: `/bin/sh SCRIPT active|standby|refresh|again`."""
    return place.files / NAME / "role.sh"
