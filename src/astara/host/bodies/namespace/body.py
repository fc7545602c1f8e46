"""Kind `namespace`: there is nothing to start and nobody inside to ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from astara.host.bodies.boundary import ApplyEngine, Birth
from astara.host.connections import InNamespace


class NamespaceBody:
    """`engine` is the node's own."""

    kind = "namespace"

    def __init__(self, engine: ApplyEngine) -> None:
        self.engine = engine
        self.tracking = InNamespace()

    def images(self) -> Sequence[str]:
        return ()

    def digests(self) -> Mapping[str, str]:
        return {}

    def image_of(self, instance_id: str) -> str | None:
        return None

    def prepare(self) -> None:
        """Nothing to prepare."""

    def ensure(self, birth: Birth) -> None:
        """Nothing to start."""

    def whole(self, birth: Birth) -> bool:
        return True

    def end(self, instance_id: str, files: Path) -> None:
        """Nothing to end: the namespace goes with the instance."""

    def pid(self, instance_id: str, files: Path) -> int | None:
        return None

    def console(self, files: Path) -> bytes:
        return b""

    def strays(self) -> Sequence[str]:
        return ()
