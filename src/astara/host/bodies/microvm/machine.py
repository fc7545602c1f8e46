"""One QEMU process: started, found again, given interfaces, ended."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from astara.appliance.system import files, processes
from astara.appliance.system.processes import Process
from astara.contract.agent import PortAttachment
from astara.host.bodies.microvm import command, taps
from astara.host.bodies.microvm.command import Shape
from astara.host.bodies.microvm.qmp import Qmp, QmpError

#: Socket names have room for 107 bytes: state directories may be anywhere, this is short.
_CONTROLS = Path("/run/astara/microvm")
_NIC = "nic-"
_ID_PART = 11
_QEMU_UP_S = 10.0
_UNPLUG_S = 5.0
_WAKE_S = 10.0
_LOOK_EVERY_S = 0.005
_CONSOLE_LIMIT, _CONSOLE_KEPT = 1 << 20, 1 << 18
_TAIL_BYTES = 65536


class MachineFailed(Exception):
    """QEMU does not start, or does not do what it is told."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where one machine's things are. `inside` is its namespace, `folder` its own directory."""

    instance_id: str
    inside: Path
    folder: Path

    @property
    def control(self) -> Path:
        return _CONTROLS / f"{self.instance_id}.qmp"

    @property
    def shell(self) -> Path:
        return _CONTROLS / f"{self.instance_id}.shell"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"

    @property
    def papers(self) -> Path:
        return self.folder / "papers"

    @property
    def pid_file(self) -> Path:
        return self.folder / "qemu.pid"

    @property
    def errors(self) -> Path:
        return self.folder / "qemu.log"

    def process(self) -> Process | None:
        """Return the running process, None when there is none in this namespace."""
        return processes.find(self.inside, self.pid_file)

    def start(self, shape: Shape, line: command.Machine, papers: bytes) -> None:
        """Start QEMU with the machine in it stopped. Raises MachineFailed, OSError."""
        files.ensure_directory(self.folder)
        files.ensure_directory(_CONTROLS)
        self._remove_sockets()
        files.replace(self.errors, b"")
        files.replace(self.papers, papers)
        files.replace(self.console, b"")
        with taps.opened(self.inside, taps.MANAGEMENT):
            pass
        words = command.line(shape, line)
        process = processes.start(self.inside, self.pid_file, words, log_file=self.errors)
        try:
            self._await_control(process)
        finally:
            files.remove(self.papers)  # QEMU has read them, or never will

    def wake(self, picture: Path) -> None:
        """Give a machine started asleep the state of its devices; its memory is that of the template already.

        Raises MachineFailed, OSError.
        """
        with self.asked() as qmp, picture.open("rb") as state:
            ignore_shared(qmp)
            qmp.hand_over("state", state.fileno())
            qmp.do("migrate-incoming", uri="fd:state")
            if not qmp.wait_for(lambda one: migrated(one, "query-status", "paused"), _WAKE_S):
                raise MachineFailed("the machine does not wake from its template")

    def go(self) -> None:
        """Let the machine run. Raises MachineFailed."""
        with self.asked() as qmp:
            qmp.do("cont")

    def set_ports(self, ports: Sequence[PortAttachment]) -> None:
        """Give it exactly the interfaces of `ports`, joined to their veths. Raises MachineFailed, OSError."""
        wanted = {_nic_of(port): port for port in ports}
        with self.asked() as qmp:
            present = _nics(qmp)
            for name in present - wanted.keys():
                _unplug(qmp, name)
            taps.remove(self.inside, keep=tuple(ports))
            for name, port in wanted.items():
                if name not in present:
                    self._plug(qmp, name, port)
                taps.join(self.inside, port)

    def has_ports(self, ports: Sequence[PortAttachment]) -> bool:
        """Whether it runs, answers as who it should be, and has exactly these interfaces, joined."""
        if self.process() is None or not taps.joined(self.inside, tuple(ports)):
            return False
        try:
            with Qmp(self.control) as qmp:
                return self._is_it(qmp) and _nics(qmp) == {_nic_of(port) for port in ports}
        except QmpError:
            return False

    def answers(self) -> bool:
        """Whether its process runs and says it is this machine, and the machine in it goes on."""
        if self.process() is None:
            return False
        try:
            with Qmp(self.control) as qmp:
                return self._is_it(qmp) and bool(qmp.do("query-status")["running"])
        except QmpError:
            return False

    def end(self) -> None:
        """End the process and take its files away; absence is success."""
        processes.stop(self.pid_file)
        self._remove_sockets()
        files.remove_directory(self.folder)

    def last_words(self, limit: int = _TAIL_BYTES) -> bytes:
        """The end of its console, and of what QEMU itself complained about."""
        return _tail(self.console, limit) + _tail(self.errors, limit)

    def bound_console(self) -> None:
        """Cut the console's log when it has grown large: the machine may write as much as it likes."""
        try:
            if self.console.stat().st_size <= _CONSOLE_LIMIT:
                return
        except FileNotFoundError:
            return
        # QEMU appends, so what it writes from now on comes after what is left.
        kept = _tail(self.console, _CONSOLE_KEPT)
        with self.console.open("r+b") as stream:
            stream.truncate(0)
        with self.console.open("ab") as stream:
            stream.write(kept)

    def said(self, words: str, until: float) -> bool:
        """Wait until `words` are on its console; False when it has ended, or `until` (monotonic) has come, before."""
        pause = threading.Event()
        while words.encode() not in self.last_words():
            if time.monotonic() > until or self.process() is None:
                return False
            pause.wait(_LOOK_EVERY_S)
        return True

    @contextlib.contextmanager
    def lent(self, port: PortAttachment) -> Iterator[None]:
        """Give it one more interface for a while, which leads nowhere. Raises MachineFailed, OSError."""
        name = _nic_of(port)
        with self.asked() as qmp:
            self._plug(qmp, name, port)
        yield
        with self.asked() as qmp:
            _unplug(qmp, name)
        taps.remove(self.inside, keep=())

    @contextlib.contextmanager
    def asked(self) -> Iterator[Qmp]:
        """A conversation with QEMU; its refusals are a MachineFailed."""
        try:
            with Qmp(self.control) as qmp:
                yield qmp
        except QmpError as error:
            raise MachineFailed(f"{error}; {_text(_tail(self.errors, 500))}") from None

    def _plug(self, qmp: Qmp, name: str, port: PortAttachment) -> None:
        with taps.opened(self.inside, taps.name_of(port)) as tap:
            qmp.hand_over(name, tap)
            qmp.do("netdev_add", type="tap", id=name, fd=name)
        try:
            qmp.do("device_add", driver="virtio-net-pci", id=name, netdev=name, mac=port.mac, romfile="")
        except QmpError:
            qmp.do("netdev_del", id=name)
            raise

    def _remove_sockets(self) -> None:
        files.remove(self.control)
        files.remove(self.shell)

    def _is_it(self, qmp: Qmp) -> bool:
        return bool(qmp.do("query-uuid")["UUID"] == self.instance_id)

    def _await_control(self, process: Process) -> None:
        pause, until = threading.Event(), time.monotonic() + _QEMU_UP_S
        while processes.alive(process) and time.monotonic() < until:
            with contextlib.suppress(QmpError), Qmp(self.control):
                return
            pause.wait(_LOOK_EVERY_S)
        raise MachineFailed(f"QEMU does not start: {_text(_tail(self.errors, 1000))}")


def ignore_shared(qmp: Qmp) -> None:
    """Have a picture hold the devices only: the memory is a file both sides have."""
    capability = {"capability": "x-ignore-shared", "state": True}
    qmp.do("migrate-set-capabilities", capabilities=[capability])


def migrated(qmp: Qmp, question: str, wanted: str) -> bool:
    """Whether a migration has come as far as `wanted`; raises MachineFailed when it has failed."""
    status = qmp.do(question).get("status")
    if status in ("failed", "internal-error"):
        raise MachineFailed(f"QEMU cannot move the machine's state: {status}")
    return bool(status == wanted)


def marked(node: str, *, templates: bool = False) -> dict[str, int]:
    """Return instance id -> pid of every machine of this node that runs, or of every template being made."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  # there may be thousands
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{name}/cmdline").read_bytes().decode(errors="replace").split("\0")
            instance_id = command.instance_of(node, words, templates=templates)
            if instance_id is not None:
                found[instance_id] = int(name)
    return found


def _nic_of(port: PortAttachment) -> str:
    return f"{_NIC}{port.port_id[:_ID_PART]}-{port.mac.replace(':', '')}"


def _nics(qmp: Qmp) -> set[str]:
    found = qmp.do("qom-list", path="/machine/peripheral")
    return {one["name"] for one in found if one["name"].startswith(_NIC)}


def _unplug(qmp: Qmp, name: str) -> None:
    qmp.do("device_del", id=name)
    if not qmp.wait_for(lambda one: name not in _nics(one), _UNPLUG_S):
        raise MachineFailed("the machine does not let go of an interface")
    qmp.do("netdev_del", id=name)


def _tail(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - limit))
            return stream.read(limit)
    except FileNotFoundError:
        return b""


def _text(words: bytes) -> str:
    return words.decode(errors="replace").strip()
