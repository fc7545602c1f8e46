"""Which Astara this is."""

from __future__ import annotations

from importlib.metadata import version


def astara_version() -> str:
    """Return the installed version."""
    return version("astara")
