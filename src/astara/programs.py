"""Where the two long-running programs begin: before anything that takes time to import.

What a start costs is mostly imports. structlog and httpx load rich, pygments and click when these are installed, for
what they show on terminals; a service has none, and needs a quarter less time and 8 MB less without.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: What both ask for first, and do well without.
_FOR_TERMINALS = ("rich", "click")


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


@contextmanager
def without_terminal() -> Iterator[None]:
    """Let what is imported inside find no library for terminals, unless it is loaded already."""
    hidden = [name for name in _FOR_TERMINALS if name not in sys.modules]
    sys.modules |= dict.fromkeys(hidden)  # type: ignore[arg-type]  # None: "not to be found", see import_module's docs
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
