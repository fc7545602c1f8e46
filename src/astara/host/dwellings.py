"""Which namespace an instance lives in: on a node one of its own, in a container the one the agent has."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Dwellings(Protocol):
    """The module `host.namespaces`, or `Own`."""

    def path_of(self, instance_id: str) -> Path | None:
        """None: the namespace the agent runs in."""
        ...

    def ensure(self, instance_id: str) -> bool:
        """Make it unless it lives; return whether it was made."""
        ...

    def remove(self, instance_id: str) -> None:
        """Take it away; absence is success."""
        ...

    def ids_present(self) -> set[str]:
        """Ids of instances for which there is one."""
        ...

    def prepare_directory(self) -> None: ...


class Own:
    """For a solitary agent: somebody else made the namespace, and it goes with the process."""

    def path_of(self, instance_id: str) -> Path | None:
        return None

    def ensure(self, instance_id: str) -> bool:
        return False

    def remove(self, instance_id: str) -> None:
        """Nothing of ours."""

    def ids_present(self) -> set[str]:
        return set()

    def prepare_directory(self) -> None:
        """Nothing of ours."""
