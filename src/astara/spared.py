"""What long-running programs are spared when they start: modules they would import and not use.

What a start costs is mostly imports. structlog and httpx load rich, pygments and click when these are installed, for
what they show on terminals; a service has none, and needs a quarter less time and 8 MB less without. An agent inside
a machine, where every import takes twenty times as long without KVM, is spared more.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

#: What they ask for first, and do well without.
_FOR_TERMINALS = ("rich", "click")
#: What msgspec asks for first; since Python 3.11 `typing` has what it wants of it.
_FOR_OLD_PYTHONS = ("typing_extensions",)
#: What structlog imports for its asynchronous methods, and cheroot to tell its own version, which it does without.
_FOR_LATER = ("asyncio", "importlib.metadata")


@contextmanager
def without_terminal() -> Iterator[None]:
    """Let what is imported inside find no library for terminals, unless it is loaded already."""
    with _in_the_place_of(dict.fromkeys(_FOR_TERMINALS)):  # None: "not to be found", see import_module's docs
        yield


@contextmanager
def inside_a_machine() -> Iterator[None]:
    """Let what is imported inside find only what an agent needs that serves one instance."""
    missing = dict.fromkeys((*_FOR_TERMINALS, *_FOR_OLD_PYTHONS))
    with _in_the_place_of(missing | {name: _Later(name) for name in _FOR_LATER}):
        yield


class _Later(ModuleType):
    """Stands for a module: empty while the program is imported, and the real one for whoever wants it later."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            raise AttributeError(f"{self.__name__} is not imported yet")
        return getattr(import_module(self.__name__), name)


@contextmanager
def _in_the_place_of(modules: dict[str, Any]) -> Iterator[None]:
    """Have imports find these, where nothing is loaded already."""
    placed = {name: module for name, module in modules.items() if name not in sys.modules}
    sys.modules |= placed
    try:
        yield
    finally:
        for name in placed:
            del sys.modules[name]
