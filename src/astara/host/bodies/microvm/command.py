"""The command line of a machine: pure. Two machines of one shape have lines that differ in names and papers only,
which is what lets one wake from the picture of the other (QEMU compares the devices)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from astara.host import papers
from astara.host.bodies.microvm.images import Image

MANAGEMENT_MAC = "02:a5:7a:00:00:01"
_KERNEL = "console=ttyS0 quiet panic=-1 rdinit=/init random.trust_cpu=on cryptomgr.notests no_timer_check"
#: TCG shows the host's cycle counter. A machine that measures it while the host is busy gets its clock's speed wrong.
_KERNEL_ON_TCG = f"{_KERNEL} tsc=unstable mitigations=off"
_TRANSLATIONS_MB = 48  # TCG's cache of translated code; 0 for its default, which is most of a gigabyte
_FIRST_ACCOUNT, _ACCOUNT_DIGITS = 0x70000000, 6
_MARK, _TEMPLATE_MARK = "astara:", "astara-template:"
#: Changes with every change of this module that makes older pictures useless.
FORM = "2"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a machine and the template it may wake from have in common. `accel` is "kvm" or "tcg".

    `shell`: it has a second serial line, whose other end is a socket.
    """

    program: str
    accel: str
    memory_mb: int
    image: Image
    shell: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """`file`: where the machine's memory is; `shared`: what it writes goes there, else it is the machine's own."""

    file: Path
    shared: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """`node` and `instance_id` are how its process is known for ours. `asleep`: it waits for a picture to wake from."""

    node: str
    instance_id: str
    control: Path
    console: Path
    papers: Path
    shell: Path
    memory: Memory | None = None
    asleep: bool = False
    template: bool = False

    @property
    def account(self) -> int:
        """The user and group id it runs under, of nobody else: beyond those systemd gives away (UIDs-GIDs.md there)."""
        return _FIRST_ACCOUNT + int(self.instance_id[:_ACCOUNT_DIGITS], 16)

    @property
    def mark(self) -> str:
        """The name it runs under."""
        return f"{_TEMPLATE_MARK if self.template else _MARK}{self.node}:{self.instance_id}"


def instance_of(node: str, words: list[str], *, templates: bool = False) -> str | None:
    """Return the instance whose machine (or template) this command line runs, None when it is none of this node."""
    before = f"{_TEMPLATE_MARK if templates else _MARK}{node}:"
    return next((word.removeprefix(before) for word in words if word.startswith(before)), None)


def line(shape: Shape, machine: Machine) -> list[str]:
    """Return the words of the command. The machine is stopped until it is told to go on."""
    kernel = _KERNEL if shape.accel == "kvm" else _KERNEL_ON_TCG
    return [
        shape.program,
        "-name",
        machine.mark,
        "-uuid",
        machine.instance_id,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-S"),
        # All files are open by the time it becomes nobody; whoever breaks out of a machine then has none of the node's.
        # `elevateprivileges` would forbid this very step. Nobody's process gains rights by programs alone: spawn=deny.
        *("-runas", f"{machine.account}:{machine.account}"),
        *("-sandbox", "on,obsolete=deny,spawn=deny,resourcecontrol=deny"),
        *_processor(shape),
        *_memory(shape, machine.memory),
        *("-kernel", str(shape.image.kernel), "-initrd", str(shape.image.initramfs), "-append", kernel),
        *("-drive", f"id=root,if=none,format=raw,readonly=on,file={_quoted(shape.image.root)}"),
        *("-device", "virtio-blk-pci,drive=root"),
        *("-netdev", "tap,id=management,ifname=mgmt0,script=no,downscript=no"),
        *("-device", f"virtio-net-pci,id=management,netdev=management,mac={MANAGEMENT_MAC},romfile="),
        *("-device", "virtio-rng-pci"),
        *("-fw_cfg", f"name={papers.FW_CFG_NAME},file={_quoted(machine.papers)}"),
        *("-chardev", f"file,id=console,append=on,path={_quoted(machine.console)}", "-serial", "chardev:console"),
        *_shell(shape, machine),
        *("-chardev", f"socket,id=control,server=on,wait=off,path={_quoted(machine.control)}"),
        *("-mon", "chardev=control,mode=control"),
        *(["-incoming", "defer"] if machine.asleep else []),
    ]


def _shell(shape: Shape, machine: Machine) -> list[str]:
    if not shape.shell:
        return []
    return ["-chardev", f"socket,id=shell,server=on,wait=off,path={_quoted(machine.shell)}", "-serial", "chardev:shell"]


def _processor(shape: Shape) -> list[str]:
    if shape.accel == "kvm":
        return ["-accel", "kvm", "-cpu", "host"]
    # TCG gives `max` what the kernel and OpenSSL want of a processor; with the default CPU a boot takes 0.8 s longer.
    # Without `erms` the kernel clears and copies by eight bytes: TCG takes a step for each byte of "rep movsb".
    return ["-accel", f"tcg,tb-size={_TRANSLATIONS_MB}", "-cpu", "max,-erms"]


def _memory(shape: Shape, memory: Memory | None) -> list[str]:
    size = f"{shape.memory_mb}M"
    kind = "memory-backend-ram,id=memory"
    if memory is not None:
        share = "on" if memory.shared else "off"
        kind = f"memory-backend-file,id=memory,share={share},mem-path={_quoted(memory.file)}"
    return ["-machine", "pc,memory-backend=memory,usb=off", "-m", size, "-object", f"{kind},size={size}"]


def _quoted(path: Path) -> str:
    """QEMU's option syntax: a comma is written twice."""
    return str(path).replace(",", ",,")
