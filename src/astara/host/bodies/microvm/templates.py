"""Templates: machines booted once, up to the moment before they become somebody, and the pictures taken of them.

A machine that wakes from one has the template's memory until it writes to it, and its own from then on (a private
mapping of the file). What is special to a machine is not in a template: it was booted with blank papers and has no
interfaces but the management link.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import structlog

from astara.appliance.system import files, netns
from astara.host import papers
from astara.host.bodies.microvm import command
from astara.host.bodies.microvm.command import Memory, Shape
from astara.host.bodies.microvm.machine import Machine, MachineFailed, ignore_shared, migrated
from astara.host.machine.words import TEMPLATE_READY

_log = structlog.get_logger(__name__)
_PICTURE_S = 30.0


@dataclass(frozen=True, slots=True)
class Template:
    """`memory` and `picture` are files that no one writes to any more."""

    memory: Path
    picture: Path


class Templates:
    """Those below one directory. Safe to use from many threads."""

    def __init__(self, folder: Path, node: str, boot_deadline_s: float, version: str) -> None:
        """`version`: of the hypervisor, whose pictures only it understands."""
        self._folder = folder
        self._node = node
        self._deadline_s = boot_deadline_s
        self._version = version
        self._making = threading.Lock()

    def of(self, shape: Shape) -> Template | None:
        """Return the template of that shape when there is one."""
        folder = self._folder / self._key(shape)
        template = Template(folder / "memory", folder / "picture")
        return template if template.picture.exists() else None

    def make(self, shape: Shape) -> Template:
        """Return the template of that shape, booted now unless there is one; older ones go.

        Raises:
            MachineFailed: it does not boot. OSError.
        """
        with self._making:
            present = self.of(shape)
            if present is not None:
                return present
            files.remove_directory(self._folder)
            began = time.monotonic()
            staged = self._folder / f"{self._key(shape)}.making"
            self._boot(shape, staged)
            staged.rename(staged.with_suffix(""))
            _log.info("template.made", image=shape.image.name, seconds=round(time.monotonic() - began, 2))
        made = self.of(shape)
        assert made is not None
        return made

    def discard(self, shape: Shape) -> None:
        """Take it away; machines that woke from it keep what they mapped."""
        with self._making:
            files.remove_directory(self._folder / self._key(shape))

    def _boot(self, shape: Shape, staged: Path) -> None:
        scratch = netns.Scratch()
        identifier = str(uuid.uuid4())
        machine = Machine(identifier, scratch.path, staged / "machine")
        memory = Memory(staged / "memory", shared=True)
        line = command.Machine(
            self._node,
            identifier,
            control=machine.control,
            console=machine.console,
            papers=machine.papers,
            shell=machine.shell,
            memory=memory,
            template=True,
        )
        try:
            machine.start(shape, line, papers.BLANK)
            machine.go()
            self._await_ready(machine)
            _take_picture(machine, staged / "picture")
        finally:
            machine.end()

    def _await_ready(self, machine: Machine) -> None:
        if not machine.said(TEMPLATE_READY, time.monotonic() + self._deadline_s):
            words = machine.last_words(1000).decode(errors="replace")
            raise MachineFailed(f"the template does not boot: {words}")

    def _key(self, shape: Shape) -> str:
        size, shell = str(shape.memory_mb), str(shape.shell)
        parts = (shape.image.digest, shape.accel, size, shape.program, shell, self._version, command.FORM)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _take_picture(machine: Machine, target: Path) -> None:
    with machine.asked() as qmp, target.open("wb") as state:
        qmp.do("stop")
        ignore_shared(qmp)
        qmp.hand_over("state", state.fileno())
        qmp.do("migrate", uri="fd:state")
        if not qmp.wait_for(lambda one: migrated(one, "query-migrate", "completed"), _PICTURE_S):
            raise MachineFailed("QEMU does not finish the template's picture")
