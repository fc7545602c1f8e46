"""Kind `microvm`: a machine of its own for every instance, woken from a template where there is one."""

from __future__ import annotations

import contextlib
import secrets
import signal
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace as replaced
from ipaddress import IPv4Interface
from pathlib import Path

import structlog
from msgspec.structs import replace

from astara.appliance.boundaries import Appliance, Subsystem
from astara.appliance.system import processes
from astara.appliance.system.processes import Process
from astara.contract.agent import SPARE, PortAttachment
from astara.host import namespaces, papers
from astara.host.bodies.beside import Beside, part_engine
from astara.host.bodies.boundary import ApplyEngine, Birth, BodyFailed, BodyUnavailable
from astara.host.bodies.guest import GuestEngine
from astara.host.bodies.microvm import command, images, machine, taps
from astara.host.bodies.microvm.command import Memory, Shape
from astara.host.bodies.microvm.hypervisor import Hypervisor
from astara.host.bodies.microvm.images import Image
from astara.host.bodies.microvm.machine import Machine, MachineFailed
from astara.host.bodies.microvm.metadata import TakenAside
from astara.host.bodies.microvm.templates import Template, Templates
from astara.host.machine.words import SERVING
from astara.host.options import NodeOptions
from astara.host.papers import Papers
from astara.host.records import Records
from astara.peers.identity import Identity

_log = structlog.get_logger(__name__)
#: Every management link is alone in its namespace: all have the same addresses.
_NODE_SIDE = IPv4Interface("169.254.0.1/30")
_MACHINE_SIDE = IPv4Interface("169.254.0.2/30")
_PORT = 19801
_REHEARSED_MAC = "02:a5:7a:00:00:02"
_SEED_BYTES = 64
#: What a process takes besides the machine's memory, and a clone before it writes to its own.
_OVERHEAD_MB = 96
_WORDS_IN_ERRORS = 600
#: Interfaces fit into the slots of one PCI bus, of which the board and the machine's own devices have five.
_MOST_PORTS = 26


class MicrovmBody:
    """Raises BodyUnavailable when made on a node without QEMU or without an image."""

    kind = "microvm"

    def __init__(self, options: NodeOptions) -> None:
        self._options = options.microvm
        self._node = options.name
        self._hypervisor = Hypervisor.found(options.microvm)
        if not self.images():
            raise BodyUnavailable(f"no image in {self._options.images_dir}: `make image` builds one")
        identity = Identity(options.ca_file, options.cert_file, options.key_file)
        certificates = Records(options.state_dir).certificates
        url = f"https://{_MACHINE_SIDE.ip}:{_PORT}"
        self._guest = GuestEngine(identity, lambda _: url, certificates, takes_credentials=True)
        self._engine: ApplyEngine = self._guest
        self.tracking = self._guest
        folder = options.state_dir / "templates"
        deadline_s = self._options.boot_deadline_s
        self._templates = Templates(folder, self._node, deadline_s, self._hypervisor.version)

    @property
    def engine(self) -> ApplyEngine:
        return self._engine

    def serve_beside(self, subsystem: Subsystem, appliances: Mapping[str, Appliance]) -> None:
        self._engine = Beside(self._guest, part_engine(TakenAside(subsystem), appliances))

    def images(self) -> Sequence[str]:
        return list(self._images())

    def digests(self) -> Mapping[str, str]:
        return {name: image.digest for name, image in self._images().items()}

    def image_of(self, instance_id: str) -> str | None:
        return self._guest.image_of(instance_id)

    def prepare(self) -> None:
        """End the templates that were being made when an earlier agent died, and make ours, beside everything else."""
        for pid in machine.marked(self._node, templates=True).values():
            _kill(pid)
        if self._options.templates:
            image = next(iter(self._images().values()))
            threading.Thread(
                target=self._make_template, args=(self._shape(image),), name="template", daemon=True
            ).start()

    def ensure(self, birth: Birth) -> None:
        one = self._machine(birth)
        if len(birth.spec.ports) > _MOST_PORTS:
            raise BodyFailed(f"a machine has room for {_MOST_PORTS} ports", "use another body for this resource")
        if any(port.mac == command.MANAGEMENT_MAC for port in birth.spec.ports):
            # The machine finds the link its agent is reached by through this address; tenants choose theirs.
            raise BodyFailed("a port has the MAC address of every machine's own link", "give the port another one")
        try:
            if one.answers() and not self._guest.lost(birth.spec.id):
                one.set_ports(birth.spec.ports)
                self._greet(birth, one)
                return
        except (MachineFailed, BodyFailed, OSError) as error:
            _log.warning("microvm.given_up", instance=birth.spec.id, reason=str(error))
        self._anew(birth, one)

    def whole(self, birth: Birth) -> bool:
        one = self._machine(birth)
        one.bound_console()
        return one.has_ports(birth.spec.ports) and self._guest.knows(birth)

    def end(self, instance_id: str, files: Path) -> None:
        self._guest.hang_up(instance_id)
        Machine(instance_id, namespaces.path_of(instance_id), files).end()
        pid = machine.marked(self._node).get(instance_id) if not files.parent.exists() else None
        if pid is not None:
            _kill(pid)

    def pid(self, instance_id: str, files: Path) -> int | None:
        process = Machine(instance_id, namespaces.path_of(instance_id), files).process()
        return process.pid if process is not None else None

    def console(self, files: Path) -> bytes:
        return Machine("", Path(), files).last_words()

    def strays(self) -> Sequence[str]:
        return list(machine.marked(self._node))

    # How

    def _images(self) -> Mapping[str, Image]:
        return {image.name: image for image in images.found_in(self._options.images_dir)}

    def _shape(self, image: Image) -> Shape:
        options = self._options
        return Shape(options.program, self._hypervisor.accel, options.memory_mb, image, options.shell)

    def _machine(self, birth: Birth) -> Machine:
        return Machine(birth.spec.id, namespaces.path_of(birth.spec.id), birth.files)

    def _anew(self, birth: Birth, one: Machine) -> None:
        shape = self._shape(self._image(birth))
        template = self._templates.of(shape) if self._options.templates else None
        if template is not None:
            try:
                self._start(birth, one, shape, template)
                return
            except BodyFailed as error:
                _log.error("template.useless", image=shape.image.name, reason=str(error))
                self._templates.discard(shape)
        self._start(birth, one, shape, None)

    def _start(self, birth: Birth, one: Machine, shape: Shape, template: Template | None) -> None:
        self.end(birth.spec.id, birth.files)
        self._refuse_without_memory(shape, template)
        began = time.monotonic()
        try:
            content = papers.packed(self._papers(birth))
            memory = Memory(template.memory, shared=False) if template is not None else None
            words = command.Machine(
                self._node,
                birth.spec.id,
                control=one.control,
                console=one.console,
                papers=one.papers,
                shell=one.shell,
                memory=memory,
                asleep=template is not None,
            )
            one.start(shape, words, content)
            taps.raise_management(one.inside, _NODE_SIDE)
            if template is not None:
                one.wake(template.picture)
            one.set_ports(birth.spec.ports)
            one.go()
            self._await(one)
            self._greet(birth, one)
            if birth.spec.key.driver == SPARE:
                self._rehearse(birth, one)
        except Exception as error:  # whatever it was, nothing of a machine that is none stays behind
            said = one.last_words().decode(errors="replace")[-_WORDS_IN_ERRORS:].strip()
            with contextlib.suppress(OSError):
                self.end(birth.spec.id, birth.files)
            if isinstance(error, BodyFailed):
                raise BodyFailed(str(error), error.remedy, said) from None
            if isinstance(error, (MachineFailed, OSError, ValueError)):
                raise BodyFailed(str(error), "see the log of astara-node", said) from None
            raise
        _log.info(
            "microvm.started",
            instance=birth.spec.id,
            image=shape.image.name,
            woken=template is not None,
            seconds=round(time.monotonic() - began, 3),
        )

    def _greet(self, birth: Birth, one: Machine) -> None:
        self._guest.greet(birth, self._options.boot_deadline_s, lambda: one.process() is not None)

    def _await(self, one: Machine) -> None:
        """Wait until its agent says that it serves; one that does not say so in time is asked all the same."""
        one.said(SERVING, time.monotonic() + self._options.boot_deadline_s)

    def _rehearse(self, birth: Birth, one: Machine) -> None:
        """Have a spare find an interface and let go of it: who adopts it waits for nothing it does for the first time.

        Raises MachineFailed, BodyFailed, OSError.
        """
        port = PortAttachment(port_id=str(uuid.uuid4()), network_id=birth.spec.id, mac=_REHEARSED_MAC)
        with one.lent(port):
            self._greet(replaced(birth, spec=replace(birth.spec, ports=(port,))), one)
            self._greet(birth, one)

    def _papers(self, birth: Birth) -> Papers:
        credential = birth.spec.credential
        if credential is None:
            raise BodyFailed("it has no credential", "set [identity] ca_dir of the orchestrator")
        return Papers(
            instance_id=birth.spec.id,
            host=self._node,
            credential=credential,
            mac=command.MANAGEMENT_MAC,
            address=str(_MACHINE_SIDE),
            port=_PORT,
            wall=time.time(),
            seed=secrets.token_hex(_SEED_BYTES),
            shell=self._options.shell,
        )

    def _image(self, birth: Birth) -> Image:
        present = self._images()
        name = birth.spec.body.image
        if name is None or name not in present:
            raise BodyFailed(f"the image {name} is not on this node any more", "put it back, or make another instance")
        return present[name]

    def _refuse_without_memory(self, shape: Shape, template: Template | None) -> None:
        needed = _OVERHEAD_MB + (0 if template is not None else shape.memory_mb)
        free = _available_mb()
        if free < needed:
            raise BodyFailed(
                f"another machine needs {needed} MB of memory, {free} are free", "end other instances on this node"
            )

    def _make_template(self, shape: Shape) -> None:
        try:
            self._templates.make(shape)
        except (MachineFailed, OSError) as error:
            _log.error("template.failed", image=shape.image.name, reason=str(error))


def _kill(pid: int) -> None:
    process: Process | None = processes.running(pid)
    if process is not None:
        processes.send(process, signal.SIGKILL)
        processes.wait(process, 5.0)


def _available_mb() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:"))
