"""Where the two long-running programs begin: before anything that takes time to import."""

from __future__ import annotations

from astara.spared import without_terminal


def orchestrator() -> int:
    """astara-orchestrator"""
    with without_terminal():
        from astara.runtime.main import main
    return main()


def node() -> int:
    """astara-node"""
    with without_terminal():
        from astara.host.main import main
    return main()
